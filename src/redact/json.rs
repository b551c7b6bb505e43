//! Secrets in JSON that has been decoded: by the names of keys, and in the texts of all strings.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::named;
use super::rules::spellings;

/// Longer keys are no names.
const KEY_MAX: usize = 96;
/// Shorter keys are no secrets themselves.
const SECRET_MIN: usize = 16;
/// Smaller numbers are no passwords, but counts.
const NUMBER_MIN: u64 = 1000;

/// The keys whose values are secret.
pub struct Keys {
    /// All spellings, in lower case.
    names: HashSet<Vec<u8>>,
    /// The last bytes of these: most keys end otherwise.
    last: [bool; 256],
    shortest: usize,
}

impl Keys {
    /// Keys that end with one of these names.
    pub fn new<'n>(names: impl Iterator<Item = &'n String>) -> Self {
        let names: HashSet<_> = names
            .flat_map(|name| spellings(name))
            .map(String::into_bytes)
            .collect();
        let mut last = [false; 256];
        for byte in names.iter().filter_map(|name| name.last()) {
            for byte in [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()] {
                if let Some(is_last) = last.get_mut(usize::from(byte)) {
                    *is_last = true;
                }
            }
        }
        let shortest = names.iter().map(Vec::len).min().unwrap_or(usize::MAX);
        Self {
            names,
            last,
            shortest,
        }
    }

    /// The name at the end of this key, if it is one of a secret.
    pub fn name<'k>(&self, key: &'k str) -> Option<&'k str> {
        let last = key.as_bytes().last()?;
        let may_be = self
            .last
            .get(usize::from(*last))
            .copied()
            .unwrap_or_default();
        if !may_be || key.len() > KEY_MAX {
            return None;
        }
        let lower = key.to_ascii_lowercase();
        let ends = 0..=key.len().checked_sub(self.shortest)?;
        let mut ends = ends.filter(|at| named::begins_word(key.as_bytes(), *at));
        let at = ends.find(|at| {
            lower
                .as_bytes()
                .get(*at..)
                .is_some_and(|end| self.names.contains(end))
        })?;
        key.get(at..)
    }
}

/// What is done to the strings of a value.
pub trait Visit {
    /// Any text.
    fn text(&mut self, text: &mut String);
    /// The value of a key whose end `name` makes it a secret.
    fn secret(&mut self, name: &str, text: &mut String);
}

/// Goes through all strings. Depth is bounded by what serde_json reads (128).
pub fn walk(value: &mut Value, keys: &Keys, visitor: &mut impl Visit) {
    match value {
        Value::String(text) => visitor.text(text),
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, keys, visitor)),
        Value::Object(fields) => {
            mask_keys(fields, visitor);
            for (key, value) in fields.iter_mut() {
                match keys.name(key) {
                    Some(name) => walk_secret(value, name, keys, visitor),
                    None => walk(value, keys, visitor),
                }
            }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => {}
    }
}

/// A key may be a secret itself: what tools give is sometimes by token.
fn mask_keys(fields: &mut Map<String, Value>, visitor: &mut impl Visit) {
    let long = fields.keys().filter(|key| key.len() >= SECRET_MIN);
    let masked = long.filter_map(|key| {
        let mut text = key.clone();
        visitor.text(&mut text);
        (text != *key).then(|| (key.clone(), text))
    });
    let masked: Vec<_> = masked.collect();
    for (key, text) in masked {
        if let Some(value) = fields.remove(&key) {
            fields.insert(text, value);
        }
    }
}

/// What a secret key has: an object there describes a secret (as JSON Schema does) and is none.
fn walk_secret(value: &mut Value, name: &str, keys: &Keys, visitor: &mut impl Visit) {
    match value {
        Value::String(text) => visitor.secret(name, text),
        Value::Number(number) if number.as_u64().is_some_and(|number| number >= NUMBER_MIN) => {
            let mut text = number.to_string();
            visitor.secret(name, &mut text);
            if text != number.to_string() {
                *value = Value::String(text);
            }
        }
        Value::Array(items) => {
            for item in items {
                walk_secret(item, name, keys, visitor);
            }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => {
            walk(value, keys, visitor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key in another spelling would be shown, or `max_tokens` would be masked.
    #[test]
    fn keys_are_known_in_all_spellings() {
        let names = ["api_key", "password", "token"].map(str::to_owned);
        let keys = Keys::new(names.iter());
        for key in [
            "api_key",
            "apiKey",
            "API-KEY",
            "OPENAI_API_KEY",
            "openaiApiKey",
            "dbPassword",
            "x.token",
            "apikey",
        ] {
            assert!(keys.name(key).is_some(), "{key}");
        }
        for key in ["", "max_tokens", "monkey", "passwords", "nontoken", "key"] {
            assert_eq!(keys.name(key), None, "{key}");
        }
    }
}
