//! Tool calls that a model's answers want, from then until a question carries their results.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::command::{self, Fit, Ran, Wanted};
use super::lineage::Cause;
use super::node::{Confidence, Kind, Node, Thing, kept_text};
use super::places::Places;
use super::results::{OutFile, Pipe};
use crate::deeds::deed::Inode;
use crate::dialog::CallName;
use crate::event::ProcessId;

/// Tool calls that are remembered; the oldest go first.
const TOOLS_MAX: usize = 16384;
/// Of one agent, those that wait for their results; the oldest go first.
const OPEN_MAX: usize = 256;
/// Files and hosts of one tool call that are told.
const TOLD_MAX: usize = 4096;
/// Pipes of one tool call.
const PIPES_MAX: usize = 64;
/// Bytes of all pipes that are kept.
const HELD_MAX: usize = 64 << 20;
/// Bytes of arguments in which commands and places are looked for.
const ARGUMENTS_MAX: usize = 1 << 20;

const HOST: &str = "the host is among the arguments";

/// What is compared while it waits for its result.
#[derive(Default)]
struct Open {
    wanted: Vec<Wanted>,
    places: Places,
    pipes: Vec<Pipe>,
    files: Vec<OutFile>,
    /// Files that its processes opened to write: no output that the agent has set up for them.
    opened: HashSet<Inode>,
    arguments: Value,
}

/// A tool call.
pub struct Tool {
    /// Of which process.
    pub agent: ProcessId,
    /// As the graph has it.
    pub node: Node,
    id: Option<String>,
    name: String,
    from_ns: u64,
    runs: u32,
    open: Option<Box<Open>>,
    told: HashSet<(Kind, String)>,
}

/// All of them.
#[derive(Default)]
pub struct Tools {
    all: HashMap<u64, Tool>,
    order: VecDeque<u64>,
    /// Those that wait, by agent.
    open: HashMap<ProcessId, VecDeque<u64>>,
    /// What processes of an agent wrote that no tool call explains.
    loose: HashMap<ProcessId, Vec<Pipe>>,
    last: u64,
    held: usize,
}

impl Tools {
    /// Another tool is wanted. Returns its number here.
    pub fn want(
        &mut self,
        agent: ProcessId,
        (call, part): (CallName, usize),
        (id, name, arguments): (Option<&str>, &str, &Value),
        from_ns: u64,
    ) -> u64 {
        self.last += 1;
        let number = self.last;
        let text = match arguments {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let decoded = decoded(arguments, text.len());
        let node = Node {
            id: match id {
                Some(id) => format!("tool:{call}/{id}"),
                None => format!("tool:{call}/#{part}"),
            },
            thing: Thing::ToolCall {
                id: id.map(str::to_owned),
                tool: name.to_owned(),
                arguments: kept_text(&text),
                ts_ns: from_ns,
            },
        };
        let open = Open {
            wanted: command::wanted(&decoded),
            places: Places::of(&decoded),
            pipes: Vec::new(),
            files: Vec::new(),
            opened: HashSet::new(),
            arguments: decoded,
        };
        let tool = Tool {
            agent,
            node,
            id: id.map(str::to_owned),
            name: name.to_owned(),
            from_ns,
            runs: 0,
            open: Some(Box::new(open)),
            told: HashSet::new(),
        };
        self.all.insert(number, tool);
        self.order.push_back(number);
        let waiting = self.open.entry(agent).or_default();
        waiting.push_back(number);
        if waiting.len() > OPEN_MAX
            && let Some(oldest) = waiting.pop_front()
        {
            self.shut(oldest);
        }
        while self.order.len() > TOOLS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.close(oldest);
            self.all.remove(&oldest);
        }
        number
    }

    /// One of them.
    pub fn get(&self, number: u64) -> Option<&Tool> {
        self.all.get(&number)
    }

    /// Whether this is told for the first time.
    pub fn is_news(&mut self, number: u64, kind: Kind, to: &str) -> bool {
        self.all.get_mut(&number).is_some_and(|tool| {
            tool.told.len() < TOLD_MAX && tool.told.insert((kind, to.to_owned()))
        })
    }

