//! Jumps from other code to the middle of a function: a call that comes that way skips what stands before.
//! Looked for in the code around the function and around where it jumps to: compilers and linkers put
//! parts of one function that far, and nobody else jumps there.

use std::collections::BTreeSet;

use super::Study;
use super::graph::{ENTRY, Exit, Node};
use crate::image::function::Functions;
use crate::image::insn::{Decoder, Flow};
use crate::image::unwind::CodeRange;
use crate::image::xref::{Edge, EdgeKind, Edges, Pages};
use crate::image::{Image, VirtAddr};

/// How far around.
pub const REACH: u64 = 64 << 10;
/// How far a jump with a distance of one byte leads.
const SHORT_REACH: u64 = 128;
/// Longest instruction of x86.
const INSN_MAX: u64 = 15;
/// Most jumps into one function that are looked at closer; further ones are believed.
const LOOKS_MAX: usize = 64;
/// Bytes of code with one entry in the unwind table that are read through.
const RANGE_MAX: u64 = 64 << 10;

/// The addresses behind the first instruction up to the last one that a probe may go to.
pub struct Region {
    pub start: VirtAddr,
    pub end: VirtAddr,
}

impl Region {
    fn contains(&self, addr: VirtAddr) -> bool {
        self.start <= addr && addr <= self.end
    }
}

