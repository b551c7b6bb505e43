//! The tools of a question: functions in both of OpenAI's forms, and tools that the provider runs. What is said of a tool
//! beyond our model is kept in the question's parameters, with the tool's index.

use serde_json::{Map, Value};

use crate::semantics::Tool;
use crate::semantics::rest::{Leftovers, Rest};

/// Takes `tools`, and `functions` as they were called once.
pub fn take(body: &mut Rest<'_>) -> Vec<Tool> {
    let mut tools = Vec::new();
    for name in ["tools", "functions"] {
        let mut leftovers = Leftovers::default();
        for (index, value) in body.list(name).into_iter().flatten().enumerate() {
            let (tool, left) = read(value);
            tools.push(tool);
            leftovers.add(index as u64, left);
        }
        body.keep(name, leftovers);
    }
    tools
}

fn read(value: &Value) -> (Tool, Map<String, Value>) {
    let mut rest = Rest::of(value);
    let kind = rest.string("type").unwrap_or_else(|| "function".to_owned());
    // Chat completions have the tool's fields in a member of the type's name, responses beside the type.
    let member = match kind.as_str() {
        "function" => "function",
        "custom" => "custom",
        _ => return (named(kind, &mut rest), rest.left()),
    };
    if let Some(mut inner) = rest.object(member) {
        let tool = named(kind, &mut inner);
        rest.keep(member, inner.left());
        (tool, rest.left())
    } else {
        (named(kind, &mut rest), rest.left())
    }
}

fn named(kind: String, rest: &mut Rest<'_>) -> Tool {
    let name = rest
        .string("name")
        .or_else(|| {
            rest.peek("server_label")
                .and_then(Value::as_str)
                .map(str::to_owned)
        })
        .unwrap_or_else(|| kind.clone());
    Tool {
        name,
        description: rest.string("description"),
        parameters: rest.take("parameters").cloned(),
        kind,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A tool that an agent may call is not listed, or a field of it vanishes.
    #[test]
    fn all_forms_of_tools_are_read() {
        let body = json!({
            "tools": [
                {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}, "strict": true}},
                {"type": "function", "name": "b", "description": "B", "strict": false},
                {"type": "web_search_preview", "search_context_size": "low"},
                {"type": "mcp", "server_label": "docs", "server_url": "https://example.org"},
                {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}},
            ],
            "functions": [{"name": "d", "description": "D"}],
        });
        let mut rest = Rest::of(&body);
        let names: Vec<_> = take(&mut rest).into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, ["a", "b", "web_search_preview", "docs", "c", "d"]);
        assert_eq!(
            Value::Object(rest.left()),
            json!({"tools": [
                {"index": 0, "function": {"strict": true}},
                {"index": 1, "strict": false},
                {"index": 2, "search_context_size": "low"},
                {"index": 3, "server_label": "docs", "server_url": "https://example.org"},
                {"index": 4, "custom": {"format": {"type": "text"}}},
            ]})
        );
    }
}
