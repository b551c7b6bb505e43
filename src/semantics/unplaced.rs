//! What a request may be whose path nobody saw: on HTTP/2 that was joined late, paths stand in a table that is not known. The
//! body says what it may be, and the answer which of these it is; what is not answered in the way of one of them is none.

use serde_json::Value;

use super::dialect::{Dialect, Piece, RequestView, Target};
use super::recognise::recognise;

/// Where dialects look for what their bodies show well enough, and a member that each whole answer there has (empty: none
/// that all have). Models and hosts have no part in it.
const PLACES: &[(&str, &str)] = &[
    ("/v1/messages", "content"),
    ("/v1/chat/completions", "choices"),
    ("/v1/responses", "output"),
    ("/v1/embeddings", "data"),
    ("/v1/completions", "choices"),
    ("/v1/images/generations", "data"),
    ("/v1beta/models/:generateContent", ""),
    ("/api/chat", "done"),
    ("/api/embed", "embeddings"),
    ("/api/generate", "done"),
    ("/v1/chat", "text"),
    ("/v2/chat", "message"),
    ("/v2/embed", "embeddings"),
    ("/v2/rerank", "results"),
];

/// A way to understand a request.
#[derive(Clone)]
pub struct Candidate {
    /// How it would be spoken.
    pub dialect: &'static dyn Dialect,
    /// What it would be for.
    pub target: Target,
    member: &'static str,
}

/// All that a request may be, whatever path it says; none if its body does not say what a model is asked.
pub fn candidates(view: &RequestView<'_>) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    if !view.body.is_some_and(asks) {
        return found;
    }
    for (path, member) in PLACES {
        let Some((dialect, target)) = recognise(&RequestView { path, ..*view }) else {
            continue;
        };
        let is_new = found.iter().all(|one| one.dialect.name() != dialect.name());
        if is_new {
            let target = Target {
                model: None,
                ..target
            };
            found.push(Candidate {
                dialect,
                target,
                member,
            });
        }
    }
    found
}

/// Everybody's bodies name a model but Gemini's, which have a shape of their own.
fn asks(body: &Value) -> bool {
    let has_parts = |content: &Value| content.get("parts").is_some_and(Value::is_array);
    let contents = body.get("contents").and_then(Value::as_array);
    body.get("model").is_some_and(Value::is_string)
        || contents.is_some_and(|all| !all.is_empty() && all.iter().all(has_parts))
}

impl Candidate {
    /// Whether this is the first piece of an answer in this way.
    pub fn begins(&self, piece: &Piece<'_>) -> bool {
        let mut merge = self.dialect.merge(&self.target);
        merge.piece(piece, &mut |_| {})
    }

    /// Whether this is a whole answer in this way.
    pub fn answers(&self, status: u16, body: &Value) -> bool {
        let response = self.dialect.response(&self.target, status, body);
        let mut choices = response.choices.iter();
        let says = choices
            .any(|choice| choice.finish_reason.is_some() || !choice.message.parts.is_empty());
        let has_member = self.member.is_empty() || body.get(self.member).is_some();
        response.error.is_some() || has_member && (says || response.results.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proto::Fields;

    fn named(body: &Value) -> Vec<Candidate> {
        candidates(&RequestView {
            method: "POST",
            path: "",
            query: "",
            host: "",
            fields: &Fields::default(),
            body: Some(body),
        })
    }

    fn begun(body: &Value, piece: &Value) -> Option<&'static str> {
        let data = piece.to_string();
        let event = piece["type"].as_str();
        let piece = Piece::Sse { event, data: &data };
        let all = named(body);
        let one = all.iter().find(|one| one.begins(&piece))?;
        Some(one.dialect.name())
    }

    fn answered(body: &Value, answer: &Value) -> Option<&'static str> {
        let all = named(body);
        let one = all.iter().find(|one| one.answers(200, answer))?;
        Some(one.dialect.name())
    }

    /// A question on a connection that was joined late is taken for one in another way, or for none.
    #[test]
    fn answers_say_how_questions_were_meant() {
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        let name = |path| {
            let view = RequestView {
                method: "POST",
                path,
                query: "",
                host: "",
                fields: &Fields::default(),
                body: Some(&chat),
            };
            Some(recognise(&view).unwrap().0.name())
        };
        let message = json!({"role": "assistant", "content": "hi"});
        let whole = json!({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
        assert_eq!(answered(&chat, &whole), name("/v1/chat/completions"));
        let chunk = json!({"id": "1", "choices": [{"index": 0, "delta": {"content": "h"}}]});
        assert_eq!(begun(&chat, &chunk), name("/v1/chat/completions"));
        let claude = json!({"id": "1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1}});
        assert_eq!(answered(&chat, &claude), name("/v1/messages"));
        let start = json!({"type": "message_start", "message": claude});
        assert_eq!(begun(&chat, &start), name("/v1/messages"));
        let llama = json!({"model": "m", "message": message, "done": true, "done_reason": "stop"});
        assert_eq!(answered(&chat, &llama), name("/api/chat"));
        let cohere = json!({"id": "1", "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]}});
        assert_eq!(answered(&chat, &cohere), name("/v2/chat"));
        let inputs = json!({"model": "m", "input": "hi"});
        let vectors = json!({"object": "list", "data": [{"index": 0, "embedding": [1.0]}]});
        assert_eq!(answered(&inputs, &vectors), Some("OpenAI embeddings"));
        let output = json!({"id": "1", "object": "response", "status": "completed", "output": [{"type": "message",
            "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}]});
        assert_eq!(answered(&inputs, &output), Some("OpenAI responses"));
        let created = json!({"type": "response.created", "response": {"id": "1", "status": "in_progress", "output": []}});
        assert_eq!(begun(&inputs, &created), Some("OpenAI responses"));
        let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let candidates =
            json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}}]});
        assert_eq!(begun(&gemini, &candidates), answered(&gemini, &candidates));
        assert!(answered(&gemini, &candidates).is_some_and(|name| name.starts_with("Gemini")));
    }

    /// What is no model would be said to be one.
    #[test]
    fn other_questions_are_none() {
        let mut others = [
            json!({"messages": [{"role": "user"}]}),
            json!({"query": "q"}),
            json!([]),
        ];
        assert!(others.iter_mut().all(|body| named(body).is_empty()));
        let car = json!({"model": "T", "input": "x"});
        assert_eq!(answered(&car, &json!({"ok": true, "id": "1"})), None);
        assert_eq!(answered(&car, &json!([1, 2])), None);
        assert_eq!(
            begun(&car, &json!({"type": "progress", "percent": 3})),
            None
        );
    }
}
