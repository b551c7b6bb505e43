//! What the steps of a rule have in common. Values are kept as hashes of 64 bits: bounded, whatever a path's length is.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;

use super::facts::{Facts, Known};
use super::field::Field;
use crate::deeds::deed::Inode;
use crate::event::ProcessId;

/// A value that two events may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

/// What is shared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Shared {
    /// The value of a field.
    Field(Field),
    /// The file: by device and inode where they are known, else by path.
    File,
    /// The other side's name or address.
    Host,
    /// The later process is the earlier one, or comes from it.
    Lineage,
    /// The pipe.
    Pipe,
    /// The process.
    Process,
    /// Both processes come from the same first one.
    Tree,
}

impl TryFrom<String> for Shared {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Ok(match name.as_str() {
            "file" => Self::File,
            "host" => Self::Host,
            "lineage" => Self::Lineage,
            "pipe" => Self::Pipe,
            "process" => Self::Process,
            "tree" => Self::Tree,
            _ => Self::Field(Field::parse(&name)?),
        })
    }
}

impl Shared {
    /// What a later event may share with this one.
    pub fn keys(&self, facts: &Facts, known: &Known<'_>) -> Vec<Key> {
        match self {
            Self::File => {
                let mut keys: Vec<_> = facts.inode.iter().map(inode_key).collect();
                let paths = facts.changes.iter().chain(&facts.runs).chain(facts.path());
                keys.extend(paths.map(|path| text_key(path)));
                keys
            }
            Self::Lineage => vec![process_key(facts.process)],
            _ => self.sought(facts, known),
        }
    }

    /// What this event may share with an earlier one.
    pub fn sought(&self, facts: &Facts, known: &Known<'_>) -> Vec<Key> {
        match self {
            Self::Field(field) => {
                let mut keys = Vec::new();
                field
                    .seen(facts, known)
                    .each_text(&mut |text| keys.push(text_key(text)));
                keys
            }
            Self::File => files(facts, known),
            Self::Host => {
                let ip = facts.peer_ip().map(|ip| text_key(&ip.to_string()));
                let name = facts.text("host").map(text_key);
                ip.into_iter().chain(name).collect()
            }
            Self::Lineage => known
                .processes
                .line(facts.process)
                .map(process_key)
                .collect(),
            Self::Pipe => facts
                .number("pipe")
                .map(|pipe| hash((3u8, pipe)))
                .into_iter()
                .collect(),
            Self::Process => vec![process_key(facts.process)],
            Self::Tree => vec![process_key(known.processes.root(facts.process))],
        }
    }
}

/// By inode where that is known; a path may name another file in another container.
fn files(facts: &Facts, known: &Known<'_>) -> Vec<Key> {
    let mut keys: Vec<_> = facts.inode.iter().map(inode_key).collect();
    let of_interpreter = facts.runs.iter().skip(1);
    let unknown = facts
        .path()
        .into_iter()
        .chain(&facts.changes)
        .chain(&facts.runs);
    let by_path: Vec<_> = match facts.inode {
        Some(_) => of_interpreter.collect(),
        None => unknown.collect(),
    };
    for path in by_path {
        let path = text_key(path);
        keys.push(known.places.file(path).unwrap_or(path));
    }
    keys
}

/// Of a file.
pub fn inode_key(inode: &Inode) -> Key {
    hash((1u8, inode))
}

/// Of a text.
pub fn text_key(text: &str) -> Key {
    hash((0u8, text))
}

/// Of a process.
pub fn process_key(process: ProcessId) -> Key {
    hash((2u8, process))
}

/// Of anything.
pub fn hash(value: impl Hash) -> Key {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Key(hasher.finish())
}
