//! Connections to conversations: gives the bytes of each connection to its decoders, pairs requests with responses, and
//! tells the calls of models among them. Pairing is by connection and stream, never by time.
//!
//! No clock and no output: the same messages give the same sayings. What it holds is bounded; what is beyond the bounds is
//! told as missing.

mod background;
mod body;
mod call;
mod conn;
mod exchange;
pub mod fuzz;
mod guess;
mod history;
mod mcp;
mod pace;
mod reader;
mod room;
pub mod said;
mod web_socket;

use std::collections::HashMap;

use crate::event::{Direction, ProcessId};
use crate::proto::{Limits, Party};
use crate::semantics::price::Prices;
use crate::stream::{CloseReason, ConnName, Message, Origin};

use background::Background;
use conn::Conn;
use history::History;
use room::Room;

#[doc(hidden)]
pub use guess::fuzz_guess;
pub use history::Retry;
pub use said::{Asked, CallName, CallReport, HttpRequest, HttpResponse, Role, Said, What};

/// Whether a piece of plaintext is part of something that is told in a better way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It is decoded.
    Decoded,
    /// Too little of its connection is known to tell.
    Open,
    /// Its connection speaks nothing that is decoded here.
    Opaque,
}

/// What all connections share.
#[derive(Default)]
struct Shared {
    limits: Limits,
    /// Calls so far.
    calls: u64,
    room: Room,
    counts: Counts,
    history: History,
    background: Background,
    sessions: mcp::Sessions,
    /// Servers' names that the first requests of connections told.
    authorities: Vec<(ConnName, String)>,
    /// Loaded with the first call.
    prices: Option<Prices>,
}

impl Shared {
    fn prices(&mut self) -> &Prices {
        self.prices
            .get_or_insert_with(|| Prices::load().unwrap_or_default())
    }
}

/// Counts for the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were seen.
    pub requests: u64,
    /// Of these, and of responses, those that have no other half.
    pub unpaired: u64,
    /// Calls of models.
    pub calls: u64,
    /// Messages of MCP.
    pub mcp: u64,
    /// Halves of exchanges of which something is missing or was not understood.
    pub incomplete: u64,
    /// Bytes on recognised connections that belong to no message.
    pub unrecognised: u64,
}

/// Follows the connections of a run.
#[derive(Default)]
pub struct Dialogs {
    conns: HashMap<ConnName, Conn>,
    shared: Shared,
}

impl Dialogs {
    /// Costs are by this table.
    pub fn set_prices(&mut self, prices: Prices) {
        self.shared.prices = Some(prices);
    }

    /// Servers' names that HTTP/2 told (`:authority`) since this was asked: that of the first request of a connection.
    pub fn take_authorities(&mut self) -> Vec<(ConnName, String)> {
        std::mem::take(&mut self.shared.authorities)
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts
    }

    /// Takes one message, and tells at the end of `out` what was said with it.
    pub fn take(&mut self, message: &Message<'_>, out: &mut Vec<Said>) -> Reading {
        match message {
            Message::Open {
                origin, from_start, ..
            } => {
                let conn = Conn::new(self.shared.limits, *from_start);
                if let Some(before) = self.conns.insert(origin.conn, conn) {
                    before.close(end_of(CloseReason::Reused), origin, &mut self.shared, out);
                }
                Reading::Decoded
            }
            Message::Data { origin, payload } => {
                let (conn, shared) = self.conn(origin);
                let from = party(payload.direction);
                conn.data(from, &payload.bytes, origin, shared, out);
                conn.reading()
            }
            Message::Gap {
                origin: Some(origin),
                gap,
            } => {
                if let Some(direction) = gap.direction {
                    let bytes = (gap.bytes > 0).then_some(gap.bytes);
                    let (conn, shared) = self.conn(origin);
                    conn.gap(party(direction), bytes, origin, shared, out);
                }
                Reading::Decoded
            }
            Message::Shutdown(origin) => {
                let (conn, shared) = self.conn(origin);
                conn.end(Party::Local, origin, shared, out);
                Reading::Decoded
            }
            Message::Close { origin, reason, .. } => {
                if let Some(conn) = self.conns.remove(&origin.conn) {
                    conn.close(end_of(*reason), origin, &mut self.shared, out);
                }
                Reading::Decoded
            }
            Message::Endpoint { .. }
            | Message::Gap { origin: None, .. }
            | Message::Missed(_)
            | Message::Process(_) => Reading::Decoded,
        }
    }

    /// This process, or all of them (`None`), will say nothing more: tells what still waits for that.
    pub fn finish(&mut self, process: Option<ProcessId>, out: &mut Vec<Said>) {
        for calling in self.shared.background.leave(process) {
            out.extend(calling.said_unfetched(&mut self.shared));
        }
    }

    fn conn(&mut self, origin: &Origin) -> (&mut Conn, &mut Shared) {
        let limits = self.shared.limits;
        let conn = self.conns.entry(origin.conn);
        let conn = conn.or_insert_with(|| Conn::new(limits, false));
        (conn, &mut self.shared)
    }
}

fn party(direction: Direction) -> Party {
    match direction {
        Direction::Read => Party::Peer,
        Direction::Write => Party::Local,
    }
}

/// Why what is open on a connection does not go on, and whether that is the connection's own end.
fn end_of(reason: CloseReason) -> (&'static str, bool) {
    match reason {
        CloseReason::Detached => ("it went on when observing ended", false),
        CloseReason::Evicted => (
            "too many connections: this one is not followed any more",
            false,
        ),
        CloseReason::Exited => ("the process ended", false),
        CloseReason::Freed | CloseReason::Reused => ("the connection was closed", true),
    }
}

#[cfg(test)]
mod tests;
