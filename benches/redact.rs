//! What redaction costs per byte of text without secrets, next to a copy and a search of the same bytes.
//! `cargo bench --bench redact`.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // a bench fails loudly

use std::borrow::Cow;

use agentsight::event::Direction;
use agentsight::redact::{Level, Redactor, Rules, TextKey};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use serde_json::{Value, json};

/// Bytes of plaintext per round.
const TOTAL: usize = 4 << 20;
/// Bytes of a chunk.
const SIZES: [usize; 2] = [1 << 10, 16 << 10];

fn main() {
    divan::main();
}

/// Code and prose: of this repository.
fn text() -> String {
    let files = [
        include_str!("../README.md"),
        include_str!("../src/lib.rs"),
        include_str!("../src/stream/mod.rs"),
        include_str!("../src/proto/item.rs"),
        include_str!("../tests/README.md"),
        include_str!("../Cargo.lock"),
    ];
    let text = files.concat();
    text.repeat(TOTAL / text.len() + 1)
        .chars()
        .take(TOTAL)
        .collect()
}

/// A request as agents send it: a conversation with files in it.
fn request() -> Value {
    let text = text();
    let lines: Vec<&str> = text.lines().collect();
    let message = |lines: &[&str]| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "content": lines.join("\n")}]});
    let messages: Vec<Value> = lines.chunks(20).map(message).collect();
    json!({"model": "m", "stream": true, "messages": messages})
}

fn redactor(level: Level) -> Redactor {
    Redactor::with_rules(Rules::new(level).expect("rules"), [1; 32]).expect("rules")
}

#[divan::bench]
fn baseline_copy(bencher: Bencher) {
    let text = text();
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| black_box(text.as_bytes()).to_vec());
}

#[divan::bench]
fn baseline_memchr(bencher: Bencher) {
    let text = text();
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| memchr::memchr(0, black_box(text.as_bytes())));
}

fn chunks(bencher: Bencher, text: &str, size: usize, level: Level) {
    let mut redactor = redactor(level);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| {
            let mut offset = 0;
            for chunk in text.as_bytes().chunks(size) {
                let mut bytes = Cow::Borrowed(black_box(chunk));
                redactor.mask((1, Direction::Write), offset, &mut bytes);
                offset += chunk.len() as u64;
            }
            redactor.forget(1);
        });
}

#[divan::bench(args = SIZES)]
fn mask(bencher: Bencher, size: usize) {
    chunks(bencher, &text(), size, Level::Default);
}

#[divan::bench(args = SIZES)]
fn mask_strict(bencher: Bencher, size: usize) {
    chunks(bencher, &text(), size, Level::Strict);
}

#[divan::bench]
fn mask_json(bencher: Bencher) {
    chunks(bencher, &request().to_string(), 16 << 10, Level::Default);
}

#[divan::bench]
fn json(bencher: Bencher) {
    let request = request();
    let mut redactor = redactor(Level::Default);
    bencher
        .counter(BytesCount::new(request.to_string().len()))
        .with_inputs(|| request.clone())
        .bench_local_refs(|request| redactor.json(request));
}

#[divan::bench]
fn deltas_of_5_bytes(bencher: Bencher) {
    let text: Vec<char> = text().chars().take(TOTAL / 16).collect();
    let pieces: Vec<String> = text.chunks(5).map(|piece| piece.iter().collect()).collect();
    let mut redactor = redactor(Level::Default);
    bencher
        .counter(BytesCount::new(TOTAL / 16))
        .with_inputs(|| pieces.clone())
        .bench_local_values(|pieces| {
            for mut piece in pieces {
                redactor.stream_text(TextKey::default(), &mut piece);
            }
            redactor.flush(TextKey::default())
        });
}

#[divan::bench]
fn load_rules(bencher: Bencher) {
    bencher.bench_local(|| redactor(Level::Default));
}
