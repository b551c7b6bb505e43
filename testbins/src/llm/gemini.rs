//! Gemini, at the Generative Language API and at Vertex AI.
//! Followed: <https://ai.google.dev/api/generate-content>

use fastrand::Rng;
use serde_json::{Value, json};

use super::api::{Api, Route};
use super::said::{Asked, Message, Said, ToolCall, Turn, list, text, texts};
use super::wire::{Frame, json_line, pieces};

/// `generateContent` and `streamGenerateContent`.
pub struct Gemini {
    is_vertex: bool,
    /// Server-sent events, else one JSON array.
    is_sse: bool,
}

/// `embedContent` and `batchEmbedContents`.
pub struct Embed {
    is_batch: bool,
}

/// `…/models/NAME:METHOD`, at Vertex below projects and locations.
pub fn route(path: &str, query: &str) -> Option<Route> {
    let (before, rest) = path.rsplit_once("/models/")?;
    let (model, method) = rest.rsplit_once(':')?;
    let is_vertex = before.contains("/publishers/");
    let is_sse = query.split('&').any(|one| one == "alt=sse");
    let gemini = Gemini { is_vertex, is_sse };
    let (api, stream): (Box<dyn Api>, bool) = match method {
        "generateContent" => (Box::new(gemini), false),
        "streamGenerateContent" => (Box::new(gemini), true),
        "embedContent" => (Box::new(Embed { is_batch: false }), false),
        "batchEmbedContents" => (Box::new(Embed { is_batch: true }), false),
        _ => return None,
    };
    Some(Route {
        api,
        model: Some(model.to_owned()),
        stream: Some(stream),
    })
}

impl Api for Gemini {
    fn name(&self) -> &'static str {
        if self.is_vertex {
            "vertex.gemini"
        } else {
            "gemini"
        }
    }

    fn provider(&self) -> &'static str {
        if self.is_vertex {
            "gcp.vertex_ai"
        } else {
            "gcp.gemini"
        }
    }

    fn operation(&self) -> &'static str {
        "generate_content"
    }

    fn asked(&self, body: &Value) -> Asked {
        let config = &body["generationConfig"];
        let declared = list(body, "tools")
            .iter()
            .flat_map(|tool| list(tool, "functionDeclarations"));
        let thinking = &config["thinkingConfig"];
        Asked {
            system: texts(&body["systemInstruction"]["parts"]),
            messages: list(body, "contents").iter().map(message).collect(),
            tools: declared.map(|tool| text(tool, "name")).collect(),
            choices: config["candidateCount"].as_u64().unwrap_or(1) as usize,
            thinks: thinking["includeThoughts"] == true,
            wants_usage: true,
            ..Asked::default()
        }
    }

    fn response_id(&self, turn: &Turn) -> Option<String> {
        Some(turn.id.clone())
    }

    fn call_id(&self, _: &ToolCall) -> Option<String> {
        None
    }

    fn finish(&self, said: &Said) -> &'static str {
        if said.is_cut { "MAX_TOKENS" } else { "STOP" }
    }

    fn usage(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        let mut usage = json!({"promptTokenCount": tokens.input,
            "candidatesTokenCount": tokens.output - tokens.reasoning, "totalTokenCount": tokens.input + tokens.output,
            "cachedContentTokenCount": tokens.cache_read,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.input}]});
        if tokens.reasoning > 0 {
            usage["thoughtsTokenCount"] = json!(tokens.reasoning);
        }
        usage
    }

    fn counts(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        let mut counts = json!({"input_tokens": tokens.input, "output_tokens": tokens.output,
            "cache_read_tokens": tokens.cache_read});
        if tokens.reasoning > 0 {
            counts["reasoning_tokens"] = json!(tokens.reasoning);
        }
        counts
    }

    fn whole(&self, turn: &Turn) -> Value {
        let candidates = turn.choices.iter().enumerate().map(|(index, said)| {
            let mut parts = Vec::new();
            if !said.thoughts.is_empty() {
                parts.push(json!({"text": said.thoughts, "thought": true}));
            }
            if !said.text.is_empty() {
                parts.push(json!({"text": said.text}));
            }
            parts.extend(said.calls.iter().map(call));
            candidate(index, json!(parts), Some(self.finish(said)))
        });
        let candidates: Vec<_> = candidates.collect();
        self.chunk(turn, json!(candidates), self.usage(turn))
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let mut chunks = Vec::new();
        for (index, said) in turn.choices.iter().enumerate() {
            for piece in pieces(&said.thoughts, rng) {
                chunks.push((
                    candidate(index, json!([{"text": piece, "thought": true}]), None),
                    None,
                ));
            }
            for piece in pieces(&said.text, rng) {
                let chunk = candidate(index, json!([{"text": piece}]), None);
                chunks.push((chunk, Some((index, piece))));
            }
            chunks.extend(
                said.calls
                    .iter()
                    .map(|one| (candidate(index, json!([call(one)]), None), None)),
            );
            let last = candidate(index, json!([{"text": ""}]), Some(self.finish(said)));
            chunks.push((last, None));
        }
        let count = chunks.len();
        let mut frames = Vec::new();
        for (at, (candidate, says)) in chunks.into_iter().enumerate() {
            let is_last = at + 1 == count;
            // Cumulative: what it is so far.
            let so_far = json!({"promptTokenCount": turn.tokens.input, "totalTokenCount": turn.tokens.input});
            let usage = if is_last { self.usage(turn) } else { so_far };
            let json = json_line(&self.chunk(turn, json!([candidate]), usage), rng);
            let bytes = self.framed(&json, at == 0, is_last).into_bytes();
            frames.push(Frame { bytes, says });
        }
        frames
    }

    fn stream_type(&self) -> &'static str {
        if self.is_sse {
            "text/event-stream"
        } else {
            "application/json; charset=UTF-8"
        }
    }

    fn error(&self, status: u16, message: &str) -> Value {
        error(status, message)
    }

    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame> {
        let json = json_line(&error(503, message), rng);
        // In an array it comes as one more element, and the array ends.
        Some(self.framed(&json, false, true).into_bytes().into())
    }

    fn malformed_frame(&self) -> Frame {
        self.framed("{\"candidates\": [", false, false)
            .into_bytes()
            .into()
    }
}

