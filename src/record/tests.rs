use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;
use crate::event::block::Block;
use crate::event::frame::{End, Frame};
use crate::event::wire::{ConnState, Counter, HEADER_LEN};
use crate::event::{Caller, Comm, ConnId, Function, ProcessId};
use crate::output::{Output, Printer};
use crate::sink::{Clock, JsonLines};

const HEADER: Header = Header {
    boot_to_unix_ns: 1_700_000_000_000_000_000,
    tag_key: [3; 32],
    is_masked: true,
};
const SECRET: &str = "s3cr3t-s3cr3t-s3cr3t";

/// A file in memory that stays in reach.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // In pieces, as files may.
        let bytes = &bytes[..bytes.len().min(100)];
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

fn data(ts_ns: u64, seq: u64, offset: u64, text: &str) -> Vec<u8> {
    let mut record = vec![0; HEADER_LEN];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &ts_ns.to_ne_bytes());
    put(8, &7_u64.to_ne_bytes());
    put(16, &1_u64.to_ne_bytes());
    put(32, &offset.to_ne_bytes());
    put(40, &(text.len() as u64).to_ne_bytes());
    put(48, &seq.to_ne_bytes());
    put(80, &42_u32.to_ne_bytes());
    put(88, &(text.len() as u32).to_ne_bytes());
    put(92, &5_i32.to_ne_bytes());
    put(96, &3_u16.to_ne_bytes());
    put(98, &[1]);
    put(104, b"node");
    record.extend_from_slice(text.as_bytes());
    record
}

fn frames() -> Vec<Frame> {
    let process = ProcessId {
        pid: 42,
        start_ns: 7,
    };
    let state = ConnState {
        process,
        id: ConnId(1),
        totals: [200, 30],
    };
    let mut block = Block::default();
    block.push(&data(1, 0, 0, "GET / HTTP/1.1\r\nAuthorization: Bearer "));
    block.push(&data(2, 1, 38, &format!("{SECRET}\r\n\r\n")));
    block.push(b"short");
    let function = Function {
        library: "openssl".into(),
        name: "SSL_write".into(),
    };
    vec![
        Frame::Function {
            index: 3,
            function: Arc::new(function),
        },
        Frame::Records(block),
        Frame::Tick(5),
        Frame::Counters(vec![(Counter::CallFull, 2), (Counter::BadResult, 1)]),
        Frame::Exited {
            caller: Caller {
                ts_ns: 9,
                process,
                tid: 43,
                comm: Comm(*b"node\0\0\0\0\0\0\0\0\0\0\0\0"),
            },
            open: vec![state],
        },
        Frame::End(End {
            open: vec![state],
            counters: vec![(Counter::CallFull, 3)],
            masked: 0,
            left_out: 0,
            unread: 0,
        }),
    ]
}

fn record(header: &Header) -> Vec<u8> {
    let file = Shared::default();
    let mut recorder = Recorder::new(Box::new(file.clone()), header).unwrap();
    for mut frame in frames() {
        recorder.take(&mut frame).unwrap();
    }
    assert_eq!(recorder.summary().totals.events, 2);
    file.bytes()
}

fn output(redactor: Option<crate::redact::Redactor>) -> (Output, Shared) {
    let lines = Shared::default();
    let clock = Clock::fixed(HEADER.boot_to_unix_ns);
    let mut printer = Printer::default();
    printer.sink = Some(Box::new(JsonLines::new(lines.clone(), clock)));
    printer.redactor = redactor;
    (Output::new(printer), lines)
}

/// What a recording prints, and what is wrong with it.
fn replay(bytes: &[u8]) -> (String, Option<String>) {
    let mut recording = match Recording::open(bytes) {
        Ok(recording) => recording,
        Err(error) => return (String::new(), Some(error.to_string())),
    };
    let header = *recording.header();
    let redactor = || crate::redact::Redactor::new(header.tag_key).unwrap();
    let (mut output, lines) = output((!header.is_masked).then(redactor));
    let mut wrong = None;
    loop {
        match recording.next_frame() {
            Ok(Some(frame)) => drop(output.take(&frame).unwrap()),
            Ok(None) => break,
            Err(error) => {
                wrong = Some(error.to_string());
                break;
            }
        }
    }
    output.flush().unwrap();
    (String::from_utf8(lines.bytes()).unwrap(), wrong)
}

/// Whether the secret is in what a recording holds, packed or not.
fn is_told(bytes: &[u8]) -> bool {
    let mut recording = Recording::open(bytes).unwrap();
    let mut all = bytes.to_vec();
    while let Some(frame) = recording.next_frame().unwrap() {
        if let Frame::Records(block) = frame {
            all.extend(block.as_bytes());
        }
    }
    all.windows(SECRET.len())
        .any(|part| part == SECRET.as_bytes())
}

/// A recording would replay as something else than the live run said; and a secret would be in the file.
#[test]
fn a_recording_replays_as_the_run_was() {
    let redactor = crate::redact::Redactor::new(HEADER.tag_key).unwrap();
    let (mut live, lines) = output(Some(redactor));
    for frame in frames() {
        live.take(&frame).unwrap();
    }
    let live = String::from_utf8(lines.bytes()).unwrap();
    assert!(
        live.contains("<redacted:") && !live.contains(SECRET),
        "{live}"
    );
    for is_masked in [true, false] {
        let header = Header {
            is_masked,
            ..HEADER
        };
        let bytes = record(&header);
        assert_eq!(is_told(&bytes), !is_masked);
        assert_eq!(replay(&bytes), (live.clone(), None));
        assert_eq!(replay(&bytes), (live.clone(), None), "the second time");
    }
}

/// Each frame comes out as it went in.
#[test]
fn frames_survive() {
    let file = Shared::default();
    let header = Header {
        is_masked: false,
        ..HEADER
    };
    let mut recorder = Recorder::new(Box::new(file.clone()), &header).unwrap();
    for mut frame in frames() {
        recorder.take(&mut frame).unwrap();
    }
    let bytes = file.bytes();
    let mut recording = Recording::open(bytes.as_slice()).unwrap();
    assert_eq!(*recording.header(), header);
    for frame in frames() {
        assert_eq!(recording.next_frame().unwrap(), Some(frame));
    }
    assert_eq!(recording.next_frame().unwrap(), None);
}

/// A torn recording would be replayed in silence, or not at all: what is whole comes out, then the place
/// where it ends.
#[test]
fn torn_recordings_replay_up_to_there() {
    let bytes = record(&HEADER);
    let (whole, _) = replay(&bytes);
    for end in 0..bytes.len() {
        let (lines, wrong) = replay(&bytes[..end]);
        assert!(whole.starts_with(&lines), "{end}");
        let wrong = wrong.unwrap_or_else(|| panic!("{end}: nothing is wrong"));
        assert!(
            wrong.contains("too early") || wrong.contains("too short"),
            "{end}: {wrong}"
        );
    }
}

/// A flipped bit would change what a recording says, or end the reader.
#[test]
fn flipped_bits_are_noticed() {
    let bytes = record(&HEADER);
    let (whole, _) = replay(&bytes);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let (lines, wrong) = replay(&bytes);
            assert!(wrong.is_some(), "byte {at} bit {bit}");
            assert!(whole.starts_with(&lines), "byte {at} bit {bit}");
        }
    }
}
