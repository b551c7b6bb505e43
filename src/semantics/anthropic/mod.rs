//! Anthropic's Messages API (<https://docs.anthropic.com/en/api/messages>, version 2023-06-01, with the betas of its
//! Python SDK), also as Google's Vertex AI and gateways offer it, and the Text Completions before it. Counting tokens is
//! not a call.

mod block;
mod complete;
mod stream;

use serde_json::Value;

use super::dialect::{Dialect, Merge, RequestView, Target};
use super::json;
use super::model::{Choice, Message, Operation, Part, Request, Response, Tool, Usage};
use super::parts;
use super::recognise::provider_of;
use super::rest::{Leftovers, Rest};

pub use complete::Complete;
pub(super) use stream::MessageMerge;

/// The Messages API.
pub static MESSAGES: Messages = Messages;
/// The API before it.
pub static COMPLETE: Complete = Complete;

/// Provider of a server that is spoken to like Anthropic, but that nobody here knows, as
/// [`super::recognise::COMPATIBLE`] is of one that is spoken to like OpenAI.
pub const COMPATIBLE: &str = "anthropic_compatible";

/// See [`MESSAGES`].
#[derive(Clone, Copy, Debug)]
pub struct Messages;

impl Dialect for Messages {
    fn name(&self) -> &'static str {
        "Anthropic messages"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        if request.method != "POST" {
            return None;
        }
        if let Some(model) = vertex_model(request.path) {
            return is_shaped(request).then(|| Target {
                provider: "gcp.vertex_ai".into(),
                operation: Operation::Chat,
                model: Some(model.to_owned()),
            });
        }
        let says_so = request.fields.get("anthropic-version").is_some();
        let path = request.path.trim_end_matches('/');
        let here = path.ends_with("/v1/messages") || (says_so && path.ends_with("/messages"));
        (here && is_shaped(request)).then(|| Target {
            provider: provider(request).into(),
            operation: Operation::Chat,
            model: None,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        request(target, body)
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        response(status, body)
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(MessageMerge::default())
    }
}

/// `…/publishers/anthropic/models/{model}:rawPredict`, or `:streamRawPredict`. One of its models counts tokens.
fn vertex_model(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/publishers/anthropic/models/")?;
    let (model, verb) = rest.rsplit_once(':')?;
    let asks = matches!(verb, "rawPredict" | "streamRawPredict");
    (asks && model != "count-tokens").then_some(model)
}

fn is_shaped(request: &RequestView<'_>) -> bool {
    let Some(body) = request.body else {
        return request.fields.get("anthropic-version").is_some();
    };
    let messages = body.get("messages").and_then(Value::as_array);
    messages.is_some_and(|list| list.iter().all(|message| message.get("role").is_some()))
}

/// Who offers this API: a resource of Azure that has OpenAI's models too has those of others under this name.
fn provider(request: &RequestView<'_>) -> &'static str {
    match provider_of(request.host, request.path) {
        Some("azure.ai.openai") => "azure.ai.inference",
        Some(provider) => provider,
        None => COMPATIBLE,
    }
}

pub(super) fn request(target: &Target, body: &Value) -> Request {
    let mut fields = Rest::of(body);
    let mut request = Request {
        model: fields.string("model").or_else(|| target.model.clone()),
        stream: fields.truth("stream").unwrap_or(false),
        conversation_id: session(body),
        ..Request::default()
    };
    if let Some(text) = fields.text("system") {
        request.system.push(parts::text(text));
    }
    let system = fields.list("system").unwrap_or_default();
    request.system.extend(system.iter().map(block::part));
    let messages = fields.list("messages").unwrap_or_default();
    request.messages = messages.iter().map(message).collect();
    let tools = fields.list("tools").unwrap_or_default();
    request.tools = tools.iter().map(tool).collect();
    request.parameters = fields.left_with_empty();
    request
}

/// Claude Code says its session's number in `metadata.user_id`: `user_…_session_{number}`, or JSON with `session_id`.
fn session(body: &Value) -> Option<String> {
    let user = json::text_at(body, &["metadata", "user_id"])?;
    let in_json = || {
        let user: Value = serde_json::from_str(user).ok()?;
        Some(user.get("session_id")?.as_str()?.to_owned())
    };
    match user.split_once("_session_") {
        Some((_, number)) => Some(number.to_owned()),
        None => in_json(),
    }
}

fn message(value: &Value) -> Message {
    let role = json::text_at(value, &["role"]).unwrap_or_default();
    Message::new(role, content(value.get("content").unwrap_or(&Value::Null)))
}

/// A string, or blocks.
fn content(value: &Value) -> Vec<Part> {
    match value {
        Value::Array(blocks) => blocks.iter().map(block::part).collect(),
        Value::Null => Vec::new(),
        Value::String(text) => vec![parts::text(text)],
        other => vec![json::generic(other, "content")],
    }
}

/// A tool of the client's, or one of Anthropic's, whose settings stand where others have their schema.
fn tool(value: &Value) -> Tool {
    let mut fields = Rest::of(value);
    let kind = fields.text("type").filter(|kind| *kind != "custom");
    let mut tool = Tool {
        kind: kind.unwrap_or("function").to_owned(),
        name: fields
            .string("name")
            .or(kind.map(str::to_owned))
            .unwrap_or_default(),
        description: fields.string("description"),
        parameters: fields.take("input_schema").cloned(),
    };
    let rest = fields.left_with_empty();
    if tool.parameters.is_none() && !rest.is_empty() {
        tool.parameters = Some(Value::Object(rest));
    }
    tool
}

pub(super) fn response(status: u16, body: &Value) -> Response {
    if json::is_error(status, body) {
        return json::failed(body);
    }
    let mut fields = Rest::of(body);
    fields.take("type");
    let mut response = Response {
        id: fields.string("id"),
        model: fields.string("model"),
        usage: fields.take("usage").and_then(usage),
        is_complete: true,
        ..Response::default()
    };
    let role = fields.text("role").unwrap_or("assistant");
    let said = fields.take("content");
    fields.keep("content", said.map(left_of_blocks).unwrap_or_default());
    response.choices.push(Choice {
        index: 0,
        message: Message::new(role, said.map(content).unwrap_or_default()),
        finish_reason: fields.string("stop_reason"),
    });
    response.extra = fields.left();
    response
}

/// Of blocks: whose tool is called, and who calls it if that is not the model.
fn left_of_blocks(content: &Value) -> Leftovers {
    let mut leftovers = Leftovers::default();
    let blocks = content.as_array().into_iter().flatten();
    for (index, block) in (0..).zip(blocks) {
        let kept = ["caller", "server_name"].into_iter().filter_map(|name| {
            let value = block.get(name).filter(|value| !value.is_null())?;
            let says_nothing = value.get("type").is_some_and(|kind| kind == "direct");
            (!says_nothing).then(|| (name.to_owned(), value.clone()))
        });
        leftovers.add(index, kept.collect());
    }
    leftovers
}

pub(super) fn usage(value: &Value) -> Option<Usage> {
    let cache_read = json::count(value, "cache_read_input_tokens");
    let cache_write = json::count(value, "cache_creation_input_tokens");
    Some(Usage {
        input_tokens: json::sum(&[json::count(value, "input_tokens"), cache_read, cache_write]),
        output_tokens: json::count(value, "output_tokens"),
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        reasoning_tokens: value
            .pointer("/output_tokens_details/thinking_tokens")
            .and_then(json::whole),
        ..json::reported(value)?
    })
}

/// Feeds anything to the stream's decoder: for fuzzing.
pub fn fuzz_anthropic(data: &[u8]) {
    super::fuzz::merge(Box::new(MessageMerge::default()), data);
    super::fuzz::whole(&MESSAGES, data);
    super::fuzz::whole(&COMPLETE, data);
}

#[cfg(test)]
mod tests;
