use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::trial::{self, Said};
use super::*;

fn target(operation: Operation) -> Target {
    Target {
        provider: "cohere".into(),
        operation,
        model: None,
    }
}

fn answer() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        trial::words().prop_map(|text| json!({"type": "text", "text": text})),
        trial::words().prop_map(|text| json!({"type": "thinking", "thinking": text})),
    ];
    let call = trial::input().prop_map(|input| {
        json!({"id": "f_1", "type": "function", "function": {"name": "f", "arguments": input.to_string()}})
    });
    let plan = prop::option::of(trial::words());
    let contents = prop::collection::vec(content, 0..3);
    (plan, contents, prop::collection::vec(call, 0..3), any::<bool>()).prop_map(|(plan, contents, calls, cited)| {
        let mut message = json!({"role": "assistant"});
        if let Some(plan) = plan {
            message["tool_plan"] = plan.into();
        }
        let has_text = contents.iter().any(|content| content["type"] == "text");
        if !contents.is_empty() {
            message["content"] = contents.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        if cited && has_text {
            message["citations"] = json!([{"start": 0, "end": 1, "text": "a", "sources": []}]);
        }
        json!({"id": "1", "message": message, "finish_reason": "COMPLETE",
            "usage": {"billed_units": {"input_tokens": 7, "output_tokens": 5}, "tokens": {"input_tokens": 69, "output_tokens": 6}}})
    })
}

