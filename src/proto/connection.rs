//! Which protocol a connection speaks, by its first bytes: HTTP/1, HTTP/2, or none that is known here; and the switches
//! between them: WebSocket, h2c, and tunnels, whose inside is looked at in the same way.
//!
//! At most 64 bytes of a direction are looked at before it counts as not recognised. It is looked at again where each later
//! piece of data begins, since a connection that was joined late may have begun in the middle of a message.

use super::both::Both;
use super::http1::{Agreed, Http1, start, switch};
use super::http2::Http2;
use super::item::{ExchangeId, Item};
use super::skipped::{Skipped, tell};
use super::websocket::{Deflate, WebSocket};
use super::{Decoder, Fault, Limits, Out, Party};

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tunnels in tunnels that are looked into. Nobody needs more than two.
const DEPTH_MAX: u8 = 3;

const UNKNOWN: Fault = Fault {
    what: "a protocol that is not known",
};
const LOST: Fault = Fault {
    what: "bytes were lost",
};

/// Decodes a connection.
pub struct Connection {
    limits: Limits,
    from_start: bool,
    depth: u8,
    speaks: Speaks,
    sides: Both<Unknown>,
}

enum Speaks {
    Http1(Box<Http1Then>),
    Http2(Box<Http2>),
    Nothing,
}

/// One direction before its protocol is known.
#[derive(Default)]
struct Unknown {
    /// The beginning of what may be a protocol that is known; at most [`start::SEEN_MAX`].
    first: Vec<u8>,
    first_at_ns: u64,
    skipped: Skipped,
}

/// What bytes are the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Http1,
    Http2,
    More,
    Unknown,
}

impl Connection {
    /// For a connection seen from its start, or joined late.
    pub fn new(limits: Limits, from_start: bool) -> Self {
        Self::nested(limits, from_start, 0)
    }

    fn nested(limits: Limits, from_start: bool, depth: u8) -> Self {
        Self {
            limits,
            from_start,
            depth,
            speaks: Speaks::Nothing,
            sides: Both::default(),
        }
    }

    /// Whether a protocol was recognised. `None`: too few bytes have passed.
    pub fn is_recognised(&self) -> Option<bool> {
        let has_unknown = [Party::Local, Party::Peer]
            .iter()
            .any(|party| self.sides.get(*party).skipped.is_open());
        match &self.speaks {
            Speaks::Http1(then) => then.http1.is_recognised(),
            Speaks::Http2(_) => Some(true),
            Speaks::Nothing => has_unknown.then_some(false),
        }
    }

    /// It is HTTP/2, from its first byte that was seen on.
    pub fn is_http2(&self) -> bool {
        matches!(self.speaks, Speaks::Http2(_))
    }

    fn detect(&mut self, from: Party, at_ns: u64, bytes: &[u8], out: &mut Out<'_>) {
        let side = self.sides.get_mut(from);
        let before = side.first.len();
        let verdict = if before == 0 {
            verdict(bytes)
        } else {
            let room = start::SEEN_MAX.saturating_sub(before);
            let more = bytes.get(..room).unwrap_or(bytes);
            side.first.extend_from_slice(more);
            verdict(&side.first)
        };
        if verdict == Verdict::More {
            // A verdict is always reached within as many bytes.
            if before == 0 {
                side.first = bytes.to_vec();
                side.first_at_ns = at_ns;
            }
            return;
        }
        let mut first = std::mem::take(&mut side.first);
        first.truncate(before);
        if verdict == Verdict::Unknown {
            let skipped = first.len() + bytes.len();
            side.skipped.skip(from, at_ns, skipped, UNKNOWN, out);
            return;
        }
        let first_at_ns = side.first_at_ns;
        self.start(verdict, at_ns, out);
        self.data(from, first_at_ns, &first, out);
        self.data(from, at_ns, bytes, out);
    }

    fn end_unknown(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        let side = self.sides.get_mut(from);
        let cut = std::mem::take(&mut side.first).len();
        side.skipped.skip(from, at_ns, cut, UNKNOWN, out);
        side.skipped.close(from, at_ns, out);
    }

