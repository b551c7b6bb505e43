//! Parts of contents. Signatures of thoughts are not kept: only the provider can read them.

use serde_json::Value;

use super::super::json;
use super::super::model::Part;
use super::super::parts;
use super::super::rest::Rest;

/// What decorates a part and says nothing of what it is.
const DECORATION: &[&str] = &[
    "mediaResolution",
    "partMetadata",
    "thought",
    "thoughtSignature",
    "thought_signature",
    "videoMetadata",
];

/// A part as our part; one that is not known as it is.
pub(super) fn part(value: &Value) -> Part {
    known(value).unwrap_or_else(|| {
        let mut names = value
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys());
        let kind = names.find(|name| !DECORATION.contains(&name.as_str()));
        json::generic(value, kind.map_or("part", String::as_str))
    })
}

fn known(value: &Value) -> Option<Part> {
    let mut fields = Rest::of(value);
    let is_thought = fields.truth("thought").unwrap_or(false);
    if let Some(text) = fields.text("text") {
        return Some(match is_thought {
            false => parts::text(text),
            true => Part::Reasoning {
                content: text.to_owned(),
                encrypted: false,
            },
        });
    }
    let mut inner =
        |camel: &'static str, snake: &'static str| super::either(&mut fields, camel, snake);
    if let Some(call) = inner("functionCall", "function_call") {
        return function_call(call);
    }
    if let Some(answer) = inner("functionResponse", "function_response") {
        return function_response(answer);
    }
    if let Some(data) = inner("inlineData", "inline_data") {
        let mut data = Rest::of(data);
        let mime_type = super::either(&mut data, "mimeType", "mime_type").and_then(Value::as_str);
        return Some(parts::blob(
            json::modality(mime_type),
            mime_type,
            data.text("data")?,
        ));
    }
    if let Some(file) = inner("fileData", "file_data") {
        let mut file = Rest::of(file);
        let mime_type = super::either(&mut file, "mimeType", "mime_type").and_then(Value::as_str);
        let uri = super::either(&mut file, "fileUri", "file_uri")?.as_str()?;
        return Some(parts::media(json::modality(mime_type), mime_type, uri));
    }
    if let Some(code) = inner("executableCode", "executable_code") {
        return Some(Part::ServerToolCall {
            id: json::text_at(code, &["id"]).map(str::to_owned),
            name: "code_execution".into(),
            arguments: code.clone(),
        });
    }
    if let Some(call) = inner("toolCall", "tool_call") {
        let mut call = Rest::of(call);
        return Some(Part::ServerToolCall {
            id: call.string("id"),
            name: super::either(&mut call, "toolType", "tool_type")?
                .as_str()?
                .to_owned(),
            arguments: call.take("args").cloned().unwrap_or_default(),
        });
    }
    if let Some(answer) = inner("toolResponse", "tool_response") {
        return Some(Part::ServerToolCallResponse {
            id: json::text_at(answer, &["id"]).map(str::to_owned),
            response: answer.get("response").cloned().unwrap_or_default(),
            is_error: false,
        });
    }
    let result = inner("codeExecutionResult", "code_execution_result")?;
    Some(Part::ServerToolCallResponse {
        id: json::text_at(result, &["id"]).map(str::to_owned),
        response: result.clone(),
        is_error: json::text_at(result, &["outcome"]).is_some_and(|word| word != "OUTCOME_OK"),
    })
}

fn function_call(call: &Value) -> Option<Part> {
    let mut fields = Rest::of(call);
    let id = fields.string("id");
    let name = fields.string("name")?;
    let arguments = fields.take("args").filter(|args| !args.is_null());
    Some(Part::ToolCall {
        id,
        name,
        // Without arguments, they are left out; what else there is says how they come in pieces.
        arguments: arguments
            .cloned()
            .unwrap_or_else(|| Value::Object(fields.left_with_empty())),
    })
}

fn function_response(answer: &Value) -> Option<Part> {
    let mut fields = Rest::of(answer);
    Some(Part::ToolCallResponse {
        id: fields.string("id"),
        name: Some(fields.string("name")?),
        response: fields.take("response").cloned().unwrap_or_default(),
        is_error: false,
    })
}
