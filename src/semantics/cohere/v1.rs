//! Chat and generate of version 1: lines of JSON or server-sent events, the last of which holds the whole answer.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::dialect::{DeltaKind, Merge, Out, Piece, Target, say};
use super::super::json;
use super::super::model::{Choice, Message, Part, ProviderError, Request, Response, Tool};
use super::super::parts;
use super::super::plain::{Text, present};
use super::super::rest::Rest;

pub(in super::super) fn request(target: &Target, body: &Value) -> Request {
    let mut fields = Rest::of(body);
    let mut request = Request {
        model: fields.string("model").or_else(|| target.model.clone()),
        stream: fields.truth("stream").unwrap_or(false),
        conversation_id: fields.string("conversation_id"),
        ..Request::default()
    };
    request.system = fields
        .text("preamble")
        .map(parts::text)
        .into_iter()
        .collect();
    let history = fields.list("chat_history").unwrap_or_default();
    request.messages = history.iter().map(turn).collect();
    let results = fields.list("tool_results").unwrap_or_default();
    if !results.is_empty() {
        let results = results.iter().map(result).collect();
        request.messages.push(Message::new("tool", results));
    }
    let asked = fields.text("message").or_else(|| fields.text("prompt"));
    // Behind results of tools, there is an empty one.
    let asked = asked.filter(|asked| !asked.is_empty() || results.is_empty());
    let asked = asked.map(|asked| Message::new("user", vec![parts::text(asked)]));
    request.messages.extend(asked);
    let tools = fields.list("tools").unwrap_or_default();
    request.tools = tools.iter().map(tool).collect();
    request.parameters = fields.left_with_empty();
    request
}

fn turn(value: &Value) -> Message {
    let mut fields = Rest::of(value);
    let role = fields.text("role").unwrap_or_default().to_ascii_lowercase();
    let mut parts_said = Vec::new();
    parts_said.extend(fields.text("message").map(parts::text));
    let calls = fields.list("tool_calls").unwrap_or_default();
    parts_said.extend(calls.iter().map(call));
    let results = fields.list("tool_results").unwrap_or_default();
    parts_said.extend(results.iter().map(result));
    let role = if role == "chatbot" {
        "assistant"
    } else {
        role.as_str()
    };
    Message::new(role, parts_said)
}

/// Calls have no numbers: results repeat the call.
fn call(value: &Value) -> Part {
    let mut fields = Rest::of(value);
    Part::ToolCall {
        id: fields.string("id"),
        name: fields.string("name").unwrap_or_default(),
        arguments: fields.take("parameters").cloned().unwrap_or_default(),
    }
}

fn result(value: &Value) -> Part {
    let name = json::text_at(value, &["call", "name"]);
    Part::ToolCallResponse {
        id: json::text_at(value, &["call", "id"]).map(str::to_owned),
        name: name.map(str::to_owned),
        response: value.get("outputs").cloned().unwrap_or_default(),
        is_error: false,
    }
}

fn tool(value: &Value) -> Tool {
    let mut fields = Rest::of(value);
    Tool {
        kind: "function".into(),
        name: fields.string("name").unwrap_or_default(),
        description: fields.string("description"),
        parameters: fields.take("parameter_definitions").cloned(),
    }
}

pub(in super::super) fn response(status: u16, body: &Value) -> Response {
    let mut fields = Rest::of(body);
    let text = fields.text("text");
    let generations = fields.list("generations").unwrap_or_default();
    if status >= 400 || (text.is_none() && generations.is_empty()) {
        return json::failed(body);
    }
    let mut response = Response {
        usage: fields.peek("meta").and_then(super::usage),
        is_complete: true,
        ..Response::default()
    };
    for (index, generation) in generations.iter().enumerate() {
        let text = json::text_at(generation, &["text"]).map(parts::text);
        let reason = json::text_at(generation, &["finish_reason"]);
        response.choices.push(Choice {
            index: index as u64,
            message: Message::new("assistant", text.into_iter().collect()),
            finish_reason: reason.map(str::to_owned),
        });
    }
    let citations = fields.list("citations").unwrap_or_default();
    if let Some(text) = text {
        let calls = fields.list("tool_calls").unwrap_or_default();
        let mut all = Vec::new();
        if !text.is_empty() || calls.is_empty() {
            all.push(Part::Text {
                content: text.to_owned(),
                citations: citations.to_vec(),
            });
        }
        all.extend(calls.iter().map(call));
        response.choices.push(Choice {
            index: 0,
            message: Message::new("assistant", all),
            finish_reason: fields.string("finish_reason"),
        });
    }
    response.id = fields
        .string("generation_id")
        .or_else(|| fields.string("id"));
    response.extra = fields.left();
    response
}

/// Of one answer. The end's event holds all of it: what came before counts only if that is missing.
#[derive(Default)]
pub(in super::super) struct V1Merge {
    begun: Map<String, Value>,
    text: String,
    whole: Option<Value>,
    called: u64,
    error: Option<ProviderError>,
    held: usize,
}

