//! Tool calls that come in pieces: by index, by number, or with neither.
//!
//! OpenAI names the call by `index` in each piece and gives its number and name in the first. Of compatible servers, some
//! leave the index out, some say 0 for each of several whole calls, some repeat the name, some send arguments as an
//! object.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::grow::{Texts, grow};
use crate::semantics::DeltaKind;
use crate::semantics::rest::is_nothing;

/// A call that grows.
#[derive(Debug, Default)]
pub struct Call {
    /// Which part of the message it is.
    pub part: u64,
    index: u64,
    id: String,
    name: String,
    arguments: String,
    member: Option<&'static str>,
    fields: Map<String, Value>,
}

impl Call {
    /// Of this part.
    pub fn new(part: u64) -> Self {
        Self {
            part,
            ..Self::default()
        }
    }

    /// Takes the next piece of a call.
    pub fn add(&mut self, mut piece: Map<String, Value>, out: &mut dyn FnMut(DeltaKind)) {
        piece.remove("index");
        if let Some(Value::String(id)) = piece.remove("id")
            && !id.is_empty()
        {
            self.id = id;
        }
        for (member, text) in [("function", "arguments"), ("custom", "input")] {
            if let Some(Value::Object(inner)) = piece.remove(member) {
                self.member = Some(member);
                self.add_inner(inner, text, out);
            }
        }
        grow(&mut self.fields, piece, Texts::GoOn);
    }

    /// Takes the next piece of what is called.
    pub fn add_inner(
        &mut self,
        mut inner: Map<String, Value>,
        text: &str,
        out: &mut dyn FnMut(DeltaKind),
    ) {
        if let Some(Value::String(name)) = inner.remove("name")
            && !name.is_empty()
            && name != self.name
        {
            let is_first = self.name.is_empty();
            self.name.push_str(&name);
            if is_first {
                out(DeltaKind::ToolCall {
                    id: Some(self.id.clone()).filter(|id| !id.is_empty()),
                    name,
                });
            }
        }
        let more = match inner.remove(text) {
            Some(Value::String(more)) => more,
            Some(other) if !is_nothing(&other) => other.to_string(),
            _ => String::new(),
        };
        self.more(more, out);
        if !inner.is_empty() {
            let inner = Map::from_iter([("function".to_owned(), Value::Object(inner))]);
            grow(&mut self.fields, inner, Texts::GoOn);
        }
    }

    /// Takes more of the arguments.
    pub fn more(&mut self, more: String, out: &mut dyn FnMut(DeltaKind)) {
        if !more.is_empty() {
            self.arguments.push_str(&more);
            out(DeltaKind::ToolArguments(more));
        }
    }

    /// As an unstreamed answer would have it.
    pub fn into_value(mut self) -> Value {
        if let Some(member) = self.member {
            let text = if member == "custom" {
                "input"
            } else {
                "arguments"
            };
            let mut inner = self.take_inner(text);
            if let Some(Value::Object(more)) = self.fields.remove("function") {
                inner.extend(more);
            }
            self.fields.insert(member.to_owned(), Value::Object(inner));
        }
        if !self.id.is_empty() {
            self.fields.insert("id".to_owned(), self.id.into());
        }
        Value::Object(self.fields)
    }

    /// What is called, as an unstreamed answer would have it.
    pub fn take_inner(&mut self, text: &str) -> Map<String, Value> {
        let name = std::mem::take(&mut self.name);
        let arguments = std::mem::take(&mut self.arguments);
        let inner = json!({"name": name, text: arguments});
        match inner {
            Value::Object(inner) => inner,
            _ => Map::new(),
        }
    }
}

/// All calls of a message.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Call>,
    by_index: BTreeMap<u64, usize>,
}

impl Calls {
    /// The call that this piece belongs to; a new one is made with the number that `part` gives.
    pub fn of(
        &mut self,
        piece: &Map<String, Value>,
        part: impl FnOnce() -> u64,
    ) -> Option<&mut Call> {
        let index = piece.get("index").and_then(Value::as_u64);
        let known = match index {
            Some(index) => self.by_index.get(&index).copied(),
            None => self.calls.len().checked_sub(1),
        };
        let known = known.filter(|place| !self.is_another(*place, piece));
        let place = known.unwrap_or_else(|| {
            let place = self.calls.len();
            let index = index.unwrap_or(place as u64);
            self.by_index.insert(index, place);
            self.calls.push(Call {
                index,
                ..Call::new(part())
            });
            place
        });
        self.calls.get_mut(place)
    }

    /// The call that a piece with this index belongs to, if it has begun as one of a function.
    pub fn begun(&mut self, index: Option<u64>) -> Option<&mut Call> {
        let place = match index {
            Some(index) => self.by_index.get(&index).copied()?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = self.calls.get_mut(place)?;
        (call.member == Some("function")).then_some(call)
    }

    /// A piece with a number and a name of its own begins another call.
    fn is_another(&self, place: usize, piece: &Map<String, Value>) -> bool {
        let id = piece.get("id").and_then(Value::as_str).unwrap_or_default();
        let has_name = piece
            .get("function")
            .or_else(|| piece.get("custom"))
            .and_then(|inner| inner.get("name")?.as_str())
            .is_some_and(|name| !name.is_empty());
        let is_other = |call: &Call| !call.id.is_empty() && call.id != id;
        !id.is_empty() && has_name && self.calls.get(place).is_some_and(is_other)
    }

    /// As an unstreamed answer would have them.
    pub fn into_value(mut self) -> Value {
        self.calls.sort_by_key(|call| call.index);
        self.calls.into_iter().map(Call::into_value).collect()
    }
}
