//! Where a secret ends, in a text and in the pieces of a stream. Knows quotes and their escapes at any depth of strings in
//! strings, so that what is masked leaves JSON as well-formed as it was.

use serde::Deserialize;

/// What ends a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The end of the line.
    Line,
    /// What is not base64, white space or an escape: the dashes behind a key in PEM.
    Pem,
    /// What separates parameters of a URL or of a form.
    Query,
    /// The end of the line, any quote, any escape: what surrounds the secret is not known.
    Quote,
    /// The quote that closes its string.
    #[serde(skip)]
    String(Quote),
    /// White space, any quote, any escape.
    Value,
    /// What no key is made of.
    Word,
}

/// A quote, as deep in strings of strings as its backslashes say: none, 1, 3, 7, …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// `"`, `'` or a backtick.
    pub byte: u8,
    /// Backslashes before it.
    pub escapes: usize,
}

impl Quote {
    /// Whether this quote with so many backslashes before it closes the string (RFC 8259 section 7). Of these, the last
    /// [`Self::escapes`] are its own.
    fn closes(self, backslashes: usize) -> bool {
        let own = self.escapes;
        backslashes < own || backslashes % (2 * (own + 1)) == own || self.byte != b'"'
    }
}

/// How far a secret reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Behind its last byte.
    pub end: usize,
    /// The text ends before the secret does, as far as one can see.
    pub is_open: bool,
}

impl Ending {
    /// Whether this byte ends the secret, quotes of strings left aside.
    fn ends(self, byte: u8) -> bool {
        match self {
            Self::Line => matches!(byte, b'\r' | b'\n'),
            Self::Pem => {
                let is_text = byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace();
                !(is_text || b"+/=\\".contains(&byte))
            }
            Self::Query => byte.is_ascii_whitespace() || b"&\"'\\<>`#)]};,".contains(&byte),
            Self::Quote => b"\r\n\"'\\`".contains(&byte),
            Self::String(quote) => byte == b'\n' || byte == quote.byte || byte == b'"',
            Self::Value => byte.is_ascii_whitespace() || b"\"'\\`".contains(&byte),
            Self::Word => !(byte.is_ascii_alphanumeric() || b"-_.~%+/=".contains(&byte)),
        }
    }

    /// Whether escapes may be part of the secret.
    pub fn has_escapes(self) -> bool {
        matches!(self, Self::Pem | Self::String(_))
    }

    /// How far a secret reaches that begins at `from`.
    pub fn extent(self, text: &[u8], from: usize) -> Extent {
        let mut at = from;
        loop {
            let rest = text.get(at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|byte| self.ends(*byte)) else {
                let end = match self.has_escapes() {
                    true => text.len() - backslashes(text, from, text.len()),
                    false => text.len(),
                };
                let is_open = true;
                return Extent { end, is_open };
            };
            at += length;
            let before = match self.has_escapes() {
                true => backslashes(text, from, at),
                false => 0,
            };
            let byte = text.get(at).copied().unwrap_or_default();
            if let Some(own) = self.own(byte, before) {
                let end = at - own.min(before);
                let is_open = false;
                return Extent { end, is_open };
            }
            at += 1;
        }
    }

    /// If this byte ends the secret, how many of the backslashes before it do not belong to that.
    fn own(self, byte: u8, before: usize) -> Option<usize> {
        match self {
            Self::String(quote) if byte == quote.byte => {
                quote.closes(before).then_some(quote.escapes)
            }
            _ if self.has_escapes() && b"\"'`".contains(&byte) => Some(before),
            _ => Some(0),
        }
    }
}

/// Backslashes that end at `at`, none before `from`.
fn backslashes(text: &[u8], from: usize, at: usize) -> usize {
    let before = text.get(from..at).unwrap_or_default();
    before
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
}

/// A secret that goes on in the next piece of its stream. An escape that is cut stays as it is: with half of it masked, the
/// text would no longer be JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    ending: Ending,
    /// Backslashes at the end of the last piece.
    backslashes: usize,
    /// Bytes of a cut escape that are still to come.
    skip: usize,
}

impl Open {
    /// The secret reaches the end of `text`.
    pub fn new(ending: Ending, text: &[u8]) -> Self {
        let backslashes = match ending.has_escapes() {
            true => backslashes(text, 0, text.len()),
            false => 0,
        };
        Self {
            ending,
            backslashes,
            skip: 0,
        }
    }

