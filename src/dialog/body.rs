//! One half of an exchange: its body as it comes, and what is missing of it.

use super::HELD_MAX;
use super::Shared;
use super::said::{Body, Lack};
use crate::proto::content::{Content, Framing, Piece};
use crate::proto::{Fields, Side};

/// Of one body that are kept.
const BODY_MAX: usize = 64 << 20;

/// Lacks that are told of one half; more of them tell nothing new.
const LACKS_MAX: usize = 16;

/// A half that has begun.
pub struct Half<H> {
    /// Its head.
    pub head: Box<H>,
    /// When its head was complete.
    pub began_ns: u64,
    /// Behind the body.
    pub trailers: Fields,
    /// What is missing.
    pub lacks: Vec<Lack>,
    /// What came so far.
    pub body: Body,
    /// The content is not kept: it is told as it comes.
    pub streams: bool,
    side: Side,
    content: Content,
}

impl<H> Half<H> {
    /// A half whose head is complete.
    pub fn new(side: Side, head: Box<H>, fields: &Fields, began_ns: u64, shared: &Shared) -> Self {
        Self {
            began_ns,
            trailers: Fields::default(),
            lacks: Vec::new(),
            body: Body::default(),
            streams: false,
            side,
            content: Content::new(fields, shared.limits),
            head,
        }
    }

    /// The content will be of this kind, whatever its head says.
    pub fn expect(&mut self, framing: Framing) {
        self.content.expect(framing);
    }

    /// Takes bytes of the body; `take` gets what they hold.
    pub fn push(&mut self, bytes: &[u8], shared: &mut Shared, take: &mut dyn FnMut(&Piece<'_>)) {
        self.body.wire += bytes.len() as u64;
        self.feed(shared, take, |content, out| content.push(bytes, out));
    }

    /// Bytes of the body are missing.
    pub fn gap(
        &mut self,
        bytes: Option<u64>,
        shared: &mut Shared,
        take: &mut dyn FnMut(&Piece<'_>),
    ) {
        self.body.wire = self.body.wire.saturating_add(bytes.unwrap_or(0));
        self.lack("bytes were not seen", bytes);
        self.feed(shared, take, |content, out| content.gap(bytes, out));
    }

    /// The body has ended.
    pub fn finish(
        &mut self,
        complete: bool,
        shared: &mut Shared,
        take: &mut dyn FnMut(&Piece<'_>),
    ) {
        self.feed(shared, take, |content, out| content.finish(complete, out));
    }

    /// Keeps what comes of it, and tells what is wrong with it.
    fn feed(
        &mut self,
        shared: &mut Shared,
        take: &mut dyn FnMut(&Piece<'_>),
        act: impl FnOnce(&mut Content, &mut dyn FnMut(Piece<'_>)),
    ) {
        let mut keeper = Keeper {
            body: &mut self.body,
            lacks: &mut self.lacks,
            side: self.side,
            streams: self.streams,
            held: &mut shared.held,
        };
        act(&mut self.content, &mut |piece| {
            keeper.keep(&piece);
            take(&piece);
        });
    }

    /// Something is missing.
    pub fn lack(&mut self, why: impl Into<String>, bytes: Option<u64>) {
        push_lack(&mut self.lacks, self.side, self.body.decoded, why, bytes);
    }

    /// It is told, and not needed any more.
    pub fn release(&mut self, shared: &mut Shared) -> Body {
        let body = std::mem::take(&mut self.body);
        shared.held = shared.held.saturating_sub(body.bytes.len());
        body
    }
}

fn push_lack(
    lacks: &mut Vec<Lack>,
    side: Side,
    at: u64,
    why: impl Into<String>,
    bytes: Option<u64>,
) {
    let why = why.into();
    let of = match side {
        Side::Request => "request",
        Side::Response => "response",
    };
    let is_full = lacks.len() >= LACKS_MAX;
    match lacks.last_mut() {
        // What goes on is one lack.
        Some(last) if last.why == why && (last.at == at || is_full) => {
            let sum = last.bytes.zip(bytes);
            last.bytes = sum.map(|(sum, bytes)| sum.saturating_add(bytes));
        }
        _ if is_full => {}
        _ => lacks.push(Lack { of, why, at, bytes }),
    }
}

/// Keeps what a body holds, within bounds.
struct Keeper<'k> {
    body: &'k mut Body,
    lacks: &'k mut Vec<Lack>,
    side: Side,
    streams: bool,
    held: &'k mut usize,
}

impl Keeper<'_> {
    fn keep(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => {
                if !self.streams {
                    self.keep_bytes(bytes);
                }
                self.body.decoded += bytes.len() as u64;
            }
            Piece::Fault(fault) => {
                push_lack(self.lacks, self.side, self.body.decoded, fault.what, None);
            }
            _ => {}
        }
    }

    fn keep_bytes(&mut self, bytes: &[u8]) {
        let room = BODY_MAX.saturating_sub(self.body.bytes.len());
        let room = room.min(HELD_MAX.saturating_sub(*self.held));
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        // Behind something that was not kept, nothing is.
        let is_whole = self.body.bytes.len() as u64 == self.body.decoded;
        let kept = if is_whole { kept } else { &[] };
        self.body.bytes.extend_from_slice(kept);
        *self.held += kept.len();
        let left = bytes.len() - kept.len();
        if left > 0 {
            let at = self.body.bytes.len() as u64;
            push_lack(
                self.lacks,
                self.side,
                at,
                "too long to be kept",
                Some(left as u64),
            );
        }
    }
}
