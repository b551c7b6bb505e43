//! Masks the secrets of records where they lie. What stands there as text, the redactor masks. What is coded is decoded
//! beside, only to find them:
//!
//! * values in header blocks of HTTP/2 are coded anew, in as many bytes ([`Literals`]);
//! * texts of WebSocket clients are masked under their mask ([`Payloads`]);
//! * of a compressed body or message in which a secret comes up, that piece and all behind it become zeros: it cannot be
//!   changed without changing all of it. What was written before stays.
//!
//! It is lost where nobody knows how a connection goes on, and counts that. It does not see: secrets that the sender has
//! divided (between two events of a stream), or coded in ways of its own (base64, a compression inside of a message), and
//! what is sent in tunnels and over HTTP/2 that began as HTTP/1.

mod fuzz;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crate::deeds::is_variable_told;
use crate::event::block::Block;
use crate::event::frame::End;
use crate::event::process::ProcessInfo;
use crate::event::wire::Beside;
use crate::event::{ConnId, Direction, wire};
use crate::proto::coding::Decoding;
use crate::proto::http2::Literals;
use crate::proto::websocket::{Deflate, Part, Payloads};
use crate::proto::{Connection, Decoder, ExchangeId, Fields, Item, Limits, Party, Side};
use crate::redact::Redactor;

#[doc(hidden)]
pub use fuzz::fuzz_mask;

/// Connections that are followed at once, as many as the kernel side does. The oldest go first.
const CONNS_MAX: usize = 65536;
/// Texts that are no stream of a connection are numbered from here on. Connections have the time since boot as their number,
/// in nanoseconds times 1024, of which no one is that one after 104 days.
const TEXTS: u64 = 1 << 63;

/// Masks the records of a run.
pub struct Mask {
    conns: BTreeMap<ConnId, Coded>,
    eye: Eye,
}

/// What finds secrets, and counts.
struct Eye {
    redactor: Redactor,
    /// Texts so far.
    texts: u64,
    left_out: u64,
    unread: u64,
}

impl Mask {
    /// With these rules.
    pub fn new(redactor: Redactor) -> Self {
        Self {
            conns: BTreeMap::new(),
            eye: Eye {
                redactor,
                texts: 0,
                left_out: 0,
                unread: 0,
            },
        }
    }

    /// Masks the secrets of these records.
    pub fn records(&mut self, block: &mut Block) {
        block.change(|record| {
            if let Some((conn, direction, offset, bytes)) = wire::plaintext(record) {
                self.data(conn, direction, offset, bytes);
            } else if let Some(beside) = wire::beside(record) {
                self.eye.beside(beside);
            } else if let Some(conn) = wire::closed(record) {
                self.forget(conn);
            }
        });
    }

    /// Nothing more comes of this connection.
    pub fn forget(&mut self, conn: ConnId) {
        self.eye.redactor.forget(conn.0);
        if let Some(coded) = self.conns.remove(&conn) {
            coded.end(&mut self.eye);
        }
    }

    /// Masks what tells of a process.
    pub fn process(&mut self, info: &mut Arc<ProcessInfo>) {
        self.eye.redactor.process(info);
    }

    /// Adds the counts.
    pub fn tell(&self, end: &mut End) {
        end.masked = self.eye.redactor.masked();
        end.left_out = self.eye.left_out;
        end.unread = self.eye.unread;
    }

    fn data(&mut self, conn: ConnId, direction: Direction, offset: u64, bytes: &mut [u8]) {
        self.eye.mask((conn.0, direction), offset, bytes);
        if !self.conns.contains_key(&conn) {
            while self.conns.len() >= CONNS_MAX
                && let Some((_, oldest)) = self.conns.pop_first()
            {
                oldest.end(&mut self.eye);
            }
        }
        let coded = self.conns.entry(conn).or_default();
        coded.data(direction, offset, bytes, &mut self.eye);
    }
}

/// Leaves the names of variables, and the values of those that are told: the others become zeros, which are words of no
/// length. A value that began in the piece before has no name here, and goes.
fn keep_told(environment: &mut [u8]) {
    for variable in environment.split_mut(|byte| *byte == 0) {
        let equals = variable.iter().position(|byte| *byte == b'=');
        let name = equals.and_then(|equals| variable.get(..equals));
        if name.is_some_and(is_variable_told) {
            continue;
        }
        let value = equals.map_or(0, |equals| equals + 1);
        variable.get_mut(value..).unwrap_or_default().fill(0);
    }
}

impl Eye {
    fn text(&mut self) -> Text {
        self.texts += 1;
        Text {
            number: TEXTS | self.texts,
            len: 0,
        }
    }

