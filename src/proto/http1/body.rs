//! Bodies: what delimits them is taken off (RFC 9112 sections 6 and 7). Content is handed through without a copy.

use memchr::memchr;

use super::framing::Framing;
use super::head;
use crate::proto::{Fault, Fields, Limits};

/// Longest line of a chunk's size with its extensions. Nobody sends more than a few bytes.
const LINE_MAX: usize = 16 << 10;

const SIZE: Fault = Fault {
    what: "a chunk's size is not a number in hexadecimal",
};
const CHUNK_END: Fault = Fault {
    what: "a chunk is longer than its size",
};
const TOO_LONG: Fault = Fault {
    what: "a chunk's size or the trailers are too long",
};

/// A body that has not ended.
#[derive(Debug)]
pub(super) enum Body {
    Chunked(Chunks),
    Close,
    /// Bytes to come; not 0.
    Length(u64),
}

/// What came of more bytes.
#[derive(Debug)]
pub(super) struct Step<'b> {
    pub(super) used: usize,
    /// Content.
    pub(super) data: &'b [u8],
    pub(super) state: State,
}

/// Where a body is.
#[derive(Debug)]
pub(super) enum State {
    /// It ended, with these trailers.
    Done(Fields),
    Failed(Fault),
    Going,
}

/// What lost bytes do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It ended `behind` bytes before the end of those that were lost; so many of these were its own.
    Behind { own: u64, behind: u64 },
    /// It goes on.
    Inside,
    /// Nobody knows where it ends.
    Unclear,
}

impl Body {
    /// `None`: there is none.
    pub(super) fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Chunked => Some(Self::Chunked(Chunks::default())),
            Framing::Close => Some(Self::Close),
            Framing::Length(0) => None,
            Framing::Length(length) => Some(Self::Length(length)),
        }
    }

    /// Takes bytes, at most up to its end. Uses at least one, unless it fails or there is none.
    pub(super) fn decode<'b>(&mut self, bytes: &'b [u8], limits: &Limits) -> Step<'b> {
        match self {
            Self::Chunked(chunks) => chunks.decode(bytes, limits),
            Self::Close => Step {
                used: bytes.len(),
                data: bytes,
                state: State::Going,
            },
            Self::Length(left) => {
                let data = first(bytes, *left);
                *left -= data.len() as u64;
                let state = match left {
                    0 => State::Done(Fields::default()),
                    _ => State::Going,
                };
                Step {
                    used: data.len(),
                    data,
                    state,
                }
            }
        }
    }

    /// Passes over lost bytes.
    pub(super) fn lose(&mut self, bytes: Option<u64>) -> Loss {
        match (self, bytes) {
            (Self::Close, _) => Loss::Inside,
            (Self::Length(left), Some(lost)) if lost < *left => {
                *left -= lost;
                Loss::Inside
            }
            (Self::Length(left), Some(lost)) => Loss::Behind {
                own: *left,
                behind: lost - *left,
            },
            (Self::Chunked(chunks), Some(lost)) => chunks.lose(lost),
            _ => Loss::Unclear,
        }
    }

    pub(super) fn held(&self) -> usize {
        match self {
            Self::Chunked(chunks) => chunks.line.capacity(),
            _ => 0,
        }
    }
}

/// A chunked body (RFC 9112 section 7.1).
#[derive(Debug, Default)]
pub(super) struct Chunks {
    part: Part,
    /// The beginning of a line that came in pieces; of trailers, all of them.
    line: Vec<u8>,
    /// Of `line`: in its first `searched` bytes, no trailers end.
    searched: usize,
}

#[derive(Debug, Default)]
enum Part {
    /// The next chunk's size, with its extensions.
    #[default]
    Size,
    /// Bytes to come of this chunk; not 0.
    Data(u64),
    /// The line end behind a chunk.
    DataEnd,
    Trailers,
}

