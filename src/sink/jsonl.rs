//! One JSON object a line. `lines.schema.json` documents every type; a test holds the two together.

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::{Clock, Sink};
use crate::stream::{Gap, Message, Origin, Payload};

/// Writes messages as JSON lines.
pub struct JsonLines<W> {
    out: W,
    clock: Clock,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W, clock: Clock) -> Self {
        Self { out, clock }
    }

    fn line(
        &mut self,
        kind: &'static str,
        origin: Option<&Origin>,
        body: Body<'_>,
    ) -> io::Result<()> {
        let origin = origin.map(|origin| OriginFields {
            ts: format!("{:.9}", self.clock.time(origin.ts_ns)),
            pid: origin.pid,
            tid: origin.tid,
            comm: origin.comm.to_string(),
            library: &origin.library,
            function: &origin.function,
            conn: origin.conn.to_string(),
            fd: origin.fd,
        });
        let line = Line { kind, origin, body };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }
}

#[derive(Serialize)]
struct Line<'m> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    origin: Option<OriginFields<'m>>,
    #[serde(flatten)]
    body: Body<'m>,
}

#[derive(Serialize)]
struct OriginFields<'m> {
    ts: String,
    pid: u32,
    tid: u32,
    comm: String,
    library: &'m str,
    function: &'m str,
    conn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'m> {
    Close {
        reason: &'static str,
        joined_by: &'static str,
        written: u64,
        read: u64,
    },
    Data {
        direction: &'static str,
        seq: u64,
        offset: u64,
        len: usize,
        call_len: u64,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        early: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        goroutine: Option<u64>,
        #[serde(flatten)]
        content: Content<'m>,
    },
    Gap {
        cause: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        direction: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        bytes: u64,
        records: u64,
    },
    Open {
        joined_by: &'static str,
        from_start: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        local: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    Shutdown {},
}

#[derive(Serialize)]
enum Content<'m> {
    #[serde(rename = "data")]
    Text(&'m str),
    #[serde(rename = "data_b64")]
    Bytes(String),
}

impl<'m> Body<'m> {
    fn data(payload: &'m Payload) -> Self {
        Self::Data {
            direction: payload.direction.as_str(),
            seq: payload.seq,
            offset: payload.offset,
            len: payload.bytes.len(),
            call_len: payload.call_len,
            early: payload.early,
            goroutine: payload.goroutine,
            content: match std::str::from_utf8(&payload.bytes) {
                Ok(text) => Content::Text(text),
                Err(_) => Content::Bytes(BASE64_STANDARD.encode(&payload.bytes)),
            },
        }
    }

    fn gap(gap: &Gap) -> Self {
        Self::Gap {
            cause: gap.cause.as_str(),
            direction: gap.direction.map(|direction| direction.as_str()),
            offset: gap.offset,
            bytes: gap.bytes,
            records: gap.records,
        }
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn message(&mut self, message: &Message) -> io::Result<()> {
        match message {
            Message::Close {
                origin,
                reason,
                trust,
                totals: [written, read],
            } => {
                let body = Body::Close {
                    reason: reason.as_str(),
                    joined_by: trust.as_str(),
                    written: *written,
                    read: *read,
                };
                self.line("tls.close", Some(origin), body)
            }
            Message::Data { origin, payload } => {
                self.line("tls.data", Some(origin), Body::data(payload))
            }
            Message::Gap { origin, gap } => self.line("tls.gap", origin.as_ref(), Body::gap(gap)),
            Message::Open {
                origin,
                from_start,
                socket,
            } => {
                let body = Body::Open {
                    joined_by: socket.trust.as_str(),
                    from_start: *from_start,
                    role: socket.role.map(|role| role.as_str()),
                    local: socket.local.map(|address| address.to_string()),
                    peer: socket.peer.map(|address| address.to_string()),
                };
                self.line("tls.open", Some(origin), body)
            }
            Message::Shutdown(origin) => self.line("tls.shutdown", Some(origin), Body::Shutdown {}),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
