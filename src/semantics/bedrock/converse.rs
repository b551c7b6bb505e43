//! Converse and ConverseStream. A stream is put together to the JSON that the same answer would have been unstreamed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::dialect::{DeltaKind, Dialect, Merge, Out, Piece, RequestView, Target, say};
use super::super::json;
use super::super::model::{Choice, Message, ProviderError, Request, Response, Tool, Usage};
use super::super::parts;
use super::super::plain::{Said, Text};
use super::super::rest::Rest;
use super::{Frame, Way, block};

/// See [`super::CONVERSE`] and [`super::CONVERSE_STREAM`].
#[derive(Clone, Copy, Debug)]
pub struct Converse(pub(super) Way);

impl Dialect for Converse {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let target = self.0.target(request)?;
        request.body.is_none_or(Value::is_object).then_some(target)
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        Request {
            stream: self.0.stream,
            ..request(target, body)
        }
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        response(status, body)
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(ConverseMerge::default())
    }
}

pub(super) fn request(target: &Target, body: &Value) -> Request {
    let mut fields = Rest::of(body);
    let mut request = Request {
        model: target.model.clone(),
        ..Request::default()
    };
    let system = fields.list("system").unwrap_or_default();
    request.system = system.iter().map(block::part).collect();
    let messages = fields.list("messages").unwrap_or_default();
    request.messages = messages.iter().map(message).collect();
    let config = fields.take("toolConfig");
    request.parameters = fields.left_with_empty();
    if let Some(config) = config {
        let mut config = Rest::of(config);
        let tools = config.list("tools").unwrap_or_default();
        request.tools = tools.iter().map(tool).collect();
        let rest = config.left_with_empty();
        if !rest.is_empty() {
            request
                .parameters
                .insert("toolConfig".into(), Value::Object(rest));
        }
    }
    request
}

fn message(value: &Value) -> Message {
    let content = value.get("content");
    let parts = match content {
        Some(Value::Array(blocks)) => blocks.iter().map(block::part).collect(),
        Some(Value::String(text)) => vec![parts::text(text)],
        _ => Vec::new(),
    };
    let role = json::text_at(value, &["role"]);
    Message::new(role.unwrap_or("assistant"), parts)
}

/// The client's tools are `toolSpec`s; others are the provider's, or marks.
fn tool(value: &Value) -> Tool {
    let mut fields = Rest::of(value);
    if let Some(spec) = fields.take("toolSpec") {
        let mut spec = Rest::of(spec);
        let schema = spec.take("inputSchema");
        return Tool {
            kind: "function".into(),
            name: spec.string("name").unwrap_or_default(),
            description: spec.string("description"),
            parameters: schema.map(|schema| schema.get("json").unwrap_or(schema).clone()),
        };
    }
    let mut names = value.as_object().into_iter().flat_map(Map::keys);
    let kind = names.next().cloned().unwrap_or_default();
    let settings = value.get(&kind);
    let name = settings.and_then(|settings| json::text_at(settings, &["name"]));
    Tool {
        name: name.unwrap_or(&kind).to_owned(),
        parameters: settings.cloned(),
        description: None,
        kind,
    }
}

pub(super) fn response(status: u16, body: &Value) -> Response {
    let mut fields = Rest::of(body);
    let Some(output) = fields.take("output").filter(|_| status < 400) else {
        return json::failed(body);
    };
    let usage = fields.take("usage").and_then(usage);
    let said = output.get("message");
    let choice = Choice {
        index: 0,
        message: message(said.unwrap_or(&Value::Null)),
        finish_reason: fields.string("stopReason"),
    };
    Response {
        choices: vec![choice],
        usage,
        extra: fields.left(),
        is_complete: true,
        ..Response::default()
    }
}

/// What comes from a cache and what goes into it is reported apart from the input. Amazon's own models add `Count`.
fn usage(value: &Value) -> Option<Usage> {
    let count = |name: &str| {
        let count = json::count(value, name);
        count.or_else(|| json::count(value, &format!("{name}Count")))
    };
    let cache_read = count("cacheReadInputTokens").or_else(|| count("cacheReadInputToken"));
    let cache_write = count("cacheWriteInputTokens").or_else(|| count("cacheWriteInputToken"));
    Some(Usage {
        input_tokens: json::sum(&[count("inputTokens"), cache_read, cache_write]),
        output_tokens: count("outputTokens"),
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        ..json::reported(value)?
    })
}

/// Of one answer.
#[derive(Default)]
pub(super) struct ConverseMerge {
    whole: Map<String, Value>,
    role: Option<Value>,
    blocks: BTreeMap<u64, Block>,
    error: Option<ProviderError>,
    ended: bool,
    held: usize,
}