    /// Masks what is no plaintext: it stands alone, and of the environment only what is told stays.
    fn beside(&mut self, beside: Beside<'_>) {
        let bytes = match beside {
            Beside::Text(bytes) => bytes,
            Beside::Environment(bytes) => {
                keep_told(bytes);
                bytes
            }
        };
        let text = self.text();
        self.mask((text.number, Direction::Write), 0, bytes);
        self.redactor.forget(text.number);
    }

    /// Masks a piece of a stream. Whether there was a secret in it.
    fn mask(&mut self, key: (u64, Direction), offset: u64, bytes: &mut [u8]) -> bool {
        let mut masked = Cow::Borrowed(&*bytes);
        self.redactor.mask(key, offset, &mut masked);
        if let Cow::Owned(masked) = masked {
            bytes.copy_from_slice(&masked);
            return true;
        }
        false
    }

    /// Whether there is a secret in the next piece of a text.
    fn sees(&mut self, text: &mut Text, piece: &[u8]) -> bool {
        let mut masked = Cow::Borrowed(piece);
        self.redactor.mask(text.key(), text.len, &mut masked);
        text.len += piece.len() as u64;
        matches!(masked, Cow::Owned(_))
    }

    fn field(&mut self, name: Option<&str>, value: &mut String) {
        // A name that is not known may be that of a key.
        self.redactor.field(name.unwrap_or("authorization"), value);
    }
}

/// A text that is looked at piece by piece, as the redactor knows it.
struct Text {
    number: u64,
    len: u64,
}

impl Text {
    fn key(&self) -> (u64, Direction) {
        (self.number, Direction::Read)
    }
}

/// A compressed body.
struct Body {
    decoding: Decoding,
    text: Text,
    is_left_out: bool,
}

impl Body {
    /// What is seen only now is written already.
    fn end(mut self, eye: &mut Eye) {
        let mut has_secret = false;
        let text = &mut self.text;
        self.decoding.finish(&mut |piece| {
            has_secret |= piece.is_ok_and(|piece| eye.sees(text, piece));
        });
        eye.unread += u64::from(has_secret && !self.is_left_out);
        eye.redactor.forget(text.number);
    }
}

/// One direction.
struct Half {
    /// Where its next byte is.
    end: Option<u64>,
    literals: Literals,
    /// It is one of a WebSocket now.
    frames: Option<Box<Frames>>,
}

/// One connection.
struct Coded {
    decoder: Connection,
    halves: [Half; 2],
    bodies: HashMap<(ExchangeId, Side), Body>,
}

impl Default for Coded {
    fn default() -> Self {
        let half = || Half {
            end: None,
            literals: Literals::default(),
            frames: None,
        };
        Self {
            // What it says of itself shows in its first bytes; nothing else tells whether these were seen.
            decoder: Connection::new(Limits::default(), false),
            halves: [half(), half()],
            bodies: HashMap::new(),
        }
    }
}

impl Coded {
    fn data(&mut self, direction: Direction, offset: u64, bytes: &mut [u8], eye: &mut Eye) {
        self.follow(direction, offset, bytes.len());
        let [write, read] = &mut self.halves;
        let half = match direction {
            Direction::Write => write,
            Direction::Read => read,
        };
        if let Some(frames) = &mut half.frames {
            return frames.mask(bytes, eye);
        }
        let mut left_out = Vec::new();
        let mut upgrade = Upgrade::default();
        let whole = &*bytes;
        self.decoder.data(party(direction), 0, whole, &mut |item| {
            upgrade.take(&item);
            if let Some(place) = body(item, whole, &mut self.bodies, eye) {
                left_out.push(place);
            }
        });
        for place in left_out {
            bytes.get_mut(place).unwrap_or_default().fill(0);
        }
        if self.decoder.is_http2() {
            let literals = &mut half.literals;
            literals.push(bytes, &mut |name, value| eye.field(name, value));
            eye.unread += u64::from(literals.is_lost());
        }
        if upgrade.is_done {
            self.upgrade(direction, &upgrade, bytes, eye);
        }
    }

    /// Notices what is missing before these bytes.
    fn follow(&mut self, direction: Direction, offset: u64, len: usize) {
        let [write, read] = &mut self.halves;
        let half = match direction {
            Direction::Write => write,
            Direction::Read => read,
        };
        if let Some(end) = half.end
            && end != offset
        {
            let lost = offset.checked_sub(end);
            half.literals.gap();
            if let Some(frames) = &mut half.frames {
                frames.payloads.gap();
            }
            let bodies = &mut self.bodies;
            self.decoder.gap(party(direction), 0, lost, &mut |item| {
                if let Item::Gap { id, side, .. } = item
                    && let Some(body) = bodies.get_mut(&(id, side))
                {
                    body.decoding.gap(&mut |_| {});
                }
            });
        }
        half.end = Some(offset.saturating_add(len as u64));
    }

