//! The control flow of one function, instruction by instruction: who follows whom, where it is left,
//! and which instructions all ways out have in common.

use std::collections::BTreeMap;

use crate::image::VirtAddr;
use crate::image::function::Body;
use crate::image::insn::{Decoder, Flow, Insn, Target, Touch};

/// An instruction by its place in [`Graph::nodes`]; the entry is [`ENTRY`].
pub type Node = usize;

/// The function's first instruction.
pub const ENTRY: Node = 0;

/// Functions that move data have a few hundred instructions; questions about larger ones take too long.
const NODES_MAX: usize = 2048;
/// How far before an indirect jump its target is looked for, instructions.
const TARGET_REACH: usize = 32;
/// Bytes of a pointer.
const POINTER: u8 = 8;

/// How a function is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A return instruction.
    Return,
    /// A direct jump out of it.
    Tail,
    /// An indirect jump, into it or out of it.
    Indirect,
}

/// One instruction and what follows.
#[derive(Debug)]
pub struct Step {
    /// As decoded.
    pub insn: Insn,
    /// What it changes.
    pub touch: Touch,
    /// Where control may go.
    pub next: Vec<Node>,
    /// Where control may come from.
    pub prev: Vec<Node>,
    /// It may be the function's last one.
    pub exit: Option<Exit>,
}

/// A function's instructions.
#[derive(Debug)]
pub struct Graph {
    /// The first is the entry, all others follow by address.
    pub nodes: Vec<Step>,
    by_addr: BTreeMap<VirtAddr, Node>,
}

