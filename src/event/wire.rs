//! The binary layout that `bpf/event.h` defines, decoded with the no-panic cursor. `tests/layout.rs`
//! holds these numbers against the types in the object's BTF.

use super::{Caller, Comm, Conn, ConnId, Data, Direction, Event, Missing, ProcessId, Thread};
use crate::bytes::{Endian, Reader};

/// `sizeof(struct event_header)`.
pub const HEADER_LEN: usize = 104;
/// `sizeof(struct conn)`.
pub const CONN_LEN: usize = 136;
/// `sizeof(struct conn_key)`.
pub const CONN_KEY_LEN: usize = 24;
/// `sizeof(struct file_id)`.
pub const FILE_ID_LEN: usize = 16;

const KIND_DATA: u8 = 1;
const KIND_HANDSHAKE: u8 = 2;
const KIND_SHUTDOWN: u8 = 3;
const KIND_CLOSE: u8 = 4;
const KIND_EXIT: u8 = 5;
const KIND_LOADER: u8 = 6;

const FLAG_MORE: u8 = 1;
const FLAG_FAULT: u8 = 2;
const FLAG_SENDFILE: u8 = 4;
// FLAG_TRUNCATED (8) is what `missing` without another flag means.
const FLAG_EARLY: u8 = 16;
const FLAG_REUSED: u8 = 32;
const FLAG_BORN: u8 = 64;
const FLAG_TOO_LONG: u8 = 128;

/// The numbers above under their names in the header file, for the test that compares them.
#[cfg(all(test, feature = "bpf"))]
pub(crate) const CONSTANTS: &[(&str, u64)] = &[
    ("KIND_DATA", KIND_DATA as u64),
    ("KIND_HANDSHAKE", KIND_HANDSHAKE as u64),
    ("KIND_SHUTDOWN", KIND_SHUTDOWN as u64),
    ("KIND_CLOSE", KIND_CLOSE as u64),
    ("KIND_EXIT", KIND_EXIT as u64),
    ("KIND_LOADER", KIND_LOADER as u64),
    ("FLAG_MORE", FLAG_MORE as u64),
    ("FLAG_FAULT", FLAG_FAULT as u64),
    ("FLAG_SENDFILE", FLAG_SENDFILE as u64),
    ("FLAG_EARLY", FLAG_EARLY as u64),
    ("FLAG_REUSED", FLAG_REUSED as u64),
    ("FLAG_BORN", FLAG_BORN as u64),
    ("FLAG_TOO_LONG", FLAG_TOO_LONG as u64),
];

/// What the kernel side counts, in the order of `enum agentsight_counter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs)] // documented where they are defined: bpf/event.h
pub enum Counter {
    RingFullRecords,
    RingFullBytes,
    FaultRecords,
    FaultBytes,
    ConnFullRecords,
    ConnFullBytes,
    CallFull,
    GuardUnknownBytes,
    BadResult,
    SendfileBytes,
    TruncatedBytes,
    NestedCalls,
    PlainCalls,
}

impl Counter {
    /// All of them, in the kernel's order.
    pub const ALL: [Self; 13] = [
        Self::RingFullRecords,
        Self::RingFullBytes,
        Self::FaultRecords,
        Self::FaultBytes,
        Self::ConnFullRecords,
        Self::ConnFullBytes,
        Self::CallFull,
        Self::GuardUnknownBytes,
        Self::BadResult,
        Self::SendfileBytes,
        Self::TruncatedBytes,
        Self::NestedCalls,
        Self::PlainCalls,
    ];
}

/// A record that is not what the header file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It ends too early.
    Short {
        /// Bytes there are.
        have: usize,
    },
    /// No such `KIND_*`.
    UnknownKind(u8),
}