    fn open_of(&self, agent: ProcessId, at_ns: u64) -> impl Iterator<Item = (u64, &Tool, &Open)> {
        let numbers = self.open.get(&agent).into_iter().flatten();
        numbers.filter_map(move |number| {
            let tool = self.all.get(number)?;
            let open = tool.open.as_deref()?;
            (tool.from_ns <= at_ns).then_some((*number, tool, open))
        })
    }

    /// The tool call of an agent that a program is run for. Where several want the same, none is certain.
    pub fn runs(
        &mut self,
        agent: ProcessId,
        ran: &Ran,
        at_ns: u64,
    ) -> Option<(Cause, &'static str)> {
        let fits = self.open_of(agent, at_ns);
        let fits = fits.filter_map(|(number, tool, open)| {
            Some((command::fit(&open.wanted, ran)?, tool.runs, number))
        });
        let mut fits: Vec<(Fit, u32, u64)> = fits.collect();
        let best = fits.iter().map(|(fit, ..)| *fit).max()?;
        fits.retain(|(fit, ..)| fit.confidence == best.confidence);
        let is_alone = fits.len() == 1;
        fits.retain(|(fit, ..)| *fit == best);
        let (fit, runs, number) = fits
            .into_iter()
            .min_by_key(|(_, runs, number)| (*runs, *number))?;
        let is_sure = is_alone && runs == 0;
        let tool = self.all.get_mut(&number)?;
        tool.runs += 1;
        let confidence = match is_sure {
            true => fit.confidence,
            false => Confidence::Likely,
        };
        Some((Cause::new(number, confidence), fit.reason))
    }

    /// The tool calls of an agent that name a file.
    pub fn touch(
        &self,
        agent: ProcessId,
        path: &[u8],
        cwd: Option<&[u8]>,
        at_ns: u64,
    ) -> Vec<(Cause, &'static str)> {
        let fits = self.open_of(agent, at_ns);
        let fits = fits.filter_map(|(number, _, open)| {
            let (confidence, reason) = open.places.fit_path(path, cwd)?;
            Some((number, confidence, reason))
        });
        sure_if_alone(fits.collect())
    }

    /// The same of a process that is begun for this tool call.
    pub fn touch_own(
        &self,
        cause: Cause,
        path: &[u8],
        cwd: Option<&[u8]>,
    ) -> Option<(Cause, &'static str)> {
        let open = self.all.get(&cause.tool)?.open.as_deref()?;
        let (confidence, reason) = open.places.fit_path(path, cwd)?;
        let confidence = confidence.min(cause.confidence);
        Some((Cause::new(cause.tool, confidence), reason))
    }

    /// The tool calls of an agent that name a host.
    pub fn reach(
        &self,
        agent: ProcessId,
        names: &[&str],
        port: Option<u16>,
        at_ns: u64,
    ) -> Vec<(Cause, &'static str)> {
        let fits = self.open_of(agent, at_ns);
        let fits =
            fits.filter(|(_, _, open)| names.iter().any(|name| open.places.names_host(name, port)));
        let fits = fits.map(|(number, ..)| (number, Confidence::Exact, HOST));
        sure_if_alone(fits.collect())
    }

    /// The same of a process that is begun for this tool call.
    pub fn reach_own(
        &self,
        cause: Cause,
        names: &[&str],
        port: Option<u16>,
    ) -> Option<(Cause, &'static str)> {
        let open = self.all.get(&cause.tool)?.open.as_deref()?;
        let mut names = names.iter();
        let is_named = names.any(|name| open.places.names_host(name, port));
        is_named.then(|| (Cause::new(cause.tool, cause.confidence), HOST))
    }

