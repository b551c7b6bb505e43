//! Which request a response answers. Without loss: the oldest one that is open, since responses come in the order of
//! their requests (RFC 9112 section 9.3.2).
//!
//! After a loss, or when the connection was joined late, a response may belong to a request that was not seen. It is then
//! paired only if one request alone is open, its response cannot have been among the lost bytes, and
//!
//! * no request can have been missed, or
//! * the client is known to wait for each response before it asks again, which it did at least once, and never asked twice
//!   at once, or
//! * the connection was joined late and nothing was lost since.
//!
//! What cannot be paired is given up. Position counts again as soon as both sides were idle: a request came when no other
//! was open and the last response was complete. A client that asked twice at once is never trusted again after a loss.
//!
//! A loss is told with the next bytes of its direction, which may be long after it: a request that comes while a response
//! seems to be under way says nothing about the client until that response goes on without a loss.

use std::collections::VecDeque;
use std::mem;

use crate::proto::ExchangeId;

/// What a request asks for, as far as the response's framing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Connect,
    Head,
    Other,
}

/// A request that waits for its final response.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: ExchangeId,
    pub(super) asked: Asked,
    /// The protocol that it wants to switch to; `connect` for a tunnel.
    pub(super) wants: Option<String>,
    /// Its response may have been among bytes that were lost.
    is_maybe_answered: bool,
}

impl Open {
    pub(super) fn new(id: ExchangeId, asked: Asked, wants: Option<String>) -> Self {
        Self {
            id,
            asked,
            wants,
            is_maybe_answered: false,
        }
    }
}

/// How requests may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missed {
    /// They were lost.
    Lost,
    /// They were sent before the connection was joined.
    Late,
    /// They were not.
    No,
}

/// How the client uses the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// It asked again before the answer.
    Pipelines,
    /// It asked again after the answer.
    TakesTurns,
    Unknown,
}

/// The open requests of a connection.
#[derive(Debug)]
pub(super) struct Pairing {
    open: VecDeque<Open>,
    /// So many of the oldest ones are surely answered next, in their order. `0 <= certain <= open.len()`.
    certain: usize,
    missed: Missed,
    /// A response to one of `open` may have been missed.
    is_answer_missed: bool,
    habit: Habit,
    /// It seemed to ask before the answer, since the last byte of a response; but that answer may be lost, and nobody has
    /// said so yet.
    seems_to_pipeline: bool,
    /// A response was completed since the last request, and nothing was lost since.
    is_turn: bool,
}

