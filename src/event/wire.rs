//! The binary layout that `bpf/event.h` defines, decoded with the no-panic cursor. `attach/layout.rs`
//! holds these numbers against the types in the object's BTF.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::act::{ACT_LEN, Act, Stdio, Words};
#[cfg(all(test, feature = "bpf"))]
use super::process::Property;
use super::process::{Facts, FileId, Sighted, Sighting};
use super::{
    Caller, Comm, Conn, ConnId, Data, Direction, Event, Hello, Missing, ProcessId, Role,
    SocketNames, Thread, Trust,
};
use crate::bytes::{Endian, Reader};

/// `sizeof(struct event_header)`.
pub const HEADER_LEN: usize = 120;
/// `sizeof(struct conn)`.
pub const CONN_LEN: usize = 176;
/// `sizeof(struct conn_key)`.
pub const CONN_KEY_LEN: usize = 24;
/// `sizeof(struct socket_names)`.
pub const SOCKET_NAMES_LEN: usize = 48;
/// `sizeof(struct half)`.
pub const HALF_LEN: usize = 128;
/// `sizeof(struct function)`.
pub const FUNCTION_LEN: usize = 48;

const KIND_DATA: u8 = 1;
const KIND_HANDSHAKE: u8 = 2;
const KIND_SHUTDOWN: u8 = 3;
const KIND_CLOSE: u8 = 4;
const KIND_EXIT: u8 = 5;
const KIND_LOADER: u8 = 6;
const KIND_SOCKET: u8 = 7;
const KIND_EXEC: u8 = 8;
const KIND_SEEN: u8 = 9;
const KIND_ASK: u8 = 10;
const KIND_ENDPOINT: u8 = 11;
const KIND_HELLO: u8 = 12;
pub(super) const KIND_ACT: u8 = 13;
pub(super) const KIND_WORDS: u8 = 14;
const KIND_STDIO: u8 = 15;

const ROLE_CLIENT: u8 = 1;
const ROLE_SERVER: u8 = 2;

const FLAG_MORE: u16 = 1;
const FLAG_FAULT: u16 = 2;
const FLAG_SENDFILE: u16 = 4;
// FLAG_TRUNCATED (8) is what `missing` without another flag means.
const FLAG_EARLY: u16 = 16;
const FLAG_REUSED: u16 = 32;
const FLAG_BORN: u16 = 64;
const FLAG_TOO_LONG: u16 = 128;
const FLAG_HALF: u16 = 256;
const FLAG_SPOKE: u16 = 512;
/// Set by user space: the queue to the output was full, and the payload that `len` tells is not there.
const FLAG_QUEUE_FULL: u16 = 1 << 15;

const LEN_AT: usize = 88;
const KIND_AT: usize = 98;
const FLAGS_AT: usize = 100;

const TRUST_LIKELY: u8 = 1;
const TRUST_EXACT: u8 = 2;
const TRUST_GUESSED: u8 = 3;
const TRUST_NONE: u8 = 4;

