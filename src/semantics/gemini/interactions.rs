//! The Interactions API (<https://ai.google.dev/gemini-api/docs/interactions>, v1beta): an answer is a list of steps,
//! before May 2026 of outputs. A stream is put together to the JSON that the same answer would have been unstreamed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::dialect::{DeltaKind, Dialect, Merge, Out, Piece, RequestView, Target, say};
use super::super::json;
use super::super::model::{
    Choice, Message, Operation, Part, ProviderError, Request, Response, Tool, Usage,
};
use super::super::parts;
use super::super::rest::Rest;

/// See [`super::INTERACTIONS`].
#[derive(Clone, Copy, Debug)]
pub struct Interactions;

impl Dialect for Interactions {
    fn name(&self) -> &'static str {
        "Gemini interactions"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let here = request.method == "POST" && request.path.ends_with("/interactions");
        let shaped = request.body.is_some_and(|body| {
            let by = ["model", "agent"];
            body.get("input").is_some() && by.iter().any(|name| body.get(name).is_some())
        });
        let provider = match request.path.contains("/projects/") {
            false => "gcp.gemini",
            true => "gcp.vertex_ai",
        };
        (here && shaped).then(|| Target {
            provider: provider.into(),
            operation: Operation::GenerateContent,
            model: None,
        })
    }

    fn request(&self, _target: &Target, body: &Value) -> Request {
        let mut fields = Rest::of(body);
        let mut request = Request {
            model: fields.string("model").or_else(|| fields.string("agent")),
            stream: fields.truth("stream").unwrap_or(false),
            previous_response_id: fields.string("previous_interaction_id"),
            ..Request::default()
        };
        if let Some(system) = fields.text("system_instruction") {
            request.system.push(parts::text(system));
        }
        match fields.take("input") {
            Some(Value::String(text)) => say_in(&mut request.messages, "user", parts::text(text)),
            Some(Value::Array(steps)) => steps
                .iter()
                .for_each(|step| input(&mut request.messages, step)),
            Some(step) => input(&mut request.messages, step),
            None => {}
        }
        let tools = fields.list("tools").unwrap_or_default();
        request.tools = tools.iter().map(tool).collect();
        request.parameters = fields.left_with_empty();
        request
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        response(status, body)
    }

    fn fetched<'r>(&self, request: &RequestView<'r>) -> Option<&'r str> {
        let (place, id) = match request.method {
            "GET" => request.path.rsplit_once('/')?,
            "POST" => request.path.strip_suffix("/cancel")?.rsplit_once('/')?,
            _ => return None,
        };
        (place.ends_with("/interactions") && !id.is_empty()).then_some(id)
    }

    fn keeps_answers(&self) -> bool {
        true
    }

    fn is_awaited(&self, request: &Request, response: &Response) -> bool {
        let status = response.extra.get("status");
        let is_background = request.parameters.get("background") == Some(&Value::Bool(true));
        is_background && status.is_some_and(|status| status == IN_PROGRESS)
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(InteractionMerge::default())
    }
}

/// The answer is made in the background.
const IN_PROGRESS: &str = "in_progress";

/// A turn with a role, a step, or bare content, which the user says.
fn input(messages: &mut Vec<Message>, value: &Value) {
    if let Some(role) = json::text_at(value, &["role"]) {
        let parts = match value.get("content").or_else(|| value.get("parts")) {
            Some(Value::Array(contents)) => contents.iter().map(part).collect(),
            Some(Value::String(text)) => vec![parts::text(text)],
            Some(one) => vec![part(one)],
            None => Vec::new(),
        };
        let role = if role == "model" { "assistant" } else { role }.to_owned();
        messages.push(Message {
            role,
            name: None,
            parts,
        });
        return;
    }
    let kind = json::text_at(value, &["type"]).unwrap_or_default();
    let by_model = kind == "model_output" || kind == "thought" || kind.ends_with("_call");
    let role = if by_model { "assistant" } else { "user" };
    each_part(value, &mut |part| say_in(messages, role, part));
}

fn say_in(messages: &mut Vec<Message>, role: &str, part: Part) {
    match messages.last_mut() {
        Some(last) if last.role == role => last.parts.push(part),
        _ => messages.push(Message::new(role, vec![part])),
    }
}

