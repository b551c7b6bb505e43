//! What a process did to the system, as the kernel side tells it: `struct act` and its texts, decoded. Paths are put
//! together from names here; what they mean together with what came before is the system layer's affair.

use std::borrow::Cow;

use super::begun::{ACT_FLAG_LATE, ACT_FLAG_UNSEEN};
use super::process::FileId;
use super::{Direction, ProcessId};
use crate::bytes::{Endian, Reader};

/// `sizeof(struct act)`.
pub const ACT_LEN: usize = 72;
const TEXTS: usize = 4;
/// `FMODE_CREATED` and `FMODE_WRITE` (include/linux/fs.h).
const FMODE_CREATED: u64 = 0x10_0000;
const FMODE_WRITE: u64 = 2;

const TEXT_FORM: u8 = 15;
pub(super) const TEXT_PLAIN: u8 = 1;
pub(super) const TEXT_WALKED: u8 = 2;
const TEXT_OUTSIDE: u8 = 3;
const TEXT_CUT: u8 = 4;
pub(super) const TEXT_DELETED: u8 = 16;
pub(super) const TEXT_TOO_LONG: u8 = 32;

/// `enum agentsight_act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
#[allow(missing_docs)] // documented where they are defined: bpf/event.h
pub enum ActKind {
    Fork = 1,
    Exec = 2,
    ExecFailed = 3,
    Exit = 4,
    Open = 5,
    Written = 6,
    Truncate = 7,
    Rename = 8,
    Unlink = 9,
    Rmdir = 10,
    Link = 11,
    Symlink = 12,
    Mkdir = 13,
    Mknod = 14,
    Chmod = 15,
    Chown = 16,
    Mmap = 17,
    Connect = 18,
    Bind = 19,
    Listen = 20,
    Accept = 21,
    Connected = 22,
    Flow = 23,
    SendTo = 24,
    Dns = 25,
    Signal = 26,
    Ptrace = 27,
    SetId = 28,
    Memfd = 29,
    Blind = 30,
}

impl ActKind {
    /// In the kernel's order.
    pub const ALL: [Self; 30] = [
        Self::Fork,
        Self::Exec,
        Self::ExecFailed,
        Self::Exit,
        Self::Open,
        Self::Written,
        Self::Truncate,
        Self::Rename,
        Self::Unlink,
        Self::Rmdir,
        Self::Link,
        Self::Symlink,
        Self::Mkdir,
        Self::Mknod,
        Self::Chmod,
        Self::Chown,
        Self::Mmap,
        Self::Connect,
        Self::Bind,
        Self::Listen,
        Self::Accept,
        Self::Connected,
        Self::Flow,
        Self::SendTo,
        Self::Dns,
        Self::Signal,
        Self::Ptrace,
        Self::SetId,
        Self::Memfd,
        Self::Blind,
    ];

    fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// The numbers of this file under their names in the header file, for the test that compares them.
#[cfg(all(test, feature = "bpf"))]
pub(crate) const CONSTANTS: &[(&str, u64)] = &[
    ("ACT_FORK", ActKind::Fork as u64),
    ("ACT_EXEC", ActKind::Exec as u64),
    ("ACT_EXEC_FAILED", ActKind::ExecFailed as u64),
    ("ACT_EXIT", ActKind::Exit as u64),
    ("ACT_OPEN", ActKind::Open as u64),
    ("ACT_WRITTEN", ActKind::Written as u64),
    ("ACT_TRUNCATE", ActKind::Truncate as u64),
    ("ACT_RENAME", ActKind::Rename as u64),
    ("ACT_UNLINK", ActKind::Unlink as u64),
    ("ACT_RMDIR", ActKind::Rmdir as u64),
    ("ACT_LINK", ActKind::Link as u64),
    ("ACT_SYMLINK", ActKind::Symlink as u64),
    ("ACT_MKDIR", ActKind::Mkdir as u64),
    ("ACT_MKNOD", ActKind::Mknod as u64),
    ("ACT_CHMOD", ActKind::Chmod as u64),
    ("ACT_CHOWN", ActKind::Chown as u64),
    ("ACT_MMAP", ActKind::Mmap as u64),
    ("ACT_CONNECT", ActKind::Connect as u64),
    ("ACT_BIND", ActKind::Bind as u64),
    ("ACT_LISTEN", ActKind::Listen as u64),
    ("ACT_ACCEPT", ActKind::Accept as u64),
    ("ACT_CONNECTED", ActKind::Connected as u64),
    ("ACT_FLOW", ActKind::Flow as u64),
    ("ACT_SEND_TO", ActKind::SendTo as u64),
    ("ACT_DNS", ActKind::Dns as u64),
    ("ACT_SIGNAL", ActKind::Signal as u64),
    ("ACT_PTRACE", ActKind::Ptrace as u64),
    ("ACT_SET_ID", ActKind::SetId as u64),
    ("ACT_MEMFD", ActKind::Memfd as u64),
    ("ACT_BLIND", ActKind::Blind as u64),
    ("ACT_FLAG_CLOSED", 1),
    ("ACT_FLAG_INHERITED", 2),
    ("ACT_FLAG_WATCHED", 4),
    ("ACT_FLAG_WRITTEN", 8),
    ("ACT_FLAG_SECURE", 16),
    ("ACT_FLAG_LATE", ACT_FLAG_LATE as u64),
    ("ACT_FLAG_UNSEEN", ACT_FLAG_UNSEEN as u64),
    ("TEXT_PLAIN", TEXT_PLAIN as u64),
    ("TEXT_WALKED", TEXT_WALKED as u64),
    ("TEXT_OUTSIDE", TEXT_OUTSIDE as u64),
    ("TEXT_CUT", TEXT_CUT as u64),
    ("TEXT_FORM", TEXT_FORM as u64),
    ("TEXT_DELETED", TEXT_DELETED as u64),
    ("TEXT_TOO_LONG", TEXT_TOO_LONG as u64),
];

/// `enum agentsight_act_flag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActFlags(u16);

impl ActFlags {
    /// The last word on the descriptor.
    pub fn is_closed(self) -> bool {
        self.0 & 1 != 0
    }

    /// Opened before we watched, or by another process.
    pub fn is_inherited(self) -> bool {
        self.0 & 2 != 0
    }

    /// Opened for reading only; its name may be one that is watched.
    pub fn is_watched(self) -> bool {
        self.0 & 4 != 0
    }

    /// A process that we follow wrote the file before.
    pub fn was_written(self) -> bool {
        self.0 & 8 != 0
    }

    /// The process was not followed yet when its program began: this is what was found a moment later.
    pub fn is_late(self) -> bool {
        self.0 & ACT_FLAG_LATE != 0
    }

    /// And nothing but its name was found.
    pub fn is_unseen(self) -> bool {
        self.0 & ACT_FLAG_UNSEEN != 0
    }

    /// Set-user-ID and the like.
    pub fn is_secure(self) -> bool {
        self.0 & 16 != 0
    }
}

/// How far a path goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Bytes as the program gave them.
    Given,
    /// From the process's root.
    Whole,
    /// It never came to the root: a file without a place, or out of the process's sight.
    Outside,
    /// Too deep: its beginning is missing.
    Cut,
}

/// A text of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'b> {
    bytes: &'b [u8],
    form: u8,
}

impl<'b> Text<'b> {
    /// The bytes as they came.
    pub fn raw(&self) -> &'b [u8] {
        self.bytes
    }

    /// The end of it is missing.
    pub fn is_too_long(&self) -> bool {
        self.form & TEXT_TOO_LONG != 0
    }

    /// The file has no name any more; this was its last.
    pub fn is_deleted(&self) -> bool {
        self.form & TEXT_DELETED != 0
    }

    /// How far it goes, if it is one.
    pub fn reach(&self) -> Option<Reach> {
        match self.form & TEXT_FORM {
            TEXT_PLAIN => Some(Reach::Given),
            TEXT_WALKED => Some(Reach::Whole),
            TEXT_OUTSIDE => Some(Reach::Outside),
            TEXT_CUT => Some(Reach::Cut),
            _ => None,
        }
    }

    /// As a path: names are put in their order.
    pub fn path(&self) -> Cow<'b, [u8]> {
        let reach = self.reach();
        if matches!(reach, None | Some(Reach::Given)) {
            return Cow::Borrowed(self.bytes);
        }
        let names = self.bytes.split(|byte| *byte == 0);
        // A name's zero is behind it: the last piece is empty.
        let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        let mut path = Vec::with_capacity(self.bytes.len() + 1);
        for (place, name) in names.iter().rev().enumerate() {
            if place > 0 || reach == Some(Reach::Whole) {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        if path.is_empty() && reach == Some(Reach::Whole) {
            path.push(b'/');
        }
        Cow::Owned(path)
    }
}

