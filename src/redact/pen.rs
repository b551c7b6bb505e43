//! Writes over secrets. The tag is that of the secret itself, however it is written: with escapes or without, in lines or in
//! one, behind the name of its scheme, between the lines of its armour.

use std::borrow::Cow;

use super::scan::Span;
use super::{TagKey, escapes, named};

/// How deep in strings of strings escapes are undone.
const DEPTH_MAX: usize = 4;

/// Writes over secrets.
pub struct Pen {
    pub tag_key: TagKey,
    /// How many.
    pub masked: u64,
}

impl Pen {
    pub fn tag(&self, secret: &[u8]) -> u32 {
        let hash = blake3::keyed_hash(&self.tag_key, &bare(secret));
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    pub fn mask_whole(&mut self, text: &mut [u8], span: &Span) {
        let Some(secret) = text.get_mut(span.range()) else {
            return;
        };
        let tag = self.tag(secret);
        overwrite(secret, Some(tag));
        self.masked += 1;
    }
}

/// `<redacted:1a2b3c4d>` and stars where that fits, else stars.
pub fn overwrite(target: &mut [u8], tag: Option<u32>) {
    target.fill(b'*');
    let label = tag.map(|tag| format!("<redacted:{tag:08x}>"));
    if let Some(label) = label
        && let Some(start) = target.get_mut(..label.len())
    {
        start.copy_from_slice(label.as_bytes());
    }
}

/// The secret alone.
fn bare(secret: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |byte: &u8| !(b"\\%-".contains(byte) || byte.is_ascii_whitespace());
    if secret.iter().all(is_plain) {
        return Cow::Borrowed(secret);
    }
    let mut text = Cow::Borrowed(secret);
    for _ in 0..DEPTH_MAX {
        match text.contains(&b'\\') {
            true => text = Cow::Owned(unescaped(&escapes::Plain::new(&text).text)),
            false => break,
        }
    }
    if text.contains(&b'%') {
        text = Cow::Owned(decoded(&text));
    }
    let inside = unarmoured(&text);
    let inside = inside.get(named::scheme(inside)..).unwrap_or_default();
    let bare = inside.iter().filter(|byte| !byte.is_ascii_whitespace());
    Cow::Owned(bare.copied().collect())
}

/// Without the escapes of RFC 8259 section 7, one level deep.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b' | b'f' | b'n' | b'r' | b't') => b'\n',
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    out
}

/// Without the escapes of URLs (RFC 3986 section 2.1).
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        let code = match behind {
            [a, b, ..] if *byte == b'%' => digit(a).zip(digit(b)),
            _ => None,
        };
        match code.and_then(|(a, b)| u8::try_from(a * 16 + b).ok()) {
            Some(code) => {
                out.push(code);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
    out
}

/// What is between the lines of PEM (RFC 7468 section 3).
fn unarmoured(text: &[u8]) -> &[u8] {
    const DASHES: &[u8] = b"-----";
    let find = |text: &[u8], what: &[u8]| memchr::memmem::find(text, what);
    let Some(begin) = find(text, b"-----BEGIN ") else {
        return text;
    };
    let title = text.get(begin + DASHES.len()..).unwrap_or_default();
    let inside = find(title, DASHES).and_then(|end| title.get(end + DASHES.len()..));
    let inside = inside.unwrap_or(text);
    let end = find(inside, b"-----END ").unwrap_or(inside.len());
    inside.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same secret would look like another one.
    #[test]
    fn what_surrounds_a_secret_is_no_part_of_it() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIabc+/\ndef==\n-----END PRIVATE KEY-----\n";
        let escaped = serde_json::to_string(pem).unwrap();
        let twice = serde_json::to_string(&escaped).unwrap();
        for (written, secret) in [
            ("plain-1", "plain-1"),
            ("Bearer a.b", "a.b"),
            ("a%2Bb%3d%zz%", "a+b=%zz%"),
            (r"\u0061\/b\\", "a/b\\"),
            ("\nMIIabc+/\r\ndef==\n", "MIIabc+/def=="),
            (pem, "MIIabc+/def=="),
            (escaped.trim_matches('"'), "MIIabc+/def=="),
            (twice.trim_matches(['"', '\\']), "MIIabc+/def=="),
        ] {
            let bare = String::from_utf8(bare(written.as_bytes()).into_owned());
            assert_eq!(bare.as_deref(), Ok(secret), "{written}");
        }
    }
}
