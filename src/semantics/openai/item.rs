//! Items of responses: what goes in and comes out of a model there, message by message and call by call.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses> (`InputItem`, `OutputItem`).

use serde_json::{Map, Value};

use super::content;
use super::message::arguments_of;
use crate::semantics::rest::Rest;
use crate::semantics::{Part, parts};

/// An item, read.
#[derive(Debug)]
pub struct Item {
    /// Whose it is.
    pub role: String,
    /// What it says.
    pub parts: Vec<Part>,
    /// What was not understood.
    pub left: Map<String, Value>,
}

/// Reads an item of an answer: what tools gave there, the provider's own gave.
pub fn answered(value: &Value) -> Item {
    read(value, true)
}

/// Whether the item is a call of a shell that the provider runs.
pub fn is_hosted_shell(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == "shell_call")
        && is_hosted(value.get("environment"))
}

fn is_hosted(environment: Option<&Value>) -> bool {
    let kind = environment.and_then(|environment| environment.get("type")?.as_str());
    kind.is_some_and(|kind| kind.starts_with("container"))
}

/// Reads an item. `is_hosted`: a tool whose output it is was run by the provider.
pub fn read(value: &Value, is_hosted: bool) -> Item {
    let mut rest = Rest::of(value);
    let kind = rest.text("type");
    let mut parts = Vec::new();
    let role = match kind {
        None | Some("message") if rest.peek("content").is_some() || kind.is_some() => {
            if let Some(content) = rest.take("content") {
                let left = content::read(content, &mut parts);
                rest.keep("content", left);
            }
            rest.text("role").unwrap_or("assistant")
        }
        Some(kind) if is_hosted && kind.ends_with("_call_output") => {
            let id = rest.string("call_id").or_else(|| rest.string("id"));
            gave(&mut rest, "output", id, &mut parts);
            "assistant"
        }
        Some(kind) => match of_kind(kind, &mut rest, &mut parts) {
            Some(role) => role,
            None => return unknown(kind, value),
        },
        None => return unknown("unknown", value),
    };
    Item {
        role: role.to_owned(),
        parts,
        left: rest.left(),
    }
}

/// What comes out of a response without being a call of ours. In a question, these are what was answered before.
const ANSWERED: [&str; 3] = ["compaction", "mcp_approval_request", "mcp_list_tools"];

/// Names nobody as the speaker where nothing says who it was.
fn unknown(kind: &str, value: &Value) -> Item {
    let is_answered = kind.ends_with("_call") || ANSWERED.contains(&kind);
    Item {
        role: if is_answered { "assistant" } else { kind }.to_owned(),
        parts: vec![content::unknown(Some(kind), value)],
        left: Map::new(),
    }
}

