//! JSON lines of what was said above the level of bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::dialog::said::{
    Body, CallName, HttpRequest, HttpResponse, Lack, Role, Said, StreamEvent, What, WsMessage,
};
use crate::proto::item::WebSocketKind;
use crate::proto::{Fields, Outcome, Party};
use crate::semantics::Delta;
use crate::semantics::dialect::DeltaKind;

/// The type of its line; `None`: it has none.
pub fn kind(what: &What) -> Option<&'static str> {
    Some(match what {
        What::Asked(_) => return None,
        What::Call(_) => "llm.call",
        What::Delta { .. } => "llm.delta",
        What::Event(_) => "sse.event",
        What::Mcp(_) => "mcp.message",
        What::Request(_) => "http.request",
        What::Response(_) => "http.response",
        What::WebSocket(_) => "ws.message",
    })
}

/// When what it tells of began, where the line tells that: on the boot clock.
pub fn began_ns(what: &What) -> Option<u64> {
    match what {
        What::Call(call) => Some(call.timings.began_ns),
        What::Request(request) => Some(request.began_ns),
        What::Response(response) => Some(response.began_ns),
        What::Asked(_)
        | What::Delta { .. }
        | What::Event(_)
        | What::Mcp(_)
        | What::WebSocket(_) => None,
    }
}

/// Appends the fields that its line has beyond those of every line, with a comma before each.
pub fn fields(said: &Said, out: &mut Vec<u8>) {
    let place = Place {
        exchange: said.exchange.0,
        role: said.role,
    };
    append(&place, out);
    match &said.what {
        What::Asked(_) => {}
        What::Call(call) => append(call, out),
        What::Delta { call, delta } => append(&DeltaLine::new(*call, delta), out),
        What::Event(event) => append(&EventLine::new(event), out),
        What::Mcp(message) => append(message, out),
        What::Request(request) => append(&RequestLine::new(request), out),
        What::Response(response) => append(&ResponseLine::new(response), out),
        What::WebSocket(message) => append(&WsLine::new(message), out),
    }
}

/// An object's fields, behind those of another one.
pub fn append(fields: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    // What is ours has nothing that JSON cannot say.
    if serde_json::to_writer(&mut *out, fields).is_err() {
        out.truncate(start);
        return;
    }
    match out.len() - start {
        // `{}`: nothing.
        0..=2 => out.truncate(start),
        _ => {
            out.pop();
            if let Some(first) = out.get_mut(start) {
                *first = b',';
            }
        }
    }
}

#[derive(Serialize)]
struct Place {
    exchange: u64,
    role: Role,
}

#[derive(Serialize)]
struct Header<'h> {
    name: &'h str,
    value: Option<&'h str>,
}

fn headers(fields: &Fields) -> Vec<Header<'_>> {
    let fields = fields.0.iter();
    let headers = fields.map(|field| Header {
        name: &field.name,
        value: field.value.as_deref(),
    });
    headers.collect()
}

/// Bytes, as text where they are.
#[derive(Serialize)]
struct Content<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_b64: Option<String>,
    /// Bytes that passed on the connection.
    wire_bytes: u64,
    /// After decoding.
    body_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    grpc_messages: u64,
}

impl<'c> Content<'c> {
    fn new(body: &'c Body) -> Self {
        let text = std::str::from_utf8(&body.bytes).ok();
        Self {
            body: text.filter(|text| !text.is_empty()),
            body_b64: text.is_none().then(|| BASE64_STANDARD.encode(&body.bytes)),
            wire_bytes: body.wire,
            body_bytes: body.decoded,
            grpc_messages: body.grpc_messages,
        }
    }
}

/// How a half ended.
#[derive(Serialize)]
struct Ending<'l> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "<[Lack]>::is_empty")]
    incomplete: &'l [Lack],
}

impl<'l> Ending<'l> {
    fn new(outcome: Outcome, incomplete: &'l [Lack]) -> Self {
        Self {
            outcome: outcome_name(outcome),
            reset_code: match outcome {
                Outcome::Reset(code) => Some(code),
                _ => None,
            },
            fault: match outcome {
                Outcome::Broken(fault) => Some(fault.what),
                _ => None,
            },
            incomplete,
        }
    }
}