impl Merge for V1Merge {
    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        self.held += piece.data().len();
        if let Some(plain) = piece.read::<Plain<'_>>()
            && plain.is_text()
        {
            self.text(&plain.text, out);
            return true;
        }
        let Some(event) = super::event(piece) else {
            return false;
        };
        let kind = json::text_at(&event, &["event_type"]);
        let is_end =
            kind == Some("stream-end") || event.get("is_finished") == Some(&Value::Bool(true));
        if is_end {
            self.end(&event, out);
            return true;
        }
        match kind {
            None if event.get("text").is_some() => self.text_of(&event, out),
            None => return event.get("message").is_some_and(|_| self.fail(&event)),
            Some("citation-generation") => self.keep(&event, &["citations"]),
            Some("search-queries-generation") => self.keep(&event, &["search_queries"]),
            Some("search-results") => self.keep(&event, &["search_results", "documents"]),
            Some("stream-start") => self.keep(&event, &["generation_id", "response_id"]),
            Some("text-generation") => self.text_of(&event, out),
            Some("tool-calls-chunk") => {
                if let Some(more) = json::text_at(&event, &["tool_call_delta", "parameters"]) {
                    let part = u64::from(!self.text.is_empty());
                    say(part, DeltaKind::ToolArguments(more.to_owned()), out);
                }
            }
            Some("tool-calls-generation") => self.calls(&event, out),
            Some(_) => return false,
        }
        true
    }

    fn finish(mut self: Box<Self>) -> Response {
        let ended = self.whole.is_some();
        let whole = match self.whole.take() {
            Some(whole) => Some(whole),
            None if self.begun.is_empty() && self.text.is_empty() => None,
            None => {
                self.begun.insert("text".into(), self.text.into());
                Some(Value::Object(self.begun))
            }
        };
        let response = whole.map(|whole| response(200, &whole)).unwrap_or_default();
        response.streamed(ended, self.error)
    }

    fn held(&self) -> usize {
        self.held
    }
}

/// What nearly all events are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain<'d> {
    #[serde(borrow, default, deserialize_with = "present")]
    event_type: Option<Text<'d>>,
    #[serde(default)]
    is_finished: bool,
    #[serde(borrow)]
    text: Text<'d>,
}

impl Plain<'_> {
    pub(super) fn is_text(&self) -> bool {
        let kind = self.event_type.as_deref();
        !self.is_finished && kind.is_none_or(|kind| kind == "text-generation")
    }
}

impl V1Merge {
    fn text_of(&mut self, event: &Value, out: Out<'_>) {
        self.text(json::text_at(event, &["text"]).unwrap_or_default(), out);
    }

    fn text(&mut self, more: &str, out: Out<'_>) {
        self.text.push_str(more);
        say(0, DeltaKind::Text(more.to_owned()), out);
    }

    fn fail(&mut self, event: &Value) -> bool {
        self.error = Some(json::error(event));
        true
    }

    fn keep(&mut self, event: &Value, names: &[&str]) {
        for name in names {
            match event.get(name) {
                Some(Value::Array(more)) => {
                    for one in more {
                        json::push(&mut self.begun, name, one.clone());
                    }
                }
                Some(value) => {
                    self.begun.insert((*name).to_owned(), value.clone());
                }
                None => {}
            }
        }
    }

    fn calls(&mut self, event: &Value, out: Out<'_>) {
        self.keep(event, &["tool_calls"]);
        let calls = event.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            let part = u64::from(!self.text.is_empty()) + self.called;
            self.called += 1;
            let id = json::text_at(call, &["id"]).map(str::to_owned);
            let name = json::text_at(call, &["name"])
                .unwrap_or_default()
                .to_owned();
            say(part, DeltaKind::ToolCall { id, name }, out);
        }
    }

    /// The whole answer, as it would have been unstreamed, but for why it ended, which may stand beside it.
    fn end(&mut self, event: &Value, out: Out<'_>) {
        let reason = event.get("finish_reason");
        let mut whole = match event.get("response") {
            Some(Value::Object(whole)) => whole.clone(),
            _ => {
                let mut whole = std::mem::take(&mut self.begun);
                whole.insert("text".into(), std::mem::take(&mut self.text).into());
                whole
            }
        };
        let in_lists = whole.contains_key("generations");
        if let Some(reason) = reason.filter(|_| !in_lists && !whole.contains_key("finish_reason")) {
            whole.insert("finish_reason".into(), reason.clone());
        }
        if !whole.contains_key("text") && !in_lists {
            whole.insert("text".into(), std::mem::take(&mut self.text).into());
        }
        self.whole = Some(Value::Object(whole));
        if let Some(reason) = reason.and_then(Value::as_str) {
            say(0, DeltaKind::Finish(reason.to_owned()), out);
            if reason.starts_with("ERROR") {
                self.error = Some(ProviderError {
                    kind: Some(reason.to_owned()),
                    ..json::error(event)
                });
            }
        }
    }
}
