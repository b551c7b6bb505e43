//! Server-sent events: the stream format of the HTML standard, sections 9.2.5 and 9.2.6
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! An event that lies in one piece of the stream is not copied. One that is cut off, by the end of the stream or by a loss,
//! is given with a mark; the standard drops it. Behind a loss, events are found again at the next blank line.

use std::borrow::Cow;
use std::mem;

use memchr::{memchr, memchr2};

use super::Fault;

/// Memory that is kept from one event to the next.
const KEPT_MAX: usize = 16 << 10;
/// Of an identifier, in bytes. Clients send it back in a field of a head, so that servers keep it short.
const ID_MAX: usize = 1 << 10;

const CUT_OFF: Fault = Fault {
    what: "the stream ends in the middle of an event",
};
const ID_TOO_LONG: Fault = Fault {
    what: "the identifier of an event is too long",
};
const LOST: Fault = Fault {
    what: "bytes were lost: what follows, up to a blank line, is no event that can be known",
};
const TOO_LONG: Fault = Fault {
    what: "an event is too long",
};

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its type; `None` if it names none: `message`.
    pub event: Option<&'a str>,
    /// Its lines of data, with a line feed between two of them.
    pub data: &'a str,
    /// The identifier that is given with it, which is that of the events behind it as well; `None`: that of the one before.
    pub id: Option<&'a str>,
    /// The time to wait before connecting again, in milliseconds, if it gives one.
    pub retry: Option<u64>,
    /// Its end was seen. Otherwise it was cut off, and its last line may be incomplete.
    pub whole: bool,
}

/// Takes events and faults, at once.
pub type Out<'o> = dyn FnMut(Result<Event<'_>, Fault>) + 'o;

/// Where the blocks of lines end.
#[derive(Debug)]
struct Scan {
    /// The last byte ended a line.
    line_start: bool,
    /// It was a carriage return: a line feed may belong to it.
    after_cr: bool,
}

impl Scan {
    /// Drops the line feed of a line end whose carriage return has been seen.
    fn strip<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            return bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        bytes
    }

    /// Where the first block of `bytes` ends, behind its blank line.
    fn block_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let blank = self.line_start && matches!(rest.first(), Some(b'\n' | b'\r'));
            let Some(line) = memchr2(b'\n', b'\r', rest) else {
                self.line_start = false;
                return None;
            };
            self.line_start = true;
            at += line + 1;
            if rest.get(line) == Some(&b'\r') {
                match rest.get(line + 1) {
                    None => self.after_cr = true,
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                }
            }
            if blank {
                return Some(at);
            }
        }
    }
}

/// Reads one stream.
#[derive(Debug)]
pub struct Events {
    limit: usize,
    scan: Scan,
    /// The block that has not come to its end.
    held: Vec<u8>,
    /// Lines of data of one event.
    joined: Vec<u8>,
    /// What comes up to the next blank line is not read.
    skipping: bool,
    begun: bool,
    /// An identifier that no event was given with: the next one has it.
    id: Option<Box<str>>,
}

