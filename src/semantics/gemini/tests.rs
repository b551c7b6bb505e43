use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::dialect;
use super::super::trial::{self, Said};
use super::*;

fn target(operation: Operation) -> Target {
    Target {
        provider: "gcp.gemini".into(),
        operation,
        model: Some("gemini".into()),
    }
}

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        trial::words().prop_map(|text| json!({"text": text})),
        trial::words().prop_map(|text| json!({"text": text, "thought": true})),
        trial::input().prop_map(|args| json!({"functionCall": {"name": "f", "args": args}})),
        (trial::input(), trial::words()).prop_map(|(args, by)| {
            json!({"functionCall": {"id": "1", "name": "f", "args": args}, "thoughtSignature": by})
        }),
        trial::words()
            .prop_map(|code| json!({"executableCode": {"language": "PYTHON", "code": code}})),
        trial::words().prop_map(
            |out| json!({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": out}})
        ),
        trial::words()
            .prop_map(|data| json!({"inlineData": {"mimeType": "image/png", "data": data}})),
        trial::words().prop_map(|text| json!({"ofTomorrow": {"says": text}})),
    ]
}

/// Neighbours of one kind are one part: a stream could not tell them apart.
fn parts() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(part(), 1..5).prop_map(|mut parts| {
        let text = |part: &Value| part.get("text").map(|_| part.get("thought").is_some());
        parts.dedup_by_key(|part| {
            text(part).map_or_else(|| part.to_string(), |thought| thought.to_string())
        });
        parts
    })
}

fn answer() -> impl Strategy<Value = Value> {
    (prop::collection::vec(parts(), 1..3), any::<bool>(), 0..999u64).prop_map(|(all, grounded, thoughts)| {
        let candidates = all.into_iter().enumerate().map(|(index, parts)| {
            let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": index});
            if grounded {
                candidate["groundingMetadata"] = json!({"webSearchQueries": ["q"]});
            }
            candidate
        });
        let usage = json!({"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": thoughts,
            "totalTokenCount": 12 + thoughts, "cachedContentTokenCount": 2});
        json!({"candidates": candidates.collect::<Vec<_>>(), "usageMetadata": usage,
            "modelVersion": "gemini-2", "responseId": "r"})
    })
}

/// As Google's server streams it: candidates one piece after another, the last chunk with all that is left to say.
fn streamed(body: &Value, cuts: &[usize]) -> Vec<Value> {
    let mut cuts = cuts.iter().copied().cycle();
    let chunk = |candidate: Value| {
        json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 5},
            "modelVersion": body["modelVersion"], "responseId": body["responseId"]})
    };
    let mut chunks = Vec::new();
    for candidate in body["candidates"].as_array().unwrap() {
        for part in candidate["content"]["parts"].as_array().unwrap() {
            let mut pieces = vec![part.clone()];
            if let Some(text) = part["text"].as_str() {
                pieces = trial::cut(text, &mut cuts)
                    .into_iter()
                    .map(|piece| {
                        let mut part = part.clone();
                        part["text"] = piece.into();
                        part
                    })
                    .collect();
            }
            for piece in pieces {
                chunks.push(chunk(json!({"content": {"parts": [piece], "role": "model"}, "index": candidate["index"]})));
            }
        }
        let mut last = candidate.clone();
        last["content"]["parts"] = json!([{"text": "", "thoughtSignature": "s"}]);
        chunks.push(chunk(last));
    }
    let last = chunks.last_mut().unwrap();
    let mut all = body.clone();
    all.as_object_mut().unwrap().remove("candidates");
    last.as_object_mut()
        .unwrap()
        .append(all.as_object_mut().unwrap());
    chunks
}

