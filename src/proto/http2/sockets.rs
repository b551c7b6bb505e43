//! WebSockets on streams (RFC 8441): the DATA of a stream that asked for one, and was answered with 2xx, are its bytes.

use std::collections::BTreeMap;

use super::mux::Said;
use crate::proto::websocket::{Deflate, WebSocket};
use crate::proto::{Decoder, ExchangeId, Fields, Limits, Party, Side};

/// Of one connection at once; the DATA of more are told as bodies.
const SOCKETS_MAX: usize = 8;

/// The part of what a message may have on a connection of its own. Together they hold no more than twice as much as one.
const SHARE: usize = 4;

struct Socket {
    web_socket: Box<WebSocket>,
    client: Party,
    /// One of its halves has ended.
    is_half_over: bool,
}

/// Those that are open on a connection.
#[derive(Default)]
pub struct Sockets(BTreeMap<ExchangeId, Socket>);

impl Sockets {
    /// A WebSocket begins on this exchange, with what its response says.
    pub fn open(&mut self, id: ExchangeId, client: Party, answer: &Fields, limits: Limits) {
        if self.0.len() >= SOCKETS_MAX {
            return;
        }
        let limits = Limits {
            message: limits.message / SHARE,
            ..limits
        };
        let named = answer.0.iter();
        let named = named.filter(|field| field.name == "sec-websocket-extensions");
        let values = named.filter_map(|field| field.value.as_deref());
        let deflate = Deflate::agreed(&values.collect::<Vec<_>>().join(","));
        let socket = Socket {
            web_socket: Box::new(WebSocket::new(limits, id, client, deflate)),
            client,
            is_half_over: false,
        };
        self.0.insert(id, socket);
    }

    /// Takes bytes of this exchange; `false`: they are of no WebSocket.
    pub fn data(&mut self, id: ExchangeId, bytes: &[u8], said: &mut Said<'_, '_>) -> bool {
        let socket = self.0.get_mut(&id);
        if let Some(socket) = socket {
            let web_socket = &mut socket.web_socket;
            web_socket.data(said.from, said.at_ns, bytes, said.out);
            return true;
        }
        false
    }

    /// Bytes of this exchange were lost.
    pub fn gap(&mut self, id: ExchangeId, bytes: Option<u64>, said: &mut Said<'_, '_>) {
        if let Some(socket) = self.0.get_mut(&id) {
            let web_socket = &mut socket.web_socket;
            web_socket.gap(said.from, said.at_ns, bytes, said.out);
        }
    }

    /// Bytes of any exchange may have been lost.
    pub fn gap_in_all(&mut self, said: &mut Said<'_, '_>) {
        for socket in self.0.values_mut() {
            let web_socket = &mut socket.web_socket;
            web_socket.gap(said.from, said.at_ns, None, said.out);
        }
    }

    /// A half of this exchange ends.
    pub fn end(&mut self, id: ExchangeId, side: Side, said: &mut Said<'_, '_>) {
        let Some(socket) = self.0.get_mut(&id) else {
            return;
        };
        let from = match side {
            Side::Request => socket.client,
            Side::Response => socket.client.other(),
        };
        socket.web_socket.end(from, said.at_ns, said.out);
        if std::mem::replace(&mut socket.is_half_over, true) {
            self.0.remove(&id);
        }
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        let held = self.0.values().map(|socket| socket.web_socket.held());
        held.sum::<usize>() + self.0.len() * (size_of::<Socket>() + size_of::<WebSocket>())
    }
}
