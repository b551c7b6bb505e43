//! Anthropic's messages.
//! Followed: <https://docs.anthropic.com/en/api/messages> and …/build-with-claude/streaming

use fastrand::Rng;
use serde_json::{Value, json};

use super::api::Api;
use super::said::{Asked, Message, Said, ToolCall, Turn, list, text, texts};
use super::wire::{Frame, event, pieces};

/// The API.
pub struct Messages;

impl Api for Messages {
    fn name(&self) -> &'static str {
        "anthropic.messages"
    }

    fn provider(&self) -> &'static str {
        "anthropic"
    }

    fn asked(&self, body: &Value) -> Asked {
        let is_search = |tool: &&Value| text(tool, "type").starts_with("web_search");
        let tools = list(body, "tools");
        let own = tools.iter().filter(|tool| !is_search(tool));
        Asked {
            model: body["model"].as_str().map(str::to_owned),
            stream: body["stream"].as_bool().unwrap_or_default(),
            system: texts(&body["system"]),
            messages: list(body, "messages").iter().map(message).collect(),
            tools: own.map(|tool| text(tool, "name")).collect(),
            choices: 1,
            thinks: ["enabled", "adaptive"].contains(&text(&body["thinking"], "type").as_str()),
            searches: tools.iter().any(|tool| is_search(&tool)),
            wants_usage: true,
            ..Asked::default()
        }
    }

    fn response_id(&self, turn: &Turn) -> Option<String> {
        Some(format!("msg_{}", turn.id))
    }

    fn call_id(&self, call: &ToolCall) -> Option<String> {
        Some(format!("toolu_{}", call.id))
    }

    fn finish(&self, said: &Said) -> &'static str {
        match said {
            said if !said.calls.is_empty() => "tool_use",
            said if said.is_cut => "max_tokens",
            _ => "end_turn",
        }
    }

    fn usage(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        json!({"input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
            "cache_creation_input_tokens": tokens.cache_write, "cache_read_input_tokens": tokens.cache_read,
            "cache_creation": {"ephemeral_5m_input_tokens": tokens.cache_write, "ephemeral_1h_input_tokens": 0},
            "output_tokens": tokens.output, "service_tier": "standard"})
    }

    fn counts(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        json!({"input_tokens": tokens.input, "output_tokens": tokens.output,
            "cache_read_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write})
    }

    fn whole(&self, turn: &Turn) -> Value {
        let said = turn.said();
        let content: Vec<Value> = self
            .blocks(turn, &said)
            .into_iter()
            .map(|block| block.whole())
            .collect();
        json!({"id": self.response_id(turn), "type": "message", "role": "assistant", "model": turn.model,
            "content": content, "stop_reason": self.finish(&said), "stop_sequence": null, "usage": self.usage(turn)})
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let events = self.events(turn, rng);
        let framed = events.into_iter().map(|(data, says)| {
            let frame = event(data["type"].as_str(), &data, rng);
            Frame { says, ..frame }
        });
        framed.collect()
    }

    fn error(&self, status: u16, message: &str) -> Value {
        let kind = match status {
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
    }

    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame> {
        let mut data = self.error(529, message);
        if let Some(data) = data.as_object_mut() {
            data.remove("request_id");
        }
        Some(event(Some("error"), &data, rng))
    }

    fn malformed_frame(&self) -> Frame {
        b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"ind\n\n"
            .to_vec()
            .into()
    }
}

/// A block of content: as it starts, and what fills it.
struct Block {
    start: Value,
    /// Deltas: their type, the field of both, and the text.
    fills: Vec<(&'static str, &'static str, String)>,
    citations: Vec<Value>,
}

impl Block {
    fn of(start: Value) -> Self {
        Self {
            start,
            fills: Vec::new(),
            citations: Vec::new(),
        }
    }

    fn whole(&self) -> Value {
        let mut block = self.start.clone();
        for (kind, field, text) in &self.fills {
            match *kind {
                "input_json_delta" => {
                    block["input"] = serde_json::from_str(text).unwrap_or_default()
                }
                _ => block[*field] = json!(text),
            }
        }
        if !self.citations.is_empty() {
            block["citations"] = json!(self.citations);
        }
        block
    }
}

impl Messages {
    /// What a stream says, without its framing.
    pub fn events(&self, turn: &Turn, rng: &mut Rng) -> Vec<(Value, Option<(usize, String)>)> {
        let said = turn.said();
        let mut start = self.whole(turn);
        start["content"] = json!([]);
        start["stop_reason"] = Value::Null;
        start["usage"]["output_tokens"] = json!(1);
        let mut events = vec![(json!({"type": "message_start", "message": start}), None)];
        for (at, block) in self.blocks(turn, &said).iter().enumerate() {
            events.push((
                json!({"type": "content_block_start", "index": at, "content_block": block.start}),
                None,
            ));
            if rng.u8(..3) == 0 {
                events.push((json!({"type": "ping"}), None));
            }
            let delta =
                |delta: Value| json!({"type": "content_block_delta", "index": at, "delta": delta});
            for citation in &block.citations {
                events.push((
                    delta(json!({"type": "citations_delta", "citation": citation})),
                    None,
                ));
            }
            for (kind, field, text) in &block.fills {
                // A signature comes in one piece.
                let cut = if *field == "signature" {
                    vec![text.clone()]
                } else {
                    pieces(text, rng)
                };
                for piece in cut {
                    let event = delta(json!({"type": kind, *field: piece}));
                    events.push((event, (*kind == "text_delta").then_some((0, piece))));
                }
            }
            events.push((json!({"type": "content_block_stop", "index": at}), None));
        }
        let usage = json!({"output_tokens": turn.tokens.output});
        let delta = json!({"stop_reason": self.finish(&said), "stop_sequence": null});
        events.push((
            json!({"type": "message_delta", "delta": delta, "usage": usage}),
            None,
        ));
        events.push((json!({"type": "message_stop"}), None));
        events
    }

    fn blocks(&self, turn: &Turn, said: &Said) -> Vec<Block> {
        let mut blocks = Vec::new();
        if !said.thoughts.is_empty() {
            let mut block = Block::of(json!({"type": "thinking", "thinking": "", "signature": ""}));
            block
                .fills
                .push(("thinking_delta", "thinking", said.thoughts.clone()));
            block.fills.push((
                "signature_delta",
                "signature",
                format!("c2lnbmF0dXJl{}", turn.id),
            ));
            blocks.push(block);
            if turn.created().is_multiple_of(3) {
                blocks.push(Block::of(
                    json!({"type": "redacted_thinking", "data": "RW5jcnlwdGVk"}),
                ));
            }
        }
        if let Some([words, _]) = &said.search {
            let id = format!("srvtoolu_{}", turn.id);
            let mut call = Block::of(
                json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {}}),
            );
            call.fills.push((
                "input_json_delta",
                "partial_json",
                json!({"query": words}).to_string(),
            ));
            blocks.push(call);
            blocks.push(Block::of(
                json!({"type": "web_search_tool_result", "tool_use_id": id, "content": [
                {"type": "web_search_result", "title": words, "url": "https://example.com/found",
                    "encrypted_content": "RW5j", "page_age": null}]}),
            ));
        }
        if !said.text.is_empty() {
            let mut block = Block::of(json!({"type": "text", "text": ""}));
            block.fills.push(("text_delta", "text", said.text.clone()));
            block.citations = citations(said);
            blocks.push(block);
        }
        for call in &said.calls {
            let id = self.call_id(call);
            let mut block =
                Block::of(json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}));
            block
                .fills
                .push(("input_json_delta", "partial_json", call.text()));
            blocks.push(block);
        }
        blocks
    }
}

/// On which the text is founded, as it is on the wire.
pub fn citations(said: &Said) -> Vec<Value> {
    let founded = said.search.iter().map(|[words, found]| {
        json!({"type": "web_search_result_location", "url": "https://example.com/found", "title": words,
            "encrypted_index": "RW5j", "cited_text": found})
    });
    founded.collect()
}

fn message(message: &Value) -> Message {
    let mut read = Message::of(&text(message, "role"));
    let content = &message["content"];
    if let Some(text) = content.as_str() {
        read.texts.push(text.to_owned());
    }
    for block in list(message, "content") {
        match block["type"].as_str() {
            Some("text") => read.texts.push(text(block, "text")),
            Some("thinking") => read.reasoning.push(text(block, "thinking")),
            Some("tool_use") => {
                let call =
                    json!({"id": block["id"], "name": block["name"], "arguments": block["input"]});
                read.tool_calls.push(call);
            }
            Some("tool_result") => {
                let result = json!({"id": block["tool_use_id"], "content": block["content"]});
                read.tool_results.push(result);
            }
            _ => {}
        }
    }
    read
}
