//! Which processes have been told: each once, before its first connection where that is known in time, and those that
//! never speak not at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::event::ProcessId;
use crate::event::process::ProcessInfo;
use crate::stream::Message;

/// As many as the kernel side follows (`TRACKED_MAX`).
const PROCESSES_MAX: usize = 65536;

/// What is known of the processes of a run.
#[derive(Default)]
pub struct Processes {
    waiting: HashMap<ProcessId, Arc<ProcessInfo>>,
    speaking: HashSet<ProcessId>,
}

impl Processes {
    /// What is known of a process, now or anew: told at once if it has spoken, else when it does.
    pub fn learn(&mut self, info: &Arc<ProcessInfo>) -> Option<Message<'static>> {
        if self.speaking.contains(&info.process) {
            return Some(Message::Process(Arc::clone(info)));
        }
        if self.waiting.len() < PROCESSES_MAX {
            self.waiting.insert(info.process, Arc::clone(info));
        }
        None
    }

    /// Puts what is known of a process before its first connection.
    pub fn introduce(&mut self, messages: &mut Vec<Message<'_>>) {
        let opens = |message: &Message<'_>| matches!(message, Message::Open { .. });
        if !messages.iter().any(opens) {
            return;
        }
        let mut out = Vec::with_capacity(messages.len() + 1);
        for message in messages.drain(..) {
            if let Message::Open { origin, .. } = &message {
                if self.speaking.len() < PROCESSES_MAX {
                    self.speaking.insert(origin.process);
                }
                out.extend(self.waiting.remove(&origin.process).map(Message::Process));
            }
            out.push(message);
        }
        *messages = out;
    }

    /// What is known of a process that does something, if it was not told yet.
    pub fn introduce_to(&mut self, process: ProcessId) -> Option<Message<'static>> {
        if self.speaking.len() < PROCESSES_MAX {
            self.speaking.insert(process);
        }
        self.waiting.remove(&process).map(Message::Process)
    }

    /// It has ended.
    pub fn forget(&mut self, process: ProcessId) {
        self.waiting.remove(&process);
        self.speaking.remove(&process);
    }
}
