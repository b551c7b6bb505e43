//! What holds before each instruction of a function, on all ways that lead there: where the stack
//! pointer is, and what has been changed since the entry. A fixed point over the graph.
//!
//! Of callees it is believed that they keep the stack pointer and what the calling convention says they
//! keep; of everything else that it is lost.

use super::graph::{ENTRY, Graph, Node, Step};
use crate::image::insn::{Decoder, Flow, REGISTERS, Store};

/// Something was called.
pub const CALLED: u64 = 1 << 32;
/// The place of the return address, at the entry's stack pointer, was written.
pub const RETURN_WRITTEN: u64 = 1 << 33;
/// Arguments on the stack, above it, were written.
pub const ARGUMENTS_WRITTEN: u64 = 1 << 34;
/// Memory other than the function's own frame was written, or may have been.
pub const MEMORY_WRITTEN: u64 = 1 << 35;
/// The function's own frame was written.
pub const FRAME_WRITTEN: u64 = 1 << 36;

/// The convention by which the function, and what it calls, is called.
#[derive(Clone, Copy, Debug)]
pub struct Convention {
    /// Registers that a call does not keep.
    pub lost: u32,
    /// Bytes of the return address on the stack.
    pub return_size: i64,
    /// The stack pointer's number.
    pub stack: usize,
}

impl Convention {
    /// Of C, or of Go, where a call keeps nothing but the stack pointer.
    pub fn new(decoder: &Decoder<'_>, is_go: bool) -> Self {
        let stack = decoder.stack_pointer().index();
        Self {
            lost: if is_go {
                !(1 << stack)
            } else {
                decoder.lost_in_calls()
            },
            return_size: if decoder.is_x86() { 8 } else { 0 },
            stack,
        }
    }
}

/// A register's distance from the entry's stack pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// None, or not always the same.
    #[default]
    Unknown,
    /// Bytes.
    At(i64),
}

/// What holds before an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    places: [Place; REGISTERS],
    /// Registers by number, and the flags of this module: what was changed on some way.
    pub changed: u64,
}

impl State {
    fn at_entry(convention: &Convention) -> Self {
        let mut places = [Place::Unknown; REGISTERS];
        if let Some(stack) = places.get_mut(convention.stack) {
            *stack = Place::At(0);
        }
        Self { places, changed: 0 }
    }

    /// Bytes that the stack pointer is below where it was at the entry.
    pub fn depth(&self, convention: &Convention) -> Option<i64> {
        match self.places.get(convention.stack) {
            Some(Place::At(offset)) => offset.checked_neg(),
            _ => None,
        }
    }

    /// What the instruction writes in memory.
    pub fn stores(&self, step: &Step, convention: &Convention) -> u64 {
        match step.touch.store {
            Store::None => 0,
            Store::Anywhere => MEMORY_WRITTEN | ARGUMENTS_WRITTEN | RETURN_WRITTEN,
            Store::At { base, offset, size } => {
                let Some(Place::At(place)) = self.places.get(base.index()) else {
                    return MEMORY_WRITTEN;
                };
                let Some(start) = place.checked_add(offset) else {
                    return MEMORY_WRITTEN;
                };
                let end = start.saturating_add(i64::from(size));
                let flag = |set: bool, flag: u64| if set { flag } else { 0 };
                flag(start < 0, FRAME_WRITTEN)
                    | flag(start < convention.return_size && end > 0, RETURN_WRITTEN)
                    | flag(end > convention.return_size, ARGUMENTS_WRITTEN)
            }
        }
    }

    fn after(&self, step: &Step, convention: &Convention) -> Self {
        let mut after = self.clone();
        let is_call = matches!(step.insn.flow, Flow::Call(_) | Flow::CallIndirect);
        let mut written = step.touch.written;
        after.changed |= self.stores(step, convention);
        if is_call {
            // The return address that it pushes is gone when it is back.
            written = (written & !(1 << convention.stack)) | convention.lost;
            after.changed |= CALLED | MEMORY_WRITTEN;
        }
        after.changed |= u64::from(written);
        for (number, place) in after.places.iter_mut().enumerate() {
            if written >> number & 1 == 1 {
                *place = Place::Unknown;
            }
        }
        if let Some(moved) = step.touch.moved.filter(|_| !is_call) {
            let from = self.places.get(moved.src.index()).copied();
            let to = match from {
                Some(Place::At(offset)) => offset.checked_add(moved.by).map(Place::At),
                _ => None,
            };
            if let Some(place) = after.places.get_mut(moved.dst.index()) {
                *place = to.unwrap_or_default();
            }
        }
        after
    }

    /// What holds if one of the two does.
    fn join(&mut self, other: &Self) -> bool {
        let mut changed = self.changed | other.changed != self.changed;
        self.changed |= other.changed;
        for (own, other) in self.places.iter_mut().zip(&other.places) {
            if own != other && *own != Place::Unknown {
                *own = Place::Unknown;
                changed = true;
            }
        }
        changed
    }
}

/// What holds before each instruction; `None` where no way leads.
#[derive(Debug)]
pub struct States {
    states: Vec<Option<State>>,
    convention: Convention,
}

impl States {
    /// The error says what cannot be.
    pub fn new(graph: &Graph, convention: Convention) -> Result<Self, String> {
        let mut states: Vec<Option<State>> = vec![None; graph.nodes.len()];
        if let Some(entry) = states.get_mut(ENTRY) {
            *entry = Some(State::at_entry(&convention));
        }
        let mut todo = vec![ENTRY];
        while let Some(node) = todo.pop() {
            let Some((step, Some(state))) = graph.step(node).zip(states.get(node)) else {
                continue;
            };
            let after = state.after(step, &convention);
            for next in step.next.iter().copied() {
                if next == ENTRY {
                    if after.depth(&convention) != Some(0) {
                        return Err("it starts over with another stack pointer".into());
                    }
                    continue;
                }
                let is_news = match states.get_mut(next) {
                    Some(Some(known)) => known.join(&after),
                    Some(unknown) => {
                        *unknown = Some(after.clone());
                        true
                    }
                    None => false,
                };
                if is_news {
                    todo.push(next);
                }
            }
        }
        let states = Self { states, convention };
        states.check_returns(graph)?;
        Ok(states)
    }

    /// A function that returns with another stack pointer than it came with is not what we take it for.
    fn check_returns(&self, graph: &Graph) -> Result<(), String> {
        let mut returns = graph
            .exits()
            .filter(|(_, exit)| *exit == super::graph::Exit::Return);
        match returns.find(|(node, _)| self.depth(*node).is_some_and(|depth| depth != 0)) {
            Some((node, _)) => Err(format!(
                "it returns at {} with another stack pointer than it came with",
                graph.addr(node)
            )),
            None => Ok(()),
        }
    }

    /// Before the instruction.
    pub fn before(&self, node: Node) -> Option<&State> {
        self.states.get(node)?.as_ref()
    }

    /// Bytes that the stack pointer is below where it was at the entry, before the instruction.
    pub fn depth(&self, node: Node) -> Option<i64> {
        self.before(node)?.depth(&self.convention)
    }

    /// What was changed before the instruction on some way.
    pub fn changed(&self, node: Node) -> u64 {
        self.before(node).map_or(u64::MAX, |state| state.changed)
    }

    /// What the instruction itself writes in memory.
    pub fn stores(&self, graph: &Graph, node: Node) -> u64 {
        let state = self.before(node).zip(graph.step(node));
        state.map_or(u64::MAX, |(state, step)| {
            state.stores(step, &self.convention)
        })
    }
}
