//! A server that plays back recorded exchanges over real TLS, HTTP/1.1 and HTTP/2: who sends a recorded question gets the
//! recorded answer. A question says which one it is by its number, in the field `x-replay`.
//!
//! What recordings have lost is set anew, drawn from a seed: framing, content coding (what the client takes), media type
//! where none was kept, and how a streamed answer is cut into pieces. It listens on 127.0.0.1 only.

#![allow(
    clippy::indexing_slicing,
    reason = "of JSON only: to read what is not there gives null"
)]

mod recording;
mod serve;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use serde_json::Value;

use crate::llm::tls::{Place, Server, Way};
use crate::llm::truth::{self, Log};
use serve::Shared;

pub use recording::{Exchange, load};

/// The field of a question that says its number, from 0.
pub const NUMBER: &str = "x-replay";

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct ReplayServer {
    /// On 127.0.0.1.
    pub port: u16,
    /// One JSON line for each exchange that was played: `number`, `id`, `version` of HTTP, `coding`, `wire` (bytes of the
    /// answer's body as it is sent), and `differs`: what is not in the question as it was recorded.
    pub log: PathBuf,
    _server: Server,
}

impl ReplayServer {
    /// Starts one that has its certificate and its log (`played.jsonl`) in this folder.
    pub fn start(
        exchanges: Vec<Exchange>,
        seed: u64,
        port: u16,
        folder: &Path,
    ) -> io::Result<Self> {
        let log = folder.join("played.jsonl");
        let shared = Arc::new(Shared {
            exchanges,
            seed,
            log: Log::create(&log)?,
        });
        let router = Router::new().fallback(serve::any).with_state(shared);
        let place = Place {
            folder,
            port,
            http2: true,
            threads: 2,
        };
        let server = Server::start(&place, Way::Router(router))?;
        Ok(Self {
            port: server.port,
            log,
            _server: server,
        })
    }

    /// The lines of the log up to now.
    pub fn played(&self) -> io::Result<Vec<Value>> {
        truth::read(&self.log)
    }
}
