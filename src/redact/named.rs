//! Values behind names: fields of heads, keys of JSON, parameters of URLs. In heads and bodies as they are sent, and in text
//! that quotes them: commands, code, JSON in strings of JSON.

use super::ending::{Ending, Quote};
use super::scan::Span;

/// Longer gaps between a name and its value are no gaps.
const GAP_MAX: usize = 32;
/// Bytes of the words before a name that belong to it (`openai_api_key`).
const PREFIX_MAX: usize = 64;
/// From this length on a parameter's name says enough to be one at the beginning of a line.
const TELLING: usize = "password=".len();

/// What may stand before the secret of a field (RFC 9110 section 11.4, the IANA registry of schemes, and custom).
const SCHEMES: &[(&str, Scheme)] = &[
    ("apikey", Scheme::One),
    ("aws4-hmac-sha256", Scheme::Many),
    ("basic", Scheme::One),
    ("bearer", Scheme::One),
    ("bot", Scheme::One),
    ("digest", Scheme::Many),
    ("dpop", Scheme::One),
    ("key", Scheme::One),
    ("negotiate", Scheme::One),
    ("ntlm", Scheme::One),
    ("oauth", Scheme::Many),
    ("ssws", Scheme::One),
    ("token", Scheme::Many),
];

/// How many words follow the name of a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Many,
    One,
}

/// A value that a name makes a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its first byte.
    pub start: usize,
    /// Where it ends.
    pub ending: Ending,
    /// How sure it is that this is one.
    pub trust: Trust,
}

/// How sure it is that a value is what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It stands where it is sent: a line of a head.
    Sent,
    /// In quotes, or a parameter of a URL.
    Quoted,
    /// Any words could stand there.
    Loose,
    /// It follows the name in a list, as other names could.
    Paired,
}

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// No value.
    Nothing,
    /// The text ends too early to tell.
    Undecided,
    /// A value.
    Value(Value),
}

/// The value of a field of a head. `is_ending`: the name may be the end of a longer one.
pub fn header(text: &[u8], name: (usize, usize), is_ending: bool) -> Look {
    let (mut start, end) = name;
    if is_ending {
        start -= behind(text, start, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'-'
        });
    }
    if !is_ending && !is_boundary(text, start) {
        return Look::Nothing;
    }
    let mut cursor = Cursor { text, at: end };
    let closing = cursor.quote();
    cursor.gap();
    let separator = match cursor.byte() {
        None => return Look::Undecided,
        Some(b'=') if is_ending => return Look::Nothing,
        // As HAR files say it.
        Some(b',') if closing.is_some() && cursor.pass_value_key() => b':',
        Some(b',') if closing.is_some() && begins_list(text, start) => b',',
        Some(separator @ (b':' | b'=')) => separator,
        Some(_) => return Look::Nothing,
    };
    cursor.at += 1;
    cursor.gap();
    if closing.is_some() && cursor.byte() == Some(b'[') {
        cursor.at += 1;
        cursor.space();
    }
    let opening = cursor.quote();
    let enclosing = quote_before(text, start).filter(|_| closing.is_none());
    let (ending, trust) = match opening.or(enclosing) {
        Some(quote) => (Ending::String(quote), Trust::Quoted),
        None if closing.is_some() && cursor.byte().is_some() => return Look::Nothing,
        None if is_line_start(text, start) => (Ending::Line, Trust::Sent),
        None if is_escaped_line_start(text, start) => (Ending::Quote, Trust::Sent),
        None => (Ending::Quote, Trust::Loose),
    };
    if cursor.is_cut_scheme() {
        return Look::Undecided;
    }
    let scheme = cursor.scheme();
    let has_many = scheme.is_some_and(|scheme| scheme == Scheme::Many);
    let is_list = has_many
        || text
            .get(..end)
            .is_some_and(|name| name.to_ascii_lowercase().ends_with(b"cookie"));
    let ending = match ending {
        Ending::Quote if !is_list => Ending::Value,
        ending => ending,
    };
    let trust = match separator {
        b'=' => Trust::Loose,
        b',' if opening.is_none() => return Look::Nothing,
        b',' if scheme.is_none() && !is_list => Trust::Paired,
        _ => trust,
    };
    value(&cursor, ending, trust)
}

/// Whether a name's value is what follows it in a list of two, from `start` on.
pub fn is_pair(name: &[u8], value: &[u8], start: usize) -> bool {
    let is_cookie = name.to_ascii_lowercase().ends_with(b"cookie");
    let trust = match start > 0 || is_cookie {
        true => Trust::Quoted,
        false => Trust::Paired,
    };
    let secret = value.get(start..).unwrap_or_default();
    super::scan::is_worth(name, trust, secret.trim_ascii_end(), false)
}

