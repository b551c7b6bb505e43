//! Completions: a text that goes on. OpenAI's old API, which others still have (Together, vLLM, Writer), and Mistral's for
//! filling in the middle, whose answers are those of a chat.
//!
//! Source: <https://platform.openai.com/docs/api-reference/completions>.

use serde_json::{Map, Value};

use super::stream::Stream;
use super::{answer, chat, claim, question};
use crate::semantics::rest::Rest;
use crate::semantics::{
    Dialect, Merge, Message, Operation, Part, Request, RequestView, Response, Target, parts,
};

/// Completions.
#[derive(Clone, Copy, Debug)]
pub struct Completions;

impl Dialect for Completions {
    fn name(&self) -> &'static str {
        "OpenAI completions"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let path = request.path;
        if !claim::ends_with(path, "/completions") || claim::ends_with(path, "/chat/completions") {
            return None;
        }
        let has_prompt = |body: &Value| body.get("prompt").is_some();
        claim::post(request, Operation::TextCompletion, has_prompt)
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        question::read(target, body, |rest| {
            rest.take("prompt").map(inputs).unwrap_or_default()
        })
    }

    fn response(&self, _: &Target, status: u16, body: &Value) -> Response {
        answer::read(status, body, choice)
    }

    fn merge(&self, _: &Target) -> Box<dyn Merge> {
        Box::new(Stream::default())
    }
}

/// One of `choices`, of a completion or of a chat.
pub fn choice(rest: &mut Rest<'_>) -> Message {
    if rest.peek("message").is_some() {
        return chat::choice(rest);
    }
    let text = rest.text("text").filter(|text| !text.is_empty());
    Message {
        role: "assistant".to_owned(),
        name: None,
        parts: text.map(parts::text).into_iter().collect(),
    }
}

/// A text, a list of texts, a text as tokens, or a list of those: a message for each text.
pub fn inputs(value: &Value) -> Vec<Message> {
    match value {
        Value::Array(list) if list.iter().all(Value::is_number) && !list.is_empty() => {
            vec![input(value)]
        }
        Value::Array(list) => list.iter().map(input).collect(),
        one => vec![input(one)],
    }
}

fn input(value: &Value) -> Message {
    let part = match value {
        Value::String(text) => parts::text(text),
        Value::Array(_) => Part::Generic {
            kind: "tokens".to_owned(),
            content: Map::from_iter([("tokens".to_owned(), value.clone())]),
        },
        other => super::content::unknown(other.get("type").and_then(Value::as_str), other),
    };
    Message {
        role: "user".to_owned(),
        name: None,
        parts: vec![part],
    }
}
