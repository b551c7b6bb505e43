//! Calls over a WebSocket: a message that asks begins one, and what the server says then is its answer. Codex speaks so.

use super::call::Calling;
use super::conn::Teller;
use super::exchange::{Exchange, UNSEEN};
use super::said::{Lack, What, WsMessage};
use crate::proto::content::Piece;
use crate::proto::item::WebSocketKind;

impl Exchange {
    /// A message of the WebSocket that it became.
    pub fn web_socket(&mut self, message: WsMessage, at_ns: u64, teller: &mut Teller<'_>) {
        if message.is_incomplete && message.from != self.client {
            self.lose_message(None);
        }
        let is_text = message.kind == WebSocketKind::Text && !message.is_incomplete;
        let mut told = Vec::new();
        if is_text && message.from == self.client {
            self.ask_by_message(&message.bytes, at_ns, &mut told, teller);
        } else if is_text && let Some(calling) = &mut self.reader.calling {
            calling.take(&Piece::Line(&message.bytes), at_ns, &mut told);
        }
        teller.tell(at_ns, self, What::WebSocket(message));
        let calling = self.reader.calling.as_deref_mut();
        let has_ended = calling.is_some_and(|calling| {
            calling.settle(teller.shared);
            calling.is_final()
        });
        for what in told {
            teller.tell(at_ns, self, what);
        }
        if has_ended {
            self.end_call_of_messages(at_ns, teller);
        }
    }

    /// Something of the answer that comes over its WebSocket was lost.
    pub fn lose_message(&mut self, bytes: Option<u64>) {
        if let (true, Some(calling)) = (self.is_upgraded, &mut self.reader.calling) {
            calling.lack(Lack {
                of: "response",
                why: UNSEEN.to_owned(),
                at: 0,
                bytes,
            });
        }
    }

    /// A message that asks a model ends what was asked before.
    fn ask_by_message(
        &mut self,
        bytes: &[u8],
        at_ns: u64,
        told: &mut Vec<What>,
        teller: &mut Teller<'_>,
    ) {
        let (authority, target) = &self.place;
        let place = (authority.as_deref(), target.as_deref());
        let process = teller.origin.process;
        let calling = Calling::of_message(bytes, place, process, at_ns, teller.shared);
        let Some(calling) = calling else {
            return;
        };
        self.end_call_of_messages(at_ns, teller);
        told.push(What::Asked(Box::new(calling.asked(bytes.len() as u64))));
        self.reader.calling = Some(Box::new(calling));
    }

    /// No more of an answer comes.
    pub fn end_call_of_messages(&mut self, at_ns: u64, teller: &mut Teller<'_>) {
        if let Some(calling) = self.reader.calling.take()
            && let Some(report) = calling.report(None, Default::default(), at_ns, teller.shared)
        {
            let report = What::Call(Box::new(report));
            teller.say(at_ns, self.id, self.role(), true, report);
        }
    }
}