/// The numbers above under their names in the header file, for the test that compares them.
#[cfg(all(test, feature = "bpf"))]
pub(crate) const CONSTANTS: &[(&str, u64)] = &[
    ("KIND_DATA", KIND_DATA as u64),
    ("KIND_HANDSHAKE", KIND_HANDSHAKE as u64),
    ("KIND_SHUTDOWN", KIND_SHUTDOWN as u64),
    ("KIND_CLOSE", KIND_CLOSE as u64),
    ("KIND_EXIT", KIND_EXIT as u64),
    ("KIND_LOADER", KIND_LOADER as u64),
    ("KIND_SOCKET", KIND_SOCKET as u64),
    ("KIND_EXEC", KIND_EXEC as u64),
    ("KIND_SEEN", KIND_SEEN as u64),
    ("KIND_ASK", KIND_ASK as u64),
    ("ASK_EXE", Property::Exe as u64),
    ("ASK_COMM", Property::Comm as u64),
    ("ASK_PLACE", Property::Place as u64),
    ("ASK_USER", Property::User as u64),
    ("ASK_MAX", Property::ALL.len() as u64),
    ("KIND_ENDPOINT", KIND_ENDPOINT as u64),
    ("KIND_HELLO", KIND_HELLO as u64),
    ("KIND_ACT", KIND_ACT as u64),
    ("KIND_WORDS", KIND_WORDS as u64),
    ("KIND_STDIO", KIND_STDIO as u64),
    ("ROLE_CLIENT", ROLE_CLIENT as u64),
    ("ROLE_SERVER", ROLE_SERVER as u64),
    ("GO_SOCKET", GoTypeKind::Socket as u64),
    ("GO_WRAPPER", GoTypeKind::Wrapper as u64),
    ("GO_TCP_ADDR", GoTypeKind::TcpAddr as u64),
    ("FLAG_MORE", FLAG_MORE as u64),
    ("FLAG_FAULT", FLAG_FAULT as u64),
    ("FLAG_SENDFILE", FLAG_SENDFILE as u64),
    ("FLAG_EARLY", FLAG_EARLY as u64),
    ("FLAG_REUSED", FLAG_REUSED as u64),
    ("FLAG_BORN", FLAG_BORN as u64),
    ("FLAG_TOO_LONG", FLAG_TOO_LONG as u64),
    ("FLAG_HALF", FLAG_HALF as u64),
    ("FLAG_SPOKE", FLAG_SPOKE as u64),
    ("FLAG_QUEUE_FULL", FLAG_QUEUE_FULL as u64),
    ("TRUST_LIKELY", TRUST_LIKELY as u64),
    ("TRUST_EXACT", TRUST_EXACT as u64),
    ("TRUST_GUESSED", TRUST_GUESSED as u64),
    ("TRUST_NONE", TRUST_NONE as u64),
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
    WrongObject,
    UnderWayCalls,
    SilentRecords,
    NotTls,
    ForgedRecords,
    ProcessFull,
    ContestedEndpoints,
    LostProcessActs,
    LostFileActs,
    LostNetworkActs,
    LostStdioBytes,
    DescriptorsFull,
}

impl Counter {
    /// The one with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|counter| *counter as u32 == number)
    }

    /// All of them, in the kernel's order.
    pub const ALL: [Self; 25] = [
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
        Self::WrongObject,
        Self::UnderWayCalls,
        Self::SilentRecords,
        Self::NotTls,
        Self::ForgedRecords,
        Self::ProcessFull,
        Self::ContestedEndpoints,
        Self::LostProcessActs,
        Self::LostFileActs,
        Self::LostNetworkActs,
        Self::LostStdioBytes,
        Self::DescriptorsFull,
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
    goroutine: u64,
    unseen: u64,
    pid: u32,
    tid: u32,
    len: u32,
    fd: i32,
    function: u16,
    kind: u8,
    direction: u8,
    flags: u16,
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
            goroutine: reader.u64()?,
            unseen: reader.u64()?,
            pid: reader.u32()?,
            tid: reader.u32()?,
            len: reader.u32()?,
            fd: reader.i32()?,
            function: reader.u16()?,
            kind: reader.u8()?,
            direction: reader.u8()?,
            flags: reader.u16()?,
            comm: {
                reader.skip(2)?;
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
            half: self.has(FLAG_HALF).then(|| self.direction()),
        }
    }

    fn direction(&self) -> Direction {
        match self.direction {
            0 => Direction::Write,
            _ => Direction::Read,
        }
    }

    fn has(&self, flag: u16) -> bool {
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

    /// Payload bytes that are not there, since the queue was full.
    fn left_out(&self) -> u64 {
        match self.has(FLAG_QUEUE_FULL) {
            true => self.len.into(),
            false => 0,
        }
    }

    /// `payload`: all that follows the header.
    fn payload<'b>(&self, payload: &'b [u8]) -> Option<&'b [u8]> {
        match self.has(FLAG_QUEUE_FULL) {
            true => Some(&[]),
            false => payload.get(..self.len as usize),
        }
    }

    /// `payload`: all that follows the header.
    fn data<'b>(&self, payload: &'b [u8]) -> Option<Data<'b>> {
        let is_left_out = self.has(FLAG_QUEUE_FULL);
        let len = if is_left_out { 0 } else { self.len as usize };
        Some(Data {
            direction: self.direction(),
            seq: self.seq,
            offset: self.offset,
            call_len: self.call_len,
            more: self.has(FLAG_MORE),
            early: self.has(FLAG_EARLY),
            goroutine: (self.goroutine > 0).then_some(self.goroutine),
            unseen: self.unseen,
            missing: self.missing(),
            left_out: if is_left_out { self.len.into() } else { 0 },
            payload: Cow::Borrowed(payload.get(..len)?),
        })
    }
}

