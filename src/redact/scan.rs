//! Finds the secrets of a text. Says where they are, changes nothing, remembers nothing.

use std::ops::Range;

use regex_automata::{Anchored, Input};

use super::ending::{Ending, Open};
use super::escapes::{self, Plain};
use super::hints::{Hints, Hit};
use super::named::{self, Look, Trust};
use super::rules::{Before, Compiled, Rules, Use};
use super::worth;
use crate::error::Result;

/// Bytes that a shape may span. The longest real ones are private keys.
const REACH_MAX: usize = 16 << 10;
/// A shape that has not matched after so many bytes will not: they are held back until then.
const DECIDED: usize = 256;
/// Values behind loose names are at least that long.
const LOOSE_MIN: usize = 8;
/// Strings of one list that a name makes secrets.
const LIST_MAX: usize = 256;

/// A secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// Behind its last one.
    pub end: usize,
    /// Which rule found it, as a number.
    pub rule: usize,
    /// Where it ends, if that is not known yet.
    pub ending: Ending,
    /// It reaches the end of the text.
    pub is_open: bool,
}

impl Span {
    /// In bytes.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// What is to be known to go on with the next piece of the stream.
    pub fn open(&self, text: &[u8]) -> Option<Open> {
        let secret = text.get(self.start..).unwrap_or_default();
        self.is_open.then(|| Open::new(self.ending, secret))
    }
}

/// What a scan works with, kept for its memory.
#[derive(Default)]
pub struct Scratch {
    hits: Vec<Hit>,
    /// What was found, in order.
    pub spans: Vec<Span>,
    /// Where what cannot be told yet begins, at the earliest.
    pub undecided: Option<usize>,
    /// Whether anybody asks for that; finding out takes time.
    pub wants_undecided: bool,
}

/// All rules of a run, ready for use.
pub struct Scanner {
    rules: Rules,
    hints: Hints,
    /// By word.
    uses: Vec<Vec<Use>>,
    shapes: Vec<Vec<Compiled>>,
    /// Fields of heads: whole names, and ends of names.
    headers: [Vec<String>; 2],
    keys: super::json::Keys,
}

/// What one word turned out to begin.
enum Found {
    /// A secret that is masked already.
    Masked(Span),
    Nothing,
    Undecided,
    Secret(Span),
}

