//! Content blocks of messages. Marks for caches and signatures of thoughts are not kept: they say nothing to people.

use serde_json::Value;

use super::super::json;
use super::super::model::Part;
use super::super::parts;
use super::super::rest::Rest;

/// A block as our part; one that is not known as it is.
pub(super) fn part(block: &Value) -> Part {
    known(block).unwrap_or_else(|| json::generic(block, "block"))
}

fn known(block: &Value) -> Option<Part> {
    let mut fields = Rest::of(block);
    let kind = fields.text("type")?;
    Some(match kind {
        "document" | "image" => source(block, kind)?,
        "container_upload" => Part::File {
            file_id: fields.string("file_id")?,
        },
        "redacted_thinking" => Part::Reasoning {
            content: String::new(),
            encrypted: true,
        },
        "text" => Part::Text {
            content: fields.string("text")?,
            citations: fields.list("citations").unwrap_or_default().to_vec(),
        },
        "thinking" => Part::Reasoning {
            content: fields.string("thinking")?,
            encrypted: false,
        },
        "tool_result" => Part::ToolCallResponse {
            id: fields.string("tool_use_id"),
            name: None,
            response: result(fields.take("content")),
            is_error: fields.truth("is_error").unwrap_or(false),
        },
        "tool_use" => Part::ToolCall {
            id: fields.string("id"),
            name: fields.string("name")?,
            arguments: fields.take("input").cloned().unwrap_or_default(),
        },
        "mcp_tool_use" | "server_tool_use" => Part::ServerToolCall {
            id: fields.string("id"),
            name: fields.string("name")?,
            arguments: fields.take("input").cloned().unwrap_or_default(),
        },
        _ if kind.ends_with("_tool_result") => Part::ServerToolCallResponse {
            id: fields.string("tool_use_id"),
            response: result(fields.take("content")),
            is_error: fields.truth("is_error").unwrap_or(false) || says_error(block),
        },
        _ => return None,
    })
}

/// Tools of Anthropic's say it in what they give: `web_search_tool_result_error`, …
fn says_error(block: &Value) -> bool {
    let kind = json::text_at(block, &["content", "type"]);
    kind.is_some_and(|kind| kind.ends_with("_tool_result_error"))
}

/// Pictures and documents: the data, where they are, a file, or text.
fn source(block: &Value, kind: &str) -> Option<Part> {
    let mut source = Rest::of(block.get("source")?);
    let by = source.text("type")?;
    let mime_type = source.text("media_type");
    match by {
        "base64" => Some(parts::blob(kind, mime_type, source.text("data")?)),
        "file" => Some(Part::File {
            file_id: source.string("file_id")?,
        }),
        "url" => Some(Part::Uri {
            modality: kind.to_owned(),
            mime_type: mime_type.map(str::to_owned),
            uri: source.string("url")?,
        }),
        _ => None,
    }
}

/// What a tool gave, as it was said, but for data, of which only what they are is kept.
fn result(content: Option<&Value>) -> Value {
    let Some(Value::Array(blocks)) = content else {
        return content.cloned().unwrap_or_default();
    };
    let blocks = blocks.iter().map(|block| match part(block) {
        data @ Part::Blob { .. } => serde_json::to_value(data).unwrap_or_default(),
        _ => block.clone(),
    });
    blocks.collect()
}
