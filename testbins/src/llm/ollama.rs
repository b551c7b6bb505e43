//! Ollama's chat; streams are lines of JSON.
//! Followed: <https://github.com/ollama/ollama/blob/main/docs/api.md>

use fastrand::Rng;
use serde_json::{Value, json};

use super::api::Api;
use super::said::{Asked, Message, Said, ToolCall, Turn, list, text};
use super::wire::{Frame, json_line, pieces};

/// `/api/chat`.
pub struct Ollama;

impl Api for Ollama {
    fn name(&self) -> &'static str {
        "ollama.chat"
    }

    fn provider(&self) -> &'static str {
        "ollama"
    }

    fn asked(&self, body: &Value) -> Asked {
        let tools = list(body, "tools").iter();
        Asked {
            model: body["model"].as_str().map(str::to_owned),
            stream: body["stream"].as_bool().unwrap_or(true),
            messages: list(body, "messages").iter().map(message).collect(),
            tools: tools.map(|tool| text(&tool["function"], "name")).collect(),
            choices: 1,
            thinks: body["think"] == true,
            wants_usage: true,
            ..Asked::default()
        }
    }

    fn response_id(&self, _: &Turn) -> Option<String> {
        None
    }

    fn call_id(&self, _: &ToolCall) -> Option<String> {
        None
    }

    fn finish(&self, said: &Said) -> &'static str {
        if said.is_cut { "length" } else { "stop" }
    }

    fn usage(&self, turn: &Turn) -> Value {
        json!({"prompt_eval_count": turn.tokens.input, "eval_count": turn.tokens.output})
    }

    fn counts(&self, turn: &Turn) -> Value {
        json!({"input_tokens": turn.tokens.input, "output_tokens": turn.tokens.output})
    }

    fn whole(&self, turn: &Turn) -> Value {
        let said = turn.said();
        let mut message = json!({"role": "assistant", "content": said.text});
        if !said.thoughts.is_empty() {
            message["thinking"] = json!(said.thoughts);
        }
        if !said.calls.is_empty() {
            message["tool_calls"] = said.calls.iter().map(call).collect();
        }
        self.end(turn, message)
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let said = turn.said();
        let mut lines = Vec::new();
        for piece in pieces(&said.thoughts, rng) {
            lines.push((
                json!({"role": "assistant", "content": "", "thinking": piece}),
                None,
            ));
        }
        for piece in pieces(&said.text, rng) {
            lines.push((
                json!({"role": "assistant", "content": piece}),
                Some((0, piece)),
            ));
        }
        for one in &said.calls {
            lines.push((
                json!({"role": "assistant", "content": "", "tool_calls": [call(one)]}),
                None,
            ));
        }
        let mut frames = Vec::new();
        for (message, says) in lines {
            let line = json!({"model": turn.model, "created_at": "2026-11-23T10:00:00.123456789Z", "message": message,
                "done": false});
            let bytes = format!("{}\n", json_line(&line, rng)).into_bytes();
            frames.push(Frame { bytes, says });
        }
        let end = self.end(turn, json!({"role": "assistant", "content": ""}));
        frames.push(format!("{}\n", json_line(&end, rng)).into_bytes().into());
        frames
    }

    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn error(&self, _: u16, message: &str) -> Value {
        json!({"error": message})
    }

    fn error_frame(&self, message: &str, _: &mut Rng) -> Option<Frame> {
        let line = format!("{}\n", json!({"error": message}));
        Some(line.into_bytes().into())
    }

    fn malformed_frame(&self) -> Frame {
        b"{\"model\":\"x\",\"message\":{\n".to_vec().into()
    }
}

impl Ollama {
    fn end(&self, turn: &Turn, message: Value) -> Value {
        json!({"model": turn.model, "created_at": "2026-11-23T10:00:01.123456789Z", "message": message,
            "done": true, "done_reason": self.finish(&turn.said()), "total_duration": 5_589_157_167_u64,
            "load_duration": 3_013_701_500_u64, "prompt_eval_count": turn.tokens.input,
            "prompt_eval_duration": 1_160_282_000, "eval_count": turn.tokens.output, "eval_duration": 1_410_109_000})
    }
}

fn call(call: &ToolCall) -> Value {
    json!({"function": {"name": call.name, "arguments": call.arguments}})
}

fn message(message: &Value) -> Message {
    let mut read = Message::of(&text(message, "role"));
    if read.role == "tool" {
        read.tool_results = vec![json!({"id": null, "content": message["content"]})];
        return read;
    }
    let content = text(message, "content");
    if !content.is_empty() {
        read.texts.push(content);
    }
    if let Some(thought) = message["thinking"].as_str() {
        read.reasoning.push(thought.to_owned());
    }
    let calls = list(message, "tool_calls").iter().map(|call| {
        let function = &call["function"];
        json!({"id": null, "name": function["name"], "arguments": function["arguments"]})
    });
    read.tool_calls = calls.collect();
    read
}