/// The parts of a step: those of its content, or the step itself.
fn each_part(step: &Value, out: &mut dyn FnMut(Part)) {
    let kind = json::text_at(step, &["type"]);
    match (kind, step.get("content")) {
        (Some("model_output" | "user_input"), Some(Value::Array(contents))) => {
            contents.iter().map(part).for_each(out);
        }
        (Some("model_output" | "user_input"), Some(Value::String(text))) => out(parts::text(text)),
        (Some("model_output" | "user_input"), _) => {}
        _ => out(part(step)),
    }
}

fn part(content: &Value) -> Part {
    known(content).unwrap_or_else(|| json::generic(content, "content"))
}

fn known(content: &Value) -> Option<Part> {
    let mut fields = Rest::of(content);
    let kind = fields.text("type")?;
    Some(match kind {
        "audio" | "document" | "image" | "video" => {
            let mime_type = fields.text("mime_type");
            match fields.text("data") {
                Some(data) => parts::blob(kind, mime_type, data),
                None => parts::media(kind, mime_type, fields.text("uri")?),
            }
        }
        "function_call" => Part::ToolCall {
            id: fields.string("id"),
            name: fields.string("name")?,
            arguments: fields.take("arguments").cloned().unwrap_or_default(),
        },
        "function_result" => Part::ToolCallResponse {
            id: fields.string("call_id"),
            name: fields.string("name"),
            response: fields.take("result").cloned().unwrap_or_default(),
            is_error: fields.truth("is_error").unwrap_or(false),
        },
        "text" => Part::Text {
            content: fields.string("text")?,
            citations: fields.list("annotations").unwrap_or_default().to_vec(),
        },
        "thought" => {
            let summary = fields.list("summary").unwrap_or_default().iter();
            let texts: Vec<&str> = summary
                .filter_map(|one| json::text_at(one, &["text"]))
                .collect();
            Part::Reasoning {
                content: texts.concat(),
                encrypted: texts.is_empty() && fields.text("signature").is_some(),
            }
        }
        _ => match (kind.strip_suffix("_call"), kind.strip_suffix("_result")) {
            (Some(tool), _) => Part::ServerToolCall {
                id: fields.string("id"),
                name: fields.string("name").unwrap_or_else(|| tool.to_owned()),
                arguments: fields.take("arguments").cloned().unwrap_or_default(),
            },
            (_, Some(_)) => Part::ServerToolCallResponse {
                id: fields.string("call_id"),
                response: fields.take("result").cloned().unwrap_or_default(),
                is_error: fields.truth("is_error").unwrap_or(false),
            },
            _ => return None,
        },
    })
}

fn tool(value: &Value) -> Tool {
    let mut fields = Rest::of(value);
    let kind = fields.string("type").unwrap_or_default();
    let name = fields.string("name").unwrap_or_else(|| kind.clone());
    let description = fields.string("description");
    let schema = fields.take("parameters").cloned();
    let rest = Some(fields.left_with_empty()).filter(|rest| !rest.is_empty());
    Tool {
        kind,
        name,
        description,
        parameters: schema.or(rest.map(Value::Object)),
    }
}

fn response(status: u16, body: &Value) -> Response {
    if json::is_error(status, body) && body.get("steps").is_none() {
        return super::response(status, body);
    }
    let mut fields = Rest::of(body);
    let mut message = Message {
        role: "assistant".into(),
        ..Message::default()
    };
    let steps = fields.list("steps").or_else(|| fields.list("outputs"));
    for step in steps.unwrap_or_default() {
        each_part(step, &mut |part| message.parts.push(part));
    }
    let error = fields.take("error").filter(|error| !error.is_null());
    let is_awaited = fields
        .peek("status")
        .is_some_and(|status| status == IN_PROGRESS);
    Response {
        id: fields.string("id"),
        model: fields.string("model").or_else(|| fields.string("agent")),
        choices: vec![Choice {
            index: 0,
            message,
            finish_reason: match is_awaited {
                true => None,
                false => fields.string("status"),
            },
        }],
        usage: fields.take("usage").and_then(usage),
        error: error.map(json::error),
        extra: fields.left(),
        is_complete: !is_awaited,
        ..Response::default()
    }
}

