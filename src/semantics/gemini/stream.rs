//! Puts the chunks of `streamGenerateContent` together, which come as server-sent events (`alt=sse`) or as the elements of
//! one JSON array. Each is a whole answer that goes on where the one before stopped; usage is cumulative.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::dialect::{DeltaKind, Merge, Out, Piece, say_of};
use super::super::json;
use super::super::model::{ProviderError, Response};
use super::super::plain::{Latest, Said, Text, present};

/// Of one answer.
#[derive(Default)]
pub(super) struct GenerateMerge {
    whole: Map<String, Value>,
    candidates: BTreeMap<u64, Candidate>,
    /// What chunks of text say besides.
    latest: Latest,
    error: Option<ProviderError>,
    held: usize,
}

#[derive(Default)]
struct Candidate {
    fields: Map<String, Value>,
    role: Option<Value>,
    parts: Vec<Value>,
}

impl Merge for GenerateMerge {
    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        self.held += piece.data().len();
        if let Some(plain) = piece.read()
            && self.plain(&plain, piece.data(), out)
        {
            return true;
        }
        match piece.read::<Value>() {
            Some(chunk) => {
                self.settle();
                self.chunk(chunk, out)
            }
            None => piece.is_done(),
        }
    }

    fn finish(mut self: Box<Self>) -> Response {
        self.settle();
        let blocked = json_blocked(&self.whole);
        let mut candidates = self.candidates.values();
        let all_said_why =
            candidates.all(|candidate| candidate.fields.contains_key("finishReason"));
        let ended = blocked || (!self.candidates.is_empty() && all_said_why);
        let mut response = Response::default();
        if !self.whole.is_empty() || !self.candidates.is_empty() {
            let candidates = self.candidates.into_iter().map(Candidate::whole);
            let candidates: Vec<Value> = candidates.collect();
            if !candidates.is_empty() {
                self.whole
                    .insert("candidates".into(), Value::Array(candidates));
            }
            response = super::response(200, &Value::Object(self.whole));
        }
        response.streamed(ended, self.error)
    }

    fn held(&self) -> usize {
        self.held
    }
}

/// Chunks that came as one array, all at once.
pub(super) fn whole(chunks: &[Value]) -> Response {
    let mut merge = Box::new(GenerateMerge::default());
    for chunk in chunks {
        merge.chunk(chunk.clone(), &mut drop);
    }
    merge.finish()
}

/// The prompt was refused: there will be no candidate.
fn json_blocked(whole: &Map<String, Value>) -> bool {
    let feedback = whole.get("promptFeedback");
    feedback.is_some_and(|feedback| feedback.get("blockReason").is_some())
}

/// What nearly all chunks are: more of one text, and counts so far. Code Assist has it inside of `response`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Plain<'d> {
    #[serde(borrow, default, deserialize_with = "present")]
    candidates: Option<[PlainCandidate<'d>; 1]>,
    #[serde(default)]
    create_time: Said,
    #[serde(default)]
    metadata: Said,
    #[serde(default)]
    model_version: Said,
    #[serde(borrow, default, deserialize_with = "present")]
    response: Option<Box<Plain<'d>>>,
    #[serde(default)]
    response_id: Said,
    #[serde(default)]
    trace_id: Said,
    #[serde(default)]
    usage_metadata: Said,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PlainCandidate<'d> {
    #[serde(borrow)]
    content: PlainContent<'d>,
    #[serde(default, rename = "finishReason")]
    _finish_reason: (),
    index: Option<u64>,
    #[serde(default)]
    safety_ratings: Said,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainContent<'d> {
    #[serde(borrow)]
    parts: [PlainPart<'d>; 1],
    #[serde(default)]
    role: Said,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainPart<'d> {
    #[serde(borrow)]
    text: Text<'d>,
    #[serde(default)]
    thought: bool,
}

impl Plain<'_> {
    fn said(&self) -> [Said; 6] {
        [
            self.create_time,
            self.metadata,
            self.model_version,
            self.response_id,
            self.trace_id,
            self.usage_metadata,
        ]
    }
}

impl GenerateMerge {
    pub(super) fn plain(&mut self, outer: &Plain<'_>, data: &[u8], out: Out<'_>) -> bool {
        let inner = match (&outer.candidates, &outer.response) {
            (Some(_), None) => outer,
            (None, Some(inner)) if inner.response.is_none() => inner,
            _ => return false,
        };
        let Some([candidate]) = &inner.candidates else {
            return false;
        };
        let index = candidate.index.unwrap_or_default();
        let known = self.candidates.get_mut(&index);
        if !known.is_some_and(|known| known.goes_on(index, candidate, out)) {
            return false;
        }
        let said = outer.said().into_iter().chain(inner.said());
        let said = said.chain([candidate.content.role, candidate.safety_ratings]);
        if let Some(before) = self.latest.keep(data, index, said) {
            self.besides(before);
        }
        true
    }

    /// What the last plain chunk says besides its text.
    fn settle(&mut self) {
        if let Some(latest) = self.latest.take() {
            self.besides(latest);
        }
    }

    fn besides(&mut self, mut chunk: Value) {
        for way in ["/candidates/0/content", "/response/candidates/0/content"] {
            if let Some(Value::Object(content)) = chunk.pointer_mut(way) {
                content.remove("parts");
            }
        }
        self.chunk(chunk, &mut drop);
    }

