//! Ollama's own API (<https://github.com/ollama/ollama/blob/main/docs/api.md>): chat, generate, embeddings. Streams are lines
//! of JSON, and are the default; each line has the form of the whole answer.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::dialect::{DeltaKind, Dialect, Merge, Out, Piece, RequestView, Target, say};
use super::functions;
use super::json;
use super::model::{Choice, Message, Operation, Part, ProviderError, Request, Response, Usage};
use super::parts;
use super::plain::{Latest, Said, Text, present};
use super::rest::Rest;

/// The one there is.
pub static OLLAMA: Ollama = Ollama;

/// See [`OLLAMA`].
#[derive(Clone, Copy, Debug)]
pub struct Ollama;

impl Dialect for Ollama {
    fn name(&self) -> &'static str {
        "Ollama"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let (_, what) = request.path.rsplit_once("/api/")?;
        let body = request.body.filter(|_| request.method == "POST")?;
        let is = |name: &str, kind: fn(&Value) -> bool| body.get(name).is_some_and(kind);
        let operation = match what {
            "chat" if is("messages", of_messages) => Operation::Chat,
            "embed" if is("input", |input| input.is_string() || input.is_array()) => {
                Operation::Embeddings
            }
            "embeddings" if is("prompt", Value::is_string) => Operation::Embeddings,
            "generate" if is("prompt", Value::is_string) => Operation::TextCompletion,
            _ => return None,
        };
        is("model", Value::is_string).then(|| Target {
            provider: "ollama".into(),
            operation,
            model: None,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let mut fields = Rest::of(body);
        let embeds = target.operation == Operation::Embeddings;
        let mut request = Request {
            model: fields.string("model"),
            stream: fields.truth("stream").unwrap_or(!embeds),
            ..Request::default()
        };
        let system = fields.text("system").filter(|system| !system.is_empty());
        request.system = system.map(parts::text).into_iter().collect();
        let messages = fields.list("messages").unwrap_or_default();
        request.messages = messages.iter().map(message).collect();
        for input in fields.list("input").unwrap_or_default() {
            request.messages.push(user(input.as_str(), &[]));
        }
        let images = fields.list("images").unwrap_or_default();
        for name in ["input", "prompt"] {
            if let Some(text) = fields.text(name) {
                request.messages.push(user(Some(text), images));
            }
        }
        let tools = fields.list("tools").unwrap_or_default();
        request.tools = tools.iter().map(functions::tool).collect();
        request.parameters = fields.left_with_empty();
        request
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        response(status, body)
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(OllamaMerge::default())
    }
}

/// `/api/chat` is a common path: the messages must be Ollama's, which say something or want tools to be called. Those that
/// web pages send to their own servers have `parts` (Vercel's AI SDK).
fn of_messages(value: &Value) -> bool {
    let is_message = |one: &Value| {
        let says = one.get("content").is_some_and(Value::is_string)
            || one.get("tool_calls").is_some_and(Value::is_array)
            || one.get("images").is_some_and(Value::is_array);
        says && one.get("parts").is_none() && one.get("role").is_some_and(Value::is_string)
    };
    value
        .as_array()
        .is_some_and(|list| list.iter().all(is_message))
}

fn user(text: Option<&str>, images: &[Value]) -> Message {
    let mut said: Vec<Part> = text.map(parts::text).into_iter().collect();
    said.extend(images.iter().map(image));
    Message::new("user", said)
}

fn image(value: &Value) -> Part {
    match value.as_str() {
        Some(base64) => parts::blob("image", None, base64),
        None => json::generic(value, "image"),
    }
}

fn message(value: &Value) -> Message {
    let mut fields = Rest::of(value);
    let role = fields.text("role").unwrap_or("assistant");
    let mut said = Vec::new();
    if let Some(content) = fields
        .string("thinking")
        .filter(|thought| !thought.is_empty())
    {
        said.push(Part::Reasoning {
            content,
            encrypted: false,
        });
    }
    let calls = fields.list("tool_calls").unwrap_or_default();
    let images = fields.list("images").unwrap_or_default();
    let content = fields.text("content").unwrap_or_default();
    if role == "tool" {
        said.push(Part::ToolCallResponse {
            id: fields.string("tool_call_id"),
            name: fields.string("tool_name").or_else(|| fields.string("name")),
            response: content.into(),
            is_error: false,
        });
    } else if !content.is_empty() || (said.is_empty() && calls.is_empty() && images.is_empty()) {
        said.push(parts::text(content));
    }
    said.extend(images.iter().map(image));
    said.extend(calls.iter().map(functions::call));
    Message::new(role, said)
}

fn response(status: u16, body: &Value) -> Response {
    if json::is_error(status, body) {
        return json::failed(body);
    }
    let mut fields = Rest::of(body);
    let mut response = Response {
        model: fields.string("model"),
        usage: usage(body),
        is_complete: fields.truth("done").unwrap_or(true),
        ..Response::default()
    };
    fields.skip(COUNTS);
    let said = fields.take("message").cloned().or_else(|| {
        let content = fields.take("response")?;
        let mut said = Map::new();
        said.insert("content".into(), content.clone());
        for name in ["thinking", "tool_calls"] {
            said.extend(
                fields
                    .take(name)
                    .map(|value| (name.to_owned(), value.clone())),
            );
        }
        Some(Value::Object(said))
    });
    if let Some(said) = said {
        response.choices.push(Choice {
            index: 0,
            message: message(&said),
            finish_reason: fields.string("done_reason"),
        });
    }
    let one = fields.take("embedding").map(|_| 1);
    let many = fields.list("embeddings").map(|list| list.len() as u64);
    response.results = one.or(many);
    response.extra = fields.left();
    response
}

const COUNTS: &[&str] = &["eval_count", "prompt_eval_count"];

/// Counts stand in the answer itself: reported is what they say. A prompt that was cached is not counted.
fn usage(body: &Value) -> Option<Usage> {
    let mut reported = Map::new();
    for name in COUNTS {
        reported.extend(
            body.get(name)
                .map(|count| ((*name).to_owned(), count.clone())),
        );
    }
    (!reported.is_empty()).then(|| Usage {
        input_tokens: json::count(body, "prompt_eval_count"),
        output_tokens: json::count(body, "eval_count"),
        reported: Value::Object(reported),
        ..Usage::default()
    })
}

/// Of one answer.
#[derive(Default)]
struct OllamaMerge {
    whole: Map<String, Value>,
    said: Map<String, Value>,
    /// What lines of text say besides.
    latest: Latest,
    error: Option<ProviderError>,
    ended: bool,
    calls: u64,
    held: usize,
}

impl Merge for OllamaMerge {
    fn is_final(&self) -> bool {
        self.ended
    }

    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        self.held += piece.data().len();
        if let Some(plain) = piece.read()
            && self.plain(&plain, piece.data(), out)
        {
            return true;
        }
        let Some(line) = piece.read::<Value>() else {
            return false;
        };
        self.settle();
        self.line(line, out)
    }

