//! Byte streams to messages: HTTP/1.1, HTTP/2, WebSocket, and what their bodies hold. Sans-IO and incremental: bytes come
//! in pieces of any size, and every way to cut them gives the same messages.
//!
//! What comes from the network is hostile: nothing here panics, and what is held is bounded ([`Limits`]). Bytes that are
//! lost are told as such ([`Item::Gap`]), and never made up. Decoders know nothing of events, processes or clocks: the time
//! of a piece of bytes is handed through.

mod both;
pub mod coding;
pub mod connection;
pub mod content;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod cuts;
pub mod eventstream;
pub mod fuzz;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod item;
pub mod json_array;
pub mod lines;
mod skipped;
pub mod sse;
pub mod websocket;

pub use connection::Connection;
pub use item::{ExchangeId, Fault, Field, Fields, Item, Outcome, RequestHead, ResponseHead, Side};

/// Who sent bytes: the observed process, or whom it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// The observed process wrote them.
    Local,
    /// It read them.
    Peer,
}

impl Party {
    /// The one at the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Local => Self::Peer,
            Self::Peer => Self::Local,
        }
    }
}

/// Takes what a decoder says, at once.
pub type Out<'o> = dyn FnMut(Item<'_>) + 'o;

/// Decodes both directions of one connection.
pub trait Decoder: Send {
    /// The next bytes of one direction. `at_ns` is when they passed, on any clock.
    fn data(&mut self, from: Party, at_ns: u64, bytes: &[u8], out: &mut Out<'_>);

    /// Bytes of one direction that were lost; `None`: nobody knows how many.
    fn gap(&mut self, from: Party, at_ns: u64, bytes: Option<u64>, out: &mut Out<'_>);

    /// One direction has ended: what is open there ends now.
    fn end(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>);

    /// One direction is not followed any more, though it may go on: what is open there is cut off.
    fn stop(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        self.end(from, at_ns, out);
    }

    /// Bytes of memory that it holds, for what the connection's length or content decides.
    fn held(&self) -> usize;
}

/// How much a decoder holds. Beyond, it gives up on the message and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a head with all its fields, in bytes. Servers accept 8 to 64 KiB; HTTP/2 counts 32 more for each field.
    pub head: usize,
    /// Fields in a head.
    pub fields: usize,
    /// Streams of an HTTP/2 connection, and pipelined requests of an HTTP/1 one, that are open at once.
    pub exchanges: usize,
    /// Of a WebSocket message or an event of a stream, in bytes.
    pub message: usize,
    /// Bytes that content decoding may make of a body.
    pub decoded: u64,
    /// How many times larger than its coded form a body may become, beyond the first MiB: deflate reaches 1032.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 256 << 10,
            fields: 512,
            exchanges: 4096,
            message: 32 << 20,
            decoded: 256 << 20,
            ratio: 1200,
        }
    }
}
