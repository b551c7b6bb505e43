//! What fuzzers and tests do with decoders of connections: cut bytes into pieces of both directions, with gaps and ends
//! among them, and check that what is told makes sense.

use std::collections::{HashMap, HashSet};

use super::{Decoder, ExchangeId, Item, Limits, Party, Side};

/// Small, so that short inputs reach them.
const LIMITS: Limits = Limits {
    head: 600,
    fields: 70,
    exchanges: 5,
    message: 500,
    decoded: 100_000,
    ratio: 1200,
};

/// More than any decoder may hold for one connection with these limits: two inflaters with their windows included.
const HELD_MAX: usize = 160 << 10;

/// Runs a decoder over `data`: a byte of options, then pieces, each with two bytes that say what it is and how long.
pub fn run(data: &[u8], make: impl Fn(Limits, bool) -> Box<dyn Decoder>) {
    let Some((options, mut rest)) = data.split_first() else {
        return;
    };
    let mut decoder = make(LIMITS, options & 1 == 0);
    let mut sense = Sense::default();
    let mut at_ns = 0;
    while let [kind, len, behind @ ..] = rest {
        at_ns += 1;
        let from = if kind & 1 == 0 {
            Party::Local
        } else {
            Party::Peer
        };
        rest = behind;
        let mut out = |item: Item<'_>| sense.check(&item);
        match kind >> 1 & 31 {
            0 => decoder.gap(from, at_ns, Some(u64::from(*len)), &mut out),
            1 => decoder.gap(from, at_ns, None, &mut out),
            2 => decoder.end(from, at_ns, &mut out),
            _ => {
                // The upper bits make long pieces.
                let len = usize::from(*len) << (kind >> 6);
                let (piece, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                rest = behind;
                decoder.data(from, at_ns, piece, &mut out);
            }
        }
        assert!(decoder.held() < HELD_MAX, "{} held", decoder.held());
    }
    for from in [Party::Local, Party::Peer] {
        decoder.end(from, at_ns, &mut |item| sense.check(&item));
    }
    sense.finish();
}

/// What must be true of all that a decoder tells.
#[derive(Debug, Default)]
pub struct Sense {
    open: HashSet<(ExchangeId, Side)>,
    ended: HashSet<(ExchangeId, Side)>,
    requested: HashMap<ExchangeId, Party>,
    upgraded: HashSet<ExchangeId>,
}

impl Sense {
    /// Panics if `item` may not follow what was told before.
    pub fn check(&mut self, item: &Item<'_>) {
        match item {
            Item::Request { id, from, .. } => {
                assert!(self.requested.insert(*id, *from).is_none(), "{id} twice");
                self.begin(*id, Side::Request);
            }
            Item::Response { id, from, .. } => {
                assert_ne!(self.requested.get(id), Some(from), "{id} answers itself");
                self.begin(*id, Side::Response);
            }
            Item::Body {
                id, side, bytes, ..
            } => {
                assert!(!bytes.is_empty(), "{id}");
                self.inside(*id, *side);
            }
            // A half whose head was not seen begins with a gap.
            Item::Gap { id, side, .. } => self.begin(*id, *side),
            Item::Trailers { id, side, .. } => self.inside(*id, *side),
            Item::End { id, side, .. } => self.end(*id, *side),
            Item::Upgraded { id, .. } => {
                self.inside(*id, Side::Response);
                assert!(self.upgraded.insert(*id), "{id} twice");
            }
            Item::WebSocket { id, .. } => {
                assert!(self.upgraded.is_empty() || self.upgraded.contains(id));
            }
            Item::Unrecognised { bytes, .. } => assert_ne!(*bytes, Some(0)),
        }
    }

    fn begin(&mut self, id: ExchangeId, side: Side) {
        assert!(!self.ended.contains(&(id, side)), "{id} has ended");
        self.open.insert((id, side));
    }

    fn inside(&self, id: ExchangeId, side: Side) {
        assert!(self.open.contains(&(id, side)), "{id} is not open");
    }

    fn end(&mut self, id: ExchangeId, side: Side) {
        // Of a half whose head could not be read, that may be all there is to tell.
        self.open.remove(&(id, side));
        assert!(self.ended.insert((id, side)), "{id} ended twice");
    }

    /// Panics if something is left open.
    pub fn finish(&self) {
        assert!(self.open.is_empty(), "open: {:?}", self.open);
        for id in self.requested.keys() {
            let is_ended = self.ended.contains(&(*id, Side::Response));
            assert!(is_ended, "{id} has no end of its response");
        }
    }
}
