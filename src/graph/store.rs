//! The graph as plain data: each thing once, and what led to what.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::node::{Confidence, Edge, Kind, Node, Thing};

/// Things that are kept.
const NODES_MAX: usize = 1 << 17;
/// Edges that are kept.
const EDGES_MAX: usize = 1 << 19;

/// An edge between two nodes that the graph has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The cause.
    pub from: String,
    /// The effect.
    pub to: String,
    /// How.
    pub kind: Kind,
    /// How we know, in words.
    pub reason: String,
    /// How sure that is.
    pub confidence: Confidence,
    /// What proves it: `e17`, `k3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// When that was, on the boot clock in nanoseconds.
    pub ts_ns: u64,
}

/// All of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Things, in the order in which they came.
    pub nodes: Vec<Node>,
    /// What led to what, in the order in which it showed.
    pub edges: Vec<Link>,
    /// Edges for which there was no room, or for whose nodes.
    pub left_out: u64,
    #[serde(skip)]
    index: HashMap<String, usize>,
    /// What each event did something to, those included that were one edge with another.
    #[serde(skip)]
    events: HashMap<String, String>,
    #[serde(skip)]
    into: HashMap<String, Vec<usize>>,
    #[serde(skip)]
    out_of: HashMap<String, Vec<usize>>,
}

impl Graph {
    /// Keeps an edge, and its nodes.
    pub fn add(&mut self, edge: Edge) {
        let has_room = self.edges.len() < EDGES_MAX && self.nodes.len() + 2 <= NODES_MAX;
        if !has_room {
            self.left_out += 1;
            return;
        }
        let link = Link {
            from: edge.from.id.clone(),
            to: edge.to.id.clone(),
            kind: edge.kind,
            reason: edge.reason.to_owned(),
            confidence: edge.confidence,
            event: edge.event,
            ts_ns: edge.ts_ns,
        };
        if let Some(event) = &link.event
            && self.events.len() < EDGES_MAX
        {
            self.events.insert(event.clone(), link.to.clone());
        }
        self.meet(edge.from);
        self.meet(edge.to);
        // What is done again and again is one edge, at its first time.
        let known = self.into.get(&link.to).into_iter().flatten();
        let known = known.rev().take(8).find(|at| {
            let known = self.edges.get(**at);
            known.is_some_and(|known| {
                known.kind == link.kind && known.from == link.from && link.kind.is_plain()
            })
        });
        if known.is_some() {
            return;
        }
        let at = self.edges.len();
        self.into.entry(link.to.clone()).or_default().push(at);
        self.out_of.entry(link.from.clone()).or_default().push(at);
        self.edges.push(link);
    }

    fn meet(&mut self, node: Node) {
        let Some(known) = self
            .index
            .get(&node.id)
            .and_then(|at| self.nodes.get_mut(*at))
        else {
            self.index.insert(node.id.clone(), self.nodes.len());
            self.nodes.push(node);
            return;
        };
        // Names change: the last is what people know it by. What came first knew all of a program.
        match (&mut known.thing, node.thing) {
            (Thing::File { path }, Thing::File { path: Some(new) }) => *path = Some(new),
            (Thing::Process { comm, .. }, Thing::Process { comm: new, .. }) if !new.is_empty() => {
                *comm = new;
            }
            (Thing::Host { address, .. }, Thing::Host { address: new, .. }) => {
                *address = address.take().or(new);
            }
            _ => {}
        }
    }

    /// A thing by its name.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.get(*self.index.get(id)?)
    }

    /// What an event did something to.
    pub fn of_event(&self, event: &str) -> Option<&str> {
        self.events.get(event).map(String::as_str)
    }

    /// What led to a thing.
    pub fn causes(&self, id: &str) -> impl DoubleEndedIterator<Item = &Link> {
        let edges = self.into.get(id).into_iter().flatten();
        edges.filter_map(|at| self.edges.get(*at))
    }

    /// What a thing led to.
    pub fn effects(&self, id: &str) -> impl DoubleEndedIterator<Item = &Link> {
        let edges = self.out_of.get(id).into_iter().flatten();
        edges.filter_map(|at| self.edges.get(*at))
    }

    /// With every text that somebody else wrote as this leaves it, for masking.
    pub fn with_texts(mut self, change: &mut dyn FnMut(&mut String)) -> Self {
        self.nodes
            .iter_mut()
            .for_each(|node| node.each_text(change));
        for link in &mut self.edges {
            change(&mut link.from);
            change(&mut link.to);
        }
        self.indexed()
    }

    /// Finds its things again, once it was read from somewhere.
    pub fn indexed(mut self) -> Self {
        self.into.clear();
        self.out_of.clear();
        let nodes = self.nodes.iter().enumerate();
        self.index = nodes.map(|(at, node)| (node.id.clone(), at)).collect();
        for (at, link) in self.edges.iter().enumerate() {
            self.into.entry(link.to.clone()).or_default().push(at);
            self.out_of.entry(link.from.clone()).or_default().push(at);
        }
        self
    }
}
