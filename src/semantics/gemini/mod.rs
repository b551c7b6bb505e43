//! Google's Gemini: `generateContent` and `streamGenerateContent` (<https://ai.google.dev/api/generate-content>, v1 and
//! v1beta), the same on Vertex AI and, wrapped once more, at Code Assist (`v1internal`, which the Gemini CLI calls),
//! embeddings, pictures, and the Interactions API. Counting tokens is not a call.

mod embed;
mod interactions;
mod part;
mod picture;
mod stream;

use serde_json::{Map, Value};

use super::dialect::{Dialect, Merge, RequestView, Target};
use super::json;
use super::model::{Choice, Message, Operation, Request, Response, Tool, Usage};
use super::parts;
use super::rest::Rest;

pub use embed::Embed;
pub use interactions::Interactions;
pub use picture::Picture;

/// Answers in one piece.
pub static GENERATE: Generate = Generate { stream: false };
/// Answers in pieces.
pub static STREAM_GENERATE: Generate = Generate { stream: true };
/// Embeddings.
pub static EMBED: Embed = Embed;
/// Pictures.
pub static PICTURE: Picture = Picture;
/// The Interactions API.
pub static INTERACTIONS: Interactions = Interactions;

/// See [`GENERATE`] and [`STREAM_GENERATE`].
#[derive(Clone, Copy, Debug)]
pub struct Generate {
    stream: bool,
}

impl Dialect for Generate {
    fn name(&self) -> &'static str {
        match self.stream {
            false => "Gemini generateContent",
            true => "Gemini streamGenerateContent",
        }
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let verb = match self.stream {
            false => "generateContent",
            true => "streamGenerateContent",
        };
        let (provider, model) = endpoint(request, &[verb])?;
        let shaped = request.body.is_none_or(|body| {
            let inner = body.get("request").unwrap_or(body);
            inner.get("contents").is_some()
        });
        shaped.then_some(Target {
            provider,
            operation: Operation::GenerateContent,
            model,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        Request {
            stream: self.stream,
            ..request(target, body)
        }
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        match body {
            Value::Array(chunks) => stream::whole(chunks),
            body => whole(status, body),
        }
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(stream::GenerateMerge::default())
    }
}

/// `…/models/{model}:{verb}` and the like: who offers it, and the model.
fn endpoint(request: &RequestView<'_>, verbs: &[&str]) -> Option<(String, Option<String>)> {
    let path = request.path.replace("%3A", ":").replace("%3a", ":");
    let (place, verb) = path.rsplit_once(':')?;
    if request.method != "POST" || !verbs.contains(&verb) {
        return None;
    }
    let name = place.rsplit('/').next().unwrap_or_default();
    let provider = match () {
        () if place.contains("/projects/") || place.contains("/publishers/") => "gcp.vertex_ai",
        () if name == "v1internal" => "gcp.gen_ai",
        () => "gcp.gemini",
    };
    let model = Some(name.to_owned()).filter(|name| name != "v1internal");
    Some((provider.to_owned(), model))
}

/// Code Assist has the answer inside of `response`.
fn whole(status: u16, body: &Value) -> Response {
    let inner = body.get("response").filter(|inner| inner.is_object());
    match inner.filter(|_| body.get("candidates").is_none()) {
        None => response(status, body),
        Some(inner) => {
            let mut response = response(status, inner);
            let mut outer = Rest::of(body);
            outer.skip(&["response"]);
            response.extra.extend(outer.left());
            response
        }
    }
}

/// Google's servers take names in either case.
fn either<'v>(
    fields: &mut Rest<'v>,
    camel: &'static str,
    snake: &'static str,
) -> Option<&'v Value> {
    fields.take(camel).or_else(|| fields.take(snake))
}

fn request(target: &Target, body: &Value) -> Request {
    let mut outer = Rest::of(body);
    let wrapped = outer.take("request").filter(|inner| inner.is_object());
    let model = outer.string("model");
    let mut fields = match wrapped {
        Some(inner) => Rest::of(inner),
        None => Rest::of(body),
    };
    let own = fields.string("model").or(model);
    let mut request = Request {
        model: target.model.clone().or(own),
        conversation_id: wrapped.and_then(|_| fields.string("session_id")),
        ..Request::default()
    };
    if let Some(system) = either(&mut fields, "systemInstruction", "system_instruction") {
        request.system = message(system).parts;
    }
    request.messages = match fields.take("contents") {
        Some(Value::Array(contents)) => contents.iter().map(message).collect(),
        Some(one) => vec![message(one)],
        None => Vec::new(),
    };
    let tools = fields.list("tools").unwrap_or_default();
    request.tools = tools.iter().flat_map(tools_of).collect();
    request.parameters = fields.left_with_empty();
    if wrapped.is_some() {
        json::overlay(&mut request.parameters, &outer.left_with_empty());
    }
    request
}