/// What whoever copies a record must know of it, read without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Plaintext, or a ClientHello: the record's bytes that count, header included; the rest is unused room.
    Data(usize),
    /// It is to be acted upon at once: processes that start, end, or load libraries.
    Notice,
    /// Anything else: all of it counts.
    Mark,
}

/// Tells what a record is.
pub fn sort(record: &[u8]) -> Sort {
    let Some(header) = record.first_chunk::<HEADER_LEN>() else {
        return Sort::Mark;
    };
    match header[KIND_AT] {
        KIND_DATA | KIND_HELLO | KIND_WORDS | KIND_STDIO => {
            let len = [
                header[LEN_AT],
                header[LEN_AT + 1],
                header[LEN_AT + 2],
                header[LEN_AT + 3],
            ];
            Sort::Data(HEADER_LEN.saturating_add(u32::from_ne_bytes(len) as usize))
        }
        KIND_EXIT | KIND_LOADER | KIND_EXEC | KIND_SEEN | KIND_ASK => Sort::Notice,
        _ => Sort::Mark,
    }
}

/// The header alone, which says that its payload was left out. `None` if there is not even a header.
pub fn without_payload(record: &[u8]) -> Option<[u8; HEADER_LEN]> {
    let mut header = *record.first_chunk::<HEADER_LEN>()?;
    let flags = u16::from_ne_bytes([header[FLAGS_AT], header[FLAGS_AT + 1]]);
    let [low, high] = (flags | FLAG_QUEUE_FULL).to_ne_bytes();
    (header[FLAGS_AT], header[FLAGS_AT + 1]) = (low, high);
    Some(header)
}

/// Of which stream, and at which place of it, a record's plaintext is, and where in the record.
pub fn plaintext(record: &mut [u8]) -> Option<(ConnId, Direction, u64, &mut [u8])> {
    let (header, payload) = record.split_at_mut_checked(HEADER_LEN)?;
    let header = Header::read(&mut Reader::new(header, Endian::NATIVE))?;
    if header.kind != KIND_DATA || header.has(FLAG_QUEUE_FULL) {
        return None;
    }
    let payload = payload.get_mut(..header.len as usize)?;
    Some((
        ConnId(header.conn_id),
        header.direction(),
        header.offset,
        payload,
    ))
}

/// What a record holds beside plaintext that may have secrets in it.
pub enum Beside<'r> {
    /// Arguments of a program, or a part of them, or bytes through a pipe.
    Text(&'r mut [u8]),
    /// Variables of a program's environment, or a part of them.
    Environment(&'r mut [u8]),
}

/// Texts that are not plaintext.
pub fn beside(record: &mut [u8]) -> Option<Beside<'_>> {
    let (header, payload) = record.split_at_mut_checked(HEADER_LEN)?;
    let header = Header::read(&mut Reader::new(header, Endian::NATIVE))?;
    if header.has(FLAG_QUEUE_FULL) {
        return None;
    }
    let payload = payload.get_mut(..header.len as usize)?;
    match header.kind {
        KIND_WORDS if header.direction() == Direction::Read => Some(Beside::Environment(payload)),
        KIND_WORDS | KIND_STDIO => Some(Beside::Text(payload)),
        KIND_ACT => Some(Beside::Text(payload.get_mut(ACT_LEN..)?)),
        _ => None,
    }
}

/// Whether the process whose end a record tells has had connections.
pub fn has_spoken(record: &[u8]) -> bool {
    let header = Header::read(&mut Reader::new(record, Endian::NATIVE));
    header.is_none_or(|header| header.has(FLAG_SPOKE))
}

/// Until when a process had loaded nothing that was not known, on the boot clock, by what its loader's record says; 0: that
/// is not known.
pub fn quiet_until_ns(record: &[u8]) -> u64 {
    let header = Header::read(&mut Reader::new(record, Endian::NATIVE));
    header.map_or(0, |header| header.offset)
}

