//! Reading answers of JSON, and putting such answers together from pieces.

use serde_json::{Map, Value};

use super::model::{Part, ProviderError, Response, Usage};
use super::parts;
use super::rest::Rest;

/// A whole number, also if it is written as `28.0`.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let float = || {
        value
            .as_f64()
            .filter(|v| v.fract() == 0.0 && (0.0..9e15).contains(v))
    };
    value.as_u64().or_else(|| float().map(|v| v as u64))
}

/// The number under this name.
pub(super) fn count(object: &Value, name: &str) -> Option<u64> {
    object.get(name).and_then(whole)
}

/// The sum of those that are there; `None` if none is.
pub(super) fn sum(counts: &[Option<u64>]) -> Option<u64> {
    let counts = counts.iter().flatten();
    counts.copied().reduce(u64::saturating_add)
}

/// Usage as reported: nothing if there is none.
pub(super) fn reported(usage: &Value) -> Option<Usage> {
    usage.is_object().then(|| Usage {
        reported: usage.clone(),
        ..Usage::default()
    })
}

/// What nobody here knows, as it came. Its kind is `type`, or else what is given.
pub(super) fn generic(value: &Value, kind: &str) -> Part {
    let mut fields = Rest::of(value);
    let kind = fields.string("type").unwrap_or_else(|| kind.to_owned());
    let mut content = fields.left_with_empty();
    if !value.is_object() {
        content.insert("value".into(), value.clone());
    }
    Part::Generic { kind, content }
}

/// What kind of data a MIME type is of.
pub(super) fn modality(mime_type: Option<&str>) -> &'static str {
    mime_type.and_then(parts::modality_of).unwrap_or("document")
}

/// What went wrong, as nearly all providers say it: `{"error": {…}}`, `{"error": "…"}`, `{"message": "…"}`.
pub(super) fn error(body: &Value) -> ProviderError {
    let inner = match body.get("error") {
        Some(Value::Null) | None => body,
        Some(inner) => inner,
    };
    if let Some(text) = inner.as_str() {
        return ProviderError {
            message: Some(text.to_owned()),
            ..ProviderError::default()
        };
    }
    let says = |names: &[&str]| {
        let mut said = names.iter().filter_map(|name| inner.get(name));
        said.find_map(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    };
    ProviderError {
        kind: says(&["type", "status", "__type"]),
        code: says(&["code"]),
        message: says(&["message", "Message", "detail"]),
    }
}

/// An answer that says what went wrong. What else it says is kept.
pub(super) fn failed(body: &Value) -> Response {
    let mut fields = Rest::of(body);
    fields.skip(&[
        "type", "error", "message", "Message", "detail", "code", "status", "__type",
    ]);
    if let Some(mut inner) = body.get("error").map(Rest::of) {
        inner.skip(&["type", "message", "code", "status"]);
        fields.keep("error", inner.left());
    }
    Response {
        error: Some(error(body)),
        extra: fields.left(),
        is_complete: true,
        ..Response::default()
    }
}

/// Whether an answer tells of an error.
pub(super) fn is_error(status: u16, body: &Value) -> bool {
    status >= 400 || body.get("error").is_some_and(|error| !error.is_null())
}

/// Puts the fields of one object over those of another; null covers only what is not there.
pub(super) fn overlay(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (name, value) in over {
        if !value.is_null() || !base.contains_key(name) {
            base.insert(name.clone(), value.clone());
        }
    }
}

/// Writes on at the string under this name.
pub(super) fn append(object: &mut Map<String, Value>, name: &str, more: &str) {
    if let Some(Value::String(text)) = object.get_mut(name) {
        text.push_str(more);
    } else {
        object.insert(name.to_owned(), Value::String(more.to_owned()));
    }
}

/// Puts a value at the end of the list under this name.
pub(super) fn push(object: &mut Map<String, Value>, name: &str, value: Value) {
    if let Some(Value::Array(list)) = object.get_mut(name) {
        list.push(value);
    } else {
        object.insert(name.to_owned(), Value::Array(vec![value]));
    }
}

/// The string at the end of a way through objects.
pub(super) fn text_at<'v>(value: &'v Value, way: &[&str]) -> Option<&'v str> {
    let end = way.iter().try_fold(value, |value, name| value.get(name));
    end.and_then(Value::as_str)
}