proptest! {
    /// A streamed answer is shown otherwise than the same answer unstreamed, in any of the three forms of streams.
    #[test]
    fn streams_give_what_whole_answers_give(body in answer(), cuts in trial::cuts()) {
        let chunks = streamed(&body, &cuts);
        let target = target(Operation::GenerateContent);
        let said: Vec<Said> = chunks.iter().cloned().map(Said::Sse).collect();
        let whole = STREAM_GENERATE.response(&target, 200, &body);
        let (response, deltas) = trial::merged(&STREAM_GENERATE, &target, &said);
        prop_assert_eq!(&response, &whole);
        trial::adds_up(&response, &deltas);
        let said: Vec<Said> = chunks.iter().map(|chunk| Said::Json(json!({"response": chunk}))).collect();
        prop_assert_eq!(&trial::merged(&STREAM_GENERATE, &target, &said).0, &whole);
        prop_assert_eq!(&STREAM_GENERATE.response(&target, 200, &Value::Array(chunks)), &whole);
        prop_assert_eq!(&STREAM_GENERATE.response(&target, 200, &json!({"response": body})), &whole);
    }

    /// A hostile server ends the observer.
    #[test]
    fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_gemini(&data);
    }
}

/// A chunk of text with any of the members that chunks may have.
fn chunk() -> impl Strategy<Value = Value> {
    let has = prop::array::uniform8(any::<bool>());
    (trial::words(), has, 0..3u64).prop_map(|(text, has, number)| {
        let some = |has: bool, name: &str, value: Value| has.then(|| (name.to_owned(), value));
        let object = |members: Vec<Option<(String, Value)>>| -> Value {
            Value::Object(members.into_iter().flatten().collect())
        };
        let ratings = match number {
            0 => Value::Null,
            number => json!([{"probability": number}]),
        };
        let part = object(vec![
            some(true, "text", text.into()),
            some(has[0], "thought", has[1].into()),
        ]);
        let content = object(vec![
            some(true, "parts", json!([part])),
            some(has[2], "role", number.into()),
        ]);
        let candidate = object(vec![
            some(true, "content", content),
            some(has[3], "index", number.into()),
            some(has[4], "safetyRatings", ratings),
            some(has[2], "finishReason", Value::Null),
        ]);
        let chunk = object(vec![
            some(true, "candidates", json!([candidate])),
            some(has[5], "usageMetadata", json!({"totalTokenCount": number})),
            some(
                has[6],
                "modelVersion",
                if number == 1 {
                    Value::Null
                } else {
                    number.into()
                },
            ),
            some(has[1], "traceId", number.into()),
        ]);
        match has[7] && number > 0 {
            true => json!({"response": chunk, "traceId": number}),
            false => chunk,
        }
    })
}

proptest! {
    /// What only some chunks of text say besides is forgotten, or told of another candidate.
    #[test]
    fn chunks_of_text_say_all_that_they_have(chunks in prop::collection::vec(chunk(), 1..12)) {
        let target = target(Operation::GenerateContent);
        let said: Vec<Said> = chunks.into_iter().map(Said::Sse).collect();
        for length in 1..=said.len() {
            trial::merged(&STREAM_GENERATE, &target, &said[..length]);
        }
    }
}