impl Gemini {
    fn chunk(&self, turn: &Turn, candidates: Value, usage: Value) -> Value {
        json!({"candidates": candidates, "usageMetadata": usage, "modelVersion": turn.model,
            "responseId": self.response_id(turn)})
    }

    fn framed(&self, json: &str, is_first: bool, is_last: bool) -> String {
        match (self.is_sse, is_first, is_last) {
            (true, ..) => format!("data: {json}\r\n\r\n"),
            (false, true, true) => format!("[{json}\n]\n"),
            (false, true, false) => format!("[{json}\n"),
            (false, false, true) => format!(",\r\n{json}\n]\n"),
            (false, false, false) => format!(",\r\n{json}\n"),
        }
    }
}

fn candidate(index: usize, parts: Value, finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": index});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    candidate
}

fn call(call: &ToolCall) -> Value {
    json!({"functionCall": {"name": call.name, "args": call.arguments}})
}

fn error(status: u16, message: &str) -> Value {
    let word = match status {
        429 => "RESOURCE_EXHAUSTED",
        503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": message, "status": word}})
}

fn message(content: &Value) -> Message {
    let role = match content["role"].as_str() {
        Some("model") => "assistant",
        Some(role) => role,
        None => "user",
    };
    let mut read = Message::of(role);
    for part in list(content, "parts") {
        let (call, result) = (&part["functionCall"], &part["functionResponse"]);
        if call.is_object() {
            read.tool_calls
                .push(json!({"id": call["id"], "name": call["name"], "arguments": call["args"]}));
        } else if result.is_object() {
            read.tool_results
                .push(json!({"id": result["id"], "content": result["response"]}));
        } else if part["thought"] == true {
            read.reasoning.push(text(part, "text"));
        } else if part["text"].is_string() {
            read.texts.push(text(part, "text"));
        }
    }
    read
}

impl Api for Embed {
    fn name(&self) -> &'static str {
        "gemini.embed"
    }

    fn provider(&self) -> &'static str {
        "gcp.gemini"
    }

    fn operation(&self) -> &'static str {
        "embeddings"
    }

    fn asked(&self, body: &Value) -> Asked {
        let requests = if self.is_batch {
            list(body, "requests")
        } else {
            std::slice::from_ref(body)
        };
        let messages = requests.iter().map(|one| Message {
            texts: texts(&one["content"]["parts"]),
            ..Message::of("user")
        });
        Asked {
            inputs: requests.len(),
            messages: messages.collect(),
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

    fn usage(&self, _: &Turn) -> Value {
        Value::Null
    }

    fn counts(&self, _: &Turn) -> Value {
        Value::Null
    }

    fn whole(&self, turn: &Turn) -> Value {
        let vector = json!({"values": [0.25, -0.5, 0.125, 1.0]});
        if self.is_batch {
            json!({"embeddings": vec![vector; turn.asked.inputs]})
        } else {
            json!({"embedding": vector})
        }
    }

    fn stream(&self, _: &Turn, _: &mut Rng) -> Vec<Frame> {
        Vec::new()
    }

    fn error(&self, status: u16, message: &str) -> Value {
        error(status, message)
    }

    fn error_frame(&self, _: &str, _: &mut Rng) -> Option<Frame> {
        None
    }
}
