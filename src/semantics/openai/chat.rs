//! Chat completions: OpenAI's, and those of the many that follow it (Azure, DeepSeek, Groq, Mistral, OpenRouter, Together,
//! vLLM, Writer, xAI, …).
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

use serde_json::Value;

use super::stream::Stream;
use super::{answer, claim, message, question};
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{
    Dialect, Merge, Message, Operation, Part, Request, RequestView, Response, Target,
};

/// Chat completions.
#[derive(Clone, Copy, Debug)]
pub struct Chat;

impl Dialect for Chat {
    fn name(&self) -> &'static str {
        "OpenAI chat completions"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        // Writer's path has no `completions`; Cohere's `/v1/chat` has a `message` instead of `messages`.
        let is_writer = request.path == "/v1/chat" && request.body.is_some();
        if !is_writer && !claim::ends_with(request.path, "/chat/completions") {
            return None;
        }
        let has_messages = |body: &Value| body.get("messages").is_some_and(Value::is_array);
        claim::post(request, Operation::Chat, has_messages)
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        question::read(target, body, |body| {
            let mut leftovers = Leftovers::default();
            let mut messages = Vec::new();
            for (index, value) in body.list("messages").into_iter().flatten().enumerate() {
                let (message, left) = message::read(value, "user");
                messages.push(message);
                leftovers.add(index as u64, left);
            }
            body.keep("messages", leftovers);
            messages
        })
    }

    fn response(&self, _: &Target, status: u16, body: &Value) -> Response {
        answer::read(status, body, choice)
    }

    fn merge(&self, _: &Target) -> Box<dyn Merge> {
        Box::new(Stream::default())
    }
}

/// One of `choices`.
pub fn choice(rest: &mut Rest<'_>) -> Message {
    let Some(value) = rest.take("message") else {
        return Message {
            role: "assistant".to_owned(),
            ..Message::default()
        };
    };
    let (mut message, left) = message::read(value, "assistant");
    rest.keep("message", left);
    message.parts = joined(message.parts);
    message
}

/// Texts that follow each other are one, and empty ones none: where a list of them is streamed, nothing shows where one
/// ended.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (joined.last_mut(), part) {
            (
                Some(Part::Text { content, citations }),
                Part::Text {
                    content: more,
                    citations: others,
                },
            ) => {
                content.push_str(&more);
                citations.extend(others);
            }
            (
                Some(Part::Reasoning {
                    content,
                    encrypted: false,
                }),
                Part::Reasoning {
                    content: more,
                    encrypted: false,
                },
            ) => content.push_str(&more),
            (_, part) if says_nothing(&part) => {}
            (_, part) => joined.push(part),
        }
    }
    joined
}

fn says_nothing(part: &Part) -> bool {
    match part {
        Part::Text { content, citations } => content.is_empty() && citations.is_empty(),
        Part::Reasoning { content, encrypted } => content.is_empty() && !encrypted,
        _ => false,
    }
}