/// Bytes of blanks and the name of a scheme, before the secret of a field.
pub fn scheme(text: &[u8]) -> usize {
    let mut cursor = Cursor { text, at: 0 };
    cursor.gap();
    cursor.scheme().map_or(0, |_| cursor.at)
}

/// The string that follows this secret in a list. The list begins behind the name whose end is given.
pub fn next_of_list(text: &[u8], name: usize, last: &Span) -> Option<Value> {
    let Ending::String(quote) = last.ending else {
        return None;
    };
    let between = text.get(name..last.start).unwrap_or_default();
    let mut cursor = Cursor { text, at: last.end };
    if !between.contains(&b'[') || last.is_open || cursor.quote() != Some(quote) {
        return None;
    }
    cursor.space();
    if cursor.byte() != Some(b',') {
        return None;
    }
    cursor.at += 1;
    cursor.space();
    (cursor.quote()? == quote).then_some(())?;
    cursor.scheme();
    Some(Value {
        start: cursor.at,
        ending: last.ending,
        trust: Trust::Quoted,
    })
}

/// Whether a list begins right before the quote before `at`.
fn begins_list(text: &[u8], at: usize) -> bool {
    let Some(quote) = quote_before(text, at) else {
        return false;
    };
    let before = text.get(..at - 1 - quote.escapes).unwrap_or_default();
    matches!(before.trim_ascii_end().last(), Some(b'[' | b'('))
}

/// The value of a field whose name is known.
pub fn field(text: &[u8]) -> Look {
    let mut cursor = Cursor { text, at: 0 };
    cursor.gap();
    cursor.scheme();
    value(&cursor, Ending::Line, Trust::Sent)
}

/// The string of a key that ends with this name.
pub fn json(text: &[u8], name: (usize, usize)) -> Look {
    let (start, end) = name;
    if !begins_word(text, start) {
        return Look::Nothing;
    }
    let key = start
        - behind(text, start, |byte| {
            byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)
        });
    let Some(opening) = quote_before(text, key) else {
        return Look::Nothing;
    };
    let mut cursor = Cursor { text, at: end };
    match cursor.quote() {
        Some(closing) if closing == opening => {}
        None if cursor.is_at_end() => return Look::Undecided,
        _ => return Look::Nothing,
    }
    cursor.gap();
    match cursor.byte() {
        None => return Look::Undecided,
        Some(b':') => cursor.at += 1,
        // As lists of variables say it.
        Some(b',') if cursor.pass_value_key() => cursor.at += 1,
        Some(_) => return Look::Nothing,
    }
    cursor.gap();
    if cursor.byte() == Some(b'[') {
        cursor.at += 1;
        cursor.space();
    }
    match cursor.quote() {
        Some(quote) => value(&cursor, Ending::String(quote), Trust::Quoted),
        None if cursor.is_at_end() => Look::Undecided,
        None => Look::Nothing,
    }
}

/// The value of a parameter; its name ends with `=`.
pub fn query(text: &[u8], name: (usize, usize)) -> Look {
    let (start, end) = name;
    let before = text.get(..start).unwrap_or_default();
    let is_parameter = [&b"?"[..], b"&", b"\\u0026", b"%26", b"&amp;"]
        .iter()
        .any(|separator| before.ends_with(separator));
    let is_line = is_line_start(text, start) || is_escaped_line_start(text, start);
    if !is_parameter && (end - start < TELLING || !is_line) {
        return Look::Nothing;
    }
    let cursor = Cursor { text, at: end };
    let trust = match is_parameter {
        true => Trust::Quoted,
        false => Trust::Loose,
    };
    value(&cursor, Ending::Query, trust)
}

fn value(cursor: &Cursor<'_>, ending: Ending, trust: Trust) -> Look {
    match cursor.is_at_end() {
        true => Look::Undecided,
        false => Look::Value(Value {
            start: cursor.at,
            ending,
            trust,
        }),
    }
}

/// How many bytes directly before `at` are such, of at most [`PREFIX_MAX`].
fn behind(text: &[u8], at: usize, is_such: impl Fn(u8) -> bool) -> usize {
    let before = text.get(..at).unwrap_or_default().iter().rev();
    before
        .take(PREFIX_MAX)
        .take_while(|byte| is_such(**byte))
        .count()
}

/// Bytes directly before `at` that can be of the word in whose middle that is (the local part of an address).
pub fn local_part(text: &[u8], at: usize) -> usize {
    behind(text, at, |byte| {
        byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte)
    })
}

/// Whether a line begins here: a real one, not an escaped one.
fn is_line_start(text: &[u8], at: usize) -> bool {
    at.checked_sub(1)
        .is_none_or(|before| text.get(before) == Some(&b'\n'))
}

/// Whether a line begins here inside of a string.
fn is_escaped_line_start(text: &[u8], at: usize) -> bool {
    text.get(..at)
        .is_some_and(|before| before.ends_with(b"\\n"))
}

