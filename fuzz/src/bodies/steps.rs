//! A run in few bytes: steps, of which each becomes a record of the kernel side or another frame. What a fuzzer changes
//! in them stays a run, in which the same few processes, connections and files come up again and again.
//!
//! A step has six bytes, and what it tells: its kind (the upper three bits say how far the length is shifted), who, how
//! much later, a descriptor, a number, the length. `fuzz/seeds/steps.py` writes them.

use std::collections::HashMap;
use std::sync::Arc;

use agentsight::event::block::{Block, RECORD_MAX};
use agentsight::event::frame::{End, Frame};
use agentsight::event::process::ProcessInfo;
use agentsight::event::wire::HEADER_LEN;
use agentsight::event::{Caller, Comm, Function, ProcessId};

use super::secret;

/// Of the kernel's records, as `bpf/event.h` numbers them.
const DATA: u8 = 1;
const CLOSE: u8 = 4;
const WORDS: u8 = 14;
const STDIO: u8 = 15;
/// Of other frames.
const EXITED: u8 = 16;
const PROCESS: u8 = 17;
const TICK: u8 = 18;

const HEAD: usize = 6;
/// No record holds more.
const PIECE_MAX: usize = RECORD_MAX - HEADER_LEN;
/// Nanoseconds of a unit of time: more than four minutes go into a step.
const UNIT: u64 = 1 << 20;
const PROCESSES: u8 = 8;
const CONNS: u8 = 4;
const NAMES: [&str; 4] = ["claude", "bash", "curl", "node"];

/// One step.
struct Step<'d> {
    kind: u8,
    who: u8,
    fd: i8,
    number: u8,
    told: &'d [u8],
}

impl<'d> Step<'d> {
    /// The first one, how much later it is, and what follows it.
    fn read(data: &'d [u8]) -> Option<(Self, u64, &'d [u8])> {
        let (&[kind, who, later, fd, number, len], behind) = data.split_first_chunk::<HEAD>()?;
        let len = usize::from(len) << (kind >> 5);
        let (told, rest) = behind.split_at_checked(len).unwrap_or((behind, &[]));
        let step = Self {
            kind: kind & 31,
            who,
            fd: fd.cast_signed(),
            number,
            told,
        };
        Some((step, u64::from(later) * UNIT, rest))
    }

    fn process(&self) -> ProcessId {
        process(self.who % PROCESSES)
    }

    /// Of its process.
    fn conn(&self) -> u64 {
        1 + u64::from(self.who / PROCESSES % CONNS) + 16 * u64::from(self.process().pid)
    }

    fn is_read(&self) -> bool {
        self.number & 1 != 0
    }
}

/// Seeds know them by these numbers.
fn process(number: u8) -> ProcessId {
    ProcessId {
        pid: 100 + u32::from(number),
        start_ns: 1000 * u64::from(number),
    }
}

/// The frames of a run, its end included.
pub fn frames(data: &[u8]) -> Vec<Frame> {
    let mut maker = Maker::default();
    maker.begin();
    let mut rest = data;
    while let Some((step, later, behind)) = Step::read(rest) {
        maker.now_ns += later;
        maker.take(&step);
        rest = behind;
    }
    maker.finish()
}

#[derive(Default)]
struct Maker {
    frames: Vec<Frame>,
    block: Block,
    now_ns: u64,
    /// Bytes and records so far, by what they are of.
    streams: HashMap<(u8, u64, bool), (u64, u64)>,
}

impl Maker {
    fn begin(&mut self) {
        let functions = ["SSL_write", "SSL_read"].map(str::to_owned);
        for (index, name) in (0..).zip(functions) {
            let library = "openssl".to_owned();
            let function = Arc::new(Function { library, name });
            self.frames.push(Frame::Function { index, function });
        }
        let patterns = vec!["**/.ssh/**".to_owned(), "/etc/shadow".to_owned()];
        self.frames.push(Frame::Watched(patterns));
    }

    fn take(&mut self, step: &Step<'_>) {
        match step.kind {
            EXITED => self.other(Frame::Exited {
                caller: self.caller(step),
                open: Vec::new(),
            }),
            PROCESS => self.other(Frame::Process(Arc::new(self.info(step)))),
            TICK => self.other(Frame::Tick(self.now_ns)),
            kind => {
                let kind = if kind > STDIO { DATA } else { kind };
                for piece in pieces(step.told) {
                    let piece = match kind {
                        DATA | WORDS | STDIO => &secret::planted(piece, PIECE_MAX),
                        _ => piece,
                    };
                    let record = self.record(kind, step, piece);
                    self.block.push(&record);
                }
            }
        }
    }

    /// What is no record comes behind those before it.
    fn other(&mut self, frame: Frame) {
        self.flush();
        self.frames.push(frame);
    }

    fn flush(&mut self) {
        if !self.block.is_empty() {
            let block = std::mem::take(&mut self.block);
            self.frames.push(Frame::Records(block));
        }
    }

    fn finish(mut self) -> Vec<Frame> {
        self.other(Frame::End(End::default()));
        self.frames
    }

    fn caller(&self, step: &Step<'_>) -> Caller {
        Caller {
            ts_ns: self.now_ns,
            process: step.process(),
            tid: step.process().pid,
            comm: comm(step),
        }
    }

    fn info(&self, step: &Step<'_>) -> ProcessInfo {
        let text = String::from_utf8_lossy(step.told).into_owned();
        ProcessInfo {
            process: step.process(),
            since_ns: self.now_ns,
            comm: comm(step).text().into_owned(),
            uid: step.fd.unsigned_abs().into(),
            parent: process(step.number % PROCESSES),
            ns_pid: None,
            exe: (!text.is_empty()).then_some(text),
            cgroup: None,
            container: None,
        }
    }

    /// As `struct event_header` lays it out, and what is told behind it.
    fn record(&mut self, kind: u8, step: &Step<'_>, piece: &[u8]) -> Vec<u8> {
        let stream = match kind {
            WORDS => u64::from(step.process().pid),
            _ => step.conn(),
        };
        let key = (kind, stream, step.is_read());
        let (offset, seq) = self.streams.entry(key).or_default();
        let (at, number) = (*offset, *seq);
        *offset += piece.len() as u64;
        *seq += 1;
        // Of words and of a close, the whole length so far.
        let len = match kind {
            WORDS | CLOSE => *offset,
            _ => piece.len() as u64,
        };
        if kind == CLOSE || kind == WORDS && step.number & 2 != 0 {
            self.streams.remove(&key);
        }
        let process = step.process();
        let words = [
            self.now_ns,
            process.start_ns,
            step.conn(),
            0x1000 + step.conn(),
            at,
            len,
            number,
            0,
            0,
            0,
        ];
        let mut record: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        for word in [
            process.pid,
            process.pid,
            piece.len() as u32,
            i32::from(step.fd).cast_unsigned(),
        ] {
            record.extend(word.to_ne_bytes());
        }
        record.extend(u16::from(step.number).to_ne_bytes());
        record.extend([kind, step.number & 1, 0, 0, 0, 0]);
        record.extend(comm(step).0);
        assert_eq!(record.len(), HEADER_LEN);
        record.extend_from_slice(piece);
        record
    }
}

/// What is told of nothing is a record, too. No secret is in two of them.
fn pieces(told: &[u8]) -> impl Iterator<Item = &[u8]> {
    let nothing = told.is_empty().then_some(told);
    nothing.into_iter().chain(told.chunks(PIECE_MAX))
}

fn comm(step: &Step<'_>) -> Comm {
    let name = NAMES[usize::from(step.who % PROCESSES) % NAMES.len()];
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    Comm(comm)
}
