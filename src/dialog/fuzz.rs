//! Feeds arbitrary bytes to the connections of a run, as fuzzers and the tests of hostile input do.

use std::collections::HashSet;
use std::sync::Arc;

use super::said::{Said, What};
use super::{CallName, Dialogs, Role};
use crate::event::{Comm, Direction, Function, ProcessId, SocketNames, Trust};
use crate::proto::ExchangeId;
use crate::semantics::price::Prices;
use crate::stream::{Cause, CloseReason, ConnName, Gap, Message, Origin, Payload};

/// Connections of a run.
const CONNS: u64 = 2;

/// Takes pieces, each with two bytes that say what it is, whose and how long, and checks that what is told makes sense. What
/// is held for bodies is given back when all connections have ended.
#[doc(hidden)]
pub fn fuzz_dialog(data: &[u8]) {
    let mut dialogs = Dialogs::default();
    // To read the built-in table takes longer than most inputs.
    dialogs.set_prices(Prices::default());
    let mut sense = Sense::default();
    let mut rest = data;
    let mut ts_ns = 0;
    while let [kind, len, behind @ ..] = rest {
        ts_ns += 1_000_000;
        let conn = u64::from(kind >> 5 & 1);
        // The upper bits make long pieces.
        let wanted = usize::from(*len) << (kind >> 6);
        let is_data = kind >> 1 & 15 > 4;
        let piece = behind.split_at_checked(if is_data { wanted } else { 0 });
        let (piece, behind) = piece.unwrap_or((behind, &[]));
        rest = behind;
        let message = message(*kind, *len, piece, origin(conn, ts_ns));
        sense.take(&mut dialogs, &message);
    }
    for conn in 0..CONNS {
        let close = close(origin(conn, ts_ns), CloseReason::Detached);
        sense.take(&mut dialogs, &close);
    }
    assert_eq!(
        dialogs.shared.room.left(),
        super::room::Room::default().left(),
        "something is still held"
    );
    assert!(dialogs.conns.is_empty());
}

/// One message of what `kind` says.
fn message(kind: u8, len: u8, bytes: &[u8], origin: Origin) -> Message<'_> {
    let direction = match kind & 1 {
        0 => Direction::Write,
        _ => Direction::Read,
    };
    match kind >> 1 & 15 {
        0 => Message::Open {
            origin,
            from_start: len & 1 == 0,
            socket: SocketNames::default(),
        },
        1 => Message::Gap {
            origin: Some(origin),
            gap: Gap {
                cause: Cause::RingFull,
                direction: Some(direction),
                offset: None,
                bytes: u64::from(len),
                records: 1,
            },
        },
        2 => Message::Shutdown(origin),
        3 => close(origin, CloseReason::Freed),
        4 => Message::Gap {
            origin: Some(origin),
            gap: Gap {
                cause: Cause::Unseen,
                direction: None,
                offset: None,
                bytes: 0,
                records: 1,
            },
        },
        _ => Message::Data {
            origin,
            payload: Payload {
                direction,
                seq: 0,
                offset: 0,
                call_len: bytes.len() as u64,
                early: false,
                goroutine: None,
                bytes: bytes.into(),
            },
        },
    }
}

fn close(origin: Origin, reason: CloseReason) -> Message<'static> {
    Message::Close {
        origin,
        reason,
        trust: Trust::default(),
        is_attributed: false,
        totals: [0; 2],
    }
}

fn origin(conn: u64, ts_ns: u64) -> Origin {
    let function = Function {
        library: String::from("openssl"),
        name: String::from("SSL_read"),
    };
    Origin {
        ts_ns,
        process: ProcessId {
            pid: 1,
            start_ns: 1,
        },
        tid: 1,
        comm: Comm([0; 16]),
        function: Arc::new(function),
        conn: ConnName(conn),
        fd: None,
    }
}

/// What must be true of all that is said.
#[derive(Default)]
struct Sense {
    /// How often each connection was closed: its exchanges are counted anew.
    closed: [u64; CONNS as usize],
    told: HashSet<(u64, u64, ExchangeId, &'static str)>,
    asked: HashSet<CallName>,
    ended: HashSet<CallName>,
    roles: HashSet<(u64, u64, ExchangeId, bool)>,
}

impl Sense {
    fn take(&mut self, dialogs: &mut Dialogs, message: &Message<'_>) {
        let mut out = Vec::new();
        dialogs.take(message, &mut out);
        for said in &out {
            self.check(said);
        }
        if let Message::Close { origin, .. } | Message::Open { origin, .. } = message {
            let index = usize::try_from(origin.conn.0).ok();
            if let Some(closed) = index.and_then(|index| self.closed.get_mut(index)) {
                *closed += 1;
            }
        }
    }

    /// Panics if it may not follow what was said before.
    fn check(&mut self, said: &Said) {
        let conn = said.origin.conn.0;
        let index = usize::try_from(conn).ok();
        let life = index.and_then(|index| self.closed.get(index)).copied();
        let life = life.unwrap_or_default();
        let is_client = said.role == Role::Client;
        self.roles.insert((conn, life, said.exchange, is_client));
        let other = (conn, life, said.exchange, !is_client);
        assert!(
            !self.roles.contains(&other),
            "{} asks itself",
            said.exchange
        );
        let mut once = |what| {
            let is_new = self.told.insert((conn, life, said.exchange, what));
            assert!(is_new, "{}: a {what} twice", said.exchange);
        };
        match &said.what {
            What::Request(_) => once("request"),
            What::Response(_) => once("response"),
            What::Asked(asked) => {
                assert!(self.asked.insert(asked.name), "{} asked twice", asked.name);
            }
            What::Call(report) => {
                assert!(
                    self.ended.insert(report.name),
                    "{} ended twice",
                    report.name
                );
            }
            What::Delta { call, .. } => {
                assert!(!self.ended.contains(call), "{call} goes on after its end");
            }
            What::Event(event) => assert!(event.number > 0),
            What::Mcp(_) | What::WebSocket(_) => {}
        }
    }
}
