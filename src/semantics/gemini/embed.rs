//! `embedContent`, `batchEmbedContents` and Vertex AI's `predict` of texts (<https://ai.google.dev/api/embeddings>).

use serde_json::{Map, Value};

use super::super::dialect::{Dialect, Merge, RequestView, Target};
use super::super::json;
use super::super::model::{Message, Operation, Request, Response, Usage};
use super::super::rest::Rest;
use super::stream::GenerateMerge;

/// See [`super::EMBED`].
#[derive(Clone, Copy, Debug)]
pub struct Embed;

impl Dialect for Embed {
    fn name(&self) -> &'static str {
        "Gemini embeddings"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let verbs = ["embedContent", "batchEmbedContents", "predict"];
        let (provider, model) = super::endpoint(request, &verbs)?;
        let predicts = request.path.ends_with("predict");
        let shaped = match request.body {
            // Endpoints of one's own predict anything.
            Some(body) if predicts => {
                request.path.contains("/publishers/google/models/") && of_texts(body)
            }
            Some(body) => body.get("content").is_some() || body.get("requests").is_some(),
            None => !predicts,
        };
        shaped.then_some(Target {
            provider,
            operation: Operation::Embeddings,
            model,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let mut fields = Rest::of(body);
        let own = fields.string("model");
        let mut request = Request {
            model: target.model.clone().or(own),
            ..Request::default()
        };
        if let Some(content) = fields.take("content") {
            request.messages.push(super::message(content));
        }
        let mut settings = Vec::new();
        let each = fields.list("requests").or_else(|| fields.list("instances"));
        for one in each.unwrap_or_default() {
            let mut one = Rest::of(one);
            let content = one.take("content").map(super::message);
            request
                .messages
                .extend(content.or(Some(Message::default())));
            one.take("model");
            settings.push(one.left_with_empty());
        }
        request.parameters = fields.left_with_empty();
        if settings.iter().any(|settings| !settings.is_empty()) {
            let settings = settings.into_iter().map(Value::Object).collect();
            request
                .parameters
                .insert("requests".into(), Value::Array(settings));
        }
        request
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        if json::is_error(status, body) {
            return super::response(status, body);
        }
        let mut fields = Rest::of(body);
        let one = fields.take("embedding").map(|_| 1);
        let lists = ["embeddings", "predictions"];
        let many = lists.iter().find_map(|name| fields.list(name));
        let reported = fields.take("usageMetadata").and_then(super::usage);
        Response {
            results: one.or(many.map(|list| list.len() as u64)),
            usage: reported.or_else(|| counted(many.unwrap_or_default())),
            extra: fields.left(),
            is_complete: true,
            ..Response::default()
        }
    }

    /// They are never streamed.
    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(GenerateMerge::default())
    }
}

/// Vertex AI counts the tokens of each text: `embeddings.statistics.token_count`.
fn counted(predictions: &[Value]) -> Option<Usage> {
    let counts = predictions.iter().filter_map(|one| {
        let count = one.pointer("/embeddings/statistics/token_count");
        count.and_then(json::whole)
    });
    let counts: Vec<u64> = counts.collect();
    let sum = counts.iter().copied().reduce(u64::saturating_add)?;
    Some(Usage {
        input_tokens: Some(sum),
        reported: Value::Object(Map::from_iter([("token_count".to_owned(), counts.into())])),
        ..Usage::default()
    })
}

/// Whether all that is asked for is texts (other models predict other things).
fn of_texts(body: &Value) -> bool {
    let is_text = |one: &Map<String, Value>| one.get("content").is_some_and(Value::is_string);
    let each = body.get("instances").and_then(Value::as_array);
    each.is_some_and(|list| {
        !list.is_empty() && list.iter().all(|one| one.as_object().is_some_and(is_text))
    })
}
