//! Chat of version 2. A stream of server-sent events is put together to the JSON that the same answer would have been
//! unstreamed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::dialect::{DeltaKind, Merge, Out, Piece, say};
use super::super::functions;
use super::super::json;
use super::super::model::{Choice, Message, Part, ProviderError, Request, Response};
use super::super::parts;
use super::super::plain::{Numbered, Text, only, present};
use super::super::rest::Rest;

pub(super) fn request(body: &Value) -> Request {
    let mut fields = Rest::of(body);
    let messages = fields.list("messages").unwrap_or_default();
    let tools = fields.list("tools").unwrap_or_default();
    Request {
        model: fields.string("model"),
        messages: messages.iter().map(message).collect(),
        tools: tools.iter().map(functions::tool).collect(),
        stream: fields.truth("stream").unwrap_or(false),
        parameters: fields.left_with_empty(),
        ..Request::default()
    }
}

/// The plan for the tools is what the model thinks; citations belong to the first text, or to the one they name.
fn message(value: &Value) -> Message {
    let mut fields = Rest::of(value);
    let role = fields.text("role").unwrap_or("assistant");
    let mut said = Vec::new();
    if let Some(plan) = fields.string("tool_plan").filter(|plan| !plan.is_empty()) {
        said.push(Part::Reasoning {
            content: plan,
            encrypted: false,
        });
    }
    let before = said.len();
    let answered = fields.string("tool_call_id");
    match fields.take("content") {
        Some(response) if answered.is_some() => said.push(Part::ToolCallResponse {
            id: answered,
            name: None,
            response: response.clone(),
            is_error: false,
        }),
        Some(Value::Array(contents)) => said.extend(contents.iter().map(content)),
        Some(Value::String(text)) => said.push(parts::text(text)),
        _ => {}
    }
    let first = said.iter().position(is_text);
    for citation in fields.list("citations").unwrap_or_default() {
        let named = json::count(citation, "content_index");
        let named = named.and_then(|index| usize::try_from(index).ok());
        let named = named.map(|index| index.saturating_add(before));
        let named = named.filter(|at| said.get(*at).is_some_and(is_text));
        let text = named.or(first).and_then(|at| said.get_mut(at));
        if let Some(Part::Text { citations, .. }) = text {
            citations.push(citation.clone());
        }
    }
    let calls = fields.list("tool_calls").unwrap_or_default();
    said.extend(calls.iter().map(functions::call));
    Message::new(role, said)
}

fn is_text(part: &Part) -> bool {
    matches!(part, Part::Text { .. })
}

pub(super) fn content(value: &Value) -> Part {
    let text = |name: &str| json::text_at(value, &[name]);
    match (value, text("type").unwrap_or_default()) {
        (Value::String(text), _) => parts::text(text),
        (_, "image_url") => {
            let url = value.get("image_url");
            let url = url.and_then(|url| json::text_at(url, &["url"]).or(url.as_str()));
            parts::media("image", None, url.unwrap_or_default())
        }
        (_, "text") if text("text").is_some() => parts::text(text("text").unwrap_or_default()),
        (_, "thinking") if text("thinking").is_some() => Part::Reasoning {
            content: text("thinking").unwrap_or_default().to_owned(),
            encrypted: false,
        },
        _ => json::generic(value, "content"),
    }
}

pub(super) fn response(status: u16, body: &Value) -> Response {
    let mut fields = Rest::of(body);
    let Some(said) = fields
        .take("message")
        .filter(|said| said.is_object() && status < 400)
    else {
        return json::failed(body);
    };
    Response {
        id: fields.string("id"),
        choices: vec![Choice {
            index: 0,
            message: message(said),
            finish_reason: fields.string("finish_reason"),
        }],
        usage: fields.take("usage").and_then(super::usage),
        extra: fields.left(),
        is_complete: true,
        ..Response::default()
    }
}

/// Of one answer.
#[derive(Default)]
pub(super) struct ChatMerge {
    whole: Map<String, Value>,
    message: Map<String, Value>,
    contents: BTreeMap<u64, Map<String, Value>>,
    calls: BTreeMap<u64, Call>,
    citations: BTreeMap<u64, Value>,
    error: Option<ProviderError>,
    ended: bool,
    held: usize,
}

#[derive(Default)]
struct Call {
    fields: Map<String, Value>,
    arguments: String,
}

impl Merge for ChatMerge {
    fn is_final(&self) -> bool {
        self.ended
    }

    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        self.held += piece.data().len();
        if let Some(plain) = piece.read()
            && self.plain(&plain, out)
        {
            return true;
        }
        let Some(event) = super::event(piece) else {
            return false;
        };
        self.event(&event, out)
    }

    fn finish(mut self: Box<Self>) -> Response {
        let contents: Vec<Value> = self.contents.into_values().map(Value::Object).collect();
        let calls: Vec<Value> = self.calls.into_values().map(Call::whole).collect();
        let citations: Vec<Value> = self.citations.into_values().collect();
        for (name, list) in [
            ("content", contents),
            ("tool_calls", calls),
            ("citations", citations),
        ] {
            if !list.is_empty() {
                self.message.insert(name.into(), Value::Array(list));
            }
        }
        let mut response = Response::default();
        if !self.message.is_empty() || !self.whole.is_empty() {
            self.whole
                .insert("message".into(), Value::Object(self.message));
            response = self::response(200, &Value::Object(self.whole));
        }
        response.streamed(self.ended, self.error)
    }

    fn held(&self) -> usize {
        self.held
    }
}

