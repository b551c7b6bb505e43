//! What of a JSON object was not understood: members are taken out one by one, and what is left is kept as it is. So
//! nothing that a provider says is lost for want of a place in our model.

use serde_json::{Map, Value};

/// An object whose members are being understood.
#[derive(Clone, Debug, Default)]
pub struct Rest<'v> {
    object: Option<&'v Map<String, Value>>,
    taken: Vec<&'static str>,
    kept: Map<String, Value>,
}

impl<'v> Rest<'v> {
    /// Of this value; one that is no object has no members.
    pub fn of(value: &'v Value) -> Self {
        Self {
            object: value.as_object(),
            ..Self::default()
        }
    }

    /// The member, without taking it.
    pub fn peek(&self, name: &str) -> Option<&'v Value> {
        self.object?.get(name).filter(|value| !value.is_null())
    }

    /// Takes the member, whatever it is but `null`.
    pub fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        let value = self.peek(name)?;
        self.taken.push(name);
        Some(value)
    }

    /// Takes the member if it is a string. What has another type than expected is left.
    pub fn text(&mut self, name: &'static str) -> Option<&'v str> {
        let text = self.peek(name)?.as_str()?;
        self.taken.push(name);
        Some(text)
    }

    /// Takes the member if it is a string, for keeping.
    pub fn string(&mut self, name: &'static str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// Takes the member if it is an array.
    pub fn list(&mut self, name: &'static str) -> Option<&'v [Value]> {
        let list = self.peek(name)?.as_array()?;
        self.taken.push(name);
        Some(list)
    }

    /// Takes the member if it is an object.
    pub fn object(&mut self, name: &'static str) -> Option<Rest<'v>> {
        let value = self.peek(name)?;
        value.is_object().then(|| {
            self.taken.push(name);
            Rest::of(value)
        })
    }

    /// Takes the member if it is a number from 0.
    pub fn number(&mut self, name: &'static str) -> Option<u64> {
        let number = self.peek(name)?.as_u64()?;
        self.taken.push(name);
        Some(number)
    }

    /// Takes the member if it is `true` or `false`.
    pub fn truth(&mut self, name: &'static str) -> Option<bool> {
        let truth = self.peek(name)?.as_bool()?;
        self.taken.push(name);
        Some(truth)
    }

    /// These members say nothing that is not known without them.
    pub fn skip(&mut self, names: &[&'static str]) {
        self.taken.extend(names);
    }

    /// What of a taken member was not understood after all.
    pub fn keep(&mut self, name: &str, left: impl Into<Value>) {
        let left = left.into();
        if !is_nothing(&left) {
            self.kept.insert(name.to_owned(), left);
        }
    }

    /// What is left of the members that say something.
    pub fn left(self) -> Map<String, Value> {
        self.left_but(is_nothing)
    }

    /// What is left but `null`: in a question, an empty list can be a wish.
    pub fn left_with_empty(self) -> Map<String, Value> {
        self.left_but(Value::is_null)
    }

    fn left_but(self, without: fn(&Value) -> bool) -> Map<String, Value> {
        let mut left = self.kept;
        for (name, value) in self.object.into_iter().flatten() {
            if !self.taken.contains(&name.as_str()) && !without(value) {
                left.entry(name.as_str()).or_insert_with(|| value.clone());
            }
        }
        left
    }
}

/// `null`, and what is empty: providers write these where they could have left the member out, and differ in that between
/// a streamed and an unstreamed answer.
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What was left of the elements of lists, each with its index.
#[derive(Clone, Debug, Default)]
pub struct Leftovers(Vec<Value>);

impl Leftovers {
    /// What is left of the element at this index.
    pub fn add(&mut self, index: u64, mut left: Map<String, Value>) {
        if !left.is_empty() {
            left.insert("index".to_owned(), index.into());
            self.0.push(Value::Object(left));
        }
    }
}

impl From<Leftovers> for Value {
    fn from(leftovers: Leftovers) -> Self {
        Self::Array(leftovers.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A member of a type that we don't expect vanishes from what is shown.
    #[test]
    fn what_is_not_understood_is_left() {
        let value = json!({"a": "x", "b": 1, "c": null, "d": [], "e": {"f": 2}});
        let mut rest = Rest::of(&value);
        assert_eq!(rest.text("a"), Some("x"));
        assert_eq!(rest.text("b"), None);
        let e = rest.object("e").unwrap();
        rest.keep("e", e.left());
        assert_eq!(
            Value::Object(rest.clone().left()),
            json!({"b": 1, "e": {"f": 2}})
        );
        assert_eq!(
            Value::Object(rest.left_with_empty()),
            json!({"b": 1, "d": [], "e": {"f": 2}})
        );
    }
}
