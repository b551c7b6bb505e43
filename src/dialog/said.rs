//! What was said on a connection, above the level of bytes: HTTP exchanges, events of streams, messages of WebSockets, calls
//! of models. `sink/lines.schema.json` documents their JSON form.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::proto::item::WebSocketKind;
use crate::proto::{ExchangeId, Fields, Outcome, Party};
use crate::semantics::mcp::McpMessage;
use crate::semantics::price::Cost;
use crate::semantics::thread::Place;
use crate::semantics::{Call, Delta};

use super::history::Retry;
use crate::stream::Origin;

/// One thing that was said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who, when and on which connection: the thread and function are those of the last byte.
    pub origin: Origin,
    /// In which exchange of the connection.
    pub exchange: ExchangeId,
    /// The observed process's part in it.
    pub role: Role,
    /// It belongs to a call of a model, or to MCP: those who read calls need not see it.
    pub is_understood: bool,
    /// What.
    pub what: What,
}

/// Whether a process asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It asks.
    Client,
    /// It answers.
    Server,
}

/// What was said.
#[derive(Clone, Debug)]
pub enum What {
    /// A model was asked, and all of the question is there.
    Asked(Box<Asked>),
    /// A call has ended.
    Call(Box<CallReport>),
    /// News of an answer that is streamed.
    Delta {
        /// Of which call.
        call: CallName,
        /// What is new.
        delta: Delta,
    },
    /// An event of a stream.
    Event(StreamEvent),
    /// A message of MCP.
    Mcp(Box<McpMessage>),
    /// A request has ended.
    Request(Box<HttpRequest>),
    /// A response has ended.
    Response(Box<HttpResponse>),
    /// A message of a WebSocket.
    WebSocket(WsMessage),
}

/// A call's name in one run: `k1`, `k2`, … in the order of their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallName(pub u64);

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

impl Serialize for CallName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Something that is not there, or was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// Of the request, or of the response.
    pub of: &'static str,
    /// Why, in words.
    pub why: String,
    /// Bytes of the body that came before it.
    pub at: u64,
    /// Bytes that are missing; absent: nobody knows how many, or none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What a body holds, its coding undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// What was kept of it.
    pub bytes: Vec<u8>,
    /// Bytes that passed on the connection.
    pub wire: u64,
    /// Bytes after decoding.
    pub decoded: u64,
    /// Messages of gRPC in it.
    pub grpc_messages: u64,
    /// Something in the middle of it was not seen: what is kept was not said like that.
    pub has_gap: bool,
}

impl Body {
    /// All of it; `None`: not all is known. JSON with something missing in the middle may still be JSON.
    pub fn whole(&self) -> Option<&[u8]> {
        let is_whole = !self.has_gap && self.bytes.len() as u64 == self.decoded;
        is_whole.then_some(&self.bytes)
    }
}

/// A request, when it has ended.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// `HTTP/1.1`, …
    pub version: &'static str,
    /// Not known: absent.
    pub method: Option<String>,
    /// As sent.
    pub target: Option<String>,
    /// The server's name and port, as the request says.
    pub authority: Option<String>,
    /// Its fields.
    pub fields: Fields,
    /// Behind the body.
    pub trailers: Fields,
    /// What it holds.
    pub body: Body,
    /// When its head was complete.
    pub began_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What is missing.
    pub incomplete: Vec<Lack>,
}

/// A response, when it has ended.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// `HTTP/1.1`, …
    pub version: &'static str,
    /// Not known: absent.
    pub status: Option<u16>,
    /// Its fields.
    pub fields: Fields,
    /// Behind the body.
    pub trailers: Fields,
    /// What it holds; of a stream of events, nothing: they were told as they came.
    pub body: Body,
    /// Events of its stream that were told.
    pub events: u64,
    /// When its head was complete.
    pub began_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What is missing.
    pub incomplete: Vec<Lack>,
}

/// An event of a stream: of server-sent events, or a frame of an AWS event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// Counts those of this response, from 1.
    pub number: u64,
    /// Its type, if it names one.
    pub event: Option<String>,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// What it holds.
    pub data: String,
    /// The stream ended in the middle of it.
    pub is_cut_off: bool,
}

/// A message of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsMessage {
    /// Who sends it.
    pub from: Party,
    /// What it is.
    pub kind: WebSocketKind,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// It is not whole.
    pub is_incomplete: bool,
}

/// A question to a model.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which call.
    pub name: CallName,
    /// The question; no answer yet.
    pub call: Call,
    /// Where to.
    pub authority: Option<String>,
    /// Bytes of the request's body.
    pub bytes: u64,
    /// Where it stands in its conversation, if it is part of one.
    pub thread: Option<Place>,
    /// It was asked before, in vain.
    pub retry: Option<Retry>,
}

/// A call that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct CallReport {
    /// Which.
    #[serde(rename = "call")]
    pub name: CallName,
    /// The way of speaking: `openai-chat`, …
    pub dialect: &'static str,
    /// Where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Question and answer.
    #[serde(flatten)]
    pub call: Call,
    /// Of the HTTP response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Where it stands in its conversation, if it is part of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<Place>,
    /// It was asked before, in vain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What it cost, by a table of prices; a model that is not in there has no cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Times.
    pub timings: Timings,
    /// Why it has no proper answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is missing of request or response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Lack>,
}

/// When what happened, in milliseconds since the request's head.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// When the request's head was complete, on the boot clock.
    #[serde(skip)]
    pub began_ns: u64,
    /// All of the request was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_sent_ms: Option<f64>,
    /// The response's head was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers_ms: Option<f64>,
    /// The first news of the answer: text, thought, or a tool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<f64>,
    /// The last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_token_ms: Option<f64>,
    /// The response had ended.
    pub end_ms: f64,
    /// Pieces of news of a streamed answer.
    pub deltas: u64,
    /// Times in which nothing came, of [`STALL_MS`] and more; at most [`STALLS_MAX`], the longest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<Stall>,
}

/// Nothing came for so long: people notice.
pub const STALL_MS: f64 = 1000.0;
/// That are told of a call.
pub const STALLS_MAX: usize = 16;

/// A time in which nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stall {
    /// Since the request's head.
    pub at_ms: f64,
    /// How long.
    pub ms: f64,
}
