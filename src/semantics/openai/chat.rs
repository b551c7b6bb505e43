//! Chat completions: OpenAI's, and those of the many that follow it (Azure, DeepSeek, Groq, Mistral, OpenRouter, Together,
//! vLLM, Writer, xAI, …), some of them under a path of their own (Databricks, SageMaker, watsonx, models of others on
//! Vertex AI).
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

use serde_json::Value;

use super::stream::Stream;
use super::{answer, claim, message, question, usage};
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{
    Delta, Dialect, Merge, Message, Operation, Part, Piece, Request, RequestView, Response, Target,
};

/// Chat completions.
#[derive(Clone, Copy, Debug)]
pub struct Chat;

impl Dialect for Chat {
    fn name(&self) -> &'static str {
        "OpenAI chat completions"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let is_usual = claim::ends_with(request.path, "/chat/completions");
        // Such a path alone says little.
        if !is_usual && (request.body.is_none() || !has_own_path(request.path)) {
            return None;
        }
        let is_message = |one: &Value| one.get("role").is_some_and(Value::is_string);
        let has_messages = |body: &Value| {
            let messages = body.get("messages").and_then(Value::as_array);
            messages.is_some_and(|list| is_usual || list.iter().all(is_message))
        };
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

    fn response(&self, target: &Target, status: u16, body: &Value) -> Response {
        let mut response = answer::read(status, body, choice);
        usage::settle(&target.provider, &mut response);
        response
    }

    fn merge(&self, target: &Target) -> Box<dyn Merge> {
        match usage::hides_reasoning(&target.provider) {
            false => Box::new(Stream::default()),
            true => Box::new(Settling {
                stream: Box::default(),
                provider: target.provider.clone(),
            }),
        }
    }
}

/// Paths of chats that do not end in `/chat/completions`.
fn has_own_path(path: &str) -> bool {
    // Writer's; Cohere's has a `message` instead of `messages`.
    let known = path == "/v1/chat"
        || [
            // Databricks and SageMaker.
            "/invocations",
            // Mistral.
            "/agents/completions",
            // watsonx.
            "/text/chat",
            "/text/chat_stream",
        ]
        .iter()
        .any(|end| claim::ends_with(path, end));
    known || claim::of_publisher(path).is_some()
}

/// A streamed answer of a provider whose usage has to be completed.
struct Settling {
    stream: Box<Stream>,
    provider: String,
}

impl Merge for Settling {
    fn is_final(&self) -> bool {
        self.stream.is_final()
    }

    fn piece(&mut self, piece: &Piece<'_>, out: &mut dyn FnMut(Delta)) -> bool {
        self.stream.piece(piece, out)
    }

    fn finish(self: Box<Self>) -> Response {
        let mut response = self.stream.finish();
        usage::settle(&self.provider, &mut response);
        response
    }

    fn held(&self) -> usize {
        self.stream.held()
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
