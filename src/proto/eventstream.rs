//! AWS event streams (`application/vnd.amazon.eventstream`): binary messages with typed headers and two CRC-32 sums
//! (<https://smithy.io/2.0/aws/amazon-eventstream.html>). Amazon Bedrock streams its answers like this.
//!
//! Both sums are verified. Behind a loss, and behind a message with a wrong sum, the next one is found by the sum of its
//! prelude; that and the sum of all of it must be right. It does not look into payloads.

use std::mem;

use super::Fault;
use crate::bytes::{Endian, Reader};

/// Lengths of the message and of its headers, and their sum.
pub(super) const PRELUDE_LEN: usize = 12;
/// The sum at the end of a message.
const SUM_LEN: usize = 4;
/// Memory that is kept from one message to the next.
const KEPT_MAX: usize = 16 << 10;

const BAD_HEADERS: Fault = fault("the headers of a message are malformed");
const BAD_LENGTH: Fault = fault("the lengths of a message contradict each other");
const BAD_PRELUDE: Fault = fault("the prelude of a message has a wrong sum");
const BAD_SUM: Fault = fault("a message has a wrong sum");
const CUT_OFF: Fault = fault("the stream ends in the middle of a message");
const LOST: Fault =
    fault("bytes were lost: what follows, up to a message with right sums, is not read");
const LOST_INSIDE: Fault = fault("bytes of a message were lost");
const TOO_LONG: Fault = fault("a message is too long");

const fn fault(what: &'static str) -> Fault {
    Fault { what }
}

/// The value of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'m> {
    /// Type 0 is true, type 1 false.
    Bool(bool),
    /// Type 2.
    Byte(i8),
    /// Type 3.
    Int16(i16),
    /// Type 4.
    Int32(i32),
    /// Type 5.
    Int64(i64),
    /// Type 6.
    Bytes(&'m [u8]),
    /// Type 7.
    Text(&'m str),
    /// Type 8: milliseconds since 1970.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// Reads headers one by one; `None` at their end, and an error where they are malformed.
#[derive(Clone)]
pub struct Headers<'m>(Reader<'m>);

impl<'m> Headers<'m> {
    fn new(bytes: &'m [u8]) -> Self {
        Self(Reader::new(bytes, Endian::Big))
    }

    fn text(&mut self, len: usize) -> Option<&'m str> {
        std::str::from_utf8(self.0.bytes(len)?).ok()
    }

    fn header(&mut self) -> Option<(&'m str, Value<'m>)> {
        let len = self.0.u8()?;
        let name = self.text(usize::from(len))?;
        let value = match self.0.u8()? {
            0 => Value::Bool(true),
            1 => Value::Bool(false),
            2 => Value::Byte(self.0.u8()?.cast_signed()),
            3 => Value::Int16(self.0.u16()?.cast_signed()),
            4 => Value::Int32(self.0.i32()?),
            5 => Value::Int64(self.0.u64()?.cast_signed()),
            6 => {
                let len = self.0.u16()?;
                Value::Bytes(self.0.bytes(usize::from(len))?)
            }
            7 => {
                let len = self.0.u16()?;
                Value::Text(self.text(usize::from(len))?)
            }
            8 => Value::Timestamp(self.0.u64()?.cast_signed()),
            9 => Value::Uuid(self.0.bytes(16)?.try_into().ok()?),
            _ => return None,
        };
        Some((name, value))
    }
}

impl<'m> Iterator for Headers<'m> {
    type Item = Result<(&'m str, Value<'m>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest().is_empty() {
            return None;
        }
        let header = self.header();
        if header.is_none() {
            self.0 = Reader::new(b"", Endian::Big);
        }
        Some(header.ok_or(BAD_HEADERS))
    }
}

/// A message, with right sums and well-formed headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'m> {
    headers: &'m [u8],
    /// What it carries.
    pub payload: &'m [u8],
}

