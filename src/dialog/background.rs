//! Answers that are made in the background: a question is answered with a number, and the client asks under that number until
//! the answer is there, perhaps over other connections. Such a call is told once, when its answer has come, or when the
//! process or the run ends.
//!
//! An answer that was told is not told again when a client asks for it once more: its tokens would count twice.

use std::collections::{HashMap, VecDeque};

use super::call::Calling;
use crate::event::ProcessId;

/// Answers that are remembered; the oldest go first.
const KNOWN_MAX: usize = 1 << 14;
/// Calls that wait for their answers at once: what comes beyond is told without.
const WAITING_MAX: usize = 1 << 8;

/// How it stands with an answer.
enum State {
    /// It is being asked for.
    Asked,
    /// It was told.
    Told,
    /// Nobody asks for it right now.
    Waits(Box<Calling>),
}

/// What is known of an answer that a client asks for.
pub enum Known {
    /// It was told, or is just being asked for elsewhere.
    Elsewhere,
    /// Nothing.
    Nothing,
    /// The call that waits for it.
    Waits(Box<Calling>),
}

type Key = (ProcessId, [u8; 32]);

/// All answers of a run that can be asked for.
#[derive(Default)]
pub struct Background {
    known: HashMap<Key, State>,
    order: VecDeque<Key>,
    waiting: usize,
}

impl Background {
    /// What is known of the answer with this number, which a process asks for. A call that waits for it does so no more.
    pub fn ask(&mut self, process: ProcessId, id: &str) -> Known {
        let Some(state) = self.known.get_mut(&key(process, id)) else {
            return Known::Nothing;
        };
        if !matches!(state, State::Waits(_)) {
            return Known::Elsewhere;
        }
        match std::mem::replace(state, State::Asked) {
            State::Waits(calling) => {
                self.waiting = self.waiting.saturating_sub(1);
                Known::Waits(calling)
            }
            State::Asked | State::Told => Known::Elsewhere,
        }
    }

    /// A call asks for an answer of which nothing is known.
    pub fn asked(&mut self, process: ProcessId, id: &str) {
        self.set(process, id, State::Asked);
    }

    /// The answer is not there yet. Gives the call back if too many wait.
    pub fn wait(
        &mut self,
        process: ProcessId,
        id: &str,
        calling: Box<Calling>,
    ) -> Result<(), Box<Calling>> {
        if self.waiting >= WAITING_MAX {
            return Err(calling);
        }
        self.set(process, id, State::Waits(calling));
        self.waiting += 1;
        Ok(())
    }

    /// The answer has been told.
    pub fn told(&mut self, process: ProcessId, id: &str) {
        self.set(process, id, State::Told);
    }

    /// The answer could not be had: the client may ask again.
    pub fn forget(&mut self, process: ProcessId, id: &str) {
        self.known.remove(&key(process, id));
    }

    /// This process, or any, asks no more: the calls that wait.
    pub fn leave(&mut self, process: Option<ProcessId>) -> Vec<Calling> {
        let mut left = Vec::new();
        if self.waiting == 0 {
            return left;
        }
        for ((of, _), state) in &mut self.known {
            if matches!(state, State::Waits(_))
                && process.is_none_or(|process| process == *of)
                && let State::Waits(calling) = std::mem::replace(state, State::Told)
            {
                left.push(*calling);
            }
        }
        self.waiting = self.waiting.saturating_sub(left.len());
        left.sort_by_key(|calling| calling.name());
        left
    }

    fn set(&mut self, process: ProcessId, id: &str, state: State) {
        let key = key(process, id);
        if self.known.insert(key, state).is_none() {
            self.order.push_back(key);
        }
        while self.known.len() > KNOWN_MAX || self.order.len() > 2 * KNOWN_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            match self.known.get(&oldest) {
                // There are not so many of them that none could go.
                Some(State::Waits(_)) => self.order.push_back(oldest),
                _ => {
                    self.known.remove(&oldest);
                }
            }
        }
    }
}

fn key(process: ProcessId, id: &str) -> Key {
    (process, *blake3::hash(id.as_bytes()).as_bytes())
}