impl Events {
    /// A stream with events of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            scan: Scan {
                line_start: true,
                after_cr: false,
            },
            held: Vec::new(),
            joined: Vec::new(),
            skipping: false,
            begun: false,
            id: None,
        }
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        let id = self.id.as_ref().map_or(0, |id| id.len());
        self.held.capacity() + self.joined.capacity() + id
    }

    /// The next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = self.scan.strip(bytes);
        while let Some(end) = self.scan.block_end(rest) {
            let Some((block, behind)) = rest.split_at_checked(end) else {
                return;
            };
            self.block(block, out);
            rest = behind;
        }
        if self.skipping {
            return;
        }
        if self.held.len() + rest.len() > self.limit {
            self.held = Vec::new();
            self.skipping = true;
            out(Err(TOO_LONG));
            return;
        }
        self.held.extend_from_slice(rest);
    }

    fn block(&mut self, block: &[u8], out: &mut Out<'_>) {
        if mem::take(&mut self.skipping) {
            return;
        }
        if self.held.len() + block.len() > self.limit {
            self.held = Vec::new();
            out(Err(TOO_LONG));
        } else if self.held.is_empty() {
            self.event(block, true, out);
        } else {
            let mut held = mem::take(&mut self.held);
            held.extend_from_slice(block);
            self.event(&held, true, out);
            held.clear();
            held.shrink_to(KEPT_MAX);
            self.held = held;
        }
    }

    fn event(&mut self, block: &[u8], whole: bool, out: &mut Out<'_>) {
        // "Strip one leading U+FEFF", of the stream.
        let first = !mem::replace(&mut self.begun, true);
        let bare = block.strip_prefix(b"\xef\xbb\xbf").filter(|_| first);
        let mut lines = EventLines::new(&mut self.joined);
        for line in Lines(bare.unwrap_or(block)) {
            lines.take(line);
        }
        if lines.id.is_some_and(|id| id.len() > ID_MAX) {
            lines.id = None;
            out(Err(ID_TOO_LONG));
        }
        let (name, id) = (text(lines.event), lines.id.map(text));
        let Some(data) = lines.first else {
            // "If the data buffer is an empty string", nothing is dispatched.
            if !whole && lines.meant {
                out(Err(CUT_OFF));
            }
            self.id = id.map(|id| id.as_ref().into()).or(self.id.take());
            return;
        };
        let data = text(if lines.many {
            lines.joined.as_slice()
        } else {
            data
        });
        let before = self.id.take();
        out(Ok(Event {
            event: Some(&*name).filter(|name| !name.is_empty()),
            data: &data,
            id: id.as_deref().or(before.as_deref()),
            retry: lines.retry,
            whole,
        }));
        self.joined.clear();
        self.joined.shrink_to(KEPT_MAX);
    }

    /// Bytes of the stream were lost.
    pub fn gap(&mut self, out: &mut Out<'_>) {
        self.end(out);
        self.begun = true;
        self.skipping = true;
        self.scan = Scan {
            line_start: false,
            after_cr: false,
        };
        out(Err(LOST));
    }

    /// The stream ends here.
    pub fn finish(&mut self, out: &mut Out<'_>) {
        self.end(out);
        self.skipping = false;
    }

    fn end(&mut self, out: &mut Out<'_>) {
        let held = mem::take(&mut self.held);
        if !held.is_empty() && !self.skipping {
            self.event(&held, false, out);
        }
    }
}

/// What the lines of one event say.
struct EventLines<'b, 'j> {
    event: &'b [u8],
    first: Option<&'b [u8]>,
    /// There is more than one line of data: they are in `joined`.
    many: bool,
    joined: &'j mut Vec<u8>,
    id: Option<&'b [u8]>,
    retry: Option<u64>,
    /// Some line is more than a comment.
    meant: bool,
}

impl<'b, 'j> EventLines<'b, 'j> {
    fn new(joined: &'j mut Vec<u8>) -> Self {
        Self {
            event: b"",
            first: None,
            many: false,
            joined,
            id: None,
            retry: None,
            meant: false,
        }
    }

    fn take(&mut self, line: &'b [u8]) {
        let colon = memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        self.meant |= !name.is_empty();
        match name {
            b"data" => self.data(value),
            b"event" => self.event = value,
            // "If the field value does not contain U+0000 NULL".
            b"id" if memchr(0, value).is_none() => self.id = Some(value),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.retry = text(value).parse().ok().or(self.retry);
            }
            _ => {}
        }
    }

    fn data(&mut self, value: &'b [u8]) {
        let Some(first) = self.first else {
            self.first = Some(value);
            return;
        };
        if !self.many {
            self.many = true;
            self.joined.clear();
            self.joined.extend_from_slice(first);
        }
        self.joined.push(b'\n');
        self.joined.extend_from_slice(value);
    }
}

/// The lines of a block, by any of the three line ends.
struct Lines<'b>(&'b [u8]);

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at_checked(end)?;
        let cr_lf = rest.strip_prefix(b"\r\n");
        self.0 = cr_lf.unwrap_or(rest.get(1..).unwrap_or_default());
        Some(line)
    }
}

/// "Streams must be decoded using the UTF-8 decode algorithm": bytes that are none become U+FFFD.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// For the fuzzer: the first byte chooses how the rest is cut; every way gives the same events.
pub fn fuzz_sse(data: &[u8]) {
    let Some((cut, rest)) = data.split_first() else {
        return;
    };
    let events = |size: usize| {
        let mut all = Vec::new();
        let mut out = |said: Result<Event<'_>, Fault>| all.push(format!("{said:?}"));
        let mut events = Events::new(usize::MAX);
        for piece in rest.chunks(size.max(1)) {
            events.push(piece, &mut out);
        }
        events.finish(&mut out);
        all
    };
    assert_eq!(events(rest.len()), events(usize::from(*cut)));
}

#[cfg(test)]
mod tests;
