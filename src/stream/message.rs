//! What the stream layer says: the things that sinks print. `sink/lines.schema.json` documents their
//! JSON form.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::endpoint::Endpoint;
use crate::event::process::{Missed, ProcessInfo};
use crate::event::{Comm, Direction, Function, ProcessId, SocketNames, Trust};

/// A connection's name in one run: `c1`, `c2`, … in the order of their first events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnName(pub u64);

impl fmt::Display for ConnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// Who, when and on which connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Nanoseconds on the boot clock.
    pub ts_ns: u64,
    /// The process.
    pub process: ProcessId,
    /// Thread.
    pub tid: u32,
    /// The thread's command name.
    pub comm: Comm,
    /// Function that was called, and its library.
    pub function: Arc<Function>,
    /// Connection.
    pub conn: ConnName,
    /// The descriptor that the program told the library.
    pub fd: Option<i32>,
}

/// Plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'b> {
    /// Which way.
    pub direction: Direction,
    /// Counts this direction's records, lost ones included.
    pub seq: u64,
    /// Place of the first byte in this direction's stream, as far as we watched it.
    pub offset: u64,
    /// Bytes that the whole call moved.
    pub call_len: u64,
    /// TLS 1.3 early data.
    pub early: bool,
    /// Go: the goroutine that did it.
    pub goroutine: Option<u64>,
    /// The bytes.
    pub bytes: Cow<'b, [u8]>,
}

/// Why bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// A function returned more than it was asked for, so its result was not believed.
    BadResult,
    /// Too many calls were running at once.
    CallTableFull,
    /// Too many connections were open at once.
    ConnectionTableFull,
    /// It could not be told whether an NSPR descriptor is TLS.
    GuardUnknown,
    /// The user's `--max-bytes`.
    MaxBytes,
    /// Too many processes were followed at once: some were not.
    ProcessTableFull,
    /// The queue to the output was full: the output was too slow.
    QueueFull,
    /// The ring buffer was full: the reader was too slow, or the queue was full to the last byte.
    RingFull,
    /// Sent by sendfile or from scattered memory.
    Sendfile,
    /// Beyond what one call may take on this kernel.
    TooLong,
    /// The ring buffer was full: what processes did with files.
    LostFileActs,
    /// The same with sockets.
    LostNetworkActs,
    /// The same of programs and processes.
    LostProcessActs,
    /// The same of what went through their standard descriptors.
    LostStdio,
    /// Too many files and sockets were open at once: what went through some is not counted.
    DescriptorTableFull,
    /// A record that was not understood.
    Undecodable,
    /// The program's memory could not be read.
    Unreadable,
    /// TLS records whose numbers are missing: they passed without a probe.
    Unseen,
}

impl Cause {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadResult => "bad-result",
            Self::CallTableFull => "call-table-full",
            Self::ConnectionTableFull => "connection-table-full",
            Self::GuardUnknown => "guard-unknown",
            Self::DescriptorTableFull => "descriptor-table-full",
            Self::LostFileActs => "file-acts",
            Self::LostNetworkActs => "network-acts",
            Self::LostProcessActs => "process-acts",
            Self::LostStdio => "stdio",
            Self::MaxBytes => "max-bytes",
            Self::ProcessTableFull => "process-table-full",
            Self::QueueFull => "queue-full",
            Self::RingFull => "ring-full",
            Self::Sendfile => "sendfile",
            Self::TooLong => "too-long",
            Self::Undecodable => "undecodable",
            Self::Unreadable => "unreadable",
            Self::Unseen => "unseen",
        }
    }

    /// A loss, not a wish of the user.
    pub fn is_loss(self) -> bool {
        self != Self::MaxBytes
    }
}

/// Bytes that should be there and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub cause: Cause,
    /// In which direction; unknown for losses before a connection was known.
    pub direction: Option<Direction>,
    /// Where in the stream, if the connection is known.
    pub offset: Option<u64>,
    /// Bytes; 0 if unknown.
    pub bytes: u64,
    /// Records; 0 if the bytes belong to a record that did arrive.
    pub records: u64,
}

/// Why a connection ended, as far as we are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// We stopped watching while it was open.
    Detached,
    /// Forgotten to bound memory.
    Evicted,
    /// The process ended.
    Exited,
    /// The program freed the object.
    Freed,
    /// Its object was used anew before we saw it freed.
    Reused,
}

impl CloseReason {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::Evicted => "evicted",
            Self::Exited => "exited",
            Self::Freed => "freed",
            Self::Reused => "reused",
        }
    }
}

/// One thing worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'b> {
    /// A connection ended.
    Close {
        /// Which.
        origin: Origin,
        /// Why.
        reason: CloseReason,
        /// The last word on how well it is known what belongs to it.
        trust: Trust,
        /// Its socket was known at the end.
        is_attributed: bool,
        /// Length of each direction's stream, by [`Direction`].
        totals: [u64; 2],
    },
    /// Plaintext.
    Data {
        /// Who, when, where.
        origin: Origin,
        /// What.
        payload: Payload<'b>,
    },
    /// Where a connection goes is known now, or better than before; or what was told is withdrawn.
    Endpoint {
        /// Who, when, where.
        origin: Origin,
        /// What.
        endpoint: Endpoint,
    },
    /// Something is missing.
    Gap {
        /// Where, if the connection is known.
        origin: Option<Origin>,
        /// What.
        gap: Gap,
    },
    /// Probes came after a process could have spoken.
    Missed(Arc<Missed>),
    /// First sight of a connection.
    Open {
        /// Who, when, where.
        origin: Origin,
        /// We saw its object being made, or its handshake: nothing of it was missed.
        from_start: bool,
        /// Where the program's own memory tells it.
        socket: SocketNames,
    },
    /// A process that speaks TLS, or may.
    Process(Arc<ProcessInfo>),
    /// The program said goodbye.
    Shutdown(Origin),
}
