//! Nothing that a provider says is lost: each text and number of a body is somewhere in what our code tells, whatever the
//! place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::exchange::Exchange;

/// The paths of what is in the question, or in an unstreamed answer, and nowhere in the call (`llm.call`).
pub fn from(
    exchange: &Exchange,
    call: &Value,
    left_out: fn(&str) -> bool,
    is_streamed: bool,
) -> Vec<String> {
    let mut told = BTreeSet::new();
    for member in ["operation", "provider", "request", "response"] {
        leaves(&call[member], "", &mut |_, leaf| {
            told.insert(leaf);
        });
    }
    let mut wrong = Vec::new();
    let mut look = |name: &str, body: Option<Value>| {
        let body = body.unwrap_or_default();
        leaves(&body, "", &mut |path, leaf| {
            let is_data = leaf.starts_with("data:") || path.ends_with("/data");
            if !left_out(path) && !is_data && !told.contains(&leaf) {
                wrong.push(format!("{name}{path} vanished ({leaf})"));
            }
        });
    };
    look("request", exchange.request_json());
    if !is_streamed {
        look("response", exchange.response_json());
    }
    wrong
}

/// Texts and numbers, those in texts that are JSON too.
fn leaves(value: &Value, path: &str, to: &mut dyn FnMut(&str, String)) {
    match value {
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                leaves(value, &format!("{path}/{index}"), to);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                leaves(value, &format!("{path}/{name}"), to);
            }
        }
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => leaves(&inner, path, to),
            _ => to(path, text.clone()),
        },
        Value::Number(number) => to(path, number.to_string()),
        Value::Bool(_) | Value::Null => {}
    }
}
