//! What a process did, as it is told: the fields of one JSON line each (`sink/lines.schema.json` documents them).

use serde::Serialize;

use super::path::Path;
use crate::event::{Comm, ProcessId};

/// What a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Names it within one run: `e1`, `e2`, …
    pub number: u64,
    /// When it was done, on the boot clock in nanoseconds.
    pub ts_ns: u64,
    /// Who did it.
    pub process: ProcessId,
    /// The thread.
    pub tid: u32,
    /// The thread's name; empty where no thread of the process did it.
    pub comm: Comm,
    /// What.
    pub what: What,
}

/// What it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something unseen is possible from now on.
    Blind(Blind),
    /// Names were asked for, or told.
    Dns(Dns),
    /// Another program runs, or was to run.
    Exec(Box<Exec>),
    /// It ended.
    Exit(Exit),
    /// Something with a file, or its name.
    File(FileKind, Box<File>),
    /// A process was made.
    Fork(Fork),
    /// It is another user now, or wanted to be.
    Identity(Identity),
    /// Something with a socket.
    Net(NetKind, Box<Net>),
    /// It looked into another process, or changed it.
    Ptrace(Ptrace),
    /// It sent a signal.
    Signal(Signal),
    /// It said or was told something through a pipe.
    Stdio(Stdio),
}

impl What {
    /// The type of its line.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Blind(_) => "process.blind",
            Self::Dns(_) => "net.dns",
            Self::Exec(_) => "process.exec",
            Self::Exit(_) => "process.exit",
            Self::File(kind, _) => kind.line(),
            Self::Fork(_) => "process.fork",
            Self::Identity(_) => "process.setid",
            Self::Net(kind, _) => kind.line(),
            Self::Ptrace(_) => "process.ptrace",
            Self::Signal(_) => "process.signal",
            Self::Stdio(_) => "process.stdio",
        }
    }
}

/// An error that a system call told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Failure(pub &'static str);

/// A file as the kernel knows it, beside its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Inode {
    /// The device.
    pub dev: Device,
    /// Its number there.
    pub ino: u64,
    /// Tells files apart that had the same number one after the other.
    #[serde(skip)]
    pub generation: u32,
}

/// `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device(pub u32);

impl Serialize for Device {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.0 >> 20, self.0 & 0xf_ffff))
    }
}

/// A process was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// Its id.
    pub child_pid: u32,
    /// For good.
    #[serde(serialize_with = "super::process_name")]
    pub child: ProcessId,
    /// As it knows its id itself, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_ns_pid: Option<u32>,
}

/// Another program runs, or was to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// What was asked for, as it was written.
    pub filename: String,
    /// The executable.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::path_text"
    )]
    pub exe: Option<Path>,
    /// The executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_file: Option<Inode>,
    /// The last interpreter that `filename` named (`#!`), as it was written there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// The file that the interpreter reads.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::path_text"
    )]
    pub script: Option<Path>,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Bytes of arguments that are not told.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub args_missing: u64,
    /// Where it runs.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::path_text"
    )]
    pub cwd: Option<Path>,
    /// Who.
    #[serde(flatten)]
    pub identity: Option<Identity>,
    /// The controlling terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<Device>,
    /// Variables of the environment that change what a program does.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub env: std::collections::BTreeMap<String, String>,
    /// Bytes of the environment that are not told.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub env_missing: u64,
    /// The process was not followed yet when the program began: this is what /proc told of it a moment later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Set-user-ID and the like.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secure: bool,
    /// A process that is followed wrote the executable before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub was_written: bool,
    /// Why it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Users and groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective user.
    pub euid: u32,
    /// Effective group.
    pub egid: u32,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// A process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// What it said, if it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// What ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<&'static str>,
    /// It left a core dump.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub core: bool,
    /// Processor time of all its threads, in nanoseconds.
    pub cpu_ns: u64,
    /// The most memory that it had, in bytes.
    pub peak_rss: u64,
}

/// What is done to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum FileKind {
    Chmod,
    Chown,
    Link,
    Memfd,
    Mkdir,
    Mknod,
    Mmap,
    Open,
    Rename,
    Rmdir,
    Symlink,
    Truncate,
    Unlink,
    Write,
}