    fn finish(mut self: Box<Self>) -> Response {
        self.settle();
        let mut response = Response::default();
        if !self.whole.is_empty() || !self.said.is_empty() {
            // Generate says `response`, and the rest of the message beside it.
            if self.said.contains_key("response") {
                self.whole.append(&mut self.said);
            } else if !self.said.is_empty() {
                self.whole
                    .insert("message".into(), Value::Object(self.said));
            }
            response = self::response(200, &Value::Object(self.whole));
        }
        response.streamed(self.ended, self.error)
    }

    fn held(&self) -> usize {
        self.held
    }
}

/// What nearly all lines are: more of a text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'d> {
    #[serde(default)]
    created_at: Said,
    #[serde(default, deserialize_with = "present")]
    done: Option<bool>,
    #[serde(borrow, default, deserialize_with = "present")]
    message: Option<PlainMessage<'d>>,
    #[serde(default)]
    model: Said,
    #[serde(default)]
    remote_host: Said,
    #[serde(default)]
    remote_model: Said,
    #[serde(borrow, default, deserialize_with = "present")]
    response: Option<Text<'d>>,
    #[serde(borrow, default, deserialize_with = "present")]
    thinking: Option<Text<'d>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainMessage<'d> {
    #[serde(borrow, default, deserialize_with = "present")]
    content: Option<Text<'d>>,
    #[serde(default, rename = "images")]
    _images: Said,
    #[serde(default)]
    role: Said,
    #[serde(borrow, default, deserialize_with = "present")]
    thinking: Option<Text<'d>>,
}

