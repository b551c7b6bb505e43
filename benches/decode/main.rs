//! What decoding costs per byte, stage by stage, next to something simple with the same bytes: messages of a connection
//! with the events in their bodies, packed bodies, streamed answers of each dialect put together, and all of that at once.
//!
//! Needs no root. `--rounds N` (7), `--seconds N` (1) of each stage in a round, `--only NAME` of a stage, `--json`,
//! `--from FILE`.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench prints, and fails loudly"
)]

mod connection;
mod events;
#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::rc::Rc;

use agentsight::semantics::dialect::Target;
use agentsight::semantics::model::Operation;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use connection::{Answer, JSON, SSE, asking, chunked, dialog, http2, read};
use events::{CHAT, Streamed};
use support::Result;
use support::stage::{self, Simple, Stage};

/// Bytes that come at once: what programs often read, and what a TLS record holds at most.
const SIZES: [usize; 2] = [4 << 10, 16 << 10];

fn main() -> Result<()> {
    stage::run("decode", stages)
}

fn stages() -> Vec<Stage> {
    let parts: Vec<String> = CHAT
        .events()
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let mut stages = Vec::new();
    for size in SIZES {
        let http1 = (asking(), chunked(SSE, &parts));
        stages.push(reading("HTTP/1.1 with events", http1, parts.len(), size));
        stages.push(reading(
            "HTTP/2 with events",
            http2(&parts),
            parts.len(),
            size,
        ));
    }
    stages.push(events_in_gzip(&parts));
    stages.push(answer_in_gzip());
    stages.extend(events::ALL.into_iter().map(merging));
    for size in SIZES {
        stages.push(everything(&parts, size));
    }
    stages
}

/// A connection down to the events of its body.
fn reading(name: &str, conversation: (Vec<u8>, Vec<u8>), count: usize, size: usize) -> Stage {
    let (asking, answer) = conversation;
    let answer: Rc<[u8]> = answer.into();
    let simple = Simple::lines(Rc::clone(&answer));
    Stage {
        name: name.to_owned(),
        at_once: Some(size),
        bytes: answer.len(),
        pass: Box::new(move || {
            let read = read(&asking, black_box(&answer), size);
            assert_eq!(read.events, count);
        }),
        simple,
    }
}

/// Packed as a server does it that wants each event to arrive: flushed behind each.
fn events_in_gzip(parts: &[String]) -> Stage {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut packed = Vec::new();
    for part in parts {
        encoder.write_all(part.as_bytes()).expect("memory");
        encoder.flush().expect("memory");
        packed.push(std::mem::take(encoder.get_mut()));
    }
    packed.push(encoder.finish().expect("memory"));
    let expected = Answer {
        events: parts.len(),
        bytes: parts.concat().len(),
    };
    unpacking("events in gzip", SSE, &packed, expected)
}

/// An answer in one piece.
fn answer_in_gzip() -> Stage {
    let answer = events::whole();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&answer).expect("memory");
    let packed = encoder.finish().expect("memory");
    let packed: Vec<&[u8]> = packed.chunks(16 << 10).collect();
    let expected = Answer {
        events: 0,
        bytes: answer.len(),
    };
    unpacking("an answer in gzip", JSON, &packed, expected)
}

/// Bytes are those of the content.
fn unpacking<B: AsRef<[u8]>>(name: &str, kind: &str, packed: &[B], expected: Answer) -> Stage {
    let (asking, bytes) = (asking(), expected.bytes);
    let answer = chunked(&format!("{kind}content-encoding: gzip\r\n"), packed);
    let packed: Vec<u8> = packed.iter().flat_map(AsRef::as_ref).copied().collect();
    let ratio = bytes as f64 / packed.len() as f64;
    Stage {
        name: format!("{name}, 1 : {ratio:.1}"),
        at_once: Some(SIZES[1]),
        bytes,
        pass: Box::new(move || {
            assert_eq!(read(&asking, black_box(&answer), SIZES[1]), expected);
        }),
        simple: Simple {
            name: "unpacking alone (flate2)",
            pass: Box::new(move || {
                let mut plain = Vec::with_capacity(bytes);
                let mut decoder = GzDecoder::new(black_box(packed.as_slice()));
                decoder.read_to_end(&mut plain).expect("what was packed");
                assert_eq!(plain.len(), bytes);
            }),
        },
    }
}

/// Pieces of one answer put together.
fn merging(streamed: &'static Streamed) -> Stage {
    let events = streamed.events();
    let simple = Simple::json(Rc::clone(&events));
    let target = Target {
        provider: "p".into(),
        operation: Operation::Chat,
        model: None,
    };
    Stage {
        name: format!("merging {}", streamed.name),
        at_once: None,
        bytes: events.iter().map(String::len).sum(),
        pass: Box::new(move || {
            let mut merge = streamed.dialect.merge(&target);
            let mut deltas = 0;
            for event in events.iter() {
                let piece = (streamed.piece)(black_box(event));
                assert!(merge.piece(&piece, &mut |_| deltas += 1));
            }
            // The first event may begin something, and be no news.
            assert!(deltas + 1 >= events.len());
            black_box(merge.finish());
        }),
        simple,
    }
}

/// All that is done with one streamed call: connection, content, events, answer, and what is told of it.
fn everything(parts: &[String], size: usize) -> Stage {
    let (asking, answer) = (asking(), chunked(SSE, parts));
    let count = parts.len();
    let bytes = answer.len();
    let simple = Simple::lines(answer.clone());
    Stage {
        name: "all of it, HTTP/1.1 to calls".to_owned(),
        at_once: Some(size),
        bytes,
        pass: Box::new(move || {
            let said = dialog(&asking, black_box(&answer), size);
            assert!(said > count, "it was not understood");
        }),
        simple,
    }
}