impl Scanner {
    /// With these rules.
    ///
    /// # Errors
    /// A rule is broken.
    pub fn new(rules: Rules) -> Result<Self> {
        let (words, uses) = rules.words().into_iter().unzip();
        let used = || rules.all().iter().filter(|rule| rules.is_used(rule));
        let headers = used().flat_map(|rule| rule.header.iter().cloned());
        let (endings, whole): (Vec<_>, Vec<_>) = headers.partition(|name| name.starts_with('*'));
        let endings = endings
            .iter()
            .map(|name| name.trim_start_matches('*').to_owned());
        let keys = super::json::Keys::new(used().flat_map(|rule| &rule.json));
        Ok(Self {
            hints: Hints::new(words)?,
            uses,
            shapes: rules.compile()?,
            headers: [whole, endings.collect()],
            keys,
            rules,
        })
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The keys of JSON whose values are secret.
    pub fn keys(&self) -> &super::json::Keys {
        &self.keys
    }

    /// Whether the value of this field of a head is secret. The name is in lower case.
    pub fn is_secret_header(&self, name: &str) -> bool {
        let [whole, endings] = &self.headers;
        whole.iter().any(|known| known == name)
            || endings.iter().any(|end| name.ends_with(end.as_str()))
    }

    /// The secrets of a whole text.
    pub fn secrets(&self, text: &[u8]) -> Vec<Span> {
        let mut scratch = Scratch::default();
        self.scan(text, 0, 0, &mut scratch);
        scratch.spans
    }

    /// The secrets that begin at `from` or behind it. Words in the first `blind` bytes are passed over: what stands before
    /// these is not known.
    pub fn scan(&self, text: &[u8], blind: usize, from: usize, scratch: &mut Scratch) {
        // Half an escape ends nothing: it waits for the rest.
        let cut = escapes::cut(text).filter(|_| scratch.wants_undecided);
        let text = text.get(..cut.unwrap_or(text.len())).unwrap_or(text);
        let plain = Plain::new(text);
        if plain.is_same() {
            return self.scan_plain(text, blind, from, scratch);
        }
        self.scan_plain(&plain.text, plain.plain(blind), plain.plain(from), scratch);
        for span in &mut scratch.spans {
            span.start = plain.sent(span.start);
            span.end = plain.sent(span.end);
        }
        scratch.undecided = scratch.undecided.map(|at| plain.sent(at));
    }

    fn scan_plain(&self, text: &[u8], blind: usize, from: usize, scratch: &mut Scratch) {
        self.hints.find(text, &mut scratch.hits);
        scratch.spans.clear();
        scratch.undecided = None;
        let mut covered = from;
        for hit in &scratch.hits {
            if hit.at < blind || (hit.at < covered && covered > from) {
                continue;
            }
            for of in self.uses.get(hit.word).into_iter().flatten() {
                let wants = scratch.wants_undecided && scratch.undecided.is_none();
                match self.look(text, *hit, *of, wants) {
                    Found::Secret(span) if span.start >= covered => {
                        covered = span.end.max(covered);
                        scratch.spans.push(span);
                        self.list(text, *hit, *of, span, &mut covered, &mut scratch.spans);
                    }
                    Found::Secret(span) => widen(&mut scratch.spans, span, &mut covered),
                    Found::Undecided => {
                        let first = scratch.undecided.unwrap_or(hit.at);
                        scratch.undecided = Some(first.min(hit.at));
                    }
                    Found::Masked(span) => {
                        covered = span.end.max(covered);
                        self.list(text, *hit, *of, span, &mut covered, &mut scratch.spans);
                    }
                    Found::Nothing => {}
                }
            }
        }
    }

    /// Where the end of the text begins that a word could be made of.
    pub fn begun(&self, text: &[u8]) -> Option<usize> {
        let cut = escapes::cut(text);
        let whole = text.get(..cut.unwrap_or(text.len())).unwrap_or_default();
        let plain = Plain::new(whole);
        let begun = self.hints.begun(&plain.text).map(|at| plain.sent(at));
        begun.or(cut)
    }

    /// Whether this text has the beginning of a shape in it.
    pub fn begins_shape(&self, text: &[u8]) -> bool {
        let mut hits = Vec::new();
        self.hints.find(text, &mut hits);
        let uses = hits.iter().filter_map(|hit| self.uses.get(hit.word));
        uses.flatten().any(|of| matches!(of, Use::Shape { .. }))
    }

    /// The other strings of a list whose first one a name has made a secret.
    fn list(
        &self,
        text: &[u8],
        hit: Hit,
        of: Use,
        first: Span,
        covered: &mut usize,
        spans: &mut Vec<Span>,
    ) {
        if matches!(of, Use::Shape { .. }) {
            return;
        }
        let name = (hit.at, hit.at + self.hints.len(hit.word));
        let mut last = first;
        for _ in 0..LIST_MAX {
            let Some(value) = named::next_of_list(text, name.1, &last) else {
                return;
            };
            let extent = value.ending.extent(text, value.start);
            last = Span {
                start: value.start,
                end: extent.end,
                is_open: extent.is_open,
                ending: value.ending,
                ..first
            };
            if let Found::Secret(span) = of_value(text, name, value, first.rule)
                && span.start >= *covered
            {
                spans.push(span);
            }
            *covered = (*covered).max(last.end);
        }
    }

    fn look(&self, text: &[u8], hit: Hit, of: Use, wants: bool) -> Found {
        let name = (hit.at, hit.at + self.hints.len(hit.word));
        let (look, rule) = match of {
            Use::Header { rule, is_ending } => (named::header(text, name, is_ending), rule),
            Use::Json { rule } => (named::json(text, name), rule),
            Use::Query { rule } => (named::query(text, name), rule),
            Use::Shape { rule, shape } => {
                let shape = self.shapes.get(rule).and_then(|shapes| shapes.get(shape));
                return shape.map_or(Found::Nothing, |shape| shape.look(text, name, rule, wants));
            }
        };
        match look {
            Look::Nothing => Found::Nothing,
            Look::Undecided => Found::Undecided,
            Look::Value(value) => of_value(text, name, value, rule),
        }
    }
}

/// Two words found overlapping secrets: they become one.
fn widen(spans: &mut [Span], span: Span, covered: &mut usize) {
    if let Some(last) = spans.last_mut()
        && span.start >= last.start
        && (span.end, span.is_open) > (last.end, last.is_open)
    {
        *last = Span {
            start: last.start,
            ..span
        };
        *covered = span.end;
    }
}

/// A value behind a name, if it is worth hiding.
fn of_value(text: &[u8], name: (usize, usize), value: named::Value, rule: usize) -> Found {
    let extent = value.ending.extent(text, value.start);
    let secret = text.get(value.start..extent.end).unwrap_or_default();
    let trimmed = secret.trim_ascii_end();
    let end = match extent.is_open {
        true => extent.end,
        false => value.start + trimmed.len(),
    };
    let (start, ending, is_open) = (value.start, value.ending, extent.is_open);
    let span = Span {
        start,
        end,
        rule,
        ending,
        is_open,
    };
    if worth::is_masked(trimmed) {
        return Found::Masked(span);
    }
    let name = text.get(name.0..name.1).unwrap_or_default();
    if end <= value.start || !is_worth(name, value.trust, trimmed, extent.is_open) {
        return nothing_yet(extent.is_open);
    }
    Found::Secret(span)
}

/// What is no secret as far as it goes may go on.
fn nothing_yet(is_open: bool) -> Found {
    match is_open {
        true => Found::Undecided,
        false => Found::Nothing,
    }
}

/// Whether a value can be what its name says.
pub fn is_worth(name: &[u8], trust: Trust, secret: &[u8], is_open: bool) -> bool {
    let is_cookie = name.to_ascii_lowercase().ends_with(b"cookie");
    if trust != Trust::Sent && is_cookie && !secret.contains(&b'=') {
        return false;
    }
    match trust {
        Trust::Paired => !worth::is_placeholder(secret) && secret.iter().any(u8::is_ascii_digit),
        Trust::Sent => true,
        Trust::Quoted => !(worth::is_placeholder(secret) || worth::speaks_of(secret, name)),
        Trust::Loose => {
            let is_short = secret.len() < LOOSE_MIN && !is_open;
            !(is_short || worth::is_placeholder(secret) || worth::classes(secret) < 2)
        }
    }
}

impl Compiled {
    fn look(&self, text: &[u8], hint: (usize, usize), rule: usize, wants: bool) -> Found {
        let start = match self.back {
            true => hint.0 - named::local_part(text, hint.0),
            false => hint.0,
        };
        if !self.may_begin(text, start) {
            return Found::Nothing;
        }
        if self.is_word {
            let word = text.get(start..).unwrap_or_default();
            let word = word.get(..self.shortest).unwrap_or(word);
            if !self.ends.extent(word, 0).is_open {
                return Found::Nothing;
            }
        }
        let reach = text.len().min(start + REACH_MAX);
        let input = Input::new(text).range(start..reach).anchored(Anchored::Yes);
        let mut captures = self.regex.create_captures();
        self.regex.search_captures(&input, &mut captures);
        let Some(whole) = captures.get_match() else {
            return nothing_yet(
                wants && text.len() - start < DECIDED && self.may_match(text, start),
            );
        };
        let secret = captures.get_group_by_name("secret").unwrap_or(whole.span());
        let found = text.get(secret.range()).unwrap_or_default();
        let is_open =
            secret.end == text.len() || (secret.end == reach && self.goes_on(text, reach));
        let (start, end, ending) = (secret.start, secret.end, self.ends);
        let span = Span {
            start,
            end,
            rule,
            ending,
            is_open,
        };
        if worth::is_masked(found) {
            return Found::Masked(span);
        }
        if worth::is_placeholder(found) || !worth::passes(self.check, found) {
            return nothing_yet(is_open);
        }
        Found::Secret(span)
    }

    fn goes_on(&self, text: &[u8], at: usize) -> bool {
        self.ends.extent(text, at).is_open
    }

    fn may_begin(&self, text: &[u8], at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        match self.before {
            Before::Any => true,
            Before::Digit => before.is_some_and(u8::is_ascii_digit),
            Before::Capital => {
                before.is_some_and(|byte| byte.is_ascii_uppercase() || *byte == b'_')
                    || named::is_boundary(text, at)
            }
            Before::Word => named::is_boundary(text, at),
        }
    }

    /// Whether more text could still make it match.
    fn may_match(&self, text: &[u8], start: usize) -> bool {
        let Some(dfa) = self.begun() else {
            return true;
        };
        let mut cache = dfa.create_cache();
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let Ok(mut state) = dfa.start_state_forward(&mut cache, &input) else {
            return true;
        };
        for byte in text.get(start..).unwrap_or_default() {
            match dfa.next_state(&mut cache, state, *byte) {
                Ok(next) if next.is_dead() => return false,
                Ok(next) => state = next,
                Err(_) => return true,
            }
        }
        true
    }
}
