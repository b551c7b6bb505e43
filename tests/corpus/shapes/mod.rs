//! What single providers say in ways of their own, shortened from public recordings of it: the same streamed or not.

mod chat;
mod claimed;
mod counted;
mod tools;

use agentsight::proto::Fields;
use agentsight::proto::item::Field;
use agentsight::semantics::price::Prices;
use agentsight::semantics::{
    Call, Delta, DeltaKind, Dialect, Part, Piece, RequestView, Response, Target, recognise,
};
use serde_json::{Value, json};

/// A question that was recognised.
struct Asked {
    dialect: &'static dyn Dialect,
    target: Target,
    body: Value,
}

/// `None`: nobody claims it.
fn asked(host: &str, path: &str, body: Value) -> Option<Asked> {
    signed(host, path, &[], body)
}

fn signed(host: &str, path: &str, fields: &[(&str, &str)], body: Value) -> Option<Asked> {
    let fields = fields.iter().map(|(name, value)| Field {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    let (dialect, target) = recognise(&RequestView {
        method: "POST",
        path,
        query: "",
        host,
        fields: &Fields(fields.collect()),
        body: Some(&body),
    })?;
    Some(Asked {
        dialect,
        target,
        body,
    })
}

fn provider(host: &str, path: &str, body: &Value) -> Option<String> {
    Some(asked(host, path, body.clone())?.target.provider)
}

impl Asked {
    fn answered(&self, body: &Value) -> Response {
        self.dialect.response(&self.target, 200, body)
    }

    fn streamed(&self, events: &[Value]) -> (Response, Vec<Delta>) {
        let mut merge = self.dialect.merge(&self.target);
        let mut deltas = Vec::new();
        for event in events {
            let data = event.to_string();
            let piece = Piece::Sse {
                event: None,
                data: &data,
            };
            assert!(
                merge.piece(&piece, &mut |delta| deltas.push(delta)),
                "{data}"
            );
        }
        (merge.finish(), deltas)
    }

    /// Both forms, which must give the same.
    fn both(&self, body: &Value, events: &[Value]) -> (Response, Vec<Delta>) {
        let (streamed, deltas) = self.streamed(events);
        assert_eq!(streamed, self.answered(body));
        (streamed, deltas)
    }

    fn call(&self, response: Response) -> Call {
        Call {
            provider: self.target.provider.clone(),
            operation: self.target.operation,
            request: self.dialect.request(&self.target, &self.body),
            response: Some(response),
        }
    }
}

fn question() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "q"}]})
}

fn chat(host: &str) -> Asked {
    asked(host, "/v1/chat/completions", question()).unwrap()
}

fn said(response: &Response) -> Value {
    serde_json::to_value(&response.choices[0].message.parts).unwrap()
}

fn tokens(response: &Response) -> [Option<u64>; 3] {
    let usage = response.usage.as_ref().unwrap();
    [
        usage.input_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ]
}

fn delta(delta: Value) -> Value {
    json!({"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta}]})
}

fn stop() -> Value {
    json!({"id": "1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
}

fn whole(mut message: Value) -> Value {
    message["role"] = "assistant".into();
    json!({"id": "1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
}