/// Whether no word goes on here. In strings of JSON, URLs and colours of a terminal, letters can stand before a word that
/// belong to something else.
pub fn is_boundary(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let Some(byte) = before.last() else {
        return true;
    };
    if !(byte.is_ascii_alphanumeric() || b"_-".contains(byte)) {
        return true;
    }
    match before {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., b'\\', b'u', a, b, c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()),
        [.., b'%', a, b] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
        [.., b'[' | b';' | b'0'..=b'9', b'm'] => {
            let numbers = behind(text, at - 1, |byte| byte.is_ascii_digit() || byte == b';');
            text.get(..at - 1 - numbers)
                .is_some_and(|before| before.ends_with(b"["))
        }
        _ => false,
    }
}

/// Whether a part of a name begins here: `_key`, `apiKey`, `"key`.
pub fn begins_word(text: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).and_then(|before| text.get(before)) else {
        return true;
    };
    let is = |at: usize, is: fn(&u8) -> bool| text.get(at).is_some_and(is);
    let is_capital = is(at, u8::is_ascii_uppercase);
    // `OpenAIApiKey`: behind capitals, a word begins with the last of them.
    let ends_capitals = is_capital && is(at + 1, u8::is_ascii_lowercase);
    !before.is_ascii_alphabetic()
        || (before.is_ascii_lowercase() && is_capital)
        || (before.is_ascii_uppercase() && ends_capitals)
        || is_boundary(text, at)
}

/// The quote that ends right before `at`.
fn quote_before(text: &[u8], at: usize) -> Option<Quote> {
    let before = text.get(..at).unwrap_or_default();
    let (byte, before) = before.split_last()?;
    let byte = Some(*byte).filter(|byte| b"\"'`".contains(byte))?;
    let escapes = before
        .iter()
        .rev()
        .take(PREFIX_MAX)
        .take_while(|byte| **byte == b'\\')
        .count();
    Some(Quote { byte, escapes })
}

/// Reads on.
struct Cursor<'t> {
    text: &'t [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn is_at_end(&self) -> bool {
        self.rest().iter().all(|byte| *byte == b'\\')
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Blanks.
    fn gap(&mut self) {
        let blank = self
            .rest()
            .iter()
            .take(GAP_MAX)
            .take_while(|byte| b" \t".contains(byte));
        self.at += blank.count();
    }

    /// Blanks and ends of lines, as they stand between the elements of a list.
    fn space(&mut self) {
        let space = self
            .rest()
            .iter()
            .take(GAP_MAX)
            .take_while(|byte| byte.is_ascii_whitespace());
        self.at += space.count();
    }

    /// A quote with its backslashes.
    fn quote(&mut self) -> Option<Quote> {
        let escapes = self
            .rest()
            .iter()
            .take(PREFIX_MAX)
            .take_while(|byte| **byte == b'\\')
            .count();
        let byte = self
            .text
            .get(self.at + escapes)
            .copied()
            .filter(|byte| b"\"'`".contains(byte))?;
        self.at += escapes + 1;
        Some(Quote { byte, escapes })
    }

    /// `, "value":`, which is where the value of a field stands that is named by a value.
    fn pass_value_key(&mut self) -> bool {
        let begin = self.at;
        self.at += 1;
        self.gap();
        let is_value = self.quote().is_some() && self.rest().starts_with(b"value");
        if is_value {
            self.at += "value".len();
            if self.quote().is_some() {
                self.gap();
                if self.byte() == Some(b':') {
                    return true;
                }
            }
        }
        self.at = begin;
        false
    }

    /// The text ends in the middle of `Bearer`, or before the blank behind it.
    fn is_cut_scheme(&self) -> bool {
        let rest = self.rest();
        let is_begun = |(scheme, _): &(&str, Scheme)| {
            let begun = scheme.as_bytes().get(..rest.len());
            begun.is_some_and(|begun| begun.eq_ignore_ascii_case(rest))
        };
        !rest.is_empty() && SCHEMES.iter().any(is_begun)
    }

    /// Passes `Bearer ` and the like.
    fn scheme(&mut self) -> Option<Scheme> {
        let rest = self.rest();
        let word = rest
            .iter()
            .take(GAP_MAX)
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-');
        let (word, behind) = rest.split_at(word.count());
        let known = SCHEMES
            .iter()
            .find(|(scheme, _)| word.eq_ignore_ascii_case(scheme.as_bytes()));
        let blanks = behind
            .iter()
            .take(GAP_MAX)
            .take_while(|byte| b" \t".contains(byte))
            .count();
        let (_, scheme) = known.filter(|_| blanks > 0)?;
        self.at += word.len() + blanks;
        Some(*scheme)
    }
}
