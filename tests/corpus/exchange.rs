//! Recorded exchanges, and a simple splitter of event streams that shares nothing with the one under test.

use std::io::Read;
use std::path::{Path, PathBuf};

use agentsight::proto::item::{Field, Fields};
use agentsight::semantics::Piece;
use base64::Engine;
use serde_json::Value;

use crate::support::{sample_cache, skip};

/// A question and its answer as they were recorded.
pub struct Exchange {
    pub id: String,
    pub from: String,
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: String,
    pub fields: Fields,
    pub request: Vec<u8>,
    pub status: u16,
    pub response: Vec<u8>,
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
    let texts = paths.iter().map(|path| read(path));
    let exchanges: Vec<_> = texts
        .flat_map(|text| text.lines().map(Exchange::parse).collect::<Vec<_>>())
        .collect();
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

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8(unzipped(bytes)).unwrap()
}

fn unzipped(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
    decoder.read_to_end(&mut plain).unwrap();
    plain
}

impl Exchange {
    fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let url = text("url");
        let url = url.split('#').next().unwrap();
        let (_, behind) = url.split_once("://").unwrap_or(("", url));
        let (authority, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        Self {
            id: text("id"),
            from: text("from"),
            method: text("method").to_uppercase(),
            host: host.to_lowercase(),
            path: path.to_owned(),
            query: query.to_owned(),
            fields: fields(&value["request_headers"]),
            request: body(&value, "request_body"),
            status: value["status"].as_u64().unwrap() as u16,
            response: body(&value, "response_body"),
        }
    }

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

fn fields(headers: &Value) -> Fields {
    let headers = headers.as_object().into_iter().flatten();
    let field = |(name, value): (&String, &Value)| Field {
        name: name.to_lowercase(),
        value: Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        ),
    };
    Fields(headers.map(field).collect())
}

fn body(exchange: &Value, name: &str) -> Vec<u8> {
    let coded = &exchange[format!("{name}_b64")];
    let bytes = match coded.as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap(),
        None => exchange[name].as_str().unwrap_or_default().into(),
    };
    unzipped(bytes)
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
    pub fn borrow(&self) -> Piece<'_> {
        match self {
            Self::Aws(kind, class, payload) => Piece::Aws {
                kind,
                class,
                payload,
            },
            Self::Json(json) => Piece::Json(json),
            Self::Sse(event, data) => Piece::Sse {
                event: event.as_deref(),
                data,
            },
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