/// As Cohere's server streams it.
fn streamed(body: &Value, cuts: &[usize]) -> Vec<Value> {
    let mut cuts = cuts.iter().copied().cycle();
    let said = &body["message"];
    let begun = json!({"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}});
    let mut events = vec![json!({"type": "message-start", "id": body["id"], "delta": begun})];
    let event = |kind: &str, index: usize, message: Value| json!({"type": kind, "index": index, "delta": {"message": message}});
    if let Some(plan) = said["tool_plan"].as_str() {
        for piece in trial::cut(plan, &mut cuts) {
            events.push(event("tool-plan-delta", 0, json!({"tool_plan": piece})));
        }
    }
    for (index, content) in said["content"].as_array().into_iter().flatten().enumerate() {
        let kind = content["type"].as_str().unwrap();
        events.push(event(
            "content-start",
            index,
            json!({"content": {"type": kind, kind: ""}}),
        ));
        for piece in trial::cut(content[kind].as_str().unwrap(), &mut cuts) {
            events.push(event(
                "content-delta",
                index,
                json!({"content": {kind: piece}}),
            ));
        }
        events.push(json!({"type": "content-end", "index": index}));
    }
    for (index, citation) in said["citations"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        events.push(event(
            "citation-start",
            index,
            json!({"citations": citation}),
        ));
        events.push(json!({"type": "citation-end", "index": index}));
    }
    for (index, call) in said["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let mut begun = call.clone();
        begun["function"]["arguments"] = "".into();
        events.push(event(
            "tool-call-start",
            index,
            json!({"tool_calls": begun}),
        ));
        for piece in trial::cut(call["function"]["arguments"].as_str().unwrap(), &mut cuts) {
            events.push(event(
                "tool-call-delta",
                index,
                json!({"tool_calls": {"function": {"arguments": piece}}}),
            ));
        }
        events.push(json!({"type": "tool-call-end", "index": index}));
    }
    events.push(json!({"type": "message-end", "delta": {"finish_reason": body["finish_reason"], "usage": body["usage"]}}));
    events
}

proptest! {
    /// A streamed answer is shown otherwise than the same answer unstreamed.
    #[test]
    fn streams_give_what_whole_answers_give(body in answer(), cuts in trial::cuts()) {
        let said: Vec<Said> = streamed(&body, &cuts).into_iter().map(Said::Sse).collect();
        trial::same(&V2, &target(Operation::Chat), &body, &said);
    }

    /// The same, for version 1, in both of its forms.
    #[test]
    fn version_1_streams_too(text in trial::words(), args in trial::input(), called in any::<bool>(), cuts in trial::cuts()) {
        let mut body = json!({"response_id": "r", "generation_id": "g", "text": text, "finish_reason": "COMPLETE",
            "chat_history": [{"role": "USER", "message": "x"}],
            "meta": {"tokens": {"input_tokens": 69, "output_tokens": 9}}});
        if called {
            body["tool_calls"] = json!([{"name": "f", "parameters": args}]);
        }
        let mut said = vec![json!({"is_finished": false, "event_type": "stream-start", "generation_id": "g"})];
        for piece in trial::cut(&text, &mut cuts.iter().copied().cycle()) {
            said.push(json!({"is_finished": false, "event_type": "text-generation", "text": piece}));
        }
        if called {
            said.push(json!({"is_finished": false, "event_type": "tool-calls-generation", "tool_calls": body["tool_calls"]}));
        }
        said.push(json!({"is_finished": true, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": body}));
        let lines: Vec<Said> = said.iter().cloned().map(Said::Json).collect();
        trial::same(&V1, &target(Operation::Chat), &body, &lines);
        let events: Vec<Said> = said.into_iter().map(Said::Sse).collect();
        trial::same(&V1, &target(Operation::Chat), &body, &events);
    }

    /// A hostile server ends the observer.
    #[test]
    fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_cohere(&data);
    }
}

/// What a request says is not shown, or is shown as something else.
#[test]
fn requests_are_read() {
    let call =
        json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let body = json!({"model": "command", "temperature": 1, "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": null, "tool_plan": "p", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "4:20 PM"},
    ], "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]});
    let expected = json!({"model": "command", "stream": false, "parameters": {"temperature": 1}, "messages": [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "p"}, {"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": 1}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "4:20 PM"}]},
    ], "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]});
    assert_eq!(
        serde_json::to_value(V2.request(&target(Operation::Chat), &body)).unwrap(),
        expected
    );

    let body = json!({"model": "command", "message": "Now?", "preamble": "Be brief.", "connectors": [],
        "chat_history": [{"role": "USER", "message": "Hi"}, {"role": "CHATBOT", "message": "Ho"}]});
    let expected = json!({"model": "command", "stream": false, "parameters": {"connectors": []},
        "system": [{"type": "text", "content": "Be brief."}], "messages": [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Ho"}]},
        {"role": "user", "parts": [{"type": "text", "content": "Now?"}]},
    ]});
    assert_eq!(
        serde_json::to_value(V1.request(&target(Operation::Chat), &body)).unwrap(),
        expected
    );
}

/// Vectors and ranks are counted wrong.
#[test]
fn vectors_and_ranks_are_counted() {
    let body = json!({"id": "e", "embeddings": {"float": [[1], [2]], "int8": [[1], [2]]}, "texts": ["a", "b"],
        "meta": {"billed_units": {"input_tokens": 208}}});
    let response = V2.response(&target(Operation::Embeddings), 200, &body);
    assert_eq!(response.results, Some(2));
    assert_eq!(response.usage.unwrap().input_tokens, Some(208));
    let body = json!({"results": [{"index": 3}, {"index": 1}], "meta": {"billed_units": {"search_units": 1}}});
    let response = V2.response(&target(Operation::Rerank), 200, &body);
    assert_eq!(response.results, Some(2));
}

/// An API of somebody else is taken for Cohere's, or Cohere's is not recognised.
#[test]
fn only_calls_are_claimed() {
    let claim = |dialect: &dyn Dialect, path: &str, body: Value| {
        trial::claimed(dialect, "api.cohere.com", path, &[], &body).map(|target| target.operation)
    };
    let messages = json!({"model": "m", "messages": []});
    assert_eq!(
        claim(&V2, "/v2/chat", messages.clone()),
        Some(Operation::Chat)
    );
    assert_eq!(claim(&V1, "/v1/chat", messages), None);
    assert_eq!(
        claim(&V1, "/v1/chat", json!({"message": "x"})),
        Some(Operation::Chat)
    );
    assert_eq!(
        claim(&V1, "/v1/rerank", json!({"query": "x", "documents": []})),
        Some(Operation::Rerank)
    );
    assert_eq!(
        claim(&V2, "/v2/embed", json!({"texts": ["x"]})),
        Some(Operation::Embeddings)
    );
    assert_eq!(claim(&V2, "/v2/embed", json!({"url": "x"})), None);
}

/// Nearly all events are made trees of.
#[test]
fn usual_events_are_plain() {
    for name in ["text", "thinking"] {
        let text = json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {name: "a\n"}}}}).to_string();
        let piece = Piece::Json(text.as_bytes());
        let mut merge = chat::ChatMerge::default();
        assert!(merge.plain(&piece.read().unwrap(), &mut drop), "{text}");
    }
    let text =
        json!({"event_type": "text-generation", "is_finished": false, "text": "a"}).to_string();
    let piece = Piece::Json(text.as_bytes());
    assert!(piece.read::<v1::Plain<'_>>().unwrap().is_text());
}