fn usage(value: &Value) -> Option<Usage> {
    let count = |name| json::count(value, name);
    let thoughts = count("total_thought_tokens").or_else(|| count("total_reasoning_tokens"));
    Some(Usage {
        input_tokens: json::sum(&[count("total_input_tokens"), count("total_tool_use_tokens")]),
        output_tokens: json::sum(&[count("total_output_tokens"), thoughts]),
        cache_read_tokens: count("total_cached_tokens"),
        reasoning_tokens: thoughts,
        ..json::reported(value)?
    })
}

/// Of one interaction.
#[derive(Default)]
pub(super) struct InteractionMerge {
    whole: Map<String, Value>,
    steps: BTreeMap<u64, Step>,
    error: Option<ProviderError>,
    ended: bool,
    held: usize,
}

#[derive(Default)]
struct Step {
    fields: Map<String, Value>,
    /// Arguments that come as pieces of JSON text.
    arguments: String,
    /// Number of its first part.
    first: u64,
}

impl Merge for InteractionMerge {
    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        self.held += piece.data().len();
        match piece.read::<Value>() {
            Some(event) => self.event(&event, out),
            None => piece.is_done(),
        }
    }

    fn finish(mut self: Box<Self>) -> Response {
        let steps = std::mem::take(&mut self.steps).into_values();
        let steps: Vec<Value> = steps.map(Step::whole).collect();
        let mut response = Response::default();
        if !steps.is_empty() {
            self.whole.insert("steps".into(), Value::Array(steps));
        }
        if !self.whole.is_empty() {
            response = self::response(200, &Value::Object(self.whole));
        }
        response.streamed(self.ended, self.error)
    }

    fn held(&self) -> usize {
        self.held
    }
}

impl InteractionMerge {
    fn event(&mut self, event: &Value, out: Out<'_>) -> bool {
        let kind =
            json::text_at(event, &["event_type"]).or_else(|| json::text_at(event, &["type"]));
        let index = json::count(event, "index").unwrap_or_default();
        if let Some(usage) = event
            .get("metadata")
            .and_then(|metadata| metadata.get("usage"))
        {
            self.whole.insert("usage".into(), usage.clone());
        }
        match kind.unwrap_or_default() {
            "error" => self.error = Some(json::error(event)),
            "interaction.complete" | "interaction.completed" => {
                self.ended = true;
                self.interaction(event);
                let last = self.steps.values().next_back().map_or(0, |step| step.first);
                if let Some(status) = self.whole.get("status").and_then(Value::as_str) {
                    say(last, DeltaKind::Finish(status.to_owned()), out);
                }
            }
            "interaction.created" | "interaction.start" => self.interaction(event),
            "interaction.status_update" => {
                if let Some(status) = event.get("status") {
                    self.whole.insert("status".into(), status.clone());
                }
            }
            "content.delta" | "step.delta" => self.delta(index, event, out),
            "content.start" | "step.start" => self.start(index, event, out),
            "content.stop" | "step.stop" => {}
            _ => return false,
        }
        true
    }

    fn interaction(&mut self, event: &Value) {
        if let Some(Value::Object(interaction)) = event.get("interaction") {
            json::overlay(&mut self.whole, interaction);
        }
    }

    fn step(&mut self, index: u64) -> &mut Step {
        let before = self.steps.range(..index).next_back();
        let first = before.map_or(0, |(_, step)| step.first + step.parts());
        self.steps.entry(index).or_insert_with(|| Step {
            first,
            ..Step::default()
        })
    }

    fn start(&mut self, index: u64, event: &Value, out: Out<'_>) {
        let begun = event.get("step").or_else(|| event.get("content"));
        let Some(Value::Object(fields)) = begun else {
            return;
        };
        let step = self.step(index);
        step.fields = fields.clone();
        step.call(out);
        let mut at = step.first;
        each_part(&Value::Object(fields.clone()), &mut |part| {
            match part {
                Part::Text { content, .. } if !content.is_empty() => {
                    say(at, DeltaKind::Text(content), out)
                }
                Part::Reasoning { content, .. } if !content.is_empty() => {
                    say(at, DeltaKind::Reasoning(content), out);
                }
                _ => {}
            }
            at += 1;
        });
    }

