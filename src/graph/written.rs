//! Files that processes wrote: what is run or read later may be the same.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::deeds::deed::Inode;
use crate::event::ProcessId;

/// Files that are remembered; the oldest go first.
const FILES_MAX: usize = 65536;

/// All of them.
#[derive(Default)]
pub struct Written {
    files: HashMap<Inode, ProcessId>,
    order: VecDeque<Inode>,
    /// What is where, of those that were written.
    places: HashMap<Vec<u8>, Inode>,
    ways: VecDeque<Vec<u8>>,
    /// Who was told to have read what, so that each is told once; beyond the bound, some are told again.
    readers: HashSet<(Inode, ProcessId)>,
}

impl Written {
    /// A process wrote a file.
    pub fn write(&mut self, inode: Inode, path: Option<&[u8]>, process: ProcessId) {
        if self.files.insert(inode, process).is_none() {
            self.order.push_back(inode);
        }
        while self.order.len() > FILES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.files.remove(&oldest);
        }
        if let Some(path) = path {
            self.place(path, inode);
        }
    }

    /// A file has another name now.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Option<Inode> {
        let inode = self.places.remove(from)?;
        self.place(to, inode);
        Some(inode)
    }

    /// A file was opened at this path: if it was written, it is there now, whatever way it was renamed.
    pub fn meet(&mut self, inode: Inode, path: &[u8]) {
        if self.files.contains_key(&inode) && self.at(path) != Some(inode) {
            self.place(path, inode);
        }
    }

    fn place(&mut self, path: &[u8], inode: Inode) {
        if self.places.insert(path.to_vec(), inode).is_none() {
            self.ways.push_back(path.to_vec());
        }
        while self.ways.len() > FILES_MAX
            && let Some(oldest) = self.ways.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    /// Whether that a process reads a file is told for the first time.
    pub fn is_news(&mut self, inode: Inode, reader: ProcessId) -> bool {
        if self.readers.len() >= FILES_MAX {
            self.readers.clear();
        }
        self.readers.insert((inode, reader))
    }

    /// Who wrote a file last.
    pub fn by(&self, inode: Inode) -> Option<ProcessId> {
        self.files.get(&inode).copied()
    }

    /// What was written at a path, and is there still, for all that is known.
    pub fn at(&self, path: &[u8]) -> Option<Inode> {
        self.places.get(path).copied()
    }

    /// It is gone from there.
    pub fn remove(&mut self, path: &[u8]) {
        self.places.remove(path);
    }
}