impl FileKind {
    /// The type of its line.
    pub fn line(self) -> &'static str {
        match self {
            Self::Chmod => "file.chmod",
            Self::Chown => "file.chown",
            Self::Link => "file.link",
            Self::Memfd => "file.memfd",
            Self::Mkdir => "file.mkdir",
            Self::Mknod => "file.mknod",
            Self::Mmap => "file.mmap",
            Self::Open => "file.open",
            Self::Rename => "file.rename",
            Self::Rmdir => "file.rmdir",
            Self::Symlink => "file.symlink",
            Self::Truncate => "file.truncate",
            Self::Unlink => "file.unlink",
            Self::Write => "file.write",
        }
    }
}

/// Something with a file, or its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct File {
    /// Where; nothing: it is not known.
    #[serde(flatten)]
    pub path: Option<Path>,
    /// The file.
    #[serde(flatten)]
    pub inode: Option<Inode>,
    /// The other place: where it goes to, or what the new link is.
    #[serde(flatten, serialize_with = "super::path::other")]
    pub to: Option<Path>,
    /// What a symbolic link says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd: Option<i32>,
    /// How it was opened: `read`, `write`, `append`, `create`, `truncate`, …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
    /// It was not there before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// Opened before we watched, or by another process.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
    /// A process that is followed wrote it before it was opened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub was_written: bool,
    /// Its reading is watched for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub watched: bool,
    /// Bytes written since that was last told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Calls that wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// The descriptor was closed: nothing more is written through it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// Length, of what was cut or mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// Permissions, in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The new owner; absent: stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// The new group; absent: stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What is done with sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum NetKind {
    Accept,
    Bind,
    Close,
    Connect,
    Connected,
    Listen,
    Send,
}

impl NetKind {
    /// The type of its line.
    pub fn line(self) -> &'static str {
        match self {
            Self::Accept => "net.accept",
            Self::Bind => "net.bind",
            Self::Close => "net.close",
            Self::Connect => "net.connect",
            Self::Connected => "net.connected",
            Self::Listen => "net.listen",
            Self::Send => "net.send",
        }
    }
}

/// Something with a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Net {
    /// `tcp`, `udp`, `unix`, …
    pub protocol: String,
    /// The descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd: Option<i32>,
    /// The socket's inode, as in `/proc/PID/fd`: TLS connections name it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<u64>,
    /// Its own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The other side's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The name that was asked for when this address was the answer, last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// It is under way: `net.connected` tells how it ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// Bytes sent through this descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// A message of the domain name system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// `write` asks, `read` is answered.
    pub direction: &'static str,
    /// Which question and answer belong together.
    pub id: u16,
    /// The server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What is asked.
    pub questions: Vec<Question>,
    /// What is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    /// The name.
    pub name: String,
    /// `A`, `AAAA`, …
    pub kind: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whose.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, …
    pub kind: String,
    /// An address or another name; absent for other kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// Which.
    pub signal: i32,
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// To whom, as the sender knows it: 0 and negative ones are groups of processes; for `pidfd_send_signal` a descriptor.
    pub target: i32,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// A look into another process, or a change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ptrace {
    /// `attach`, `read`, `write`, `traceme`, or a number of `ptrace(2)`.
    pub request: PtraceRequest,
    /// Whom, as the process knows it.
    pub target: i32,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What is wanted of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PtraceRequest {
    /// One that has a name.
    Named(&'static str),
    /// Any other.
    Number(u64),
}

/// Bytes through a standard descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stdio {
    /// `stdin`, `stdout`, `stderr`.
    pub stream: &'static str,
    /// `write` or `read`, as the process sees it.
    pub direction: &'static str,
    /// Bytes that went before, this way.
    pub offset: u64,
    /// The pipe's inode, or the socket's.
    pub pipe: u64,
    /// What went, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What went, if it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_b64: Option<String>,
    /// Bytes behind these that are not told.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub missing: u64,
}

/// What the process does in a way that is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Blind {
    /// `io_uring`, `compat`, `system_calls`.
    pub by: &'static str,
}