/// The delta of nearly all events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain<'d> {
    #[serde(borrow)]
    message: PlainMessage<'d>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainMessage<'d> {
    #[serde(borrow)]
    content: PlainContent<'d>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainContent<'d> {
    #[serde(borrow, default, deserialize_with = "present")]
    text: Option<Text<'d>>,
    #[serde(borrow, default, deserialize_with = "present")]
    thinking: Option<Text<'d>>,
}

impl ChatMerge {
    pub(super) fn plain(&mut self, event: &Numbered<'_, Plain<'_>>, out: Out<'_>) -> bool {
        let content = &event.delta.message.content;
        let said = only([("text", &content.text), ("thinking", &content.thinking)]);
        let Some((name, more)) = said.filter(|_| &*event.kind == "content-delta") else {
            return false;
        };
        self.grow(event.index, name, more, out);
        true
    }

    fn event(&mut self, event: &Value, out: Out<'_>) -> bool {
        let index = json::count(event, "index").unwrap_or_default();
        let delta = event.get("delta").unwrap_or(&Value::Null);
        let said = delta.get("message").unwrap_or(&Value::Null);
        match json::text_at(event, &["type"]) {
            Some("citation-end" | "content-end" | "tool-call-end") => {}
            Some("citation-start") => {
                if let Some(citation) = said.get("citations") {
                    self.citations.insert(index, citation.clone());
                }
            }
            Some("content-delta" | "content-start") => self.content(index, said, out),
            Some("debug") => {}
            Some("message-end") => self.end(delta, out),
            Some("message-start") => {
                self.message = said.as_object().cloned().unwrap_or_default();
                self.whole
                    .extend(event.get("id").map(|id| ("id".to_owned(), id.clone())));
            }
            Some("tool-call-delta" | "tool-call-start") => self.call(index, said, out),
            Some("tool-plan-delta") => {
                if let Some(plan) = json::text_at(said, &["tool_plan"]) {
                    json::append(&mut self.message, "tool_plan", plan);
                    say(0, DeltaKind::Reasoning(plan.to_owned()), out);
                }
            }
            // The end's mark, which is no JSON.
            None => return event.as_object().is_some_and(Map::is_empty),
            Some(_) => return false,
        }
        true
    }

    /// The plan comes before all contents, and the calls behind them.
    fn first_content(&self) -> u64 {
        let plan = self.message.get("tool_plan").and_then(Value::as_str);
        u64::from(plan.is_some_and(|plan| !plan.is_empty()))
    }

    fn content(&mut self, index: u64, said: &Value, out: Out<'_>) {
        let Some(Value::Object(more)) = said.get("content") else {
            return;
        };
        self.contents.entry(index).or_default();
        for (name, value) in more {
            match (name.as_str(), value) {
                (name, Value::String(more)) if name != "type" => self.grow(index, name, more, out),
                _ => {
                    let content = self.contents.entry(index).or_default();
                    content.insert(name.clone(), value.clone());
                }
            }
        }
    }

    /// More of one of a content's texts.
    fn grow(&mut self, index: u64, name: &str, more: &str, out: Out<'_>) {
        let part = self.first_content().saturating_add(index);
        let content = self.contents.entry(index).or_default();
        if content.is_empty() {
            content.insert("type".into(), name.into());
        }
        json::append(content, name, more);
        let kind = match name {
            _ if more.is_empty() => return,
            "text" => DeltaKind::Text(more.to_owned()),
            "thinking" => DeltaKind::Reasoning(more.to_owned()),
            _ => return,
        };
        say(part, kind, out);
    }

    fn call(&mut self, index: u64, said: &Value, out: Out<'_>) {
        let Some(Value::Object(more)) = said.get("tool_calls") else {
            return;
        };
        let before = self.first_content() + self.contents.len() as u64;
        let part = before.saturating_add(index);
        let call = self.calls.entry(index).or_default();
        let function = more.get("function").unwrap_or(&Value::Null);
        let arguments = json::text_at(function, &["arguments"]).unwrap_or_default();
        let is_new = call.fields.is_empty();
        if is_new {
            call.fields = more.clone();
            let id = more.get("id").and_then(Value::as_str).map(str::to_owned);
            let name = json::text_at(function, &["name"])
                .unwrap_or_default()
                .to_owned();
            say(part, DeltaKind::ToolCall { id, name }, out);
        }
        call.arguments.push_str(arguments);
        if !arguments.is_empty() {
            say(part, DeltaKind::ToolArguments(arguments.to_owned()), out);
        }
    }

    fn end(&mut self, delta: &Value, out: Out<'_>) {
        self.ended = true;
        for (name, value) in delta.as_object().into_iter().flatten() {
            if name == "error" {
                self.error = Some(json::error(delta));
            } else {
                self.whole.insert(name.clone(), value.clone());
            }
        }
        if let Some(reason) = json::text_at(delta, &["finish_reason"]) {
            say(0, DeltaKind::Finish(reason.to_owned()), out);
        }
    }
}

impl Call {
    fn whole(mut self) -> Value {
        if let Some(Value::Object(function)) = self.fields.get_mut("function") {
            function.insert("arguments".into(), self.arguments.into());
        }
        Value::Object(self.fields)
    }
}
