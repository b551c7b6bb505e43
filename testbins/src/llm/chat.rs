//! OpenAI's chat completions, and Azure's, which filter content.
//! Followed: <https://platform.openai.com/docs/api-reference/chat>

use fastrand::Rng;
use serde_json::{Value, json};

use super::api::Api;
use super::said::{Asked, Message, Said, ToolCall, Turn, decoded, list, text, texts};
use super::wire::{Frame, event, pieces};

/// The API, at OpenAI or at Azure.
pub struct Chat {
    pub is_azure: bool,
}

impl Api for Chat {
    fn name(&self) -> &'static str {
        if self.is_azure {
            "azure.chat"
        } else {
            "openai.chat"
        }
    }

    fn provider(&self) -> &'static str {
        if self.is_azure {
            "azure.ai.openai"
        } else {
            "openai"
        }
    }

    fn asked(&self, body: &Value) -> Asked {
        let tools = list(body, "tools").iter();
        Asked {
            model: body["model"].as_str().map(str::to_owned),
            stream: body["stream"].as_bool().unwrap_or_default(),
            messages: list(body, "messages").iter().map(message).collect(),
            tools: tools.map(|tool| text(&tool["function"], "name")).collect(),
            choices: body["n"].as_u64().unwrap_or(1) as usize,
            thinks: body["reasoning_effort"].is_string(),
            wants_usage: body["stream_options"]["include_usage"] == true,
            ..Asked::default()
        }
    }

    fn response_id(&self, turn: &Turn) -> Option<String> {
        Some(format!("chatcmpl-{}", turn.id))
    }

    fn call_id(&self, call: &ToolCall) -> Option<String> {
        Some(format!("call_{}", call.id))
    }

    fn finish(&self, said: &Said) -> &'static str {
        match said {
            said if !said.calls.is_empty() => "tool_calls",
            said if said.is_cut => "length",
            _ => "stop",
        }
    }

    fn usage(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        json!({
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        })
    }

    fn counts(&self, turn: &Turn) -> Value {
        if turn.asked.stream && !turn.asked.wants_usage {
            return Value::Null;
        }
        let tokens = turn.tokens;
        json!({"input_tokens": tokens.input, "output_tokens": tokens.output,
            "cache_read_tokens": tokens.cache_read, "reasoning_tokens": tokens.reasoning})
    }

    fn whole(&self, turn: &Turn) -> Value {
        let choices = turn.choices.iter().enumerate();
        let choices: Vec<_> = choices.map(|(at, said)| self.choice(at, said)).collect();
        let mut body = json!({"id": self.response_id(turn), "object": "chat.completion", "created": turn.created(),
            "model": turn.model, "choices": choices, "usage": self.usage(turn), "service_tier": "default",
            "system_fingerprint": "fp_44709d6fcb"});
        if self.is_azure {
            body["prompt_filter_results"] = filtered();
        }
        body
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let mut frames = Vec::new();
        if self.is_azure {
            // Comes before the answer has a number.
            let filtered = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "",
                "prompt_filter_results": filtered()});
            frames.push(event(None, &filtered, rng));
        }
        let choices = turn.choices.iter().enumerate();
        let mut queues: Vec<_> = choices
            .map(|(at, said)| self.deltas(turn, at, said, rng).into_iter())
            .collect();
        while !queues.is_empty() {
            let at = rng.usize(..queues.len());
            match queues.get_mut(at).and_then(Iterator::next) {
                Some(frame) => frames.push(frame),
                None => drop(queues.remove(at)),
            }
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
        error(status, message)
    }

    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame> {
        Some(event(None, &error(500, message), rng))
    }
}

/// OpenAI's errors, also of its other APIs.
pub fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        429 => "rate_limit_exceeded",
        _ => "server_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
}

impl Chat {
    fn choice(&self, at: usize, said: &Said) -> Value {
        let mut message =
            json!({"role": "assistant", "content": said.text, "refusal": null, "annotations": []});
        if said.text.is_empty() {
            message["content"] = Value::Null;
        }
        if !said.thoughts.is_empty() {
            message["reasoning_content"] = json!(said.thoughts);
        }
        if !said.calls.is_empty() {
            let calls = said.calls.iter().map(|call| {
                json!({"id": self.call_id(call), "type": "function",
                    "function": {"name": call.name, "arguments": call.text()}})
            });
            message["tool_calls"] = calls.collect();
        }
        json!({"index": at, "message": message, "logprobs": null, "finish_reason": self.finish(said)})
    }

    fn chunk(&self, turn: &Turn, choices: Value) -> Value {
        let mut chunk = json!({"id": self.response_id(turn), "object": "chat.completion.chunk",
            "created": turn.created(), "model": turn.model, "service_tier": "default",
            "system_fingerprint": "fp_44709d6fcb", "choices": choices});
        if turn.asked.wants_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn deltas(&self, turn: &Turn, at: usize, said: &Said, rng: &mut Rng) -> Vec<Frame> {
        let delta = |delta: Value, finish: Value, rng: &mut Rng| {
            let choice =
                json!([{"index": at, "delta": delta, "logprobs": null, "finish_reason": finish}]);
            event(None, &self.chunk(turn, choice), rng)
        };
        let first = json!({"role": "assistant", "content": "", "refusal": null});
        let mut frames = vec![delta(first, Value::Null, rng)];
        for piece in pieces(&said.thoughts, rng) {
            frames.push(delta(json!({"reasoning_content": piece}), Value::Null, rng));
        }
        for piece in pieces(&said.text, rng) {
            frames.push(delta(json!({"content": piece}), Value::Null, rng).says(at, &piece));
        }
        for (index, call) in said.calls.iter().enumerate() {
            let start = json!({"tool_calls": [{"index": index, "id": self.call_id(call), "type": "function",
                "function": {"name": call.name, "arguments": ""}}]});
            frames.push(delta(start, Value::Null, rng));
            for piece in pieces(&call.text(), rng) {
                let more =
                    json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]});
                frames.push(delta(more, Value::Null, rng));
            }
        }
        frames.push(delta(json!({}), json!(self.finish(said)), rng));
        frames
    }
}

fn filtered() -> Value {
    json!([{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false, "severity": "safe"}}}])
}

fn message(message: &Value) -> Message {
    let mut read = Message::of(&text(message, "role"));
    if read.role == "tool" {
        read.tool_results =
            vec![json!({"id": message["tool_call_id"], "content": message["content"]})];
        return read;
    }
    read.texts = texts(&message["content"]);
    let calls = list(message, "tool_calls").iter().map(|call| {
        let function = &call["function"];
        json!({"id": call["id"], "name": function["name"], "arguments": decoded(&function["arguments"])})
    });
    read.tool_calls = calls.collect();
    read
}
