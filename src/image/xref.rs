//! Who refers to an address, and who jumps or calls there: linear passes over all code, without
//! knowing where instructions begin. What looks like a reference may be part of another instruction;
//! it counts only once code that was reached by decoding contains it.

use aho_corasick::packed;

use super::insn::{Decoder, Effect, Flow};
use super::{Image, VirtAddr};

/// Instructions between `adrp` and the `add` that belongs to it; schedulers put a few in between.
const ADRP_REACH: usize = 32;
/// Most references that are kept. The largest real program has a few thousand.
const XREFS_MAX: usize = 1 << 20;
/// Most jumps and calls that are kept.
const EDGES_MAX: usize = 1 << 22;
/// Edges are looked up by page.
const PAGE: u64 = 4096;
/// Most addresses that are searched as immediates in one go (Teddy's limit is 128 patterns).
const IMMEDIATES: usize = 64;

/// Code that puts an address into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xref {
    /// The instruction, the first one if there are two.
    pub at: VirtAddr,
    /// The address.
    pub target: VirtAddr,
}

/// All places in executable segments that form one of `targets`, sorted by place.
pub fn find(image: &Image<'_>, decoder: &Decoder<'_>, targets: &[VirtAddr]) -> Vec<Xref> {
    let mut targets: Vec<u64> = targets.iter().map(|target| target.0).collect();
    targets.sort_unstable();
    targets.dedup();
    let mut found = Vec::new();
    if targets.is_empty() {
        return found;
    }
    for (start, code) in image.code_ranges() {
        if decoder.is_x86() {
            relative_to_ip(code, start, &targets, &mut found);
            // Code that may be loaded anywhere has no address in an instruction.
            if image.file_type == object::elf::ET_EXEC.0 {
                immediates(code, start, decoder, &targets, &mut found);
            }
        } else {
            page_relative(code, start, &targets, &mut found);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn push(found: &mut Vec<Xref>, at: u64, target: u64) {
    if found.len() < XREFS_MAX {
        found.push(Xref {
            at: VirtAddr(at),
            target: VirtAddr(target),
        });
    }
}

fn le32(code: &[u8], at: usize) -> Option<u32> {
    let bytes = code.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// `lea r64, [rip+disp32]`: REX.W, 8D, ModRM with mod 0 and rm 5.
fn relative_to_ip(code: &[u8], start: u64, targets: &[u64], found: &mut Vec<Xref>) {
    let (Some(&low), Some(&high)) = (targets.first(), targets.last()) else {
        return;
    };
    for at in memchr::memchr_iter(0x8d, code) {
        let before = at.checked_sub(1).and_then(|at| code.get(at));
        let is_lea = before.is_some_and(|rex| rex & 0xf8 == 0x48)
            && code.get(at + 1).is_some_and(|modrm| modrm & 0xc7 == 5);
        let Some(disp) = is_lea.then(|| le32(code, at + 2)).flatten() else {
            continue;
        };
        let end = start.wrapping_add(at as u64 + 6);
        let target = end.wrapping_add_signed(i64::from(disp as i32));
        if (low..=high).contains(&target) && targets.binary_search(&target).is_ok() {
            push(found, start + at as u64 - 1, target);
        }
    }
}

/// `mov r32, imm32`, `mov r64, simm32`, `push imm32`: programs that are not position independent.
fn immediates(
    code: &[u8],
    start: u64,
    decoder: &Decoder<'_>,
    targets: &[u64],
    found: &mut Vec<Xref>,
) {
    let small: Vec<u32> = targets
        .iter()
        .filter_map(|target| u32::try_from(*target).ok())
        // Small numbers are everywhere, and no program is linked that low.
        .filter(|target| *target >= 0x1_0000)
        .collect();
    for group in small.chunks(IMMEDIATES) {
        let patterns: Vec<[u8; 4]> = group.iter().map(|target| target.to_le_bytes()).collect();
        let Some(searcher) = packed::Searcher::new(&patterns) else {
            continue;
        };
        for hit in searcher.find_iter(code) {
            let Some(target) = le32(code, hit.start()).map(u64::from) else {
                continue;
            };
            let at = start + hit.start() as u64;
            if let Some(insn) = (1..=3).find_map(|back| {
                let insn = decoder.decode(VirtAddr(at.checked_sub(back)?))?;
                let sets = matches!(insn.effect, Effect::Set(_, value) if value == target)
                    || insn.effect == Effect::Push(Some(target));
                (sets && insn.end().0 == at + 4).then_some(insn)
            }) {
                push(found, insn.addr.0, target);
            }
        }
    }
}

/// `adrp` and `add`, or `adr`.
fn page_relative(code: &[u8], start: u64, targets: &[u64], found: &mut Vec<Xref>) {
    let mut pages: Vec<u64> = targets.iter().map(|target| target & !0xfff).collect();
    pages.dedup();
    let words = code.as_chunks::<4>().0;
    for (n, bytes) in words.iter().enumerate() {
        let word = u32::from_le_bytes(*bytes);
        if word & 0x1f00_0000 != 0x1000_0000 {
            continue;
        }
        let at = start.wrapping_add(4 * n as u64);
        let immediate = i64::from((((word >> 5) & 0x7_ffff) << 13) as i32) >> 11;
        let immediate = immediate | i64::from((word >> 29) & 3);
        if word >> 31 == 0 {
            let target = at.wrapping_add_signed(immediate);
            if targets.binary_search(&target).is_ok() {
                push(found, at, target);
            }
            continue;
        }
        let page = (at & !0xfff).wrapping_add_signed(immediate << 12);
        if pages.binary_search(&page).is_err() {
            continue;
        }
        let register = word & 31;
        for bytes in words.iter().skip(n + 1).take(ADRP_REACH) {
            let next = u32::from_le_bytes(*bytes);
            let is_add = next & 0xffc0_0000 == 0x9100_0000 && (next >> 5) & 31 == register;
            let target = page + u64::from((next >> 10) & 0xfff);
            if is_add && targets.binary_search(&target).is_ok() {
                push(found, at, target);
                break;
            }
        }
    }
}

/// How an edge leaves its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// A call.
    Call,
    /// An unconditional jump.
    Jump,
    /// A conditional jump.
    Branch,
}

/// A direct call or jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Where to.
    pub target: VirtAddr,
    /// Call or jump.
    pub kind: EdgeKind,
    /// The instruction.
    pub from: VirtAddr,
}

/// Direct calls and jumps into some part of the code, sorted by target.
#[derive(Debug, Default)]
pub struct Edges {
    edges: Vec<Edge>,
}

/// A set of pages.
#[derive(Debug, Default)]
pub struct Pages {
    first: u64,
    bits: Vec<u64>,
}

impl Pages {
    /// The pages that any of the ranges `[start, end)` touches, within executable segments.
    pub fn covering(image: &Image<'_>, ranges: impl Iterator<Item = (u64, u64)>) -> Self {
        let ends = image.code_ranges().map(|(start, code)| {
            let end = start.saturating_add(code.len() as u64);
            (start / PAGE, end.div_ceil(PAGE))
        });
        let (first, end) = ends.fold((u64::MAX, 0), |(low, high), (start, end)| {
            (low.min(start), high.max(end))
        });
        // Segments may lie far apart: the set is bounded by the code there can be.
        let limit = (image.data().len() as u64 / PAGE).saturating_mul(4) + 64;
        let count = end.saturating_sub(first).min(limit);
        let mut pages = Self {
            first,
            bits: vec![0; usize::try_from(count.div_ceil(64)).unwrap_or(0)],
        };
        for (start, end) in ranges {
            let last = (end.saturating_sub(1) / PAGE).min(first.saturating_add(count));
            for page in (start / PAGE).max(first)..=last {
                pages.insert(page);
            }
        }
        pages
    }

    fn insert(&mut self, page: u64) {
        let bit = page.wrapping_sub(self.first);
        let word = usize::try_from(bit / 64).ok();
        if let Some(word) = word.and_then(|word| self.bits.get_mut(word)) {
            *word |= 1 << (bit % 64);
        }
    }

    fn contains(&self, addr: u64) -> bool {
        let bit = (addr / PAGE).wrapping_sub(self.first);
        let word = usize::try_from(bit / 64).ok();
        word.and_then(|word| self.bits.get(word))
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

impl Edges {
    /// All direct calls and long jumps from anywhere into `pages`; conditional ones only `with_branches`,
    /// which costs as much again. Short jumps stay inside a function and are not here.
    pub fn into_pages(
        image: &Image<'_>,
        decoder: &Decoder<'_>,
        pages: &Pages,
        with_branches: bool,
    ) -> Self {
        let mut edges = Vec::new();
        for (start, code) in image.code_ranges() {
            if decoder.is_x86() {
                x86_edges(code, start, pages, with_branches, &mut edges);
            } else {
                a64_edges(code, start, decoder, pages, &mut edges);
            }
        }
        edges.sort_unstable();
        Self { edges }
    }

    /// The same from the code in `windows` alone, which are sorted and apart from each other; conditional
    /// ones are among them.
    pub fn from_windows(
        image: &Image<'_>,
        decoder: &Decoder<'_>,
        pages: &Pages,
        windows: &[(u64, u64)],
    ) -> Self {
        let mut edges = Vec::new();
        for (start, code) in image.code_ranges() {
            let end = start.saturating_add(code.len() as u64);
            for (low, high) in windows {
                let (low, high) = ((*low).max(start), (*high).min(end));
                let low = if decoder.is_x86() {
                    low
                } else {
                    low.next_multiple_of(4)
                };
                let at = |addr: u64| usize::try_from(addr - start).ok();
                let part = || code.get(at(low)?..at(high)?);
                let Some(part) = (low < high).then(part).flatten() else {
                    continue;
                };
                if decoder.is_x86() {
                    x86_edges(part, low, pages, true, &mut edges);
                } else {
                    a64_edges(part, low, decoder, pages, &mut edges);
                }
            }
        }
        edges.sort_unstable();
        Self { edges }
    }

    /// Those that lead to `target`.
    pub fn to(&self, target: VirtAddr) -> &[Edge] {
        self.within(target, VirtAddr(target.0.saturating_add(1)))
    }

    /// Those that lead into `[start, end)`.
    pub fn within(&self, start: VirtAddr, end: VirtAddr) -> &[Edge] {
        let from = self.edges.partition_point(|edge| edge.target < start);
        let to = self.edges.partition_point(|edge| edge.target < end);
        self.edges.get(from..to).unwrap_or_default()
    }

    /// How many calls lead to `target`.
    pub fn calls(&self, target: VirtAddr) -> usize {
        let calls = |edge: &&Edge| edge.kind == EdgeKind::Call;
        self.to(target).iter().filter(calls).count()
    }
}

/// `call rel32` (E8), `jmp rel32` (E9), `jcc rel32` (0F 80 … 0F 8F).
fn x86_edges(code: &[u8], start: u64, pages: &Pages, with_branches: bool, edges: &mut Vec<Edge>) {
    let mut add = |at: usize, opcode: usize, kind| {
        let Some(disp) = le32(code, at + opcode) else {
            return;
        };
        let end = start.wrapping_add((at + opcode + 4) as u64);
        let target = end.wrapping_add_signed(i64::from(disp as i32));
        if pages.contains(target) && edges.len() < EDGES_MAX {
            edges.push(Edge {
                target: VirtAddr(target),
                kind,
                from: VirtAddr(start + at as u64),
            });
        }
    };
    for at in memchr::memchr2_iter(0xe8, 0xe9, code) {
        let is_call = code.get(at) == Some(&0xe8);
        add(
            at,
            1,
            if is_call {
                EdgeKind::Call
            } else {
                EdgeKind::Jump
            },
        );
    }
    if !with_branches {
        return;
    }
    for at in memchr::memchr_iter(0x0f, code) {
        if code.get(at + 1).is_some_and(|next| next & 0xf0 == 0x80) {
            add(at, 2, EdgeKind::Branch);
        }
    }
}

fn a64_edges(code: &[u8], start: u64, decoder: &Decoder<'_>, pages: &Pages, edges: &mut Vec<Edge>) {
    for (n, bytes) in code.as_chunks::<4>().0.iter().enumerate() {
        let word = u32::from_le_bytes(*bytes);
        // b, bl; b.cond, cbz, tbz
        let may_branch = word & 0x7c00_0000 == 0x1400_0000 || word & 0x7c00_0000 == 0x3400_0000;
        if !may_branch && word & 0xff00_0000 != 0x5400_0000 {
            continue;
        }
        let from = VirtAddr(start.wrapping_add(4 * n as u64));
        let flow = decoder.decode(from).map(|insn| insn.flow);
        let (target, kind) = match flow {
            Some(Flow::Call(target)) => (target, EdgeKind::Call),
            Some(Flow::Jump(target)) => (target, EdgeKind::Jump),
            Some(Flow::Branch(target)) => (target, EdgeKind::Branch),
            _ => continue,
        };
        if pages.contains(target.0) && edges.len() < EDGES_MAX {
            edges.push(Edge { target, kind, from });
        }
    }
}
