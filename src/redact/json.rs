//! Secrets in JSON that has been decoded: by the names of keys, in the texts of all strings, and by both together, as they are
//! found where they are sent.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::rules::spellings;
use super::scan::Scanner;
use super::{Redactor, named};

/// Longer keys are no names.
const KEY_MAX: usize = 96;
/// Shorter keys are no secrets themselves.
const SECRET_MIN: usize = 16;
/// Smaller numbers are no passwords, but counts.
const NUMBER_MIN: u64 = 1000;
/// Keys whose kind is remembered.
const KINDS_MAX: usize = 4096;
/// Where a name stands that is no key: as HAR files, lists of variables and settings of clients have it.
const NAMES: [&str; 3] = ["name", "key", "header"];

/// What a key says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// That of a field of a head: a secret behind its scheme.
    Header,
    /// Nothing.
    Plain,
    /// It is a secret: the name that says so begins here.
    Secret(usize),
    /// What it is like decides, together with this.
    Word,
}

/// The kinds of the keys that were seen.
pub type Kinds = HashMap<String, Kind>;

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

    /// Where the name at the end of this key begins, if it is one of a secret.
    pub fn name(&self, key: &str) -> Option<usize> {
        let last = key.as_bytes().last()?;
        let may_be = self
            .last
            .get(usize::from(*last))
            .copied()
            .unwrap_or_default();
        if !may_be {
            return None;
        }
        let lower = key.to_ascii_lowercase();
        let ends = 0..=key.len().checked_sub(self.shortest)?;
        let mut ends = ends.filter(|at| named::begins_word(key.as_bytes(), *at));
        ends.find(|at| {
            lower
                .as_bytes()
                .get(*at..)
                .is_some_and(|end| self.names.contains(end))
        })
    }
}

impl Scanner {
    /// What this key says of its value.
    fn kind(&self, key: &str) -> Kind {
        if key.len() > KEY_MAX {
            return Kind::Plain;
        }
        if self.is_secret_header(&key.to_ascii_lowercase()) {
            return Kind::Header;
        }
        match self.keys().name(key) {
            Some(at) => Kind::Secret(at),
            None if self.begins_shape(format!("\"{key}\":\"").as_bytes()) => Kind::Word,
            None => Kind::Plain,
        }
    }
}

impl Redactor {
    /// Goes through all strings. Depth is bounded by what serde_json reads (128).
    pub(super) fn walk(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => self.items(items),
            Value::Object(fields) => self.object(fields),
            Value::Bool(_) | Value::Null | Value::Number(_) => {}
        }
    }

    /// Goes through the fields of an object.
    pub(super) fn object(&mut self, fields: &mut Map<String, Value>) {
        self.mask_keys(fields);
        let named = NAMES.iter().find_map(|name| fields.get(*name)?.as_str());
        let named = named.map(|name| (self.kind(name), name.to_owned()));
        for (key, value) in fields.iter_mut() {
            match &named {
                Some((kind, name)) if key == "value" => self.walk_named(value, *kind, name),
                _ => {
                    let kind = self.kind(key);
                    self.walk_named(value, kind, key);
                }
            }
        }
    }

    /// Of two strings, the first may be the name of the second, as lists of a request's fields have it.
    fn items(&mut self, items: &mut [Value]) {
        if let [Value::String(name), Value::String(text)] = items
            && self.kind(name) == Kind::Header
            && let named::Look::Value(found) = named::field(text.as_bytes())
            && named::is_pair(name.as_bytes(), text.as_bytes(), found.start)
        {
            return self.overwrite(text, found.start, text.trim_ascii_end().len());
        }
        items.iter_mut().for_each(|item| self.walk(item));
    }

    fn kind(&mut self, key: &str) -> Kind {
        if let Some(kind) = self.kinds.get(key) {
            return *kind;
        }
        let kind = self.scanner.kind(key);
        if key.len() <= KEY_MAX {
            if self.kinds.len() >= KINDS_MAX {
                self.kinds.clear();
            }
            self.kinds.insert(key.to_owned(), kind);
        }
        kind
    }

    /// What a key has. An object there describes a secret (as JSON Schema does) and is none.
    fn walk_named(&mut self, value: &mut Value, kind: Kind, key: &str) {
        match (value, kind) {
            (value, Kind::Plain) => self.walk(value),
            (Value::String(text), _) => self.named(text, kind, key),
            (Value::Array(items), Kind::Header | Kind::Secret(_)) => {
                for item in items {
                    self.walk_named(item, kind, key);
                }
            }
            (value @ Value::Number(_), Kind::Secret(_)) => self.number(value, kind, key),
            (value, _) => self.walk(value),
        }
    }

    fn named(&mut self, text: &mut String, kind: Kind, key: &str) {
        let (start, name) = match kind {
            Kind::Header => match named::field(text.as_bytes()) {
                named::Look::Value(found) => (found.start, key),
                _ => return,
            },
            Kind::Secret(at) => (0, key.get(at..).unwrap_or(key)),
            Kind::Word => return self.text_behind(&format!("\"{key}\":\""), text, "\""),
            Kind::Plain => return self.text(text),
        };
        let secret = text.as_bytes().get(start..).unwrap_or_default();
        let trust = named::Trust::Quoted;
        if super::scan::is_worth(name.as_bytes(), trust, secret.trim_ascii_end(), false) {
            self.overwrite(text, start, text.trim_ascii_end().len());
        } else {
            self.text(text);
        }
    }

    fn number(&mut self, value: &mut Value, kind: Kind, key: &str) {
        let Some(number) = value.as_u64().filter(|number| *number >= NUMBER_MIN) else {
            return;
        };
        let mut text = number.to_string();
        self.named(&mut text, kind, key);
        if text != number.to_string() {
            *value = Value::String(text);
        }
    }

    /// A key may be a secret itself: what tools give is sometimes by token.
    fn mask_keys(&mut self, fields: &mut Map<String, Value>) {
        let long = fields.keys().filter(|key| key.len() >= SECRET_MIN);
        let long: Vec<String> = long.cloned().collect();
        for key in long {
            let mut text = key.clone();
            self.text(&mut text);
            if text != key
                && let Some(value) = fields.remove(&key)
            {
                fields.insert(text, value);
            }
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
            "OpenAIApiKey",
            "APIKey",
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
