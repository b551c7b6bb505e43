use base64::Engine;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::dialect::{Dialect, Piece};
use super::super::trial::{self, Said};
use super::*;

fn target() -> Target {
    Target {
        provider: "aws.bedrock".into(),
        operation: Operation::Chat,
        model: Some("a.model".into()),
    }
}

fn block() -> impl Strategy<Value = Value> {
    prop_oneof![
        trial::words().prop_map(|text| json!({"text": text})),
        (trial::words(), trial::words()).prop_map(|(text, by)| {
            json!({"reasoningContent": {"reasoningText": {"text": text, "signature": by}}})
        }),
        Just(json!({"reasoningContent": {"redactedContent": "aGVsbG8="}})),
        trial::input().prop_map(|input| json!({"toolUse": {"toolUseId": "t", "name": "f", "input": input}})),
        trial::words().prop_map(|text| {
            json!({"citationsContent": {"content": [{"text": text}], "citations": [{"title": "T"}]}})
        }),
    ]
}

fn answer() -> impl Strategy<Value = Value> {
    let kind = |block: &Value| block.as_object().unwrap().keys().next().unwrap().clone();
    prop::collection::vec(block(), 1..5).prop_map(move |mut content| {
        // Neighbours that are text are one block: Amazon's streams could not tell them apart.
        content.dedup_by_key(|block| kind(block));
        json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 20, "cacheReadInputTokens": 9, "cacheWriteInputTokens": 0},
            "metrics": {"latencyMs": 7}, "trace": {"guardrail": {"modelOutput": ["x"]}}})
    })
}

