//! What is remembered of processes: who started whom, what each did in sums, and the files that are being written. Bounded:
//! when there are too many processes, those that ended first are added to their parent and forgotten.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::deeds::deed::{File, FileKind, Net, NetKind};
use crate::event::ProcessId;

use super::paint;

/// Processes that are remembered.
const NODES_MAX: usize = 20_000;
/// Files of all processes that are remembered while they are written.
const NOTES_MAX: usize = 16_384;

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// What it said.
    pub code: Option<i32>,
    /// What ended it.
    pub signal: Option<&'static str>,
    /// Nanoseconds from its start.
    pub lasted_ns: u64,
}

impl End {
    /// In words.
    pub fn text(&self) -> String {
        let seconds = self.lasted_ns as f64 / 1e9;
        match (self.signal, self.code) {
            (Some(signal), _) => format!("ended by {signal} after {seconds:.3} s"),
            (None, Some(code)) => format!("ended with {code} after {seconds:.3} s"),
            (None, None) => format!("ended after {seconds:.3} s"),
        }
    }

    fn is_failure(&self) -> bool {
        self.code != Some(0)
    }
}

/// What processes did, in sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Files that were made.
    pub created: u64,
    /// Bytes written to files.
    pub bytes: u64,
    /// Names of files and directories that were removed.
    pub removed: u64,
    /// Connections to and from others.
    pub connections: u64,
    /// Bytes through sockets.
    pub sent: u64,
    /// Bytes through sockets.
    pub received: u64,
    /// Calls of models.
    pub calls: u64,
    /// Calls that failed.
    pub failed_calls: u64,
    /// Tokens of them.
    pub input_tokens: u64,
    /// Tokens of them.
    pub output_tokens: u64,
    /// US dollars.
    pub usd: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.created, other.created),
            (&mut self.bytes, other.bytes),
            (&mut self.removed, other.removed),
            (&mut self.connections, other.connections),
            (&mut self.sent, other.sent),
            (&mut self.received, other.received),
            (&mut self.calls, other.calls),
            (&mut self.failed_calls, other.failed_calls),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
        self.usd += other.usd;
    }
}

/// Processes that are remembered as a number only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Folded {
    /// How many.
    pub processes: u64,
    /// Those that did not end with 0.
    pub failed: u64,
    /// What they did.
    pub sums: Sums,
}

/// A file that a process writes: what was not told of it yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileNote {
    /// It was not there before.
    pub is_created: bool,
    /// Written.
    pub bytes: u64,
    /// Reports of writing.
    pub times: u64,
    /// A line tells of it already.
    pub is_told: bool,
}

impl FileNote {
    /// In words; `None`: there is nothing new.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = paint::bytes(self.bytes);
        match (self.is_created, self.bytes, self.is_told) {
            (false, 0, _) => None,
            (true, 0, _) => Some(format!("creates {path}")),
            (true, _, _) => Some(format!("creates {path} ({bytes})")),
            (false, _, false) => Some(format!("writes {path} ({bytes})")),
            (false, _, true) => Some(format!("writes {path} (another {bytes})")),
        }
    }
}

/// A process.
#[derive(Debug, Default)]
pub struct Node {
    /// Counts processes in the order in which they were seen.
    pub number: u64,
    /// Who started it, if that one is in the tree.
    pub parent: Option<ProcessId>,
    /// How many are above it.
    pub depth: usize,
    /// Children in the tree.
    children: usize,
    /// Its command, or what else it is called.
    pub name: String,
    /// It has its line.
    pub is_introduced: bool,
    /// A program that could not be run, unless another one is found.
    pub failed: Option<String>,
    files: BTreeMap<String, FileNote>,
    /// What it did.
    pub sums: Sums,
    /// How it ended.
    pub end: Option<End>,
    /// Children that are not in the tree any more.
    pub folded: Folded,
}

