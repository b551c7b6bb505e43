//! What each API has to tell, and which paths are whose.

use fastrand::Rng;
use serde_json::Value;

use super::said::{Asked, Said, ToolCall, Turn};
use super::wire::Frame;
use super::{anthropic, bedrock, chat, cohere, completions, gemini, ollama, responses};

/// One way of speaking to models, from the server's end.
pub trait Api: Send + Sync {
    /// Its own name: `openai.chat`.
    fn name(&self) -> &'static str;

    /// As OpenTelemetry names the provider.
    fn provider(&self) -> &'static str;

    /// As OpenTelemetry names what is done.
    fn operation(&self) -> &'static str {
        "chat"
    }

    /// Reads a request.
    fn asked(&self, body: &Value) -> Asked;

    /// The answer's number, where the body has one.
    fn response_id(&self, turn: &Turn) -> Option<String>;

    /// The number of a tool call, where there is one.
    fn call_id(&self, call: &ToolCall) -> Option<String>;

    /// Why this answer ends, in the provider's word.
    fn finish(&self, said: &Said) -> &'static str;

    /// Usage as the body has it.
    fn usage(&self, turn: &Turn) -> Value;

    /// What that means, by the names of the truth log; `null` for what this API does not report.
    fn counts(&self, turn: &Turn) -> Value;

    /// An answer in one piece.
    fn whole(&self, turn: &Turn) -> Value;

    /// The same in pieces; empty where the API has no such thing.
    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame>;

    /// Of a streamed answer.
    fn stream_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// An error as its body.
    fn error(&self, status: u16, message: &str) -> Value;

    /// An error in the middle of a stream: what is sent, where this API has such a thing.
    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame>;

    /// A piece of a stream that is framed as it must be, with content that is no JSON.
    fn malformed_frame(&self) -> Frame {
        b"data: {\"broken\": [1, \"unfinished\n\n".to_vec().into()
    }
}

/// What a path asks for.
pub struct Route {
    pub api: Box<dyn Api>,
    /// Where the path names it.
    pub model: Option<String>,
    /// Where the path says it.
    pub stream: Option<bool>,
}

/// Whose path it is.
pub fn route(path: &str, query: &str) -> Option<Route> {
    let of = |api: Box<dyn Api>| Route {
        api,
        model: None,
        stream: None,
    };
    if let Some(route) = bedrock::route(path).or_else(|| gemini::route(path, query)) {
        return Some(route);
    }
    if let Some((_, rest)) = path.split_once("/openai/deployments/") {
        let (model, method) = rest.split_once('/')?;
        let mut route = of(match method {
            "chat/completions" => Box::new(chat::Chat { is_azure: true }),
            "embeddings" => Box::new(completions::Embeddings { is_azure: true }),
            _ => return None,
        });
        route.model = Some(model.to_owned());
        return Some(route);
    }
    let ends = |end: &str| path.ends_with(end);
    Some(of(if ends("/chat/completions") {
        Box::new(chat::Chat { is_azure: false })
    } else if ends("/completions") {
        Box::new(completions::Completions)
    } else if ends("/embeddings") {
        Box::new(completions::Embeddings { is_azure: false })
    } else if ends("/responses") {
        Box::new(responses::Responses)
    } else if ends("/v1/messages") {
        Box::new(anthropic::Messages)
    } else if ends("/v2/chat") {
        Box::new(cohere::Cohere)
    } else if ends("/api/chat") {
        Box::new(ollama::Ollama)
    } else {
        return None;
    }))
}
