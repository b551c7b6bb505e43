//! What is told of processes: the kernel side's word of those that start, are found or are asked about, and what a
//! run knows of one in the end. Decoded here; judged and completed elsewhere.

use serde::{Deserialize, Serialize};

use super::{Caller, Comm, ProcessId};
use crate::bytes::{Endian, Reader};
use crate::select::Container;

/// `sizeof(struct process_facts)`.
pub const FACTS_LEN: usize = 336;
const PATH_LEN: usize = 256;

/// A file as the kernel knows it: device, generation and inode, as `struct file_id` lays them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub [u8; 16]);

/// `enum agentsight_question`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Property {
    /// Its executable.
    Exe = 0,
    /// Its name.
    Comm = 1,
    /// Its cgroup and mount namespace.
    Place = 2,
    /// Its effective user.
    User = 3,
}

impl Property {
    /// In the kernel's order.
    pub const ALL: [Self; 4] = [Self::Exe, Self::Comm, Self::Place, Self::User];

    /// In the kernel's set of properties that are asked for.
    pub fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// One value of one property: `struct question`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Which property.
    pub property: Property,
    /// As the kernel has it.
    pub value: [u8; 16],
}

impl Question {
    /// As the kernel side reads it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.value.to_vec();
        bytes.extend((self.property as u32).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }
}

/// Why a process is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Whether it is to be followed is asked.
    Asked,
    /// It runs another program now.
    Executed,
    /// It runs already, and is followed from now on, or speaks TLS for the first time.
    Seen,
}

/// What the kernel knows of a process: `struct process_facts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    values: [[u8; 16]; 4],
    /// Its parent.
    pub parent: ProcessId,
    /// Its id in its own PID namespace.
    pub ns_pid: u32,
    /// What was asked to be executed, as it was written, cut to 255 bytes; empty if it runs already.
    pub path: Vec<u8>,
}

impl Facts {
    /// Decodes a payload.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload, Endian::NATIVE);
        let mut value = || reader.bytes(16)?.try_into().ok();
        let values = [value()?, value()?, value()?, value()?];
        let parent_start = reader.u64()?;
        let (parent, ns_pid) = (reader.u32()?, reader.u32()?);
        let path = reader.bytes(PATH_LEN)?;
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            values,
            parent: ProcessId {
                pid: parent,
                start_ns: parent_start,
            },
            ns_pid,
            path: path.to_vec(),
        })
    }

    /// The question that a property is.
    pub fn question(&self, property: Property) -> Question {
        let [exe, comm, place, user] = self.values;
        let value = match property {
            Property::Exe => exe,
            Property::Comm => comm,
            Property::Place => place,
            Property::User => user,
        };
        Question { property, value }
    }

    /// Its executable.
    pub fn exe(&self) -> FileId {
        FileId(self.question(Property::Exe).value)
    }

    /// Its name, or the one that it is about to take.
    pub fn comm(&self) -> Comm {
        Comm(self.question(Property::Comm).value)
    }

    /// Its effective user.
    pub fn uid(&self) -> u32 {
        let [a, b, c, d, ..] = self.question(Property::User).value;
        u32::from_ne_bytes([a, b, c, d])
    }

    /// Its cgroup (v2), by the inode of its directory.
    pub fn cgroup(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.question(Property::Place).value;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// Its mount namespace, as in /proc/PID/ns/mnt.
    pub fn mount_namespace(&self) -> u32 {
        let [.., a, b, c, d, _, _, _, _] = self.question(Property::Place).value;
        u32::from_ne_bytes([a, b, c, d])
    }
}

/// A process that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Which process, and when.
    pub caller: Caller,
    /// Why.
    pub why: Sighting,
    /// What the kernel knows of it.
    pub facts: Facts,
}

/// What a run knows of a process, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Which one.
    pub process: ProcessId,
    /// When it began what it does now, on the boot clock: its start, or its last exec.
    pub since_ns: u64,
    /// Its name.
    pub comm: String,
    /// Effective user id.
    pub uid: u32,
    /// Who started it.
    pub parent: ProcessId,
    /// Its id in its own PID namespace, if that is another one than ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_pid: Option<u32>,
    /// Its executable, as it sees it itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its cgroup (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
}

/// Probes of a file came after a process could have used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Whose words may be missing.
    pub process: ProcessId,
    /// Its name.
    pub comm: String,
    /// The file.
    pub file: String,
    /// The libraries in it; none: the process ended before its file could be examined, which is not there any more.
    pub libraries: Vec<String>,
    /// From when on, on the boot clock in nanoseconds.
    pub from_ns: u64,
    /// Until when: the probes were in place.
    pub until_ns: u64,
}