    fn delta(&mut self, index: u64, event: &Value, out: Out<'_>) {
        let Some(delta @ Value::Object(fields)) = event.get("delta") else {
            return;
        };
        let step = self.step(index);
        let text = json::text_at(delta, &["text"]);
        match (json::text_at(delta, &["type"]).unwrap_or_default(), text) {
            ("text", Some(text)) => {
                let at = step.text(text, fields);
                say(at, DeltaKind::Text(text.to_owned()), out);
            }
            ("thought_signature", _) => {
                let signature = json::text_at(delta, &["signature"]).unwrap_or_default();
                if !signature.is_empty() {
                    step.fields.insert("signature".into(), signature.into());
                }
            }
            ("thought_summary", _) => {
                let content = delta.get("content").cloned().unwrap_or_default();
                if let Some(text) = json::text_at(&content, &["text"]) {
                    say(step.first, DeltaKind::Reasoning(text.to_owned()), out);
                }
                json::push(&mut step.fields, "summary", content);
            }
            ("text_annotation" | "text_annotation_delta", _) => step.annotate(fields),
            (kind, _) if step.is_output() && !kind.starts_with("arguments") => {
                json::push(&mut step.fields, "content", delta.clone());
            }
            _ => step.more(fields, out),
        }
    }
}

impl Step {
    fn is_output(&self) -> bool {
        self.fields.get("type").and_then(Value::as_str) == Some("model_output")
    }

    fn parts(&self) -> u64 {
        match self.fields.get("content") {
            Some(Value::Array(contents)) if self.is_output() => contents.len() as u64,
            _ => u64::from(!self.is_output()),
        }
    }

    fn last_text(&mut self) -> Option<&mut Map<String, Value>> {
        if !self.is_output() {
            return Some(&mut self.fields);
        }
        let last = self.fields.get_mut("content")?.as_array_mut()?.last_mut()?;
        let last = last.as_object_mut()?;
        (last.get("type").and_then(Value::as_str) == Some("text")).then_some(last)
    }

    /// More text, of the content if this is what the model says, else of the step itself. Returns which part it is of.
    fn text(&mut self, text: &str, delta: &Map<String, Value>) -> u64 {
        if self.fields.is_empty() {
            self.fields.insert("type".into(), "model_output".into());
        }
        match self.last_text() {
            Some(last) => json::append(last, "text", text),
            None => json::push(&mut self.fields, "content", Value::Object(delta.clone())),
        }
        self.first + self.parts().saturating_sub(1)
    }

    fn annotate(&mut self, delta: &Map<String, Value>) {
        let annotations = delta.get("annotations").and_then(Value::as_array);
        let Some(last) = self.last_text() else { return };
        for annotation in annotations.into_iter().flatten() {
            json::push(last, "annotations", annotation.clone());
        }
    }

    /// Calls and their results: arguments may come in pieces, as text; all else comes whole.
    fn more(&mut self, delta: &Map<String, Value>, out: Out<'_>) {
        let was_named = self.fields.contains_key("name");
        for (name, value) in delta {
            match (name.as_str(), value) {
                ("arguments" | "partial_arguments", Value::String(more)) => {
                    self.arguments.push_str(more);
                    say(self.first, DeltaKind::ToolArguments(more.clone()), out);
                }
                ("type", _) if self.fields.contains_key("type") => {}
                _ => {
                    self.fields.insert(name.clone(), value.clone());
                }
            }
        }
        if !was_named {
            self.call(out);
        }
    }

    /// Says that a call begins, if this is one and says which.
    fn call(&self, out: Out<'_>) {
        let text = |name: &str| self.fields.get(name).and_then(Value::as_str);
        let (Some(kind), Some(name)) = (text("type"), text("name")) else {
            return;
        };
        if kind.ends_with("_call") {
            let id = text("id").map(str::to_owned);
            let name = name.to_owned();
            say(self.first, DeltaKind::ToolCall { id, name }, out);
            let arguments = self.fields.get("arguments").and_then(Value::as_object);
            if let Some(arguments) = arguments.filter(|arguments| !arguments.is_empty()) {
                let arguments = serde_json::to_string(arguments).unwrap_or_default();
                say(self.first, DeltaKind::ToolArguments(arguments), out);
            }
        }
    }

    fn whole(mut self) -> Value {
        if !self.arguments.is_empty() {
            self.fields
                .insert("arguments".into(), parts::arguments(&self.arguments));
        }
        Value::Object(self.fields)
    }
}
