//! The elements of a JSON array (RFC 8259) as they arrive: Gemini streams its answers like this.
//!
//! An element is given as the exact bytes that were sent; whether they are JSON is for its reader to say. Between elements
//! nothing but white space and one comma is accepted. Behind a loss nothing is found again: how deep it lay, nobody knows.

use std::mem;

use memchr::memchr2;

use super::Fault;

/// Memory that is kept from one element to the next.
const KEPT_MAX: usize = 16 << 10;

const BEHIND: Fault = fault("bytes behind the end of the array");
const CUT_OFF: Fault = fault("the array ends early");
const LOST: Fault = fault("bytes were lost, and no element of the array can be found behind them");
const NO_ARRAY: Fault = fault("not a JSON array");
const NO_COMMA: Fault = fault("neither a comma nor the end of the array behind an element");
const NO_VALUE: Fault = fault("no value where an element of the array should be");
const TOO_LONG: Fault = fault("an element of the array is too long");

const fn fault(what: &'static str) -> Fault {
    Fault { what }
}

/// Takes elements and faults, at once.
pub type Out<'o> = dyn FnMut(Result<&[u8], Fault>) + 'o;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the array.
    Start,
    /// Behind its bracket.
    First,
    /// In an element.
    Element,
    /// Behind an element.
    Behind,
    /// Behind a comma.
    Comma,
    /// Behind the array.
    End,
    /// Nothing is understood any more.
    Broken,
}

/// Where in an element.
#[derive(Debug, Default)]
pub(super) struct Nest {
    depth: u64,
    string: bool,
    escape: bool,
    /// A number or a name: it has no end of its own.
    bare: bool,
}

impl Nest {
    /// For an element that begins with this byte.
    fn new(first: u8) -> Option<Self> {
        let bare = matches!(first, b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
        let other = matches!(first, b'"' | b'{' | b'[');
        (bare || other).then(|| Self {
            bare,
            ..Self::default()
        })
    }

    /// Where the element ends in `bytes`, if it does.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            if self.bare {
                let bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                return rest.iter().position(|byte| !bare(byte)).map(|n| at + n);
            }
            at += if self.string {
                self.in_string(rest)?
            } else {
                self.in_structure(rest)?
            };
            if self.depth == 0 && !self.string {
                return Some(at);
            }
        }
    }

    fn in_string(&mut self, bytes: &[u8]) -> Option<usize> {
        if mem::take(&mut self.escape) {
            return Some(1);
        }
        let end = memchr2(b'"', b'\\', bytes)?;
        self.escape = bytes.get(end) == Some(&b'\\');
        self.string = self.escape;
        Some(end + 1)
    }

    fn in_structure(&mut self, bytes: &[u8]) -> Option<usize> {
        let found = bytes.iter().position(|byte| STRUCTURE.contains(byte))?;
        match bytes.get(found) {
            Some(b'"') => self.string = true,
            Some(b'{' | b'[') => self.depth = self.depth.saturating_add(1),
            _ => self.depth = self.depth.saturating_sub(1),
        }
        Some(found + 1)
    }
}

const STRUCTURE: [u8; 5] = *b"\"{}[]";

/// Reads one body.
#[derive(Debug)]
pub struct Elements {
    limit: usize,
    at: At,
    nest: Nest,
    held: Vec<u8>,
}

impl Elements {
    /// An array with elements of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            at: At::Start,
            nest: Nest::default(),
            held: Vec::new(),
        }
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        self.held.capacity()
    }

    /// The next bytes of the body.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.at {
                At::Broken => return,
                At::Element => self.element(rest, out),
                _ => self.between(rest, out),
            };
        }
    }

    fn between<'b>(&mut self, bytes: &'b [u8], out: &mut Out<'_>) -> &'b [u8] {
        let bytes = bytes.trim_ascii_start();
        let Some((first, behind)) = bytes.split_first() else {
            return bytes;
        };
        let next = match (self.at, first) {
            (At::Start, b'[') => Ok(At::First),
            (At::Start, _) => Err(NO_ARRAY),
            (At::First | At::Behind, b']') => Ok(At::End),
            (At::Behind, b',') => Ok(At::Comma),
            (At::Behind, _) => Err(NO_COMMA),
            (At::First | At::Comma, first) => match Nest::new(*first) {
                Some(nest) => {
                    self.nest = nest;
                    self.at = At::Element;
                    return bytes;
                }
                None => Err(NO_VALUE),
            },
            _ => Err(BEHIND),
        };
        match next {
            Ok(at) => self.at = at,
            Err(fault) => self.refuse(fault, out),
        }
        behind
    }

    fn element<'b>(&mut self, bytes: &'b [u8], out: &mut Out<'_>) -> &'b [u8] {
        let end = self.nest.end(bytes);
        let parts = bytes.split_at_checked(end.unwrap_or(bytes.len()));
        let (part, behind) = parts.unwrap_or((bytes, b""));
        if self.held.len() + part.len() > self.limit {
            self.refuse(TOO_LONG, out);
            return b"";
        }
        if end.is_some() && self.held.is_empty() {
            out(Ok(part));
        } else {
            self.held.extend_from_slice(part);
        }
        if end.is_some() {
            self.at = At::Behind;
            if !self.held.is_empty() {
                out(Ok(&self.held));
                self.held.clear();
                self.held.shrink_to(KEPT_MAX);
            }
        }
        behind
    }

    fn refuse(&mut self, fault: Fault, out: &mut Out<'_>) {
        self.at = At::Broken;
        self.held = Vec::new();
        out(Err(fault));
    }

    /// Bytes of the body were lost.
    pub fn gap(&mut self, out: &mut Out<'_>) {
        if self.at != At::Broken {
            self.refuse(LOST, out);
        }
    }

    /// The body ends here.
    pub fn finish(&mut self, out: &mut Out<'_>) {
        if !matches!(self.at, At::Start | At::End | At::Broken) {
            self.refuse(CUT_OFF, out);
        }
    }
}

/// For the fuzzer: the first byte chooses how the rest is cut; every way gives the same elements.
pub fn fuzz_json_array(data: &[u8]) {
    let Some((cut, rest)) = data.split_first() else {
        return;
    };
    let elements = |size: usize| {
        let mut all = Vec::new();
        let mut out = |said: Result<&[u8], Fault>| all.push(said.map(<[u8]>::to_vec));
        let mut elements = Elements::new(64);
        for piece in rest.chunks(size.max(1)) {
            elements.push(piece, &mut out);
        }
        elements.finish(&mut out);
        all
    };
    assert_eq!(elements(rest.len()), elements(usize::from(*cut)));
}

#[cfg(test)]
mod tests;
