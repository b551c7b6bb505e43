//! A streamed answer and the same answer unstreamed give the same: with answers made by chance, and with the recorded
//! ones. And what compatible servers do differently, in streams written for that.

use agentsight::proto::Fields;
use agentsight::semantics::recognise::{DIALECTS, fuzz_dialects};
use agentsight::semantics::{
    Delta, DeltaKind, Dialect, Part, Piece, RequestView, Response, Target, openai, recognise,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::borrow;
use crate::recorded::{self, OwnedPiece};
use crate::restream::{self, End};
use crate::support::{Random, require};

fn target() -> Target {
    recognised("/v1/chat/completions", &json!({"messages": []})).1
}

fn recognised(path: &str, body: &Value) -> (&'static dyn Dialect, Target) {
    let fields = Fields::default();
    recognise(&RequestView {
        method: "POST",
        path,
        query: "",
        host: "api.openai.com",
        fields: &fields,
        body: Some(body),
    })
    .unwrap()
}

fn merged(dialect: &dyn Dialect, pieces: &[OwnedPiece]) -> (Response, Vec<Delta>) {
    let mut merge = dialect.merge(&target());
    let mut deltas = Vec::new();
    for piece in pieces {
        assert!(
            merge.piece(&borrow(piece), &mut |delta| deltas.push(delta)),
            "{piece:?}"
        );
    }
    (merge.finish(), deltas)
}

/// Merges pieces of JSON, as data of events.
fn chat(pieces: &[Value]) -> (Response, Vec<Delta>) {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| OwnedPiece::Sse(None, piece.to_string()))
        .collect();
    merged(&openai::Chat, &pieces)
}

fn same(dialect: &dyn Dialect, body: &Value, pieces: &[OwnedPiece]) {
    let whole = dialect.response(&target(), 200, body);
    let (streamed, deltas) = merged(dialect, pieces);
    assert_eq!(streamed, whole, "{pieces:#?}");
    let came = |choice: u64, wanted: fn(&DeltaKind) -> Option<&str>| -> String {
        let of_choice = deltas.iter().filter(|delta| delta.choice == choice);
        of_choice.filter_map(|delta| wanted(&delta.kind)).collect()
    };
    for choice in &whole.choices {
        let said = |wanted: fn(&Part) -> Option<&str>| -> String {
            choice.message.parts.iter().filter_map(wanted).collect()
        };
        assert_eq!(
            came(choice.index, |kind| match kind {
                DeltaKind::Text(text) => Some(text),
                _ => None,
            }),
            said(|part| match part {
                Part::Text { content, .. } | Part::Refusal { content } => Some(content),
                _ => None,
            })
        );
        assert_eq!(
            came(choice.index, |kind| match kind {
                DeltaKind::Reasoning(text) => Some(text),
                _ => None,
            }),
            said(|part| match part {
                Part::Reasoning { content, .. } => Some(content),
                _ => None,
            })
        );
        // Each part's deltas are of the part that has this number in the end.
        for (part, place) in choice.message.parts.iter().zip(0..) {
            let of_part = deltas
                .iter()
                .filter(|delta| delta.choice == choice.index && delta.part == place);
            let text: String = of_part
                .filter_map(|delta| match &delta.kind {
                    DeltaKind::Text(text) | DeltaKind::Reasoning(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            match part {
                Part::Text { content, .. }
                | Part::Refusal { content }
                | Part::Reasoning { content, .. } => assert_eq!(&text, content, "part {place}"),
                _ => assert_eq!(text, "", "part {place}"),
            }
        }
    }
}

/// A conversation looks different for no other reason than that it was streamed.
#[test]
fn recorded_answers_are_the_same_when_streamed() {
    let mut tried = 0;
    for exchange in require!(recorded::corpus()) {
        let Some(body) = exchange.response_json().filter(|_| exchange.status == 200) else {
            continue;
        };
        for seed in 0..4 {
            let random = &mut Random(seed);
            if body["choices"].is_array() && body["id"].is_string() {
                let path = if exchange.path.ends_with("/chat") {
                    "/v1/chat"
                } else {
                    "/chat/completions"
                };
                let dialect = recognised(path, &json!({"messages": []})).0;
                let mut body = body.clone();
                let is_chat = !body["choices"][0]["message"].is_null();
                let dialect = if is_chat {
                    dialect
                } else {
                    &openai::Completions
                };
                // Not streamed: the prompt again (Together), and when it was made, as text (Writer).
                body.as_object_mut().unwrap().remove("prompt");
                same(dialect, &body, &restream::chunks(&body, random));
                tried += 1;
            }
            if body["object"] == "response" {
                for end in [End::Whole, End::Empty] {
                    same(
                        &openai::Responses,
                        &body,
                        &restream::events(&body, end, random),
                    );
                    tried += 1;
                }
            }
        }
    }
    println!("{tried} streams made of recorded answers");
    assert!(tried > 0);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z \"\\\\{}:\\n]{0,40}", "\\PC{0,20}"]
}

fn said() -> impl Strategy<Value = Value> {
    let typed = prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        text().prop_map(
            |text| json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]})
        ),
        Just(json!({"type": "reference", "reference_ids": [1, 2]})),
    ];
    prop_oneof![
        3 => text().prop_map(Value::from),
        1 => Just(Value::Null),
        // A list with nothing in it is no list, once it is streamed.
        1 => prop::collection::vec(typed, 1..4).prop_map(Value::from),
    ]
}

