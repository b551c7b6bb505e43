//! Pictures from words. The pictures are measured, not kept.
//!
//! Source: <https://platform.openai.com/docs/api-reference/images/create>, and `images-streaming` there.

use serde_json::{Map, Value};

use super::{answer, claim, completions, question};
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{
    Choice, Delta, Dialect, Merge, Message, Operation, Part, Piece, Request, RequestView, Response,
    Target, parts,
};

/// Image generation.
#[derive(Clone, Copy, Debug)]
pub struct Images;

impl Dialect for Images {
    fn name(&self) -> &'static str {
        "OpenAI images"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        if !claim::ends_with(request.path, "/images/generations") {
            return None;
        }
        let has_prompt = |body: &Value| body.get("prompt").is_some_and(Value::is_string);
        claim::post(request, Operation::ImageGeneration, has_prompt)
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        question::read(target, body, |rest| {
            rest.take("prompt")
                .map(completions::inputs)
                .unwrap_or_default()
        })
    }

    fn response(&self, _: &Target, status: u16, body: &Value) -> Response {
        let mut rest = answer::rest_of(body);
        rest.skip(&answer::OF_ONE_FORM);
        let pictures = pictures(&mut rest);
        let results = pictures.as_ref().map(|parts| parts.len() as u64);
        let choices = pictures
            .filter(|parts| !parts.is_empty())
            .map(|parts| Choice {
                index: 0,
                message: Message {
                    role: "assistant".to_owned(),
                    name: None,
                    parts,
                },
                finish_reason: None,
            });
        Response {
            results,
            ..answer::finish(status, rest, choices.into_iter().collect())
        }
    }

    fn merge(&self, target: &Target) -> Box<dyn Merge> {
        Box::new(Pictures {
            target: target.clone(),
            body: Map::new(),
            data: Vec::new(),
            is_done: false,
            held: 0,
        })
    }
}

fn pictures(rest: &mut Rest<'_>) -> Option<Vec<Part>> {
    let data = rest.list("data")?;
    let format = rest.peek("output_format").and_then(Value::as_str);
    let mime_type = format.map(|format| format!("image/{format}"));
    let mut leftovers = Leftovers::default();
    let mut pictures = Vec::new();
    for (position, value) in data.iter().enumerate() {
        let mut one = Rest::of(value);
        if let Some(base64) = one.text("b64_json") {
            pictures.push(parts::blob("image", mime_type.as_deref(), base64));
        } else if let Some(url) = one.text("url") {
            pictures.push(parts::media("image", mime_type.as_deref(), url));
        }
        leftovers.add(position as u64, one.left());
    }
    rest.keep("data", leftovers);
    Some(pictures)
}

/// A streamed answer: pictures that become clearer, then those that count.
struct Pictures {
    target: Target,
    body: Map<String, Value>,
    data: Vec<Value>,
    is_done: bool,
    held: usize,
}

impl Merge for Pictures {
    fn piece(&mut self, piece: &Piece<'_>, _: &mut dyn FnMut(Delta)) -> bool {
        let data = match piece {
            Piece::Sse { data, .. } => data.as_bytes(),
            Piece::Json(data) => data,
            Piece::Aws { .. } => return false,
        };
        if data.trim_ascii() == b"[DONE]" {
            return true;
        }
        let Ok(Value::Object(mut event)) = serde_json::from_slice(data) else {
            return false;
        };
        let kind = event.remove("type");
        match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "image_generation.partial_image" => return true,
            "image_generation.completed" => {}
            "error" => {
                let error = event.remove("error").unwrap_or(Value::Object(event));
                self.body.insert("error".to_owned(), error);
                return true;
            }
            _ => return false,
        }
        self.held += data.len();
        self.is_done = true;
        let picture = event
            .remove("b64_json")
            .map(|base64| ("b64_json".to_owned(), base64));
        self.data.push(Value::Object(picture.into_iter().collect()));
        if let Some(time) = event.remove("created_at") {
            event.insert("created".to_owned(), time);
        }
        self.body.extend(event);
        true
    }

    fn finish(self: Box<Self>) -> Response {
        let mut body = self.body;
        if self.is_done {
            body.insert("data".to_owned(), Value::Array(self.data));
        }
        let is_complete = self.is_done && !body.contains_key("error");
        Response {
            is_complete,
            ..Images.response(&self.target, 200, &Value::Object(body))
        }
    }

    fn held(&self) -> usize {
        self.held
    }
}
