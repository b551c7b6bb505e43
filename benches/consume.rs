//! What the output side costs per record, without a kernel: blocks of records as the ring thread makes them,
//! through decoding, tracking, redaction, and JSON, or into a recording. `cargo bench --bench consume`.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // a bench fails loudly

use std::io;
use std::sync::Arc;

use agentsight::event::Function;
use agentsight::event::frame::Frame;
use agentsight::event::queue::{Filler, Next, Queue};
use agentsight::event::wire::HEADER_LEN;
use agentsight::output::{Output, Printer};
use agentsight::record::{Header, Recorder};
use agentsight::redact::Redactor;
use agentsight::sink::{Clock, JsonLines};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

/// Bytes of a message.
const SIZES: [usize; 2] = [256, 16 << 10];
/// Bytes of plaintext per round.
const TOTAL: usize = 8 << 20;
/// Of prose, with some JSON around it: no secrets.
const TEXT: &str = "{\"role\":\"user\",\"content\":\"Summarize the authors' main points, in order to rewrite \
    the key sections of risk-averse assets. It's 10:30; the tokens=3 case (see x-axis) needs work.\\n\"}\n";

fn main() {
    divan::main();
}

/// A record as the kernel lays it out.
fn record(seq: u64, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0; HEADER_LEN];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(seq * 3000).to_ne_bytes());
    put(16, &1_u64.to_ne_bytes());
    put(32, &offset.to_ne_bytes());
    put(40, &(payload.len() as u64).to_ne_bytes());
    put(48, &seq.to_ne_bytes());
    put(80, &4242_u32.to_ne_bytes());
    put(84, &4242_u32.to_ne_bytes());
    put(88, &(payload.len() as u32).to_ne_bytes());
    put(92, &5_i32.to_ne_bytes());
    put(98, &[1]);
    put(104, b"node");
    record.extend_from_slice(payload);
    record
}

fn records(size: usize) -> Vec<Vec<u8>> {
    let text: Vec<u8> = TEXT.bytes().cycle().take(size).collect();
    let count = TOTAL / size;
    let one = |n: usize| record(n as u64, (n * size) as u64, &text);
    (0..count).map(one).collect()
}

/// What the ring thread hands over.
fn frames(size: usize) -> Vec<Frame> {
    let queue = Queue::new(16 * TOTAL);
    let mut filler = Filler::new(Arc::clone(&queue));
    for record in records(size) {
        filler.take(&record, true);
    }
    filler.flush();
    let function = Function {
        library: "openssl".into(),
        name: "SSL_write".into(),
    };
    let function = Arc::new(function);
    let mut frames = vec![Frame::Function { index: 0, function }];
    while let Next::Frame(frame) = queue.pop(std::time::Instant::now()) {
        frames.push(frame);
    }
    frames
}

/// The copy out of the ring.
#[divan::bench(args = SIZES)]
fn ring_to_queue(bencher: Bencher, size: usize) {
    let records = records(size);
    let bencher = bencher
        .counter(ItemsCount::new(TOTAL / size))
        .counter(BytesCount::new(TOTAL));
    let queue = Queue::new(16 * TOTAL);
    bencher.bench_local(|| {
        let mut filler = Filler::new(Arc::clone(&queue));
        for record in &records {
            filler.take(black_box(record), true);
        }
        filler.flush();
        while let Next::Frame(Frame::Records(block)) = queue.pop(std::time::Instant::now()) {
            queue.recycle(block);
        }
    });
}

fn print(bencher: Bencher, size: usize, redact: bool) {
    let frames = frames(size);
    let bencher = bencher
        .counter(ItemsCount::new(TOTAL / size))
        .counter(BytesCount::new(TOTAL));
    bencher.bench_local(|| {
        let mut printer = Printer::default();
        printer.sink = Some(Box::new(JsonLines::new(io::sink(), Clock::fixed(0))));
        let redactor = redact.then(|| Redactor::new([1; 32]).expect("patterns"));
        printer.redactor = redactor;
        let mut output = Output::new(printer);
        for frame in &frames {
            output.take(black_box(frame)).expect("prints");
        }
        output.flush().expect("prints");
    });
}

#[divan::bench(args = SIZES)]
fn json(bencher: Bencher, size: usize) {
    print(bencher, size, true);
}

#[divan::bench(args = SIZES)]
fn json_without_redaction(bencher: Bencher, size: usize) {
    print(bencher, size, false);
}

fn keep(bencher: Bencher, size: usize, is_masked: bool) {
    let frames = frames(size);
    let header = Header {
        boot_to_unix_ns: 0,
        tag_key: [1; 32],
        is_masked,
    };
    let bencher = bencher
        .counter(ItemsCount::new(TOTAL / size))
        .counter(BytesCount::new(TOTAL));
    bencher
        .with_inputs(|| frames.clone())
        .bench_local_values(|mut frames| {
            let mut recorder = Recorder::new(Box::new(io::sink()), &header).expect("writes");
            for frame in &mut frames {
                recorder.take(black_box(frame)).expect("writes");
            }
            frames
        });
}

#[divan::bench(args = SIZES)]
fn recording(bencher: Bencher, size: usize) {
    keep(bencher, size, true);
}

#[divan::bench(args = SIZES)]
fn recording_without_redaction(bencher: Bencher, size: usize) {
    keep(bencher, size, false);
}
