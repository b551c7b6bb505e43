//! Streamed chat completions and completions: chunks are put together to the body of the unstreamed answer, which is then
//! read as any other. That is what makes both the same.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>. The end is `[DONE]`; servers that leave it
//! out have said why each choice ended.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::growing::Growing;
use super::{answer, completions};
use crate::semantics::plain::Said;
use crate::semantics::rest::is_nothing;
use crate::semantics::{Delta, Merge, Piece, Response};

/// A streamed answer.
#[derive(Debug, Default)]
pub struct Stream {
    top: Map<String, Value>,
    /// Apart from their table, whose nodes have room for eleven.
    choices: BTreeMap<u64, Box<Growing>>,
    /// `[DONE]` came.
    is_done: bool,
    /// A piece was no JSON.
    is_damaged: bool,
    /// Nothing marks the end of such a stream but that of the transport (Writer's completions).
    is_unmarked: bool,
    held: usize,
}

/// A chunk which says nothing but how a text goes on, as nearly all do: read without making a tree of it. Whatever has
/// more is read as a tree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'d> {
    choices: [PlainChoice<'d>; 1],
    created: Option<u64>,
    #[serde(default)]
    id: &'d str,
    #[serde(default)]
    model: &'d str,
    #[serde(default, rename = "obfuscation")]
    _obfuscation: Said,
    #[serde(default, rename = "object")]
    _object: Said,
    #[serde(default, rename = "p")]
    _padding: Said,
    provider: Option<&'d str>,
    service_tier: Option<&'d str>,
    system_fingerprint: Option<&'d str>,
    #[serde(default, rename = "usage")]
    _usage: (),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainChoice<'d> {
    index: u64,
    #[serde(borrow)]
    delta: PlainDelta<'d>,
    #[serde(default, rename = "finish_reason")]
    _finish_reason: (),
    #[serde(default, rename = "logprobs")]
    _logprobs: (),
    #[serde(default, rename = "native_finish_reason")]
    _native_finish_reason: (),
    #[serde(default, rename = "stop_reason")]
    _stop_reason: (),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainDelta<'d> {
    content: Option<String>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    #[serde(default, rename = "refusal")]
    _refusal: (),
    role: Option<&'d str>,
    tool_calls: Option<[PlainCall; 1]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainCall {
    index: Option<u64>,
    function: PlainFunction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainFunction {
    arguments: String,
}

impl Stream {
    /// Takes a plain chunk, if it says nothing new beside its text.
    fn plain(&mut self, chunk: Plain<'_>, out: &mut dyn FnMut(Delta)) -> bool {
        let same = |name: &str, text: &str| {
            text.is_empty() || self.top.get(name).and_then(Value::as_str) == Some(text)
        };
        let [choice] = chunk.choices;
        let says_no_more = same("id", chunk.id)
            && same("model", chunk.model)
            && same("provider", chunk.provider.unwrap_or_default())
            && same("service_tier", chunk.service_tier.unwrap_or_default())
            && same(
                "system_fingerprint",
                chunk.system_fingerprint.unwrap_or_default(),
            )
            && chunk.created.is_none_or(|created| {
                self.top.get("created").and_then(Value::as_u64) == Some(created)
            });
        let growing = self.choices.get_mut(&choice.index);
        let Some(growing) = growing.filter(|growing| says_no_more && growing.has_begun()) else {
            return false;
        };
        if choice.delta.role.is_some_and(|role| !growing.is_of(role)) {
            return false;
        }
        if let Some([call]) = choice.delta.tool_calls {
            let length = call.function.arguments.len();
            let texts = [
                &choice.delta.content,
                &choice.delta.reasoning,
                &choice.delta.reasoning_content,
            ];
            if texts.into_iter().any(Option::is_some)
                || !growing.arguments(call.index, call.function.arguments, out)
            {
                return false;
            }
            self.held += length;
            return true;
        }
        let thoughts = [choice.delta.reasoning_content, choice.delta.reasoning];
        for (place, text) in thoughts.into_iter().enumerate() {
            if let Some(text) = text {
                self.held += text.len();
                growing.reason(place, text, out);
            }
        }
        if let Some(text) = choice.delta.content {
            self.held += text.len();
            growing.text(text, out);
        }
        true
    }

    fn chunk(&mut self, mut chunk: Map<String, Value>, out: &mut dyn FnMut(Delta)) -> bool {
        let choices = chunk.remove("choices");
        let is_ours = matches!(choices, Some(Value::Array(_)))
            || ["error", "object", "usage", "value", "x_groq"]
                .iter()
                .any(|name| chunk.contains_key(*name));
        if !is_ours {
            return false;
        }
        if choices.is_none()
            && let Some(Value::String(text)) = chunk.remove("value")
        {
            self.is_unmarked = true;
            self.choice(0).text(text, out);
        }
        if let Some(Value::Array(choices)) = choices {
            for choice in choices {
                self.add(choice, out);
            }
        }
        for (name, value) in chunk {
            let is_empty = is_nothing(&value) || (name == "created" && value == 0);
            if !is_empty && !answer::OF_ONE_FORM.contains(&name.as_str()) {
                self.top.insert(name, value);
            }
        }
        true
    }

    fn add(&mut self, choice: Value, out: &mut dyn FnMut(Delta)) {
        if let Value::Object(choice) = choice {
            let index = choice.get("index").and_then(Value::as_u64);
            self.choice(index.unwrap_or_default()).add(choice, out);
        }
    }

    fn choice(&mut self, index: u64) -> &mut Growing {
        self.choices
            .entry(index)
            .or_insert_with(|| Box::new(Growing::new(index)))
    }

    fn is_complete(&self) -> bool {
        let mut choices = self.choices.values();
        let is_finished = !self.choices.is_empty() && choices.all(|choice| choice.is_finished());
        let is_ended = self.is_done || self.is_unmarked || is_finished;
        is_ended && !self.is_damaged && !self.top.contains_key("error")
    }
}

impl Merge for Stream {
    fn is_final(&self) -> bool {
        self.is_done
    }

    fn piece(&mut self, piece: &Piece<'_>, out: &mut dyn FnMut(Delta)) -> bool {
        if piece.is_done() {
            self.is_done = true;
            return true;
        }
        if let Some(plain) = piece.read()
            && self.plain(plain, out)
        {
            return true;
        }
        let chunk = match piece.read().and_then(only) {
            Some(chunk) if piece.event() == Some("error") && !chunk.contains_key("error") => {
                Map::from_iter([("error".to_owned(), Value::Object(chunk))])
            }
            Some(chunk) => chunk,
            None => {
                self.is_damaged = true;
                return false;
            }
        };
        self.held += piece.data().len();
        self.chunk(chunk, out)
    }

    fn finish(self: Box<Self>) -> Response {
        let is_complete = self.is_complete();
        let mut body = self.top;
        let choices = self.choices.into_values().map(|choice| choice.into_value());
        body.insert("choices".to_owned(), choices.collect());
        Response {
            is_complete,
            ..answer::read(200, &Value::Object(body), completions::choice)
        }
    }

    fn held(&self) -> usize {
        self.held
    }
}

/// Google wraps errors into an array of one.
fn only(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members),
        Value::Array(mut list) if list.len() == 1 => match list.pop()? {
            Value::Object(members) => Some(members),
            _ => None,
        },
        _ => None,
    }
}
