use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::dialect;
use super::super::trial::{self, Said};
use super::*;

fn target() -> Target {
    Target {
        provider: "anthropic".into(),
        operation: Operation::Chat,
        model: None,
    }
}

fn block() -> impl Strategy<Value = Value> {
    let citations = prop::collection::vec(trial::words(), 1..3);
    prop_oneof![
        trial::words().prop_map(|text| json!({"type": "text", "text": text})),
        (trial::words(), citations).prop_map(|(text, cited)| {
            let cited = cited.into_iter().map(|text| json!({"type": "char_location", "cited_text": text}));
            json!({"type": "text", "text": text, "citations": cited.collect::<Vec<_>>()})
        }),
        (trial::words(), trial::words())
            .prop_map(|(thought, by)| json!({"type": "thinking", "thinking": thought, "signature": by})),
        trial::words().prop_map(|data| json!({"type": "redacted_thinking", "data": data})),
        (trial::words(), trial::input())
            .prop_map(|(id, input)| json!({"type": "tool_use", "id": id, "name": "a_tool", "input": input})),
        (trial::words(), trial::input()).prop_map(|(id, input)| {
            json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": input})
        }),
        trial::words().prop_map(|id| {
            json!({"type": "web_search_tool_result", "tool_use_id": id, "content": [{"type": "web_search_result", "url": "https://example.org"}]})
        }),
        trial::words().prop_map(|text| json!({"type": "compaction", "content": text})),
        trial::words().prop_map(|text| json!({"type": "of_tomorrow", "says": {"it": text}})),
    ]
}

fn answer() -> impl Strategy<Value = Value> {
    let tokens = prop::option::of(0..100_000u64);
    (prop::collection::vec(block(), 0..5), 0..9999u64, tokens, any::<bool>()).prop_map(
        |(content, output, cached, stopped)| {
            let mut usage = json!({"input_tokens": 7, "output_tokens": output, "service_tier": "standard"});
            if let Some(cached) = cached {
                usage["cache_read_input_tokens"] = cached.into();
                usage["cache_creation_input_tokens"] = 3.into();
                usage["server_tool_use"] = json!({"web_search_requests": 1});
            }
            json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
                "stop_reason": if stopped { "stop_sequence" } else { "end_turn" },
                "stop_sequence": stopped.then_some("END"), "usage": usage,
            })
        },
    )
}

/// As Anthropic's server streams it.
fn streamed(body: &Value, cuts: &[usize]) -> Vec<Value> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut start = body.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["stop_sequence"] = Value::Null;
    start["usage"]["output_tokens"] = 1.into();
    start["usage"]
        .as_object_mut()
        .unwrap()
        .remove("server_tool_use");
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "ping"}),
    ];
    for (index, block) in body["content"].as_array().unwrap().iter().enumerate() {
        let mut begun = block.clone();
        let mut deltas = Vec::new();
        let mut takes = |name: &str, kind: &str, field: &str, empty: Value| {
            let text = match &block[name] {
                Value::String(text) => text.clone(),
                Value::Object(input) if input.is_empty() => String::new(),
                other => other.to_string(),
            };
            begun[name] = empty;
            for piece in trial::cut(&text, &mut cuts) {
                deltas.push(json!({"type": kind, field: piece}));
            }
        };
        match block["type"].as_str().unwrap() {
            "compaction" => takes("content", "compaction_delta", "content", Value::Null),
            "server_tool_use" | "tool_use" => {
                takes("input", "input_json_delta", "partial_json", json!({}))
            }
            "text" => takes("text", "text_delta", "text", json!("")),
            "thinking" => {
                takes("thinking", "thinking_delta", "thinking", json!(""));
                begun["signature"] = "".into();
                deltas.push(json!({"type": "signature_delta", "signature": block["signature"]}));
            }
            _ => {}
        }
        begun.as_object_mut().unwrap().remove("citations");
        for citation in block["citations"].as_array().into_iter().flatten() {
            deltas.push(json!({"type": "citations_delta", "citation": citation}));
        }
        events.push(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let mut usage = body["usage"].clone();
    usage.as_object_mut().unwrap().remove("service_tier");
    let delta = json!({"stop_reason": body["stop_reason"], "stop_sequence": body["stop_sequence"]});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": usage}));
    events.push(json!({"type": "message_stop"}));
    events
}

proptest! {
    /// A streamed answer is shown otherwise than the same answer unstreamed.
    #[test]
    fn streams_give_what_whole_answers_give(body in answer(), cuts in trial::cuts()) {
        let said: Vec<Said> = streamed(&body, &cuts).into_iter().map(Said::Sse).collect();
        trial::same(&MESSAGES, &target(), &body, &said);
    }

    /// A hostile server ends the observer.
    #[test]
    fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_anthropic(&data);
    }
}

