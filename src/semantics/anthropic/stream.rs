//! Puts a streamed message together to the very JSON that the same answer would have been unstreamed, as the official
//! SDKs do (<https://docs.anthropic.com/en/docs/build-with-claude/streaming>), and then reads that.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::dialect::{DeltaKind, Merge, Out, Piece, say};
use super::super::json;
use super::super::model::{ProviderError, Response};
use super::super::parts;
use super::super::plain::{Numbered, Said, Text, only, present};

/// Of one message.
#[derive(Default)]
pub(in super::super) struct MessageMerge {
    message: Map<String, Value>,
    blocks: BTreeMap<u64, Block>,
    error: Option<ProviderError>,
    ended: bool,
    held: usize,
}

#[derive(Default)]
struct Block {
    fields: Map<String, Value>,
    /// Arguments come as pieces of JSON text.
    input: String,
}

impl Merge for MessageMerge {
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
        match piece.read::<Value>() {
            Some(event) => self.event(&event, out),
            None => piece.is_done(),
        }
    }

    fn finish(mut self: Box<Self>) -> Response {
        let blocks = std::mem::take(&mut self.blocks).into_values();
        let content: Vec<Value> = blocks.map(Block::whole).collect();
        if !content.is_empty() || self.message.contains_key("content") {
            self.message.insert("content".into(), Value::Array(content));
        }
        let response = match self.message.is_empty() {
            true => Response::default(),
            false => super::response(200, &Value::Object(self.message)),
        };
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
    #[serde(default, rename = "type")]
    _kind: Said,
    #[serde(borrow, default, deserialize_with = "present")]
    partial_json: Option<Text<'d>>,
    #[serde(borrow, default, deserialize_with = "present")]
    text: Option<Text<'d>>,
    #[serde(borrow, default, deserialize_with = "present")]
    thinking: Option<Text<'d>>,
}

impl MessageMerge {
    pub(super) fn plain(&mut self, event: &Numbered<'_, Plain<'_>>, out: Out<'_>) -> bool {
        let delta = &event.delta;
        let said = only([
            ("partial_json", &delta.partial_json),
            ("text", &delta.text),
            ("thinking", &delta.thinking),
        ]);
        let Some((name, more)) = said.filter(|_| &*event.kind == "content_block_delta") else {
            return false;
        };
        let block = self.blocks.entry(event.index).or_default();
        if let Some(kind) = block.more(name, more) {
            say(event.index, kind, out);
        }
        true
    }

    fn event(&mut self, event: &Value, out: Out<'_>) -> bool {
        let kind = json::text_at(event, &["type"]).unwrap_or_default();
        let index = json::count(event, "index").unwrap_or_default();
        self.keep_from_bedrock(event);
        match kind {
            "content_block_delta" => self.block_delta(index, event, out),
            "content_block_start" => self.block_start(index, event, out),
            "content_block_stop" | "ping" => {}
            "error" => self.error = Some(json::error(event)),
            "message_delta" => self.message_delta(event, out),
            "message_start" => {
                if let Some(Value::Object(message)) = event.get("message") {
                    self.message = message.clone();
                }
            }
            "message_stop" => self.ended = true,
            _ => return false,
        }
        true
    }

    /// Bedrock adds what its guardrails did to the events, as to whole answers; its timings to streams only.
    fn keep_from_bedrock(&mut self, event: &Value) {
        for (name, value) in event.as_object().into_iter().flatten() {
            if name.starts_with("amazon-bedrock-") && name != "amazon-bedrock-invocationMetrics" {
                self.message.insert(name.clone(), value.clone());
            }
        }
    }

    fn block_start(&mut self, index: u64, event: &Value, out: Out<'_>) {
        let Some(Value::Object(fields)) = event.get("content_block") else {
            return;
        };
        let block = self.blocks.entry(index).or_default();
        block.fields = fields.clone();
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let kind = text("type").unwrap_or_default();
        if kind.ends_with("tool_use") {
            let name = text("name").unwrap_or_default().to_owned();
            let id = text("id").map(str::to_owned);
            say(index, DeltaKind::ToolCall { id, name }, out);
            let input = fields.get("input").and_then(Value::as_object);
            if let Some(input) = input.filter(|input| !input.is_empty()) {
                let input = serde_json::to_string(input).unwrap_or_default();
                say(index, DeltaKind::ToolArguments(input), out);
            }
        }
        if let Some(first) = text("text").filter(|first| !first.is_empty()) {
            say(index, DeltaKind::Text(first.to_owned()), out);
        }
        if let Some(first) = text("thinking").filter(|first| !first.is_empty()) {
            say(index, DeltaKind::Reasoning(first.to_owned()), out);
        }
    }

    /// Deltas say `text`, `thinking`, `partial_json`, `signature`, `citation`; others add to the field of the same name.
    fn block_delta(&mut self, index: u64, event: &Value, out: Out<'_>) {
        let Some(Value::Object(delta)) = event.get("delta") else {
            return;
        };
        let block = self.blocks.entry(index).or_default();
        for (name, value) in delta.iter().filter(|(name, _)| *name != "type") {
            match (name.as_str(), value) {
                ("citation", value) => json::push(block.typed("text"), "citations", value.clone()),
                ("signature", value) => {
                    block.typed("thinking").insert(name.clone(), value.clone());
                }
                (name, Value::String(more)) => match block.more(name, more) {
                    Some(kind) => say(index, kind, out),
                    None => json::append(&mut block.fields, name, more),
                },
                (_, value) => {
                    block.fields.insert(name.clone(), value.clone());
                }
            }
        }
    }

    /// Usage is cumulative: what is said later counts.
    fn message_delta(&mut self, event: &Value, out: Out<'_>) {
        let fields = event.as_object().into_iter().flatten();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("delta", Value::Object(delta)) => json::overlay(&mut self.message, delta),
                ("usage", Value::Object(usage)) => match self.message.get_mut("usage") {
                    Some(Value::Object(known)) => json::overlay(known, usage),
                    _ => {
                        self.message.insert(name.clone(), value.clone());
                    }
                },
                ("type", _) => {}
                _ if name.starts_with("amazon-bedrock-") => {}
                _ => {
                    self.message.insert(name.clone(), value.clone());
                }
            }
        }
        if let Some(reason) = json::text_at(event, &["delta", "stop_reason"]) {
            say(0, DeltaKind::Finish(reason.to_owned()), out);
        }
    }
}

impl Block {
    /// More of what people see as it comes; `None`: it is something else.
    fn more(&mut self, name: &str, more: &str) -> Option<DeltaKind> {
        match name {
            "partial_json" => {
                self.input.push_str(more);
                Some(DeltaKind::ToolArguments(more.to_owned()))
            }
            "text" => {
                json::append(self.typed(name), name, more);
                Some(DeltaKind::Text(more.to_owned()))
            }
            "thinking" => {
                json::append(self.typed(name), name, more);
                Some(DeltaKind::Reasoning(more.to_owned()))
            }
            _ => None,
        }
    }

    /// Its fields; a block whose start was lost is known by what is added to it.
    fn typed(&mut self, kind: &str) -> &mut Map<String, Value> {
        if self.fields.is_empty() {
            self.fields.insert("type".into(), kind.into());
        }
        &mut self.fields
    }

    fn whole(mut self) -> Value {
        if !self.input.is_empty() {
            let input = parts::arguments(&self.input);
            if self.fields.is_empty() {
                self.fields.insert("type".into(), "tool_use".into());
                self.fields.insert("name".into(), "".into());
            }
            self.fields.insert("input".into(), input);
        }
        Value::Object(self.fields)
    }
}
