//! `InvokeModel`: each model takes and gives the JSON of its maker. Which one it is shows in the shape of what is said, not
//! in the model's name, which may be any ARN.

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

use super::super::anthropic::{self, MessageMerge};
use super::super::cohere;
use super::super::dialect::{Dialect, Merge, Out, Piece, RequestView, Target};
use super::super::json;
use super::super::model::{Operation, ProviderError, Request, Response, Usage};
use super::super::plain::{Said, Text};
use super::super::recognise::is_bedrock;
use super::converse::{self, ConverseMerge};
use super::flat::{self, FlatMerge};
use super::{Frame, Way};
use crate::proto::Fields;

/// See [`super::INVOKE`] and [`super::INVOKE_STREAM`].
#[derive(Clone, Copy, Debug)]
pub struct Invoke(pub(super) Way);

impl Dialect for Invoke {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let target = self.0.target(request).filter(|_| is_bedrocks(request))?;
        let operation = request.body.map_or(Operation::Chat, operation);
        Some(Target {
            operation,
            ..target
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let has = |name: &str| body.get(name).is_some();
        let request = match () {
            () if has("anthropic_version") && has("messages") => anthropic::request(target, body),
            () if is_converse(body) => converse::request(target, body),
            () if has("texts") || has("query") => cohere::request(target, body),
            () if has("message") => cohere::request_v1(target, body),
            () => flat::request(target, body),
        };
        Request {
            stream: self.0.stream,
            ..request
        }
    }

    fn response(&self, target: &Target, status: u16, body: &Value) -> Response {
        if status >= 400 {
            return json::failed(body);
        }
        let is_object = |name: &str| body.get(name).is_some_and(Value::is_object);
        let is_list = |name: &str| body.get(name).is_some_and(Value::is_array);
        let is_text = |name: &str| body.get(name).is_some_and(Value::is_string);
        match () {
            () if is_object("output") => converse::response(status, body),
            () if is_list("content") => anthropic::response(status, body),
            () if is_text("completion") && is_text("type") => {
                anthropic::COMPLETE.response(target, status, body)
            }
            () if body.get("response_type").is_some()
                || is_list("embeddings")
                || is_object("embeddings") =>
            {
                cohere::response(target, status, body)
            }
            () if is_text("text") && body.get("generation_id").is_some() => {
                cohere::response_v1(status, body)
            }
            () => flat::response(body),
        }
    }

    fn counted(&self, head: &Fields) -> Option<Usage> {
        let named = |name: &str| {
            let name = format!("x-amzn-bedrock-{name}-token-count");
            let count = head.get(&name)?.trim().parse::<u64>().ok()?;
            Some((name, count))
        };
        usage(["input", "output", "cache-read-input", "cache-write-input"].map(named))
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(InvokeMerge::default())
    }
}

/// `/model/{any}/invoke` may be a server of anybody's: it is Bedrock's by its host, by its signature, or by a body that only
/// Bedrock takes.
fn is_bedrocks(request: &RequestView<'_>) -> bool {
    let signature = request.fields.get("authorization").unwrap_or_default();
    let is_signed = signature.starts_with("AWS4-") && signature.contains("/bedrock/aws4_request");
    let is_shaped = |body: &Value| {
        let has = |name: &str| body.get(name).is_some();
        let only_here = [
            "anthropic_version",
            "imageGenerationConfig",
            "inputText",
            "text_prompts",
            "textGenerationConfig",
        ];
        only_here.into_iter().any(has) || is_converse(body) || has("texts") && has("input_type")
    };
    is_bedrock(request.host) || is_signed || request.body.is_some_and(is_shaped)
}

/// Of counts by their names: input, output, and of the input what came from a cache and what went into it.
fn usage(counts: [Option<(String, u64)>; 4]) -> Option<Usage> {
    let [input, output, read, written] = counts.each_ref().map(|count| Some(count.as_ref()?.1));
    if input.is_none() && output.is_none() {
        return None;
    }
    let reported = counts.into_iter().flatten();
    let reported = reported.map(|(name, count)| (name, Value::from(count)));
    Some(Usage {
        input_tokens: json::sum(&[input, read, written]),
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: written,
        reported: Value::Object(reported.collect()),
        ..Usage::default()
    })
}

/// Amazon's own models take what Converse takes.
fn is_converse(body: &Value) -> bool {
    let has = |name: &str| body.get(name).is_some();
    let messages = body.get("messages").and_then(Value::as_array);
    let mut contents = messages
        .into_iter()
        .flatten()
        .filter_map(|message| message.get("content"));
    let typed = |content: &Value| {
        let blocks = content.as_array().into_iter().flatten();
        blocks.into_iter().any(|block| block.get("type").is_some())
    };
    messages.is_some() && (has("schemaVersion") || has("inferenceConfig")) && !contents.any(typed)
}

fn operation(body: &Value) -> Operation {
    let has = |name: &str| body.get(name).is_some();
    match () {
        () if has("messages") || has("message") => Operation::Chat,
        () if has("query") && has("documents") => Operation::Rerank,
        () if has("texts") || has("inputImage") || has("embeddingConfig") => Operation::Embeddings,
        () if has("dimensions") || has("embeddingTypes") => Operation::Embeddings,
        () if has("text_prompts") || has("imageGenerationConfig") => Operation::ImageGeneration,
        () if has("inputText") && !has("textGenerationConfig") => Operation::Embeddings,
        () => Operation::TextCompletion,
    }
}

/// Of one answer: whose it is, the first event shows.
#[derive(Default)]
pub(super) struct InvokeMerge {
    inner: Option<Inner>,
    /// What Bedrock itself has counted, said with the last event.
    counted: Option<Usage>,
    error: Option<ProviderError>,
}

enum Inner {
    Converse(Box<ConverseMerge>),
    Other(Box<dyn Merge>),
}

impl Merge for InvokeMerge {
    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        match Frame::of(piece) {
            Some(Frame::Event(_)) => {}
            Some(Frame::Exception(error)) => {
                self.error = Some(error);
                return true;
            }
            None => return false,
        }
        if let Some(plain) = piece.read::<Plain<'_>>() {
            return self.bytes(&plain.bytes, out);
        }
        let event = piece.read::<Value>().unwrap_or_default();
        let bytes = json::text_at(&event, &["bytes"]);
        bytes.is_some_and(|bytes| self.bytes(bytes, out))
    }

    fn finish(self: Box<Self>) -> Response {
        let mut response = match self.inner {
            Some(Inner::Converse(merge)) => merge.finish(),
            Some(Inner::Other(merge)) => merge.finish(),
            None => Response::default(),
        };
        response.usage = response.usage.or(self.counted);
        if let Some(error) = self.error {
            response.error = Some(error);
            response.is_complete = false;
        }
        response
    }

    fn held(&self) -> usize {
        match &self.inner {
            Some(Inner::Converse(merge)) => merge.held(),
            Some(Inner::Other(merge)) => merge.held(),
            None => 0,
        }
    }
}