impl Pairing {
    pub(super) fn new(from_start: bool) -> Self {
        Self {
            open: VecDeque::new(),
            certain: 0,
            missed: if from_start { Missed::No } else { Missed::Late },
            is_answer_missed: false,
            habit: Habit::Unknown,
            seems_to_pipeline: false,
            is_turn: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn held(&self) -> usize {
        self.open.capacity() * size_of::<Open>()
    }

    /// Whether a response can come at all: some request is open, or may be.
    pub(super) fn expects(&self) -> bool {
        !self.open.is_empty() || self.missed != Missed::No
    }

    /// A request begins, while a response comes or not. Gives those whose response can no longer be told from others.
    pub(super) fn ask(&mut self, request: Open, is_answering: bool) -> Vec<Open> {
        let given_up = self.observe(is_answering);
        self.is_turn = false;
        self.open.push_back(request);
        given_up
    }

    fn observe(&mut self, is_answering: bool) -> Vec<Open> {
        if self.open.is_empty() && !is_answering {
            if self.is_turn && self.habit != Habit::Pipelines {
                self.habit = Habit::TakesTurns;
                self.missed = Missed::No;
                self.is_answer_missed = false;
            }
            return Vec::new();
        }
        let all_maybe_answered = self.open.iter().all(|open| open.is_maybe_answered);
        if is_answering || !all_maybe_answered {
            self.seems_to_pipeline = true;
        } else if self.habit == Habit::TakesTurns {
            // It has its answers, or would not ask.
            return self.give_up();
        }
        Vec::new()
    }

    /// A response begins: gives its request, if that is known, and those that can no longer be answered.
    pub(super) fn answer(&mut self) -> (Option<Open>, Vec<Open>) {
        let in_doubt = self.missed != Missed::No || self.is_answer_missed;
        if self.certain > 0 || !in_doubt {
            self.certain = self.certain.saturating_sub(1);
            let request = self.open.pop_front();
            if request.is_none() {
                // Nobody asked: what comes next may be off by one.
                self.missed = Missed::Lost;
            }
            return (request, Vec::new());
        }
        if self.open.len() == 1 && self.is_single_safe() {
            self.is_answer_missed = false;
            return (self.open.pop_front(), Vec::new());
        }
        (None, self.give_up())
    }

    fn is_single_safe(&self) -> bool {
        if self.open.iter().any(|open| open.is_maybe_answered) {
            // Its answer was lost, then the next request was, which nobody may have said yet: this is the answer to that.
            return false;
        }
        match (self.missed, self.habit) {
            (Missed::No, _) | (_, Habit::TakesTurns) => true,
            (Missed::Late, Habit::Unknown) => true,
            (Missed::Lost, Habit::Unknown) | (_, Habit::Pipelines) => false,
        }
    }

    /// The last response is complete.
    pub(super) fn complete(&mut self) {
        self.is_turn = true;
    }

    /// The next bytes of the response direction are here, and none were lost before them.
    pub(super) fn hear(&mut self) {
        if mem::take(&mut self.seems_to_pipeline) {
            self.habit = Habit::Pipelines;
        }
    }

    /// Bytes of the response direction were lost: what seemed to be under way may have been over.
    pub(super) fn doubt(&mut self) {
        self.seems_to_pipeline = false;
    }

    /// Requests may have been lost.
    pub(super) fn lose_requests(&mut self) {
        let in_doubt = self.missed != Missed::No || self.is_answer_missed;
        if !in_doubt {
            // These were asked before.
            self.certain = self.open.len();
        }
        self.missed = Missed::Lost;
        self.is_turn = false;
    }

    /// Responses may have been lost, or be among bytes that nobody understands.
    pub(super) fn lose_responses(&mut self) {
        self.certain = 0;
        self.is_turn = false;
        self.is_answer_missed |= !self.open.is_empty();
        // Those in front of one that is marked are marked too.
        let new = self.open.iter_mut().rev();
        for open in new.take_while(|open| !open.is_maybe_answered) {
            open.is_maybe_answered = true;
        }
    }

    /// Gives all that are open: their responses may still come, but are not theirs for sure.
    pub(super) fn give_up(&mut self) -> Vec<Open> {
        if !self.open.is_empty() {
            self.missed = Missed::Lost;
        }
        self.certain = 0;
        self.is_answer_missed = false;
        mem::take(&mut self.open).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(id: u64) -> Open {
        Open::new(ExchangeId(id), Asked::Other, None)
    }

    fn answered(pairing: &mut Pairing) -> Option<u64> {
        pairing.hear();
        let (request, _) = pairing.answer();
        pairing.complete();
        request.map(|request| request.id.0)
    }

    /// A pipelined response goes to the wrong request.
    #[test]
    fn order_counts_without_loss() {
        let mut pairing = Pairing::new(true);
        for id in 1..4 {
            assert!(pairing.ask(open(id), false).is_empty());
        }
        for id in 1..4 {
            assert_eq!(answered(&mut pairing), Some(id));
        }
    }

    /// The first call after attaching to a busy process has no answer.
    #[test]
    fn a_late_joiner_pairs_the_only_request() {
        let mut pairing = Pairing::new(false);
        pairing.ask(open(1), false);
        assert_eq!(answered(&mut pairing), Some(1));
        pairing.ask(open(2), false);
        pairing.ask(open(3), false);
        assert_eq!(answered(&mut pairing), Some(2));
        assert_eq!(answered(&mut pairing), Some(3));
    }

    /// A response to a request that was not seen is taken for that of the next one.
    #[test]
    fn a_late_joiner_of_a_pipeline_pairs_nothing() {
        let mut pairing = Pairing::new(false);
        pairing.ask(open(1), false);
        pairing.ask(open(2), false);
        for _ in 0..3 {
            assert_eq!(answered(&mut pairing), None);
        }
        pairing.ask(open(3), false);
        assert_eq!(answered(&mut pairing), None);
    }

    /// After lost requests, a response goes to the wrong one of those that follow.
    #[test]
    fn lost_requests_leave_what_was_asked_before() {
        let mut pairing = Pairing::new(true);
        pairing.ask(open(1), false);
        pairing.lose_requests();
        pairing.ask(open(2), false);
        assert_eq!(answered(&mut pairing), Some(1));
        assert_eq!(answered(&mut pairing), None, "may be that of a lost one");
        assert_eq!(answered(&mut pairing), None);
    }

    /// One lost request makes all later calls of the connection unreadable.
    #[test]
    fn turns_bring_trust_back() {
        let mut pairing = Pairing::new(true);
        pairing.lose_requests();
        pairing.ask(open(1), false);
        assert_eq!(answered(&mut pairing), None);
        pairing.ask(open(2), false);
        assert_eq!(answered(&mut pairing), Some(2));
        // By now it is known that this client waits.
        pairing.lose_requests();
        pairing.ask(open(3), false);
        assert_eq!(answered(&mut pairing), Some(3));
    }

    /// One loss makes a client that waits for its answers look like one that does not, for good.
    #[test]
    fn what_only_seems_so_is_not_held_against_the_client() {
        let mut pairing = Pairing::new(true);
        pairing.ask(open(1), false);
        pairing.hear();
        pairing.answer();
        // The end of this response and all of the next are lost, which is told with the one behind them.
        pairing.ask(open(2), true);
        pairing.ask(open(3), true);
        pairing.doubt();
        pairing.lose_responses();
        assert_eq!(answered(&mut pairing), None, "of 2 or of 3");
        pairing.ask(open(4), false);
        assert_eq!(answered(&mut pairing), Some(4));
    }

    /// A client that really asks twice at once is trusted after a loss.
    #[test]
    fn what_is_confirmed_stays() {
        let mut pairing = Pairing::new(true);
        pairing.ask(open(1), false);
        pairing.ask(open(2), false);
        assert_eq!(answered(&mut pairing), Some(1));
        pairing.doubt();
        pairing.lose_responses();
        assert_eq!(answered(&mut pairing), None);
        pairing.ask(open(3), false);
        assert_eq!(answered(&mut pairing), None);
    }

    /// After lost responses, one goes to the wrong request.
    #[test]
    fn lost_responses_leave_none() {
        let mut pairing = Pairing::new(true);
        pairing.ask(open(1), false);
        pairing.lose_responses();
        assert_eq!(answered(&mut pairing), None, "of a lost request, perhaps");

        let mut pairing = Pairing::new(true);
        pairing.ask(open(1), false);
        pairing.lose_responses();
        pairing.ask(open(2), false);
        let (request, given_up) = pairing.answer();
        assert!(request.is_none());
        assert_eq!(given_up.len(), 2);
    }
}
