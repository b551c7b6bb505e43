//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), behind the handshake: frames to messages. Fragments are joined,
//! control frames between them come out when they come.
//!
//! Texts are told as they are: whether they are UTF-8 is not looked at. Bytes that were lost inside a payload are counted on
//! its message. After any other loss frames are found again where several follow each other ([`trail`]): what lies between
//! is told as not recognised, and as one message without content. After a frame that may not be, all that follows in that
//! direction is not recognised.

mod deflate;
mod frame;
mod payload;
mod side;
#[cfg(test)]
mod tests;
mod trail;

pub use self::deflate::Deflate;
use self::deflate::Inflater;
use self::frame::Rules;
pub use self::payload::{Look, Part, Payloads};
use self::side::{Context, Frames};
use super::both::Both;
use super::{Decoder, ExchangeId, Limits, Out, Party};

/// Decodes both directions of a WebSocket.
pub struct WebSocket {
    id: ExchangeId,
    limits: Limits,
    sides: Both<Frames>,
}

impl WebSocket {
    /// For the WebSocket that exchange `id` asked for, with `client` as its client.
    pub fn new(limits: Limits, id: ExchangeId, client: Party, deflate: Option<Deflate>) -> Self {
        let mut sides = Both::new(|| Frames::new(client_rules(deflate), inflater(deflate, true)));
        *sides.get_mut(client.other()) = Frames::new(
            Rules {
                is_client: false,
                ..client_rules(deflate)
            },
            inflater(deflate, false),
        );
        Self { id, limits, sides }
    }

    fn context(&self, from: Party, at_ns: u64) -> Context {
        Context {
            id: self.id,
            from,
            at_ns,
            limits: self.limits,
        }
    }
}

fn client_rules(deflate: Option<Deflate>) -> Rules {
    Rules {
        is_client: true,
        may_compress: deflate.is_some(),
    }
}

fn inflater(deflate: Option<Deflate>, is_client: bool) -> Inflater {
    let deflate = deflate.unwrap_or_default();
    let forgets = match is_client {
        true => deflate.client_no_context_takeover,
        false => deflate.server_no_context_takeover,
    };
    Inflater::new(!forgets)
}

impl Decoder for WebSocket {
    fn data(&mut self, from: Party, at_ns: u64, bytes: &[u8], out: &mut Out<'_>) {
        let context = self.context(from, at_ns);
        self.sides.get_mut(from).data(&context, bytes, out);
    }

    fn gap(&mut self, from: Party, at_ns: u64, bytes: Option<u64>, out: &mut Out<'_>) {
        let context = self.context(from, at_ns);
        self.sides.get_mut(from).gap(&context, bytes, out);
    }

    fn end(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        let context = self.context(from, at_ns);
        self.sides.get_mut(from).end(&context, out);
    }

    fn held(&self) -> usize {
        let sides = [Party::Local, Party::Peer].map(|party| self.sides.get(party).held());
        sides.iter().sum()
    }
}

/// For the fuzzer: bytes that say how they are cut ([`super::fuzz`]). Panics if what is told makes no sense.
pub fn fuzz_websocket(data: &[u8]) {
    let options = data.first().copied().unwrap_or_default();
    let deflate = (options & 2 == 0).then_some(Deflate {
        server_no_context_takeover: options & 4 != 0,
        client_no_context_takeover: options & 8 != 0,
    });
    super::fuzz::run(data, |limits, _| {
        let id = ExchangeId(1);
        Box::new(WebSocket::new(limits, id, Party::Local, deflate))
    });
}
