//! Cohere's chat, version 2.
//! Followed: <https://docs.cohere.com/reference/chat> and …/chat-stream

use fastrand::Rng;
use serde_json::{Value, json};

use super::api::Api;
use super::chat::Chat;
use super::said::{Asked, Said, ToolCall, Turn};
use super::wire::{Frame, event, pieces};

/// `/v2/chat`.
pub struct Cohere;

impl Api for Cohere {
    fn name(&self) -> &'static str {
        "cohere.chat"
    }

    fn provider(&self) -> &'static str {
        "cohere"
    }

    /// Its requests have OpenAI's shape.
    fn asked(&self, body: &Value) -> Asked {
        Asked {
            choices: 1,
            thinks: body["thinking"]["type"] == "enabled",
            wants_usage: true,
            ..Chat { is_azure: false }.asked(body)
        }
    }

    fn response_id(&self, turn: &Turn) -> Option<String> {
        Some(format!("c14c80c3-{}", turn.id))
    }

    fn call_id(&self, call: &ToolCall) -> Option<String> {
        Some(format!("{}_{}", call.name, call.id))
    }

    fn finish(&self, said: &Said) -> &'static str {
        match said {
            said if !said.calls.is_empty() => "TOOL_CALL",
            said if said.is_cut => "MAX_TOKENS",
            _ => "COMPLETE",
        }
    }

    fn usage(&self, turn: &Turn) -> Value {
        let tokens =
            json!({"input_tokens": turn.tokens.input, "output_tokens": turn.tokens.output});
        json!({"billed_units": tokens, "tokens": tokens})
    }

    fn counts(&self, turn: &Turn) -> Value {
        json!({"input_tokens": turn.tokens.input, "output_tokens": turn.tokens.output})
    }

    fn whole(&self, turn: &Turn) -> Value {
        let said = turn.said();
        let mut content = Vec::new();
        if !said.thoughts.is_empty() {
            content.push(json!({"type": "thinking", "thinking": said.thoughts}));
        }
        if !said.text.is_empty() {
            content.push(json!({"type": "text", "text": said.text}));
        }
        let mut message = json!({"role": "assistant"});
        if !content.is_empty() {
            message["content"] = json!(content);
        }
        if !said.calls.is_empty() {
            let calls = said.calls.iter().map(|call| self.call(call, &call.text()));
            message["tool_calls"] = calls.collect();
        }
        json!({"id": self.response_id(turn), "finish_reason": self.finish(&said), "message": message,
            "usage": self.usage(turn)})
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let said = turn.said();
        let mut events = Vec::new();
        for (kind, text) in [("thinking", &said.thoughts), ("text", &said.text)] {
            if text.is_empty() {
                continue;
            }
            let at = usize::from(kind == "text" && !said.thoughts.is_empty());
            let of = |content: Value| json!({"message": {"content": content}});
            events.push((
                at,
                "content-start",
                of(json!({"type": kind, kind: ""})),
                None,
            ));
            for piece in pieces(text, rng) {
                let says = (kind == "text").then_some((0, piece.clone()));
                events.push((at, "content-delta", of(json!({kind: piece})), says));
            }
            events.push((at, "content-end", Value::Null, None));
        }
        for (at, call) in said.calls.iter().enumerate() {
            let of = |call: Value| json!({"message": {"tool_calls": call}});
            events.push((at, "tool-call-start", of(self.call(call, "")), None));
            for piece in pieces(&call.text(), rng) {
                let delta = of(json!({"function": {"arguments": piece}}));
                events.push((at, "tool-call-delta", delta, None));
            }
            events.push((at, "tool-call-end", Value::Null, None));
        }
        let start = json!({"id": self.response_id(turn), "type": "message-start",
            "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [],
                "citations": []}}});
        let mut frames = vec![event(Some("message-start"), &start, rng)];
        for (at, kind, delta, says) in events {
            let mut data = json!({"type": kind, "index": at});
            if !delta.is_null() {
                data["delta"] = delta;
            }
            frames.push(Frame {
                says,
                ..event(Some(kind), &data, rng)
            });
        }
        let end = json!({"type": "message-end",
            "delta": {"finish_reason": self.finish(&said), "usage": self.usage(turn)}});
        frames.push(event(Some("message-end"), &end, rng));
        frames
    }

    fn error(&self, _: u16, message: &str) -> Value {
        json!({"message": message})
    }

    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame> {
        let end =
            json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": message}});
        Some(event(Some("message-end"), &end, rng))
    }
}

impl Cohere {
    fn call(&self, call: &ToolCall, arguments: &str) -> Value {
        json!({"id": self.call_id(call), "type": "function",
            "function": {"name": call.name, "arguments": arguments}})
    }
}
