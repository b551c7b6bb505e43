//! One connection: its decoder, and the exchanges that are open on it.

use std::collections::BTreeMap;

use super::exchange::Exchange;
use super::room::Share;
use super::said::{Role, Said, What, WsMessage};
use super::{Reading, Shared};
use crate::proto::connection::Connection;
use crate::proto::item::Version;
use crate::proto::{Decoder, ExchangeId, Item, Limits, Party, RequestHead};
use crate::stream::Origin;

/// Connections that hold less are not what takes the memory.
const HELD_MIN: usize = 64 << 10;

/// A connection.
pub struct Conn {
    /// `None`: it would hold too much.
    decoder: Option<Connection>,
    exchanges: Exchanges,
    share: Share,
}

impl Conn {
    /// `from_start`: nothing of it was missed.
    pub fn new(limits: Limits, from_start: bool) -> Self {
        Self {
            decoder: Some(Connection::new(limits, from_start)),
            exchanges: Exchanges::default(),
            share: Share::default(),
        }
    }

    /// Bytes have passed.
    pub fn data(
        &mut self,
        from: Party,
        bytes: &[u8],
        origin: &Origin,
        shared: &mut Shared,
        out: &mut Vec<Said>,
    ) {
        let mut teller = Teller::new(origin, shared, out);
        let Some(decoder) = &mut self.decoder else {
            return teller.unrecognised(bytes.len() as u64);
        };
        let exchanges = &mut self.exchanges;
        decoder.data(from, origin.ts_ns, bytes, &mut |item| {
            exchanges.take(item, &mut teller);
        });
        let held = decoder.held();
        if !self.share.set(held, &mut teller.shared.room) && held > HELD_MIN {
            self.share.set(0, &mut teller.shared.room);
            self.decoder = None;
            teller.why = "too much is held at once: the connection is not decoded any more";
            self.exchanges.give_up(&mut teller);
        }
    }

    /// Bytes are missing.
    pub fn gap(
        &mut self,
        from: Party,
        bytes: Option<u64>,
        origin: &Origin,
        shared: &mut Shared,
        out: &mut Vec<Said>,
    ) {
        let mut teller = Teller::new(origin, shared, out);
        let exchanges = &mut self.exchanges;
        exchanges.lose(from);
        if let Some(decoder) = &mut self.decoder {
            decoder.gap(from, origin.ts_ns, bytes, &mut |item| {
                exchanges.take(item, &mut teller);
            });
        }
    }

    /// One direction has ended.
    pub fn end(&mut self, from: Party, origin: &Origin, shared: &mut Shared, out: &mut Vec<Said>) {
        let mut teller = Teller::new(origin, shared, out);
        self.end_decoding(from, true, &mut teller);
    }

    /// `is_end`: the direction was closed, and is not only not followed any more.
    fn end_decoding(&mut self, from: Party, is_end: bool, teller: &mut Teller<'_>) {
        let (exchanges, at_ns) = (&mut self.exchanges, teller.origin.ts_ns);
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        let mut take = |item: Item<'_>| exchanges.take(item, teller);
        match is_end {
            true => decoder.end(from, at_ns, &mut take),
            false => decoder.stop(from, at_ns, &mut take),
        }
    }

    /// It is over; `why` is for what is open on it. `is_end`: it was closed, and is not only not followed any more.
    pub fn close(
        mut self,
        (why, is_end): (&'static str, bool),
        origin: &Origin,
        shared: &mut Shared,
        out: &mut Vec<Said>,
    ) {
        let mut teller = Teller::new(origin, shared, out);
        teller.why = why;
        for from in [Party::Local, Party::Peer] {
            self.end_decoding(from, is_end, &mut teller);
        }
        self.exchanges.give_up(&mut teller);
        self.share.set(0, &mut teller.shared.room);
    }

    /// Exchanges that have not ended.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.exchanges.open.len()
    }

    /// Whether its bytes are decoded.
    pub fn reading(&self) -> Reading {
        let decoder = self.decoder.as_ref();
        match decoder.map_or(Some(false), Connection::is_recognised) {
            Some(true) => Reading::Decoded,
            Some(false) => Reading::Opaque,
            None => Reading::Open,
        }
    }
}

/// Tells what was said, and with whose bytes.
pub struct Teller<'t> {
    /// Who speaks, when and where.
    pub origin: &'t Origin,
    /// What all connections share.
    pub shared: &'t mut Shared,
    out: &'t mut Vec<Said>,
    /// Why a half that is cut off does not go on.
    pub why: &'static str,
}

impl<'t> Teller<'t> {
    fn new(origin: &'t Origin, shared: &'t mut Shared, out: &'t mut Vec<Said>) -> Self {
        Self {
            origin,
            shared,
            out,
            why: "its direction of the connection ended",
        }
    }

