//! OpenAI's embeddings and its old completions.
//! Followed: <https://platform.openai.com/docs/api-reference/embeddings>, …/completions

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fastrand::Rng;
use serde_json::{Value, json};

use super::api::Api;
use super::chat;
use super::said::{Asked, Message, Said, ToolCall, Turn};
use super::wire::{Frame, event, pieces};

/// Vectors.
pub struct Embeddings {
    pub is_azure: bool,
}

/// A text that goes on.
pub struct Completions;

/// Either one text or several.
fn inputs(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => {
            let texts = all.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// Each is a message of the user.
fn messages(inputs: &[String]) -> Vec<Message> {
    let messages = inputs.iter().map(|input| Message {
        texts: vec![input.clone()],
        ..Message::of("user")
    });
    messages.collect()
}

impl Api for Embeddings {
    fn name(&self) -> &'static str {
        "openai.embeddings"
    }

    fn provider(&self) -> &'static str {
        if self.is_azure {
            "azure.ai.openai"
        } else {
            "openai"
        }
    }

    fn operation(&self) -> &'static str {
        "embeddings"
    }

    fn asked(&self, body: &Value) -> Asked {
        let inputs = inputs(&body["input"]);
        Asked {
            model: body["model"].as_str().map(str::to_owned),
            messages: messages(&inputs),
            inputs: inputs.len(),
            ..Asked::default()
        }
    }

    fn response_id(&self, _: &Turn) -> Option<String> {
        None
    }

    fn call_id(&self, _: &ToolCall) -> Option<String> {
        None
    }

    fn finish(&self, _: &Said) -> &'static str {
        ""
    }

    fn usage(&self, turn: &Turn) -> Value {
        json!({"prompt_tokens": turn.tokens.input, "total_tokens": turn.tokens.input})
    }

    fn counts(&self, turn: &Turn) -> Value {
        json!({"input_tokens": turn.tokens.input})
    }

    fn whole(&self, turn: &Turn) -> Value {
        let vector: [f32; 4] = [0.25, -0.5, 0.125, 1.0];
        let packed: Vec<u8> = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let embedding = match turn.body["encoding_format"].as_str() {
            Some("base64") => json!(BASE64_STANDARD.encode(packed)),
            _ => json!(vector),
        };
        let data = (0..turn.asked.inputs)
            .map(|index| json!({"object": "embedding", "index": index, "embedding": embedding}));
        json!({"object": "list", "data": data.collect::<Vec<_>>(), "model": turn.model, "usage": self.usage(turn)})
    }

    fn stream(&self, _: &Turn, _: &mut Rng) -> Vec<Frame> {
        Vec::new()
    }

    fn error(&self, status: u16, message: &str) -> Value {
        chat::error(status, message)
    }

    fn error_frame(&self, _: &str, _: &mut Rng) -> Option<Frame> {
        None
    }
}

impl Api for Completions {
    fn name(&self) -> &'static str {
        "openai.completions"
    }

    fn provider(&self) -> &'static str {
        "openai"
    }

    fn operation(&self) -> &'static str {
        "text_completion"
    }

    fn asked(&self, body: &Value) -> Asked {
        Asked {
            messages: messages(&inputs(&body["prompt"])),
            stream: body["stream"].as_bool().unwrap_or_default(),
            wants_usage: body["stream_options"]["include_usage"] == true,
            choices: body["n"].as_u64().unwrap_or(1) as usize,
            model: body["model"].as_str().map(str::to_owned),
            ..Asked::default()
        }
    }

    fn response_id(&self, turn: &Turn) -> Option<String> {
        Some(format!("cmpl-{}", turn.id))
    }

    fn call_id(&self, _: &ToolCall) -> Option<String> {
        None
    }

    fn finish(&self, said: &Said) -> &'static str {
        if said.is_cut { "length" } else { "stop" }
    }

    fn usage(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        json!({"prompt_tokens": tokens.input, "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output})
    }

    fn counts(&self, turn: &Turn) -> Value {
        if turn.asked.stream && !turn.asked.wants_usage {
            return Value::Null;
        }
        json!({"input_tokens": turn.tokens.input, "output_tokens": turn.tokens.output})
    }

    fn whole(&self, turn: &Turn) -> Value {
        let choices = turn.choices.iter().enumerate().map(|(index, said)| {
            json!({"text": said.text, "index": index, "logprobs": null, "finish_reason": self.finish(said)})
        });
        let choices: Vec<_> = choices.collect();
        let mut body = self.chunk(turn, json!(choices));
        body["usage"] = self.usage(turn);
        body
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (index, said) in turn.choices.iter().enumerate() {
            for piece in pieces(&said.text, rng) {
                let choice = json!([{"text": piece, "index": index, "logprobs": null, "finish_reason": null}]);
                frames.push(event(None, &self.chunk(turn, choice), rng).says(index, &piece));
            }
            let last = json!([{"text": "", "index": index, "logprobs": null, "finish_reason": self.finish(said)}]);
            frames.push(event(None, &self.chunk(turn, last), rng));
        }
        if turn.asked.wants_usage {
            let mut last = self.chunk(turn, json!([]));
            last["usage"] = self.usage(turn);
            frames.push(event(None, &last, rng));
        }
        frames.push(b"data: [DONE]\n\n".to_vec().into());
        frames
    }

    fn error(&self, status: u16, message: &str) -> Value {
        chat::error(status, message)
    }

    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame> {
        Some(event(None, &chat::error(500, message), rng))
    }
}

impl Completions {
    fn chunk(&self, turn: &Turn, choices: Value) -> Value {
        json!({"id": self.response_id(turn), "object": "text_completion", "created": turn.created(),
            "model": turn.model, "choices": choices})
    }
}
