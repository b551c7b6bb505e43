//! JSON as text, appended to a buffer: what `serde_json` writes, byte for byte, without going through a
//! value or a serializer for every field. Most of a capture's bytes pass here.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::event::ProcessId;

/// Bytes looked at in one step, which the compiler turns into a few vector instructions.
const STEP: usize = 32;

/// Appends a string in quotes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text.as_bytes());
    out.push(b'"');
}

/// Appends a number.
pub fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends the name of a process for good: its pid, and when it started.
pub fn process(out: &mut Vec<u8>, process: ProcessId) {
    out.extend_from_slice(b"\"p");
    number(out, process.pid);
    out.push(b'.');
    number(out, process.start_ns);
    out.push(b'"');
}

/// Appends an array of strings.
pub fn strings(out: &mut Vec<u8>, texts: &[String]) {
    out.push(b'[');
    for (n, text) in texts.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        string(out, text);
    }
    out.push(b']');
}

/// Appends bytes in base64, in quotes.
pub fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    let len = base64::encoded_len(bytes.len(), true).unwrap_or(usize::MAX);
    out.resize(start.saturating_add(len), 0);
    let room = out.get_mut(start..).unwrap_or_default();
    // The room is what it takes.
    let written = BASE64_STANDARD.encode_slice(bytes, room).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

fn is_odd(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    // Where the text begins that is not written yet.
    let mut from = 0;
    let mut at = 0;
    for step in text.chunks(STEP) {
        if step.iter().fold(false, |odd, byte| odd | is_odd(*byte)) {
            for (n, byte) in step.iter().enumerate().filter(|(_, byte)| is_odd(**byte)) {
                out.extend_from_slice(text.get(from..at + n).unwrap_or_default());
                escaped(out, *byte);
                from = at + n + 1;
            }
        }
        at += step.len();
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
}

fn escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
            return out.extend([b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    };
    out.extend([b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A line would not be what other JSON writers make of the same text.
        #[test]
        fn strings_are_as_serde_writes_them(text in "[\\x00-\\x7f€😀\"\\\\]{0,100}") {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }

        /// Binary data would come out changed.
        #[test]
        fn base64_is_as_the_crate_writes_it(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            base64(&mut out, &bytes);
            let expected = format!("\"{}\"", BASE64_STANDARD.encode(&bytes));
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
