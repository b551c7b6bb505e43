//! Responses: OpenAI's API for agents, over HTTP and over a WebSocket.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses>.

use std::collections::HashSet;

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
        let ends = ["/responses", "/responses/compact"];
        if !ends.iter().any(|end| claim::ends_with(request.path, end)) {
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
        Response {
            is_complete: status >= 400 || !is_awaited(body),
            ..answer::finish(status, rest, choices)
        }
    }

    fn fetched<'r>(&self, request: &RequestView<'r>) -> Option<&'r str> {
        fetched(request.method, request.path)
    }

    fn keeps_answers(&self) -> bool {
        true
    }

    fn is_awaited(&self, request: &Request, response: &Response) -> bool {
        let status = response.extra.get("status").and_then(Value::as_str);
        // A stream that broke off says so too.
        let is_background =
            response.extra.get("background") == Some(&Value::Bool(true)) || is_background(request);
        is_background && status.is_some_and(|status| AWAITED.contains(&status))
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

/// The number of the response that is asked for, as for those that are made in the background
/// (`GET …/responses/{id}`). `None`: it is another request.
fn fetched<'r>(method: &str, path: &'r str) -> Option<&'r str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (place, id) = match method {
        "GET" => path.rsplit_once('/')?,
        "POST" => path.strip_suffix("/cancel")?.rsplit_once('/')?,
        _ => return None,
    };
    (place.ends_with("/responses") && !id.is_empty()).then_some(id)
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
    let mut hosted = HashSet::new();
    let Some(list) = rest.list("input") else {
        let text = rest.text("input");
        return text.map(user).into_iter().collect();
    };
    for (index, value) in list.iter().enumerate() {
        let call_id = value.get("call_id").and_then(Value::as_str);
        if item::is_hosted_shell(value) {
            hosted.extend(call_id);
        }
        let item = item::read(value, call_id.is_some_and(|id| hosted.contains(id)));
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

/// Roles that no answer has.
const ASKERS: [&str; 3] = ["developer", "system", "user"];

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
        let item = item::answered(value);
        // A compacted conversation comes back with what was asked in it.
        if ASKERS.contains(&item.role.as_str()) {
            leftovers.add(index as u64, value.as_object().cloned().unwrap_or_default());
            continue;
        }
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

/// How an answer stands that is made in the background.
const AWAITED: [&str; 2] = ["in_progress", "queued"];

/// Whether the answer is to be made in the background.
pub fn is_background(request: &Request) -> bool {
    request.parameters.get("background") == Some(&Value::Bool(true))
}

/// The answer is yet to come: the client will ask for it by its number.
fn is_awaited(body: &Value) -> bool {
    let status = body.get("status").and_then(Value::as_str);
    status.is_some_and(|status| AWAITED.contains(&status))
}

/// Why it is incomplete, or that it is complete.
fn finish_reason(rest: &mut Rest<'_>) -> Option<String> {
    let status = rest.peek("status")?.as_str()?;
    if AWAITED.contains(&status) {
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