    /// Masks the secret's part of the next piece. Returns where that ends, and whether the secret does.
    pub fn mask(&mut self, bytes: &mut [u8]) -> Extent {
        let begin = match self.pass_escape(bytes) {
            Ok(begin) => begin,
            Err(extent) => return extent,
        };
        let extent = self.ending.extent(bytes, begin);
        bytes
            .get_mut(begin..extent.end)
            .unwrap_or_default()
            .fill(b'*');
        if extent.is_open {
            self.backslashes = bytes.len() - extent.end;
        }
        extent
    }

    /// Where the cut escape ends; or the end of all.
    fn pass_escape(&mut self, bytes: &[u8]) -> Result<usize, Extent> {
        let open = Extent {
            end: bytes.len(),
            is_open: true,
        };
        let mut at = self.skip.min(bytes.len());
        self.skip -= at;
        if self.backslashes == 0 {
            return Ok(at);
        }
        while bytes.get(at) == Some(&b'\\') {
            self.backslashes += 1;
            at += 1;
        }
        let Some(byte) = bytes.get(at).copied() else {
            return Err(open);
        };
        let before = std::mem::take(&mut self.backslashes);
        if self.ending.ends(byte) && self.ending.own(byte, before).is_some() {
            return Err(Extent {
                end: at,
                is_open: false,
            });
        }
        at += 1;
        if byte == b'u' {
            let end = (at + 4).min(bytes.len());
            self.skip = at + 4 - end;
            at = end;
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password with quotes or backslashes in it would be shown in part, or take with it what follows.
    #[test]
    fn strings_end_at_their_own_quote() {
        let secrets = [
            "plain",
            "a\"b",
            "a\\",
            "\\\"",
            "a\\\\\"b\"",
            "\"",
            "\u{1}é\n",
        ];
        for secret in secrets {
            let mut text = serde_json::to_string(&[secret, "kept"]).unwrap();
            for depth in 0..4 {
                let escapes = (1 << depth) - 1;
                let quote = Quote {
                    byte: b'"',
                    escapes,
                };
                let opening = format!("[{}\"", "\\".repeat(escapes));
                let begin = text.find(&opening).unwrap() + opening.len();
                let extent = Ending::String(quote).extent(text.as_bytes(), begin);
                assert!(!extent.is_open);
                let rest = &text[extent.end..];
                let closing = format!("{}\",", "\\".repeat(escapes));
                assert!(rest.starts_with(&closing), "{secret:?} {depth}: {rest}");
                let whole = text[begin..extent.end].len();
                assert!(depth > 0 || whole == serde_json::to_string(secret).unwrap().len() - 2);
                text = serde_json::to_string(&text).unwrap();
            }
        }
    }

    /// A string that is cut in two would end at the wrong quote, or be JSON no longer.
    #[test]
    fn cut_strings_stay_strings() {
        for secret in ["plain", "a\"bc", "ab\\", "\\\"", "é\u{1}\n\t\"x"] {
            let mut text = serde_json::to_string(&[secret, "kept"]).unwrap();
            for depth in 0..3 {
                let escapes = (1 << depth) - 1;
                let ending = Ending::String(Quote {
                    byte: b'"',
                    escapes,
                });
                let begin = text.find('[').unwrap() + 2 + escapes;
                for border in begin..text.len() - 4 - escapes {
                    if !text.is_char_boundary(border) {
                        continue;
                    }
                    let (a, b) = text.split_at(border);
                    let mut head = a.as_bytes().to_vec();
                    let mut rest = b.as_bytes().to_vec();
                    let extent = ending.extent(&head, begin);
                    if !extent.is_open {
                        continue;
                    }
                    let mut open = Open::new(ending, a.get(begin..).unwrap().as_bytes());
                    head[begin..extent.end].fill(b'*');
                    open.mask(&mut rest);
                    head.extend(rest);
                    let mut json = String::from_utf8_lossy(&head).into_owned();
                    assert_eq!(json.len(), text.len());
                    for _ in 0..depth {
                        json = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}"));
                    }
                    let list: Vec<String> = serde_json::from_str(&json)
                        .unwrap_or_else(|error| panic!("{secret:?} {border}: {json} {error}"));
                    assert_eq!(list[1], "kept", "{secret:?} {depth} {border}");
                }
                text = serde_json::to_string(&text).unwrap();
            }
        }
    }
}
