//! Where a function begins and which instructions belong to it, with and without unwind tables.
//!
//! An entry is believed only if decoding from it reaches the place in question. What cannot be placed
//! is refused with the reason; a place in the middle of a function is never given as its entry.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::insn::{Decoder, Flow, Insn};
use super::unwind::{CodeRange, UnwindTable};
use super::xref::{EdgeKind, Edges};
use super::{Image, VirtAddr};

/// How far before an instruction its function may begin, without unwind tables.
const REACH_BACK: u64 = 0x3000;
/// How far a function may stretch, without unwind tables.
const REACH_AHEAD: u64 = 0x1_0000;
/// Most instructions of one function.
const INSNS_MAX: usize = 16_384;
/// A part of a function leads to another part, to another … to the function.
const PARTS_MAX: usize = 3;
/// Most parts of one function that stand apart from it.
const PARTS_OF_ONE_MAX: usize = 16;
/// Most jumps into a part that are looked at.
const SOURCES_MAX: usize = 64;
/// Most steps in one file: instructions that are read and jumps that are looked at. Of all programs measured, OpenSSL
/// with -O3 takes the most, 1.1 million; the largest browser takes 131,000.
const STEPS_MAX: usize = 1 << 23;
/// Score from which an address is believed to be an entry.
const SCORE_MIN: usize = 5;
/// What must stand before such an address at least: see [`EntryProof::Called`].
const BOUNDARY_MIN: usize = 2;
/// Linkers align functions to this where they align them at all.
const ALIGNMENT: u64 = 16;

/// Why we think a function begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryProof {
    /// An unwind table entry begins there.
    Unwind,
    /// It is called, and what stands before looks like the end of another function.
    Called {
        /// Direct calls of it.
        calls: usize,
        /// 0 nothing, 1 a jump or call, 2 a return, nops, one trap, or a jump or call right
        /// before a prologue, 3 a run of traps as padding.
        boundary: usize,
    },
    /// Aligned, after padding that no code runs into.
    Padding,
}

impl EntryProof {
    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::Unwind => "an unwind table entry begins there".into(),
            Self::Called { calls, boundary } => {
                let before = match boundary {
                    3 => "padding of traps",
                    2 => "the end of other code",
                    1 => "a jump or call",
                    _ => "other code",
                };
                format!("{calls} direct calls, {before} before it")
            }
            Self::Padding => "aligned, after padding".into(),
        }
    }
}

/// The first instruction of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub addr: VirtAddr,
    /// Why.
    pub proof: EntryProof,
}

/// The instructions of one function, as far as jumps lead.
#[derive(Clone, Debug)]
pub struct Body {
    /// First instruction.
    pub entry: VirtAddr,
    /// All that was reached, by address.
    pub insns: BTreeMap<VirtAddr, Insn>,
    /// Jumps that leave the function: instruction and target.
    pub tails: Vec<(VirtAddr, VirtAddr)>,
    /// Something on the way did not decode, or was too much.
    pub broken: Option<VirtAddr>,
}

impl Body {
    /// Whether this very instruction was reached.
    pub fn contains(&self, addr: VirtAddr) -> bool {
        self.insns.contains_key(&addr)
    }

    /// Direct calls, those at the end (jumps to another function) included: instruction and target.
    pub fn calls(&self) -> impl Iterator<Item = (VirtAddr, VirtAddr)> + '_ {
        let calls = self.insns.values().filter_map(|insn| match insn.flow {
            Flow::Call(target) => Some((insn.addr, target)),
            _ => None,
        });
        calls.chain(self.tails.iter().copied())
    }

    /// Bytes from the entry to the end of the last instruction behind it.
    pub fn size(&self) -> u64 {
        let last = self.insns.values().next_back();
        last.map_or(0, |last| last.end().0.saturating_sub(self.entry.0))
    }
}

/// The functions of one image, found on demand.
pub struct Functions<'a> {
    decoder: Decoder<'a>,
    unwind: Option<UnwindTable<'a>>,
    edges: Edges,
    /// Steps that may still be taken.
    steps: Cell<usize>,
}

impl<'a> Functions<'a> {
    /// `edges` must hold all that lead into the part of the code that will be asked about.
    pub fn new(image: &Image<'a>, decoder: Decoder<'a>, edges: Edges) -> Self {
        Self {
            decoder,
            unwind: UnwindTable::new(image),
            edges,
            steps: Cell::new(STEPS_MAX),
        }
    }