/// What a request says is not shown, or is shown as something else.
#[test]
fn requests_are_read() {
    let body = json!({
        "model": "claude", "max_tokens": 5, "stream": true, "new_field": [1],
        "metadata": {"user_id": "user_a_account_b_session_c-d"},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "ls", "input": {"dir": "/"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": [
                    {"type": "text", "text": "no"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
                ]},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "T"},
                {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "search_result", "source": "s", "title": "t", "content": []},
            ]},
        ],
        "tools": [
            {"name": "ls", "description": "Lists.", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        ],
    });
    let request = serde_json::to_value(MESSAGES.request(&target(), &body)).unwrap();
    let hash = blake3::hash(b"aGVsbG8=").to_hex();
    let blob = json!({"type": "blob", "modality": "image", "mime_type": "image/png", "bytes": 5, "blake3": hash.as_str()});
    let expected = json!({
        "model": "claude", "stream": true, "conversation_id": "c-d",
        "parameters": {"max_tokens": 5, "new_field": [1], "metadata": {"user_id": "user_a_account_b_session_c-d"}},
        "system": [{"type": "text", "content": "Be brief."}],
        "messages": [
            {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
            {"role": "assistant", "parts": [{"type": "tool_call", "id": "t", "name": "ls", "arguments": {"dir": "/"}}]},
            {"role": "user", "parts": [
                {"type": "tool_call_response", "id": "t", "is_error": true, "response": [{"type": "text", "text": "no"}, blob]},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "T"},
                {"type": "uri", "modality": "document", "uri": "https://example.org/a.pdf"},
                {"type": "file", "file_id": "file_1"},
                {"type": "search_result", "source": "s", "title": "t", "content": []},
            ]},
        ],
        "tools": [
            {"type": "function", "name": "ls", "description": "Lists.", "parameters": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search", "parameters": {"max_uses": 2}},
        ],
    });
    assert_eq!(request, expected);
}

/// Claude Code's session is not told.
#[test]
fn sessions_are_found_in_both_forms() {
    let user = r#"{"device_id":"d","account_uuid":"","session_id":"s-1"}"#;
    let body = json!({"metadata": {"user_id": user}, "messages": []});
    let request = MESSAGES.request(&target(), &body);
    assert_eq!(request.conversation_id.as_deref(), Some("s-1"));
}

/// An API of somebody else is taken for Anthropic's, or Anthropic's is not recognised.
#[test]
fn only_messages_are_claimed() {
    let body =
        json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]});
    let claim = |host: &str, path: &str, headers: &[(&str, &str)], body: &Value| {
        trial::claimed(&MESSAGES, host, path, headers, body)
            .map(|target| (target.provider, target.model))
    };
    let anthropic = Some(("anthropic".to_owned(), None));
    assert_eq!(
        claim("api.anthropic.com", "/v1/messages", &[], &body),
        anthropic
    );
    assert_eq!(
        claim("gateway.example", "/llm/v1/messages", &[], &body),
        Some((COMPATIBLE.into(), None))
    );
    assert_eq!(
        claim("api.deepseek.com", "/anthropic/v1/messages", &[], &body),
        Some(("deepseek".into(), None))
    );
    assert_eq!(
        claim("api.anthropic.com", "/v1/messages/count_tokens", &[], &body),
        None
    );
    assert_eq!(
        claim("api.openai.com", "/v1/threads/t/messages", &[], &body),
        None
    );
    assert_eq!(
        claim("chat.example", "/v1/messages", &[], &json!({"text": "hi"})),
        None
    );
    let path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:streamRawPredict";
    assert_eq!(
        claim("l-aiplatform.googleapis.com", path, &[], &body),
        Some(("gcp.vertex_ai".into(), Some("claude-x@1".into())))
    );
}

