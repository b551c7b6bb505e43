//! A message of chat completions: of a question, and of an answer. The fields in which compatible providers put what the
//! model thought are known too.
//!
//! Sources: the API reference of OpenAI (`ChatCompletionMessageParam`, `ChatCompletionMessage`), of DeepSeek
//! (`reasoning_content`), of OpenRouter (`reasoning`, `reasoning_details`, `images`), of Groq (`executed_tools`).

use serde_json::{Map, Value};

use super::content;
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{Message, Part, parts};

/// Where providers put what the model thought, the first that is there counts; some say it twice. The last is GitHub
/// Copilot's.
pub const REASONING: [&str; 4] = [
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_text",
];

/// A message, and what of it was not understood. `role` is taken where it says none.
pub fn read(value: &Value, role: &str) -> (Message, Map<String, Value>) {
    if let Some(text) = value.as_str() {
        let parts = vec![parts::text(text)];
        let role = role.to_owned();
        return (
            Message {
                role,
                name: None,
                parts,
            },
            Map::new(),
        );
    }
    let mut rest = Rest::of(value);
    let said = rest.text("role").unwrap_or(role);
    let message = match said {
        "tool" | "function" => tool_result(&mut rest),
        _ => Message {
            role: said.to_owned(),
            name: rest.string("name"),
            parts: parts_of(&mut rest),
        },
    };
    (message, rest.left())
}

fn tool_result(rest: &mut Rest<'_>) -> Message {
    let part = Part::ToolCallResponse {
        id: rest.string("tool_call_id"),
        name: rest.string("name"),
        response: rest
            .take("content")
            .map(parts::without_data)
            .unwrap_or_default(),
        is_error: false,
    };
    Message {
        role: "tool".to_owned(),
        name: None,
        parts: vec![part],
    }
}

/// In the same order whether it was streamed or not: thoughts, tools that were run, content, refusal, pictures, sound,
/// calls.
fn parts_of(rest: &mut Rest<'_>) -> Vec<Part> {
    let mut parts = Vec::new();
    reasoning(rest, &mut parts);
    executed_tools(rest, &mut parts);
    if let Some(content) = rest.take("content") {
        let left = content::read(content, &mut parts);
        rest.keep("content", left);
        cite(rest, &mut parts);
    }
    if let Some(refusal) = rest.text("refusal")
        && !refusal.is_empty()
    {
        parts.push(Part::Refusal {
            content: refusal.to_owned(),
        });
    }
    images(rest, &mut parts);
    audio(rest, &mut parts);
    tool_calls(rest, &mut parts);
    function_call(rest, &mut parts);
    parts
}

fn reasoning(rest: &mut Rest<'_>, parts: &mut Vec<Part>) {
    let mut said = None;
    for name in REASONING {
        let text = rest.peek(name).and_then(Value::as_str).unwrap_or_default();
        let is_new = said.is_none() && !text.is_empty();
        if is_new || said == Some(text) {
            rest.skip(&[name]);
        }
        if is_new {
            said = Some(text);
        }
    }
    let details = rest.peek("reasoning_details").and_then(Value::as_array);
    let details = details.map(Vec::as_slice).unwrap_or_default();
    let told = said.map_or_else(|| of_details(details), str::to_owned);
    if !told.is_empty() {
        parts.push(Part::Reasoning {
            content: told,
            encrypted: false,
        });
    }
    let is_encrypted = |detail: &Value| detail["type"] == "reasoning.encrypted";
    if details.iter().any(is_encrypted) {
        parts.push(Part::Reasoning {
            content: String::new(),
            encrypted: true,
        });
    }
}

fn of_details(details: &[Value]) -> String {
    let text = |detail: &Value| {
        let text = detail.get("text").or_else(|| detail.get("summary"))?;
        text.as_str().map(str::to_owned)
    };
    details.iter().filter_map(text).collect()
}