/// As in the JSON.
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Broken(_) => "broken",
        Outcome::Complete => "complete",
        Outcome::CutOff => "cut-off",
        Outcome::Reset(_) => "reset",
    }
}

#[derive(Serialize)]
struct RequestLine<'r> {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<&'r str>,
    headers: Vec<Header<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<Header<'r>>,
    #[serde(flatten)]
    content: Content<'r>,
    #[serde(flatten)]
    ending: Ending<'r>,
}

impl<'r> RequestLine<'r> {
    fn new(request: &'r HttpRequest) -> Self {
        Self {
            version: request.version,
            method: request.method.as_deref(),
            target: request.target.as_deref(),
            authority: request.authority.as_deref(),
            headers: headers(&request.fields),
            trailers: headers(&request.trailers),
            content: Content::new(&request.body),
            ending: Ending::new(request.outcome, &request.incomplete),
        }
    }
}

#[derive(Serialize)]
struct ResponseLine<'r> {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    headers: Vec<Header<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<Header<'r>>,
    #[serde(flatten)]
    content: Content<'r>,
    #[serde(skip_serializing_if = "is_zero")]
    events: u64,
    #[serde(flatten)]
    ending: Ending<'r>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'r> ResponseLine<'r> {
    fn new(response: &'r HttpResponse) -> Self {
        Self {
            version: response.version,
            status: response.status,
            headers: headers(&response.fields),
            trailers: headers(&response.trailers),
            content: Content::new(&response.body),
            events: response.events,
            ending: Ending::new(response.outcome, &response.incomplete),
        }
    }
}

#[derive(Serialize)]
struct EventLine<'e> {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'e str>,
    data: &'e str,
    #[serde(skip_serializing_if = "is_no")]
    cut_off: bool,
}

fn is_no(value: &bool) -> bool {
    !value
}

impl<'e> EventLine<'e> {
    fn new(event: &'e StreamEvent) -> Self {
        Self {
            number: event.number,
            event: event.event.as_deref(),
            id: event.id.as_deref(),
            data: &event.data,
            cut_off: event.is_cut_off,
        }
    }
}

#[derive(Serialize)]
struct WsLine<'m> {
    direction: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_b64: Option<String>,
    #[serde(skip_serializing_if = "is_no")]
    incomplete: bool,
}

impl<'m> WsLine<'m> {
    fn new(message: &'m WsMessage) -> Self {
        let text = std::str::from_utf8(&message.bytes).ok();
        Self {
            direction: match message.from {
                Party::Local => "write",
                Party::Peer => "read",
            },
            kind: ws_kind(message.kind),
            code: match message.kind {
                WebSocketKind::Close(code) => code,
                _ => None,
            },
            data: text,
            data_b64: text
                .is_none()
                .then(|| BASE64_STANDARD.encode(&message.bytes)),
            incomplete: message.is_incomplete,
        }
    }
}

/// As in the JSON.
pub fn ws_kind(kind: WebSocketKind) -> &'static str {
    match kind {
        WebSocketKind::Binary => "binary",
        WebSocketKind::Close(_) => "close",
        WebSocketKind::Ping => "ping",
        WebSocketKind::Pong => "pong",
        WebSocketKind::Text => "text",
    }
}

#[derive(Serialize)]
struct DeltaLine<'d> {
    call: CallName,
    choice: u64,
    part: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'d str>,
    /// More text, a tool's name, or why it ended.
    text: &'d str,
}

impl<'d> DeltaLine<'d> {
    fn new(call: CallName, delta: &'d Delta) -> Self {
        let mut id = None;
        let (kind, text) = match &delta.kind {
            DeltaKind::Finish(reason) => ("finish", reason),
            DeltaKind::Reasoning(text) => ("reasoning", text),
            DeltaKind::Text(text) => ("text", text),
            DeltaKind::ToolArguments(text) => ("tool_arguments", text),
            DeltaKind::ToolCall { id: number, name } => {
                id = number.as_deref();
                ("tool_call", name)
            }
        };
        Self {
            call,
            choice: delta.choice,
            part: delta.part,
            kind,
            id,
            text,
        }
    }
}
