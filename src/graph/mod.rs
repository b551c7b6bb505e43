//! Which words led to which deeds: the causal graph of a run, from what was said and what was done, in their order. No clock,
//! no kernel and no lookups: the same run gives the same graph. What it holds is bounded, and what is beyond the bounds is
//! counted.
//!
//! Every edge has a reason and says how sure it is. What only may have been the cause is [`Confidence::Likely`] at best; what
//! nothing speaks for has no edge. `docs/graph.md` tells the kinds of nodes and edges, and what cannot be known.

mod command;
mod deeds;
mod lineage;
mod node;
mod places;
mod results;
mod said;
mod servers;
mod store;
mod tools;
pub mod why;
mod written;

use std::collections::{HashMap, VecDeque};

use crate::deeds::deed::Deed;
use crate::dialog::{CallName, Said};
use crate::event::ProcessId;

pub use lineage::Cause;
pub use node::{Confidence, Edge, Kind, Node, Thing};
pub use store::{Graph, Link};

use lineage::Lineage;
use servers::Servers;
use tools::Tools;
use written::Written;

/// Calls of models that have not ended.
const CALLS_MAX: usize = 4096;
/// Deeds of one agent's processes that wait for the end of an answer.
const WAITING_MAX: usize = 256;
/// Agents.
const AGENTS_MAX: usize = 4096;

/// A call that has not ended.
struct Calling {
    agent: ProcessId,
    /// When the last piece of the arguments of a tool call came, by choice and part.
    heard: HashMap<(u64, u64), u64>,
}

/// Finds causes. A function of what it is shown, in that order.
#[derive(Default)]
pub struct Causes {
    lineage: Lineage,
    tools: Tools,
    servers: Servers,
    written: Written,
    calls: HashMap<CallName, Calling>,
    order: VecDeque<CallName>,
    /// How many calls of each agent have not ended.
    answering: HashMap<ProcessId, u32>,
    /// What processes of agents did while an answer was on its way: its end tells what for.
    waiting: HashMap<ProcessId, VecDeque<Deed>>,
    /// Edges that say no more than a deed does are told, too.
    tells_plain: bool,
    edges: u64,
}

/// How much is held: for tests, and for the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Tool calls.
    pub tools: usize,
    /// Bytes of what went through pipes.
    pub piped: usize,
    /// Processes for which there was no room.
    pub lost_processes: u64,
    /// Edges that were told.
    pub edges: u64,
}

impl Causes {
    /// Tells edges that say no more than a deed does, too: a [`Graph`] needs them.
    pub fn for_graph() -> Self {
        Self {
            tells_plain: true,
            ..Self::default()
        }
    }

    /// A process that was there before anything was seen of it, and who made it.
    pub fn introduce(&mut self, process: ProcessId, parent: ProcessId) {
        // Whoever loses its parent gets another one, which made nothing.
        if self.lineage.parent(process).is_none() {
            self.lineage.descend(process, parent);
        }
    }

    /// A process has ended, and nothing more comes of it. Its children go on.
    pub fn forget(&mut self, process: ProcessId) {
        self.servers.forget(process);
        self.tools.forget(process);
        self.waiting.remove(&process);
        self.lineage.end(process);
    }

    /// Takes something that was said. What follows from it goes to `out`.
    pub fn hear(&mut self, said: &Said, out: &mut Vec<Edge>) {
        let before = out.len();
        self.take_said(said, out);
        self.edges += (out.len() - before) as u64;
    }

    /// Takes something that was done. What follows from it goes to `out`.
    pub fn see(&mut self, deed: &Deed, out: &mut Vec<Edge>) {
        let before = out.len();
        self.take_deed(deed, out);
        self.edges += (out.len() - before) as u64;
    }

    /// The tool call that a process is begun for, as far as is known now, and how sure that is.
    pub fn cause_of(&mut self, process: ProcessId) -> Option<(Node, Confidence)> {
        let cause = self.lineage.standing(process).any_cause()?;
        let tool = self.tools.get(cause.tool)?;
        Some((tool.node.clone(), cause.confidence))
    }

    /// Whether a process, or one that it descends from, asks models.
    pub fn is_of_agent(&mut self, process: ProcessId) -> bool {
        let standing = self.lineage.standing(process);
        standing.agent.is_some() || standing.any_cause().is_some()
    }

    /// How much is held.
    pub fn held(&self) -> Held {
        let (tools, piped) = self.tools.held();
        Held {
            tools,
            piped,
            lost_processes: self.lineage.lost,
            edges: self.edges,
        }
    }

    fn is_answering(&self, agent: ProcessId) -> bool {
        self.answering.contains_key(&agent)
    }

    /// Keeps a deed until the answer that is on its way has ended.
    fn put_off(&mut self, agent: ProcessId, deed: &Deed) {
        if !self.is_answering(agent) {
            return;
        }
        if !self.waiting.contains_key(&agent) && self.waiting.len() >= AGENTS_MAX {
            return;
        }
        let waiting = self.waiting.entry(agent).or_default();
        if waiting.len() < WAITING_MAX {
            waiting.push_back(deed.clone());
        }
    }
}
