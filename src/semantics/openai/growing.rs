//! A choice of a streamed answer while it grows, until it is what the unstreamed answer would say.

use serde_json::{Map, Value, json};

use super::calls::{Call, Calls};
use super::content;
use super::grow::{Texts, grow};
use super::message::REASONING;
use crate::semantics::rest::is_nothing;
use crate::semantics::{Delta, DeltaKind};

/// A piece of `content`: a text that goes on, or a typed part (Mistral).
#[derive(Debug)]
enum Chunk {
    Other(Value),
    Text(u64, String),
    Thinking(u64, String),
}

/// One of `choices`.
#[derive(Debug, Default)]
pub struct Growing {
    index: u64,
    parts: u64,
    chunks: Vec<Chunk>,
    reasoning: [String; REASONING.len()],
    reasoning_part: Option<u64>,
    /// Which of the fields for thoughts is told as it comes: the first that said something.
    teller: Option<&'static str>,
    refusal: Option<(u64, String)>,
    audio_part: Option<u64>,
    /// Tools that the provider ran, said again when they have given something.
    executed: Vec<Map<String, Value>>,
    images: Vec<Value>,
    calls: Option<Calls>,
    function_call: Option<Call>,
    /// Whether it has a message; else it is the text of a completion.
    has_delta: bool,
    fields: Map<String, Value>,
    finish_reason: Option<String>,
    rest: Map<String, Value>,
}

type Out<'o> = dyn FnMut(Delta) + 'o;

impl Growing {
    /// With this index.
    pub fn new(index: u64) -> Self {
        Self {
            index,
            ..Self::default()
        }
    }

    /// It has a message, so that a delta can only go on.
    pub fn has_begun(&self) -> bool {
        self.has_delta
    }

    /// Its message is known to be in this role.
    pub fn is_of(&self, role: &str) -> bool {
        self.fields.get("role").and_then(Value::as_str) == Some(role)
    }

    /// The provider has said why it ended.
    pub fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// Takes the next piece.
    pub fn add(&mut self, mut choice: Map<String, Value>, out: &mut Out<'_>) {
        choice.remove("index");
        let finish = choice.remove("finish_reason");
        // Perplexity sends all of the message again with each delta.
        let message = choice.remove("message");
        let is_first = !self.has_delta && self.chunks.is_empty();
        let delta = choice.remove("delta").filter(Value::is_object);
        match delta.or(message.filter(|_| is_first)) {
            Some(Value::Object(delta)) => {
                self.has_delta = true;
                self.delta(delta, out);
                // Together says it twice.
                choice.remove("text");
            }
            _ => {
                if let Some(Value::String(text)) = choice.remove("text") {
                    self.text(text, out);
                }
            }
        }
        grow(&mut self.rest, choice, Texts::Replace);
        if let Some(Value::String(reason)) = finish
            && !reason.is_empty()
            && self.finish_reason.as_ref() != Some(&reason)
        {
            self.tell(
                self.parts.saturating_sub(1),
                DeltaKind::Finish(reason.clone()),
                out,
            );
            self.finish_reason = Some(reason);
        }
    }