/// As Bedrock streams it: names of events and what they say. Amazon's models number each piece of text anew.
fn streamed(body: &Value, cuts: &[usize], each_piece_a_block: bool) -> Vec<(String, Value)> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut events = vec![(
        "messageStart".to_owned(),
        json!({"role": "assistant", "p": "abc"}),
    )];
    let mut index = 0;
    for block in body["output"]["message"]["content"].as_array().unwrap() {
        let mut say = |index: u64, delta: Value| {
            events.push((
                "contentBlockDelta".to_owned(),
                json!({"contentBlockIndex": index, "delta": delta, "p": "ab"}),
            ));
        };
        if let Some(text) = block["text"].as_str() {
            for piece in trial::cut(text, &mut cuts) {
                say(index, json!({"text": piece}));
                index += u64::from(each_piece_a_block);
            }
        } else if let Some(text) = block["reasoningContent"]["reasoningText"]["text"].as_str() {
            for piece in trial::cut(text, &mut cuts) {
                say(index, json!({"reasoningContent": {"text": piece}}));
            }
            say(
                index,
                json!({"reasoningContent": {"signature": block["reasoningContent"]["reasoningText"]["signature"]}}),
            );
        } else if let Some(text) = block["citationsContent"]["content"][0]["text"].as_str() {
            for piece in trial::cut(text, &mut cuts) {
                say(index, json!({"text": piece}));
            }
            say(
                index,
                json!({"citation": block["citationsContent"]["citations"][0]}),
            );
        } else if let Some(call) = block["toolUse"].as_object() {
            let start = json!({"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}});
            events.push((
                "contentBlockStart".into(),
                json!({"contentBlockIndex": index, "start": start}),
            ));
            for piece in trial::cut(&call["input"].to_string(), &mut cuts) {
                let delta = json!({"toolUse": {"input": piece}});
                events.push((
                    "contentBlockDelta".into(),
                    json!({"contentBlockIndex": index, "delta": delta}),
                ));
            }
        } else {
            say(index, block.clone());
        }
        events.push((
            "contentBlockStop".into(),
            json!({"contentBlockIndex": index}),
        ));
        index += 1;
    }
    events.push((
        "messageStop".into(),
        json!({"stopReason": body["stopReason"]}),
    ));
    events.push(("metadata".into(), json!({"usage": body["usage"], "metrics": body["metrics"], "trace": body["trace"], "p": "a"})));
    events
}

fn chunk(event: &Value) -> Said {
    let bytes = base64::engine::general_purpose::STANDARD.encode(event.to_string());
    Said::Aws("chunk".into(), json!({"bytes": bytes, "p": "abc"}))
}

proptest! {
    /// A streamed answer is shown otherwise than the same answer unstreamed.
    #[test]
    fn streams_give_what_whole_answers_give(body in answer(), cuts in trial::cuts()) {
        let events = streamed(&body, &cuts, false);
        let said: Vec<Said> = events.into_iter().map(|(kind, event)| Said::Aws(kind, event)).collect();
        let (response, _) = trial::merged(&CONVERSE_STREAM, &target(), &said);
        prop_assert_eq!(response, CONVERSE.response(&target(), 200, &body));
    }

    /// The same for Amazon's own models, whose streams of `InvokeModel` say it otherwise.
    #[test]
    fn amazons_models_stream_too(text in trial::words(), input in trial::input(), called in any::<bool>(), cuts in trial::cuts()) {
        let mut content = vec![json!({"text": text})];
        if called {
            content.push(json!({"toolUse": {"toolUseId": "t", "name": "f", "input": input}}));
        }
        let body = json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 5, "outputTokens": 6, "cacheReadInputTokenCount": 1, "cacheWriteInputTokenCount": 0},
            "amazon-bedrock-guardrailAction": "NONE"});
        let events = streamed(&body, &cuts, true).into_iter();
        let said: Vec<Said> = events.map(|(kind, event)| Said::Aws(kind, event)).collect();
        let (response, _) = trial::merged(&CONVERSE_STREAM, &target(), &said);
        prop_assert_eq!(response.choices, CONVERSE.response(&target(), 200, &body).choices);
        let mut said = Vec::new();
        for (kind, event) in streamed(&body, &cuts, true) {
            let mut event = json!({kind.as_str(): event});
            if kind == "metadata" {
                event["metadata"]["metrics"] = json!({});
                event["metadata"]["trace"] = json!({});
                event["metadata"].as_object_mut().unwrap().remove("p");
                event["amazon-bedrock-invocationMetrics"] = json!({"inputTokenCount": 5});
                event["amazon-bedrock-guardrailAction"] = "NONE".into();
            }
            said.push(chunk(&event));
        }
        trial::same(&INVOKE_STREAM, &target(), &body, &said);
        let usage = INVOKE.response(&target(), 200, &body).usage.unwrap();
        prop_assert_eq!(usage.input_tokens, Some(6));
    }

    /// The same for models that say text only.
    #[test]
    fn models_of_text_stream_too(text in trial::words(), cuts in trial::cuts()) {
        let pieces = trial::cut(&text, &mut cuts.iter().copied().cycle());
        let stream = |whole: &Value, piece: &dyn Fn(&str, bool, bool) -> Value| {
            let last = pieces.len() - 1;
            let said: Vec<Said> = pieces.iter().enumerate()
                .map(|(at, text)| chunk(&piece(text, at == 0, at == last)))
                .collect();
            trial::same(&INVOKE_STREAM, &target(), whole, &said);
        };
        let titan = json!({"inputTextTokenCount": 28, "results": [{"tokenCount": 3, "outputText": text, "completionReason": "FINISH"}]});
        stream(&titan, &|text, first, last| json!({"outputText": text, "index": 0.0,
            "inputTextTokenCount": first.then_some(28), "totalOutputTextTokenCount": last.then_some(3),
            "completionReason": last.then_some("FINISH")}));
        let llama = json!({"generation": text, "prompt_token_count": 8, "generation_token_count": 35, "stop_reason": "stop"});
        stream(&llama, &|text, first, last| json!({"generation": text, "prompt_token_count": first.then_some(8),
            "generation_token_count": if last { 35 } else { 1 }, "stop_reason": last.then_some("stop")}));
        let mistral = json!({"outputs": [{"text": text, "stop_reason": "stop"}]});
        stream(&mistral, &|text, _, last| json!({"outputs": [{"text": text, "stop_reason": last.then_some("stop")}]}));
        let choices = json!({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
        stream(&choices, &|text, first, last| json!({"id": "c", "choices": [{"index": 0,
            "delta": {"role": first.then_some("assistant"), "content": text}, "finish_reason": last.then_some("stop")}],
            "usage": last.then(|| json!({"prompt_tokens": 1, "completion_tokens": 2}))}));
    }

    /// A hostile server ends the observer.
    #[test]
    fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_bedrock(&data);
    }
}

