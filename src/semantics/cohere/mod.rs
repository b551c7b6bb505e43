//! Cohere's chat, embed and rerank, versions 1 and 2 (<https://docs.cohere.com/reference/about>). Others took over the form
//! of rerank.

mod chat;
mod v1;

use serde_json::Value;

use super::dialect::{Dialect, Merge, Piece, RequestView, Target};
use super::json;
use super::model::{Message, Operation, Request, Response, Usage};
use super::parts;
use super::rest::Rest;

pub(super) use v1::{V1Merge, request as request_v1, response as response_v1};

/// Version 2.
pub static V2: Cohere = Cohere { version: 2 };
/// Version 1, with generate.
pub static V1: Cohere = Cohere { version: 1 };

/// See [`V1`] and [`V2`].
#[derive(Clone, Copy, Debug)]
pub struct Cohere {
    version: u8,
}

impl Dialect for Cohere {
    fn name(&self) -> &'static str {
        match self.version {
            1 => "Cohere version 1",
            _ => "Cohere version 2",
        }
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let path = request.path.trim_end_matches('/');
        let (place, what) = path.rsplit_once('/')?;
        let version = if self.version == 1 { "/v1" } else { "/v2" };
        let body = request.body?;
        if request.method != "POST" || !place.ends_with(version) {
            return None;
        }
        Some(Target {
            provider: provider(request.host).into(),
            operation: self.operation(what, body)?,
            model: None,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        match (target.operation, self.version) {
            (Operation::Chat, 2) => chat::request(body),
            (Operation::Chat | Operation::TextCompletion, _) => v1::request(target, body),
            _ => request(target, body),
        }
    }

    fn keeps_conversations(&self) -> bool {
        self.version == 1
    }

    fn response(&self, target: &Target, status: u16, body: &Value) -> Response {
        if status >= 400 {
            return json::failed(body);
        }
        match (target.operation, self.version) {
            (Operation::Chat, 2) => chat::response(status, body),
            (Operation::Chat | Operation::TextCompletion, _) => v1::response(status, body),
            _ => response(target, status, body),
        }
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        match self.version {
            1 => Box::new(V1Merge::default()),
            _ => Box::new(chat::ChatMerge::default()),
        }
    }
}

impl Cohere {
    fn operation(&self, what: &str, body: &Value) -> Option<Operation> {
        let is = |name: &str, kind: fn(&Value) -> bool| body.get(name).is_some_and(kind);
        match what {
            "chat" if self.version == 1 => {
                is("message", Value::is_string).then_some(Operation::Chat)
            }
            "chat" => (is("messages", Value::is_array) && is("model", Value::is_string))
                .then_some(Operation::Chat),
            "embed" => {
                let inputs = ["texts", "images", "inputs"];
                let some = inputs.iter().any(|name| is(name, Value::is_array));
                some.then_some(Operation::Embeddings)
            }
            "generate" if self.version == 1 => {
                is("prompt", Value::is_string).then_some(Operation::TextCompletion)
            }
            "rerank" => {
                let asked = is("query", Value::is_string) && is("documents", Value::is_array);
                asked.then_some(Operation::Rerank)
            }
            _ => None,
        }
    }
}

/// Who offers rerank in Cohere's form besides Cohere.
fn provider(host: &str) -> &'static str {
    const OTHERS: &[(&str, &str)] = &[
        ("jina.ai", "jina_ai"),
        ("mixedbread.com", "mixedbread"),
        ("voyageai.com", "voyage_ai"),
    ];
    let is_of = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
    };
    let other = OTHERS.iter().find(|(domain, _)| is_of(domain));
    other.map_or("cohere", |(_, name)| name)
}

/// Of embed and rerank: one message for each text, for rerank the query.
pub(super) fn request(target: &Target, body: &Value) -> Request {
    let mut fields = Rest::of(body);
    let own = fields.string("model");
    let mut messages = Vec::new();
    let mut say = |parts| messages.push(Message::new("user", parts));
    if let Some(query) = fields.text("query") {
        say(vec![parts::text(query)]);
    }
    for text in fields.list("texts").unwrap_or_default() {
        say(vec![chat::content(text)]);
    }
    for image in fields.list("images").unwrap_or_default() {
        let url = image.as_str().unwrap_or_default();
        say(vec![parts::media("image", None, url)]);
    }
    for input in fields.list("inputs").unwrap_or_default() {
        let contents = input.get("content").and_then(Value::as_array);
        say(contents.into_iter().flatten().map(chat::content).collect());
    }
    Request {
        model: own.or_else(|| target.model.clone()),
        messages,
        parameters: fields.left_with_empty(),
        ..Request::default()
    }
}

/// Of embed and rerank.
pub(super) fn response(_target: &Target, status: u16, body: &Value) -> Response {
    if status >= 400 {
        return json::failed(body);
    }
    let mut fields = Rest::of(body);
    let vectors = fields.take("embeddings").and_then(|vectors| match vectors {
        Value::Array(list) => Some(list.len()),
        // By type: as many of each.
        types => types
            .as_object()?
            .values()
            .find_map(Value::as_array)
            .map(Vec::len),
    });
    let ranks = fields
        .list("results")
        .or_else(|| fields.list("data"))
        .map(<[_]>::len);
    fields.skip(&["texts", "images"]);
    let usage = match fields.peek("meta") {
        Some(meta) => usage(meta),
        None => fields.take("usage").and_then(usage),
    };
    Response {
        id: fields.string("id"),
        model: fields.string("model"),
        results: vectors.or(ranks).map(|count| count as u64),
        usage,
        extra: fields.left(),
        is_complete: true,
        ..Response::default()
    }
}

/// Tokens that were used, or else those that are billed, which leave out what Cohere adds to the prompt.
fn usage(value: &Value) -> Option<Usage> {
    let count = |names: &[&str]| {
        let places = ["tokens", "billed_units"]
            .into_iter()
            .filter_map(|place| value.get(place));
        let mut places = places.chain([value]);
        places.find_map(|place| names.iter().find_map(|name| json::count(place, name)))
    };
    let reported = value
        .get("tokens")
        .or_else(|| value.get("billed_units"))
        .or_else(|| {
            let names = ["total_tokens", "input_tokens"];
            names.iter().find_map(|name| value.get(name))
        });
    reported?;
    let output = count(&["output_tokens"]);
    let input = count(&["input_tokens", "prompt_tokens"]);
    // Some report the total alone (Voyage, Jina).
    let total = || count(&["total_tokens"]).filter(|_| output.is_none());
    Some(Usage {
        input_tokens: input.or_else(total),
        output_tokens: output,
        cache_read_tokens: count(&["cached_tokens"]),
        ..json::reported(value)?
    })
}

/// The event that a piece is, if it is one.
fn event(piece: &Piece<'_>) -> Option<Value> {
    if piece.is_done() {
        return Some(Value::Object(serde_json::Map::new()));
    }
    piece.read().filter(Value::is_object)
}

/// Feeds anything to what reads Cohere's answers: for fuzzing.
pub fn fuzz_cohere(data: &[u8]) {
    super::fuzz::merge(Box::new(V1Merge::default()), data);
    super::fuzz::merge(Box::new(chat::ChatMerge::default()), data);
    super::fuzz::whole(&V1, data);
    super::fuzz::whole(&V2, data);
}

#[cfg(test)]
mod tests;