    /// The tool call of an agent that a request of MCP is made for.
    pub fn request(
        &self,
        agent: ProcessId,
        name: &str,
        arguments: Option<&Value>,
        at_ns: u64,
    ) -> Option<(Cause, &'static str)> {
        let named = self.open_of(agent, at_ns);
        let named = named.filter(|(_, tool, _)| is_named(&tool.name, name));
        let named: Vec<_> = named.collect();
        let same = named
            .iter()
            .filter(|(_, _, open)| Some(&open.arguments) == arguments);
        let same: Vec<_> = same.collect();
        let (number, confidence, reason) = match (same.as_slice(), named.as_slice()) {
            ([(number, ..)], _) => (
                *number,
                Confidence::Exact,
                "tool and arguments are the same",
            ),
            ([(number, ..), ..], _) => (
                *number,
                Confidence::Likely,
                "tool and arguments are the same",
            ),
            ([], [(number, ..)]) => (*number, Confidence::Likely, "the tool is the same"),
            ([], _) => return None,
        };
        Some((Cause::new(number, confidence), reason))
    }

    /// The tool call of an agent that a result is of: by its number, or where there is none, by the tool's name.
    pub fn answered(
        &self,
        agent: ProcessId,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Option<(u64, Confidence)> {
        let mut open = self.open_of(agent, u64::MAX);
        match id {
            Some(id) => {
                let found = open.find(|(_, tool, _)| tool.id.as_deref() == Some(id));
                found.map(|(number, ..)| (number, Confidence::Exact))
            }
            None => {
                let mut found = open.filter(|(_, tool, _)| {
                    tool.id.is_none() && name.is_none_or(|name| tool.name == name)
                });
                let (number, ..) = found.next()?;
                let confidence = match found.next() {
                    None => Confidence::Exact,
                    Some(_) => Confidence::Likely,
                };
                Some((number, confidence))
            }
        }
    }

    /// Somebody wrote into a pipe, for a tool call or, for all that is known, for none.
    pub fn write(
        &mut self,
        (agent, tool): (ProcessId, Option<u64>),
        inode: u64,
        writer: (ProcessId, Option<u64>),
        text: Option<&str>,
        missing: u64,
    ) {
        let text = text.filter(|text| self.held + text.len() <= HELD_MAX);
        let pipes = match tool {
            None => self.loose.entry(agent).or_default(),
            Some(tool) => match self.all.get_mut(&tool).and_then(|tool| tool.open.as_mut()) {
                Some(open) => &mut open.pipes,
                // Its result was told already.
                None => return,
            },
        };
        if let Some(pipe) = pipe_of(pipes, inode, &mut self.held) {
            self.held += pipe.write(writer, text, missing);
        }
    }

    /// A process of a tool call reads from a pipe: what goes through it stays inside of the command.
    pub fn read(&mut self, tool: u64, inode: u64) {
        let open = self.all.get_mut(&tool).and_then(|tool| tool.open.as_mut());
        if let Some(open) = open
            && let Some(pipe) = pipe_of(&mut open.pipes, inode, &mut self.held)
        {
            pipe.is_inside = true;
        }
    }

    /// A process of a tool call opens a file to write: `>` of its command, and the like.
    pub fn open_file(&mut self, tool: u64, inode: Inode) {
        let open = self.all.get_mut(&tool).and_then(|tool| tool.open.as_mut());
        if let Some(open) = open.filter(|open| open.opened.len() < TOLD_MAX) {
            open.opened.insert(inode);
        }
    }

    /// A process of a tool call has a file as its output.
    pub fn write_file(&mut self, tool: u64, inode: Inode, writer: ProcessId) {
        let open = self.all.get_mut(&tool).and_then(|tool| tool.open.as_mut());
        let open = open.filter(|open| !open.opened.contains(&inode));
        let Some(files) = open.map(|open| &mut open.files) else {
            return;
        };
        if !files.iter().any(|file| file.inode == inode) && files.len() < PIPES_MAX {
            files.push(OutFile {
                inode,
                writers: Vec::new(),
                was_read: false,
            });
        }
        let known = files.iter_mut().find(|file| file.inode == inode);
        known.into_iter().for_each(|file| file.write(writer));
    }

    /// An agent reads a file: it may be an output.
    pub fn read_file(&mut self, agent: ProcessId, inode: Inode) {
        for number in self.open.get(&agent).into_iter().flatten() {
            let open = self.all.get_mut(number).and_then(|tool| tool.open.as_mut());
            let files = open.into_iter().flat_map(|open| &mut open.files);
            let known = files.filter(|file| file.inode == inode);
            known.for_each(|file| file.was_read = true);
        }
    }

    /// Its result was told. What was written for it.
    pub fn close(&mut self, number: u64) -> (Vec<Pipe>, Vec<OutFile>) {
        let Some(tool) = self.all.get(&number) else {
            return Default::default();
        };
        if let Some(open) = self.open.get_mut(&tool.agent) {
            open.retain(|other| *other != number);
            if open.is_empty() {
                self.open.remove(&tool.agent);
            }
        }
        self.shut(number)
    }

    fn shut(&mut self, number: u64) -> (Vec<Pipe>, Vec<OutFile>) {
        let tool = self.all.get_mut(&number);
        let open = tool.and_then(|tool| tool.open.take()).unwrap_or_default();
        self.let_go(&open.pipes);
        (open.pipes, open.files)
    }

    /// Of what was written below an agent and no tool call explains, what fits.
    pub fn take_loose<F>(
        &mut self,
        agent: ProcessId,
        fits: impl Fn(&Pipe) -> Option<F>,
    ) -> Vec<(Pipe, F)> {
        let mut taken = Vec::new();
        let mut left = Vec::new();
        for pipe in self.loose.remove(&agent).unwrap_or_default() {
            match fits(&pipe) {
                Some(fit) => {
                    self.held = self.held.saturating_sub(pipe.held());
                    taken.push((pipe, fit));
                }
                None => left.push(pipe),
            }
        }
        if !left.is_empty() {
            self.loose.insert(agent, left);
        }
        taken
    }

    fn let_go(&mut self, pipes: &[Pipe]) {
        let held: usize = pipes.iter().map(Pipe::held).sum();
        self.held = self.held.saturating_sub(held);
    }

    /// An agent has ended.
    pub fn forget(&mut self, agent: ProcessId) {
        for number in self.open.remove(&agent).unwrap_or_default() {
            self.shut(number);
        }
        let loose = self.loose.remove(&agent).unwrap_or_default();
        self.let_go(&loose);
    }

    /// Tool calls that are remembered, and bytes that are kept of pipes.
    pub fn held(&self) -> (usize, usize) {
        (self.all.len(), self.held)
    }
}

/// The pipe of this inode, which may be new; the oldest goes if there are too many.
fn pipe_of<'p>(pipes: &'p mut Vec<Pipe>, inode: u64, held: &mut usize) -> Option<&'p mut Pipe> {
    let at = pipes.iter().position(|pipe| pipe.inode == inode);
    let at = at.unwrap_or_else(|| {
        if pipes.len() >= PIPES_MAX {
            let gone = pipes.remove(0);
            *held = held.saturating_sub(gone.held());
        }
        pipes.push(Pipe::new(inode));
        pipes.len() - 1
    });
    pipes.get_mut(at)
}

