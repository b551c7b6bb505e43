//! Replicate's predictions (<https://replicate.com/docs/reference/http>): any model, whose input and output are its own. An
//! answer that takes long is asked for by its number. What comes from `stream.replicate.com` stays an HTTP exchange: nothing
//! in it says of which prediction it is.

use serde_json::Value;

use super::dialect::{Dialect, Merge, RequestView, Target};
use super::json;
use super::model::{Choice, Message, Operation, Part, Request, Response, Usage};
use super::parts;
use super::recognise::provider_of;
use super::rest::Rest;

/// The one there is.
pub static REPLICATE: Replicate = Replicate;

/// See [`REPLICATE`].
#[derive(Clone, Copy, Debug)]
pub struct Replicate;

/// Settings of models that make pictures, and of those that go on with a text. A prediction of which these say nothing may be
/// anything.
const OF_PICTURES: &[&str] = &[
    "aspect_ratio",
    "height",
    "num_outputs",
    "output_format",
    "width",
];
const OF_TEXTS: &[&str] = &[
    "max_completion_tokens",
    "max_length",
    "max_new_tokens",
    "max_tokens",
    "min_tokens",
    "prompt_template",
    "system_prompt",
    "temperature",
    "top_p",
];

impl Dialect for Replicate {
    fn name(&self) -> &'static str {
        "Replicate predictions"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let place = request.path.strip_suffix("/predictions")?;
        let input = request.body?.get("input")?.as_object()?;
        // Such a path alone says little.
        let is_replicate = provider_of(request.host, request.path) == Some("replicate");
        if request.method != "POST" || !is_replicate || !input.contains_key("prompt") {
            return None;
        }
        let has_any = |names: &[&str]| names.iter().any(|name| input.contains_key(*name));
        let operation = match () {
            () if has_any(OF_PICTURES) => Operation::ImageGeneration,
            () if has_any(OF_TEXTS) => Operation::TextCompletion,
            () => return None,
        };
        let model = place
            .split_once("/models/")
            .map(|(_, model)| model.to_owned());
        Some(Target {
            provider: "replicate".into(),
            operation,
            model,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let mut fields = Rest::of(body);
        let mut request = Request {
            stream: fields.truth("stream").unwrap_or(false),
            ..Request::default()
        };
        if let Some(mut input) = fields.object("input") {
            let system = input
                .text("system_prompt")
                .filter(|system| !system.is_empty());
            request.system = system.map(parts::text).into_iter().collect();
            let prompt = input.text("prompt").map(parts::text);
            request.messages.extend(prompt.map(|prompt| Message {
                role: "user".into(),
                name: None,
                parts: vec![prompt],
            }));
            let left = Value::Object(input.left_with_empty());
            fields.keep("input", parts::without_data(&left));
        }
        request.model = target.model.clone().or_else(|| fields.string("version"));
        request.parameters = fields.left_with_empty();
        request
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        if status >= 400 {
            return json::failed(body);
        }
        response(body)
    }

    fn fetched<'r>(&self, request: &RequestView<'r>) -> Option<&'r str> {
        let is_replicate = provider_of(request.host, request.path) == Some("replicate");
        let path = match request.method {
            "GET" => request.path,
            "POST" => request.path.strip_suffix("/cancel")?,
            _ => return None,
        };
        let (place, id) = path.rsplit_once('/')?;
        (is_replicate && place.ends_with("/predictions") && !id.is_empty()).then_some(id)
    }

    fn keeps_answers(&self) -> bool {
        true
    }

    fn is_awaited(&self, _request: &Request, response: &Response) -> bool {
        !response.is_complete && response.id.is_some()
    }

    /// They come whole.
    fn merge(&self, target: &Target) -> Box<dyn Merge> {
        super::generation::GENERATION.merge(target)
    }
}

fn response(body: &Value) -> Response {
    let mut fields = Rest::of(body);
    // What was asked, once more, and where to go on.
    fields.skip(&["input", "urls", "logs"]);
    let status = fields.peek("status").and_then(Value::as_str);
    let is_awaited = status.is_some_and(|status| ["processing", "starting"].contains(&status));
    let mut message = Message {
        role: "assistant".into(),
        ..Message::default()
    };
    if let Some(output) = fields.take("output") {
        read(output, &mut message.parts);
    }
    let error = fields.take("error");
    let usage = fields.peek("metrics").and_then(usage);
    let mut response = Response {
        id: fields.string("id"),
        model: fields.string("model"),
        usage,
        error: error.map(|_| json::error(body)),
        is_complete: !is_awaited,
        ..Response::default()
    };
    if !is_awaited {
        response.choices.push(Choice {
            index: 0,
            message,
            finish_reason: fields.string("status"),
        });
    }
    response.extra = fields.left();
    response
}

/// A text in one piece or in many, or where files lie.
fn read(output: &Value, into: &mut Vec<Part>) {
    let one = std::slice::from_ref(output);
    let list = output.as_array().map_or(one, Vec::as_slice);
    for value in list {
        let part = match value.as_str() {
            Some(url) if url.starts_with("https://") || url.starts_with("data:") => {
                parts::media("image", None, url)
            }
            Some(text) => parts::text(text),
            None => json::generic(value, "output"),
        };
        match (into.last_mut(), part) {
            (Some(Part::Text { content, .. }), Part::Text { content: more, .. }) => {
                content.push_str(&more);
            }
            (_, part) => into.push(part),
        }
    }
}

fn usage(metrics: &Value) -> Option<Usage> {
    let input = json::count(metrics, "input_token_count");
    let output = json::count(metrics, "output_token_count");
    json::sum(&[input, output])?;
    Some(Usage {
        input_tokens: input,
        output_tokens: output,
        ..json::reported(metrics)?
    })
}