impl Chunks {
    fn decode<'b>(&mut self, bytes: &'b [u8], limits: &Limits) -> Step<'b> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return going(used, &[]);
            }
            let step = match &mut self.part {
                Part::Data(left) => {
                    let data = first(rest, *left);
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.part = Part::DataEnd;
                    }
                    return going(used + data.len(), data);
                }
                Part::DataEnd => self.data_end(rest),
                Part::Size => self.size(rest),
                Part::Trailers => return self.trailers(used, rest, limits),
            };
            match step {
                Ok(taken) => used += taken,
                Err(fault) => {
                    return Step {
                        used,
                        data: &[],
                        state: State::Failed(fault),
                    };
                }
            }
        }
    }

    fn data_end(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        match (rest, self.line.is_empty()) {
            ([b'\r', b'\n', ..], true) => {
                self.part = Part::Size;
                Ok(2)
            }
            ([b'\r'], true) => {
                self.line.push(b'\r');
                Ok(1)
            }
            ([b'\n', ..], _) => {
                self.line.clear();
                self.part = Part::Size;
                Ok(1)
            }
            _ => Err(CHUNK_END),
        }
    }

    fn size(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        let end = memchr(b'\n', rest);
        let piece = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        if self.line.len() + piece.len() > LINE_MAX {
            return Err(TOO_LONG);
        }
        let Some(end) = end else {
            self.line.extend_from_slice(rest);
            return Ok(rest.len());
        };
        let size = if self.line.is_empty() {
            chunk_size(piece)?
        } else {
            self.line.extend_from_slice(piece);
            let size = chunk_size(&self.line)?;
            self.line = Vec::new();
            size
        };
        self.part = match size {
            0 => Part::Trailers,
            size => Part::Data(size),
        };
        Ok(end + 1)
    }

    fn trailers<'b>(&mut self, used: usize, rest: &[u8], limits: &Limits) -> Step<'b> {
        let before = self.line.len();
        let room = (limits.head + 1).saturating_sub(before);
        let more = rest.get(..room).unwrap_or(rest);
        self.line.extend_from_slice(more);
        let end = match self.line.as_slice() {
            [b'\n', ..] => Some(1),
            [b'\r', b'\n', ..] => Some(2),
            line => head::end_of_head(line, self.searched),
        };
        let Some(trailers) = end.and_then(|end| self.line.get(..end)) else {
            self.searched = self.line.len().saturating_sub(2);
            let is_too_long = self.line.len() > limits.head;
            return Step {
                used: used + more.len(),
                data: &[],
                state: if is_too_long {
                    State::Failed(TOO_LONG)
                } else {
                    State::Going
                },
            };
        };
        let used = used + trailers.len().saturating_sub(before);
        let state = match trailers.len() {
            ..=2 => State::Done(Fields::default()),
            _ => head::parse_trailers(trailers, limits.fields)
                .map_or_else(State::Failed, State::Done),
        };
        Step {
            used,
            data: &[],
            state,
        }
    }

    /// A chunk says where it ends: bytes that were lost inside it are like those lost inside a body of known length.
    fn lose(&mut self, lost: u64) -> Loss {
        match &mut self.part {
            Part::Data(left) if lost <= *left => {
                *left -= lost;
                if *left == 0 {
                    self.part = Part::DataEnd;
                }
                Loss::Inside
            }
            _ => Loss::Unclear,
        }
    }
}

fn going(used: usize, data: &[u8]) -> Step<'_> {
    Step {
        used,
        data,
        state: State::Going,
    }
}

/// At most `count` of the first bytes.
fn first(bytes: &[u8], count: u64) -> &[u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    bytes.get(..count).unwrap_or(bytes)
}

/// The number in front of a chunk's extensions, which start with `;` (section 7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, Fault> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (number, behind) = line.split_at_checked(digits).ok_or(SIZE)?;
    let is_ended = match behind.trim_ascii_start().first() {
        None => true,
        Some(byte) => *byte == b';',
    };
    if digits == 0 || !is_ended {
        return Err(SIZE);
    }
    let text = std::str::from_utf8(number).map_err(|_| SIZE)?;
    u64::from_str_radix(text, 16).map_err(|_| SIZE)
}
