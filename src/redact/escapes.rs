//! Characters that are written as `\u0022`: some serialisers (.NET, Go, PHP, Python) write quotes, signs or all letters so.
//! Undone for looking only, in the whole text at once and at any depth of strings in strings; where what was found stands in
//! the text itself, [`Plain`] tells. Escapes of what is no ASCII stay: no name and no known key has such letters.

use std::borrow::Cow;

use memchr::memmem;

/// Bytes of an escape.
const LEN: usize = 6;

/// A text without such escapes.
pub struct Plain<'t> {
    /// With `\"` and `\\` where a quote and a backslash were escaped, as deep as they were.
    pub text: Cow<'t, [u8]>,
    /// Where something else stands: up to here both texts are alike, counted in `text` and in the text itself.
    turns: Vec<(usize, usize)>,
}

impl<'t> Plain<'t> {
    /// Undoes the escapes.
    pub fn new(text: &'t [u8]) -> Self {
        let mut plain = Vec::new();
        let mut turns = Vec::new();
        let mut done = 0;
        for at in memmem::find_iter(text, b"\\u00") {
            let Some((byte, depth)) = escaped(text, at).filter(|_| at >= done) else {
                continue;
            };
            plain.extend_from_slice(text.get(done..at).unwrap_or_default());
            // The backslashes before this one are those of deeper strings.
            plain.truncate(plain.len().saturating_sub(depth - 1));
            turns.push((plain.len(), at + 1 - depth));
            let backslashes = match byte {
                b'"' => 2 * depth - 1,
                b'\\' => 2 * depth - 1,
                _ => 0,
            };
            plain.resize(plain.len() + backslashes, b'\\');
            plain.push(byte);
            done = at + LEN;
            turns.push((plain.len(), done));
        }
        if turns.is_empty() {
            let text = Cow::Borrowed(text);
            return Self { text, turns };
        }
        plain.extend_from_slice(text.get(done..).unwrap_or_default());
        let text = Cow::Owned(plain);
        Self { text, turns }
    }

    /// Nothing was escaped.
    pub fn is_same(&self) -> bool {
        self.turns.is_empty()
    }

    /// Where in the text itself a place of [`Self::text`] is; inside of an escape: behind that.
    pub fn sent(&self, at: usize) -> usize {
        let next = self.turns.partition_point(|(plain, _)| *plain <= at);
        let place = next.checked_sub(1).and_then(|last| self.turns.get(last));
        let (plain, sent) = place.copied().unwrap_or_default();
        match (next % 2 == 1 && at > plain, self.turns.get(next)) {
            (true, Some((_, behind))) => *behind,
            _ => sent + (at - plain),
        }
    }

    /// Where in [`Self::text`] a place of the text itself is; inside of an escape: behind that.
    pub fn plain(&self, at: usize) -> usize {
        let next = self.turns.partition_point(|(_, sent)| *sent <= at);
        let place = next.checked_sub(1).and_then(|last| self.turns.get(last));
        let (plain, sent) = place.copied().unwrap_or_default();
        match (next % 2 == 1 && at > sent, self.turns.get(next)) {
            (true, Some((behind, _))) => *behind,
            _ => plain + (at - sent),
        }
    }
}

/// The character of the escape at `at`, and of how many backslashes it is made: as many as the depth wants, 1, 2, 4, …
fn escaped(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let digits = text.get(at + 4..at + LEN)?;
    let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    if !(0x20..0x7f).contains(&byte) || digits.first() == Some(&b'+') {
        return None;
    }
    let before = text.get(..=at).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
    let backslashes = backslashes.take(64).count();
    Some((byte, 1 << backslashes.trailing_zeros()))
}

/// Where an escape begins that the end of the text cuts.
pub fn cut(text: &[u8]) -> Option<usize> {
    let from = text.len().saturating_sub(LEN - 1);
    let end = text.get(from..).unwrap_or_default();
    let at = end.iter().rposition(|byte| *byte == b'\\')?;
    let begun = end.get(at..).unwrap_or_default();
    let is_cut = match begun {
        [_] | [_, b'u'] => true,
        [_, b'u', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    };
    let before = text.get(..from + at).unwrap_or_default();
    let others = before.iter().rev().take_while(|byte| **byte == b'\\');
    is_cut.then(|| from + at - others.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> String {
        String::from_utf8(Plain::new(text.as_bytes()).text.into_owned()).unwrap()
    }

    /// What was undone would be other JSON than what was sent.
    #[test]
    fn escapes_of_ascii_are_undone_at_any_depth() {
        for (sent, expected) in [
            (r#"{"a\u005fb":"\u0041\u003D"}"#, r#"{"a_b":"A="}"#),
            (r#""{\u0022a\u0022:1}""#, r#""{\"a\":1}""#),
            (r#""\\u0022""#, r#""\\\"""#),
            (r#""\u005cu0022""#, r#""\\u0022""#),
            (r#""\\\u0041""#, r#""\\A""#),
            (
                r#""\u00e9 \u0000 \u00+1 \u00""#,
                r#""\u00e9 \u0000 \u00+1 \u00""#,
            ),
        ] {
            assert_eq!(plain(sent), expected, "{sent}");
        }
    }

    proptest! {
        /// A mask would stand beside its secret.
        #[test]
        fn places_are_where_they_were(parts in proptest::collection::vec("[a-c\\\\]|\\\\u00(41|22|5c)", 0..20)) {
            let sent = parts.concat();
            let plain = Plain::new(sent.as_bytes());
            let mut last = 0;
            for at in 0..=plain.text.len() {
                let place = plain.sent(at);
                prop_assert!(place >= last && place <= sent.len());
                prop_assert!(plain.plain(place) >= at);
                last = place;
            }
            prop_assert_eq!(plain.sent(plain.text.len()), sent.len());
            prop_assert_eq!(plain.plain(sent.len()), plain.text.len());
        }

        /// The same string, read by a parser of JSON.
        #[test]
        fn it_is_the_same_json(parts in proptest::collection::vec("[a-c]|\\\\\\\\|\\\\n|\\\\u00(41|22|5c)", 0..20)) {
            let sent = format!("\"{}\"", parts.concat());
            let before: String = serde_json::from_str(&sent).unwrap();
            let after: String = serde_json::from_str(&plain(&sent)).unwrap();
            prop_assert_eq!(after, before);
        }
    }
}