const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// What nearly all events are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'d> {
    #[serde(borrow)]
    bytes: Text<'d>,
    #[serde(default, rename = "p")]
    _padding: Said,
}

const CONVERSE_EVENTS: &[&str] = &[
    "contentBlockDelta",
    "contentBlockStart",
    "contentBlockStop",
    "messageStart",
    "messageStop",
    "metadata",
];

impl InvokeMerge {
    /// An event of the model's own, in base64.
    fn bytes(&mut self, bytes: &str, out: Out<'_>) -> bool {
        let event = base64::engine::general_purpose::STANDARD.decode(bytes);
        event.is_ok_and(|event| self.event(&event, out))
    }

    fn event(&mut self, event: &[u8], out: Out<'_>) -> bool {
        if memchr::memmem::find(event, METRICS.as_bytes()).is_some() {
            self.count(event);
        }
        if self.inner.is_none() {
            let Ok(first) = serde_json::from_slice::<Value>(event) else {
                return false;
            };
            self.inner = Some(inner_of(&first));
        }
        match &mut self.inner {
            Some(Inner::Converse(merge)) => converse_event(merge, event, out),
            Some(Inner::Other(merge)) => merge.piece(&Piece::Json(event), out),
            None => false,
        }
    }
}

impl InvokeMerge {
    fn count(&mut self, event: &[u8]) {
        let event = serde_json::from_slice::<Value>(event).unwrap_or_default();
        let named = |name: &str| {
            let name = format!("{name}TokenCount");
            let count = json::count(event.get(METRICS)?, &name)?;
            Some((name, count))
        };
        let counted = usage(["input", "output", "cacheReadInput", "cacheWriteInput"].map(named));
        self.counted = counted.or(self.counted.take());
    }
}

fn inner_of(first: &Value) -> Inner {
    let has = |name: &str| first.get(name).is_some();
    match () {
        () if CONVERSE_EVENTS.iter().any(|name| has(name)) => Inner::Converse(Box::default()),
        () if has("event_type") => Inner::Other(Box::new(cohere::V1Merge::default())),
        () if has("completion") => Inner::Other(anthropic::COMPLETE.merge(&Target {
            provider: String::new(),
            operation: Operation::TextCompletion,
            model: None,
        })),
        () if has("type") => Inner::Other(Box::new(MessageMerge::default())),
        () => Inner::Other(Box::new(FlatMerge::default())),
    }
}

/// Amazon's models: an object with one event, by its name; beside it what guardrails did.
fn converse_event(merge: &mut ConverseMerge, event: &[u8], out: Out<'_>) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(event) else {
        return false;
    };
    let mut known = false;
    for (name, value) in &fields {
        if CONVERSE_EVENTS.contains(&name.as_str()) {
            known |= merge.event(name, value, out);
        } else if name != METRICS {
            merge.keep(name, value);
        }
    }
    known
}