    fn start(&mut self, verdict: Verdict, at_ns: u64, out: &mut Out<'_>) {
        let both = [Party::Local, Party::Peer];
        let mut from_start = self.from_start;
        for party in both {
            let skipped = &mut self.sides.get_mut(party).skipped;
            from_start &= !skipped.is_open();
            skipped.close(party, at_ns, out);
        }
        self.speaks = match verdict {
            Verdict::Http2 => Speaks::Http2(Box::new(Http2::new(self.limits, from_start))),
            _ => Speaks::Http1(Box::new(Http1Then {
                http1: Http1::new(self.limits, from_start),
                then: Then::Nothing,
                limits: self.limits,
                depth: self.depth,
            })),
        };
        for party in both {
            let side = self.sides.get_mut(party);
            let (first, first_at_ns) = (std::mem::take(&mut side.first), side.first_at_ns);
            self.data(party, first_at_ns, &first, out);
        }
    }
}

fn verdict(bytes: &[u8]) -> Verdict {
    let is_full = bytes.len() >= start::SEEN_MAX;
    if bytes.starts_with(PREFACE) {
        return Verdict::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Verdict::More;
    }
    let http1 = start::looks_like(bytes);
    if http1 == Some(true) || (http1.is_none() && is_full) {
        return Verdict::Http1;
    }
    match Http2::looks_like(bytes) {
        Some(true) => Verdict::Http2,
        None if !is_full => Verdict::More,
        _ if http1.is_none() => Verdict::More,
        _ => Verdict::Unknown,
    }
}

impl Decoder for Connection {
    fn data(&mut self, from: Party, at_ns: u64, bytes: &[u8], out: &mut Out<'_>) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.speaks {
            Speaks::Http1(then) => then.data(from, at_ns, bytes, out),
            Speaks::Http2(http2) => http2.data(from, at_ns, bytes, out),
            Speaks::Nothing => self.detect(from, at_ns, bytes, out),
        }
    }

    fn gap(&mut self, from: Party, at_ns: u64, bytes: Option<u64>, out: &mut Out<'_>) {
        match &mut self.speaks {
            Speaks::Http1(then) => then.gap(from, at_ns, bytes, out),
            Speaks::Http2(http2) => http2.gap(from, at_ns, bytes, out),
            Speaks::Nothing if bytes == Some(0) => {}
            Speaks::Nothing => {
                self.from_start = false;
                let side = self.sides.get_mut(from);
                let cut = std::mem::take(&mut side.first).len();
                side.skipped.skip(from, at_ns, cut, LOST, out);
                side.skipped.close(from, at_ns, out);
                tell(from, at_ns, bytes, LOST, out);
            }
        }
    }

    fn end(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        match &mut self.speaks {
            Speaks::Http1(then) => then.end(from, at_ns, true, out),
            Speaks::Http2(http2) => http2.end(from, at_ns, out),
            Speaks::Nothing => self.end_unknown(from, at_ns, out),
        }
    }

    fn stop(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        match &mut self.speaks {
            Speaks::Http1(then) => then.end(from, at_ns, false, out),
            Speaks::Http2(http2) => http2.stop(from, at_ns, out),
            Speaks::Nothing => self.end_unknown(from, at_ns, out),
        }
    }

    fn held(&self) -> usize {
        let speaks = match &self.speaks {
            Speaks::Http1(then) => size_of::<Http1Then>() + then.held(),
            Speaks::Http2(http2) => size_of::<Http2>() + http2.held(),
            Speaks::Nothing => 0,
        };
        let sides = [Party::Local, Party::Peer].map(|party| self.sides.get(party).first.capacity());
        speaks + sides.iter().sum::<usize>()
    }
}

/// HTTP/1, and what it was left for.
struct Http1Then {
    http1: Http1,
    then: Then,
    limits: Limits,
    depth: u8,
}

enum Then {
    Nothing,
    /// Its exchanges are numbered from 1: `base` is added.
    Other {
        decoder: Box<dyn Decoder>,
        base: u64,
    },
    Unknown(Both<Skipped>),
}

impl Http1Then {
    fn data(&mut self, from: Party, at_ns: u64, bytes: &[u8], out: &mut Out<'_>) {
        let rest = self.http1.feed(from, at_ns, bytes, out);
        self.switch(out);
        if !rest.is_empty() {
            self.pass(from, at_ns, Ok(rest), out);
        }
    }

