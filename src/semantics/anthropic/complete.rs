//! Text Completions (`/v1/complete`), which old programs still call: a prompt that goes on, with `\n\nHuman:` inside.

use serde_json::{Map, Value};

use super::super::dialect::{DeltaKind, Dialect, Merge, Out, Piece, RequestView, Target, say};
use super::super::json;
use super::super::model::{Choice, Message, Operation, ProviderError, Request, Response};
use super::super::parts;
use super::super::rest::Rest;

/// See [`super::COMPLETE`].
#[derive(Clone, Copy, Debug)]
pub struct Complete;

impl Dialect for Complete {
    fn name(&self) -> &'static str {
        "Anthropic text completions"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let here = request.method == "POST" && request.path.ends_with("/v1/complete");
        let shaped = request.body.is_some_and(|body| {
            body.get("prompt").is_some() && body.get("max_tokens_to_sample").is_some()
        });
        (here && shaped).then(|| Target {
            provider: "anthropic".into(),
            operation: Operation::TextCompletion,
            model: None,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        request(target, body)
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        response(status, body)
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(CompletionMerge::default())
    }
}

fn request(target: &Target, body: &Value) -> Request {
    let mut fields = Rest::of(body);
    let prompt = fields.text("prompt");
    let prompt = prompt.map(|prompt| Message::new("user", vec![parts::text(prompt)]));
    Request {
        model: fields.string("model").or_else(|| target.model.clone()),
        messages: prompt.into_iter().collect(),
        stream: fields.truth("stream").unwrap_or(false),
        conversation_id: super::session(body),
        parameters: fields.left_with_empty(),
        ..Request::default()
    }
}

fn response(status: u16, body: &Value) -> Response {
    if json::is_error(status, body) {
        return super::response(status, body);
    }
    let mut fields = Rest::of(body);
    fields.take("type");
    let completion = fields.text("completion").map(parts::text);
    let choice = Choice {
        index: 0,
        message: Message::new("assistant", completion.into_iter().collect()),
        finish_reason: fields.string("stop_reason"),
    };
    Response {
        id: fields.string("id"),
        model: fields.string("model"),
        choices: vec![choice],
        extra: fields.left(),
        is_complete: true,
        ..Response::default()
    }
}

/// Each event says more of the completion; the last one why it stopped.
#[derive(Default)]
struct CompletionMerge {
    whole: Map<String, Value>,
    text: String,
    error: Option<ProviderError>,
}

impl Merge for CompletionMerge {
    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        let Some(event) = piece.read::<Value>() else {
            return false;
        };
        match json::text_at(&event, &["type"]) {
            Some("completion") | None if event.get("completion").is_some() => {}
            Some("error") => {
                self.error = Some(json::error(&event));
                return true;
            }
            kind => return kind == Some("ping"),
        }
        if let Some(more) = json::text_at(&event, &["completion"]) {
            self.text.push_str(more);
            say(0, DeltaKind::Text(more.to_owned()), out);
        }
        if let Some(reason) = json::text_at(&event, &["stop_reason"]) {
            say(0, DeltaKind::Finish(reason.to_owned()), out);
        }
        let fields = event.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| {
            *name != "completion" && *name != "amazon-bedrock-invocationMetrics"
        });
        for (name, value) in fields {
            if !value.is_null() {
                self.whole.insert(name.clone(), value.clone());
            }
        }
        true
    }

    fn finish(mut self: Box<Self>) -> Response {
        let mut response = Response::default();
        let ended = self.whole.contains_key("stop_reason");
        if !self.whole.is_empty() {
            self.whole.insert("completion".into(), self.text.into());
            response = self::response(200, &Value::Object(self.whole));
        }
        response.streamed(ended, self.error)
    }

    fn held(&self) -> usize {
        self.text.len()
    }
}
