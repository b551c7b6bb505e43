//! Frames as bytes. A frame starts with its kind (`u32`), the CRC-32 of kind, length and content (`u32`) and
//! the content's length (`u64`). Records are written as they lie in memory, or that packed (`pack.rs`).

use std::sync::Arc;

use super::pack::{Packer, Unpacker};
use crate::bytes::{Endian, Reader};
use crate::error::Result;
use crate::event::block::Block;
use crate::event::frame::{End, Frame};
use crate::event::wire::{ConnState, Counter};
use crate::event::{Caller, Comm, ConnId, Function, ProcessId};

const COUNTERS: u32 = 1;
const END: u32 = 2;
const EXITED: u32 = 3;
const FUNCTION: u32 = 4;
const RECORDS: u32 = 5;
const TICK: u32 = 6;
/// Records, packed: their length (`u32`), and what `pack.rs` made of them.
const PACKED_RECORDS: u32 = 7;
/// JSON, since they are few.
const PROCESS: u32 = 8;
const MISSED: u32 = 9;
const WATCHED: u32 = 10;

/// Bytes before a frame's content.
pub const PREFIX_LEN: usize = 16;
/// No frame is longer: the kernel's tables of connections fit in many times.
pub const CONTENT_MAX: u64 = 64 << 20;

/// Bytes of a function's names; they are printed with each of its records.
const NAMES_MAX: usize = 4096;

/// What a frame starts with.
pub fn prefix(kind: u32, content: &[u8]) -> [u8; PREFIX_LEN] {
    let mut prefix = [0; PREFIX_LEN];
    let len = content.len() as u64;
    let fields = kind.to_le_bytes().into_iter();
    let fields = fields.chain(checksum(kind, content).to_le_bytes());
    let fields = fields.chain(len.to_le_bytes());
    prefix
        .iter_mut()
        .zip(fields)
        .for_each(|(to, from)| *to = from);
    prefix
}

/// Kind, checksum and length.
pub fn read_prefix(prefix: &[u8; PREFIX_LEN]) -> Option<(u32, u32, u64)> {
    let mut reader = Reader::new(prefix, Endian::Little);
    Some((reader.u32()?, reader.u32()?, reader.u64()?))
}

pub fn checksum(kind: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind.to_le_bytes());
    hasher.update(&(content.len() as u64).to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// A frame's kind, and its content where that is not in memory already.
///
/// # Errors
/// There is no memory for packing.
pub fn encode<'f>(
    frame: &'f Frame,
    packer: &'f mut Packer,
    scratch: &'f mut Vec<u8>,
) -> Result<(u32, &'f [u8])> {
    scratch.clear();
    let kind = match frame {
        Frame::Records(block) => {
            let packed = packer.pack(block.as_bytes())?;
            let as_it_is = (RECORDS, block.as_bytes());
            return Ok(packed.map_or(as_it_is, |packed| (PACKED_RECORDS, packed)));
        }
        Frame::Counters(counters) => {
            put_counters(scratch, counters);
            COUNTERS
        }
        Frame::End(end) => {
            put(scratch, end.masked);
            put(scratch, end.left_out);
            put(scratch, end.unread);
            put_counters(scratch, &end.counters);
            put_states(scratch, &end.open);
            END
        }
        Frame::Exited { caller, open } => {
            put(scratch, caller.ts_ns);
            put_process(scratch, caller.process);
            put(scratch, caller.tid.into());
            scratch.extend(caller.comm.0);
            put_states(scratch, open);
            EXITED
        }
        Frame::Function { index, function } => {
            put(scratch, (*index).into());
            put(scratch, function.library.len() as u64);
            scratch.extend_from_slice(function.library.as_bytes());
            scratch.extend_from_slice(function.name.as_bytes());
            FUNCTION
        }
        Frame::Missed(missed) => {
            put_json(scratch, &**missed);
            MISSED
        }
        Frame::Process(info) => {
            put_json(scratch, &**info);
            PROCESS
        }
        Frame::Tick(now_ns) => {
            put(scratch, *now_ns);
            TICK
        }
        Frame::Watched(patterns) => {
            put_json(scratch, patterns);
            WATCHED
        }
    };
    Ok((kind, scratch))
}

