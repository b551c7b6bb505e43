//! Finds frames again after a loss: headers in a row, each where the frame before it ends. It keeps no bytes: the frames
//! that show the way are passed over.
//!
//! About one place in eighty of compressed or masked bytes looks like a header, and hardly any of text: three in a row are
//! one place in half a million, and only where pieces of data begin is looked.

use super::frame::{Header, Opcode};

/// Frames that are passed over before one is believed.
const FRAMES: u8 = 2;

/// Frames that may be in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trail {
    is_followed: bool,
    frames: u8,
    /// Bytes to come of the last frame's payload.
    left: u64,
    /// A message goes on behind the last frame.
    is_inside: bool,
    /// The last frame does not lie inside of a message.
    is_first: bool,
}

impl Trail {
    /// Whether the next byte may be of a frame in the row. One begins with each piece, if none is followed.
    pub(super) fn is_followed(&mut self, is_start: bool) -> bool {
        if !self.is_followed && is_start {
            *self = Self {
                is_followed: true,
                ..Self::default()
            };
        }
        self.is_followed
    }

    /// How many of these bytes are of the last frame's payload.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let passed = left.min(bytes.len());
        self.left -= passed as u64;
        passed
    }

    /// Whether a frame with this header, which takes `len` bytes, can be the next one.
    pub(super) fn follows(&mut self, header: &Header, len: usize, max: usize) -> bool {
        let is_control = header.opcode.is_control();
        let continues = header.opcode == Opcode::Continuation;
        let is_sound = is_shortest(header, len)
            && header.len <= max as u64
            && (is_control || continues == self.is_inside);
        if is_sound {
            self.frames = self.frames.saturating_add(1);
            self.left = header.len;
            self.is_first = !self.is_inside;
            self.is_inside = if is_control {
                self.is_inside
            } else {
                !header.is_last
            };
        }
        is_sound
    }

    /// Whether the frame that followed last is believed: a message begins with it.
    pub(super) fn is_believed(&self) -> bool {
        self.frames > FRAMES && self.is_first
    }

    /// There was no frame.
    pub(super) fn leave(&mut self) {
        *self = Self::default();
    }
}

/// "The minimal number of bytes MUST be used to encode the length" (RFC 6455 section 5.2).
fn is_shortest(header: &Header, len: usize) -> bool {
    let mask = header.mask.map_or(0, |mask| mask.len());
    match len.saturating_sub(mask) {
        2 => true,
        4 => header.len > 125,
        _ => header.len > 0xffff,
    }
}