    /// Takes steps; false if there are not so many left. From then on no function is told any more.
    pub fn spend(&self, steps: usize) -> bool {
        let left = self.steps.get().checked_sub(steps);
        self.steps.set(left.unwrap_or(0));
        left.is_some()
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder<'a> {
        &self.decoder
    }

    /// Direct calls and jumps.
    pub fn edges(&self) -> &Edges {
        &self.edges
    }

    /// The function that `addr` belongs to.
    ///
    /// # Errors
    /// It cannot be told; the reason in words.
    pub fn entry_of(&self, addr: VirtAddr) -> Result<Entry, String> {
        let entry = self.entry_of_part(addr, PARTS_MAX);
        if self.steps.get() == 0 {
            return Err(format!("{addr}: gave up after {STEPS_MAX} steps"));
        }
        entry
    }

    fn entry_of_part(&self, addr: VirtAddr, parts: usize) -> Result<Entry, String> {
        let unwind = self.unwind.as_ref();
        match unwind.and_then(|unwind| unwind.covering(addr)) {
            Some(range) => self.entry_by_unwind(range, addr, parts),
            None => self.entry_by_calls(addr),
        }
    }

    fn entry_by_unwind(
        &self,
        range: CodeRange,
        addr: VirtAddr,
        parts: usize,
    ) -> Result<Entry, String> {
        if self.is_apart(range) {
            let Some(parts) = parts.checked_sub(1) else {
                return Err(format!("{addr}: parts of functions lead in a circle"));
            };
            return self.entry_of_jumpers(range, addr, parts);
        }
        let entry = Entry {
            addr: range.start,
            proof: EntryProof::Unwind,
        };
        if self.body(range.start).contains(addr) {
            Ok(entry)
        } else {
            Err(format!(
                "{addr} is not reached by decoding from {}, where its unwind entry begins",
                range.start
            ))
        }
    }

    /// A cold part of a function: never called, jumped into from elsewhere.
    fn is_apart(&self, range: CodeRange) -> bool {
        let unwind = self.unwind.as_ref();
        let into = self.edges.within(range.start, range.end);
        if !self.spend(into.len()) {
            return false;
        }
        let outside = |from: VirtAddr| from < range.start || range.end <= from;
        let is_called = into
            .iter()
            .any(|edge| edge.target == range.start && edge.kind == EdgeKind::Call);
        if is_called {
            return false;
        }
        if self.runs_with_frame(range) {
            return true;
        }
        // A tail call jumps to the first instruction, and mostly without a condition. A part that stands
        // apart jumps back into the middle of its function.
        let mut jumps = into.iter().filter(|edge| outside(edge.from));
        jumps.any(|edge| {
            // Two looks into the table for unwinding.
            self.spend(8);
            let is_odd = edge.target != range.start || edge.kind == EdgeKind::Branch;
            let source = unwind.and_then(|unwind| unwind.covering(edge.from));
            let is_function = |source: &CodeRange| !self.runs_with_frame(*source);
            is_odd
                && source
                    .filter(is_function)
                    .is_some_and(|source| self.is_instruction(source, edge.from))
        })
    }

    /// Whether an instruction begins at `addr`, read in one go from where the code around it begins: what
    /// looks like a jump may be a part of something else.
    fn is_instruction(&self, range: CodeRange, addr: VirtAddr) -> bool {
        let mut at = range.start;
        for _ in 0..INSNS_MAX {
            if at >= addr || !self.spend(1) {
                break;
            }
            match self.decoder.decode(at) {
                Some(insn) => at = insn.end(),
                None => return false,
            }
        }
        at == addr
    }

    fn runs_with_frame(&self, range: CodeRange) -> bool {
        let frame_at_entry = if self.decoder.is_x86() { 8 } else { 0 };
        let unwind = self.unwind.as_ref();
        unwind.is_some_and(|unwind| unwind.has_frame(range.start, frame_at_entry))
    }

    /// All that jump into a part must belong to one function.
    fn entry_of_jumpers(
        &self,
        range: CodeRange,
        addr: VirtAddr,
        parts: usize,
    ) -> Result<Entry, String> {
        let into = self.edges.within(range.start, range.end);
        let sources = into
            .iter()
            .filter(|edge| edge.from < range.start || range.end <= edge.from)
            .take(SOURCES_MAX);
        let mut found: Option<Entry> = None;
        for edge in sources {
            // Bytes that only look like a jump are in nobody's reach.
            let Ok(entry) = self.entry_of_part(edge.from, parts) else {
                continue;
            };
            match found {
                Some(first) if first.addr != entry.addr => {
                    return Err(format!(
                        "{addr} is shared by the functions at {} and {}",
                        first.addr, entry.addr
                    ));
                }
                _ => found = Some(entry),
            }
        }
        found.ok_or_else(|| format!("{addr} is in a part of a function that nothing leads to"))
    }