    /// Tells one thing.
    pub fn tell(&mut self, at_ns: u64, exchange: &Exchange, what: What) {
        self.say(
            at_ns,
            exchange.id,
            exchange.role(),
            exchange.is_understood(),
            what,
        );
    }

    /// The same, of an exchange that is taken apart.
    pub fn say(
        &mut self,
        at_ns: u64,
        exchange: ExchangeId,
        role: Role,
        is_understood: bool,
        what: What,
    ) {
        let origin = Origin {
            ts_ns: at_ns,
            ..self.origin.clone()
        };
        self.out.push(Said {
            origin,
            exchange,
            role,
            is_understood,
            what,
        });
    }

    /// Bytes that belong to nothing that is told.
    pub fn unrecognised(&mut self, bytes: u64) {
        let unrecognised = &mut self.shared.counts.unrecognised;
        *unrecognised = unrecognised.saturating_add(bytes);
    }

    /// When the last bytes passed.
    pub fn now_ns(&self) -> u64 {
        self.origin.ts_ns
    }
}

/// Those of a connection that have not ended.
#[derive(Default)]
struct Exchanges {
    /// Boxed: a node of the tree has room for eleven, and mostly there is one.
    open: BTreeMap<ExchangeId, Box<Exchange>>,
    has_authority: bool,
}

impl Exchanges {
    fn take(&mut self, item: Item<'_>, teller: &mut Teller<'_>) {
        match item {
            Item::Request {
                id,
                from,
                head,
                at_ns,
            } => {
                self.tell_authority(&head, teller);
                let exchange = self.exchange(id, from);
                exchange.request_begins(head, at_ns, teller);
            }
            Item::Response {
                id,
                from,
                head,
                at_ns,
            } => {
                let exchange = self.exchange(id, from.other());
                exchange.response_begins(head, at_ns, teller);
            }
            Item::Body {
                id,
                side,
                bytes,
                at_ns,
            } => match self.open.get_mut(&id) {
                Some(exchange) => exchange.body(side, bytes, at_ns, teller),
                // Neither head of it was seen.
                None => teller.unrecognised(bytes.len() as u64),
            },
            Item::Gap {
                id,
                side,
                bytes,
                at_ns,
            } => self.with(id, |exchange| exchange.gap(side, bytes, at_ns, teller)),
            Item::Trailers {
                id, side, fields, ..
            } => self.with(id, |exchange| exchange.trailers(side, fields)),
            Item::End {
                id,
                side,
                outcome,
                at_ns,
            } => {
                self.with(id, |exchange| exchange.end(side, outcome, at_ns, teller));
                if self.open.get(&id).is_some_and(|open| open.is_over()) {
                    self.open.remove(&id);
                }
            }
            Item::Upgraded { id, .. } => self.with(id, Exchange::upgrade),
            Item::WebSocket {
                id,
                from,
                message,
                at_ns,
            } => self.with(id, |exchange| {
                let message = WsMessage {
                    from,
                    kind: message.kind,
                    bytes: message.bytes.to_vec(),
                    is_incomplete: message.missing.is_some(),
                };
                exchange.web_socket(message, at_ns, teller);
            }),
            Item::Unrecognised { bytes, .. } => {
                // On a connection that became a WebSocket, the exchange that it began with has the call.
                if let Some(exchange) = self.open.values_mut().next_back() {
                    exchange.lose_message(bytes);
                }
                teller.unrecognised(bytes.unwrap_or(0));
            }
        }
    }

    /// The field `Host` of HTTP/1 is read where connections are followed.
    fn tell_authority(&mut self, head: &RequestHead, teller: &mut Teller<'_>) {
        let Some(name) = &head.authority else {
            return;
        };
        if head.version == Version::Http2 && !std::mem::replace(&mut self.has_authority, true) {
            let told = (teller.origin.conn, name.clone());
            teller.shared.authorities.push(told);
        }
    }

    fn lose(&mut self, from: Party) {
        for exchange in self.open.values_mut() {
            exchange.lose(from);
        }
    }

    fn exchange(&mut self, id: ExchangeId, client: Party) -> &mut Exchange {
        let exchange = self.open.entry(id);
        exchange.or_insert_with(|| Box::new(Exchange::new(id, client)))
    }

    /// What is open stays as it is.
    fn give_up(&mut self, teller: &mut Teller<'_>) {
        for (_, exchange) in std::mem::take(&mut self.open) {
            exchange.give_up(teller);
        }
    }

    fn with(&mut self, id: ExchangeId, act: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.open.get_mut(&id) {
            act(exchange);
        }
    }
}