fn calls() -> impl Strategy<Value = Vec<Value>> {
    let arguments = prop_oneof![
        text(),
        Just("{\"a\": [1, {\"b\": null}]}".to_owned()),
        Just(String::new())
    ];
    let call = ("[a-z0-9_]{1,12}", arguments);
    prop::collection::vec(call, 0..4).prop_map(|calls| {
        let with_id = |(number, (name, arguments))| {
            json!({"id": format!("call_{number}"), "type": "function",
                "function": {"name": name, "arguments": arguments}})
        };
        calls.into_iter().enumerate().map(with_id).collect()
    })
}

prop_compose! {
    fn choice()(
        content in said(),
        reasoning in prop::option::of(text()),
        name in prop::sample::select(vec!["reasoning_content", "reasoning"]),
        refusal in prop::option::of(text()),
        calls in calls(),
        finish in prop::sample::select(vec!["stop", "length", "tool_calls", "content_filter"]),
        strange in prop::option::of(text()),
    ) -> Value {
        let mut message = json!({"role": "assistant", "content": content, "refusal": refusal,
            "annotations": [], "strange": strange});
        // Thoughts in a field of their own, or in typed parts: no provider does both.
        if !content.is_array() {
            message[name] = json!(reasoning);
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        json!({"message": message, "finish_reason": finish, "logprobs": null, "seed": 7})
    }
}

prop_compose! {
    pub fn body()(
        mut choices in prop::collection::vec(choice(), 1..4),
        input in 0u64..1000,
        output in 0u64..1000,
        cached in prop::option::of(0u64..1000),
        filtered in any::<bool>(),
    ) -> Value {
        for (index, choice) in choices.iter_mut().enumerate() {
            choice["index"] = index.into();
        }
        let mut body = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 17,
            "model": "m", "choices": choices, "system_fingerprint": "fp", "service_tier": null,
            "usage": {"prompt_tokens": input, "completion_tokens": output,
                "prompt_tokens_details": {"cached_tokens": cached}}});
        if filtered {
            body["prompt_filter_results"] = json!([{"prompt_index": 0}]);
        }
        body
    }
}

fn item() -> impl Strategy<Value = Value> {
    let part = prop_oneof![
        3 => text().prop_map(|text| json!({"type": "output_text", "text": text, "annotations": [{"type": "url_citation"}], "logprobs": []})),
        1 => text().prop_map(|text| json!({"type": "refusal", "refusal": text})),
    ];
    let summary = text().prop_map(|text| json!({"type": "summary_text", "text": text}));
    prop_oneof![
        prop::collection::vec(part, 0..3).prop_map(|content| {
            json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content})
        }),
        (prop::collection::vec(summary, 0..3), prop::option::of(Just("gAAA"))).prop_map(|(summary, data)| {
            json!({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": data})
        }),
        ("[a-z]{1,9}", text()).prop_map(|(name, arguments)| {
            json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name,
                "arguments": arguments, "status": "completed"})
        }),
        ("[a-z]{1,9}", text()).prop_map(|(name, input)| {
            json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": name, "input": input})
        }),
        Just(json!({"type": "web_search_call", "id": "ws_1", "status": "completed",
            "action": {"type": "search", "query": "q"}})),
        Just(json!({"type": "news_of_tomorrow", "id": "x", "what": [1]})),
    ]
}

