//! Recorded exchanges, and a simple splitter of event streams that shares nothing with the one under test.

use std::ops::Deref;
use std::path::PathBuf;

use agentsight_testbins::replay;
use serde_json::Value;

use crate::support::{sample_cache, skip};

/// A question and its answer as they were recorded.
#[derive(Clone)]
pub struct Exchange(pub replay::Exchange);

impl Deref for Exchange {
    type Target = replay::Exchange;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// All exchanges of the recordings that `AGENTSIGHT_LLM_CORPUS` names, or that `scripts/fetch-corpus` has fetched.
pub fn corpus() -> Option<Vec<Exchange>> {
    let paths = match std::env::var("AGENTSIGHT_LLM_CORPUS") {
        Ok(paths) => paths.split(':').map(PathBuf::from).collect(),
        Err(_) => fetched()?,
    };
    if paths.is_empty() {
        return skip("recorded exchanges (scripts/fetch-corpus, or AGENTSIGHT_LLM_CORPUS)");
    }
    let load = |path: &PathBuf| {
        replay::load(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let exchanges: Vec<_> = paths.iter().flat_map(load).map(Exchange).collect();
    assert!(!exchanges.is_empty(), "{paths:?} have no exchanges");
    Some(exchanges)
}

fn fetched() -> Option<Vec<PathBuf>> {
    let files = sample_cache()?.join("llm-corpus").read_dir();
    let files = files.into_iter().flatten().map(|file| file.unwrap().path());
    let mut paths: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|ending| ending == "gz"))
        .collect();
    paths.sort();
    Some(paths)
}

impl Exchange {
    pub fn request_json(&self) -> Option<Value> {
        serde_json::from_slice(&self.request).ok()
    }

    pub fn response_json(&self) -> Option<Value> {
        serde_json::from_slice(&self.response).ok()
    }

    /// The events of the answer, if it is made of them.
    pub fn events(&self) -> Option<Vec<OwnedPiece>> {
        let text = String::from_utf8(self.response.clone()).ok()?;
        let begins = |word| text.trim_start().starts_with(word);
        (begins("data:") || begins("event:") || begins(":")).then(|| events(&text))
    }
}

/// The lines of the answer, if there are several, each with JSON of its own.
pub fn lines(exchange: &Exchange) -> Option<Vec<OwnedPiece>> {
    let text = std::str::from_utf8(&exchange.response).ok()?;
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let is_json = |line: &&str| line.starts_with('{') && line.ends_with('}');
    let all = lines.len() > 1 && lines.iter().all(is_json);
    let piece = |line: &&str| OwnedPiece::Json(line.as_bytes().to_vec());
    all.then(|| lines.iter().map(piece).collect())
}

/// The frames of an AWS event stream, as its maker's crate reads them.
pub fn frames(exchange: &Exchange) -> Option<Vec<OwnedPiece>> {
    if exchange.response.first() == Some(&b'{') {
        return None;
    }
    let mut bytes = exchange.response.as_slice();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let frame = aws_smithy_eventstream::frame::read_message_from(&mut bytes).unwrap();
        let header = |name: &str| {
            let mut headers = frame.headers().iter();
            let header = headers.find(|header| header.name().as_str() == name)?;
            Some(header.value().as_string().unwrap().as_str().to_owned())
        };
        let kind = header(":event-type").or_else(|| header(":exception-type"));
        let class = header(":message-type");
        let payload = frame.payload().to_vec();
        frames.push(OwnedPiece::Aws(kind.unwrap(), class.unwrap(), payload));
    }
    Some(frames)
}

/// A piece of a streamed answer that owns its text.
#[derive(Clone, Debug)]
pub enum OwnedPiece {
    /// Name, class, payload.
    Aws(String, String, Vec<u8>),
    Json(Vec<u8>),
    Sse(Option<String>, String),
}

impl OwnedPiece {
    /// What it holds, as text.
    pub fn data(&self) -> String {
        match self {
            Self::Aws(_, _, json) | Self::Json(json) => String::from_utf8(json.clone()).unwrap(),
            Self::Sse(_, data) => data.clone(),
        }
    }

    /// The JSON in it, if there is any.
    pub fn json(&self) -> Option<Value> {
        match self {
            Self::Aws(_, _, json) | Self::Json(json) => serde_json::from_slice(json).ok(),
            Self::Sse(_, data) => serde_json::from_str(data).ok(),
        }
    }
}

/// Events are separated by empty lines.
pub fn events(text: &str) -> Vec<OwnedPiece> {
    let text = text.replace("\r\n", "\n");
    let field = |block: &str, name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name));
        let values: Vec<_> = lines
            .map(|value| value.strip_prefix(' ').unwrap_or(value))
            .collect();
        (!values.is_empty()).then(|| values.join("\n"))
    };
    text.split("\n\n")
        .filter_map(|block| {
            Some(OwnedPiece::Sse(
                field(block, "event:"),
                field(block, "data:")?,
            ))
        })
        .collect()
}
