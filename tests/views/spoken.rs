//! A call of a model over HTTP/1, as its bytes, and what is understood of them.

use std::borrow::Cow;
use std::sync::Arc;

use agentsight::dialog::{Dialogs, Said};
use agentsight::event::{Direction, Function, SocketNames};
use agentsight::stream::{ConnName, Message, Origin, Payload};
use serde_json::json;

use crate::made;

pub fn origin(pid: u32, ts_ns: u64) -> Origin {
    Origin {
        ts_ns,
        process: made::process(pid),
        tid: pid,
        comm: made::comm("agent"),
        function: Arc::new(Function {
            library: "openssl".to_owned(),
            name: "SSL_write".to_owned(),
        }),
        conn: ConnName(5),
        fd: Some(3),
    }
}

pub fn data(pid: u32, ts_ns: u64, direction: Direction, bytes: Vec<u8>) -> Message<'static> {
    Message::Data {
        origin: origin(pid, ts_ns),
        payload: Payload {
            direction,
            seq: 0,
            offset: 0,
            call_len: bytes.len() as u64,
            early: false,
            goroutine: None,
            bytes: Cow::Owned(bytes),
        },
    }
}

fn http(first_lines: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "{first_lines}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The messages of a connection with one call, and what they say.
pub fn call(pid: u32) -> (Vec<Message<'static>>, Vec<Said>) {
    let question = json!({
        "model": "gpt-4o-mini",
        "messages": [{ "role": "user", "content": "what is in\u{1b}[2J a.txt?" }],
    });
    let tool = json!({
        "id": "call_1",
        "type": "function",
        "function": { "name": "run", "arguments": "{\"command\":\"cat a.txt\"}" },
    });
    let answer = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": null, "tool_calls": [tool] },
            "finish_reason": "tool_calls",
        }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 },
    });
    let post = "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com";
    let messages = vec![
        Message::Open {
            origin: origin(pid, 30_000_000),
            from_start: true,
            socket: SocketNames::default(),
        },
        data(pid, 31_000_000, Direction::Write, http(post, &question)),
        data(
            pid,
            32_000_000,
            Direction::Read,
            http("HTTP/1.1 200 OK", &answer),
        ),
    ];
    let mut dialogs = Dialogs::default();
    let mut said = Vec::new();
    for message in &messages {
        dialogs.take(message, &mut said);
    }
    dialogs.finish(None, &mut said);
    (messages, said)
}