/// The stream of which a record tells the end.
pub fn closed(record: &[u8]) -> Option<ConnId> {
    let header = Header::read(&mut Reader::new(record, Endian::NATIVE))?;
    (header.kind == KIND_CLOSE).then_some(ConnId(header.conn_id))
}

/// Decodes one record of the ring buffer.
///
/// # Errors
/// The record is too short for what it announces, or of no known kind.
pub fn decode(record: &[u8]) -> Result<Event<'_>, WireError> {
    let short = || WireError::Short { have: record.len() };
    let (header, payload) = record.split_first_chunk::<HEADER_LEN>().ok_or_else(short)?;
    let header = Header::read(&mut Reader::new(header, Endian::NATIVE)).ok_or_else(short)?;
    let (caller, conn) = (header.caller(), header.conn());
    Ok(match header.kind {
        KIND_DATA => {
            let data = header.data(payload).ok_or_else(short)?;
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
        KIND_SOCKET => {
            let payload = payload.get(..header.len as usize).ok_or_else(short)?;
            let names = socket_names(payload).ok_or_else(short)?;
            Event::Socket {
                caller,
                conn,
                names,
            }
        }
        KIND_EXEC => sighted(caller, Sighting::Executed, payload).ok_or_else(short)?,
        KIND_SEEN => sighted(caller, Sighting::Seen, payload).ok_or_else(short)?,
        KIND_ASK => sighted(caller, Sighting::Asked, payload).ok_or_else(short)?,
        KIND_ENDPOINT => {
            let payload = payload.get(..header.len as usize).ok_or_else(short)?;
            let names = socket_names(payload).ok_or_else(short)?;
            Event::Endpoint {
                caller,
                conn,
                names,
            }
        }
        KIND_HELLO => {
            let len = if header.has(FLAG_QUEUE_FULL) {
                0
            } else {
                header.len as usize
            };
            let bytes = payload.get(..len).ok_or_else(short)?;
            let hello = Hello {
                inode: header.offset,
                direction: header.direction(),
                bytes: Cow::Borrowed(bytes),
            };
            Event::Hello { caller, hello }
        }
        KIND_ACT => {
            let payload = payload.get(..header.len as usize).ok_or_else(short)?;
            let act = Act::read(header.function, header.fd, payload).ok_or_else(short)?;
            let act = Box::new(act);
            Event::Act { caller, act }
        }
        KIND_WORDS => {
            let words = Words {
                is_environment: header.direction() == Direction::Read,
                offset: header.offset,
                total: header.call_len,
                bytes: Cow::Borrowed(header.payload(payload).ok_or_else(short)?),
            };
            Event::Words { caller, words }
        }
        KIND_STDIO => {
            let bytes = header.payload(payload).ok_or_else(short)?;
            let stdio = Stdio {
                fd: header.fd,
                direction: header.direction(),
                offset: header.offset,
                inode: header.conn_ptr,
                missing: header.missing.saturating_add(header.left_out()),
                bytes: Cow::Borrowed(bytes),
            };
            Event::Stdio { caller, stdio }
        }
        other => return Err(WireError::UnknownKind(other)),
    })
}

fn sighted(caller: Caller, why: Sighting, payload: &[u8]) -> Option<Event<'_>> {
    let facts = Facts::read(payload)?;
    Some(Event::Process(Box::new(Sighted { caller, why, facts })))
}

/// Decodes a `struct socket_names`. What it does not know, or says in no known way, is `None`.
pub fn socket_names(payload: &[u8]) -> Option<SocketNames> {
    let mut reader = Reader::new(payload, Endian::NATIVE);
    let role = match reader.u8()? {
        ROLE_CLIENT => Some(Role::Client),
        ROLE_SERVER => Some(Role::Server),
        _ => None,
    };
    let [local_len, peer_len, trust] = [reader.u8()?, reader.u8()?, reader.u8()?];
    let [local_port, peer_port] = [reader.u16()?, reader.u16()?];
    let [local, peer] = [reader.bytes(16)?, reader.bytes(16)?];
    let inode = reader.u64()?;
    Some(SocketNames {
        role,
        trust: match trust {
            TRUST_EXACT => Trust::Exact,
            TRUST_LIKELY => Trust::Likely,
            TRUST_GUESSED => Trust::Guessed,
            TRUST_NONE => Trust::Apart,
            _ => Trust::Told,
        },
        inode: (inode > 0).then_some(inode),
        local: address(local, local_len, local_port),
        peer: address(peer, peer_len, peer_port),
    })
}