    /// Without unwind tables: the nearest address before that looks like an entry and leads here.
    fn entry_by_calls(&self, addr: VirtAddr) -> Result<Entry, String> {
        let low = VirtAddr(addr.0.saturating_sub(REACH_BACK));
        let into = self.edges.within(low, VirtAddr(addr.0.saturating_add(1)));
        let mut last = None;
        for edge in into.iter().rev().take_while(|_| self.spend(1)) {
            if edge.kind != EdgeKind::Call || last == Some(edge.target) {
                continue;
            }
            last = Some(edge.target);
            let Some(entry) = self.called_entry(edge.target) else {
                continue;
            };
            if self.body(entry.addr).contains(addr) {
                return Ok(entry);
            }
        }
        self.entry_by_padding(addr, low).ok_or_else(|| {
            format!("{addr}: no function entry within {REACH_BACK:#x} bytes before leads there")
        })
    }

    fn called_entry(&self, addr: VirtAddr) -> Option<Entry> {
        let calls = self.calls(addr);
        let boundary = self.boundary(addr);
        let aligned = usize::from(addr.0.is_multiple_of(ALIGNMENT));
        let score = 2 * aligned + boundary + calls.min(4);
        (score >= SCORE_MIN && boundary >= BOUNDARY_MIN).then_some(Entry {
            addr,
            proof: EntryProof::Called { calls, boundary },
        })
    }

    fn calls(&self, addr: VirtAddr) -> usize {
        let into = self.edges.to(addr).iter();
        into.filter(|edge| self.spend(1) && edge.kind == EdgeKind::Call)
            .count()
    }

    fn entry_by_padding(&self, addr: VirtAddr, low: VirtAddr) -> Option<Entry> {
        let mut at = addr.0 & !(ALIGNMENT - 1);
        while at >= low.0 && at > 0 && self.spend(1) {
            let entry = VirtAddr(at);
            if self.boundary(entry) == 3 && self.body(entry).contains(addr) {
                return Some(Entry {
                    addr: entry,
                    proof: EntryProof::Padding,
                });
            }
            at -= ALIGNMENT;
        }
        None
    }

    /// What stands before an address: see [`EntryProof::Called`].
    fn boundary(&self, addr: VirtAddr) -> usize {
        let step = if self.decoder.is_x86() { 1 } else { 4 };
        let before = |bytes: u64| {
            let insn = self.decoder.decode(VirtAddr(addr.0.checked_sub(bytes)?))?;
            (insn.end() == addr).then_some(insn)
        };
        if !self.spend(15) {
            return 0;
        }
        let lengths = || (1..=15u64).filter(|bytes| bytes % step == 0);
        let begins = addr.0.is_multiple_of(ALIGNMENT) && self.decoder.is_prologue(addr);
        let mut best = 0;
        for insn in lengths().filter_map(before) {
            let score = match insn.flow {
                Flow::Stop if self.decoder.is_padding(addr) => 3,
                Flow::Stop if self.decoder.is_padding_trap(insn.addr) => 2,
                Flow::Return => 2,
                Flow::Next if self.decoder.is_filler(insn.addr) => 2,
                // A call that does not return may be the last thing in a function.
                Flow::Jump(_) | Flow::JumpIndirect | Flow::Call(_) => 1 + usize::from(begins),
                _ => 0,
            };
            best = best.max(score);
        }
        best
    }

    /// Follows all ways from `entry`. Parts that stand apart are included, other functions are not.
    pub fn body(&self, entry: VirtAddr) -> Body {
        self.body_in(self.bounds(entry), entry)
    }

    /// The same for a function whose extent is known, if it is, from elsewhere than an unwind table.
    pub fn body_in(&self, bounds: Option<CodeRange>, entry: VirtAddr) -> Body {
        let walk = Walk {
            functions: self,
            ranges: bounds.into_iter().collect(),
            body: Body {
                entry,
                insns: BTreeMap::new(),
                tails: Vec::new(),
                broken: None,
            },
            todo: vec![entry],
        };
        walk.run()
    }