    /// Makes the decoder of what was agreed on, and gives it what came before the agreement.
    fn switch(&mut self, out: &mut Out<'_>) {
        let Some(agreed) = self.http1.take_agreed() else {
            return;
        };
        self.then = self.other(&agreed);
        for from in [Party::Local, Party::Peer] {
            let kept = self.http1.take_kept(from);
            kept.replay(|at_ns, piece| self.pass(from, at_ns, piece, out));
        }
    }

    fn other(&self, agreed: &Agreed) -> Then {
        let limits = self.limits;
        let decoder: Box<dyn Decoder> = match (agreed.protocol.as_str(), self.http1.client()) {
            ("websocket", Some(client)) => {
                let deflate = Deflate::agreed(&agreed.extensions);
                // It numbers nothing: its messages are of the exchange that asked for it.
                return Then::Other {
                    decoder: Box::new(WebSocket::new(limits, agreed.id, client, deflate)),
                    base: 0,
                };
            }
            ("h2c", _) => Box::new(Http2::new(limits, true)),
            (switch::CONNECT, _) if self.depth < DEPTH_MAX => {
                Box::new(Connection::nested(limits, true, self.depth + 1))
            }
            _ => return Then::Unknown(Both::default()),
        };
        Then::Other {
            decoder,
            base: self.http1.exchanges(),
        }
    }

    fn pass(
        &mut self,
        from: Party,
        at_ns: u64,
        piece: Result<&[u8], Option<u64>>,
        out: &mut Out<'_>,
    ) {
        match (&mut self.then, piece) {
            (Then::Other { decoder, base }, piece) => {
                let base = *base;
                let mut numbered = |item: Item<'_>| out(renumbered(item, base));
                match piece {
                    Ok(bytes) => decoder.data(from, at_ns, bytes, &mut numbered),
                    Err(lost) => decoder.gap(from, at_ns, lost, &mut numbered),
                }
            }
            (Then::Unknown(skipped), Ok(bytes)) => {
                let skipped = skipped.get_mut(from);
                skipped.skip(from, at_ns, bytes.len(), UNKNOWN, out);
            }
            (_, Err(lost)) => tell(from, at_ns, lost, LOST, out),
            (Then::Nothing, Ok(bytes)) => {
                tell(from, at_ns, Some(bytes.len() as u64), UNKNOWN, out);
            }
        }
    }

    fn gap(&mut self, from: Party, at_ns: u64, bytes: Option<u64>, out: &mut Out<'_>) {
        if self.http1.is_switched(from) {
            return self.pass(from, at_ns, Err(bytes), out);
        }
        self.http1.gap(from, at_ns, bytes, out);
        self.switch(out);
    }

    /// `is_closed`: its end was seen.
    fn end(&mut self, from: Party, at_ns: u64, is_closed: bool, out: &mut Out<'_>) {
        match is_closed {
            true => self.http1.end(from, at_ns, out),
            false => self.http1.stop(from, at_ns, out),
        }
        match &mut self.then {
            Then::Nothing => {}
            Then::Unknown(skipped) => skipped.get_mut(from).close(from, at_ns, out),
            Then::Other { decoder, base } => {
                let base = *base;
                let mut numbered = |item: Item<'_>| out(renumbered(item, base));
                match is_closed {
                    true => decoder.end(from, at_ns, &mut numbered),
                    false => decoder.stop(from, at_ns, &mut numbered),
                }
            }
        }
    }

    fn held(&self) -> usize {
        let then = match &self.then {
            Then::Other { decoder, .. } => size_of::<WebSocket>() + decoder.held(),
            _ => 0,
        };
        self.http1.held() + then
    }
}

fn renumbered(mut item: Item<'_>, base: u64) -> Item<'_> {
    match &mut item {
        Item::Request { id, .. }
        | Item::Response { id, .. }
        | Item::Body { id, .. }
        | Item::Gap { id, .. }
        | Item::Trailers { id, .. }
        | Item::End { id, .. }
        | Item::Upgraded { id, .. }
        | Item::WebSocket { id, .. } => *id = ExchangeId(id.0.saturating_add(base)),
        Item::Unrecognised { .. } => {}
    }
    item
}

/// For the fuzzer: bytes that say how they are cut ([`super::fuzz`]). Panics if what is told makes no sense.
pub fn fuzz_connection(data: &[u8]) {
    super::fuzz::run(data, |limits, from_start| {
        Box::new(Connection::new(limits, from_start))
    });
}

#[cfg(test)]
mod tests;