struct Header {
    ts_ns: u64,
    process_start: u64,
    conn_id: u64,
    conn_ptr: u64,
    offset: u64,
    call_len: u64,
    seq: u64,
    missing: u64,
    pid: u32,
    tid: u32,
    len: u32,
    fd: i32,
    function: u16,
    kind: u8,
    direction: u8,
    flags: u8,
    comm: [u8; 16],
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            ts_ns: reader.u64()?,
            process_start: reader.u64()?,
            conn_id: reader.u64()?,
            conn_ptr: reader.u64()?,
            offset: reader.u64()?,
            call_len: reader.u64()?,
            seq: reader.u64()?,
            missing: reader.u64()?,
            pid: reader.u32()?,
            tid: reader.u32()?,
            len: reader.u32()?,
            fd: reader.i32()?,
            function: reader.u16()?,
            kind: reader.u8()?,
            direction: reader.u8()?,
            flags: reader.u8()?,
            comm: {
                reader.skip(3)?;
                reader.bytes(16)?.try_into().ok()?
            },
        })
    }

    fn caller(&self) -> Caller {
        Caller {
            ts_ns: self.ts_ns,
            process: ProcessId {
                pid: self.pid,
                start_ns: self.process_start,
            },
            tid: self.tid,
            comm: Comm(self.comm),
        }
    }

    fn conn(&self) -> Conn {
        Conn {
            id: ConnId(self.conn_id),
            ptr: self.conn_ptr,
            fd: (self.fd >= 0).then_some(self.fd),
            function: self.function,
            born: self.has(FLAG_BORN),
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn missing(&self) -> Option<(u64, Missing)> {
        let why = if self.has(FLAG_FAULT) {
            Missing::Unreadable
        } else if self.has(FLAG_SENDFILE) {
            Missing::Sendfile
        } else if self.has(FLAG_TOO_LONG) {
            Missing::TooLong
        } else {
            Missing::MaxBytes
        };
        (self.missing > 0).then_some((self.missing, why))
    }

    fn data(&self, payload: &[u8]) -> Data {
        Data {
            direction: if self.direction == 0 {
                Direction::Write
            } else {
                Direction::Read
            },
            seq: self.seq,
            offset: self.offset,
            call_len: self.call_len,
            more: self.has(FLAG_MORE),
            early: self.has(FLAG_EARLY),
            missing: self.missing(),
            payload: payload.to_vec(),
        }
    }
}

/// Decodes one record of the ring buffer.
///
/// # Errors
/// The record is too short for what it announces, or of no known kind.
pub fn decode(record: &[u8]) -> Result<Event, WireError> {
    let short = || WireError::Short { have: record.len() };
    let mut reader = Reader::new(record, Endian::NATIVE);
    let header = Header::read(&mut reader).ok_or_else(short)?;
    let (caller, conn) = (header.caller(), header.conn());
    Ok(match header.kind {
        KIND_DATA => {
            let payload = reader.bytes(header.len as usize).ok_or_else(short)?;
            let data = header.data(payload);
            Event::Data { caller, conn, data }
        }
        KIND_HANDSHAKE => Event::Handshake { caller, conn },
        KIND_SHUTDOWN => Event::Shutdown { caller, conn },
        KIND_CLOSE => Event::Close {
            caller,
            conn,
            totals: [header.offset, header.call_len],
            reused: header.has(FLAG_REUSED),
        },
        KIND_EXIT => Event::Exit(caller),
        KIND_LOADER => Event::Loader(caller),
        other => return Err(WireError::UnknownKind(other)),
    })
}

/// What the kernel's table of connections says of one at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnState {
    /// The process.
    pub process: ProcessId,
    /// Which connection.
    pub id: ConnId,
    /// Length of each direction's stream, by [`Direction`].
    pub totals: [u64; 2],
}

/// The thread in a key of the `calls` map: `pid_tgid` of bpf_get_current_pid_tgid.
pub fn call_key_thread(key: &[u8]) -> Option<Thread> {
    let pid_tgid = Reader::new(key, Endian::NATIVE).u64()?;
    Some(Thread {
        pid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
    })
}

/// The process in a key of the `conns` map.
pub fn conn_key_process(key: &[u8]) -> Option<ProcessId> {
    let mut key = Reader::new(key, Endian::NATIVE);
    let start_ns = key.u64()?;
    let pid = key.u32()?;
    Some(ProcessId { pid, start_ns })
}

/// Decodes an entry of the `conns` map.
pub fn decode_conn(key: &[u8], value: &[u8]) -> Option<ConnState> {
    let mut value = Reader::new(value, Endian::NATIVE);
    Some(ConnState {
        process: conn_key_process(key)?,
        id: ConnId(value.u64()?),
        totals: [value.u64()?, value.u64()?],
    })
}

/// Encodes a `struct file_id`.
pub fn file_id(dev: u64, ino: u64) -> [u8; FILE_ID_LEN] {
    let mut id = [0; FILE_ID_LEN];
    for (to, from) in id
        .iter_mut()
        .zip(dev.to_ne_bytes().into_iter().chain(ino.to_ne_bytes()))
    {
        *to = from;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A record from a broken or hostile source is refused or decoded, never a panic, and a payload
        /// is never longer than the record.
        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            match decode(&bytes) {
                Ok(Event::Data { data, .. }) => prop_assert!(data.payload.len() + HEADER_LEN <= bytes.len()),
                Ok(_) => prop_assert!(bytes.len() >= HEADER_LEN),
                Err(WireError::Short { have }) => prop_assert_eq!(have, bytes.len()),
                Err(WireError::UnknownKind(kind)) => prop_assert!(kind == 0 || kind > KIND_LOADER),
            }
        }
    }
}