/// What a request says is not shown, or is shown as something else.
#[test]
fn requests_are_read() {
    let body = json!({
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}, {"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "no"}], "status": "error"}}]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}}], "toolChoice": {"auto": {}}},
        "inferenceConfig": {"maxTokens": 3},
    });
    let hash = blake3::hash(b"aGVsbG8=").to_hex();
    let expected = json!({
        "model": "a.model", "stream": true,
        "system": [{"type": "text", "content": "Be brief."}, {"type": "cachePoint", "cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "parts": [{"type": "text", "content": "Hi"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "bytes": 5, "blake3": hash.as_str()}]},
            {"role": "assistant", "parts": [{"type": "tool_call", "id": "t", "name": "f", "arguments": {"a": 1}}]},
            {"role": "user", "parts": [{"type": "tool_call_response", "id": "t", "response": [{"text": "no"}], "is_error": true}]},
        ],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
        "parameters": {"inferenceConfig": {"maxTokens": 3}, "toolConfig": {"toolChoice": {"auto": {}}}},
    });
    assert_eq!(
        serde_json::to_value(CONVERSE_STREAM.request(&target(), &body)).unwrap(),
        expected
    );
    let nova = json!({"schemaVersion": "messages-v1", "messages": body["messages"], "inferenceConfig": {}});
    assert_eq!(
        INVOKE.request(&target(), &nova).messages,
        CONVERSE.request(&target(), &body).messages
    );
    let titan = json!({"inputText": "Hi", "textGenerationConfig": {"maxTokenCount": 5}});
    let request = INVOKE.request(&target(), &titan);
    assert_eq!(
        serde_json::to_value(&request.messages).unwrap(),
        json!([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}])
    );
}

/// A model's name is told with its encoding, or something that is no call is taken for one.
#[test]
fn only_calls_are_claimed() {
    let body = json!({"messages": []});
    let claim = |dialect: &dyn Dialect, path: &str| {
        trial::claimed(
            dialect,
            "bedrock-runtime.us-east-1.amazonaws.com",
            path,
            &[],
            &body,
        )
        .and_then(|target| target.model)
    };
    let model = |name: &str| Some(name.to_owned());
    assert_eq!(
        claim(&CONVERSE, "/model/anthropic.claude-v1%3A0/converse"),
        model("anthropic.claude-v1:0")
    );
    assert_eq!(
        claim(&CONVERSE, "/model/anthropic.claude-v1%3A0/converse-stream"),
        None
    );
    let arn = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/invoke";
    assert_eq!(
        claim(&INVOKE, arn),
        model("arn:aws:bedrock:us-east-1:1:inference-profile/x")
    );
    assert_eq!(claim(&INVOKE, "/guardrail/x/version/1/apply"), None);
    assert_eq!(decoded("a%2"), "a%2");
    assert_eq!(decoded("%zz%41é"), "%zzAé");
}

/// An exception in a stream looks like a good answer.
#[test]
fn exceptions_are_errors() {
    let said = [
        Said::Aws("messageStart".into(), json!({"role": "assistant"})),
        Said::Aws(
            "contentBlockDelta".into(),
            json!({"contentBlockIndex": 0, "delta": {"text": "a"}}),
        ),
        Said::Aws(
            "throttlingException".into(),
            json!({"message": "slow down"}),
        ),
    ];
    let (response, _) = trial::merged(&CONVERSE_STREAM, &target(), &said);
    assert!(!response.is_complete);
    assert_eq!(response.choices[0].message.parts.len(), 1);
    let error = response.error.unwrap();
    assert_eq!(error.kind.as_deref(), Some("throttlingException"));
    assert_eq!(error.message.as_deref(), Some("slow down"));
}

/// Nearly all events are made trees of.
#[test]
fn usual_events_are_plain() {
    for delta in [
        json!({"text": "a\n"}),
        json!({"toolUse": {"input": "{"}}),
        json!({"reasoningContent": {"text": "a"}}),
    ] {
        let text = json!({"contentBlockIndex": 0, "delta": delta, "p": "abc"}).to_string();
        let piece = Piece::Json(text.as_bytes());
        assert!(piece.read::<converse::Plain<'_>>().is_some(), "{text}");
    }
}

/// A stream that is cut off before it says what it took looks whole.
#[test]
fn the_end_is_behind_what_it_took() {
    let mut merge = CONVERSE_STREAM.merge(&target());
    let mut ends = |kind: &str, payload: Value| {
        let payload = payload.to_string();
        let piece = Piece::Aws {
            kind,
            class: "event",
            payload: payload.as_bytes(),
        };
        merge.piece(&piece, &mut drop);
        merge.is_final()
    };
    assert!(!ends("messageStart", json!({"role": "assistant"})));
    assert!(!ends("messageStop", json!({"stopReason": "end_turn"})));
    let usage = json!({"inputTokens": 3, "outputTokens": 1});
    assert!(ends("metadata", json!({"usage": usage})));
}

/// What a model of OpenAI's took from a cache, and thought, is not told on Bedrock.
#[test]
fn openais_usage_is_whole() {
    let body = json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}],
        "usage": {"prompt_tokens": 17, "completion_tokens": 5, "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}});
    let usage = INVOKE.response(&target(), 200, &body).usage.unwrap();
    assert_eq!(
        (usage.cache_read_tokens, usage.reasoning_tokens),
        (Some(4), Some(2))
    );
}
