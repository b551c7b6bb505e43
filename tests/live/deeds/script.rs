//! What an agent is told to do, one tool call after the other, and the edges that must come of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// How tool calls of an agent are written; `None`: it has no tool for that.
pub struct Tools {
    /// Runs a command.
    pub shell: fn(&str) -> Value,
    /// Writes a content to a path.
    pub write: Option<fn(&str, &str) -> Value>,
    /// Replaces a line of the file at a path by another.
    pub edit: Option<fn(&str, &str, &str) -> Value>,
    /// Reads the file at a path.
    pub read: Option<fn(&str) -> Value>,
    /// Asks for a URL.
    pub fetch: Option<fn(&str) -> Value>,
    /// Uses a tool of the server of MCP.
    pub mcp: Option<fn(&str, Value) -> Value>,
}

/// A tool call as the script has it.
pub fn call(name: &str, arguments: &Value) -> Value {
    json!({"name": name, "arguments": arguments})
}

/// A script. Each of its steps has a word that stands in the arguments of its program and of no other.
pub struct Script {
    folder: PathBuf,
    prefix: &'static str,
    turns: Vec<Value>,
    /// Tool calls by their step's word.
    pub steps: BTreeMap<String, Value>,
    /// By the kind of edge: from what to what, as [`super::score`] names both.
    pub wanted: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What the steps need that is not in the script.
pub struct Surroundings {
    /// A server of pages, for a program.
    pub pages: SocketAddr,
    /// Another, for a tool.
    pub more_pages: SocketAddr,
    /// The command that runs an agent with a script of its own, and the server of its model.
    pub agent: String,
    pub model: SocketAddr,
}

impl Script {
    /// Nothing yet; its words begin with `prefix`, and its files are in this folder.
    pub fn new(folder: &Path, prefix: &'static str) -> Self {
        Self {
            folder: folder.to_owned(),
            prefix,
            turns: Vec::new(),
            steps: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Everything that these tools can do.
    pub fn of_everything(folder: &Path, tools: &Tools, around: &Surroundings) -> Self {
        let mut script = Self::new(folder, "word");
        script.commands(tools);
        script.made_and_run(tools);
        script.kept_and_read(tools);
        script.fetched(tools, around);
        script.asked_of_server(tools);
        let command = |word: &str| format!("{} # {word}", around.agent);
        let word = script.shell(tools, command);
        script.want("subagent", format!("agent > {word}"));
        script.want("reaches", format!("{word} > {}", around.model));
        script.want("writes", format!("{word} > {word}"));
        script
    }

    /// What a sub-agent does.
    pub fn of_sub_agent(folder: &Path, tools: &Tools) -> Self {
        let mut script = Self::new(folder, "below");
        let word = script.shell(tools, |word| format!("echo {word} of the sub-agent"));
        script.want("writes", format!("{word} > {word}"));
        script.write(tools, "below.txt", "from below\n");
        script
    }

    /// Its turns as the mock server reads them, with this for the end.
    pub fn save(&self, end: &str) -> PathBuf {
        let path = self.folder.join(format!("{}.json", self.prefix));
        let mut turns = self.turns.clone();
        turns.push(json!({"text": end}));
        fs::write(&path, serde_json::to_vec(&turns).unwrap()).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn want(&mut self, kind: &'static str, what: String) {
        self.wanted.entry(kind).or_default().insert(what);
    }

    /// Another step: its word. What holds for all of them is wanted.
    fn step(&mut self, call: impl FnOnce(&str) -> Value) -> String {
        let word = format!("{}-{:02}", self.prefix, self.steps.len() + 1);
        self.steps.insert(word.clone(), call(&word));
        for kind in ["wants", "gives", "informs"] {
            self.want(kind, word.clone());
        }
        word
    }

    /// Steps that an answer wants together.
    fn turn(&mut self, words: &[&str]) {
        let calls: Vec<_> = words.iter().map(|word| &self.steps[*word]).collect();
        let turn = json!({"text": "So be it.", "tool_calls": calls});
        self.turns.push(turn);
    }

    fn command(&mut self, tools: &Tools, command: impl Fn(&str) -> String) -> String {
        let word = self.step(|word| (tools.shell)(&command(word)));
        self.want("runs", format!("{word} > {word}"));
        self.want("why", format!("{word} > {word}"));
        word
    }

    /// A command in a turn of its own.
    fn shell(&mut self, tools: &Tools, command: impl Fn(&str) -> String) -> String {
        let word = self.command(tools, command);
        self.turn(&[&word]);
        word
    }

    /// The same, of which something comes out.
    fn telling(&mut self, tools: &Tools, command: impl Fn(&str) -> String) -> String {
        let word = self.shell(tools, command);
        self.want("writes", format!("{word} > {word}"));
        word
    }

    /// A tool writes a file, or else a command does.
    fn write(&mut self, tools: &Tools, name: &str, content: &str) {
        let path = self.path(name);
        let Some(write) = tools.write else {
            let quoted = shlex::try_quote(content).unwrap().into_owned();
            self.shell(tools, |word| {
                format!("printf %s {quoted} > {path} # {word}")
            });
            return;
        };
        let word = self.step(|_| write(&path, content));
        self.want("touches", format!("{word} > {path}"));
        self.turn(&[&word]);
    }

    /// Commands of all sorts; two of them at the same time, and two that fail.
    fn commands(&mut self, tools: &Tools) {
        let private = self.path("private.txt");
        fs::write(&private, "nobody's business\n").unwrap();
        self.telling(tools, |word| format!("cat {private}; echo {word}"));
        let pair = [
            self.command(tools, |word| format!("echo \"it's {word}\" | wc -c")),
            self.command(tools, |word| format!("false; echo {word} >&2")),
        ];
        self.turn(&[&pair[0], &pair[1]]);
        for word in &pair {
            self.want("writes", format!("{word} > {word}"));
        }
        self.telling(tools, |word| format!("cd / && ls | head -2 # {word}"));
        self.telling(tools, |word| format!("ls /nowhere/{word}"));
    }

    /// Files that are run later: a script that is written and changed, and a copy of a program.
    fn made_and_run(&mut self, tools: &Tools) {
        let made = self.path("made.sh");
        self.write(tools, "made.sh", "#!/bin/sh\necho made of $0 >&2\n");
        if let Some(edit) = tools.edit {
            let word = self.step(|_| edit(&made, "echo made of $0 >&2", "echo changed $0 >&2"));
            self.want("touches", format!("{word} > {made}"));
            self.turn(&[&word]);
        }
        let word = self.telling(tools, |word| format!("chmod +x {made} && {made} {word}"));
        self.want("run_by", format!("{made} > {word}"));
        self.want("read_by", format!("{made} > {word}"));
        let copied = self.path("copied");
        self.shell(tools, |word| format!("cp /bin/echo {copied} # {word}"));
        let word = self.telling(tools, |word| format!("{copied} a copy of a program {word}"));
        self.want("run_by", format!("{copied} > {word}"));
    }

    /// A file that a program wrote is read, by a tool and by another program.
    fn kept_and_read(&mut self, tools: &Tools) {
        let notes = self.path("notes.txt");
        self.shell(tools, |word| format!("echo 'kept by {word}' > {notes}"));
        if let Some(read) = tools.read {
            let word = self.step(|_| read(&notes));
            self.want("touches", format!("{word} > {notes}"));
            self.want("read_by", format!("{notes} > agent"));
            self.turn(&[&word]);
        }
        let word = self.telling(tools, |word| format!("cat {notes} # {word}"));
        self.want("read_by", format!("{notes} > {word}"));
    }

    /// Pages: one for a program, one for a tool.
    fn fetched(&mut self, tools: &Tools, around: &Surroundings) {
        let pages = around.pages;
        let word = self.telling(tools, |word| format!("curl -s http://{pages}/{word}"));
        self.reaches(&word, pages);
        if let Some(fetch) = tools.fetch {
            let pages = around.more_pages;
            let word = self.step(|word| fetch(&format!("http://{pages}/{word}")));
            self.reaches(&word, pages);
            self.turn(&[&word]);
        }
    }

    fn reaches(&mut self, word: &str, pages: SocketAddr) {
        self.want("reaches", format!("{word} > {pages}"));
        self.want("why", format!("{word} > {}", pages.ip()));
    }

    /// What a server of MCP does: two commands at the same time, one alone, and a file.
    fn asked_of_server(&mut self, tools: &Tools) {
        let Some(mcp) = tools.mcp else { return };
        let command = |word: &str| format!("echo the server says {word}");
        let run = |word: &str| mcp("run", json!({"command": command(word)}));
        let [first, second, alone] = [self.step(run), self.step(run), self.step(run)];
        self.turn(&[&first, &second]);
        self.turn(&[&alone]);
        for word in [&first, &second, &alone] {
            for kind in ["runs", "writes", "why"] {
                self.want(kind, format!("{word} > {word}"));
            }
        }
        let kept = self.path("kept.txt");
        let keep = self.step(|_| mcp("keep", json!({"path": kept, "content": "kept\n"})));
        self.turn(&[&keep]);
        self.want("touches", format!("{keep} > {kept}"));
        for word in [first, second, alone, keep] {
            self.want("requests", format!("{word} > request for {word}"));
            self.want("requests", format!("request for {word} > server"));
        }
    }
}