/// An error in the middle of a stream looks like a good answer, or what came before it is lost.
#[test]
fn errors_keep_what_came() {
    let body = json!({"id": "m", "role": "assistant", "model": "c", "content": [{"type": "text", "text": "abc"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2}});
    let mut events = streamed(&body, &[2]);
    events.truncate(5);
    events.push(
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    );
    let said: Vec<Said> = events.into_iter().map(Said::Sse).collect();
    let (response, _) = trial::merged(&MESSAGES, &target(), &said);
    assert!(!response.is_complete);
    let error = response.error.unwrap();
    assert_eq!(error.kind.as_deref(), Some("overloaded_error"));
    assert_eq!(error.message.as_deref(), Some("Overloaded"));
    assert_eq!(response.id.as_deref(), Some("m"));
    assert_eq!(response.choices[0].message.parts.len(), 1);

    let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}, "request_id": "req_1"});
    let response = MESSAGES.response(&target(), 429, &body);
    assert_eq!(
        response.error.unwrap().kind.as_deref(),
        Some("rate_limit_error")
    );
    assert_eq!(response.extra["request_id"], "req_1");
}

/// Tokens from caches are not counted as input, or counted twice.
#[test]
fn usage_is_exact() {
    let reported = json!({"input_tokens": 4, "cache_creation_input_tokens": 1167, "cache_read_input_tokens": 20, "output_tokens": 9});
    let body = json!({"content": [], "usage": reported});
    let usage = MESSAGES.response(&target(), 200, &body).usage.unwrap();
    assert_eq!(usage.input_tokens, Some(1191));
    assert_eq!(usage.cache_read_tokens, Some(20));
    assert_eq!(usage.cache_write_tokens, Some(1167));
    assert_eq!(usage.output_tokens, Some(9));
    assert_eq!(usage.reported, reported);
}

proptest! {
    /// The same, for the API before messages.
    #[test]
    fn completions_stream_too(text in trial::words(), cuts in trial::cuts()) {
        let whole = json!({"type": "completion", "id": "c", "completion": text, "stop_reason": "stop_sequence",
            "model": "claude-2", "stop": "\n\nHuman:", "log_id": "c"});
        let mut cuts = cuts.iter().copied().cycle();
        let pieces = trial::cut(&text, &mut cuts);
        let mut said = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let mut event = whole.clone();
            event["completion"] = piece.as_str().into();
            if at + 1 < pieces.len() {
                event["stop_reason"] = Value::Null;
                event["stop"] = Value::Null;
            }
            said.push(Said::Sse(event));
        }
        trial::same(&COMPLETE, &target(), &whole, &said);
    }
}

/// Nearly all events are made trees of.
#[test]
fn usual_events_are_plain() {
    for delta in [
        json!({"type": "text_delta", "text": "a\n"}),
        json!({"type": "input_json_delta", "partial_json": "{"}),
        json!({"type": "thinking_delta", "thinking": "a"}),
    ] {
        let text = json!({"type": "content_block_delta", "index": 0, "delta": delta}).to_string();
        let piece = dialect::Piece::Json(text.as_bytes());
        let mut merge = MessageMerge::default();
        assert!(merge.plain(&piece.read().unwrap(), &mut drop), "{text}");
    }
}
