//! The payloads of one direction of a WebSocket, for whoever must change them where they lie: a recording keeps the bytes as
//! they were sent, and clients send them under a mask (RFC 6455 section 5.3), or both compress them (RFC 7692).
//!
//! What a mask hides is shown, may be changed, and goes under the same mask again. What is compressed cannot be changed: it
//! is shown undone, and where the answer is that it may not stay, the rest of its message becomes zeros. As the window is
//! mostly kept, messages behind it may not be readable either. What the server sends as it is stands there as text already.

use super::frame::{HEADER_MAX, Header, Rules, unmask};
use super::{Deflate, Inflater, client_rules, inflater};
use crate::proto::Limits;

/// A part of a message.
pub enum Part<'p> {
    /// Where it lies, without its mask: what is changed here, is changed.
    Open(&'p mut [u8]),
    /// What a compressed part gives.
    Inflated(&'p [u8]),
}

/// Looks at a part. False: it may not stay; that counts for what is compressed only.
pub type Look<'l> = dyn FnMut(Part<'_>) -> bool + 'l;

enum Place {
    /// In the header of a frame: what has come of it.
    Header(Vec<u8>),
    /// In a payload: bytes of it that have passed.
    Payload(Header, u64),
    /// Nobody knows.
    Lost,
}

/// Follows one direction.
pub struct Payloads {
    rules: Rules,
    inflater: Inflater,
    limits: Limits,
    place: Place,
    /// The message of the last data frame is compressed.
    is_compressed: bool,
    /// What comes of it still may not stay.
    is_left_out: bool,
    /// Messages of which that was so, since somebody asked.
    left_out: u64,
    inflated: Vec<u8>,
}

impl Payloads {
    /// For what the client sends, or the server, from its first frame on.
    pub fn new(is_client: bool, deflate: Option<Deflate>, limits: Limits) -> Self {
        Self {
            rules: Rules {
                is_client,
                ..client_rules(deflate)
            },
            inflater: inflater(deflate, is_client),
            limits,
            place: Place::Header(Vec::new()),
            is_compressed: false,
            is_left_out: false,
            left_out: 0,
            inflated: Vec::new(),
        }
    }

    /// It is not known where the next frame begins: nothing is looked at any more.
    pub fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }

    /// Compressed messages that may not stay, since this was last asked.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Bytes of the direction are missing.
    pub fn gap(&mut self) {
        self.place = Place::Lost;
    }

    /// The next bytes of the direction.
    pub fn push(&mut self, bytes: &mut [u8], look: &mut Look<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_lost() {
            let used = match &mut self.place {
                Place::Header(seen) => {
                    let before = seen.len();
                    seen.extend(rest.iter().take(HEADER_MAX - before.min(HEADER_MAX)));
                    match Header::parse(seen, self.rules) {
                        Ok(Some((header, used))) => {
                            self.begin(header);
                            used.saturating_sub(before)
                        }
                        Ok(None) => rest.len(),
                        Err(_) => {
                            self.gap();
                            0
                        }
                    }
                }
                Place::Payload(header, at) => {
                    let (header, at) = (*header, *at);
                    let left = usize::try_from(header.len - at).unwrap_or(usize::MAX);
                    let used = left.min(rest.len());
                    let piece = rest.get_mut(..used).unwrap_or_default();
                    self.piece(&header, at, piece, look);
                    self.place = Place::Payload(header, at + used as u64);
                    self.end_payload();
                    used
                }
                Place::Lost => 0,
            };
            rest = rest.get_mut(used..).unwrap_or_default();
        }
    }

    fn begin(&mut self, header: Header) {
        // Section 5.4: the first frame of a message says what it is.
        if !header.opcode.is_control() && header.opcode != super::frame::Opcode::Continuation {
            self.is_compressed = header.is_compressed;
            self.is_left_out = false;
        }
        self.place = Place::Payload(header, 0);
        self.end_payload();
    }

    fn end_payload(&mut self) {
        let Place::Payload(header, at) = &self.place else {
            return;
        };
        if *at < header.len {
            return;
        }
        if header.is_last && !header.opcode.is_control() && self.is_compressed {
            self.inflated.clear();
            let _ = self.inflater.finish(&mut self.inflated, &self.limits);
        }
        self.place = Place::Header(Vec::new());
    }

    fn piece(&mut self, header: &Header, at: u64, piece: &mut [u8], look: &mut Look<'_>) {
        let flip = |piece: &mut [u8]| {
            if let Some(mask) = header.mask {
                unmask(piece, mask, at);
            }
        };
        if header.opcode.is_control() {
            return;
        }
        if !self.is_compressed {
            if header.mask.is_some() {
                flip(piece);
                look(Part::Open(piece));
                flip(piece);
            }
            return;
        }
        flip(piece);
        self.inflated.clear();
        self.inflater
            .decode(piece, &mut self.inflated, &self.limits);
        flip(piece);
        let is_left_out = !look(Part::Inflated(&self.inflated));
        self.left_out += u64::from(is_left_out && !self.is_left_out);
        self.is_left_out |= is_left_out;
        if self.is_left_out {
            piece.fill(0);
        }
    }
}
