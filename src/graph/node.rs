//! What the graph is made of, as it is told and kept: plain data.

use serde::{Deserialize, Serialize};

use crate::deeds::deed::Inode;
use crate::event::ProcessId;

/// Characters of a text that a node keeps.
const TEXT_MAX: usize = 1000;
/// Words of a command that a node keeps.
const WORDS_MAX: usize = 64;

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Something else may have been the cause.
    Likely,
    /// What is compared is the same, and nothing else could be meant.
    Exact,
}

impl Confidence {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Likely => "likely",
            Self::Exact => "exact",
        }
    }
}

/// How one thing leads to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Process → file: makes, changes or removes it.
    Changes,
    /// Process → host: speaks to it.
    Contacts,
    /// Process → program that it runs from now on.
    Executes,
    /// Process → process: made it.
    Forks,
    /// Tool call → its result.
    Gives,
    /// Tool result → call of a model: is told there.
    Informs,
    /// Tool call → host.
    Reaches,
    /// Process → file: opens it to read.
    Reads,
    /// File → process: one that was written before is read.
    ReadBy,
    /// Tool call, or message of MCP → message of MCP or its server's process.
    Requests,
    /// File → program: one that was written before is run.
    RunBy,
    /// Tool call → program.
    Runs,
    /// Agent → agent: a descendant asks models itself.
    Subagent,
    /// Tool call → file.
    Touches,
    /// Call of a model → tool call: its answer wants it.
    Wants,
    /// Process → tool result: wrote it.
    Writes,
}

impl Kind {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Contacts => "contacts",
            Self::Executes => "executes",
            Self::Forks => "forks",
            Self::Gives => "gives",
            Self::Informs => "informs",
            Self::Reaches => "reaches",
            Self::Reads => "reads",
            Self::ReadBy => "read_by",
            Self::Requests => "requests",
            Self::RunBy => "run_by",
            Self::Runs => "runs",
            Self::Subagent => "subagent",
            Self::Touches => "touches",
            Self::Wants => "wants",
            Self::Writes => "writes",
        }
    }

    /// It says no more than a deed does: the graph has it, lines have not.
    pub fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Changes | Self::Contacts | Self::Executes | Self::Forks | Self::Reads
        )
    }
}

/// A thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Names it within one run.
    #[serde(rename = "node")]
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub thing: Thing,
}

impl Node {
    /// Shows every text that somebody else wrote, for masking: paths and names are in its own name, too.
    pub fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        change(&mut self.id);
        self.thing.each_text(change);
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Thing {
    /// A call of a model.
    Call {
        /// Who asked.
        process: String,
        /// Which model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What the user said last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        /// On the boot clock, nanoseconds: when it was asked.
        ts_ns: u64,
    },
    /// A program that a process ran.
    Exec {
        /// The process.
        process: String,
        /// What was to be run.
        args: Vec<String>,
        /// Where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// When.
        ts_ns: u64,
    },
    /// A file.
    File {
        /// Its last path; absent: not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// Another machine, or a socket's name.
    Host {
        /// Its name, or its address.
        name: String,
        /// Its address and port, where a connection told them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    /// A request of the Model Context Protocol.
    Mcp {
        /// `tools/call`, …
        method: String,
        /// The tool.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// When.
        ts_ns: u64,
    },
    /// A process.
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// A tool that an answer wants.
    ToolCall {
        /// Its number, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The tool.
        tool: String,
        /// With what, as JSON text.
        arguments: String,
        /// From when on it can have been done.
        ts_ns: u64,
    },
    /// What a tool gave.
    ToolResult {
        /// Its beginning.
        text: String,
        /// When it was told.
        ts_ns: u64,
    },
}

impl Thing {
    /// As it is told.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Call { .. } => "call",
            Self::Exec { .. } => "exec",
            Self::File { .. } => "file",
            Self::Host { .. } => "host",
            Self::Mcp { .. } => "mcp",
            Self::Process { .. } => "process",
            Self::ToolCall { .. } => "tool_call",
            Self::ToolResult { .. } => "tool_result",
        }
    }

    /// For people, in one line.
    pub fn name(&self) -> String {
        match self {
            Self::Call { model, .. } => model.clone().unwrap_or_default(),
            Self::Exec { args, .. } => command_line(args),
            Self::File { path } => path.clone().unwrap_or_default(),
            Self::Host { name, .. } => name.clone(),
            Self::Mcp { method, name, .. } => match name {
                Some(name) => format!("{method} {name}"),
                None => method.clone(),
            },
            Self::Process { comm, .. } => comm.clone(),
            Self::ToolCall { tool, .. } => tool.clone(),
            // Its text is what others are looked for in: long, and no name.
            Self::ToolResult { .. } => String::new(),
        }
    }

    /// Shows every text that somebody else wrote, for masking.
    pub fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        match self {
            Self::Call { prompt, .. } => prompt.iter_mut().for_each(change),
            Self::Exec { args, cwd, .. } => args.iter_mut().chain(cwd).for_each(change),
            Self::File { path } => path.iter_mut().for_each(change),
            Self::Host { name, address } => {
                change(name);
                address.iter_mut().for_each(change);
            }
            Self::Mcp { method, name, .. } => {
                change(method);
                name.iter_mut().for_each(change);
            }
            Self::Process { comm, .. } => change(comm),
            Self::ToolCall {
                id,
                tool,
                arguments,
                ..
            } => {
                id.iter_mut().for_each(&mut *change);
                change(tool);
                change(arguments);
            }
            Self::ToolResult { text, .. } => change(text),
        }
    }
}

/// One thing led to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The cause.
    pub from: Node,
    /// The effect.
    pub to: Node,
    /// How.
    pub kind: Kind,
    /// How we know, in words.
    pub reason: &'static str,
    /// How sure that is.
    pub confidence: Confidence,
    /// What proves it: `e17`, `k3`.
    pub event: Option<String>,
    /// When that was, on the boot clock in nanoseconds.
    pub ts_ns: u64,
}

/// Names a process for good, as in every line.
pub fn process_id(process: ProcessId) -> String {
    format!("p{}.{}", process.pid, process.start_ns)
}

/// Names a file: by what the kernel calls it, else by its path.
pub fn file_id(inode: Option<Inode>, path: Option<&str>) -> Option<String> {
    let Some(Inode {
        dev,
        ino,
        generation,
    }) = inode
    else {
        return path.map(|path| format!("file:{path}"));
    };
    let (major, minor) = (dev.0 >> 20, dev.0 & 0xf_ffff);
    Some(match generation {
        0 => format!("file:{major}:{minor}:{ino}"),
        again => format!("file:{major}:{minor}:{ino}.{again}"),
    })
}

/// A command as a shell would read it.
pub fn command_line(args: &[String]) -> String {
    let words = args.iter().map(String::as_str);
    shlex::try_join(words).unwrap_or_else(|_| args.join(" "))
}

/// Words of a command, as a node keeps them.
pub fn kept_words(args: &[String]) -> Vec<String> {
    let kept = args.iter().take(WORDS_MAX);
    kept.map(|word| kept_text(word)).collect()
}

/// A text, as a node keeps it.
pub fn kept_text(text: &str) -> String {
    excerpt(text, TEXT_MAX)
}

/// The first characters of a text; `…` if there are more.
pub fn excerpt(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