impl<'m> Message<'m> {
    /// Its headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'m str, Value<'m>)> {
        Headers::new(self.headers).filter_map(Result::ok)
    }

    /// The value of the first header of this name, if it is a text.
    pub fn text(&self, name: &str) -> Option<&'m str> {
        let mut named = self.headers().filter(|(own, _)| *own == name);
        named.find_map(|(_, value)| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// What sort of message it is: `event`, `exception` or `error`.
    pub fn class(&self) -> Option<&'m str> {
        self.text(":message-type")
    }

    /// Which event, which exception or which error: `contentBlockDelta`, `throttlingException`, ….
    pub fn kind(&self) -> Option<&'m str> {
        let names = [":event-type", ":exception-type", ":error-code"];
        names.iter().find_map(|name| self.text(name))
    }
}

/// Takes messages and faults, at once.
pub type Out<'o> = dyn FnMut(Result<Message<'_>, Fault>) + 'o;

/// The lengths that a prelude gives, if its sum is right and they agree: of the message, of its headers.
pub(super) fn prelude(bytes: &[u8]) -> Result<(usize, usize), Fault> {
    let sum = bytes.get(..8).map(crc32fast::hash);
    let mut reader = Reader::new(bytes, Endian::Big);
    let (total, headers) = (reader.u32(), reader.u32());
    if reader.u32() != sum {
        return Err(BAD_PRELUDE);
    }
    let total = total.unwrap_or_default() as usize;
    let headers = headers.unwrap_or_default() as usize;
    match total.checked_sub(PRELUDE_LEN + SUM_LEN) {
        Some(room) if headers <= room => Ok((total, headers)),
        _ => Err(BAD_LENGTH),
    }
}

/// Reads one stream.
#[derive(Debug)]
pub struct Messages {
    limit: usize,
    /// The message that has not come to its end, from its first byte.
    held: Vec<u8>,
    /// Its length, when that is known.
    total: Option<usize>,
    /// Bytes of a message that are not read.
    skip: u64,
    /// Nobody knows where the next message begins. `held` is what may be the first bytes of its prelude.
    searching: bool,
}