/// Nearly all chunks are made trees of.
#[test]
fn usual_chunks_are_plain() {
    let chunk = json!({"candidates": [{"content": {"parts": [{"text": "a\n"}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
            "serviceTier": "standard"}, "modelVersion": "gemini-2", "responseId": "r"});
    for text in [
        chunk.to_string(),
        json!({"response": chunk, "traceId": "t"}).to_string(),
    ] {
        let data = text.as_str();
        let piece = dialect::Piece::Sse { event: None, data };
        let mut merge = stream::GenerateMerge::default();
        let mut plain = || merge.plain(&piece.read().unwrap(), piece.data(), &mut drop);
        assert!(!plain(), "nothing has begun");
        assert!(merge.piece(&piece, &mut drop));
        let mut plain = || merge.plain(&piece.read().unwrap(), piece.data(), &mut drop);
        assert!(plain());
    }
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        trial::words().prop_map(|text| json!({"type": "text", "text": text})),
        Just(json!({"type": "image", "data": "aGVsbG8=", "mime_type": "image/png"})),
    ]
}

fn step() -> impl Strategy<Value = Value> {
    let contents = prop::collection::vec(content(), 1..3).prop_map(|mut contents: Vec<Value>| {
        contents.dedup_by_key(|content| content["type"].clone());
        contents
    });
    prop_oneof![
        contents.prop_map(|contents| json!({"type": "model_output", "content": contents})),
        trial::words().prop_map(|by| json!({"type": "thought", "signature": by})),
        trial::words().prop_map(|text| {
            json!({"type": "thought", "signature": "s", "summary": [{"type": "text", "text": text}]})
        }),
        trial::input().prop_map(|args| json!({"type": "function_call", "id": "c", "name": "f", "arguments": args})),
        Just(json!({"type": "google_search_result", "call_id": "g", "result": [{"url": "https://example.org"}]})),
    ]
}

/// As the server streams an interaction.
fn interaction(body: &Value, cuts: &[usize]) -> Vec<Value> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut outline = body.clone();
    outline.as_object_mut().unwrap().remove("steps");
    let mut events = vec![
        json!({"event_type": "interaction.created", "interaction": {"id": body["id"], "status": "in_progress"}}),
        json!({"event_type": "interaction.status_update", "status": "in_progress"}),
    ];
    for (index, step) in body["steps"].as_array().unwrap().iter().enumerate() {
        let mut deltas = Vec::new();
        let mut begun = step.clone();
        match step["type"].as_str().unwrap() {
            "function_call" => {
                begun["arguments"] = json!({});
                for piece in trial::cut(&step["arguments"].to_string(), &mut cuts) {
                    deltas.push(json!({"type": "arguments_delta", "arguments": piece}));
                }
            }
            "model_output" => {
                begun = json!({"type": "model_output"});
                for content in step["content"].as_array().unwrap() {
                    let Some(text) = content["text"].as_str() else {
                        deltas.push(content.clone());
                        continue;
                    };
                    for piece in trial::cut(text, &mut cuts) {
                        deltas.push(json!({"type": "text", "text": piece}));
                    }
                }
            }
            "thought" => {
                begun = json!({"type": "thought"});
                for summary in step["summary"].as_array().into_iter().flatten() {
                    for piece in trial::cut(summary["text"].as_str().unwrap(), &mut cuts) {
                        deltas.push(json!({"type": "thought_summary", "content": {"type": "text", "text": piece}}));
                    }
                }
                deltas.push(json!({"type": "thought_signature", "signature": step["signature"]}));
            }
            _ => {}
        }
        events.push(json!({"event_type": "step.start", "index": index, "step": begun}));
        for delta in deltas {
            events.push(json!({"event_type": "step.delta", "index": index, "delta": delta}));
        }
        events.push(json!({"event_type": "step.stop", "index": index}));
    }
    events.push(json!({"event_type": "interaction.completed", "interaction": outline}));
    events
}

proptest! {
    /// The same, for interactions.
    #[test]
    fn interactions_stream_too(steps in prop::collection::vec(step(), 1..5), cuts in trial::cuts()) {
        let body = json!({"id": "v1_x", "status": "completed", "model": "gemini", "object": "interaction", "steps": steps,
            "created": "2026-05-13T19:57:40Z", "usage": {"total_input_tokens": 9, "total_output_tokens": 13,
            "total_thought_tokens": 207, "total_cached_tokens": 0, "total_tool_use_tokens": 1}});
        let said: Vec<Said> = interaction(&body, &cuts).into_iter().map(Said::Sse).collect();
        let target = target(Operation::GenerateContent);
        trial::same(&INTERACTIONS, &target, &body, &said);
        let usage = INTERACTIONS.response(&target, 200, &body).usage.unwrap();
        prop_assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(220)));
    }
}

/// What a request says is not shown, or is shown as something else.
#[test]
fn requests_are_read() {
    let body = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"fileData": {"fileUri": "https://example.org/a.jpg", "mimeType": "image/jpeg"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"}]},
            {"parts": [{"functionResponse": {"name": "f", "response": {"r": 2}}}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}, {"googleSearch": {}}],
        "generationConfig": {"temperature": 0},
    });
    let expected = json!({
        "model": "gemini", "stream": true,
        "system": [{"type": "text", "content": "Be brief."}],
        "messages": [
            {"role": "user", "parts": [{"type": "text", "content": "Hi"},
                {"type": "uri", "modality": "image", "mime_type": "image/jpeg", "uri": "https://example.org/a.jpg"}]},
            {"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {"a": 1}}]},
            {"role": "user", "parts": [{"type": "tool_call_response", "name": "f", "response": {"r": 2}}]},
        ],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}, {"type": "googleSearch", "name": "googleSearch"}],
        "parameters": {"generationConfig": {"temperature": 0}},
    });
    let read = |body: &Value, target: &Target| {
        serde_json::to_value(STREAM_GENERATE.request(target, body)).unwrap()
    };
    assert_eq!(read(&body, &target(Operation::GenerateContent)), expected);

    let mut inner = body;
    inner["session_id"] = "s-1".into();
    let wrapped = json!({"model": "gemini", "project": "p", "request": inner});
    let mut expected = expected;
    expected["conversation_id"] = "s-1".into();
    expected["parameters"]["project"] = "p".into();
    let target = Target {
        model: None,
        ..target(Operation::GenerateContent)
    };
    assert_eq!(read(&wrapped, &target), expected);
}

