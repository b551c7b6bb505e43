//! Who descends from whom: of which agent a process is, and which tool call it, or what made it, was begun for.

use std::collections::{HashMap, VecDeque};

use super::node::Confidence;
use crate::event::{Comm, ProcessId};

/// Processes that are remembered; those that ended longest ago go first.
const PROCESSES_MAX: usize = 65536;
/// Ancestors that are looked at.
const DEPTH_MAX: usize = 4096;

/// What a process is begun for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which tool call.
    pub tool: u64,
    /// How sure that is.
    pub confidence: Confidence,
    /// All that speaks for it is that a server worked for that tool call alone.
    pub is_of_server: bool,
}

impl Cause {
    /// Of a tool call, by what was done.
    pub fn new(tool: u64, confidence: Confidence) -> Self {
        Self {
            tool,
            confidence,
            is_of_server: false,
        }
    }
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it, or the nearest of its ancestors up to its agent, is begun for.
    pub cause: Option<Cause>,
    /// The nearest agent, the process itself included, if there is no cause before.
    pub agent: Option<ProcessId>,
    /// What that agent is begun for.
    pub outer: Option<Cause>,
    /// The nearest process before that speaks MCP through its standard descriptors.
    pub server: Option<ProcessId>,
}

impl Standing {
    /// What it is begun for, by whomever.
    pub fn any_cause(&self) -> Option<Cause> {
        self.cause.or(self.outer)
    }
}

/// A process.
#[derive(Clone, Debug, Default)]
pub struct Known {
    parent: Option<ProcessId>,
    cause: Option<Cause>,
    is_agent: bool,
    is_server: bool,
    has_ended: bool,
    cached: Option<(u64, Standing)>,
    /// Its name.
    pub comm: Comm,
    /// Where it runs, when it began its program.
    pub cwd: Option<Vec<u8>>,
    /// The last program that it began.
    pub exec: Option<u64>,
}

/// All processes.
#[derive(Default)]
pub struct Lineage {
    known: HashMap<ProcessId, Known>,
    ended: VecDeque<ProcessId>,
    /// Changes with each agent and each cause: what was known of standings may be wrong then.
    epoch: u64,
    /// Processes for which there was no room.
    pub lost: u64,
}

impl Lineage {
    /// A process, which may be new. `None`: there is no room.
    pub fn meet(&mut self, process: ProcessId) -> Option<&mut Known> {
        if !self.known.contains_key(&process) {
            self.make_room();
            if self.known.len() >= PROCESSES_MAX {
                self.lost += 1;
                return None;
            }
        }
        Some(self.known.entry(process).or_default())
    }

    /// A process, if it is known.
    pub fn get(&self, process: ProcessId) -> Option<&Known> {
        self.known.get(&process)
    }

    /// Who made a process.
    pub fn descend(&mut self, child: ProcessId, parent: ProcessId) {
        let of_parent = self
            .known
            .get(&parent)
            .map(|known| (known.cwd.clone(), known.comm));
        let Some(known) = self.meet(child).filter(|_| child != parent) else {
            return;
        };
        let is_news = known.parent != Some(parent);
        known.parent = Some(parent);
        if let Some((cwd, comm)) = of_parent
            && known.exec.is_none()
            && is_news
        {
            known.cwd = cwd;
            known.comm = comm;
        }
        known.cached = None;
    }

    /// Who made a process, if that is known.
    pub fn parent(&self, process: ProcessId) -> Option<ProcessId> {
        self.known.get(&process)?.parent
    }

    /// It asks models. Returns whether that is news.
    pub fn is_now_agent(&mut self, process: ProcessId) -> bool {
        let is_news = self.meet(process).is_some_and(|known| {
            let is_news = !known.is_agent;
            known.is_agent = true;
            is_news
        });
        self.epoch += u64::from(is_news);
        is_news
    }

    /// It speaks MCP through its standard descriptors.
    pub fn is_now_server(&mut self, process: ProcessId) {
        let is_news = self.meet(process).is_some_and(|known| {
            let is_news = !known.is_server;
            known.is_server = true;
            is_news
        });
        self.epoch += u64::from(is_news);
    }

    /// What it is begun for.
    pub fn explain(&mut self, process: ProcessId, cause: Cause) {
        if let Some(known) = self.meet(process) {
            known.cause = Some(cause);
            self.epoch += 1;
        }
    }

    /// It has ended; its children have not.
    pub fn end(&mut self, process: ProcessId) {
        if let Some(known) = self.known.get_mut(&process)
            && !std::mem::replace(&mut known.has_ended, true)
        {
            self.ended.push_back(process);
        }
        while self.ended.len() > PROCESSES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.ended.pop_front();
        oldest.is_some_and(|oldest| {
            self.known.remove(&oldest);
            true
        })
    }

    fn make_room(&mut self) {
        while self.known.len() >= PROCESSES_MAX && self.forget_oldest() {}
    }

    /// Where a process stands now.
    pub fn standing(&mut self, process: ProcessId) -> Standing {
        let mut found = Standing::default();
        let mut at = Some(process);
        for _ in 0..DEPTH_MAX {
            let Some(known) = at.and_then(|at| self.known.get(&at)) else {
                break;
            };
            if let Some((_, above)) = known.cached.filter(|(epoch, _)| *epoch == self.epoch) {
                found = match found.agent {
                    Some(_) => Standing {
                        outer: above.any_cause(),
                        ..found
                    },
                    None => Standing {
                        server: found.server.or(above.server),
                        ..above
                    },
                };
                break;
            }
            if found.agent.is_none() && known.is_agent {
                found.agent = at;
            }
            if found.agent.is_none() && known.is_server {
                found.server = found.server.or(at);
            }
            if known.cause.is_some() {
                match found.agent {
                    Some(_) => found.outer = known.cause,
                    None => found.cause = known.cause,
                }
                break;
            }
            at = known.parent;
        }
        let epoch = self.epoch;
        if let Some(known) = self.known.get_mut(&process) {
            known.cached = Some((epoch, found));
        }
        found
    }

    /// The nearest agent above a process.
    pub fn agent_above(&mut self, process: ProcessId) -> Option<ProcessId> {
        let mut at = self.parent(process)?;
        for _ in 0..DEPTH_MAX {
            let known = self.known.get(&at)?;
            if known.is_agent {
                return Some(at);
            }
            at = known.parent?;
        }
        None
    }
}