    fn chunk(&mut self, chunk: Value, out: Out<'_>) -> bool {
        if chunk.get("error").is_some() {
            self.error = Some(json::error(&chunk));
            return true;
        }
        let Value::Object(mut fields) = chunk else {
            return false;
        };
        // Code Assist has it inside of `response`.
        if !fields.contains_key("candidates")
            && let Some(Value::Object(mut inner)) = fields.remove("response")
        {
            inner.extend(fields);
            fields = inner;
        }
        const KNOWN: &[&str] = &[
            "candidates",
            "modelVersion",
            "promptFeedback",
            "responseId",
            "usageMetadata",
        ];
        if !KNOWN.iter().any(|name| fields.contains_key(*name)) {
            return false;
        }
        if let Some(Value::Array(candidates)) = fields.remove("candidates") {
            for (position, candidate) in candidates.into_iter().enumerate() {
                let index = json::count(&candidate, "index").unwrap_or(position as u64);
                let known = self.candidates.entry(index).or_default();
                known.more(index, candidate, out);
            }
        }
        self.whole.extend(fields);
        true
    }
}

impl Candidate {
    /// Takes more of the text that was the last part, if this is that.
    fn goes_on(&mut self, index: u64, candidate: &PlainCandidate<'_>, out: Out<'_>) -> bool {
        let [part] = &candidate.content.parts;
        let at = (self.parts.len() as u64).saturating_sub(1);
        let Some(Value::Object(last)) = self.parts.last_mut() else {
            return false;
        };
        if !goes_on(last, part.thought) {
            return false;
        }
        json::append(last, "text", &part.text);
        if !part.text.is_empty() {
            say_of(index, at, told(&part.text, part.thought), out);
        }
        true
    }

    fn more(&mut self, index: u64, candidate: Value, out: Out<'_>) {
        let Value::Object(mut fields) = candidate else {
            return;
        };
        if let Some(Value::Object(mut content)) = fields.remove("content") {
            self.role = content.remove("role").or(self.role.take());
            if let Some(Value::Array(parts)) = content.remove("parts") {
                parts
                    .into_iter()
                    .for_each(|part| self.part(index, part, out));
            }
        }
        let reason = fields
            .get("finishReason")
            .filter(|reason| !reason.is_null());
        if let Some(reason) = reason {
            let last = (self.parts.len() as u64).saturating_sub(1);
            say_of(index, last, DeltaKind::Finish(super::word(reason)), out);
        }
        fields.retain(|_, value| !value.is_null());
        self.fields.extend(fields);
    }

    /// Text goes on where the last part stopped, if both are thoughts or neither.
    fn part(&mut self, index: u64, part: Value, out: Out<'_>) {
        let text = json::text_at(&part, &["text"]);
        let goes_on = match self.parts.last() {
            Some(Value::Object(last)) if text.is_some() => goes_on(last, is_thought(&part)),
            _ => false,
        };
        if !goes_on && self.parts.last().is_some_and(is_empty) {
            self.parts.pop();
        }
        let at = match goes_on {
            false => self.parts.len() as u64,
            true => (self.parts.len() as u64).saturating_sub(1),
        };
        tell(index, at, &part, out);
        match (part, self.parts.last_mut()) {
            (Value::Object(mut more), Some(Value::Object(last))) if goes_on => {
                if let Some(Value::String(text)) = more.remove("text") {
                    json::append(last, "text", &text);
                }
                last.extend(more);
            }
            (part, _) => self.parts.push(part),
        }
    }

    fn whole((index, mut candidate): (u64, Self)) -> Value {
        // The last chunk often has an empty text, only to carry a signature; an unstreamed answer has none.
        if candidate.parts.len() > 1 && candidate.parts.last().is_some_and(is_empty) {
            candidate.parts.pop();
        }
        let mut content = Map::new();
        content.extend(candidate.role.map(|role| ("role".to_owned(), role)));
        content.insert("parts".into(), Value::Array(candidate.parts));
        let mut fields = candidate.fields;
        fields.insert("content".into(), Value::Object(content));
        fields.insert("index".into(), index.into());
        Value::Object(fields)
    }
}

/// What of a part people want to see at once.
fn tell(index: u64, at: u64, part: &Value, out: Out<'_>) {
    let text = json::text_at(part, &["text"]);
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        say_of(index, at, told(text, is_thought(part)), out);
    }
    if let Some(call) = part.get("functionCall") {
        let id = json::text_at(call, &["id"]).map(str::to_owned);
        let name = json::text_at(call, &["name"])
            .unwrap_or_default()
            .to_owned();
        say_of(index, at, DeltaKind::ToolCall { id, name }, out);
        if let Some(args) = call.get("args") {
            say_of(index, at, DeltaKind::ToolArguments(args.to_string()), out);
        }
    }
}

fn told(text: &str, is_thought: bool) -> DeltaKind {
    match is_thought {
        false => DeltaKind::Text(text.to_owned()),
        true => DeltaKind::Reasoning(text.to_owned()),
    }
}

fn is_empty(part: &Value) -> bool {
    json::text_at(part, &["text"]) == Some("")
}

fn is_thought(part: &Value) -> bool {
    part.get("thought")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// An empty text says nothing of whether it is a thought.
fn goes_on(last: &Map<String, Value>, is_thought: bool) -> bool {
    let Some(Value::String(_)) = last.get("text") else {
        return false;
    };
    let was_thought = last.get("thought").and_then(Value::as_bool);
    was_thought.unwrap_or(false) == is_thought
}
