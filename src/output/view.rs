//! What is printed of what was captured: the bytes, the exchanges, the calls, or all of it.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::dialog::{Dialogs, Reading, Said, What};
use crate::event::ProcessId;
use crate::semantics::price::Prices;
use crate::sink::View;
use crate::stream::{ConnName, Message, Payload};

/// Pieces of plaintext of one connection that wait until it is known what it speaks: that takes its first bytes.
const WAITING_MAX: usize = 16;

/// Connections of which some wait.
const CONNS_MAX: usize = 4096;

/// Chooses what is printed.
pub struct Viewer {
    view: View,
    dialogs: Dialogs,
    waiting: HashMap<ConnName, Vec<Message<'static>>>,
}

impl Viewer {
    /// Chooses what this view shows.
    pub fn new(view: View) -> Self {
        Self {
            view,
            dialogs: Dialogs::default(),
            waiting: HashMap::new(),
        }
    }

    /// Costs are by this table.
    pub fn set_prices(&mut self, prices: Prices) {
        self.dialogs.set_prices(prices);
    }

    /// All bytes are printed.
    pub fn shows_bytes(&self) -> bool {
        matches!(self.view, View::All | View::Raw)
    }

    /// What processes did is told beside what they said.
    pub fn shows_deeds(&self) -> bool {
        matches!(self.view, View::All | View::Llm | View::Tree)
    }

    /// What was said on all connections.
    pub fn dialogs(&self) -> &Dialogs {
        &self.dialogs
    }

    /// As [`Dialogs::take_authorities`] says.
    pub fn take_authorities(&mut self) -> Vec<(ConnName, String)> {
        self.dialogs.take_authorities()
    }

    /// What a message means: what is to be printed of it goes to `out`, in order.
    pub fn take<'b>(&mut self, message: Message<'b>, out: &mut Vec<Shown<'b>>) {
        if self.view == View::Raw {
            out.push(Shown::Bytes(message));
            return;
        }
        let mut said = Vec::new();
        let reading = self.dialogs.take(&message, &mut said);
        match (self.view, &message) {
            (View::Http | View::Llm | View::Tree, Message::Data { origin, .. }) => {
                let conn = origin.conn;
                self.sort(conn, message, reading, out);
            }
            (View::Http | View::Llm | View::Tree, Message::Close { origin, .. }) => {
                // Too little to tell what it was.
                let waiting = self.waiting.remove(&origin.conn).unwrap_or_default();
                out.extend(waiting.into_iter().map(Shown::Bytes));
                out.push(Shown::Bytes(message));
            }
            _ => out.push(Shown::Bytes(message)),
        }
        let view = self.view;
        let shown = said.into_iter().filter(|said| shows(view, said));
        out.extend(shown.map(|said| Shown::Said(Box::new(said))));
    }

    /// This process, or all of them (`None`), will say nothing more.
    pub fn finish(&mut self, process: Option<ProcessId>, out: &mut Vec<Shown<'_>>) {
        let mut said = Vec::new();
        self.dialogs.finish(process, &mut said);
        let shown = said.into_iter().filter(|said| shows(self.view, said));
        out.extend(shown.map(|said| Shown::Said(Box::new(said))));
    }

    /// Plaintext, if nothing better is told of its connection.
    fn sort<'b>(
        &mut self,
        conn: ConnName,
        message: Message<'b>,
        reading: Reading,
        out: &mut Vec<Shown<'b>>,
    ) {
        match reading {
            Reading::Decoded => {
                self.waiting.remove(&conn);
            }
            Reading::Opaque => {
                let waiting = self.waiting.remove(&conn).unwrap_or_default();
                out.extend(waiting.into_iter().map(Shown::Bytes));
                out.push(Shown::Bytes(message));
            }
            Reading::Open => {
                let has_room = self.waiting.len() < CONNS_MAX || self.waiting.contains_key(&conn);
                let waiting = match has_room {
                    true => self.waiting.entry(conn).or_default(),
                    false => return out.push(Shown::Bytes(message)),
                };
                if waiting.len() < WAITING_MAX {
                    waiting.extend(kept(message));
                } else {
                    out.push(Shown::Bytes(message));
                }
            }
        }
    }
}

/// Something to be printed.
pub enum Shown<'b> {
    /// Bytes and their connections.
    Bytes(Message<'b>),
    /// What they say.
    Said(Box<Said>),
}

fn shows(view: View, said: &Said) -> bool {
    let is_call = matches!(
        said.what,
        What::Asked(_) | What::Call(_) | What::Delta { .. } | What::Mcp(_)
    );
    match view {
        View::All => true,
        View::Http => !is_call,
        View::Llm | View::Tree => is_call || !said.is_understood,
        View::Raw => false,
    }
}

/// With bytes of its own.
fn kept(message: Message<'_>) -> Option<Message<'static>> {
    match message {
        Message::Data { origin, payload } => Some(Message::Data {
            origin,
            payload: Payload {
                bytes: Cow::Owned(payload.bytes.into_owned()),
                ..payload
            },
        }),
        _ => None,
    }
}
