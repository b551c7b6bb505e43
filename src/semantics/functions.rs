//! Tools and calls of them in OpenAI's words, which many others took over.

use serde_json::Value;

use super::json;
use super::model::{Part, Tool};
use super::parts;
use super::rest::Rest;

/// A tool call in OpenAI's words.
pub(super) fn call(value: &Value) -> Part {
    let name = json::text_at(value, &["function", "name"]).unwrap_or_default();
    let arguments = value
        .get("function")
        .and_then(|function| function.get("arguments"));
    Part::ToolCall {
        id: json::text_at(value, &["id"]).map(str::to_owned),
        name: name.to_owned(),
        arguments: match arguments {
            Some(Value::String(text)) => parts::arguments(text),
            other => other.cloned().unwrap_or_default(),
        },
    }
}

/// A tool in OpenAI's words.
pub(super) fn tool(value: &Value) -> Tool {
    let mut fields = Rest::of(value);
    let kind = fields
        .string("type")
        .unwrap_or_else(|| "function".to_owned());
    let mut function = match fields.object("function") {
        Some(function) => function,
        None => fields,
    };
    Tool {
        name: function.string("name").unwrap_or_else(|| kind.clone()),
        description: function.string("description"),
        parameters: function.take("parameters").cloned(),
        kind,
    }
}