/// Go keeps most IPv4 addresses in the form that IPv6 has for them.
fn address(bytes: &[u8], len: u8, port: u16) -> Option<SocketAddr> {
    let ip = match bytes.get(..usize::from(len))? {
        &[a, b, c, d] => IpAddr::from([a, b, c, d]),
        bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, port))
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

/// The key of a process in maps that do not care which program it runs: `struct process_key`.
pub fn process_key(process: ProcessId) -> Vec<u8> {
    let mut key = process.start_ns.to_ne_bytes().to_vec();
    key.extend(process.pid.to_ne_bytes());
    key.extend([0; 4]);
    key
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

/// Decodes an entry of the `halves` map. The other direction's length is 0.
pub fn decode_half(key: &[u8], value: &[u8]) -> Option<ConnState> {
    let process = conn_key_process(key)?;
    let direction = key.get(28..32)?.try_into().ok().map(u32::from_ne_bytes)?;
    let mut value = Reader::new(value, Endian::NATIVE);
    let (id, moved) = (ConnId(value.u64()?), value.u64()?);
    let totals = if direction == 0 {
        [moved, 0]
    } else {
        [0, moved]
    };
    Some(ConnState {
        process,
        id,
        totals,
    })
}

/// Encodes a `struct file_id`.
pub fn file_id(dev: u32, generation: u32, ino: u64) -> FileId {
    let mut id = FileId::default();
    let numbers = [dev, generation].into_iter().flat_map(u32::to_ne_bytes);
    let bytes = numbers.chain(ino.to_ne_bytes());
    id.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    id
}

/// What the programs must know of a function beyond its cookie: `struct function`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionFacts {
    /// Of the probed instruction, before any load bias.
    pub vaddr: u64,
    /// What the connection object's first word must be, before any load bias.
    pub first_word: u64,
    /// When its probes were in place, on the boot clock; 0: not yet.
    pub attached_ns: u64,
    /// Index of its Go facts.
    pub go: Option<u32>,
    /// Index of the first function that takes the same objects.
    pub kin: u16,
}

impl FunctionFacts {
    /// As the kernel side reads it.
    pub fn encode(&self) -> Vec<u8> {
        let go = self.go.map_or(0, |index| index.saturating_add(1));
        let words = [self.vaddr, self.first_word, self.attached_ns, 0, 0];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        bytes.extend([go, self.kin.into()].into_iter().flat_map(u32::to_ne_bytes));
        bytes
    }
}

/// How often a function's guard passed and failed, of an entry of the `functions` map.
pub fn guard_answers(function: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader::new(function, Endian::NATIVE);
    reader.skip(24)?;
    Some((reader.u64()?, reader.u64()?))
}

/// Encodes a `struct go_facts`: places in the order of the header file.
pub fn go_facts(places: [u32; 8]) -> Vec<u8> {
    places.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `enum agentsight_go_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GoTypeKind {
    /// Ends the chain.
    Socket = 1,
    /// Holds the next `net.Conn`.
    Wrapper = 2,
    /// `*net.TCPAddr`.
    TcpAddr = 3,
}

/// Encodes an entry of the `go_types` map: key and value.
pub fn go_type(facts: u32, rtype: u64, kind: GoTypeKind, offset: u32) -> (Vec<u8>, Vec<u8>) {
    let mut key = rtype.to_ne_bytes().to_vec();
    key.extend([facts, 0].into_iter().flat_map(u32::to_ne_bytes));
    let value = [kind as u32, offset];
    (key, value.into_iter().flat_map(u32::to_ne_bytes).collect())
}

/// Under which facts a key of the `go_types` map stands.
pub fn go_type_facts(key: &[u8]) -> Option<u32> {
    let facts = key.get(8..12)?;
    facts.try_into().ok().map(u32::from_ne_bytes)
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
                Err(WireError::UnknownKind(kind)) => prop_assert!(kind == 0 || kind > KIND_STDIO),
            }
        }
    }
}