/// The texts of a line, in the order in which they are told.
const TEXTS: [&str; 3] = ["thinking", "content", "response"];

impl OllamaMerge {
    fn plain(&mut self, line: &Plain<'_>, data: &[u8], out: Out<'_>) -> bool {
        let texts = match (&line.message, &line.response, &line.thinking) {
            (Some(message), None, None) => [&message.thinking, &message.content, &None],
            (None, Some(_), thinking) => [thinking, &None, &line.response],
            _ => return false,
        };
        if line.done == Some(true) {
            return false;
        }
        for (name, text) in TEXTS.into_iter().zip(texts) {
            if let Some(more) = text {
                self.text(name, more, out);
            }
        }
        let role = line.message.as_ref().map(|message| message.role);
        let said = [
            line.done.map_or(Said::No, |_| Said::Yes),
            line.created_at,
            line.model,
            line.remote_host,
            line.remote_model,
            role.unwrap_or_default(),
        ];
        if let Some(before) = self.latest.keep(data, 0, said) {
            self.besides(before);
        }
        true
    }

    /// What the last plain line says besides its texts.
    fn settle(&mut self) {
        if let Some(latest) = self.latest.take() {
            self.besides(latest);
        }
    }

    fn besides(&mut self, mut line: Value) {
        for way in [
            "/message/content",
            "/message/thinking",
            "/response",
            "/thinking",
        ] {
            if let Some(text) = line.pointer_mut(way) {
                *text = "".into();
            }
        }
        self.line(line, &mut drop);
    }

    fn line(&mut self, line: Value, out: Out<'_>) -> bool {
        if line.get("error").is_some() {
            self.error = Some(json::error(&line));
            return true;
        }
        let said = line.get("message");
        if said.is_none() && line.get("response").is_none() {
            return false;
        }
        let place = said.unwrap_or(&line);
        for name in TEXTS {
            if let Some(more) = json::text_at(place, &[name]) {
                self.text(name, more, out);
            }
        }
        let calls = place.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            self.call(call, out);
        }
        let role = said.and_then(|said| said.get("role"));
        if let Some(role) = role.filter(|role| self.said.get("role") != Some(role)) {
            self.said.insert("role".into(), role.clone());
        }
        if line.get("done") == Some(&Value::Bool(true)) {
            self.ended = true;
            if let Some(reason) = json::text_at(&line, &["done_reason"]) {
                say(0, DeltaKind::Finish(reason.to_owned()), out);
            }
        }
        if let Value::Object(mut fields) = line {
            for name in ["message", "response", "thinking", "tool_calls"] {
                fields.remove(name);
            }
            self.whole.extend(fields);
        }
        true
    }

    /// Whether something was said that is a part in front of others.
    fn has(&self, name: &str) -> u64 {
        let text = self.said.get(name).and_then(Value::as_str);
        u64::from(text.is_some_and(|text| !text.is_empty()))
    }

    fn text(&mut self, name: &str, more: &str, out: Out<'_>) {
        json::append(&mut self.said, name, more);
        if more.is_empty() {
            return;
        }
        match name {
            "thinking" => say(0, DeltaKind::Reasoning(more.to_owned()), out),
            _ => say(self.has("thinking"), DeltaKind::Text(more.to_owned()), out),
        }
    }

    fn call(&mut self, call: &Value, out: Out<'_>) {
        let before = self.has("thinking") + self.has("content") + self.has("response");
        let part = before + self.calls;
        self.calls += 1;
        if let Part::ToolCall {
            id,
            name,
            arguments,
        } = functions::call(call)
        {
            say(part, DeltaKind::ToolCall { id, name }, out);
            say(part, DeltaKind::ToolArguments(arguments.to_string()), out);
        }
        json::push(&mut self.said, "tool_calls", call.clone());
    }
}

/// Feeds anything to what reads Ollama's answers: for fuzzing.
pub fn fuzz_ollama(data: &[u8]) {
    super::fuzz::merge(Box::new(OllamaMerge::default()), data);
    super::fuzz::whole(&OLLAMA, data);
}

#[cfg(test)]
mod tests;