prop_compose! {
    fn response_body()(
        output in prop::collection::vec(item(), 0..5),
        is_cut in any::<bool>(),
    ) -> Value {
        let (status, details) = if is_cut {
            ("incomplete", json!({"reason": "max_output_tokens"}))
        } else {
            ("completed", Value::Null)
        };
        json!({"id": "resp_1", "object": "response", "created_at": 5, "model": "m", "status": status,
            "incomplete_details": details, "output": output, "error": null, "metadata": {},
            "usage": {"input_tokens": 3, "output_tokens": 4,
                "output_tokens_details": {"reasoning_tokens": 2}}})
    }
}

/// Any JSON, in which the names that mean something are frequent.
fn json_value() -> impl Strategy<Value = Value> {
    let names = vec![
        "choices",
        "delta",
        "message",
        "messages",
        "content",
        "tool_calls",
        "function",
        "index",
        "id",
        "type",
        "text",
        "usage",
        "error",
        "output",
        "item",
        "response",
        "output_index",
        "input",
        "name",
        "arguments",
        "data",
        "image_url",
        "url",
        "audio",
        "thinking",
        "reasoning_details",
        "code",
        "prompt_tokens",
        "summary",
        "status",
        "x_groq",
        "tools",
        "value",
        "step_details",
        "prompt",
    ];
    let words = vec![
        "text",
        "function",
        "response.completed",
        "response.output_item.added",
        "assistant",
        "reasoning",
        "message",
        "data:image/png;base64,AAAA",
        "thinking",
        "image_url",
        "response.output_text.delta",
        "tool",
        "mcp_call",
        "error",
        "",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let name = prop::sample::select(names.clone()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..7)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// A conversation looks different for no other reason than that it was streamed.
    #[test]
    fn chats_are_the_same_when_streamed(body in body(), seed in any::<u64>()) {
        same(&openai::Chat, &body, &restream::chunks(&body, &mut Random(seed)));
    }

    /// So does an agent's turn.
    #[test]
    fn responses_are_the_same_when_streamed(body in response_body(), seed in any::<u32>()) {
        for end in [End::Whole, End::Empty] {
            same(&openai::Responses, &body, &restream::events(&body, end, &mut Random(seed.into())));
        }
    }

    /// What came before a connection was lost is not shown, or shown as if it were all.
    #[test]
    fn what_was_said_before_a_stream_was_lost_is_told(
        body in response_body(), chat in body(), seed in any::<u32>(), keep in 0usize..40,
    ) {
        let mut pieces = restream::events(&body, End::Lost, &mut Random(seed.into()));
        pieces.truncate(keep);
        let (response, deltas) = merged(&openai::Responses, &pieces);
        prop_assert!(!response.is_complete);
        prop_assert_eq!(said_in(&deltas), said_at_last(&response));
        let mut pieces = restream::chunks(&chat, &mut Random(seed.into()));
        let ends = |piece: &OwnedPiece| {
            let choice = &piece.json().unwrap()["choices"][0];
            choice["finish_reason"].is_string()
        };
        let first_end = pieces.iter().position(ends).unwrap();
        pieces.truncate(keep.min(first_end));
        let (response, deltas) = merged(&openai::Chat, &pieces);
        prop_assert!(!response.is_complete);
        prop_assert_eq!(said_in(&deltas).len(), said_at_last(&response).len());
    }

    /// Somebody's answer stops us.
    #[test]
    fn no_json_makes_any_dialect_panic(values in prop::collection::vec(json_value(), 1..6)) {
        for dialect in DIALECTS {
            let target = target();
            for value in &values {
                let _ = serde_json::to_string(&dialect.request(&target, value)).unwrap();
                let _ = serde_json::to_string(&dialect.response(&target, 200, value)).unwrap();
                let _ = serde_json::to_string(&dialect.response(&target, 500, value)).unwrap();
            }
            let mut merge = dialect.merge(&target);
            for value in &values {
                let text = value.to_string();
                let event = value["type"].as_str();
                merge.piece(&Piece::Sse { event, data: &text }, &mut |_| {});
                merge.piece(&Piece::Json(text.as_bytes()), &mut |_| {});
            }
            let _ = merge.held();
            let _ = serde_json::to_string(&merge.finish()).unwrap();
        }
    }

    /// So do bytes that are no JSON.
    #[test]
    fn no_bytes_make_any_dialect_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_dialects(&data);
    }
}

