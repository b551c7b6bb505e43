//! What is known of one direction of a connection.

use super::body::Body;
use super::head::Collected;
use crate::proto::skipped::Skipped;
use crate::proto::{ExchangeId, Fault, Side};

/// What the next bytes are.
#[derive(Debug)]
pub(super) enum Phase {
    Body(Message),
    /// A head, from its first byte.
    Head,
    /// Behind a request that wants to switch to another protocol: the response says of which protocol they are.
    Held(ExchangeId),
    /// Nobody knows, for this reason.
    Lost(Fault),
    /// Another protocol's.
    Switched,
}

/// A message whose body has not ended.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: ExchangeId,
    pub(super) side: Side,
    pub(super) body: Body,
}

/// What comes behind a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Next {
    #[default]
    Head,
    Held,
    Switched,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) phase: Phase,
    pub(super) next: Next,
    /// With [`Phase::Lost`] what may become one.
    pub(super) head: Collected,
    /// With [`Phase::Lost`]: a head may begin with the next byte.
    pub(super) is_boundary: bool,
    pub(super) skipped: Skipped,
    pub(super) kept: Kept,
    pub(super) has_ended: bool,
}

impl Half {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase,
            next: Next::Head,
            head: Collected::default(),
            is_boundary: true,
            skipped: Skipped::default(),
            kept: Kept::default(),
            has_ended: false,
        }
    }

    pub(super) fn held(&self) -> usize {
        let body = match &self.phase {
            Phase::Body(message) => message.body.held(),
            _ => 0,
        };
        self.head.held() + self.kept.held() + body
    }
}

/// Bytes that wait for a decision, in order.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Data { at_ns: u64, len: usize },
    Gap { at_ns: u64, bytes: Option<u64> },
}

impl Kept {
    /// Keeps bytes, unless more than `max` would be held: these count as lost.
    pub(super) fn data(&mut self, at_ns: u64, bytes: &[u8], max: usize) {
        if self.held() + bytes.len() + size_of::<Piece>() > max {
            return self.gap(at_ns, Some(bytes.len() as u64));
        }
        self.bytes.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(Piece::Data { at_ns: at, len }) if *at == at_ns => *len += bytes.len(),
            _ => self.pieces.push(Piece::Data {
                at_ns,
                len: bytes.len(),
            }),
        }
    }

    /// Keeps in mind that bytes were lost here.
    pub(super) fn gap(&mut self, at_ns: u64, lost: Option<u64>) {
        if let Some(Piece::Gap { bytes, .. }) = self.pieces.last_mut() {
            *bytes = bytes.zip(lost).map(|(a, b)| a.saturating_add(b));
        } else {
            self.pieces.push(Piece::Gap { at_ns, bytes: lost });
        }
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Gives it all back: pieces with the time when they passed, and counts of those that were lost.
    pub(in crate::proto) fn replay(self, mut each: impl FnMut(u64, Result<&[u8], Option<u64>>)) {
        let mut rest = self.bytes.as_slice();
        for piece in self.pieces {
            match piece {
                Piece::Gap { at_ns, bytes } => each(at_ns, Err(bytes)),
                Piece::Data { at_ns, len } => {
                    let (data, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                    rest = behind;
                    each(at_ns, Ok(data));
                }
            }
        }
    }
}