    /// The server has agreed, in these bytes, to speak WebSocket from here on.
    fn upgrade(&mut self, from: Direction, upgrade: &Upgrade, bytes: &mut [u8], eye: &mut Eye) {
        let limits = Limits::default();
        for (half, direction) in self.halves.iter_mut().zip(Direction::ALL) {
            let payloads = Payloads::new(direction != from, upgrade.deflate, limits);
            let text = eye.text();
            let mut frames = Frames { payloads, text };
            if direction == from {
                // Its first frames may come with the answer.
                let head_end = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
                match head_end.and_then(|at| bytes.get_mut(at..)) {
                    Some(behind) => frames.mask(behind, eye),
                    None => frames.payloads.gap(),
                }
            }
            half.frames = Some(Box::new(frames));
        }
    }

    fn end(self, eye: &mut Eye) {
        let texts = self.bodies.into_values().map(|body| body.text);
        let frames = self.halves.into_iter().filter_map(|half| half.frames);
        for text in texts.chain(frames.map(|frames| frames.text)) {
            eye.redactor.forget(text.number);
        }
    }
}

/// One direction of a WebSocket.
struct Frames {
    payloads: Payloads,
    text: Text,
}

impl Frames {
    fn mask(&mut self, bytes: &mut [u8], eye: &mut Eye) {
        let Self { payloads, text } = self;
        payloads.push(bytes, &mut |part| match part {
            Part::Open(bytes) => {
                eye.mask(text.key(), text.len, bytes);
                text.len += bytes.len() as u64;
                true
            }
            Part::Inflated(bytes) => !eye.sees(text, bytes),
        });
        eye.left_out += payloads.take_left_out();
        eye.unread += u64::from(payloads.is_lost());
    }
}

/// What a response agrees to.
#[derive(Default)]
struct Upgrade {
    deflate: Option<Deflate>,
    is_done: bool,
}

impl Upgrade {
    fn take(&mut self, item: &Item<'_>) {
        match item {
            Item::Response { head, .. } => {
                let named = head.fields.0.iter();
                let named = named.filter(|field| field.name == "sec-websocket-extensions");
                let mut values = named.filter_map(|field| field.value.as_deref());
                self.deflate = values.find_map(Deflate::agreed);
            }
            Item::Upgraded { protocol, .. } => self.is_done = protocol == "websocket",
            _ => {}
        }
    }
}

/// Follows compressed bodies. Gives the place of a piece that may not stay.
fn body(
    item: Item<'_>,
    whole: &[u8],
    bodies: &mut HashMap<(ExchangeId, Side), Body>,
    eye: &mut Eye,
) -> Option<Range<usize>> {
    let (id, side, bytes) = match item {
        Item::Request { id, head, .. } => {
            begin((id, Side::Request), &head.fields, bodies, eye);
            return None;
        }
        Item::Response { id, head, .. } => {
            begin((id, Side::Response), &head.fields, bodies, eye);
            return None;
        }
        Item::End { id, side, .. } => {
            if let Some(body) = bodies.remove(&(id, side)) {
                body.end(eye);
            }
            return None;
        }
        Item::Gap { id, side, .. } => {
            let body = bodies.get_mut(&(id, side))?;
            body.decoding.gap(&mut |_| {});
            return None;
        }
        Item::Body {
            id, side, bytes, ..
        } => (id, side, bytes),
        _ => return None,
    };
    let body = bodies.get_mut(&(id, side))?;
    let mut has_secret = false;
    body.decoding.push(bytes, &mut |piece| {
        has_secret |= piece.is_ok_and(|piece| eye.sees(&mut body.text, piece));
    });
    eye.left_out += u64::from(has_secret && !body.is_left_out);
    body.is_left_out |= has_secret;
    if !body.is_left_out {
        return None;
    }
    let place = place_in(whole, bytes);
    // It came in another piece, which is written.
    eye.unread += u64::from(place.is_none());
    place
}

fn begin(
    key: (ExchangeId, Side),
    fields: &Fields,
    bodies: &mut HashMap<(ExchangeId, Side), Body>,
    eye: &mut Eye,
) {
    let mut fields_in_question = fields.0.iter();
    let is_coded = fields_in_question
        .any(|field| field.name == "content-encoding" || field.name.starts_with('?'));
    if !is_coded {
        return;
    }
    let body = Body {
        decoding: Decoding::new(fields, Limits::default()),
        text: eye.text(),
        is_left_out: false,
    };
    if let Some(before) = bodies.insert(key, body) {
        eye.redactor.forget(before.text.number);
    }
}

/// Where a part of `whole` is in it; `None`: it is none.
fn place_in(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

fn party(direction: Direction) -> Party {
    match direction {
        Direction::Read => Party::Peer,
        Direction::Write => Party::Local,
    }
}

#[cfg(test)]
mod tests;
