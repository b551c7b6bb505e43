//! How providers say things: what each file of [`crate::semantics`] that knows one has to tell.

use serde_json::Value;

use super::model::{Operation, Request, Response};
use crate::proto::Fields;

/// What is known of a request when its body is complete.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'r> {
    /// `POST`.
    pub method: &'r str,
    /// The path, decoded from nothing: as sent, without the query.
    pub path: &'r str,
    /// Without its question mark; may be empty.
    pub query: &'r str,
    /// Where it goes, without the port and in lower case; empty if not known.
    pub host: &'r str,
    /// Its fields.
    pub fields: &'r Fields,
    /// Its body, if that is JSON and complete.
    pub body: Option<&'r Value>,
}

/// What a request turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As OpenTelemetry names it (`gen_ai.provider.name`), or our name where it has none.
    pub provider: String,
    /// What for.
    pub operation: Operation,
    /// The model, where the path names it.
    pub model: Option<String>,
}

/// A way of speaking to models.
///
/// * [`Dialect::claims`]: `None` is "not mine", the normal case.
/// * What a dialect does not know inside of its own bodies it keeps as it is ([`super::Part::Generic`], `parameters`,
///   `extra`); it never drops anything and never panics.
/// * A streamed answer and the same answer unstreamed give the same [`Response`].
pub trait Dialect: Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// Whether this is mine, by path and by the shape of the body; a host can say which provider it is, not whether it is
    /// one.
    fn claims(&self, request: &RequestView<'_>) -> Option<Target>;

    /// What is asked.
    fn request(&self, target: &Target, body: &Value) -> Request;

    /// An answer in one piece; errors too.
    fn response(&self, target: &Target, status: u16, body: &Value) -> Response;

    /// For an answer in pieces.
    fn merge(&self, target: &Target) -> Box<dyn Merge>;
}

/// Puts a streamed answer together.
pub trait Merge: Send {
    /// Takes the next piece. Returns false if it is none of this dialect's.
    fn piece(&mut self, piece: &Piece<'_>, out: &mut dyn FnMut(Delta)) -> bool;

    /// The stream's own mark of its end has come: whatever the connection does then, nothing of the answer is missing. False
    /// where the dialect has no such mark.
    fn is_final(&self) -> bool {
        false
    }

    /// The stream has ended, properly or not.
    fn finish(self: Box<Self>) -> Response;

    /// Bytes that it holds, about.
    fn held(&self) -> usize;
}

/// One piece of a streamed answer.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'p> {
    /// A frame of an AWS event stream.
    Aws {
        /// `:event-type` or `:exception-type`.
        kind: &'p str,
        /// `:message-type`: `event`, `exception` or `error`.
        class: &'p str,
        /// Its payload.
        payload: &'p [u8],
    },
    /// A line of NDJSON, an element of a JSON array, or a message of a WebSocket.
    Json(&'p [u8]),
    /// A server-sent event.
    Sse {
        /// `event:`, if it was there.
        event: Option<&'p str>,
        /// `data:`, lines joined.
        data: &'p str,
    },
}

/// What is new in a streamed answer, as it arrives.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Of which choice.
    pub choice: u64,
    /// Of which part of its message, from 0.
    pub part: u64,
    /// What.
    pub kind: DeltaKind,
}

/// What kind of news.
#[derive(Clone, Debug, PartialEq)]
pub enum DeltaKind {
    /// The choice has ended, in the provider's word.
    Finish(String),
    /// More of what it thinks.
    Reasoning(String),
    /// More text.
    Text(String),
    /// More of the arguments of the tool call, as text.
    ToolArguments(String),
    /// A tool call begins.
    ToolCall {
        /// Its number.
        id: Option<String>,
        /// The tool.
        name: String,
    },
}
