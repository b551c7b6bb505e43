//! Records of the kernel side, decoded: the only input of everything downstream. No kernel is needed
//! from here on; tests and recordings enter here.

pub mod act;
pub mod begun;
pub mod block;
pub mod frame;
pub mod process;
pub mod queue;
pub mod wire;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use act::{Act, Stdio, Words};
use process::Sighted;

/// A process for good: a pid alone is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Thread group id in the init namespace.
    pub pid: u32,
    /// Start of the process on the boot clock, nanoseconds.
    pub start_ns: u64,
}

/// A thread as it is known now; its ids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Thread group id in the init namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
}

/// A connection object and its generation; unique on this machine since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Which way plaintext goes, as the observed program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Sent by the program.
    Write,
    /// Received by the program.
    Read,
}

impl Direction {
    /// Both, in the order of the kernel's numbers.
    pub const ALL: [Self; 2] = [Self::Write, Self::Read];

    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A command name: up to 15 bytes that a process chose for itself.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// As text, whatever bytes the process chose.
    pub fn text(&self) -> Cow<'_, str> {
        let name = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name)
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Comm({self})")
    }
}

/// Who and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Nanoseconds on the boot clock.
    pub ts_ns: u64,
    /// The process.
    pub process: ProcessId,
    /// The thread.
    pub tid: u32,
    /// The thread's command name.
    pub comm: Comm,
}

/// On which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conn {
    /// Which one.
    pub id: ConnId,
    /// Address of the library's object.
    pub ptr: u64,
    /// The descriptor that the program told the library.
    pub fd: Option<i32>,
    /// Index of the function that was called.
    pub function: u16,
    /// We saw the object being made: nothing of the connection came before.
    pub born: bool,
    /// The id names this direction alone, under one key: joining it with the other one is still to come.
    pub half: Option<Direction>,
}

/// A probed function, as the index of an event names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Of which library.
    pub library: String,
    /// Its name.
    pub name: String,
}

/// Plaintext of one call, or a part of it. The bytes are lent by the block that they came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data<'b> {
    /// Which way.
    pub direction: Direction,
    /// Counts this direction's records, lost ones included.
    pub seq: u64,
    /// Place of the first byte in this direction's stream.
    pub offset: u64,
    /// Bytes the whole call moved.
    pub call_len: u64,
    /// More chunks of this call follow.
    pub more: bool,
    /// TLS 1.3 early data.
    pub early: bool,
    /// Go: the goroutine that did it. Threads mean nothing there.
    pub goroutine: Option<u64>,
    /// TLS records right before this one that no probe saw, at least so many: their nonces are missing.
    pub unseen: u64,
    /// Bytes that belong behind the payload and are not there, and why.
    pub missing: Option<(u64, Missing)>,
    /// Bytes that stand before what is missing and were left out, since the queue to the output was full.
    /// There is no payload then.
    pub left_out: u64,
    /// The bytes.
    pub payload: Cow<'b, [u8]>,
}

impl Data<'_> {
    /// Bytes of the stream that the record stands for, those included that are not there.
    pub fn span(&self) -> u64 {
        let missing = self.missing.map_or(0, |(bytes, _)| bytes);
        let present = self.left_out.saturating_add(self.payload.len() as u64);
        present.saturating_add(missing)
    }

    /// The same with bytes of its own.
    pub fn into_owned(self) -> Data<'static> {
        Data {
            payload: Cow::Owned(self.payload.into_owned()),
            ..self
        }
    }
}

/// On which side of a connection a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It connected.
    Client,
    /// It accepted.
    Server,
}

impl Role {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// How we know that the two directions of a connection, and its socket, belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trust {
    /// Nothing says so: one direction stands alone.
    Apart,
    /// Nothing but their neighbourhood: the only two of their process, or one after the other on a thread.
    Guessed,
    /// Sums of many records agree with what one socket moved, but for a part of a record.
    Likely,
    /// System calls on one socket moved exactly the bytes of their records.
    Exact,
    /// One object of the library is both; the program's memory names its socket.
    #[default]
    Told,
}

impl Trust {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apart => "none",
            Self::Guessed => "guess",
            Self::Likely => "sums",
            Self::Exact => "bytes",
            Self::Told => "object",
        }
    }
}

/// What is known of a connection's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketNames {
    /// How well.
    pub trust: Trust,
    /// The socket's inode, as in `/proc/PID/fd`.
    pub inode: Option<u64>,
    /// Which side the program is on.
    pub role: Option<Role>,
    /// Its own address.
    pub local: Option<SocketAddr>,
    /// The other side's.
    pub peer: Option<SocketAddr>,
}

/// Why bytes of a record are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Missing {
    /// The limit that the user set.
    MaxBytes,
    /// They went by sendfile or scattered, and were never in one piece of memory.
    Sendfile,
    /// Beyond what the kernel side may take of one call (kernels without bpf_loop: 4 MiB).
    TooLong,
    /// The memory could not be read.
    Unreadable,
}

