//! Content blocks of Converse: each is an object with one field, whose name says what it is.

use serde_json::{Map, Value};

use super::super::json;
use super::super::model::Part;
use super::super::parts;
use super::super::rest::Rest;

/// A block as our part; one that is not known as it is.
pub(super) fn part(block: &Value) -> Part {
    known(block).unwrap_or_else(|| {
        let mut names = block.as_object().into_iter().flat_map(Map::keys);
        json::generic(block, names.next().map_or("block", String::as_str))
    })
}

fn known(block: &Value) -> Option<Part> {
    let (name, value) = block.as_object()?.iter().next()?;
    let mut fields = Rest::of(value);
    match name.as_str() {
        "audio" | "document" | "image" | "video" => data(name, &mut fields),
        "citationsContent" => Some(Part::Text {
            content: texts(fields.list("content").unwrap_or_default()),
            citations: fields.list("citations").unwrap_or_default().to_vec(),
        }),
        "reasoningContent" => Some(match fields.take("reasoningText") {
            Some(text) => Part::Reasoning {
                content: json::text_at(text, &["text"])
                    .unwrap_or_default()
                    .to_owned(),
                encrypted: false,
            },
            None => Part::Reasoning {
                content: String::new(),
                encrypted: fields.take("redactedContent").is_some(),
            },
        }),
        "text" => Some(parts::text(value.as_str()?)),
        "toolResult" => tool_result(fields),
        "toolUse" => {
            let id = fields.string("toolUseId");
            let called = fields.string("name")?;
            let arguments = fields.take("input").cloned().unwrap_or_default();
            Some(match fields.text("type") {
                Some("server_tool_use") => Part::ServerToolCall {
                    id,
                    name: called,
                    arguments,
                },
                _ => Part::ToolCall {
                    id,
                    name: called,
                    arguments,
                },
            })
        }
        _ => None,
    }
}

fn texts(contents: &[Value]) -> String {
    let texts = contents
        .iter()
        .filter_map(|one| json::text_at(one, &["text"]));
    texts.collect()
}

fn tool_result(mut fields: Rest<'_>) -> Option<Part> {
    let id = fields.string("toolUseId");
    let contents = fields.list("content").unwrap_or_default();
    let contents = contents.iter().map(|content| match part(content) {
        data @ Part::Blob { .. } => serde_json::to_value(data).unwrap_or_default(),
        _ => content.clone(),
    });
    let response = contents.collect();
    let is_error = fields.text("status") == Some("error");
    Some(match fields.text("type") {
        Some(_) => Part::ServerToolCallResponse {
            id,
            response,
            is_error,
        },
        None => Part::ToolCallResponse {
            id,
            name: None,
            response,
            is_error,
        },
    })
}

/// Data are given as bytes (base64 in JSON), or by where they lie in S3. Documents may be text, which stays as it is.
fn data(kind: &str, fields: &mut Rest<'_>) -> Option<Part> {
    let source = fields.take("source")?;
    let format = fields.text("format");
    let mime_type = format.map(|format| mime_type(kind, format));
    if let Some(bytes) = json::text_at(source, &["bytes"]) {
        return Some(parts::blob(kind, mime_type.as_deref(), bytes));
    }
    Some(Part::Uri {
        modality: kind.to_owned(),
        mime_type,
        uri: json::text_at(source, &["s3Location", "uri"])?.to_owned(),
    })
}

/// Bedrock says the ending of a file's name.
fn mime_type(kind: &str, format: &str) -> String {
    match (kind, format) {
        ("document", "csv" | "html") => format!("text/{format}"),
        ("document", "md") => "text/markdown".into(),
        ("document", "txt") => "text/plain".into(),
        ("document", _) => format!("application/{format}"),
        (kind, _) => format!("{kind}/{format}"),
    }
}
