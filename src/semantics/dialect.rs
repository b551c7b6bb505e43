//! How providers say things: what each file of [`crate::semantics`] that knows one has to tell.

use serde::Deserialize;
use serde_json::Value;

use super::model::{Operation, Request, Response, Usage};
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

    /// The provider keeps the messages of a conversation that a request names: what is sent goes on from them. Else the name
    /// is one that the agent gives to whatever it does at a time.
    fn keeps_conversations(&self) -> bool {
        false
    }

    /// The number of an answer that was asked for before, and that this request asks for. `None`: it is another request.
    fn fetched<'r>(&self, _request: &RequestView<'r>) -> Option<&'r str> {
        None
    }

    /// The provider keeps answers, for [`Dialect::fetched`].
    fn keeps_answers(&self) -> bool {
        false
    }

    /// An answer to this question says that it is yet to be made, in the background.
    fn is_awaited(&self, _request: &Request, _response: &Response) -> bool {
        false
    }

    /// Tokens that the head of an answer reports, for answers whose body reports none.
    fn counted(&self, _head: &Fields) -> Option<Usage> {
        None
    }

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

impl<'p> Piece<'p> {
    /// What it says, as it came.
    pub(super) fn data(&self) -> &'p [u8] {
        match *self {
            Self::Aws { payload: data, .. } | Self::Json(data) => data,
            Self::Sse { data, .. } => data.as_bytes(),
        }
    }

    /// `event:`, if it was there.
    pub(super) fn event(&self) -> Option<&'p str> {
        match *self {
            Self::Sse { event, .. } => event,
            Self::Aws { .. } | Self::Json(_) => None,
        }
    }

    /// What it says, as JSON of this form; `None`: it has another one, or is no JSON.
    pub(super) fn read<T: Deserialize<'p>>(&self) -> Option<T> {
        // All at once is cheaper than each string by itself.
        let text = match *self {
            Self::Aws { payload: data, .. } | Self::Json(data) => std::str::from_utf8(data).ok()?,
            Self::Sse { data, .. } => data,
        };
        serde_json::from_str(text).ok()
    }

    /// The end's mark of OpenAI, which others took over; no JSON.
    pub(super) fn is_done(&self) -> bool {
        self.data().trim_ascii() == b"[DONE]"
    }
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

/// Who is told what is new.
pub(super) type Out<'o> = &'o mut dyn FnMut(Delta);

/// Tells what is new in the first choice, for most providers the only one.
pub(super) fn say(part: u64, kind: DeltaKind, out: Out<'_>) {
    say_of(0, part, kind, out);
}

/// Tells what is new in any choice.
pub(super) fn say_of(choice: u64, part: u64, kind: DeltaKind, out: Out<'_>) {
    out(Delta { choice, part, kind });
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
