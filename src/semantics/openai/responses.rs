//! Responses: OpenAI's API for agents, over HTTP and over a WebSocket.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses>.

use serde_json::Value;

use super::events::Events;
use super::{answer, claim, item, question};
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{
    Choice, Dialect, Merge, Message, Operation, Request, RequestView, Response, Target, parts,
};

/// Responses.
#[derive(Clone, Copy, Debug)]
pub struct Responses;

impl Dialect for Responses {
    fn name(&self) -> &'static str {
        "OpenAI responses"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        if !claim::ends_with(request.path, "/responses") {
            return None;
        }
        if opens_web_socket(request) {
            return Some(claim::target(request, Operation::Chat));
        }
        let asks = |body: &Value| {
            let known = ["input", "prompt", "previous_response_id", "conversation"];
            known.iter().any(|name| body.get(name).is_some())
        };
        claim::post(request, Operation::Chat, asks)
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let mut system = Vec::new();
        let request = question::read(target, body, |rest| {
            system.extend(rest.text("instructions").map(parts::text));
            messages(rest)
        });
        Request { system, ..request }
    }

    fn keeps_conversations(&self) -> bool {
        true
    }

    fn response(&self, _: &Target, status: u16, body: &Value) -> Response {
        let mut rest = answer::rest_of(body);
        rest.skip(&answer::OF_ONE_FORM);
        let choices = choice(&mut rest).into_iter().collect();
        answer::finish(status, rest, choices)
    }

    fn merge(&self, target: &Target) -> Box<dyn Merge> {
        Box::new(Events::new(target.clone()))
    }
}

/// The question in a message of a WebSocket's client: `{"type": "response.create", …}` with the members of the body that
/// a POST would have, or with these in `response`. `None`: it is another message. Each has an answer of its own
/// ([`Dialect::merge`]), whose events end with one that gives [`crate::semantics::dialect::DeltaKind::Finish`].
pub fn created(target: &Target, message: &Value) -> Option<Request> {
    let mut members = message.as_object()?.clone();
    if members.remove("type")? != "response.create" {
        return None;
    }
    let body = match members.remove("response") {
        Some(Value::Object(mut inner)) => {
            inner.extend(members);
            inner
        }
        _ => members,
    };
    Some(Request {
        stream: true,
        ..Responses.request(target, &Value::Object(body))
    })
}

/// Over HTTP/1 a GET that asks for another protocol, over HTTP/2 a CONNECT (RFC 8441 section 5).
fn opens_web_socket(request: &RequestView<'_>) -> bool {
    request.method == "CONNECT"
        || request.method == "GET" && request.fields.lists("upgrade", "websocket")
}

/// What one party says in several items is one message, as it is in the answer that they come from.
fn messages(rest: &mut Rest<'_>) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut leftovers = Leftovers::default();
    let Some(list) = rest.list("input") else {
        let text = rest.text("input");
        return text.map(user).into_iter().collect();
    };
    for (index, value) in list.iter().enumerate() {
        let item = item::read(value);
        leftovers.add(index as u64, item.left);
        match messages.last_mut() {
            Some(last) if last.role == "assistant" && item.role == "assistant" => {
                last.parts.extend(item.parts);
            }
            _ => messages.push(Message {
                role: item.role,
                name: None,
                parts: item.parts,
            }),
        }
    }
    rest.keep("input", leftovers);
    messages
}

fn user(text: &str) -> Message {
    Message {
        role: "user".to_owned(),
        name: None,
        parts: vec![parts::text(text)],
    }
}

fn choice(rest: &mut Rest<'_>) -> Option<Choice> {
    let output = rest.list("output")?;
    let mut message = Message {
        role: "assistant".to_owned(),
        ..Message::default()
    };
    let mut leftovers = Leftovers::default();
    for (index, value) in output.iter().enumerate() {
        let item = item::read(value);
        message.parts.extend(item.parts);
        leftovers.add(index as u64, item.left);
    }
    rest.keep("output", leftovers);
    Some(Choice {
        index: 0,
        message,
        finish_reason: finish_reason(rest),
    })
}

/// Why it is incomplete, or that it is complete.
fn finish_reason(rest: &mut Rest<'_>) -> Option<String> {
    let status = rest.peek("status")?.as_str()?;
    if ["in_progress", "queued"].contains(&status) {
        return None;
    }
    rest.skip(&["status"]);
    let mut details = rest.object("incomplete_details");
    let reason = details
        .as_mut()
        .and_then(|details| details.string("reason"));
    if let Some(details) = details {
        rest.keep("incomplete_details", details.left());
    }
    Some(reason.unwrap_or_else(|| status.to_owned()))
}