/// What was said of a block, by what it is.
#[derive(Default)]
struct Block {
    fields: Map<String, Value>,
    call: Option<Map<String, Value>>,
    /// Arguments come as pieces of JSON text.
    input: String,
    result: Map<String, Value>,
    reasoning: Map<String, Value>,
    reasoning_text: Map<String, Value>,
    citations: Vec<Value>,
    deltas: u64,
    /// Number of the part that it will be.
    part: u64,
}

impl Merge for ConverseMerge {
    /// What it took is said behind the end.
    fn is_final(&self) -> bool {
        self.ended && self.whole.contains_key("usage")
    }

    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        self.held += piece.data().len();
        let kind = match Frame::of(piece) {
            Some(Frame::Event(kind)) => kind,
            Some(Frame::Exception(error)) => {
                self.error = Some(error);
                return true;
            }
            None => return false,
        };
        if kind == "contentBlockDelta"
            && let Some(plain) = piece.read()
        {
            self.plain(&plain, out);
            return true;
        }
        let event = piece.read::<Value>();
        event.is_some_and(|event| self.event(kind, &event, out))
    }

    fn finish(mut self: Box<Self>) -> Response {
        let mut response = Response::default();
        let begun = self.role.is_some() || !self.blocks.is_empty() || !self.whole.is_empty();
        if begun {
            let content = joined(std::mem::take(&mut self.blocks));
            let role = self.role.unwrap_or_else(|| "assistant".into());
            let message = json!({"message": {"role": role, "content": content}});
            self.whole.insert("output".into(), message);
            response = self::response(200, &Value::Object(self.whole));
        }
        response.streamed(self.ended, self.error)
    }

    fn held(&self) -> usize {
        self.held
    }
}