    /// More text.
    pub fn text(&mut self, text: String, out: &mut Out<'_>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.chunks.last(), Some(Chunk::Text(..))) {
            let part = self.next_part();
            self.chunks.push(Chunk::Text(part, String::new()));
        }
        if let Some(Chunk::Text(part, whole)) = self.chunks.last_mut() {
            whole.push_str(&text);
            let part = *part;
            self.tell(part, DeltaKind::Text(text), out);
        }
    }

    fn delta(&mut self, mut delta: Map<String, Value>, out: &mut Out<'_>) {
        // A number for each token (Together), which an unstreamed answer does not have.
        delta.remove("token_id");
        // Whether it is thought or said (Groq), with each word.
        delta.remove("channel");
        self.reasoning(&mut delta, out);
        if let Some(Value::Array(tools)) = delta.remove("executed_tools") {
            self.executed_tools(tools, out);
        }
        match delta.remove("content") {
            Some(Value::String(text)) => self.text(text, out),
            Some(Value::Array(list)) => {
                for element in list {
                    self.chunk(element, out);
                }
            }
            Some(other) if !is_nothing(&other) => self.chunk(other, out),
            _ => {}
        }
        self.refusal(delta.remove("refusal"), out);
        if let Some(Value::Array(images)) = delta.remove("images") {
            self.parts += images.len() as u64;
            self.images.extend(images);
        }
        self.audio(delta.get("audio"), out);
        if let Some(Value::Array(calls)) = delta.remove("tool_calls") {
            for call in calls {
                self.tool_call(call, out);
            }
        }
        if let Some(Value::Object(call)) = delta.remove("function_call") {
            self.function_call(call, out);
        }
        grow(&mut self.fields, delta, Texts::GoOn);
    }

    fn reasoning(&mut self, delta: &mut Map<String, Value>, out: &mut Out<'_>) {
        for (place, name) in REASONING.into_iter().enumerate() {
            if !delta.get(name).is_some_and(Value::is_string) {
                continue;
            }
            if let Some(Value::String(text)) = delta.remove(name) {
                self.reason(place, text, out);
            }
        }
        let details = delta.get("reasoning_details").and_then(Value::as_array);
        for detail in details.into_iter().flatten() {
            let text = detail.get("text").or_else(|| detail.get("summary"));
            let text = text.and_then(Value::as_str).unwrap_or_default();
            self.thought("reasoning_details", text.to_owned(), out);
        }
    }

    /// More of the field at this place of [`REASONING`].
    pub fn reason(&mut self, place: usize, text: String, out: &mut Out<'_>) {
        if let (Some(whole), Some(name)) = (self.reasoning.get_mut(place), REASONING.get(place)) {
            whole.push_str(&text);
            self.thought(name, text, out);
        }
    }

    fn thought(&mut self, teller: &'static str, text: String, out: &mut Out<'_>) {
        if text.is_empty() || *self.teller.get_or_insert(teller) != teller {
            return;
        }
        let part = self.reasoning_part.unwrap_or_else(|| self.next_part());
        self.reasoning_part = Some(part);
        self.tell(part, DeltaKind::Reasoning(text), out);
    }

    /// Mistral: `content` as a list of typed parts, of which texts and thoughts go on.
    fn chunk(&mut self, element: Value, out: &mut Out<'_>) {
        let kind = element.get("type").and_then(Value::as_str);
        let is_plain = element.as_object().is_some_and(|members| {
            let known =
                |name: &String| ["type", "text", "thinking", "closed"].contains(&name.as_str());
            members.keys().all(known)
        });
        match kind {
            Some("text") if is_plain && element.get("text").is_some_and(Value::is_string) => {
                let text = element.get("text").and_then(Value::as_str);
                self.text(text.unwrap_or_default().to_owned(), out);
            }
            Some("thinking") if is_plain => self.thinking(thinking(&element), out),
            Some("reasoning") => {
                let summary = element.get("summary").map(content::summary);
                self.thinking(summary.unwrap_or_default(), out);
            }
            _ => {
                self.next_part();
                self.chunks.push(Chunk::Other(element));
            }
        }
    }

    fn thinking(&mut self, text: String, out: &mut Out<'_>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.chunks.last(), Some(Chunk::Thinking(..))) {
            let part = self.next_part();
            self.chunks.push(Chunk::Thinking(part, String::new()));
        }
        if let Some(Chunk::Thinking(part, whole)) = self.chunks.last_mut() {
            whole.push_str(&text);
            let part = *part;
            self.tell(part, DeltaKind::Reasoning(text), out);
        }
    }

    /// By index: what comes later of one covers what came before, or adds to it.
    fn executed_tools(&mut self, tools: Vec<Value>, out: &mut Out<'_>) {
        for tool in tools {
            let Value::Object(tool) = tool else {
                continue;
            };
            let index = tool.get("index").and_then(Value::as_u64);
            let is_it = |one: &&mut Map<String, Value>| {
                index.is_some() && one.get("index").and_then(Value::as_u64) == index
            };
            // The last ones are those that are said again.
            match self.executed.iter_mut().rev().take(64).find(is_it) {
                Some(known) => known.extend(tool.into_iter().filter(|(_, value)| !value.is_null())),
                None => {
                    let name = tool.get("type").and_then(Value::as_str).unwrap_or_default();
                    let name = name.to_owned();
                    let part = self.next_part();
                    // What it gives.
                    self.next_part();
                    self.tell(part, DeltaKind::ToolCall { id: None, name }, out);
                    self.executed.push(tool);
                }
            }
        }
    }

    fn refusal(&mut self, refusal: Option<Value>, out: &mut Out<'_>) {
        let Some(Value::String(text)) = refusal.filter(|refusal| !is_nothing(refusal)) else {
            return;
        };
        if self.refusal.is_none() {
            self.refusal = Some((self.next_part(), String::new()));
        }
        if let Some((part, whole)) = &mut self.refusal {
            whole.push_str(&text);
            let part = *part;
            self.tell(part, DeltaKind::Text(text), out);
        }
    }

    /// The words of a voice are text; its sound is measured at the end.
    fn audio(&mut self, audio: Option<&Value>, out: &mut Out<'_>) {
        let transcript = audio.and_then(|audio| audio.get("transcript")?.as_str());
        if let Some(text) = transcript.filter(|text| !text.is_empty()) {
            let part = self.audio_part.unwrap_or_else(|| self.next_part());
            self.audio_part = Some(part);
            self.tell(part, DeltaKind::Text(text.to_owned()), out);
        }
    }

    fn tool_call(&mut self, call: Value, out: &mut Out<'_>) {
        let Value::Object(piece) = call else {
            return grow(
                &mut self.fields,
                Map::from_iter([("tool_calls_odd".to_owned(), json!([call]))]),
                Texts::GoOn,
            );
        };
        let (choice, parts) = (self.index, &mut self.parts);
        let calls = self.calls.get_or_insert_default();
        let call = calls.of(&piece, || {
            *parts += 1;
            *parts - 1
        });
        if let Some(call) = call {
            let part = call.part;
            call.add(piece, &mut |kind| out(Delta { choice, part, kind }));
        }
    }

    /// More of the arguments of a call that has begun; whether there is such a call.
    pub fn arguments(&mut self, index: Option<u64>, more: String, out: &mut Out<'_>) -> bool {
        let choice = self.index;
        let Some(call) = self.calls.as_mut().and_then(|calls| calls.begun(index)) else {
            return false;
        };
        let part = call.part;
        call.more(more, &mut |kind| out(Delta { choice, part, kind }));
        true
    }

    fn function_call(&mut self, piece: Map<String, Value>, out: &mut Out<'_>) {
        if self.function_call.is_none() {
            self.function_call = Some(Call::new(self.next_part()));
        }
        let choice = self.index;
        if let Some(call) = &mut self.function_call {
            let part = call.part;
            call.add_inner(piece, "arguments", &mut |kind| {
                out(Delta { choice, part, kind })
            });
        }
    }

    fn next_part(&mut self) -> u64 {
        self.parts += 1;
        self.parts - 1
    }

    fn tell(&self, part: u64, kind: DeltaKind, out: &mut Out<'_>) {
        out(Delta {
            choice: self.index,
            part,
            kind,
        });
    }

    /// As an unstreamed answer would have it.
    pub fn into_value(self) -> Value {
        let mut choice = self.rest;
        choice.insert("index".to_owned(), self.index.into());
        if let Some(reason) = self.finish_reason {
            choice.insert("finish_reason".to_owned(), reason.into());
        }
        let content = whole(self.chunks);
        if !self.has_delta {
            choice.insert("text".to_owned(), content);
            return Value::Object(choice);
        }
        let mut message = self.fields;
        message.insert("content".to_owned(), content);
        for (name, text) in REASONING.into_iter().zip(self.reasoning) {
            if !text.is_empty() {
                message.insert(name.to_owned(), text.into());
            }
        }
        if let Some((_, refusal)) = self.refusal {
            message.insert("refusal".to_owned(), refusal.into());
        }
        if !self.executed.is_empty() {
            let executed = self.executed.into_iter().map(Value::Object);
            message.insert("executed_tools".to_owned(), executed.collect());
        }
        if !self.images.is_empty() {
            message.insert("images".to_owned(), self.images.into());
        }
        if let Some(calls) = self.calls {
            message.insert("tool_calls".to_owned(), calls.into_value());
        }
        if let Some(mut call) = self.function_call {
            let call = Value::Object(call.take_inner("arguments"));
            message.insert("function_call".to_owned(), call);
        }
        choice.insert("message".to_owned(), Value::Object(message));
        Value::Object(choice)
    }
}

fn thinking(element: &Value) -> String {
    match element.get("thinking") {
        Some(Value::String(text)) => text.clone(),
        other => {
            let list = other.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|one| one.get("text")?.as_str()).collect()
        }
    }
}

fn whole(mut chunks: Vec<Chunk>) -> Value {
    if chunks.is_empty() {
        return Value::Null;
    }
    if let [Chunk::Text(_, text)] = chunks.as_mut_slice() {
        return std::mem::take(text).into();
    }
    let value = |chunk| match chunk {
        Chunk::Text(_, text) => json!({"type": "text", "text": text}),
        Chunk::Thinking(_, text) => json!({"type": "thinking", "thinking": text}),
        Chunk::Other(value) => value,
    };
    chunks.into_iter().map(value).collect()
}
