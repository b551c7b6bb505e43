//! Finds where a frame begins, after bytes were lost or in a connection that was joined late: three headers in a chain, or
//! fewer whose last frame ends with the bytes. What is sent inside of a frame can imitate that, if its sender is after it.

use std::collections::BTreeSet;

use super::frame::{Chain, HEADER, Links, chain};
use crate::proto::Fault;

/// Headers of a chain that is believed.
pub const FRAMES: usize = 3;

/// Bytes in which a beginning is looked for at once: three frames of the common size, and their headers.
const HELD_MAX: usize = 56 << 10;

/// Looks for the next frame in one direction. Places count from where it began.
pub struct Search {
    why: Fault,
    /// What may still be a part of a chain.
    held: Vec<u8>,
    /// The place of its first byte: so many are gone.
    dropped: usize,
    /// The first place that was not looked at.
    next: usize,
    /// Places that may be beginnings, behind the place that must be reached to know more.
    open: BTreeSet<(usize, usize)>,
    /// Where the piece of bytes begins that comes in now, if that is known.
    piece: Option<usize>,
}

/// A beginning.
pub struct Found {
    /// Bytes in front of it.
    pub skipped: usize,
    /// The bytes from there on, as far as they came.
    pub bytes: Vec<u8>,
}

impl Search {
    /// `why` it is needed.
    pub fn new(why: Fault) -> Self {
        Self {
            why,
            held: Vec::new(),
            dropped: 0,
            next: 0,
            open: BTreeSet::new(),
            piece: None,
        }
    }

    pub fn why(&self) -> Fault {
        self.why
    }

    /// A piece of bytes begins here, as somebody has written it.
    pub fn begin_piece(&mut self) {
        self.piece = Some(self.end());
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Found> {
        self.held.extend_from_slice(bytes);
        let found = self.find();
        if let Some(place) = found {
            return Some(self.found(place));
        }
        self.shrink();
        None
    }

    /// No more bytes for now: a chain that ends here is believed when it is shorter, even if it is a single frame if that
    /// is all of a piece, or if the direction ends.
    pub fn settle(&mut self, ended: bool) -> Option<Found> {
        let end = self.end();
        let wanted = (end + HEADER, 0)..(end + HEADER + 1, 0);
        let mut places: Vec<usize> = self.open.range(wanted).map(|(_, place)| *place).collect();
        places.retain(|place| {
            let Chain::Open(links) = self.chain(*place) else {
                return false;
            };
            let all = ended || self.piece == Some(*place);
            links.filled >= 1 && (links.frames >= 2 || all)
        });
        let place = places.into_iter().min()?;
        Some(self.found(place))
    }

    /// How many bytes came in vain.
    pub fn end(&self) -> usize {
        self.dropped + self.held.len()
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.held.capacity() + self.open.len() * size_of::<(usize, usize)>() * 2
    }

    fn find(&mut self) -> Option<usize> {
        while let Some((reached, place)) = self.open.first().copied()
            && reached <= self.end()
        {
            self.open.pop_first();
            if self.look(place) {
                return Some(place);
            }
        }
        while self.next + HEADER <= self.end() {
            let rest = self
                .held
                .get(self.next - self.dropped..)
                .unwrap_or_default();
            // All but the last bytes of a header that is not whole.
            let whole = rest.get(..rest.len() + 1 - HEADER).unwrap_or_default();
            // Lengths up to the common size begin with a zero.
            let Some(ahead) = memchr::memchr(0, whole) else {
                self.next += whole.len();
                break;
            };
            let place = self.next + ahead;
            self.next = place + 1;
            if self.look(place) {
                return Some(place);
            }
        }
        None
    }

    fn look(&mut self, place: usize) -> bool {
        match self.chain(place) {
            Chain::Broken => false,
            Chain::Whole => true,
            Chain::Open(links) => {
                self.open.insert((links.end + HEADER, place));
                false
            }
        }
    }

    /// With places as the rest of this.
    fn chain(&self, place: usize) -> Chain {
        let at = place.saturating_sub(self.dropped);
        match chain(&self.held, at, FRAMES, u32::MAX) {
            Chain::Open(links) => Chain::Open(Links {
                end: links.end + self.dropped,
                ..links
            }),
            other => other,
        }
    }

    fn found(&mut self, place: usize) -> Found {
        let bytes = self
            .held
            .split_off((place - self.dropped).min(self.held.len()));
        Found {
            skipped: place,
            bytes,
        }
    }

    /// Lets go of what is no part of a chain, or has been waiting for too long.
    fn shrink(&mut self) {
        let first = if self.open.is_empty() {
            self.next
        } else if self.held.len() > HELD_MAX {
            self.end() - HELD_MAX / 2
        } else {
            return;
        };
        let first = first.min(self.next);
        self.open.retain(|(_, place)| *place >= first);
        self.held
            .drain(..(first - self.dropped).min(self.held.len()));
        self.dropped = first;
        if self.held.is_empty() || self.held.capacity() > 4 * HELD_MAX {
            self.held.shrink_to_fit();
        }
    }
}