/// All processes.
#[derive(Default)]
pub struct Forest {
    nodes: HashMap<ProcessId, Node>,
    /// Those that ended, first ones first.
    ended: VecDeque<ProcessId>,
    seen: u64,
    notes: usize,
    /// Those that had no parent, and are not in the tree any more.
    pub folded: Folded,
}

impl Forest {
    /// The process, which is a new one if it is not known.
    pub fn node(&mut self, process: ProcessId) -> &mut Node {
        if !self.nodes.contains_key(&process) {
            self.make_room();
            self.seen += 1;
        }
        let number = self.seen;
        self.nodes.entry(process).or_insert_with(|| Node {
            number,
            ..Node::default()
        })
    }

    /// Says who started a process. The first word on it counts; so nobody is above itself.
    pub fn place(&mut self, process: ProcessId, parent: ProcessId) {
        let Some((above, is_older)) = self
            .nodes
            .get(&parent)
            .map(|node| (node.depth, node.number))
        else {
            return;
        };
        let Some(node) = self.nodes.get_mut(&process) else {
            return;
        };
        // Its line stands already, or children have theirs.
        let is_placed = node.parent.is_some() || node.is_introduced || node.children > 0;
        if is_placed || node.number <= is_older {
            return;
        }
        node.parent = Some(parent);
        node.depth = above + 1;
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children += 1;
        }
    }

    /// A process and those above it that have no line yet, from the top; they are to get it now.
    pub fn introduced_with(&mut self, process: ProcessId) -> Vec<ProcessId> {
        let mut chain = Vec::new();
        let mut next = Some(process);
        while let Some(process) = next
            && let Some(node) = self
                .nodes
                .get_mut(&process)
                .filter(|node| !node.is_introduced)
        {
            node.is_introduced = true;
            next = node.parent;
            chain.push(process);
        }
        chain.reverse();
        chain
    }

    /// Whether something of it waits to be told.
    pub fn has_news(&self, process: ProcessId) -> bool {
        let node = self.nodes.get(&process);
        node.is_some_and(|node| {
            let mut files = node.files.values();
            node.is_introduced || files.any(|note| note.is_created || note.bytes > 0)
        })
    }

    /// How deep a process stands.
    pub fn depth(&self, process: ProcessId) -> usize {
        self.nodes.get(&process).map_or(0, |node| node.depth)
    }

    /// The process has ended.
    pub fn end(&mut self, process: ProcessId, end: End) {
        if let Some(node) = self.nodes.get_mut(&process)
            && node.end.replace(end).is_none()
        {
            self.notes = self.notes.saturating_sub(node.files.len());
            node.files = BTreeMap::new();
            self.ended.push_back(process);
        }
    }

    /// One that ended and has nobody under it goes. While all live, the tree grows: there are never more than the system's.
    fn make_room(&mut self) {
        let mut left = self.ended.len().min(64);
        while self.nodes.len() >= NODES_MAX && left > 0 {
            left -= 1;
            let Some(process) = self.ended.pop_front() else {
                return;
            };
            let has_children = self
                .nodes
                .get(&process)
                .is_some_and(|node| node.children > 0);
            if has_children {
                self.ended.push_back(process);
                continue;
            }
            if let Some(node) = self.nodes.remove(&process) {
                self.fold(&node);
            }
        }
    }

    fn fold(&mut self, node: &Node) {
        let parent = node.parent.and_then(|parent| self.nodes.get_mut(&parent));
        let into = match parent {
            Some(parent) => {
                parent.children = parent.children.saturating_sub(1);
                &mut parent.folded
            }
            None => &mut self.folded,
        };
        into.processes += 1 + node.folded.processes;
        into.failed += u64::from(node.end.is_some_and(|end| end.is_failure())) + node.folded.failed;
        into.sums.add(&node.sums);
        into.sums.add(&node.folded.sums);
    }

    /// Adds to the sums of a process.
    pub fn count_file(&mut self, process: ProcessId, kind: FileKind, file: &File) {
        if file.error.is_some() {
            return;
        }
        let sums = &mut self.node(process).sums;
        match kind {
            FileKind::Open => sums.created += u64::from(file.created && !file.inherited),
            FileKind::Write => {
                sums.bytes = sums.bytes.saturating_add(file.bytes.unwrap_or(0));
            }
            FileKind::Rmdir | FileKind::Unlink => sums.removed += 1,
            _ => {}
        }
    }

    /// Adds to the sums of a process.
    pub fn count_net(&mut self, process: ProcessId, kind: NetKind, net: &Net) {
        let sums = &mut self.node(process).sums;
        match kind {
            NetKind::Accept | NetKind::Connect => {
                sums.connections += u64::from(net.error.is_none())
            }
            NetKind::Close => {
                sums.sent = sums.sent.saturating_add(net.sent.unwrap_or(0));
                sums.received = sums.received.saturating_add(net.received.unwrap_or(0));
            }
            _ => {}
        }
    }

    /// Remembers what was written; what is to be told of it now.
    pub fn note_file(
        &mut self,
        process: ProcessId,
        path: &str,
        news: FileNote,
        is_closed: bool,
    ) -> Option<FileNote> {
        let has_room = self.notes < NOTES_MAX;
        let node = self.nodes.get_mut(&process)?;
        if !node.files.contains_key(path) {
            if !has_room {
                return Some(news);
            }
            self.notes += 1;
        }
        let note = node.files.entry(path.to_owned()).or_default();
        note.is_created |= news.is_created;
        note.bytes = note.bytes.saturating_add(news.bytes);
        note.times += news.times;
        if !is_closed || note.is_told {
            return None;
        }
        Some(note.take())
    }

    /// What is not told yet of a file.
    pub fn take_file(&mut self, process: ProcessId, path: &str) -> Option<(String, FileNote)> {
        let note = self.nodes.get_mut(&process)?.files.get_mut(path)?;
        Some((path.to_owned(), note.take()))
    }

    /// What is not told yet of files of a process.
    pub fn take_files(&mut self, process: ProcessId) -> Vec<(String, FileNote)> {
        let Some(node) = self.nodes.get_mut(&process) else {
            return Vec::new();
        };
        let files = node.files.iter_mut();
        let new = files.filter(|(_, note)| note.is_created || note.bytes > 0);
        new.map(|(path, note)| (path.clone(), note.take()))
            .collect()
    }

    /// All processes, each below its parent, in the order in which they were seen; how deep, and whether it is the last one
    /// there, of it and of those above.
    pub fn walk(&self, mut each: impl FnMut(&ProcessId, &Node, &[bool])) {
        let mut below: HashMap<Option<ProcessId>, Vec<(&ProcessId, &Node)>> = HashMap::new();
        for (process, node) in &self.nodes {
            below.entry(node.parent).or_default().push((process, node));
        }
        for children in below.values_mut() {
            children.sort_by_key(|(_, node)| std::cmp::Reverse(node.number));
        }
        // A stack of our own: a tree can be deeper than ours.
        let mut levels: Vec<Vec<(&ProcessId, &Node)>> = below.remove(&None).into_iter().collect();
        let mut lasts: Vec<bool> = vec![false; levels.len()];
        while let Some(level) = levels.last_mut() {
            let Some((process, node)) = level.pop() else {
                levels.pop();
                lasts.pop();
                continue;
            };
            if let Some(last) = lasts.last_mut() {
                *last = level.is_empty();
            }
            each(process, node, &lasts);
            if let Some(children) = below.remove(&Some(*process)) {
                levels.push(children);
                lasts.push(false);
            }
        }
    }
}

impl FileNote {
    /// What is new; from now on it is told.
    fn take(&mut self) -> Self {
        let told = Self {
            is_told: true,
            ..Self::default()
        };
        std::mem::replace(self, told)
    }
}