/// Tools that Groq ran: what they were asked, and what they gave in any of several fields.
fn executed_tools(rest: &mut Rest<'_>, parts: &mut Vec<Part>) {
    let tools = rest.list("executed_tools").into_iter().flatten();
    for tool in tools.filter(|tool| tool.is_object()) {
        let mut fields = Rest::of(tool);
        fields.skip(&["index"]);
        let id = fields.string("id");
        parts.push(Part::ServerToolCall {
            id: id.clone(),
            name: fields.string("type").unwrap_or_default(),
            arguments: arguments_of(fields.take("arguments")),
        });
        let mut gave = fields.left();
        let response = match gave.remove("output") {
            Some(output) if gave.is_empty() => output,
            Some(output) => {
                gave.insert("output".to_owned(), output);
                Value::Object(gave)
            }
            None if gave.is_empty() => continue,
            None => Value::Object(gave),
        };
        parts.push(Part::ServerToolCallResponse {
            id,
            response: parts::without_data(&response),
            is_error: false,
        });
    }
}

/// Pictures that OpenRouter's models make.
fn images(rest: &mut Rest<'_>, parts: &mut Vec<Part>) {
    let mut leftovers = Leftovers::default();
    for (index, image) in rest.list("images").into_iter().flatten().enumerate() {
        let (part, left) = content::image(image);
        parts.push(part);
        leftovers.add(index as u64, left);
    }
    rest.keep("images", leftovers);
}

/// The sources of an answer stand beside its text.
fn cite(rest: &mut Rest<'_>, parts: &mut [Part]) {
    let text = parts.iter_mut().find_map(|part| match part {
        Part::Text { citations, .. } => Some(citations),
        _ => None,
    });
    if let Some(citations) = text
        && let Some(annotations) = rest.list("annotations")
    {
        citations.extend_from_slice(annotations);
    }
}

fn audio(rest: &mut Rest<'_>, parts: &mut Vec<Part>) {
    let Some(mut audio) = rest.object("audio") else {
        return;
    };
    let data = audio.text("data").filter(|data| !data.is_empty());
    let transcript = audio.text("transcript").filter(|text| !text.is_empty());
    match data {
        Some(data) => parts.push(parts::blob("audio", None, data)),
        // In a question: what the model said before, by name.
        None if transcript.is_none() => {
            parts.extend(audio.string("id").map(|file_id| Part::File { file_id }));
        }
        None => {}
    }
    parts.extend(transcript.map(parts::text));
    rest.keep("audio", audio.left());
}

fn tool_calls(rest: &mut Rest<'_>, parts: &mut Vec<Part>) {
    let mut leftovers = Leftovers::default();
    for (index, call) in rest.list("tool_calls").into_iter().flatten().enumerate() {
        let (part, left) = tool_call(call);
        parts.push(part);
        leftovers.add(index as u64, left);
    }
    rest.keep("tool_calls", leftovers);
}

fn tool_call(call: &Value) -> (Part, Map<String, Value>) {
    let mut rest = Rest::of(call);
    rest.skip(&["index"]);
    let kind = rest.text("type");
    let id = rest.string("id").filter(|id| !id.is_empty());
    if let Some(mut function) = rest.object("function") {
        let name = function.string("name").unwrap_or_default();
        let arguments = arguments_of(function.take("arguments"));
        rest.keep("function", function.left());
        let part = Part::ToolCall {
            id,
            name,
            arguments,
        };
        return (part, rest.left());
    }
    if let Some(mut custom) = rest.object("custom") {
        let name = custom.string("name").unwrap_or_default();
        // Free text: also where it happens to be JSON.
        let arguments = custom.take("input").cloned().unwrap_or_default();
        rest.keep("custom", custom.left());
        let part = Part::ToolCall {
            id,
            name,
            arguments,
        };
        return (part, rest.left());
    }
    (content::unknown(kind, call), Map::new())
}

fn function_call(rest: &mut Rest<'_>, parts: &mut Vec<Part>) {
    let Some(mut function) = rest.object("function_call") else {
        return;
    };
    let name = function.string("name").unwrap_or_default();
    let arguments = arguments_of(function.take("arguments"));
    rest.keep("function_call", function.left());
    parts.push(Part::ToolCall {
        id: None,
        name,
        arguments,
    });
}

/// Text that should be JSON; some servers send the object.
pub fn arguments_of(value: Option<&Value>) -> Value {
    match value {
        Some(Value::String(text)) => parts::arguments(text),
        Some(other) => other.clone(),
        None => Value::String(String::new()),
    }
}
