//! What calls have to do with each other: threads of a conversation, and questions that are asked again because they failed.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use super::said::CallName;
use crate::event::ProcessId;
use crate::semantics::Response;
use crate::semantics::thread::{Place, Question as Asks, Threads};

/// Questions that are remembered; the oldest go first.
const QUESTIONS_MAX: usize = 1 << 14;

/// An attempt at a question that had failed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// The first call with this question.
    pub of: CallName,
    /// Which attempt this is, from 2.
    pub attempt: u64,
}

/// How the last attempt at a question stands.
#[derive(Clone, Copy)]
struct Question {
    first: CallName,
    attempts: u64,
    has_failed: bool,
}

type Key = (ProcessId, [u8; 32]);

/// All calls of a run.
#[derive(Default)]
pub struct History {
    threads: Threads<ProcessId>,
    questions: HashMap<Key, Question>,
    order: VecDeque<Key>,
}

impl History {
    /// A process asks.
    pub fn ask(
        &mut self,
        process: ProcessId,
        call: CallName,
        question: [u8; 32],
        asks: &Asks<'_>,
    ) -> (Option<Place>, Option<Retry>) {
        (
            self.threads.place(process, call.0, asks),
            self.attempt((process, question), call),
        )
    }

    /// It has been answered.
    pub fn answer(&mut self, process: ProcessId, call: CallName, response: &Response) {
        self.threads.answered(process, call.0, response);
    }

    /// How it went: what failed may be asked again.
    pub fn end(
        &mut self,
        process: ProcessId,
        call: CallName,
        question: [u8; 32],
        has_failed: bool,
    ) {
        self.threads.ended(call.0, has_failed);
        if let Some(known) = self.questions.get_mut(&(process, question)) {
            known.has_failed = has_failed;
        }
    }

    fn attempt(&mut self, key: Key, call: CallName) -> Option<Retry> {
        if let Some(known) = self.questions.get_mut(&key)
            && known.has_failed
        {
            known.attempts += 1;
            known.has_failed = false;
            return Some(Retry {
                of: known.first,
                attempt: known.attempts,
            });
        }
        let question = Question {
            first: call,
            attempts: 1,
            has_failed: false,
        };
        if self.questions.insert(key, question).is_none() {
            self.order.push_back(key);
        }
        while self.questions.len() > QUESTIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.questions.remove(&oldest);
        }
        None
    }
}
