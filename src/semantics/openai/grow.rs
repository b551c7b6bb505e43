//! JSON that comes in pieces which nobody has described: how a streamed field that we don't know becomes what it would be
//! in an unstreamed answer. The rules are those that the providers' own clients follow: texts are put behind each other,
//! elements of lists are found by their `index`, anything else is replaced.

use serde_json::{Map, Value};

use crate::semantics::rest::is_nothing;

/// What a text that comes again does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// It goes on: inside of deltas.
    GoOn,
    /// It is said anew: beside deltas.
    Replace,
}

/// Texts that name something come whole, and again.
const NAMES: [&str; 7] = ["format", "id", "model", "name", "object", "role", "type"];

/// Puts a piece to what is there.
pub fn grow(into: &mut Map<String, Value>, piece: Map<String, Value>, texts: Texts) {
    for (name, value) in piece {
        if is_nothing(&value) {
            continue;
        }
        match into.get_mut(&name) {
            Some(old) => grow_value(&name, old, value, texts),
            None => {
                into.insert(name, value);
            }
        }
    }
}

fn grow_value(name: &str, old: &mut Value, new: Value, texts: Texts) {
    match (old, new) {
        (Value::String(old), Value::String(new))
            if texts == Texts::GoOn && !NAMES.contains(&name) =>
        {
            old.push_str(&new);
        }
        (Value::Object(old), Value::Object(new)) => grow(old, new, texts),
        (Value::Array(old), Value::Array(new)) => {
            for element in new {
                grow_list(old, element, texts);
            }
        }
        // What a filter has stopped once stays stopped.
        (Value::Bool(true), Value::Bool(false)) if name == "filtered" => {}
        (old, new) => *old = new,
    }
}

/// Looks at the last element, and where the index says; a search would be quadratic.
fn grow_list(list: &mut Vec<Value>, element: Value, texts: Texts) {
    let index = |value: &Value| value.get("index").and_then(Value::as_u64);
    let wanted = index(&element);
    let place = wanted.and_then(|wanted| {
        let here = |place: &usize| list.get(*place).and_then(index) == Some(wanted);
        let last = list.len().checked_sub(1).filter(here);
        last.or_else(|| usize::try_from(wanted).ok().filter(here))
    });
    let old = place.and_then(|place| list.get_mut(place));
    match (old.and_then(Value::as_object_mut), element) {
        (Some(old), Value::Object(element)) => grow(old, element, texts),
        (_, element) => list.push(element),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grown(pieces: &[Value], texts: Texts) -> Value {
        let mut whole = Map::new();
        for piece in pieces {
            grow(&mut whole, piece.as_object().unwrap().clone(), texts);
        }
        Value::Object(whole)
    }

    /// What a provider of its own streams comes out in shreds, or twice.
    #[test]
    fn unknown_fields_grow() {
        let pieces = [
            json!({"details": [{"index": 0, "type": "x.text", "text": "a", "format": "f"}], "n": 1}),
            json!({"details": [{"index": 0, "type": "x.text", "text": "b", "format": "f"}], "n": 2}),
            json!({"details": [{"index": 1, "type": "x.data", "data": "c"}], "n": null}),
        ];
        assert_eq!(
            grown(&pieces, Texts::GoOn),
            json!({"details": [
                {"index": 0, "type": "x.text", "text": "ab", "format": "f"},
                {"index": 1, "type": "x.data", "data": "c"},
            ], "n": 2})
        );
    }

    /// A filter that stopped an answer looks as if it had not.
    #[test]
    fn a_filter_that_struck_stays() {
        let pieces = [
            json!({"r": {"hate": {"filtered": true, "severity": "high"}}}),
            json!({"r": {"violence": {"filtered": false, "severity": "safe"}}, "s": "a"}),
            json!({"r": {"hate": {"filtered": false}}, "s": "b"}),
        ];
        assert_eq!(
            grown(&pieces, Texts::Replace),
            json!({"r": {"hate": {"filtered": true, "severity": "high"},
                "violence": {"filtered": false, "severity": "safe"}}, "s": "b"})
        );
    }
}
