//! Which file a path names, where that was seen: for events that have a path only, such as the script of an interpreter.

use std::collections::{HashMap, VecDeque};

use super::join::{Key, inode_key, text_key};
use crate::deeds::deed::{Deed, File, FileKind, What};
use crate::deeds::path::Path;

/// Paths that are known.
const PLACES_MAX: usize = 32768;

/// Files by their paths.
#[derive(Default)]
pub struct Places {
    files: HashMap<Key, Key>,
    order: VecDeque<Key>,
    /// Paths that were forgotten for lack of room.
    pub dropped: u64,
}

impl Places {
    /// What a deed says of paths.
    pub fn learn(&mut self, deed: &Deed) {
        let What::File(kind, file) = &deed.what else {
            return;
        };
        if file.error.is_some() {
            return;
        }
        match kind {
            FileKind::Open | FileKind::Write | FileKind::Truncate => self.is_at(file),
            FileKind::Rename => self.moved(file, true),
            FileKind::Link => self.moved(file, false),
            FileKind::Unlink => {
                let path = file.path.as_ref().map(key);
                path.map(|path| self.files.remove(&path));
            }
            _ => {}
        }
    }

    /// The file that has this path.
    pub fn file(&self, path: Key) -> Option<Key> {
        self.files.get(&path).copied()
    }

    fn is_at(&mut self, file: &File) {
        if let (Some(path), Some(inode)) = (&file.path, &file.inode) {
            self.insert(key(path), inode_key(inode));
        }
    }

    fn moved(&mut self, file: &File, leaves: bool) {
        let (Some(from), Some(to)) = (&file.path, &file.to) else {
            return;
        };
        let known = match leaves {
            true => self.files.remove(&key(from)),
            false => self.files.get(&key(from)).copied(),
        };
        match known {
            Some(inode) => self.insert(key(to), inode),
            None => {
                self.files.remove(&key(to));
            }
        }
    }

    fn insert(&mut self, path: Key, inode: Key) {
        if self.files.insert(path, inode).is_some() {
            return;
        }
        self.order.push_back(path);
        while self.order.len() > PLACES_MAX {
            let oldest = self.order.pop_front();
            let was_known = oldest.and_then(|oldest| self.files.remove(&oldest));
            self.dropped += u64::from(was_known.is_some());
        }
    }
}

fn key(path: &Path) -> Key {
    text_key(&path.text())
}
