//! How small recordings become, and what that costs: blocks of records, packed one by one and as one stream, with LZ4 and
//! Zstandard. `cargo bench --bench record`; `AGENTSIGHT_RECORDING=FILE` takes the blocks of a recording instead of ours.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)] // a bench fails loudly, and prints

use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use agentsight::event::block::Block;
use agentsight::event::frame::Frame;
use agentsight::event::wire::HEADER_LEN;
use agentsight::record::Recording;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

/// Each way is measured so often; the best round counts, for others disturb.
const ROUNDS: usize = 5;
/// Bytes of a block, as the ring thread hands them over under load.
const BLOCK: usize = 256 << 10;
/// Bytes of a record's payload.
const CHUNK: usize = 16 << 10;

fn main() {
    let blocks = match std::env::var_os("AGENTSIGHT_RECORDING") {
        Some(path) => recorded(BufReader::new(File::open(path).expect("the recording"))),
        None => conversation(),
    };
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    println!("{} blocks, {:.1} MB", blocks.len(), bytes as f64 / 1e6);
    println!("| packed with | bytes of 100 | MB/s |\n|---|---|---|");
    measure("a copy", &blocks, || |block: &[u8]| block.to_vec().len());
    measure("LZ4, block by block", &blocks, || {
        let mut room = Vec::new();
        move |block: &[u8]| {
            room.resize(lz4_flex::block::get_maximum_output_size(block.len()), 0);
            lz4_flex::block::compress_into(block, &mut room).expect("room")
        }
    });
    for level in [-1, 1, 3] {
        measure(&format!("zstd {level}, block by block"), &blocks, || {
            let mut packer = zstd::bulk::Compressor::new(level).expect("memory");
            move |block: &[u8]| packer.compress(block).expect("room").len()
        });
    }
    for level in [-1, 1, 3] {
        measure(&format!("zstd {level}, one stream"), &blocks, || {
            stream(level, false)
        });
    }
    measure("zstd 1, one stream, long matches", &blocks, || {
        stream(1, true)
    });
}

/// Prints what a packer makes of all blocks.
fn measure<P: FnMut(&[u8]) -> usize>(name: &str, blocks: &[Vec<u8>], make: impl Fn() -> P) {
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    let round = || {
        let mut pack = make();
        let begun = Instant::now();
        let packed: usize = blocks
            .iter()
            .map(|block| pack(block).min(block.len()))
            .sum();
        (begun.elapsed(), packed)
    };
    let rounds = (0..ROUNDS).map(|_| round());
    let (best, packed) = rounds.min().expect("a round");
    println!(
        "| {name} | {:.1} | {:.0} |",
        packed as f64 * 100.0 / bytes as f64,
        bytes as f64 / 1e6 / best.as_secs_f64()
    );
}

/// With the window of recordings.
fn stream(level: i32, is_long: bool) -> impl FnMut(&[u8]) -> usize {
    let mut encoder = Encoder::new(level).expect("memory");
    let mut set = |parameter| encoder.set_parameter(parameter).expect("a parameter");
    set(CParameter::WindowLog(22));
    set(CParameter::ChecksumFlag(false));
    set(CParameter::EnableLongDistanceMatching(is_long));
    let mut room = vec![0; 2 << 20];
    move |block: &[u8]| {
        let mut input = InBuffer::around(block);
        let mut output = OutBuffer::around(room.as_mut_slice());
        while input.pos() < block.len() {
            encoder.run(&mut input, &mut output).expect("room");
        }
        while encoder.flush(&mut output).expect("room") > 0 {}
        output.pos()
    }
}

/// The blocks of a recording.
fn recorded(file: BufReader<File>) -> Vec<Vec<u8>> {
    let mut recording = Recording::open(file).expect("a recording");
    let mut blocks = Vec::new();
    while let Some(frame) = recording.next_frame().expect("a whole recording") {
        if let Frame::Records(block) = frame {
            blocks.push(block.as_bytes().to_vec());
        }
    }
    blocks
}

/// An agent that says, with each request, all that was said before, and gets an answer in small events.
fn conversation() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../README.md"),
        include_str!("../src/lib.rs"),
        include_str!("../src/stream/mod.rs"),
        include_str!("../src/proto/item.rs"),
        include_str!("../tests/README.md"),
        include_str!("../src/event/wire.rs"),
    ];
    let text = files.concat();
    let lines: Vec<&str> = text.lines().collect();
    let mut stream = Stream::default();
    let mut said = Vec::new();
    for turn in lines.chunks(60) {
        said.push(serde_json::json!({"role": "user", "content": turn.join("\n")}));
        let body = serde_json::json!({"model": "m", "stream": true, "messages": said}).to_string();
        stream.push(0, body.as_bytes());
        for word in turn.join(" ").split(' ') {
            let delta = serde_json::json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": word}});
            stream.push(
                1,
                format!("event: content_block_delta\ndata: {delta}\n\n").as_bytes(),
            );
        }
    }
    stream.blocks.push(stream.block.into_memory());
    stream.blocks
}

/// Records as the kernel lays them out.
#[derive(Default)]
struct Stream {
    blocks: Vec<Vec<u8>>,
    block: Block,
    records: u64,
    offsets: [u64; 2],
}

impl Stream {
    fn push(&mut self, direction: u8, bytes: &[u8]) {
        for chunk in bytes.chunks(CHUNK) {
            let mut record = vec![0; HEADER_LEN];
            let mut put =
                |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
            let offset = &mut self.offsets[usize::from(direction)];
            put(0, &(self.records * 31_007).to_ne_bytes());
            put(16, &1_u64.to_ne_bytes());
            put(32, &offset.to_ne_bytes());
            put(40, &(chunk.len() as u64).to_ne_bytes());
            put(48, &self.records.to_ne_bytes());
            put(80, &4242_u32.to_ne_bytes());
            put(84, &4242_u32.to_ne_bytes());
            put(88, &(chunk.len() as u32).to_ne_bytes());
            put(98, &[1, direction]);
            put(104, b"node");
            record.extend_from_slice(chunk);
            *offset += chunk.len() as u64;
            self.records += 1;
            self.block.push(&record);
            if self.block.len() > BLOCK {
                self.blocks
                    .push(std::mem::take(&mut self.block).into_memory());
            }
        }
    }
}
