//! A server of the Model Context Protocol over streamable HTTP, with one tool that says again what it is told.
//! Followed: <https://modelcontextprotocol.io/specification/2025-06-18/basic/transports>

use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use fastrand::Rng;
use serde_json::{Value, json};

use super::body::{self, Sending};
use super::said;
use super::serve::{Shared, plain};
use super::wire::{Frame, event};

const SESSION: &str = "mcp-session-id";

/// Answers a message of a client.
pub fn answer(shared: &Shared, method: &Method, headers: &HeaderMap, body: &[u8]) -> Response {
    // There is nothing that this server says by itself.
    if method == Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, Value::Null);
    }
    if method == Method::DELETE {
        return Response::default();
    }
    let mut rng = shared.rng();
    let id = said::hex(&mut rng);
    let session = headers.get(SESSION).and_then(|value| value.to_str().ok());
    let session = session.map_or_else(|| id.clone(), str::to_owned);
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        let error = json!({"code": -32700, "message": "Parse error"});
        return plain(
            StatusCode::BAD_REQUEST,
            json!({"jsonrpc": "2.0", "id": null, "error": error}),
        );
    };
    let reply = reply(&message, &mut rng);
    let log = |is_streamed: bool| {
        let sent = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        shared.log.write(&json!({"id": id, "api": "mcp", "session": session, "stream": is_streamed,
            "sent_session": sent(SESSION), "sent_version": sent("mcp-protocol-version"),
            "note": is_streamed.then(note), "request": message, "response": reply, "status": if reply.is_null() { 202 } else { 200 },
            "fault": null}));
    };
    let respond = || {
        Response::builder()
            .header(SESSION, &session)
            .header("x-request-id", &id)
    };
    if reply.is_null() {
        log(false);
        let accepted = respond().status(StatusCode::ACCEPTED).body(Body::empty());
        return accepted.unwrap_or_default();
    }
    let is_streamed = message["method"] == "tools/call" && rng.bool();
    log(is_streamed);
    if !is_streamed {
        let response = respond().header(header::CONTENT_TYPE, "application/json");
        return response
            .body(Body::from(reply.to_string()))
            .unwrap_or_default();
    }
    match streamed(&reply, &mut rng) {
        Ok(body) => {
            let response = respond().header(header::CONTENT_TYPE, "text/event-stream");
            response.body(body).unwrap_or_default()
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, json!(error.to_string())),
    }
}

/// What is said before a streamed answer.
fn note() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "info", "data": "Working on it…"}})
}

/// With a notification before it, and cut anywhere.
fn streamed(reply: &Value, rng: &mut Rng) -> io::Result<Body> {
    let frames: Vec<Frame> = [&note(), reply]
        .map(|one| event(Some("message"), one, rng))
        .into();
    let sending = Sending {
        is_cut_anywhere: true,
        ..Sending::default()
    };
    let chunks = body::chunks(&frames, &sending, rng)?;
    Ok(body::streamed(chunks, &sending))
}

/// Null for what wants no answer.
fn reply(message: &Value, rng: &mut Rng) -> Value {
    let id = &message["id"];
    if id.is_null() {
        return Value::Null;
    }
    let params = &message["params"];
    let result = match message["method"].as_str() {
        Some("initialize") => json!({"protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": false}},
            "serverInfo": {"name": "mock", "version": "1.0"}}),
        Some("tools/list") => json!({"tools": [{"name": "echo", "description": "Says it again.",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}]}),
        Some("tools/call") if params["name"] != "echo" => {
            json!({"content": [{"type": "text", "text": "no such tool"}], "isError": true})
        }
        Some("tools/call") => {
            let said = [&params["arguments"]["text"], &json!(said::words(rng, 6))];
            let content = said.map(|text| json!({"type": "text", "text": text}));
            json!({"content": content, "isError": false})
        }
        Some("ping") => json!({}),
        _ => {
            let error = json!({"code": -32601, "message": "Method not found"});
            return json!({"jsonrpc": "2.0", "id": id, "error": error});
        }
    };
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}
