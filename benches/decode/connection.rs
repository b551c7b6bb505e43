//! Conversations as bytes of HTTP/1.1 and HTTP/2, and what reads them.

use std::sync::Arc;

use agentsight::dialog::Dialogs;
use agentsight::event::{Comm, Direction, Function, ProcessId, SocketNames};
use agentsight::proto::content::{Content, Piece as Part};
use agentsight::proto::{Connection, Decoder, Item, Limits, Party, Side};
use agentsight::stream::{ConnName, Message, Origin, Payload};
use serde_json::json;

/// The type of a stream of events.
pub const SSE: &str = "content-type: text/event-stream; charset=utf-8\r\n";
/// The type of an answer in one piece.
pub const JSON: &str = "content-type: application/json\r\n";

/// A request over HTTP/1.1.
pub fn asking() -> Vec<u8> {
    let body = json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Why?"}]}).to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A head, and a chunk for each part.
pub fn chunked<B: AsRef<[u8]>>(fields: &str, parts: &[B]) -> Vec<u8> {
    let mut body =
        format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for part in parts {
        let part = part.as_ref();
        body.extend(format!("{:x}\r\n", part.len()).into_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A request over HTTP/2 (RFC 9113), and the same stream as its response, an event in each frame.
pub fn http2(parts: &[String]) -> (Vec<u8>, Vec<u8>) {
    let mut asking = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    asking.extend(frame(4, 0, 0, &[]));
    // :method POST, :scheme https, :path /, and an authority, by RFC 7541 appendix A.
    asking.extend(frame(1, 5, 1, b"\x83\x87\x84\x41\x01a"));
    let mut answer = frame(4, 0, 0, &[]);
    answer.extend(frame(1, 4, 1, b"\x88\x5f\x11text/event-stream"));
    for part in parts {
        answer.extend(frame(0, 0, 1, part.as_bytes()));
    }
    answer.extend(frame(0, 1, 1, &[]));
    (asking, answer)
}

/// What an answer was read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub events: usize,
    /// Of content.
    pub bytes: usize,
}

/// Reads a connection down to the events in its response's body.
pub fn read(asking: &[u8], answer: &[u8], size: usize) -> Answer {
    let mut decoder = Connection::new(Limits::default(), true);
    decoder.data(Party::Local, 0, asking, &mut |_| {});
    let mut content = None;
    let mut read = Answer::default();
    let mut take = |part: Part<'_>| match part {
        Part::Sse(_) => read.events += 1,
        Part::Bytes(bytes) => read.bytes += bytes.len(),
        _ => {}
    };
    for piece in answer.chunks(size) {
        decoder.data(Party::Peer, 0, piece, &mut |item| match item {
            Item::Response { head, .. } => {
                content = Some(Content::new(&head.fields, Limits::default()));
            }
            Item::Body {
                side: Side::Response,
                bytes,
                ..
            } => content.as_mut().expect("a head").push(bytes, &mut take),
            Item::End {
                side: Side::Response,
                ..
            } => content.as_mut().expect("a head").finish(true, &mut take),
            _ => {}
        });
    }
    read
}

fn origin() -> Origin {
    let function = Function {
        library: "openssl".into(),
        name: "SSL_read".into(),
    };
    Origin {
        ts_ns: 1,
        process: ProcessId {
            pid: 1,
            start_ns: 1,
        },
        tid: 1,
        comm: Comm(*b"agent\0\0\0\0\0\0\0\0\0\0\0"),
        function: Arc::new(function),
        conn: ConnName(1),
        fd: Some(5),
    }
}

fn data<'b>(origin: &Origin, direction: Direction, bytes: &'b [u8]) -> Message<'b> {
    Message::Data {
        origin: origin.clone(),
        payload: Payload {
            direction,
            seq: 0,
            offset: 0,
            call_len: bytes.len() as u64,
            early: false,
            goroutine: None,
            bytes: bytes.into(),
        },
    }
}

/// All that is done with one call; returns how much was said of it.
pub fn dialog(asking: &[u8], answer: &[u8], size: usize) -> usize {
    let origin = origin();
    let mut dialogs = Dialogs::default();
    let mut out = Vec::new();
    let open = Message::Open {
        origin: origin.clone(),
        from_start: true,
        socket: SocketNames::default(),
    };
    dialogs.take(&open, &mut out);
    dialogs.take(&data(&origin, Direction::Write, asking), &mut out);
    let mut said = 0;
    for piece in answer.chunks(size) {
        dialogs.take(&data(&origin, Direction::Read, piece), &mut out);
        said += out.len();
        out.clear();
    }
    assert_eq!(dialogs.counts().calls, 1);
    said
}
