//! Events as providers stream them: the smallest there are, a token in each, with all that stands around it.

use std::rc::Rc;

use agentsight::semantics::dialect::{Dialect, Piece};
use agentsight::semantics::{anthropic, bedrock, cohere, gemini, ollama, openai};
use base64::Engine;
use serde_json::{Value, json};

use crate::support::random::Random;
use crate::support::text::{noise, tokens};

/// Bytes of a stream of events.
pub const TOTAL: usize = 4 << 20;

/// What one provider streams.
pub struct Streamed {
    pub name: &'static str,
    pub dialect: &'static dyn Dialect,
    /// What comes before the first token.
    pub begin: Option<&'static str>,
    /// An event with this token, as the provider writes it.
    pub event: fn(token: Value, number: usize, random: &mut Random) -> String,
    pub piece: fn(&str) -> Piece<'_>,
}

impl Streamed {
    /// Events until they fill [`TOTAL`].
    pub fn events(&self) -> Rc<[String]> {
        let mut random = Random(7);
        let mut bytes = 0;
        let numbered = tokens(1).enumerate();
        let events =
            numbered.map(|(number, token)| (self.event)(token.into(), number, &mut random));
        let begin = self.begin.map(str::to_owned).into_iter();
        let fits = |event: &String| {
            bytes += event.len();
            bytes <= TOTAL
        };
        begin.chain(events).take_while(fits).collect()
    }
}

fn sse(data: &str) -> Piece<'_> {
    Piece::Sse { event: None, data }
}

fn line(data: &str) -> Piece<'_> {
    Piece::Json(data.as_bytes())
}

/// Chat completions.
pub const CHAT: Streamed = Streamed {
    name: "OpenAI chat completions",
    dialect: &openai::Chat,
    begin: None,
    event: |token, _, random| {
        let padding = noise(random, 16);
        format!(
            r#"{{"id":"chatcmpl-CBNy0jhPlT9zlNhKHeO1HX0sbTbRr","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_cbf1785567","choices":[{{"index":0,"delta":{{"content":{token}}},"logprobs":null,"finish_reason":null}}],"obfuscation":"{padding}"}}"#
        )
    },
    piece: sse,
};

const RESPONSES: Streamed = Streamed {
    name: "OpenAI responses",
    dialect: &openai::Responses,
    begin: None,
    event: |token, number, random| {
        let padding = noise(random, 16);
        format!(
            r#"{{"type":"response.output_text.delta","sequence_number":{number},"item_id":"msg_68c2e0f3a0a481a0b1d3b1cbf1a8e2f90d6a1a9f2f8e4c11","output_index":0,"content_index":0,"delta":{token},"logprobs":[],"obfuscation":"{padding}"}}"#
        )
    },
    piece: sse,
};

const ANTHROPIC: Streamed = Streamed {
    name: "Anthropic messages",
    dialect: &anthropic::MESSAGES,
    begin: Some(
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    ),
    event: |token, _, _| {
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{token}}}}}"#
        )
    },
    piece: sse,
};

const GEMINI: Streamed = Streamed {
    name: "Gemini",
    dialect: &gemini::STREAM_GENERATE,
    begin: None,
    event: |token, number, _| {
        let all = number + 8;
        format!(
            r#"{{"candidates": [{{"content": {{"parts": [{{"text": {token}}}],"role": "model"}},"index": 0}}],"usageMetadata": {{"promptTokenCount": 8,"candidatesTokenCount": {number},"totalTokenCount": {all},"promptTokensDetails": [{{"modality": "TEXT","tokenCount": 8}}]}},"modelVersion": "gemini-2.5-flash","responseId": "kZ3CaPq2OtPQz7IP2cCVmAs"}}"#
        )
    },
    piece: sse,
};

const CONVERSE: Streamed = Streamed {
    name: "Bedrock Converse",
    dialect: &bedrock::CONVERSE_STREAM,
    begin: None,
    event: |token, _, random| {
        let padding = noise(random, 36);
        format!(r#"{{"contentBlockIndex":0,"delta":{{"text":{token}}},"p":"{padding}"}}"#)
    },
    piece: |payload| Piece::Aws {
        kind: "contentBlockDelta",
        class: "event",
        payload: payload.as_bytes(),
    },
};

const INVOKE: Streamed = Streamed {
    name: "Anthropic on Bedrock",
    dialect: &bedrock::INVOKE_STREAM,
    begin: None,
    event: |token, number, random| {
        let event = (ANTHROPIC.event)(token, number, random);
        let bytes = base64::engine::general_purpose::STANDARD.encode(event);
        let padding = noise(random, 36);
        format!(r#"{{"bytes":"{bytes}","p":"{padding}"}}"#)
    },
    piece: |payload| Piece::Aws {
        kind: "chunk",
        class: "event",
        payload: payload.as_bytes(),
    },
};

const OLLAMA: Streamed = Streamed {
    name: "Ollama chat",
    dialect: &ollama::OLLAMA,
    begin: None,
    event: |token, _, random| {
        let time = random.below(1_000_000_000);
        format!(
            r#"{{"model":"llama3.2","created_at":"2025-07-01T10:00:00.{time:09}Z","message":{{"role":"assistant","content":{token}}},"done":false}}"#
        )
    },
    piece: line,
};

const OLLAMA_GENERATE: Streamed = Streamed {
    name: "Ollama generate",
    dialect: &ollama::OLLAMA,
    begin: None,
    event: |token, _, random| {
        let time = random.below(1_000_000_000);
        format!(
            r#"{{"model":"llama3.2","created_at":"2025-07-01T10:00:00.{time:09}Z","response":{token},"done":false}}"#
        )
    },
    piece: line,
};

const COHERE: Streamed = Streamed {
    name: "Cohere chat",
    dialect: &cohere::V2,
    begin: Some(
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
    ),
    event: |token, _, _| {
        format!(
            r#"{{"type":"content-delta","index":0,"delta":{{"message":{{"content":{{"text":{token}}}}}}}}}"#
        )
    },
    piece: sse,
};

/// All of them.
pub const ALL: [&Streamed; 9] = [
    &ANTHROPIC,
    &INVOKE,
    &CONVERSE,
    &COHERE,
    &GEMINI,
    &OLLAMA,
    &OLLAMA_GENERATE,
    &CHAT,
    &RESPONSES,
];

/// The same text in one answer.
pub fn whole() -> Vec<u8> {
    let text = crate::support::text::text(TOTAL);
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    json!({"id": "chatcmpl-1", "model": "gpt-4o", "choices": [choice]})
        .to_string()
        .into_bytes()
}