fn of_kind(kind: &str, rest: &mut Rest<'_>, parts: &mut Vec<Part>) -> Option<&'static str> {
    match kind {
        "reasoning" => reasoning(rest, parts),
        "function_call" => parts.push(Part::ToolCall {
            id: rest.string("call_id"),
            name: rest.string("name")?,
            arguments: arguments_of(rest.take("arguments")),
        }),
        // Free text: also where it happens to be JSON.
        "custom_tool_call" => parts.push(Part::ToolCall {
            id: rest.string("call_id"),
            name: rest.string("name")?,
            arguments: rest.take("input").cloned().unwrap_or_default(),
        }),
        "local_shell_call" | "shell_call" | "computer_call" => {
            let is_hosted = is_hosted(rest.peek("environment"));
            let arguments = rest.take("action").or_else(|| rest.take("actions"));
            described_call(kind, is_hosted, arguments.cloned(), rest, parts);
        }
        "tool_search_call" => {
            let is_hosted = !is_by_client(rest);
            let arguments = arguments_of(rest.take("arguments"));
            described_call(kind, is_hosted, Some(arguments), rest, parts);
        }
        "apply_patch_call" => {
            let operation = rest.take("operation").cloned();
            described_call(kind, false, operation, rest, parts);
        }
        "tool_search_output" if !is_by_client(rest) => {
            let id = rest.string("call_id").or_else(|| rest.string("id"));
            gave(rest, "tools", id, parts);
        }
        "function_call_output"
        | "custom_tool_call_output"
        | "local_shell_call_output"
        | "shell_call_output"
        | "computer_call_output"
        | "apply_patch_call_output"
        | "tool_search_output" => {
            parts.push(Part::ToolCallResponse {
                id: rest.string("call_id").or_else(|| rest.string("id")),
                name: None,
                response: rest
                    .take("output")
                    .or_else(|| rest.take("tools"))
                    .map(parts::without_data)
                    .unwrap_or_default(),
                is_error: false,
            });
            return Some("tool");
        }
        _ => server_call(kind, rest, parts)?,
    }
    Some("assistant")
}

/// Tools are searched for by OpenAI, or where the client is.
fn is_by_client(rest: &Rest<'_>) -> bool {
    rest.peek("execution").is_some_and(|by| by == "client")
}

/// A call of a tool that OpenAI has described, which runs where the client is, or at OpenAI.
fn described_call(
    kind: &str,
    is_hosted: bool,
    arguments: Option<Value>,
    rest: &mut Rest<'_>,
    parts: &mut Vec<Part>,
) {
    let id = rest.string("call_id");
    let name = kind.strip_suffix("_call").unwrap_or(kind).to_owned();
    let arguments = arguments.unwrap_or_default();
    parts.push(match is_hosted {
        true => Part::ServerToolCall {
            id: id.or_else(|| rest.string("id")),
            name,
            arguments,
        },
        false => Part::ToolCall {
            id,
            name,
            arguments,
        },
    });
}

fn server_call(kind: &str, rest: &mut Rest<'_>, parts: &mut Vec<Part>) -> Option<()> {
    let id = rest.string("id");
    let call = |name: &str, arguments| Part::ServerToolCall {
        id: id.clone(),
        name: name.to_owned(),
        arguments,
    };
    match kind {
        "web_search_call" => {
            parts.push(call(
                "web_search",
                rest.take("action").cloned().unwrap_or_default(),
            ));
        }
        "file_search_call" => {
            parts.push(call("file_search", members(rest, &["queries"])));
            gave(rest, "results", id, parts);
        }
        "code_interpreter_call" => {
            parts.push(call(
                "code_interpreter",
                members(rest, &["code", "container_id"]),
            ));
            gave(rest, "outputs", id, parts);
        }
        "image_generation_call" => {
            let known = [
                "revised_prompt",
                "size",
                "quality",
                "background",
                "output_format",
                "action",
            ];
            let arguments = members(rest, &known);
            let format = arguments.get("output_format").and_then(Value::as_str);
            let mime_type = format.map(|format| format!("image/{format}"));
            let picture = rest.text("result");
            let picture = picture.map(|data| parts::blob("image", mime_type.as_deref(), data));
            parts.push(call("image_generation", arguments));
            parts.extend(picture);
        }
        "mcp_call" => {
            let name = rest.string("name")?;
            parts.push(call(&name, arguments_of(rest.take("arguments"))));
            let failed = rest.peek("output").is_none();
            gave(rest, if failed { "error" } else { "output" }, id, parts);
        }
        _ => return None,
    }
    Some(())
}

fn members(rest: &mut Rest<'_>, names: &[&'static str]) -> Value {
    let mut members = Map::new();
    for name in names {
        if let Some(value) = rest.take(name) {
            members.insert((*name).to_owned(), value.clone());
        }
    }
    Value::Object(members)
}

fn gave(rest: &mut Rest<'_>, name: &'static str, id: Option<String>, parts: &mut Vec<Part>) {
    if let Some(value) = rest.take(name) {
        parts.push(Part::ServerToolCallResponse {
            id,
            response: parts::without_data(value),
            is_error: name == "error",
        });
    }
}

/// The summary, the thoughts where they are told, and a mark for what only the provider can read.
fn reasoning(rest: &mut Rest<'_>, parts: &mut Vec<Part>) {
    let before = parts.len();
    for name in ["summary", "content"] {
        if let Some(list) = rest.take(name) {
            let left = content::read(list, parts);
            rest.keep(name, left);
        }
    }
    let encrypted = rest
        .text("encrypted_content")
        .is_some_and(|data| !data.is_empty());
    if encrypted || parts.len() == before {
        parts.push(Part::Reasoning {
            content: String::new(),
            encrypted,
        });
    }
}
