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
    /// What they run was told when it began: nothing but a container is news.
    begun: HashSet<ProcessId>,
}

impl Processes {
    /// What is known of a process, now or anew: told at once if it has spoken, else when it does.
    pub fn learn(&mut self, info: &Arc<ProcessInfo>) -> Option<Message<'static>> {
        let is_news = info.container.is_some() || !self.begun.contains(&info.process);
        if self.speaking.contains(&info.process) && is_news {
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

    /// What is known of a process that does something, if it was not told yet. `begins`: it begins a program.
    pub fn introduce_to(&mut self, process: ProcessId, begins: bool) -> Option<Message<'static>> {
        if begins && self.begun.len() < PROCESSES_MAX {
            self.begun.insert(process);
        }
        if self.speaking.len() < PROCESSES_MAX {
            self.speaking.insert(process);
        }
        let info = self.waiting.get(&process)?;
        if info.container.is_none() && self.begun.contains(&process) {
            return None;
        }
        self.waiting.remove(&process).map(Message::Process)
    }

    /// It has ended.
    pub fn forget(&mut self, process: ProcessId) {
        self.waiting.remove(&process);
        self.speaking.remove(&process);
        self.begun.remove(&process);
    }
}