fn sure_if_alone(fits: Vec<(u64, Confidence, &'static str)>) -> Vec<(Cause, &'static str)> {
    /// Of several that name the same, so many are told.
    const ALIKE_MAX: usize = 8;
    let best = fits.iter().map(|(_, confidence, _)| *confidence).max();
    let best: Vec<_> = fits
        .into_iter()
        .filter(|(_, of, _)| Some(*of) == best)
        .collect();
    let is_alone = best.len() == 1;
    let told = best
        .into_iter()
        .take(ALIKE_MAX)
        .map(|(tool, confidence, reason)| {
            let confidence = if is_alone {
                confidence
            } else {
                Confidence::Likely
            };
            (Cause::new(tool, confidence), reason)
        });
    told.collect()
}

/// Agents put the server's name before the tool's: `mcp__files__read`, `files.read`, `files_read`.
fn is_named(tool: &str, name: &str) -> bool {
    let before = tool.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with(['_', '.', '-', '/', ':']))
}

/// Arguments as they are meant; those that are too much are not looked into.
fn decoded(arguments: &Value, len: usize) -> Value {
    if len > ARGUMENTS_MAX {
        return Value::Null;
    }
    match arguments {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => inner,
            _ => arguments.clone(),
        },
        other => other.clone(),
    }
}
