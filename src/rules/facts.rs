//! An event as rules see it: its line, and what is made of it. Made once for an event, and only if a rule asks for its type.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::{Map, Value};

use super::field::Seen;
use super::lineage::Processes;
use super::places::Places;
use super::talk::Talk;
use crate::deeds::deed::{Deed, Exec, File, FileKind, Inode, What};
use crate::deeds::path::Path;
use crate::event::{Comm, ProcessId};

/// What was seen before.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    /// Processes.
    pub processes: &'k Processes,
    /// Files.
    pub places: &'k Places,
    /// What was said.
    pub talk: &'k Talk,
    /// The observer's own pid.
    pub observer: Option<u32>,
    /// What was said at that time is known by now.
    pub is_settled: bool,
}

/// An event.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `e17`, `k3`
    pub event: String,
    /// On the boot clock in nanoseconds.
    pub ts_ns: u64,
    /// Who.
    pub process: ProcessId,
    /// The thread's name.
    pub comm: Comm,
    /// The line's type.
    pub kind: &'static str,
    /// The file.
    pub inode: Option<Inode>,
    /// Paths of files that have, or get, another content or name.
    pub changes: Vec<String>,
    /// The program, and the script if it reads one.
    pub runs: Vec<String>,
    /// An agent runs this, with nothing but shells between.
    pub is_direct: bool,
    line: Map<String, Value>,
}

impl Facts {
    /// What a process did.
    pub fn of_deed(deed: &Deed, known: &Known<'_>) -> Self {
        let mut facts = Self::new(format!("e{}", deed.number), deed.what.kind(), deed);
        facts.line = line(&deed.what);
        match &deed.what {
            What::Exec(exec) => facts.add_exec(exec, known),
            What::File(kind, file) => facts.add_file(*kind, file),
            _ => {}
        }
        facts
    }

    /// Something that was said.
    pub fn said(
        event: String,
        kind: &'static str,
        origin: &crate::stream::Origin,
        line: Map<String, Value>,
    ) -> Self {
        Self {
            event,
            ts_ns: origin.ts_ns,
            process: origin.process,
            comm: origin.comm,
            kind,
            inode: None,
            changes: Vec::new(),
            runs: Vec::new(),
            is_direct: false,
            line,
        }
    }

    fn new(event: String, kind: &'static str, deed: &Deed) -> Self {
        Self {
            event,
            ts_ns: deed.ts_ns,
            process: deed.process,
            comm: deed.comm,
            kind,
            inode: None,
            changes: Vec::new(),
            runs: Vec::new(),
            is_direct: false,
            line: Map::new(),
        }
    }

    fn add_exec(&mut self, exec: &Exec, known: &Known<'_>) {
        if exec.error.is_some() {
            return;
        }
        self.inode = exec.exe_file;
        if exec.exe.as_ref().is_some_and(|exe| exe.is_deleted) {
            self.line.insert("deleted".to_owned(), Value::Bool(true));
        }
        self.is_direct = known.talk.is_direct(self.process, known.processes);
        if let Some(process) = known.processes.process(self.process) {
            self.runs.push(process.program.exe.clone());
            self.runs.extend(process.program.script.clone());
        }
    }

    fn add_file(&mut self, kind: FileKind, file: &File) {
        self.inode = file.inode;
        if file.error.is_some() {
            return;
        }
        let changed = match kind {
            FileKind::Open => file.path.as_ref().filter(|_| is_for_writing(file)),
            FileKind::Write => file.path.as_ref().filter(|_| file.bytes != Some(0)),
            FileKind::Mmap | FileKind::Truncate | FileKind::Symlink => file.path.as_ref(),
            FileKind::Rename | FileKind::Link => file.to.as_ref(),
            _ => None,
        };
        self.changes
            .extend(changed.map(|path: &Path| path.text().into_owned()));
    }

    /// A field of the line.
    pub fn line(&self, names: &[String]) -> Seen<'_> {
        let (first, rest) = match names.split_first() {
            Some(split) => split,
            None => return Seen::Absent,
        };
        if first == "comm" && rest.is_empty() {
            return Seen::Text(self.comm.text());
        }
        let mut value = self.line.get(first);
        for name in rest {
            value = value.and_then(|value| value.get(name));
        }
        value.map_or(Seen::Absent, Seen::json)
    }

    /// A text of the line.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.line.get(name)?.as_str()
    }

    /// A number of the line.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.line.get(name)?.as_u64()
    }

    /// The path that it names.
    pub fn path(&self) -> Option<&String> {
        match self.line.get("path")? {
            Value::String(path) => Some(path),
            _ => None,
        }
    }

    /// Of the other side.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        let peer: SocketAddr = self.text("peer")?.parse().ok()?;
        Some(peer.ip().to_canonical())
    }

    /// The process that a signal or ptrace is for; `None`: a group, or none.
    pub fn target_pid(&self) -> Option<u32> {
        let target = self.number("target")?;
        u32::try_from(target).ok().filter(|target| *target > 0)
    }

    /// What it is about, for people and to tell it once.
    pub fn subject(&self) -> String {
        if let Some(change) = self.changes.first().or(self.path()) {
            return change.clone();
        }
        if let Some(host) = self.text("host").or(self.text("peer")) {
            return host.to_owned();
        }
        if let Some(Value::Array(args)) = self.line.get("args") {
            let args: Vec<_> = args.iter().filter_map(Value::as_str).collect();
            return shlex::try_join(args.iter().copied()).unwrap_or_else(|_| args.join(" "));
        }
        for name in ["tool", "target", "pipe"] {
            if let Some(value) = self.line.get(name) {
                return match value {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
            }
        }
        String::new()
    }
}

fn is_for_writing(file: &File) -> bool {
    file.flags
        .iter()
        .any(|flag| ["write", "read-write", "truncate"].contains(flag))
}

/// The fields of its line.
fn line(what: &What) -> Map<String, Value> {
    match what {
        What::Blind(blind) => object(blind),
        What::Dns(dns) => object(dns),
        What::Exec(exec) => object(exec),
        What::Exit(exit) => object(exit),
        What::File(_, file) => object(file),
        What::Fork(fork) => object(fork),
        What::Identity(identity) => object(identity),
        What::Net(_, net) => object(net),
        What::Ptrace(ptrace) => object(ptrace),
        What::Signal(signal) => object(signal),
        What::Stdio(stdio) => object(stdio),
    }
}

/// Its fields as JSON.
pub fn object(fields: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(fields) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
