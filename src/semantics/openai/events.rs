//! The events of a streamed response. The last one carries the whole answer, as it would come unstreamed; until then, and
//! where it never comes, the answer is put together from its items.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::responses::Responses;
use super::running::{Growth, Running};
use crate::semantics::{Delta, DeltaKind, Dialect, Merge, Piece, Response, Target};

/// A streamed response.
#[derive(Debug)]
pub struct Events {
    target: Target,
    /// The answer as the latest event of its life had it, without its items while these grow.
    body: Map<String, Value>,
    items: BTreeMap<u64, Running>,
    error: Option<Value>,
    is_ended: bool,
    is_damaged: bool,
    held: usize,
}

/// What most events have.
#[derive(Deserialize)]
struct Light<'d> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'d, str>,
    #[serde(default)]
    output_index: u64,
    content_index: Option<u64>,
    summary_index: Option<u64>,
    command_index: Option<u64>,
    #[serde(borrow, default)]
    delta: Cow<'d, str>,
}

impl Events {
    /// For an answer to this request.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            body: Map::new(),
            items: BTreeMap::new(),
            error: None,
            is_ended: false,
            is_damaged: false,
            held: 0,
        }
    }

    fn light(&mut self, light: &Light<'_>, data: &[u8], out: &mut dyn FnMut(Delta)) -> bool {
        let kind = light.kind.as_ref();
        if let Some(growth) = Growth::of(kind) {
            return self.grow(growth, light, out);
        }
        match kind {
            "response.created" | "response.queued" | "response.in_progress" => self.begun(data),
            "response.completed"
            | "response.done"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => self.ended(data, out),
            "response.output_item.added" => self.added(light.output_index, data, out),
            "response.output_item.done" => {
                let item = member(data, "item");
                self.held += data.len();
                self.item(light.output_index).done(item);
                true
            }
            "response.output_text.annotation.added" => {
                let annotation = member(data, "annotation");
                let content = light.content_index.unwrap_or_default();
                self.held += data.len();
                self.item(light.output_index).annotate(content, annotation);
                true
            }
            "error" => {
                let error = member(data, "error");
                self.error = Some(if error.is_object() {
                    error
                } else {
                    plain(data)
                });
                true
            }
            // Codex's server says how much may still be asked.
            other => {
                other == "keepalive"
                    || other.starts_with("response.")
                    || other.starts_with("codex.")
            }
        }
    }

    fn grow(&mut self, growth: Growth, light: &Light<'_>, out: &mut dyn FnMut(Delta)) -> bool {
        let index = light.content_index.or(light.summary_index);
        let index = index.or(light.command_index).unwrap_or_default();
        self.held += light.delta.len();
        let part = self
            .item(light.output_index)
            .grow(growth, index, &light.delta);
        let text = light.delta.clone().into_owned();
        if let Some(kind) = growth.delta(text) {
            out(Delta {
                choice: 0,
                part,
                kind,
            });
        }
        true
    }

    /// Its fields at the beginning, for when there is no end; the same again is not read.
    fn begun(&mut self, data: &[u8]) -> bool {
        if self.body.is_empty()
            && let Value::Object(body) = member(data, "response")
        {
            self.held += data.len();
            self.body = body;
        }
        true
    }

    fn ended(&mut self, data: &[u8], out: &mut dyn FnMut(Delta)) -> bool {
        let Value::Object(body) = member(data, "response") else {
            self.is_damaged = true;
            return false;
        };
        self.held += data.len();
        let status = body.get("status").and_then(Value::as_str);
        let reason = body
            .get("incomplete_details")
            .and_then(|details| details.get("reason")?.as_str());
        let reason = reason.or(status).unwrap_or("completed").to_owned();
        self.body = body;
        self.is_ended = true;
        let part = self
            .items
            .values()
            .next_back()
            .map_or(0, |item| item.first_part());
        out(Delta {
            choice: 0,
            part,
            kind: DeltaKind::Finish(reason),
        });
        true
    }

    fn added(&mut self, index: u64, data: &[u8], out: &mut dyn FnMut(Delta)) -> bool {
        let item = member(data, "item");
        self.held += data.len();
        let running = self.item(index);
        if let Some(kind) = running.begin(item) {
            let part = running.first_part();
            out(Delta {
                choice: 0,
                part,
                kind,
            });
        }
        true
    }

    /// The item at this index, which begins behind the parts of those before.
    fn item(&mut self, index: u64) -> &mut Running {
        let before = if self.items.contains_key(&index) {
            0
        } else {
            let last = self.items.range_mut(..index).next_back();
            last.map_or(0, |(_, item)| item.next_part())
        };
        self.items
            .entry(index)
            .or_insert_with(|| Running::new(before))
    }
}

impl Merge for Events {
    fn is_final(&self) -> bool {
        self.is_ended || self.error.is_some()
    }

    fn piece(&mut self, piece: &Piece<'_>, out: &mut dyn FnMut(Delta)) -> bool {
        if piece.is_done() {
            return true;
        }
        match piece.read::<Light<'_>>() {
            Some(mut light) => {
                if light.kind.is_empty() {
                    light.kind = piece.event().unwrap_or_default().into();
                }
                self.light(&light, piece.data(), out)
            }
            // An event that we don't know may use these names for something else.
            None if piece.read::<Value>().is_some() => false,
            None => {
                self.is_damaged = true;
                false
            }
        }
    }

    fn finish(self: Box<Self>) -> Response {
        let is_complete = self.is_ended && !self.is_damaged;
        let mut body = self.body;
        let is_told = |output: &Value| output.as_array().is_some_and(|list| !list.is_empty());
        if !body.get("output").is_some_and(is_told) && !self.items.is_empty() {
            let output = self.items.into_values().map(Running::into_value);
            body.insert("output".to_owned(), output.collect());
        }
        if let Some(error) = self.error {
            body.insert("error".to_owned(), error);
        }
        Response {
            is_complete,
            ..Responses.response(&self.target, 200, &Value::Object(body))
        }
    }

    fn held(&self) -> usize {
        self.held
    }
}

/// One member of an event; `null` if it is not there.
fn member(data: &[u8], name: &str) -> Value {
    let event = serde_json::from_slice::<Value>(data).unwrap_or_default();
    match event {
        Value::Object(mut event) => event.remove(name).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// An error that is the event itself.
fn plain(data: &[u8]) -> Value {
    let mut event = serde_json::from_slice::<Value>(data).unwrap_or_default();
    if let Some(members) = event.as_object_mut() {
        members.remove("type");
        members.remove("sequence_number");
    }
    event
}