impl Messages {
    /// A stream with messages of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Vec::new(),
            total: None,
            skip: 0,
            searching: false,
        }
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        self.held.capacity()
    }

    /// The next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = if self.searching {
                self.search(rest)
            } else if self.skip > 0 {
                self.pass(rest)
            } else if self.held.is_empty() {
                self.in_place(rest, out)
            } else {
                self.gather(rest, out)
            };
        }
    }

    /// Passes over bytes up to the next prelude.
    fn search<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let before = self.held.len();
        if before > 0 {
            let more = bytes.get(..PRELUDE_LEN - 1).unwrap_or(bytes);
            self.held.extend_from_slice(more);
            if let Some(at) = self.find(&self.held) {
                self.searching = false;
                self.held.drain(..at);
                self.held.truncate(before - at);
                return bytes;
            }
            if bytes.len() < PRELUDE_LEN {
                let kept = self.held.len().min(PRELUDE_LEN - 1);
                self.held.drain(..self.held.len() - kept);
                return b"";
            }
            self.held.clear();
        }
        if let Some(at) = self.find(bytes) {
            self.searching = false;
            return bytes.get(at..).unwrap_or_default();
        }
        let kept = bytes.len().min(PRELUDE_LEN - 1);
        let tail = bytes.len() - kept;
        self.held
            .extend_from_slice(bytes.get(tail..).unwrap_or_default());
        b""
    }

    /// Where a prelude lies whose message fits.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let mut places = bytes.windows(PRELUDE_LEN);
        places.position(|place| {
            let mut reader = Reader::new(place, Endian::Big);
            let total = reader.u32().unwrap_or_default() as usize;
            // Sums take time.
            total <= self.limit && prelude(place).is_ok()
        })
    }

    fn pass<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let passed = passed.min(bytes.len());
        self.skip -= passed as u64;
        bytes.get(passed..).unwrap_or_default()
    }

    /// A message that begins in `bytes`, and mostly ends there too.
    fn in_place<'b>(&mut self, bytes: &'b [u8], out: &mut Out<'_>) -> &'b [u8] {
        if bytes.len() >= PRELUDE_LEN && !self.prelude(bytes, out) {
            return bytes;
        }
        let total = self.total.unwrap_or(usize::MAX);
        match bytes.split_at_checked(total) {
            Some((message, behind)) => {
                self.message(message, out);
                behind
            }
            None => {
                self.held.extend_from_slice(bytes);
                b""
            }
        }
    }

    fn gather<'b>(&mut self, bytes: &'b [u8], out: &mut Out<'_>) -> &'b [u8] {
        let wanted = self.total.unwrap_or(PRELUDE_LEN);
        let missing = wanted.saturating_sub(self.held.len()).min(bytes.len());
        let (more, behind) = bytes.split_at_checked(missing).unwrap_or((bytes, b""));
        self.held.extend_from_slice(more);
        if self.held.len() < wanted {
            return behind;
        }
        let mut held = mem::take(&mut self.held);
        if self.total.is_some() {
            self.message(&held, out);
            held.clear();
            held.shrink_to(KEPT_MAX);
        } else if !self.prelude(&held, out) {
            self.skip = self.skip.saturating_sub(held.len() as u64);
            if self.searching {
                held.drain(..1);
                self.held = held;
            }
            return behind;
        }
        self.held = held;
        behind
    }

    /// Reads a prelude; `false`: this message is not read.
    fn prelude(&mut self, bytes: &[u8], out: &mut Out<'_>) -> bool {
        match prelude(bytes) {
            Ok((total, _)) if total <= self.limit => {
                self.total = Some(total);
                return true;
            }
            Ok((total, _)) => {
                self.skip = total as u64;
                out(Err(TOO_LONG));
            }
            Err(fault) => self.refuse(fault, out),
        }
        false
    }

    fn message(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        self.total = None;
        match message(bytes) {
            Ok(message) => out(Ok(message)),
            // Its lengths were right: the next message begins where this one ends.
            Err(BAD_HEADERS) => out(Err(BAD_HEADERS)),
            Err(fault) => self.refuse(fault, out),
        }
    }

    fn refuse(&mut self, fault: Fault, out: &mut Out<'_>) {
        self.held = Vec::new();
        self.total = None;
        self.skip = 0;
        self.searching = true;
        out(Err(fault));
    }

    /// Bytes of the stream were lost; if it is known how many, and they lie in one message, the next one is read for sure.
    pub fn gap(&mut self, bytes: Option<u64>, out: &mut Out<'_>) {
        if self.searching {
            self.held.clear();
            return;
        }
        let left = match self.total {
            Some(total) => total.saturating_sub(self.held.len()) as u64,
            None => self.skip,
        };
        let inside = bytes.and_then(|bytes| left.checked_sub(bytes));
        match inside {
            Some(rest) if self.total.is_some() || self.skip > 0 => {
                self.held = Vec::new();
                self.total = None;
                self.skip = rest;
                out(Err(LOST_INSIDE));
            }
            _ => self.refuse(LOST, out),
        }
    }

    /// The stream ends here.
    pub fn finish(&mut self, out: &mut Out<'_>) {
        if !self.searching && (!self.held.is_empty() || self.skip > 0) {
            self.refuse(CUT_OFF, out);
        }
    }
}

/// A message from its first byte to its last.
fn message(bytes: &[u8]) -> Result<Message<'_>, Fault> {
    let (_, headers_len) = prelude(bytes)?;
    let (content, sum) = bytes.split_last_chunk::<SUM_LEN>().ok_or(BAD_LENGTH)?;
    if crc32fast::hash(content) != u32::from_be_bytes(*sum) {
        return Err(BAD_SUM);
    }
    let content = content.get(PRELUDE_LEN..).unwrap_or_default();
    let (headers, payload) = content.split_at_checked(headers_len).ok_or(BAD_LENGTH)?;
    for header in Headers::new(headers) {
        header?;
    }
    Ok(Message { headers, payload })
}

/// For the fuzzer: the first byte chooses how the rest is cut; every way gives the same messages.
pub fn fuzz_eventstream(data: &[u8]) {
    let Some((cut, rest)) = data.split_first() else {
        return;
    };
    let messages = |size: usize| {
        let mut all = Vec::new();
        let mut out = |said: Result<Message<'_>, Fault>| all.push(format!("{said:?}"));
        let mut messages = Messages::new(256);
        for piece in rest.chunks(size.max(1)) {
            messages.push(piece, &mut out);
        }
        messages.finish(&mut out);
        all
    };
    assert_eq!(messages(rest.len()), messages(usize::from(*cut)));
}

#[cfg(test)]
mod tests;
