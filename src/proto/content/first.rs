//! How JSON is divided whose type says one value, though several were asked for: some servers send lines or events under
//! `application/json`. The first byte tells arrays and events; an object is one of several lines if it ends with its line
//! and another one begins behind it. Nothing is taken for lines before that was seen.

use memchr::memchr;

use super::{Framing, bare, sniff_events};
use crate::proto::json_array::Nest;

/// Of the first line, with what is behind it: one of a stream is short.
const LINE_MAX: usize = 64 << 10;

/// What has come so far.
#[derive(Debug)]
pub(super) enum First {
    /// Nothing but white space.
    Blank,
    /// Something else than white space, an array or an object.
    Begun,
    /// An object.
    Object(Nest),
    /// All of an object; whether its line has ended.
    Behind(bool),
}

/// What bytes do.
enum Step {
    /// So many of them were read.
    Read(usize),
    /// They show how it is divided.
    Seen(Framing),
    /// More are needed.
    More,
}

impl First {
    /// The bytes of `head` behind the first `from`, which were given before: how it is divided, if that is to be seen.
    pub(super) fn push(&mut self, head: &[u8], from: usize) -> Option<Framing> {
        let mut at = from;
        loop {
            let rest = head.get(at..).filter(|rest| !rest.is_empty())?;
            let step = match self {
                Self::Blank => self.begin(rest),
                Self::Begun => {
                    let seen = bare(head.trim_ascii_start()).and_then(sniff_events);
                    seen.map_or(Step::More, Step::Seen)
                }
                _ if head.len() > LINE_MAX => Step::Seen(Framing::Whole),
                Self::Object(nest) => {
                    let step = object(nest, rest);
                    if let Step::Read(_) = step {
                        *self = Self::Behind(false);
                    }
                    step
                }
                Self::Behind(is_ended) => behind(is_ended, rest),
            };
            match step {
                Step::Read(count) => at += count,
                Step::Seen(framing) => return Some(framing),
                Step::More => return None,
            }
        }
    }

    /// Whether nothing that was given matters.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Self::Blank)
    }

    fn begin(&mut self, rest: &[u8]) -> Step {
        let value = rest.trim_ascii_start();
        *self = match value.first() {
            None => Self::Blank,
            Some(b'[') => return Step::Seen(Framing::JsonArray),
            Some(b'{') => Self::Object(Nest::default()),
            Some(_) => Self::Begun,
        };
        Step::Read(rest.len() - value.len())
    }
}

fn object(nest: &mut Nest, rest: &[u8]) -> Step {
    let end = nest.end(rest);
    let value = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
    // What spans lines is none of them; and no string holds a line end as it is (RFC 8259 section 7).
    match (memchr(b'\n', value), end) {
        (Some(_), _) => Step::Seen(Framing::Whole),
        (None, Some(end)) => Step::Read(end),
        (None, None) => Step::More,
    }
}

fn behind(is_ended: &mut bool, rest: &[u8]) -> Step {
    let value = rest.trim_ascii_start();
    let blank = rest.len() - value.len();
    let blanks = rest.get(..blank).unwrap_or_default();
    *is_ended |= memchr(b'\n', blanks).is_some();
    match value.first() {
        None => Step::More,
        Some(b'{') if *is_ended => Step::Seen(Framing::Lines),
        Some(_) => Step::Seen(Framing::Whole),
    }
}
