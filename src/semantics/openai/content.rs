//! The `content` of a message: a text, or a list of typed parts. Those of chat completions, of responses, of Mistral and of
//! Databricks, whose names do not collide.
//!
//! Sources: the API references of OpenAI (`ChatCompletionContentPart`, `ResponseInputContent`, `ResponseOutputText`), of
//! Mistral (`ContentChunk`) and of Databricks (`ReasoningContent`).

use serde_json::{Map, Value};

use crate::semantics::Part;
use crate::semantics::parts;
use crate::semantics::rest::{Leftovers, Rest};

/// Reads `content` into `into`. What of its parts was not understood comes back, with the index in the list.
pub fn read(content: &Value, into: &mut Vec<Part>) -> Leftovers {
    let mut leftovers = Leftovers::default();
    match content {
        Value::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                let (part, left) = part(element);
                into.push(part);
                leftovers.add(index as u64, left);
            }
        }
        Value::String(text) if text.is_empty() => {}
        Value::Null => {}
        other => into.push(part(other).0),
    }
    leftovers
}

fn part(element: &Value) -> (Part, Map<String, Value>) {
    if let Some(text) = element.as_str() {
        return (parts::text(text), Map::new());
    }
    let mut rest = Rest::of(element);
    let kind = rest.text("type");
    let part = known(kind.unwrap_or("text"), &mut rest);
    match part {
        Some(part) => (part, rest.left()),
        None => (unknown(kind, element), Map::new()),
    }
}

/// A picture, which says so or stands where only pictures do.
pub fn image(element: &Value) -> (Part, Map<String, Value>) {
    let mut rest = Rest::of(element);
    let kind = rest.text("type");
    rest.skip(&["index"]);
    match located(&mut rest, "image", "image_url") {
        Some(part) => (part, rest.left()),
        None => (unknown(kind, &parts::without_data(element)), Map::new()),
    }
}

/// A part that we have no name for, as it is.
pub fn unknown(kind: Option<&str>, value: &Value) -> Part {
    let mut content = match value {
        Value::Object(members) => members.clone(),
        other => Map::from_iter([("value".to_owned(), other.clone())]),
    };
    if kind.is_some() {
        content.remove("type");
    }
    Part::Generic {
        kind: kind.unwrap_or("unknown").to_owned(),
        content,
    }
}

fn known(kind: &str, rest: &mut Rest<'_>) -> Option<Part> {
    match kind {
        "text" | "input_text" | "output_text" => Some(Part::Text {
            content: rest.string("text")?,
            citations: rest
                .list("annotations")
                .map(<[Value]>::to_vec)
                .unwrap_or_default(),
        }),
        "refusal" => Some(Part::Refusal {
            content: rest.string("refusal")?,
        }),
        "reasoning_text" | "summary_text" => Some(reasoning(rest.string("text")?)),
        "reasoning" => {
            let thought = summary(rest.take("summary")?);
            Some(reasoning(thought))
        }
        "thinking" => {
            rest.skip(&["closed"]);
            Some(reasoning(thinking(rest.take("thinking")?)))
        }
        "image_url" | "input_image" => located(rest, "image", "image_url"),
        "video_url" => located(rest, "video", "video_url"),
        "document_url" => located(rest, "document", "document_url"),
        "audio_url" => located(rest, "audio", "audio_url"),
        "input_audio" => audio(rest),
        "file" => {
            let mut inner = rest.object("file")?;
            let part = file(&mut inner);
            rest.keep("file", inner.left());
            part
        }
        "input_file" => file(rest),
        _ => None,
    }
}

fn reasoning(content: String) -> Part {
    Part::Reasoning {
        content,
        encrypted: false,
    }
}

/// Databricks': a list of texts with their signatures, which say nothing to people.
pub fn summary(value: &Value) -> String {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|one| one.get("text")?.as_str()).collect()
}

