//! Where a call's result may be read: sets of places of which each return passes exactly one, once, with
//! the result register final and nothing written or called behind it.

use std::collections::BTreeSet;

use super::Study;
use super::form;
use super::graph::{ENTRY, Exit, Graph, Node};
use super::state::{ARGUMENTS_WRITTEN, MEMORY_WRITTEN, RETURN_WRITTEN};
use crate::image::insn::Flow;

/// More returns than this are left to a return probe.
const RETURNS_MAX: usize = 16;
/// Most single places that are offered.
const SINGLES_MAX: usize = 4;

/// Sets of instructions; the last is that of all returns. Or the reason why there are none.
pub fn find(study: &Study<'_>) -> Result<Vec<BTreeSet<Node>>, String> {
    let graph = &study.graph;
    let exits: Vec<_> = graph.exits().collect();
    let tails = exits.iter().filter(|(_, exit)| *exit != Exit::Return);
    if let Some((tail, _)) = tails.clone().next() {
        return Err(format!(
            "{} of its ways out are jumps to other code, at {} for one: their ends are not its own",
            tails.count(),
            graph.addr(*tail)
        ));
    }
    if study.has_landing_pads {
        return Err("it handles exceptions, after which it may return elsewhere".into());
    }
    let returns: BTreeSet<Node> = exits.iter().map(|(node, _)| *node).collect();
    if returns.is_empty() || returns.len() > RETURNS_MAX {
        return Err(format!("it has {} returns", returns.len()));
    }
    let known: BTreeSet<Node> = (0..graph.nodes.len())
        .filter(|node| study.known_depth(*node).is_some() && study.form(*node).is_some())
        .collect();
    if let Some(odd) = returns.iter().find(|node| {
        let is_known = study.known_depth(**node) == Some(0) && study.form(**node).is_some();
        !is_known || graph.overlaps(**node)
    }) {
        return Err(format!(
            "the stack pointer at its return at {} is not known",
            graph.addr(*odd)
        ));
    }
    let search = Search {
        study,
        live: graph.before(returns.iter().copied(), true),
        last: last(study, &returns),
        known,
    };
    let mut sets = search.cheap(&returns);
    sets.push(returns);
    let mut seen = BTreeSet::new();
    sets.retain(|set| passes_once(graph, set) && seen.insert(set.clone()));
    if sets.is_empty() {
        return Err("its returns are in a loop".into());
    }
    Ok(sets)
}

/// Instructions with and behind which nothing changes but what a caller does not look at: neither the
/// result nor memory, and nothing is called. What never returns may do anything.
fn last(study: &Study<'_>, returns: &BTreeSet<Node>) -> Vec<bool> {
    let graph = &study.graph;
    let live = graph.before(returns.iter().copied(), true);
    let is_live = |node: Node| live.get(node).copied().unwrap_or(false);
    let changes = |(node, step): (Node, &super::graph::Step)| {
        let is_call = matches!(step.insn.flow, Flow::Call(_) | Flow::CallIndirect);
        let writes_result = step.touch.written & study.result != 0;
        let memory = MEMORY_WRITTEN | ARGUMENTS_WRITTEN | RETURN_WRITTEN;
        let stores = study.states.stores(graph, node) & memory != 0;
        (is_live(node) && (is_call || writes_result || stores)).then_some(node)
    };
    let mut last = live.clone();
    let mut todo: Vec<Node> = graph.nodes.iter().enumerate().filter_map(changes).collect();
    while let Some(node) = todo.pop() {
        let Some(mark) = last.get_mut(node) else {
            continue;
        };
        if std::mem::replace(mark, false) {
            todo.extend(graph.step(node).iter().flat_map(|step| &step.prev));
        }
    }
    last
}

struct Search<'s, 'a> {
    study: &'s Study<'a>,
    /// From where the function can still return.
    live: Vec<bool>,
    /// See [`last`].
    last: Vec<bool>,
    /// The stack pointer is known there, and a probe can stand there.
    known: BTreeSet<Node>,
}