/// An API of somebody else is taken for Google's, or Google's is not recognised.
#[test]
fn only_calls_are_claimed() {
    let body = json!({"contents": [{"parts": [{"text": "x"}]}]});
    let claim = |dialect: &dyn Dialect, path: &str, body: &Value| {
        trial::claimed(dialect, "h", path, &[], body)
            .map(|target| (target.provider, target.model.unwrap_or_default()))
    };
    let some = |provider: &str, model: &str| Some((provider.to_owned(), model.to_owned()));
    assert_eq!(
        claim(&GENERATE, "/v1beta/models/gemini-x:generateContent", &body),
        some("gcp.gemini", "gemini-x")
    );
    assert_eq!(
        claim(
            &GENERATE,
            "/v1beta/models/gemini-x:streamGenerateContent",
            &body
        ),
        None
    );
    assert_eq!(
        claim(
            &STREAM_GENERATE,
            "/v1beta/models/gemini-x%3AstreamGenerateContent",
            &body
        ),
        some("gcp.gemini", "gemini-x")
    );
    let vertex = "/v1/projects/p/locations/l/publishers/google/models/g:generateContent";
    assert_eq!(claim(&GENERATE, vertex, &body), some("gcp.vertex_ai", "g"));
    assert_eq!(
        claim(
            &GENERATE,
            "/v1internal:generateContent",
            &json!({"request": body})
        ),
        some("gcp.gen_ai", "")
    );
    assert_eq!(
        claim(&GENERATE, "/v1beta/models/gemini-x:countTokens", &body),
        None
    );
    assert_eq!(
        claim(
            &GENERATE,
            "/v1beta/models/gemini-x:generateContent",
            &json!({"x": 1})
        ),
        None
    );
    assert_eq!(
        claim(
            &EMBED,
            "/v1beta/models/e:batchEmbedContents",
            &json!({"requests": []})
        ),
        some("gcp.gemini", "e")
    );
    assert_eq!(
        claim(
            &EMBED,
            "/v1/projects/p/models/churn:predict",
            &json!({"instances": [{"age": 5}]})
        ),
        None
    );
    assert_eq!(
        claim(
            &INTERACTIONS,
            "/v1beta/interactions",
            &json!({"input": "x", "model": "g"})
        ),
        some("gcp.gemini", "")
    );
    assert_eq!(
        claim(&INTERACTIONS, "/api/interactions", &json!({"type": 2})),
        None
    );
}

/// An error, or a stream that was cut off, looks like a whole answer.
#[test]
fn what_is_not_whole_says_so() {
    let target = target(Operation::GenerateContent);
    let begun = json!({"candidates": [{"content": {"parts": [{"text": "a"}], "role": "model"}}]});
    let (cut, _) = trial::merged(&STREAM_GENERATE, &target, &[Said::Sse(begun.clone())]);
    assert!(!cut.is_complete);
    assert_eq!(cut.choices.len(), 1);
    let error = json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}});
    let (failed, _) = trial::merged(
        &STREAM_GENERATE,
        &target,
        &[Said::Sse(begun), Said::Sse(error.clone())],
    );
    assert_eq!(failed.choices, cut.choices);
    let said = failed.error.unwrap();
    assert_eq!(
        (said.kind.as_deref(), said.code.as_deref()),
        (Some("UNAVAILABLE"), Some("503"))
    );
    let whole = GENERATE.response(&target, 503, &error);
    assert_eq!(whole.error.as_ref(), Some(&said));
    assert!(whole.is_complete);
    assert_eq!(
        STREAM_GENERATE
            .response(&target, 503, &json!([error]))
            .error,
        Some(said)
    );
}