/// Content: parts of one role, one part, or a string.
fn message(content: &Value) -> Message {
    let role = json::text_at(content, &["role"]).unwrap_or("user");
    let parts = match (content, content.get("parts")) {
        (Value::String(text), _) => vec![parts::text(text)],
        (_, Some(Value::Array(parts))) => parts.iter().map(part::part).collect(),
        (_, Some(one)) => vec![part::part(one)],
        (_, None) => Vec::new(),
    };
    let role = match role {
        "model" => "assistant",
        other => other,
    };
    Message::new(role, parts)
}

/// One object declares functions, and tools of Google's by their names.
fn tools_of(value: &Value) -> Vec<Tool> {
    let mut tools = Vec::new();
    for (kind, settings) in value.as_object().into_iter().flatten() {
        match (kind.as_str(), settings) {
            ("functionDeclarations" | "function_declarations", Value::Array(functions)) => {
                tools.extend(functions.iter().map(function));
            }
            _ => tools.push(Tool {
                kind: kind.clone(),
                name: kind.clone(),
                description: None,
                parameters: settings
                    .as_object()
                    .is_none_or(|settings| !settings.is_empty())
                    .then(|| settings.clone()),
            }),
        }
    }
    tools
}

fn function(value: &Value) -> Tool {
    let mut fields = Rest::of(value);
    let names = [
        "parameters",
        "parametersJsonSchema",
        "parameters_json_schema",
    ];
    Tool {
        kind: "function".into(),
        name: fields.string("name").unwrap_or_default(),
        description: fields.string("description"),
        parameters: names.iter().find_map(|name| fields.take(name)).cloned(),
    }
}

fn response(status: u16, body: &Value) -> Response {
    if json::is_error(status, body) {
        return json::failed(body);
    }
    let mut fields = Rest::of(body);
    let mut response = Response {
        id: fields.string("responseId"),
        model: fields.string("modelVersion"),
        usage: fields.take("usageMetadata").and_then(usage),
        is_complete: true,
        ..Response::default()
    };
    let mut more = Vec::new();
    let candidates = fields.list("candidates").unwrap_or_default();
    for (position, candidate) in candidates.iter().enumerate() {
        let (choice, rest) = choice(position, candidate);
        if !rest.is_empty() {
            more.push(Value::Object(rest));
        }
        response.choices.push(choice);
    }
    response.extra = fields.left();
    if !more.is_empty() {
        response
            .extra
            .insert("candidates".into(), Value::Array(more));
    }
    response
}

/// An answer, and what else is said of it: citations, ratings, grounding. The mean log probability is said of unstreamed
/// answers only.
fn choice(position: usize, candidate: &Value) -> (Choice, Map<String, Value>) {
    let mut fields = Rest::of(candidate);
    fields.take("avgLogprobs");
    let number = fields.take("index").and_then(json::whole);
    let content = fields.take("content");
    let mut message = content.map(message).unwrap_or_default();
    if content.is_none_or(|content| content.get("role").is_none()) {
        message.role = "assistant".into();
    }
    let reason = fields
        .take("finishReason")
        .filter(|reason| !reason.is_null());
    let index = number.unwrap_or(position as u64);
    let choice = Choice {
        index,
        message,
        finish_reason: reason.map(word),
    };
    let mut rest = fields.left();
    if !rest.is_empty() {
        rest.insert("index".into(), index.into());
    }
    (choice, rest)
}

/// A word of an enumeration; some clients ask for numbers.
fn word(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        number => number.to_string(),
    }
}

/// Thoughts and the output of tools are reported apart from the rest of output and input.
fn usage(value: &Value) -> Option<Usage> {
    let count = |name| json::count(value, name);
    let thoughts = count("thoughtsTokenCount");
    Some(Usage {
        input_tokens: json::sum(&[count("promptTokenCount"), count("toolUsePromptTokenCount")]),
        output_tokens: json::sum(&[count("candidatesTokenCount"), thoughts]),
        cache_read_tokens: count("cachedContentTokenCount"),
        reasoning_tokens: thoughts,
        ..json::reported(value)?
    })
}

/// Feeds anything to what reads Gemini's answers: for fuzzing.
pub fn fuzz_gemini(data: &[u8]) {
    super::fuzz::merge(Box::new(stream::GenerateMerge::default()), data);
    super::fuzz::merge(Box::new(interactions::InteractionMerge::default()), data);
    super::fuzz::whole(&STREAM_GENERATE, data);
    super::fuzz::whole(&EMBED, data);
    super::fuzz::whole(&PICTURE, data);
    super::fuzz::whole(&INTERACTIONS, data);
}

#[cfg(test)]
mod tests;