/// Direct jumps and calls into all regions.
pub fn edges(image: &Image<'_>, decoder: &Decoder<'_>, studies: &[(&Study<'_>, Region)]) -> Edges {
    let mut windows = Vec::new();
    for (study, region) in studies {
        let tails = study.graph.exits().filter_map(|(node, exit)| {
            let step = study.graph.step(node)?;
            match (exit, step.insn.flow) {
                (Exit::Tail, Flow::Jump(target) | Flow::Branch(target)) => Some(target),
                _ => None,
            }
        });
        let places = tails.chain([region.start, region.end]);
        windows.extend(
            places.map(|addr| (addr.0.saturating_sub(REACH), addr.0.saturating_add(REACH))),
        );
    }
    let windows = merged(windows);
    let regions = studies
        .iter()
        .map(|(_, region)| (region.start.0, region.end.0.saturating_add(1)));
    let pages = Pages::covering(image, regions);
    Edges::from_windows(image, decoder, &pages, &windows)
}

fn merged(mut windows: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    windows.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (low, high) in windows {
        match merged.last_mut() {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

/// Places in the region that other code jumps to.
pub fn targets(
    study: &Study<'_>,
    region: &Region,
    functions: &Functions<'_>,
    edges: &Edges,
) -> BTreeSet<VirtAddr> {
    let after = VirtAddr(region.end.0.saturating_add(1));
    let long = edges.within(region.start, after).iter();
    // Jumps of its own are in the graph; calls of its own middle are not.
    let long = long.filter(|edge| edge.kind == EdgeKind::Call || !study.graph.covers(edge.from));
    let long = long
        .enumerate()
        .filter(|(n, edge)| *n >= LOOKS_MAX || may_be_instruction(functions, edge));
    let mut targets: BTreeSet<VirtAddr> = long.map(|(_, edge)| edge.target).collect();
    targets.extend(short_jumps(study, region, functions));
    targets
}

/// Jumps with a distance of one byte, which the windows leave out: from right before the function, from what lies in it
/// and was not reached, and from right behind it. Only x86 has such.
fn short_jumps(
    study: &Study<'_>,
    region: &Region,
    functions: &Functions<'_>,
) -> BTreeSet<VirtAddr> {
    let entry = study.graph.addr(ENTRY);
    let ends = study.graph.nodes.iter().map(|step| step.insn.end());
    let own = study.bounds.unwrap_or(CodeRange {
        start: entry,
        end: ends.max().unwrap_or(entry),
    });
    let mut found: BTreeSet<VirtAddr> = jumps(study, own).collect();
    if !is_small(&own) {
        found.insert(region.start);
    }
    let before = VirtAddr(own.start.0.saturating_sub(SHORT_REACH));
    if may_jump(study, before, own.start, region) {
        match functions.around(VirtAddr(own.start.0.saturating_sub(1))) {
            Some(range) if is_small(&range) && range.end <= own.start => {
                found.extend(jumps(study, range));
            }
            _ => found.extend(jumps_before(study, own.start, region)),
        }
    }
    let behind = VirtAddr(own.end.0.saturating_add(SHORT_REACH));
    if may_jump(study, own.end, behind, region) {
        let range = CodeRange {
            start: own.end,
            end: behind,
        };
        found.extend(jumps(study, range));
    }
    found.retain(|target| region.contains(*target));
    found
}

/// Where nothing says how the code before is to be read, all ways of reading it count that come out at `end`: after a
/// few instructions they agree. Code that cannot be read so may jump anywhere.
fn jumps_before(study: &Study<'_>, end: VirtAddr, region: &Region) -> BTreeSet<VirtAddr> {
    let mut found = BTreeSet::new();
    let mut is_read = false;
    for shift in 0..INSN_MAX {
        let start = VirtAddr(end.0.saturating_sub(2 * SHORT_REACH + shift));
        let mut at = start;
        let mut targets = Vec::new();
        while at < end {
            let Some(insn) = study.decoder.decode(at) else {
                break;
            };
            if let Flow::Jump(target) | Flow::Branch(target) = insn.flow {
                targets.push(target);
            }
            at = insn.end();
        }
        if at == end {
            is_read = true;
            found.extend(targets);
        }
    }
    if !is_read {
        found.insert(region.start);
    }
    found
}

/// Whether some bytes from `start` to `end` look like a short jump into the region.
fn may_jump(study: &Study<'_>, start: VirtAddr, end: VirtAddr, region: &Region) -> bool {
    let code = study.image.code_at(start).unwrap_or_default();
    let pairs = code.windows(2).zip(start.0..end.0);
    study.decoder.is_x86()
        && pairs.into_iter().any(|(pair, at)| {
            let [0x70..=0x7f | 0xe0..=0xe3 | 0xeb, distance] = pair else {
                return false;
            };
            let distance = i64::from(distance.cast_signed());
            region.contains(VirtAddr(at.wrapping_add(2).wrapping_add_signed(distance)))
        })
}

/// Bytes that look like a jump may be a part of something else: read from where the code around begins.
fn may_be_instruction(functions: &Functions<'_>, edge: &Edge) -> bool {
    let Some(range) = functions.around(edge.from).filter(is_small) else {
        return true;
    };
    let mut at = range.start;
    while functions.spend(1) {
        let Some(insn) = functions.decoder().decode(at) else {
            // Data between code: nothing is known.
            return true;
        };
        // The edge is noted at its opcode, which prefixes may stand before.
        if edge.from < insn.end() {
            return at <= edge.from
                && matches!(
                    insn.flow,
                    Flow::Jump(target) | Flow::Branch(target) | Flow::Call(target) if target == edge.target
                );
        }
        at = insn.end();
    }
    true
}

fn is_small(range: &CodeRange) -> bool {
    range.end.0.saturating_sub(range.start.0) <= RANGE_MAX
}

/// Targets of all jumps in a range, but for those that the function's graph knows.
fn jumps<'s>(study: &'s Study<'_>, range: CodeRange) -> impl Iterator<Item = VirtAddr> + 's {
    let mut at = range.start;
    let end = if is_small(&range) {
        range.end
    } else {
        range.start
    };
    std::iter::from_fn(move || {
        while at < end {
            let here = at;
            let known = study.graph.at(here).and_then(|node| study.graph.step(node));
            let insn = known
                .map(|step| step.insn)
                .or_else(|| study.decoder.decode(here));
            let Some(insn) = insn else {
                at = VirtAddr(
                    here.0
                        .saturating_add(if study.decoder.is_x86() { 1 } else { 4 }),
                );
                continue;
            };
            at = insn.end();
            if known.is_some() {
                continue;
            }
            if let Flow::Jump(target) | Flow::Branch(target) = insn.flow {
                return Some(target);
            }
        }
        None
    })
}

/// Whether a jump to one of `targets` leads to `node` past the first instruction.
pub fn skip_entry(study: &Study<'_>, node: Node, targets: &BTreeSet<VirtAddr>) -> bool {
    if targets.is_empty() || node == ENTRY {
        return false;
    }
    let before = study.graph.before([node], false);
    let end = study
        .graph
        .step(node)
        .map_or(VirtAddr(0), |step| step.insn.end());
    targets.iter().any(|target| match study.graph.at(*target) {
        Some(ENTRY) => false,
        Some(at) => before.get(at).copied().unwrap_or(true),
        // Into an instruction, or to code that was not read.
        None => *target < end,
    })
}
