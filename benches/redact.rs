//! What redaction costs per byte of text without secrets, next to something simple with the same bytes.
//!
//! Needs no root. `--rounds N` (7), `--seconds N` (1) of each stage in a round, `--only NAME` of a stage, `--json`,
//! `--from FILE`.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and fails loudly"
)]

#[path = "support/mod.rs"]
mod support;

use std::borrow::Cow;
use std::hint::black_box;
use std::rc::Rc;

use agentsight::event::Direction;
use agentsight::redact::{Level, Redactor, Rules, TextKey};
use serde_json::{Value, json};

use support::Result;
use support::stage::{self, Simple, Stage};

/// Bytes of plaintext per pass.
const TOTAL: usize = 4 << 20;
/// Bytes of a chunk.
const SIZES: [usize; 2] = [1 << 10, 16 << 10];

fn main() -> Result<()> {
    stage::run("redact", stages)
}

fn stages() -> Vec<Stage> {
    let text: Rc<str> = support::text::text(TOTAL).into();
    let request = request(&text);
    let json: Rc<str> = request.to_string().into();
    let mut stages = Vec::new();
    for size in SIZES {
        stages.push(chunks("text", &text, size, Level::Default));
    }
    for size in SIZES {
        stages.push(chunks("text, strict", &text, size, Level::Strict));
    }
    stages.push(chunks("a request as text", &json, SIZES[1], Level::Default));
    stages.push(tree(request, &json));
    stages.push(deltas());
    stages
}

/// A request as agents send it: a conversation with files in it.
fn request(text: &str) -> Value {
    let lines: Vec<&str> = text.lines().collect();
    let message = |lines: &[&str]| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "content": lines.join("\n")}]});
    let messages: Vec<Value> = lines.chunks(20).map(message).collect();
    json!({"model": "m", "stream": true, "messages": messages})
}

fn redactor(level: Level) -> Redactor {
    Redactor::with_rules(Rules::new(level).expect("rules"), [1; 32]).expect("rules")
}

fn chunks(name: &str, text: &Rc<str>, size: usize, level: Level) -> Stage {
    let mut redactor = redactor(level);
    let simple = Simple::lines(Rc::<[u8]>::from(Rc::clone(text)));
    let text = Rc::clone(text);
    Stage {
        name: name.to_owned(),
        at_once: Some(size),
        bytes: text.len(),
        pass: Box::new(move || {
            let mut offset = 0;
            for chunk in text.as_bytes().chunks(size) {
                let mut bytes = Cow::Borrowed(black_box(chunk));
                redactor.mask((1, Direction::Write), offset, &mut bytes);
                offset += chunk.len() as u64;
            }
            redactor.forget(1);
        }),
        simple,
    }
}

/// A copy of the request each time, which takes its part of the time.
fn tree(request: Value, json: &Rc<str>) -> Stage {
    let mut redactor = redactor(Level::Default);
    Stage {
        name: "a request as a tree, copied".to_owned(),
        at_once: None,
        bytes: json.len(),
        simple: Simple {
            name: "the copy alone",
            pass: Box::new({
                let request = request.clone();
                move || drop(black_box(request.clone()))
            }),
        },
        pass: Box::new(move || {
            let mut request = request.clone();
            redactor.json(black_box(&mut request));
        }),
    }
}

/// An answer as it streams.
fn deltas() -> Stage {
    let mut bytes = 0;
    let tokens = support::text::tokens(1).take_while(|token| {
        bytes += token.len();
        bytes <= TOTAL / 16
    });
    let tokens: Rc<[String]> = tokens.collect();
    let mut redactor = redactor(Level::Default);
    let whole: Vec<u8> = tokens.concat().into();
    Stage {
        name: "an answer in tokens".to_owned(),
        at_once: None,
        bytes: whole.len(),
        pass: Box::new(move || {
            for token in tokens.iter() {
                let mut token = token.clone();
                redactor.stream_text(TextKey::default(), &mut token);
            }
            black_box(redactor.flush(TextKey::default()));
        }),
        simple: Simple::lines(whole),
    }
}
