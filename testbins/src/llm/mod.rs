//! A server that speaks the APIs of LLM providers over real TLS, HTTP/1.1 and HTTP/2, and logs what it meant.
//!
//! Answers are drawn from a seed or follow a script; nothing is generated. Every exchange is one line of the truth log,
//! whose `id` the response carries (in its own number where the API has one, in the field `x-request-id` always).
//! It listens on 127.0.0.1 only, and takes any key.

#![allow(
    clippy::indexing_slicing,
    reason = "of JSON only: to read what is not there gives null, and written are objects that are made here"
)]

mod anthropic;
mod api;
mod bedrock;
pub(crate) mod body;
mod chat;
mod cohere;
mod completions;
mod fault;
mod gemini;
mod mcp;
mod ollama;
mod raw;
mod responses;
mod said;
mod serve;
pub(crate) mod tls;
pub(crate) mod truth;
mod websocket;
pub(crate) mod wire;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use serde_json::Value;

use serve::Shared;
use tls::{Place, Server, Way};
use truth::Log;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; 0 picks a port.
    pub port: u16,
    /// Of all that is drawn.
    pub seed: u64,
    /// HTTP/2 for who offers it, else HTTP/1.1 only.
    pub http2: bool,
    /// Half of the bodies are compressed, if the client takes that.
    pub coding: bool,
    /// Between two pieces of a streamed answer, in milliseconds.
    pub pause_ms: u64,
    /// A JSON file with a list of turns (`{"thoughts", "text", "tool_calls": [{"name", "arguments"}]}`): in each
    /// conversation with tools, the answer after n rounds of tool results is the one with index n.
    pub turns: Option<PathBuf>,
    /// A file with a whole response: each connection's first request is answered with its bytes, whatever they are.
    pub raw: Option<PathBuf>,
    /// Threads that serve.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            seed: 1,
            http2: true,
            coding: true,
            pause_ms: 0,
            turns: None,
            raw: None,
            threads: 2,
        }
    }
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct MockServer {
    /// On 127.0.0.1.
    pub port: u16,
    /// Its certificate, which clients have to trust.
    pub ca: PathBuf,
    /// One JSON line for each exchange.
    pub log: PathBuf,
    _server: Server,
}

impl MockServer {
    /// Starts one whose certificate (`cert.pem`, `key.pem`: made unless they are there) and log (`truth.jsonl`) are in
    /// this folder.
    pub fn start(options: Options, folder: &Path) -> io::Result<Self> {
        let turns = match &options.turns {
            Some(path) => serde_json::from_slice(&fs::read(path)?)?,
            None => Vec::new(),
        };
        let raw = options.raw.as_ref().map(fs::read).transpose()?;
        let log = folder.join("truth.jsonl");
        let place = Place {
            folder,
            port: options.port,
            http2: options.http2 && raw.is_none(),
            threads: options.threads,
        };
        let shared = Arc::new(Shared::new(options, Log::create(&log)?, turns));
        let router = Router::new().fallback(serve::any).with_state(shared);
        let server = Server::start(&place, raw.map_or(Way::Router(router), Way::Raw))?;
        Ok(Self {
            port: server.port,
            ca: server.ca.clone(),
            log,
            _server: server,
        })
    }

    /// What clients are to be given.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The lines of the truth log up to now.
    pub fn truth(&self) -> io::Result<Vec<Value>> {
        truth::read(&self.log)
    }
}