/// A ClientHello as it passed through a socket, or its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'b> {
    /// The socket's inode, as in `/proc/PID/fd`.
    pub inode: u64,
    /// Which way: clients write it.
    pub direction: Direction,
    /// The bytes, with or without the record's header.
    pub bytes: Cow<'b, [u8]>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A process did something to the system.
    Act {
        /// Who and when.
        caller: Caller,
        /// What.
        act: Box<Act<'b>>,
    },
    /// The connection object is gone.
    Close {
        /// Who and when.
        caller: Caller,
        /// Which connection.
        conn: Conn,
        /// Final length of each direction's stream, by [`Direction`].
        totals: [u64; 2],
        /// Its address was handed out again before we saw its end.
        reused: bool,
    },
    /// Plaintext.
    Data {
        /// Who and when.
        caller: Caller,
        /// Which connection.
        conn: Conn,
        /// What.
        data: Data<'b>,
    },
    /// What is known of the socket of a connection that one object of its library is.
    Endpoint {
        /// Who and when.
        caller: Caller,
        /// Which connection.
        conn: Conn,
        /// What.
        names: SocketNames,
    },
    /// A process that we follow ended.
    Exit(Caller),
    /// A client says on a socket what it wants.
    Hello {
        /// Who and when.
        caller: Caller,
        /// What.
        hello: Hello<'b>,
    },
    /// A handshake succeeded.
    Handshake {
        /// Who and when.
        caller: Caller,
        /// Which connection.
        conn: Conn,
    },
    /// A process loaded or unloaded libraries.
    Loader(Caller),
    /// A process was told of.
    Process(Box<Sighted>),
    /// The program says goodbye on this connection.
    Shutdown {
        /// Who and when.
        caller: Caller,
        /// Which connection.
        conn: Conn,
    },
    /// Something went through a process's standard descriptors.
    Stdio {
        /// Who and when.
        caller: Caller,
        /// What.
        stdio: Stdio<'b>,
    },
    /// A process begins another program, with these arguments or in this environment.
    Words {
        /// Who and when.
        caller: Caller,
        /// What.
        words: Words<'b>,
    },
    /// What is known of a connection's socket; before its first data.
    Socket {
        /// Who and when.
        caller: Caller,
        /// Which connection.
        conn: Conn,
        /// What.
        names: SocketNames,
    },
}

impl Event<'_> {
    /// The same with bytes of its own.
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Act { caller, act } => Event::Act {
                caller,
                act: Box::new(act.into_owned()),
            },
            Self::Stdio { caller, stdio } => Event::Stdio {
                caller,
                stdio: Stdio {
                    bytes: Cow::Owned(stdio.bytes.into_owned()),
                    ..stdio
                },
            },
            Self::Words { caller, words } => Event::Words {
                caller,
                words: Words {
                    bytes: Cow::Owned(words.bytes.into_owned()),
                    ..words
                },
            },
            Self::Data { caller, conn, data } => Event::Data {
                caller,
                conn,
                data: data.into_owned(),
            },
            Self::Close {
                caller,
                conn,
                totals,
                reused,
            } => Event::Close {
                caller,
                conn,
                totals,
                reused,
            },
            Self::Endpoint {
                caller,
                conn,
                names,
            } => Event::Endpoint {
                caller,
                conn,
                names,
            },
            Self::Exit(caller) => Event::Exit(caller),
            Self::Hello { caller, hello } => Event::Hello {
                caller,
                hello: Hello {
                    bytes: Cow::Owned(hello.bytes.into_owned()),
                    ..hello
                },
            },
            Self::Handshake { caller, conn } => Event::Handshake { caller, conn },
            Self::Loader(caller) => Event::Loader(caller),
            Self::Process(sighted) => Event::Process(sighted),
            Self::Shutdown { caller, conn } => Event::Shutdown { caller, conn },
            Self::Socket {
                caller,
                conn,
                names,
            } => Event::Socket {
                caller,
                conn,
                names,
            },
        }
    }

    /// When it happened, on the boot clock.
    pub fn ts_ns(&self) -> u64 {
        match self {
            Self::Close { caller, .. }
            | Self::Data { caller, .. }
            | Self::Endpoint { caller, .. }
            | Self::Hello { caller, .. }
            | Self::Handshake { caller, .. }
            | Self::Act { caller, .. }
            | Self::Shutdown { caller, .. }
            | Self::Socket { caller, .. }
            | Self::Stdio { caller, .. }
            | Self::Words { caller, .. }
            | Self::Exit(caller)
            | Self::Loader(caller) => caller.ts_ns,
            Self::Process(sighted) => sighted.caller.ts_ns,
        }
    }
}