/// Mistral's: a text, or a list of texts.
fn thinking(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => {
            let list = other.as_array().into_iter().flatten();
            list.filter_map(|one| one.get("text")?.as_str()).collect()
        }
    }
}

/// `{"url": …}`, the URL itself, or the name of a file that the provider has.
fn located(rest: &mut Rest<'_>, modality: &str, name: &'static str) -> Option<Part> {
    if let Some(url) = rest.text(name) {
        return Some(parts::media(modality, None, url));
    }
    if let Some(mut inner) = rest.object(name) {
        let url = inner.text("url")?;
        rest.keep(name, inner.left());
        return Some(parts::media(modality, None, url));
    }
    rest.string("file_id").map(|file_id| Part::File { file_id })
}

fn audio(rest: &mut Rest<'_>) -> Option<Part> {
    // Mistral: base64 or a URL.
    if let Some(text) = rest.text("input_audio") {
        let is_url = text.contains("://") || parts::data_url(text).is_some();
        return Some(if is_url {
            parts::media("audio", None, text)
        } else {
            parts::blob("audio", None, text)
        });
    }
    let mut inner = rest.object("input_audio")?;
    let data = inner.text("data")?;
    let mime_type = inner.text("format").map(|format| format!("audio/{format}"));
    rest.keep("input_audio", inner.left());
    Some(parts::blob("audio", mime_type.as_deref(), data))
}

fn file(rest: &mut Rest<'_>) -> Option<Part> {
    if let Some(data) = rest.text("file_data") {
        return Some(match parts::data_url(data) {
            Some(_) => parts::media("document", None, data),
            None => parts::blob("document", None, data),
        });
    }
    if let Some(url) = rest.text("file_url") {
        return Some(parts::media("document", None, url));
    }
    rest.string("file_id").map(|file_id| Part::File { file_id })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_all(content: Value) -> (Value, Value) {
        let mut parts = Vec::new();
        let left = read(&content, &mut parts);
        (serde_json::to_value(parts).unwrap(), left.into())
    }

    /// A picture in a prompt is not shown as one, or how finely it was to be looked at vanishes.
    #[test]
    fn each_kind_of_part_is_known() {
        let (parts, left) = read_all(json!([
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "high"}},
            {"type": "image_url", "image_url": "https://example.org/b.png"},
            {"type": "input_image", "file_id": "file-1", "detail": "low"},
            {"type": "input_audio", "input_audio": {"data": "aGVsbG8=", "format": "wav"}},
            {"type": "file", "file": {"file_id": "file-2", "filename": "a.pdf"}},
            {"type": "thinking", "thinking": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
            {"type": "reference", "reference_ids": [1]},
        ]));
        let kinds: Vec<_> = parts
            .as_array()
            .unwrap()
            .iter()
            .map(|part| &part["type"])
            .collect();
        assert_eq!(
            json!(kinds),
            json!([
                "text",
                "uri",
                "uri",
                "file",
                "blob",
                "file",
                "reasoning",
                "reference"
            ])
        );
        assert_eq!(parts[6]["content"], "xy");
        assert_eq!(parts[7]["reference_ids"], json!([1]));
        assert_eq!(
            left,
            json!([
                {"index": 0, "cache_control": {"type": "ephemeral"}},
                {"index": 1, "image_url": {"detail": "high"}},
                {"index": 3, "detail": "low"},
                {"index": 5, "file": {"filename": "a.pdf"}},
            ])
        );
    }

    /// A part in a form that we don't know vanishes.
    #[test]
    fn odd_parts_stay_as_they_are() {
        let odd = json!([
            {"type": "image_url", "image_url": 5},
            {"type": "text", "text": 7},
            {"no": "type"},
            42,
            null,
        ]);
        let (parts, _) = read_all(odd);
        assert_eq!(
            parts,
            json!([
                {"type": "image_url", "image_url": 5},
                {"type": "text", "text": 7},
                {"type": "unknown", "no": "type"},
                {"type": "unknown", "value": 42},
                {"type": "unknown", "value": null},
            ])
        );
    }
}
