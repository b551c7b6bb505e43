//! Pieces of streamed bodies: how texts are cut into deltas, JSON is written, and events are framed.

use fastrand::Rng;
use serde_json::Value;

/// One event of a streamed body.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Text of this choice that it adds.
    pub says: Option<(usize, String)>,
}

impl Frame {
    /// Notes what it says.
    pub fn says(self, choice: usize, text: &str) -> Self {
        Self {
            says: Some((choice, text.to_owned())),
            ..self
        }
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, says: None }
    }
}

/// Cuts a text into one to twelve pieces, none of them empty.
pub fn pieces(text: &str, rng: &mut Rng) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let size = (chars.len() / rng.usize(1..12)).max(1);
    let mut pieces = Vec::new();
    let mut rest = chars.as_slice();
    while !rest.is_empty() {
        let length = rng.usize(1..=size * 2).min(rest.len());
        let (piece, left) = rest.split_at(length);
        pieces.push(piece.iter().collect());
        rest = left;
    }
    pieces
}

/// JSON in one line; a quarter of them in ASCII only, as some servers write it.
pub fn json(value: &Value, rng: &mut Rng) -> String {
    let text = value.to_string();
    if rng.u8(..4) == 0 {
        escaped(&text, |c| !c.is_ascii())
    } else {
        text
    }
}

/// The same, for clients that take every line separator of Unicode for the end of a line.
pub fn json_line(value: &Value, rng: &mut Rng) -> String {
    escaped(&json(value, rng), |c| {
        matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{7f}')
    })
}

/// JSON with these characters as `\uXXXX`; outside of strings, JSON has none that could be meant.
fn escaped(json: &str, is_odd: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_odd(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// A server-sent event with JSON for data, now and then with a comment before it.
pub fn event(name: Option<&str>, data: &Value, rng: &mut Rng) -> Frame {
    let mut text = String::new();
    if rng.u8(..16) == 0 {
        text.push_str(": keep-alive\n\n");
    }
    if let Some(name) = name {
        text.push_str(&format!("event: {name}\n"));
    }
    text.push_str(&format!("data: {}\n\n", json(data, rng)));
    text.into_bytes().into()
}