impl Graph {
    /// The error says why the function's ways are not all known.
    pub fn new(decoder: &Decoder<'_>, body: &Body) -> Result<Self, String> {
        if let Some(at) = body.broken {
            return Err(format!("at {at} is no code that can be read"));
        }
        if body.insns.len() > NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} instructions"));
        }
        let entry = body
            .insns
            .get(&body.entry)
            .ok_or("its first instruction cannot be read")?;
        let others = body.insns.values().filter(|insn| insn.addr != entry.addr);
        let mut nodes = Vec::with_capacity(body.insns.len());
        for insn in [entry].into_iter().chain(others) {
            let touch = decoder.touch(insn.addr);
            nodes.push(Step {
                insn: *insn,
                touch: touch.ok_or_else(|| format!("nothing is known of {}", insn.addr))?,
                next: Vec::new(),
                prev: Vec::new(),
                exit: None,
            });
        }
        let places = nodes.iter().enumerate();
        let mut graph = Self {
            by_addr: places.map(|(n, step)| (step.insn.addr, n)).collect(),
            nodes,
        };
        graph.connect()?;
        Ok(graph)
    }

    fn connect(&mut self) -> Result<(), String> {
        let by_addr = &self.by_addr;
        let mut edges = Vec::new();
        for (n, step) in self.nodes.iter_mut().enumerate() {
            let insn = &step.insn;
            let after = by_addr.get(&insn.end()).copied();
            let (target, goes_on) = match insn.flow {
                Flow::Next => (None, true),
                // What is not read behind a call is never reached: the call does not return.
                Flow::Call(_) | Flow::CallIndirect => (None, after.is_some()),
                Flow::Branch(target) => (Some(target), true),
                Flow::Jump(target) => (Some(target), false),
                Flow::JumpIndirect | Flow::Return | Flow::Stop => (None, false),
            };
            step.exit = match insn.flow {
                Flow::Return => Some(Exit::Return),
                Flow::JumpIndirect => Some(Exit::Indirect),
                _ => None,
            };
            if let Some(target) = target {
                match by_addr.get(&target) {
                    Some(target) => edges.push((n, *target)),
                    None => step.exit = Some(Exit::Tail),
                }
            }
            if goes_on {
                let after = after
                    .ok_or_else(|| format!("its code runs on at {}, beyond its end", insn.end()))?;
                edges.push((n, after));
            }
        }
        for (from, to) in edges {
            if let Some(step) = self.nodes.get_mut(from) {
                step.next.push(to);
            }
            if let Some(step) = self.nodes.get_mut(to) {
                step.prev.push(from);
            }
        }
        Ok(())
    }

    /// One instruction. There is none behind the last.
    pub fn step(&self, node: Node) -> Option<&Step> {
        self.nodes.get(node)
    }

    /// Where it stands.
    pub fn addr(&self, node: Node) -> VirtAddr {
        self.step(node).map_or(VirtAddr(0), |step| step.insn.addr)
    }

    /// The instruction that begins at `addr`.
    pub fn at(&self, addr: VirtAddr) -> Option<Node> {
        self.by_addr.get(&addr).copied()
    }

    /// Whether `addr` lies inside of an instruction or at its start.
    pub fn covers(&self, addr: VirtAddr) -> bool {
        let before = self.by_addr.range(..=addr).next_back();
        before
            .and_then(|(_, node)| self.step(*node))
            .is_some_and(|step| addr < step.insn.end())
    }

    /// Whether another way of reading the same bytes has the instruction's first byte in its middle.
    pub fn overlaps(&self, node: Node) -> bool {
        let addr = self.addr(node);
        let low = VirtAddr(addr.0.saturating_sub(15));
        let mut before = self.by_addr.range(low..addr);
        before.any(|(_, other)| self.step(*other).is_some_and(|step| addr < step.insn.end()))
    }

    /// Whether an indirect jump goes where a pointer in an object says: another function, called last.
    /// Tables of places in the function itself are indexed.
    pub fn is_by_pointer(&self, node: Node) -> bool {
        let wanted = match self.step(node).map(|step| step.touch.target) {
            Some(Target::Pointer) => return true,
            Some(Target::Register(wanted)) => wanted,
            _ => return false,
        };
        let mut at = node;
        for _ in 0..TARGET_REACH {
            let Some([before]) = self.step(at).map(|step| step.prev.as_slice()) else {
                return false;
            };
            at = *before;
            let Some(step) = self.step(at) else {
                return false;
            };
            let is_call = matches!(step.insn.flow, Flow::Call(_) | Flow::CallIndirect);
            if is_call {
                return false;
            }
            if step.touch.written >> wanted.index() & 1 == 1 {
                let access = step.insn.access;
                return access.is_some_and(|access| {
                    !access.store && access.size == POINTER && access.register == Some(wanted)
                });
            }
        }
        false
    }

    /// All ways out.
    pub fn exits(&self) -> impl Iterator<Item = (Node, Exit)> + '_ {
        let exit = |(node, step): (Node, &Step)| Some((node, step.exit?));
        self.nodes.iter().enumerate().filter_map(exit)
    }

    /// What can be followed by one of `ends`, themselves included. Ways through the entry are left out:
    /// there, the function starts over.
    pub fn before(&self, ends: impl IntoIterator<Item = Node>, through_entry: bool) -> Vec<bool> {
        let mut seen = vec![false; self.nodes.len()];
        let mut todo: Vec<Node> = ends.into_iter().collect();
        while let Some(node) = todo.pop() {
            let Some(mark) = seen.get_mut(node) else {
                continue;
            };
            let known = std::mem::replace(mark, true);
            if known || (node == ENTRY && !through_entry) {
                continue;
            }
            todo.extend(self.step(node).iter().flat_map(|step| &step.prev));
        }
        seen
    }

    /// Whether control can come back to `node` without starting the function over.
    pub fn is_in_loop(&self, node: Node) -> bool {
        if node == ENTRY {
            return false;
        }
        let prev = self.step(node).map(|step| step.prev.clone());
        let before = self.before(prev.unwrap_or_default(), false);
        before.get(node).copied().unwrap_or(true)
    }

    /// For each instruction the nearest other one that all ways from the entry to it pass; the entry's own
    /// for the entry. Cooper, Harvey, Kennedy: "A Simple, Fast Dominance Algorithm" (2001).
    fn dominators(&self) -> Dominators {
        let order = self.postorder();
        let mut rank = vec![usize::MAX; self.nodes.len()];
        for (place, node) in order.iter().enumerate() {
            if let Some(rank) = rank.get_mut(*node) {
                *rank = place;
            }
        }
        let mut dominators = Dominators {
            nearest: vec![None; self.nodes.len()],
            rank,
        };
        dominators.set(ENTRY, Some(ENTRY));
        let mut changed = true;
        while changed {
            changed = false;
            for node in order.iter().rev().copied().filter(|node| *node != ENTRY) {
                let prev = self.step(node).map(|step| step.prev.as_slice());
                let prev = prev.unwrap_or_default().iter().copied();
                let nearest = dominators.common(prev);
                changed |= dominators.set(node, nearest);
            }
        }
        dominators
    }

    fn postorder(&self) -> Vec<Node> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut seen = vec![false; self.nodes.len()];
        let mut stack = vec![(ENTRY, 0)];
        if let Some(entry) = seen.get_mut(ENTRY) {
            *entry = true;
        }
        while let Some((node, child)) = stack.last_mut() {
            let next = self.step(*node).and_then(|step| step.next.get(*child));
            *child += 1;
            match next.copied() {
                None => {
                    order.push(*node);
                    stack.pop();
                }
                Some(next) => {
                    if let Some(mark) = seen.get_mut(next)
                        && !std::mem::replace(mark, true)
                    {
                        stack.push((next, 0));
                    }
                }
            }
        }
        order
    }

    /// The instructions that each way from the entry to any of `ends` passes, in the order of passing;
    /// the entry is the first.
    pub fn common_ways(&self, ends: impl IntoIterator<Item = Node>) -> Vec<Node> {
        let dominators = self.dominators();
        let mut chain = Vec::from_iter(dominators.common(ends));
        while let Some(node) = chain.last().copied().filter(|node| *node != ENTRY) {
            match dominators.of(node) {
                Some(next) if chain.len() <= self.nodes.len() => chain.push(next),
                _ => return vec![ENTRY],
            }
        }
        chain.reverse();
        if chain.is_empty() { vec![ENTRY] } else { chain }
    }
}

struct Dominators {
    nearest: Vec<Option<Node>>,
    /// Place in a postorder: the entry has the highest.
    rank: Vec<usize>,
}

impl Dominators {
    fn of(&self, node: Node) -> Option<Node> {
        self.nearest.get(node).copied().flatten()
    }

    /// Whether that is news.
    fn set(&mut self, node: Node, nearest: Option<Node>) -> bool {
        let Some(place) = self.nearest.get_mut(node) else {
            return false;
        };
        std::mem::replace(place, nearest) != nearest
    }

    /// The nearest instruction that all ways to all of `nodes` pass; those that no way leads to do not count.
    fn common(&self, nodes: impl IntoIterator<Item = Node>) -> Option<Node> {
        let mut reached = nodes.into_iter().filter(|node| self.of(*node).is_some());
        let first = reached.next()?;
        reached.try_fold(first, |common, node| self.common_of_two(common, node))
    }

    fn common_of_two(&self, first: Node, second: Node) -> Option<Node> {
        let (mut a, mut b) = (first, second);
        while a != b {
            if self.rank.get(a)? < self.rank.get(b)? {
                a = self.of(a)?;
            } else {
                b = self.of(b)?;
            }
        }
        Some(a)
    }
}