fn said_in(deltas: &[Delta]) -> String {
    let text = |delta: &Delta| match &delta.kind {
        DeltaKind::Text(text) | DeltaKind::Reasoning(text) => Some(text.clone()),
        _ => None,
    };
    deltas.iter().filter_map(text).collect()
}

fn said_at_last(response: &Response) -> String {
    let parts = response
        .choices
        .iter()
        .flat_map(|choice| &choice.message.parts);
    let text = |part: &Part| match part {
        Part::Text { content, .. }
        | Part::Refusal { content }
        | Part::Reasoning { content, .. } => Some(content.clone()),
        _ => None,
    };
    parts.filter_map(text).collect()
}

fn calls_of(response: &Response) -> Vec<(Option<String>, String, Value)> {
    let call = |part: &Part| match part {
        Part::ToolCall {
            id,
            name,
            arguments,
        } => Some((id.clone(), name.clone(), arguments.clone())),
        _ => None,
    };
    response.choices[0]
        .message
        .parts
        .iter()
        .filter_map(call)
        .collect()
}

fn delta(delta: Value) -> Value {
    json!({"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta}]})
}

/// Two tools of an answer become one, with the arguments of both, for servers that number them in their own way.
#[test]
fn calls_are_told_apart_however_they_are_numbered() {
    let call = |index: Option<u64>, id: &str, name: &str, arguments: &str| {
        let mut call = json!({"function": {"arguments": arguments}});
        if let Some(index) = index {
            call["index"] = index.into();
        }
        if !id.is_empty() {
            call["id"] = id.into();
            call["function"]["name"] = name.into();
        }
        delta(json!({"tool_calls": [call]}))
    };
    let expected = vec![
        (Some("a".to_owned()), "f".to_owned(), json!({"x": 1})),
        (Some("b".to_owned()), "g".to_owned(), json!({"y": 2})),
    ];
    // As OpenAI does; without an index; whole calls which all have the index 0; names again and again.
    for stream in [
        vec![
            call(Some(0), "a", "f", ""),
            call(Some(1), "b", "g", ""),
            call(Some(0), "", "", "{\"x\": 1}"),
            call(Some(1), "", "", "{\"y\": 2}"),
        ],
        vec![
            call(None, "a", "f", "{\"x\""),
            call(None, "", "", ": 1}"),
            call(None, "b", "g", "{\"y\": 2}"),
        ],
        vec![
            call(Some(0), "a", "f", "{\"x\": 1}"),
            call(Some(0), "b", "g", "{\"y\": 2}"),
        ],
        vec![
            call(Some(0), "a", "f", "{\"x\""),
            call(Some(0), "a", "f", ": 1}"),
            call(Some(1), "b", "g", "{\"y\": 2}"),
        ],
    ] {
        let (response, deltas) = chat(&stream);
        assert_eq!(calls_of(&response), expected);
        let names: Vec<_> = deltas
            .iter()
            .filter_map(|delta| match &delta.kind {
                DeltaKind::ToolCall { name, .. } => Some((delta.part, name.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(names, [(0, "f"), (1, "g")]);
    }
}

/// An answer that broke off looks finished, or one that is finished looks broken.
#[test]
fn a_stream_is_complete_if_the_provider_said_so() {
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let said = delta(json!({"content": "a"}));
    let error = json!({"error": {"message": "overloaded", "code": 503}});
    assert!(!chat(std::slice::from_ref(&said)).0.is_complete);
    assert!(chat(&[said.clone(), finish.clone()]).0.is_complete);
    let (response, _) = chat(&[said.clone(), error.clone(), finish]);
    assert!(!response.is_complete);
    let told = response.error.unwrap();
    assert_eq!(
        (told.code.as_deref(), told.message.as_deref()),
        (Some("503"), Some("overloaded"))
    );
    let (response, _) = chat(&[said, json!([error])]);
    assert_eq!(
        response.error.unwrap().message.as_deref(),
        Some("overloaded")
    );
    let mut merge = openai::Chat.merge(&target());
    assert!(!merge.piece(
        &Piece::Sse {
            event: None,
            data: "{\"choices\": ["
        },
        &mut |_| {}
    ));
    assert!(merge.piece(
        &Piece::Sse {
            event: None,
            data: "[DONE]"
        },
        &mut |_| {}
    ));
    assert!(!merge.finish().is_complete);
}

/// Thoughts are told twice, since a router sends them in two fields.
#[test]
fn thoughts_are_told_once() {
    let detail =
        |text: &str| json!([{"type": "reasoning.text", "text": text, "index": 0, "format": "f"}]);
    let (response, deltas) = chat(&[
        delta(json!({"reasoning": "a", "reasoning_details": detail("a")})),
        delta(json!({"reasoning": "b", "reasoning_details": detail("b")})),
        delta(json!({"content": "c"})),
    ]);
    assert_eq!(said_at_last(&response), "abc");
    assert_eq!(said_in(&deltas), "abc");
    let left = &response.extra["choices"][0]["message"]["reasoning_details"];
    assert_eq!(left[0]["text"], "ab");
    assert_eq!(left[0]["format"], "f");
    let (response, deltas) = chat(&[
        delta(json!({"reasoning": "a", "reasoning_content": "a"})),
        delta(json!({"reasoning": "b", "reasoning_content": "b"})),
    ]);
    assert_eq!(said_at_last(&response), "ab");
    assert_eq!(said_in(&deltas), "ab");
}

/// What Perplexity says stands there again for each token.
#[test]
fn a_message_that_is_sent_again_is_not_more_text() {
    let chunk = |delta: &str, whole: &str| {
        json!({"choices": [{"index": 0, "delta": {"content": delta},
            "message": {"role": "assistant", "content": whole}}]})
    };
    let (response, _) = chat(&[chunk("a", "a"), chunk("b", "ab"), chunk("c", "abc")]);
    assert_eq!(said_at_last(&response), "abc");
}

/// A failed answer looks as if it had ended well.
#[test]
fn failed_responses_say_why() {
    let failed = json!({"type": "response.failed", "response": {"id": "r", "status": "failed",
        "error": {"code": "server_error", "message": "m"}, "output": []}});
    let error = json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "sequence_number": 3});
    for (event, code, is_complete) in [
        (failed, "server_error", true),
        (error, "rate_limit_exceeded", false),
    ] {
        let piece = OwnedPiece::Sse(None, event.to_string());
        let (response, _) = merged(&openai::Responses, &[piece]);
        assert_eq!(response.error.unwrap().code.as_deref(), Some(code));
        assert_eq!(response.is_complete, is_complete);
    }
}

/// Codex asks over a WebSocket, and nothing is shown of it.
#[test]
fn a_question_over_a_web_socket_is_one() {
    let body = json!({"model": "m", "instructions": "i", "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "g"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
    ], "store": false});
    let (dialect, target) = recognised("/v1/responses", &body);
    let posted = dialect.request(&target, &body);
    assert_eq!(posted.messages.len(), 3);
    assert_eq!(posted.messages[1].parts.len(), 2);
    let mut message = body.clone();
    message["type"] = "response.create".into();
    let nested = json!({"type": "response.create", "response": body});
    for message in [message, nested] {
        let asked = openai::created(&target, &message).unwrap();
        assert!(asked.stream);
        assert_eq!(
            (asked.messages, asked.parameters),
            (posted.messages.clone(), posted.parameters.clone())
        );
    }
    assert_eq!(
        openai::created(&target, &json!({"type": "response.cancel"})),
        None
    );
}