    /// Where the function that begins at `entry` lies by the unwind table, without parts elsewhere.
    pub fn bounds(&self, entry: VirtAddr) -> Option<CodeRange> {
        let unwind = self.unwind.as_ref();
        let covering = unwind.and_then(|unwind| unwind.covering(entry));
        covering.filter(|range| range.start == entry)
    }

    /// The code with one entry in the unwind table around `addr`.
    pub fn around(&self, addr: VirtAddr) -> Option<CodeRange> {
        self.unwind.as_ref()?.covering(addr)
    }

    /// Whether calls in the function at `addr` may come back elsewhere, by an exception.
    pub fn has_landing_pads(&self, addr: VirtAddr) -> bool {
        let unwind = self.unwind.as_ref();
        unwind.is_some_and(|unwind| unwind.has_landing_pads(addr))
    }

    /// Whether a call that ends at `end` does not come back: traps follow, or, where no table says how far
    /// the function goes, padding and then what functions begin with.
    fn is_last_call(&self, end: VirtAddr, unbounded: bool) -> bool {
        let decoder = &self.decoder;
        if decoder.is_trap(end) {
            return true;
        }
        let mut at = end;
        while decoder.is_filler(at) && at.0 - end.0 < ALIGNMENT {
            let Some(insn) = decoder.decode(at) else {
                return false;
            };
            at = insn.end();
        }
        unbounded && at.0.is_multiple_of(ALIGNMENT) && decoder.is_prologue(at)
    }

    /// Whether `addr` begins another function, judged without unwind tables.
    fn is_strong_entry(&self, addr: VirtAddr) -> bool {
        addr.0.is_multiple_of(ALIGNMENT) && self.calls(addr) > 0 && self.boundary(addr) >= 2
    }
}

struct Walk<'f, 'a> {
    functions: &'f Functions<'a>,
    /// The function's own code by the unwind table, and its parts elsewhere; empty without a table.
    ranges: Vec<CodeRange>,
    body: Body,
    todo: Vec<VirtAddr>,
}

impl Walk<'_, '_> {
    fn run(mut self) -> Body {
        while let Some(start) = self.todo.pop() {
            if self.body.insns.len() >= INSNS_MAX {
                self.body.broken = Some(start);
                break;
            }
            self.straight_on(start);
        }
        self.body
    }

    fn straight_on(&mut self, start: VirtAddr) {
        let mut at = start;
        while !self.body.insns.contains_key(&at) && self.body.insns.len() < INSNS_MAX {
            let insn = self.functions.decoder.decode(at);
            let Some(insn) = insn.filter(|_| self.functions.spend(1)) else {
                self.body.broken.get_or_insert(at);
                return;
            };
            self.body.insns.insert(at, insn);
            match insn.flow {
                Flow::Next | Flow::CallIndirect => {}
                Flow::Call(_)
                    if self
                        .functions
                        .is_last_call(insn.end(), self.ranges.is_empty()) =>
                {
                    return;
                }
                Flow::Call(_) => {}
                Flow::Branch(target) => self.jump(insn.addr, target),
                Flow::Jump(target) => return self.jump(insn.addr, target),
                Flow::JumpIndirect | Flow::Return | Flow::Stop => return,
            }
            at = insn.end();
            if !self.is_inside(at) {
                return;
            }
        }
    }

    fn jump(&mut self, from: VirtAddr, target: VirtAddr) {
        if self.is_inside(target) || self.enter_part(target) {
            self.todo.push(target);
        } else {
            self.body.tails.push((from, target));
        }
    }

    fn is_inside(&self, addr: VirtAddr) -> bool {
        let entry = self.body.entry;
        if !self.ranges.is_empty() {
            let inside = |range: &CodeRange| range.start <= addr && addr < range.end;
            return self.ranges.iter().any(inside);
        }
        let unwind = self.functions.unwind.as_ref();
        let is_near = entry <= addr && addr.0 - entry.0 < REACH_AHEAD;
        let is_other = addr != entry
            && (self.functions.is_strong_entry(addr)
                || unwind.is_some_and(|unwind| unwind.begins(addr)));
        is_near && !is_other
    }

    /// A cold part belongs to the function from which one jumps there.
    fn enter_part(&mut self, addr: VirtAddr) -> bool {
        let unwind = self.functions.unwind.as_ref();
        let part = unwind.and_then(|unwind| unwind.covering(addr));
        let part = part.filter(|part| self.functions.is_apart(*part));
        if self.ranges.len() <= PARTS_OF_ONE_MAX && !self.ranges.is_empty() {
            self.ranges.extend(part);
        }
        part.is_some() && self.is_inside(addr)
    }
}
