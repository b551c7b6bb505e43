//! What happens when bytes were lost or make no sense: what is open ends, and a head is looked for.

use super::body::Loss;
use super::half::Phase;
use super::head::{self, Head, Taken};
use super::{Http1, LOST, end, framing};
use crate::proto::item::Version;
use crate::proto::{Decoder, Fault, Item, Out, Outcome, Party, Side};

impl Http1 {
    /// Looks for a head among bytes that nobody understands.
    pub(super) fn search(
        &mut self,
        from: Party,
        at_ns: u64,
        rest: &[u8],
        is_start: bool,
        fault: Fault,
        out: &mut Out<'_>,
    ) -> usize {
        let half = self.halves.get_mut(from);
        let before = half.head.len();
        let (used, skipped) = if before > 0 || is_start || half.is_boundary {
            match half.head.take(rest, &self.limits) {
                Taken::More => return rest.len(),
                Taken::Not => (0, half.head.clear()),
                Taken::TooLong { used, len } => (used, len),
                Taken::Head { parsed, used, len } => {
                    if let Ok(head) = parsed
                        && self.is_plausible(from, &head)
                    {
                        let half = self.halves.get_mut(from);
                        half.skipped.close(from, at_ns, out);
                        self.begin(from, at_ns, head, out);
                        return used;
                    }
                    (used, len)
                }
            }
        } else {
            (0, 0)
        };
        // A response may be among what is passed over now; what was held before begins none.
        if self.client == Some(from.other()) && (used > 0 || skipped == 0) {
            self.pairing.lose_responses();
        }
        let half = self.halves.get_mut(from);
        // What begins with the same byte was tried, unless it was tried as the middle of something.
        half.is_boundary = used > 0 || skipped > 0;
        half.skipped.skip(from, at_ns, skipped, fault, out);
        if half.is_boundary {
            return used;
        }
        let end = head::end_of_head(rest, 0);
        half.is_boundary = end.is_some();
        let used = end.unwrap_or(rest.len());
        half.skipped.skip(from, at_ns, used, fault, out);
        used
    }

    /// Whether what looks like a head is one. Where no response is owed, none can be.
    pub(super) fn is_plausible(&self, from: Party, head: &Head) -> bool {
        let is_sound = match head {
            Head::Request(head) => {
                head.version == Version::Http10 || head.fields.get("host").is_some()
            }
            Head::Response(head) => {
                let is_expected = self.interim.is_some() || self.pairing.expects();
                is_expected && framing::is_explicit(head)
            }
        };
        is_sound && self.fits(from, head)
    }

    /// Nobody knows any more where messages begin in this direction.
    pub(super) fn lose(&mut self, from: Party, at_ns: u64, fault: Fault, out: &mut Out<'_>) {
        if self.client != Some(from) {
            if let Some(answer) = self.interim.take() {
                let outcome = Outcome::Broken(fault);
                out(end(answer.id, Side::Response, outcome, at_ns));
                self.release(from.other(), at_ns, answer.id, out);
            }
            self.pairing.lose_responses();
        }
        if self.client != Some(from.other()) {
            self.pairing.lose_requests();
        }
        let half = self.halves.get_mut(from);
        half.phase = Phase::Lost(fault);
        half.is_boundary = false;
    }

    pub(super) fn lose_in_body(
        &mut self,
        from: Party,
        at_ns: u64,
        bytes: Option<u64>,
        out: &mut Out<'_>,
    ) {
        let Phase::Body(message) = &mut self.halves.get_mut(from).phase else {
            return;
        };
        let (id, side) = (message.id, message.side);
        let loss = message.body.lose(bytes);
        let own = match loss {
            Loss::Behind { own, .. } => Some(own),
            Loss::Inside | Loss::Unclear => bytes,
        };
        out(Item::Gap {
            id,
            side,
            bytes: own,
            at_ns,
        });
        match loss {
            Loss::Inside => {}
            Loss::Unclear => {
                self.end_message(from, at_ns, id, side, Outcome::Broken(LOST), out);
            }
            Loss::Behind { behind, .. } => {
                self.end_message(from, at_ns, id, side, Outcome::Complete, out);
                if behind > 0 {
                    self.gap(from, at_ns, Some(behind), out);
                }
            }
        }
    }

    /// Requests that nobody will answer any more.
    pub(super) fn end_open(&mut self, at_ns: u64, out: &mut Out<'_>) {
        let interim = self.interim.take().map(|answer| answer.id);
        let given_up = self.pairing.give_up();
        let open = given_up.iter().map(|request| request.id);
        for id in interim.into_iter().chain(open).collect::<Vec<_>>() {
            out(end(id, Side::Response, Outcome::CutOff, at_ns));
            if let Some(client) = self.client {
                self.release(client, at_ns, id, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