/// One act, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act<'b> {
    /// What.
    pub kind: ActKind,
    /// Of the system call: negative is an error's number.
    pub result: i64,
    /// Numbers, by `kind`: see `enum agentsight_act`.
    pub value: [u64; 4],
    /// The file, if one is known.
    pub file: FileId,
    /// The descriptor.
    pub fd: Option<i32>,
    /// More about it.
    pub flags: ActFlags,
    payload: Cow<'b, [u8]>,
    lens: [u16; TEXTS],
    forms: [u8; TEXTS],
}

impl<'b> Act<'b> {
    /// The same with bytes of its own.
    pub fn into_owned(self) -> Act<'static> {
        Act {
            payload: Cow::Owned(self.payload.into_owned()),
            ..self
        }
    }

    pub(super) fn read(number: u16, fd: i32, payload: &'b [u8]) -> Option<Self> {
        let mut reader = Reader::new(payload, Endian::NATIVE);
        let result = reader.u64()?.cast_signed();
        let value = [reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?];
        let file = FileId(reader.bytes(16)?.try_into().ok()?);
        let lens = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let forms = [reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?];
        let flags = ActFlags(reader.u16()?);
        reader.skip(2)?;
        let payload = reader.rest();
        let needed: usize = lens.iter().map(|len| usize::from(*len)).sum();
        Some(Self {
            kind: ActKind::from_number(number)?,
            result,
            value,
            file,
            fd: (fd >= 0).then_some(fd),
            flags,
            payload: Cow::Borrowed(payload.get(..needed)?),
            lens,
            forms,
        })
    }

    /// One of its texts, counted from 0.
    pub fn text(&self, index: usize) -> Option<Text<'_>> {
        let form = *self.forms.get(index)?;
        let before: usize = self
            .lens
            .get(..index)?
            .iter()
            .map(|len| usize::from(*len))
            .sum();
        let len = usize::from(*self.lens.get(index)?);
        let bytes = self.payload.get(before..before + len)?;
        (form & TEXT_FORM != 0).then_some(Text { bytes, form })
    }

    /// The error's number, if it failed.
    pub fn errno(&self) -> Option<i32> {
        let number = self.result.checked_neg()?;
        (1..=4095).contains(&number).then_some(number as i32)
    }

    /// A value as two numbers of 32 bits: the lower one, and the higher one.
    pub fn pair(&self, index: usize) -> [u32; 2] {
        let value = self.value.get(index).copied().unwrap_or_default();
        [value as u32, (value >> 32) as u32]
    }

    /// A process in the first two values.
    pub fn process(&self) -> ProcessId {
        let [pid, start_ns, ..] = self.value;
        ProcessId {
            pid: pid as u32,
            start_ns,
        }
    }

    /// Of [`ActKind::Open`]: the file was made by it.
    pub fn has_created(&self) -> bool {
        self.value[1] & FMODE_CREATED != 0
    }

    /// Of [`ActKind::Open`]: it can be written to.
    pub fn is_writable(&self) -> bool {
        self.value[1] & FMODE_WRITE != 0
    }
}

/// A part of the arguments or the environment of a program that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words<'b> {
    /// The environment; else the arguments.
    pub is_environment: bool,
    /// Where in it.
    pub offset: u64,
    /// All of it: bytes, with those that are not told.
    pub total: u64,
    /// The bytes: each word has a zero behind it.
    pub bytes: Cow<'b, [u8]>,
}

/// Bytes through one of a process's first three descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stdio<'b> {
    /// Which one.
    pub fd: i32,
    /// Which way.
    pub direction: Direction,
    /// Bytes that went before, this way.
    pub offset: u64,
    /// The pipe's inode, or the socket's.
    pub inode: u64,
    /// Bytes behind these that are not told, and that the call moved.
    pub missing: u64,
    /// The bytes.
    pub bytes: Cow<'b, [u8]>,
}