/// What nearly all events are: more of one text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Plain<'d> {
    #[serde(default)]
    content_block_index: u64,
    #[serde(borrow)]
    delta: PlainDelta<'d>,
    #[serde(default, rename = "p")]
    _padding: Said,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum PlainDelta<'d> {
    #[serde(borrow)]
    ReasoningContent(PlainReasoning<'d>),
    #[serde(borrow)]
    Text(Text<'d>),
    #[serde(borrow)]
    ToolUse(PlainCall<'d>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainReasoning<'d> {
    #[serde(borrow)]
    text: Text<'d>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainCall<'d> {
    #[serde(borrow)]
    input: Text<'d>,
}

impl ConverseMerge {
    pub(super) fn plain(&mut self, event: &Plain<'_>, out: Out<'_>) {
        let is_text = matches!(event.delta, PlainDelta::Text(_));
        let block = self.block(event.content_block_index, is_text);
        block.deltas += 1;
        match &event.delta {
            PlainDelta::ReasoningContent(more) => block.reason(&more.text, out),
            PlainDelta::Text(more) => block.text(more, out),
            PlainDelta::ToolUse(more) => block.input(&more.input, out),
        }
    }

    /// Events by name; Amazon's models say the same inside of `InvokeModelWithResponseStream`.
    pub(super) fn event(&mut self, kind: &str, event: &Value, out: Out<'_>) -> bool {
        let index = json::count(event, "contentBlockIndex").unwrap_or_default();
        match kind {
            "contentBlockDelta" => self.delta(index, event, out),
            "contentBlockStart" => self.start(index, event, out),
            "contentBlockStop" => {}
            "messageStart" | "messageStop" | "metadata" => {
                for (name, value) in event.as_object().into_iter().flatten() {
                    match name.as_str() {
                        // Padding, against guessing by length.
                        "p" => {}
                        "role" => self.role = Some(value.clone()),
                        _ => self.keep(name, value),
                    }
                }
            }
            _ => return false,
        }
        if kind == "messageStop" {
            self.ended = true;
            if let Some(reason) = json::text_at(event, &["stopReason"]) {
                let last = self
                    .blocks
                    .values()
                    .next_back()
                    .map_or(0, |block| block.part);
                say(last, DeltaKind::Finish(reason.to_owned()), out);
            }
        }
        true
    }

    /// A field of the answer outside of its message.
    pub(super) fn keep(&mut self, name: &str, value: &Value) {
        // Amazon's models say empty ones in streams only.
        let empty = value.as_object().is_some_and(Map::is_empty);
        if !empty {
            self.whole.insert(name.to_owned(), value.clone());
        }
    }

    /// A new block is a new part, but for a piece of text behind a piece of text (see [`joined`]).
    fn block(&mut self, index: u64, is_text: bool) -> &mut Block {
        let before = self.blocks.range(..index).next_back();
        let part = before.map_or(0, |(_, before)| {
            let goes_on = is_text && before.is_text_of_one_delta();
            before.part + u64::from(!goes_on)
        });
        self.blocks.entry(index).or_insert_with(|| Block {
            part,
            ..Block::default()
        })
    }

    fn start(&mut self, index: u64, event: &Value, out: Out<'_>) {
        let Some(Value::Object(start)) = event.get("start") else {
            return;
        };
        let block = self.block(index, false);
        for (name, value) in start {
            match (name.as_str(), value) {
                ("toolResult", Value::Object(result)) => block.result = result.clone(),
                ("toolUse", Value::Object(call)) => {
                    block.call = Some(call.clone());
                    let id = json::text_at(value, &["toolUseId"]).map(str::to_owned);
                    let name = json::text_at(value, &["name"])
                        .unwrap_or_default()
                        .to_owned();
                    say(block.part, DeltaKind::ToolCall { id, name }, out);
                }
                _ => {
                    block.fields.insert(name.clone(), value.clone());
                }
            }
        }
    }

    fn delta(&mut self, index: u64, event: &Value, out: Out<'_>) {
        let Some(Value::Object(delta)) = event.get("delta") else {
            return;
        };
        let block = self.block(index, delta.contains_key("text"));
        block.deltas += 1;
        for (name, value) in delta {
            block.more(name, value, out);
        }
    }
}

impl Block {
    fn more(&mut self, name: &str, value: &Value, out: Out<'_>) {
        match (name, value) {
            ("citation", value) => self.citations.push(value.clone()),
            ("reasoningContent", Value::Object(more)) => self.reasoning(more, out),
            ("text", Value::String(more)) => self.text(more, out),
            ("toolResult", Value::Array(more)) => {
                for one in more {
                    json::push(&mut self.result, "content", one.clone());
                }
            }
            ("toolUse", value) => {
                let more = json::text_at(value, &["input"]).unwrap_or_default();
                self.input(more, out);
            }
            (name, value) => {
                self.fields.insert(name.to_owned(), value.clone());
            }
        }
    }

    fn text(&mut self, more: &str, out: Out<'_>) {
        json::append(&mut self.fields, "text", more);
        say(self.part, DeltaKind::Text(more.to_owned()), out);
    }

    fn reason(&mut self, more: &str, out: Out<'_>) {
        json::append(&mut self.reasoning_text, "text", more);
        say(self.part, DeltaKind::Reasoning(more.to_owned()), out);
    }

    fn input(&mut self, more: &str, out: Out<'_>) {
        self.input.push_str(more);
        say(self.part, DeltaKind::ToolArguments(more.to_owned()), out);
    }

    fn reasoning(&mut self, more: &Map<String, Value>, out: Out<'_>) {
        for (name, value) in more {
            match (name.as_str(), value) {
                ("text", Value::String(more)) => self.reason(more, out),
                ("signature", value) => {
                    self.reasoning_text.insert(name.clone(), value.clone());
                }
                (name, Value::String(more)) => json::append(&mut self.reasoning, name, more),
                (name, value) => {
                    self.reasoning.insert(name.to_owned(), value.clone());
                }
            }
        }
    }

    /// As in an unstreamed answer: `{"text": …}`, `{"toolUse": {…}}`, …
    fn whole(mut self) -> Value {
        if self.call.is_some() || !self.input.is_empty() {
            let mut call = self.call.unwrap_or_default();
            // A call whose start was lost has no name; it is a call all the same.
            call.entry("name").or_insert_with(|| "".into());
            let input = match self.input.is_empty() {
                false => parts::arguments(&self.input),
                true => json!({}),
            };
            call.insert("input".into(), input);
            return json!({"toolUse": call});
        }
        if !self.reasoning_text.is_empty() {
            let text = Value::Object(self.reasoning_text);
            self.reasoning.insert("reasoningText".into(), text);
        }
        if !self.reasoning.is_empty() {
            return json!({"reasoningContent": self.reasoning});
        }
        if !self.result.is_empty() {
            return json!({"toolResult": self.result});
        }
        if !self.citations.is_empty() {
            let text = self.fields.get("text").cloned().unwrap_or_default();
            let content = json!([{"text": text}]);
            return json!({"citationsContent": {"content": content, "citations": self.citations}});
        }
        Value::Object(self.fields)
    }

    fn is_text_of_one_delta(&self) -> bool {
        let only_text = self.fields.len() == 1 && self.fields.contains_key("text");
        self.deltas == 1 && only_text && self.citations.is_empty()
    }
}

/// Amazon's models number each piece of text as a block of its own, while their unstreamed answers have them as one.
fn joined(blocks: BTreeMap<u64, Block>) -> Vec<Value> {
    let mut whole: Vec<Value> = Vec::new();
    let mut goes_on = false;
    for block in blocks.into_values() {
        let is_piece = block.is_text_of_one_delta();
        let block = block.whole();
        match whole.last_mut() {
            Some(Value::Object(last)) if goes_on && is_piece => {
                let more = json::text_at(&block, &["text"]).unwrap_or_default();
                json::append(last, "text", more);
            }
            _ => whole.push(block),
        }
        goes_on = is_piece;
    }
    whole
}
