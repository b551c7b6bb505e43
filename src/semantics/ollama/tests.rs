use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::trial::{self, Said};
use super::*;

fn target(operation: Operation) -> Target {
    Target {
        provider: "ollama".into(),
        operation,
        model: None,
    }
}

/// The end of an answer, which holds what it took.
fn done(mut line: Value) -> Value {
    let end = json!({"done": true, "done_reason": "stop", "total_duration": 5, "prompt_eval_count": 17, "eval_count": 38});
    line.as_object_mut()
        .unwrap()
        .append(&mut end.as_object().unwrap().clone());
    line
}

proptest! {
    /// A streamed answer is shown otherwise than the same answer unstreamed.
    #[test]
    fn streams_give_what_whole_answers_give(
        thought in prop::option::of(trial::words()), text in trial::words(), args in trial::input(),
        called in any::<bool>(), cuts in trial::cuts(),
    ) {
        let mut cuts = cuts.iter().copied().cycle();
        let line = |message: Value| json!({"model": "m", "created_at": "t", "message": message, "done": false});
        let mut message = json!({"role": "assistant", "content": text});
        let mut lines = Vec::new();
        if let Some(thought) = thought {
            for piece in trial::cut(&thought, &mut cuts) {
                lines.push(line(json!({"role": "assistant", "content": "", "thinking": piece})));
            }
            message["thinking"] = thought.into();
        }
        for piece in trial::cut(&text, &mut cuts) {
            lines.push(line(json!({"role": "assistant", "content": piece})));
        }
        if called {
            let call = json!({"function": {"name": "f", "arguments": args}});
            message["tool_calls"] = json!([call, call]);
            for _ in 0..2 {
                lines.push(line(json!({"role": "assistant", "content": "", "tool_calls": [call]})));
            }
        }
        lines.push(done(line(json!({"role": "assistant", "content": ""}))));
        let said: Vec<Said> = lines.into_iter().map(Said::Json).collect();
        trial::same(&OLLAMA, &target(Operation::Chat), &done(line(message)), &said);
    }

    /// The same, for generate.
    #[test]
    fn generated_text_streams_too(text in trial::words(), cuts in trial::cuts()) {
        let line = |text: &str| json!({"model": "m", "created_at": "t", "response": text, "done": false});
        let pieces = trial::cut(&text, &mut cuts.iter().copied().cycle());
        let mut said: Vec<Said> = pieces.iter().map(|piece| Said::Json(line(piece))).collect();
        let mut whole = done(line(&text));
        let mut end = done(line(""));
        whole["context"] = json!([1, 2]);
        end["context"] = json!([1, 2]);
        said.push(Said::Json(end));
        trial::same(&OLLAMA, &target(Operation::TextCompletion), &whole, &said);
    }

    /// A hostile server ends the observer.
    #[test]
    fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_ollama(&data);
    }
}

/// What a request says is not shown, or is shown as something else; or streams are not expected where they are the default.
#[test]
fn requests_are_read() {
    let body = json!({"model": "m", "options": {"seed": 1}, "messages": [
        {"role": "user", "content": "Hi", "images": ["aGVsbG8="]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "tool", "tool_name": "f", "content": "11"},
    ]});
    let hash = blake3::hash(b"aGVsbG8=").to_hex();
    let expected = json!({"model": "m", "stream": true, "parameters": {"options": {"seed": 1}}, "messages": [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}, {"type": "blob", "modality": "image", "bytes": 5, "blake3": hash.as_str()}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {"a": 1}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "name": "f", "response": "11"}]},
    ]});
    assert_eq!(
        serde_json::to_value(OLLAMA.request(&target(Operation::Chat), &body)).unwrap(),
        expected
    );
    let body = json!({"model": "m", "input": ["a", "b"]});
    let request = OLLAMA.request(&target(Operation::Embeddings), &body);
    assert_eq!(request.messages.len(), 2);
    assert!(!request.stream);
    let response = OLLAMA.response(
        &target(Operation::Embeddings),
        200,
        &json!({"embeddings": [[1], [2]], "prompt_eval_count": 8}),
    );
    assert_eq!(response.results, Some(2));
    assert_eq!(response.usage.unwrap().input_tokens, Some(8));
}

/// Somebody's own `/api/chat` is taken for Ollama's.
#[test]
fn only_calls_are_claimed() {
    let claim = |path: &str, body: Value| {
        trial::claimed(&OLLAMA, "h", path, &[], &body).map(|target| target.operation)
    };
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(claim("/api/chat", chat.clone()), Some(Operation::Chat));
    assert_eq!(claim("/api/chat/rooms", chat), None);
    assert_eq!(
        claim("/api/chat", json!({"messages": [{"role": "user"}]})),
        None
    );
    assert_eq!(
        claim("/api/generate", json!({"model": "m", "prompt": "x"})),
        Some(Operation::TextCompletion)
    );
    assert_eq!(
        claim("/api/embed", json!({"model": "m", "input": "x"})),
        Some(Operation::Embeddings)
    );
    assert_eq!(claim("/api/pull", json!({"model": "m"})), None);
}

/// An error looks like a whole answer.
#[test]
fn errors_are_told() {
    let error = json!({"error": "model 'x' not found"});
    let response = OLLAMA.response(&target(Operation::Chat), 404, &error);
    assert_eq!(
        response.error.unwrap().message.as_deref(),
        Some("model 'x' not found")
    );
    let begun =
        json!({"model": "m", "message": {"role": "assistant", "content": "a"}, "done": false});
    let (cut, _) = trial::merged(
        &OLLAMA,
        &target(Operation::Chat),
        &[Said::Json(begun), Said::Json(error)],
    );
    assert!(!cut.is_complete && cut.error.is_some());
    assert_eq!(cut.choices.len(), 1);
}

/// A line of text with any of the members that lines may have.
fn line() -> impl Strategy<Value = Value> {
    let has = prop::array::uniform6(any::<bool>());
    (trial::words(), has, 0..3u64).prop_map(|(text, has, number)| {
        let mut line =
            json!({"created_at": number, "done": false, "model": number, "remote_host": number});
        for (name, has) in ["created_at", "done", "model", "remote_host"]
            .iter()
            .zip(has)
        {
            match number {
                _ if has => {}
                0 => line[*name] = Value::Null,
                _ => drop(line.as_object_mut().unwrap().remove(*name)),
            }
        }
        let place = if has[4] {
            line["message"] = json!({"content": text});
            if has[5] {
                line["message"]["role"] = number.into();
            }
            &mut line["message"]
        } else {
            line["response"] = text.clone().into();
            &mut line
        };
        if number == 1 {
            place["thinking"] = text.into();
        }
        line
    })
}

proptest! {
    /// What only some lines of text say besides is forgotten.
    #[test]
    fn lines_of_text_say_all_that_they_have(lines in prop::collection::vec(line(), 1..12)) {
        let said: Vec<Said> = lines.into_iter().map(Said::Json).collect();
        for length in 1..=said.len() {
            trial::merged(&OLLAMA, &target(Operation::Chat), &said[..length]);
        }
    }
}

/// Nearly all lines are made trees of.
#[test]
fn usual_lines_are_plain() {
    let chat = json!({"model": "m", "created_at": "t", "message": {"role": "assistant", "content": "a\n"}, "done": false});
    let generate = json!({"model": "m", "created_at": "t", "response": "a", "done": false});
    for text in [chat.to_string(), generate.to_string()] {
        let piece = Piece::Json(text.as_bytes());
        let mut merge = OllamaMerge::default();
        assert!(merge.plain(&piece.read().unwrap(), piece.data(), &mut drop));
    }
}
