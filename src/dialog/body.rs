//! One half of an exchange: its body as it comes, and what is missing of it.

use super::Shared;
use super::room::Share;
use super::said::{Body, Lack};
use crate::proto::content::{Content, Piece};
use crate::proto::grpc::GrpcMessage;
use crate::proto::{Fields, Side};

/// Of one body that are kept.
const BODY_MAX: usize = 64 << 20;

/// Lacks that are told of one half; more of them tell nothing new.
pub const LACKS_MAX: usize = 16;

const CUT_MESSAGE: &str = "a gRPC message is not whole";
const NO_ROOM: &str = "too much is held at once: it is not decoded any more";

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
    /// `None`: it would hold too much.
    content: Option<Content>,
    share: Share,
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
            content: Some(Content::new(fields, shared.limits)),
            share: Share::default(),
            head,
        }
    }

    /// The content may be several values, although its head says nothing of that.
    pub fn may_be_several(&mut self) {
        if let Some(content) = &mut self.content {
            content.may_be_several();
        }
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
        let Some(content) = &mut self.content else {
            return;
        };
        let mut keeper = Keeper {
            body: &mut self.body,
            lacks: &mut self.lacks,
            side: self.side,
            streams: self.streams,
            room: shared.room.left(),
        };
        act(content, &mut |piece| {
            keeper.keep(&piece);
            take(&piece);
        });
        let (kept, coding) = (self.body.bytes.len(), content.held());
        let fits = self.share.set(kept + coding, &mut shared.room);
        // What is kept is kept within bounds: only what is being decoded can be too much.
        if !fits && coding > kept {
            self.content = None;
            self.share.set(kept, &mut shared.room);
            self.lack(NO_ROOM, None);
        }
    }

    /// Something is missing.
    pub fn lack(&mut self, why: impl Into<String>, bytes: Option<u64>) {
        push_lack(&mut self.lacks, self.side, self.body.decoded, why, bytes);
    }

    /// It is told, and not needed any more.
    pub fn release(&mut self, shared: &mut Shared) -> Body {
        self.share.set(0, &mut shared.room);
        std::mem::take(&mut self.body)
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
    /// Bytes that may be kept.
    room: usize,
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
            Piece::Gap(_) => self.body.has_gap = true,
            Piece::Grpc(message) => self.count(message),
            _ => {}
        }
    }

    /// One that is cut short by a gap or by the body's end counts as well; trailers (gRPC-Web) are none.
    fn count(&mut self, message: &GrpcMessage<'_>) {
        self.body.grpc_messages += u64::from(!message.trailers);
        if message.missing > 0 {
            let (at, missing) = (self.body.decoded, Some(message.missing));
            push_lack(self.lacks, self.side, at, CUT_MESSAGE, missing);
        }
    }

    fn keep_bytes(&mut self, bytes: &[u8]) {
        let room = BODY_MAX.saturating_sub(self.body.bytes.len());
        let room = room.min(self.room);
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        // Behind something that was not kept, nothing is.
        let is_whole = self.body.bytes.len() as u64 == self.body.decoded;
        let kept = if is_whole { kept } else { &[] };
        self.body.bytes.extend_from_slice(kept);
        self.room -= kept.len();
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