impl Search<'_, '_> {
    /// Sets with the nearest cheap instructions before each return, where there are some; with the return
    /// itself where there are none.
    fn cheap(&self, returns: &BTreeSet<Node>) -> Vec<BTreeSet<Node>> {
        let mut mixed = BTreeSet::new();
        let mut all = true;
        for node in returns {
            match self.cover(*node) {
                Some(cover) => mixed.extend(cover),
                None => {
                    all = false;
                    mixed.insert(*node);
                }
            }
        }
        // Where ways to several returns share a cheap instruction, a mixture may be passed twice: the
        // caller checks.
        let singles = self.in_common(returns);
        let is_useful = all || mixed.iter().any(|node| !returns.contains(node));
        let mixed = is_useful.then_some(mixed);
        singles.into_iter().chain(mixed).collect()
    }

    /// Single instructions that all returns have in common.
    fn in_common(&self, returns: &BTreeSet<Node>) -> Vec<BTreeSet<Node>> {
        let common = self.study.graph.common_ways(returns.iter().copied());
        let fit = common.into_iter().filter(|node| self.is_cheap(*node));
        let sets = fit.map(|node| BTreeSet::from([node]));
        sets.take(SINGLES_MAX).collect()
    }

    fn is_cheap(&self, node: Node) -> bool {
        let form = self.study.form(node);
        self.is_fit(node)
            && form.is_some_and(|form| form::may_be_cheap(form, self.study.decoder.is_x86()))
    }

    fn is_fit(&self, node: Node) -> bool {
        node != ENTRY
            && self.last.get(node).copied().unwrap_or(false)
            && self.known.contains(&node)
            && !self.study.graph.overlaps(node)
    }

    /// The nearest cheap instructions on all ways that lead to `end`; `None`: some way has none.
    fn cover(&self, end: Node) -> Option<BTreeSet<Node>> {
        let mut cover = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![end];
        while let Some(node) = todo.pop() {
            if !seen.insert(node) {
                continue;
            }
            if self.is_cheap(node) {
                cover.insert(node);
                continue;
            }
            if node == ENTRY || !self.last.get(node).copied().unwrap_or(false) {
                return None;
            }
            let prev = self.study.graph.step(node).map(|step| &step.prev);
            let prev = prev.into_iter().flatten().copied();
            todo.extend(prev.filter(|prev| self.live.get(*prev).copied().unwrap_or(false)));
        }
        Some(cover)
    }
}

/// Whether each way from the entry to a return passes exactly one instruction of the set, once: all ways
/// are followed, with how often the set was passed on them.
fn passes_once(graph: &Graph, set: &BTreeSet<Node>) -> bool {
    const NONE: u8 = 1;
    const ONCE: u8 = 2;
    const MORE: u8 = 4;
    let mut passed = vec![0u8; graph.nodes.len()];
    if let Some(entry) = passed.get_mut(ENTRY) {
        *entry = NONE;
    }
    let mut todo = vec![ENTRY];
    while let Some(node) = todo.pop() {
        let before = passed.get(node).copied().unwrap_or(0);
        let after = match set.contains(&node) {
            false => before,
            true => (before << 1 | before & MORE) & (NONE | ONCE | MORE),
        };
        for next in graph.step(node).iter().flat_map(|step| &step.next) {
            if let Some(known) = passed.get_mut(*next)
                && *known | after != *known
            {
                *known |= after;
                todo.push(*next);
            }
        }
    }
    let returns = graph.exits().filter(|(_, exit)| *exit == Exit::Return);
    let mut ends = returns.map(|(node, _)| {
        let before = passed.get(node).copied().unwrap_or(0);
        match set.contains(&node) {
            true => before << 1 | before & MORE,
            false => before,
        }
    });
    ends.all(|passed| passed == ONCE || passed == 0)
}

/// In words, for each place of a set.
pub fn proof(study: &Study<'_>, set: &BTreeSet<Node>, depth: u16) -> Vec<String> {
    let result = study.names(study.result);
    let passed = match set.len() {
        1 => "each return passes it, once".to_owned(),
        places => format!("each return passes exactly one of {places} places, once"),
    };
    vec![
        passed,
        format!("{result} not written from here to the return, nothing called, no memory written"),
        match depth {
            0 => "stack pointer as at the first instruction".to_owned(),
            depth => format!("stack pointer {depth} bytes lower than at the first instruction"),
        },
    ]
}