/// Names and numbers: writing them to memory cannot fail.
fn put_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let _ = serde_json::to_writer(out, value);
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_le_bytes());
}

fn put_process(out: &mut Vec<u8>, process: ProcessId) {
    put(out, process.start_ns);
    put(out, process.pid.into());
}

fn put_counters(out: &mut Vec<u8>, counters: &[(Counter, u64)]) {
    put(out, counters.len() as u64);
    for (counter, value) in counters {
        put(out, u64::from(*counter as u32));
        put(out, *value);
    }
}

fn put_states(out: &mut Vec<u8>, states: &[ConnState]) {
    put(out, states.len() as u64);
    for state in states {
        put_process(out, state.process);
        put(out, state.id.0);
        state.totals.iter().for_each(|total| put(out, *total));
    }
}

/// The frame of a kind with this content; `None`: it is not what it should be.
pub fn decode(kind: u32, content: Vec<u8>, unpacker: &mut Unpacker) -> Option<Frame> {
    let records = match kind {
        PACKED_RECORDS => Some(unpacker.unpack(&content)?),
        RECORDS => return Block::from_bytes(content).ok().map(Frame::Records),
        _ => None,
    };
    if let Some(records) = records {
        return Block::from_bytes(records).ok().map(Frame::Records);
    }
    let mut reader = Reader::new(&content, Endian::Little);
    Some(match kind {
        COUNTERS => Frame::Counters(counters(&mut reader)?),
        END => Frame::End(End {
            masked: reader.u64()?,
            left_out: reader.u64()?,
            unread: reader.u64()?,
            counters: counters(&mut reader)?,
            open: states(&mut reader)?,
        }),
        EXITED => Frame::Exited {
            caller: Caller {
                ts_ns: reader.u64()?,
                process: process(&mut reader)?,
                tid: reader.u64()?.try_into().ok()?,
                comm: Comm(reader.bytes(16)?.try_into().ok()?),
            },
            open: states(&mut reader)?,
        },
        FUNCTION => {
            let index = reader.u64()?.try_into().ok()?;
            let len = reader.u64()?.try_into().ok()?;
            if content.len() > NAMES_MAX {
                return None;
            }
            let library = text(reader.bytes(len)?);
            let name = text(content.get(16 + len..)?);
            let function = Arc::new(Function { library, name });
            Frame::Function { index, function }
        }
        MISSED => Frame::Missed(Arc::new(serde_json::from_slice(&content).ok()?)),
        PROCESS => Frame::Process(Arc::new(serde_json::from_slice(&content).ok()?)),
        TICK => Frame::Tick(reader.u64()?),
        WATCHED => Frame::Watched(serde_json::from_slice(&content).ok()?),
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn process(reader: &mut Reader<'_>) -> Option<ProcessId> {
    Some(ProcessId {
        start_ns: reader.u64()?,
        pid: reader.u64()?.try_into().ok()?,
    })
}

fn counters(reader: &mut Reader<'_>) -> Option<Vec<(Counter, u64)>> {
    let count = reader.u64()?;
    let mut counters = Vec::new();
    for _ in 0..count {
        let number = u32::try_from(reader.u64()?).ok()?;
        counters.push((Counter::from_number(number)?, reader.u64()?));
    }
    Some(counters)
}

fn states(reader: &mut Reader<'_>) -> Option<Vec<ConnState>> {
    let count = reader.u64()?;
    let mut states = Vec::new();
    for _ in 0..count {
        states.push(ConnState {
            process: process(reader)?,
            id: ConnId(reader.u64()?),
            totals: [reader.u64()?, reader.u64()?],
        });
    }
    Some(states)
}
