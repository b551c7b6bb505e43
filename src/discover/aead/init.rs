//! Tables of AWS-LC and BoringSSL in one file: those that stand in it, and those that code fills. A table begins
//! with four bytes that are rare (see [`evp`]); code that fills one stores them, mostly as one number.
//!
//! Code is followed from the start of its function, by unwind tables where they cover it. Otherwise it is read from
//! several places before: instructions of x86 fall into step after a few, and all that see a table must see the same.

use std::cell::Cell;
use std::ops::Range;

use aho_corasick::packed;

use super::super::Case;
use super::super::evidence::Method;
use super::Kind;
use super::evp::{self, KEYS, LENGTHS, Slot, Table};
use super::own::{Own, Unwind};
use crate::image::insn::Decoder;
use crate::image::stores::{self, Region, Written};
use crate::image::unwind::UnwindTable;
use crate::image::{Pointers, VirtAddr};

/// Most places that are looked at. Programs with three libraries have about fifty.
const HITS_MAX: usize = 256;
/// Most starts from which code is followed, in one file. Each takes microseconds; programs without unwind tables whose
/// tables are filled from constants take some 2500.
const RUNS_MAX: usize = 4096;
/// Most tables that one function is believed to fill.
const TABLES_MAX: usize = 16;
/// Bytes between functions and what fills the tables with them, where linkers keep a library together.
const NEAR: u64 = 8 << 20;
/// Longest function that is believed to do nothing but fill a table.
const FUNCTION_MAX: u64 = 0x1000;
/// What compilers align functions to.
const ALIGNMENT: u64 = 16;
/// Aligned places before the number that are tried, and how many more once a table was seen.
const ALIGNED_STARTS: u64 = 16;
const ALIGNED_OTHERS: usize = 4;
/// How far before its number such a function may begin, where it is not aligned.
const REACH_BACK: [u64; 4] = [256, 160, 96, 48];
/// Starts that are tried at each distance: as many as the longest instruction has bytes.
const STARTS: u64 = 15;
/// Most places of one number among the constants that are searched for in the code.
const CONSTANTS_MAX: usize = 64;

/// `mov byte [rax+1], 12` and, soon after it, `mov byte [rax+2], 16`: without optimisation each byte is
/// stored on its own.
const BYTEWISE: [[u8; 4]; 2] = [[0xc6, 0x40, 1, 12], [0xc6, 0x40, 2, 16]];
/// Bytes from the one to the other: the pointer may be loaded in between.
const BYTEWISE_REACH: usize = 16;

/// How a table begins.
fn heads() -> [[u8; 4]; 2] {
    let [nonce, overhead, tag] = LENGTHS;
    KEYS.map(|key| [key, nonce, overhead, tag])
}

/// The length of the key, if this is how a table begins.
fn key_of(head: u32) -> Option<u8> {
    let bytes = head.to_le_bytes();
    let [key, ..] = bytes;
    heads().contains(&bytes).then_some(key)
}

/// All tables of one file; of BoringSSL only some if its own functions are `watched`, and nobody wants the others.
pub(super) fn tables<'u, 'a>(
    case: &Case<'a>,
    decoder: &Decoder<'a>,
    unwind: Unwind<'u, 'a>,
    own: &Own<'_, '_>,
    watched: bool,
) -> Vec<Table> {
    let pointers = case.pointers();
    let mut standing = standing(case, own);
    standing.retain(|table| own.is_function(table.seal) && own.is_function(table.open));
    // Every copy has ChaCha20-Poly1305, whose table stands.
    let is_unwanted = watched && standing.iter().all(|one| one.kind == Kind::BoringSsl);
    if standing.is_empty() || is_unwanted {
        return standing;
    }
    let runs = Cell::new(RUNS_MAX);
    let filled = |seeds: &[VirtAddr]| -> Vec<Table> {
        let of_seed = |seed: &VirtAddr| filled(pointers, decoder, unwind(), *seed, &runs);
        let mut found: Vec<_> = seeds.iter().flat_map(of_seed).collect();
        found.dedup();
        found
    };
    let all_with = |found: &[Table]| [&standing[..], found].concat();
    // What fills the tables mostly lies near the functions: that saves a pass over all code.
    let mut found = filled(&seeds(case, decoder, Some(near(&standing))));
    if !evp::is_complete(&all_with(&found)) {
        runs.set(RUNS_MAX);
        found = filled(&seeds(case, decoder, None));
    }
    if found.is_empty() && decoder.is_x86() {
        // The number may stand among the constants.
        found = filled(&loads_of(case, &constants(case)));
    }
    all_with(&found)
}

/// Addresses around all functions of these tables.
fn near(tables: &[Table]) -> Range<u64> {
    let functions = tables.iter().flat_map(|table| [table.seal.0, table.open.0]);
    let (low, high) = functions.fold((u64::MAX, 0), |(low, high), addr| {
        (low.min(addr), high.max(addr))
    });
    low.saturating_sub(NEAR)..high.saturating_add(NEAR)
}

/// Places in code where a table's first bytes are a part of an instruction.
fn seeds(case: &Case<'_>, decoder: &Decoder<'_>, near: Option<Range<u64>>) -> Vec<VirtAddr> {
    let mut seeds = Vec::new();
    for (start, code) in case.image.code_ranges() {
        let inside = |addr: u64| {
            let distance = addr.saturating_sub(start).min(code.len() as u64);
            // Instructions of aarch64 are words.
            usize::try_from(distance & !7).unwrap_or(0)
        };
        let part = near
            .as_ref()
            .map(|near| inside(near.start)..inside(near.end));
        let from = part.as_ref().map_or(0, |part| part.start);
        let Some(code) = part.map_or(Some(code), |part| code.get(part)) else {
            continue;
        };
        let start = start.wrapping_add(from as u64);
        if decoder.is_x86() {
            x86_seeds(start, code, &mut seeds);
        } else {
            a64_seeds(start, code, &mut seeds);
        }
    }
    seeds
}

fn search(patterns: &[[u8; 4]], data: &[u8], mut hit: impl FnMut(usize)) {
    if let Some(searcher) = packed::Searcher::new(patterns) {
        for found in searcher.find_iter(data).take(HITS_MAX) {
            hit(found.start());
        }
    }
}

/// Tables that stand in the file: where words hold addresses.
fn standing(case: &Case<'_>, own: &Own<'_, '_>) -> Vec<Table> {
    let pointers = case.pointers();
    let mut places = Vec::new();
    if !pointers.is_relocated() {
        // They may stand anywhere.
        places = pointers.words(|word| key_of(word as u32).is_some());
        places.truncate(HITS_MAX);
    }
    // What the loader writes is writable, at first.
    let ranges = case.image.data_ranges();
    for (segment, data) in ranges.filter(|(segment, _)| segment.writable && pointers.is_relocated())
    {
        search(&heads(), data, |at| {
            let place = VirtAddr(segment.vaddr.wrapping_add(at as u64));
            if place.0.is_multiple_of(8) && places.len() < HITS_MAX {
                places.push(place);
            }
        });
    }
    places
        .iter()
        .filter(|place| own.is_data(**place))
        .filter_map(|place| standing_at(pointers, *place))
        .collect()
}

fn standing_at(pointers: &Pointers<'_, '_>, place: VirtAddr) -> Option<Table> {
    let image = pointers.image();
    let number = |offset: u64, size: usize| {
        let place = VirtAddr(place.0.checked_add(offset)?);
        let bytes = image.bytes_at(place)?.get(..size)?.iter().rev();
        Some(bytes.fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let slot = |offset: u64| match pointers.at_offset(place, offset) {
        Some(target) if image.segments.code_offset(target).is_some() => Slot::Code(target),
        Some(_) => Slot::Other,
        None if number(offset, 8) == Some(0) => Slot::Empty,
        None => Slot::Other,
    };
    let key = key_of(u32::try_from(number(0, 4)?).ok()?)?;
    let detail = format!(" stands at {place}");
    Table::read(
        key,
        slot,
        number,
        evp::place(Method::AeadTable, key, &detail),
    )
}

fn x86_seeds(start: u64, code: &[u8], seeds: &mut Vec<VirtAddr>) {
    let [first, second] = BYTEWISE;
    let [small, large] = heads();
    search(&[small, large, first], code, |at| {
        let after = code.get(at + 4..(at + 4 + BYTEWISE_REACH).min(code.len()));
        let bytewise = code.get(at..).is_some_and(|code| code.starts_with(&first));
        let mut after = after.unwrap_or_default().windows(4);
        if (!bytewise || after.any(|window| window == second)) && seeds.len() < HITS_MAX {
            seeds.push(VirtAddr(start.wrapping_add(at as u64)));
        }
    });
}

/// `mov w, #0xc10` or `#0xc20`, with `movk w, #0x1010, lsl #16` soon after it.
fn a64_seeds(start: u64, code: &[u8], seeds: &mut Vec<VirtAddr>) {
    const MOVK_REACH: usize = 12;
    let [_, overhead, tag] = LENGTHS;
    let high = u32::from(u16::from_le_bytes([overhead, tag]));
    // Either width; the immediate is the lower half of the four bytes.
    let low = heads()
        .map(|[key, nonce, ..]| 0x5280_0000 | u32::from(u16::from_le_bytes([key, nonce])) << 5);
    let words = code.as_chunks::<4>().0;
    for (n, bytes) in words.iter().enumerate() {
        let word = u32::from_le_bytes(*bytes);
        if !low.contains(&(word & 0x7fff_ffe0)) || seeds.len() >= HITS_MAX {
            continue;
        }
        let movk = 0x72a0_0000 | high << 5 | word & 31;
        let mut after = words.iter().skip(n + 1).take(MOVK_REACH);
        if after.any(|bytes| u32::from_le_bytes(*bytes) & 0x7fff_ffff == movk) {
            seeds.push(VirtAddr(start.wrapping_add(4 * n as u64)));
        }
    }
}

/// The first bytes of a table where the program cannot write; some linkers put constants beside code.
fn constants(case: &Case<'_>) -> Vec<u64> {
    let mut places = Vec::new();
    let constants = case.image.constant_ranges();
    for (start, data) in constants.chain(case.image.code_ranges()) {
        search(&heads(), data, |at| {
            let place = start.wrapping_add(at as u64);
            if place.is_multiple_of(4) && places.len() < CONSTANTS_MAX {
                places.push(place);
            }
        });
    }
    places.sort_unstable();
    places
}

/// Code that loads from one of these places relative to itself, whichever instruction does.
fn loads_of(case: &Case<'_>, places: &[u64]) -> Vec<VirtAddr> {
    let mut seeds = Vec::new();
    if places.is_empty() {
        return seeds;
    }
    for (start, code) in case.image.code_ranges() {
        for (at, window) in code.windows(5).enumerate() {
            // The operand byte says "relative to the next instruction".
            let [operand, distance @ ..] = window else {
                continue;
            };
            let Some(distance) = distance.first_chunk().filter(|_| operand & 0xc7 == 5) else {
                continue;
            };
            let end = start.wrapping_add(at as u64 + 5);
            let target = end.wrapping_add_signed(i32::from_le_bytes(*distance).into());
            // The number may be anywhere in the sixteen bytes that are loaded.
            let from = places.partition_point(|place| *place < target);
            let is_near = places.get(from).is_some_and(|place| place - target < 16);
            if is_near && seeds.len() < HITS_MAX {
                seeds.push(VirtAddr(start.wrapping_add(at as u64)));
            }
        }
    }
    seeds
}

/// The tables that the code around a seed fills.
fn filled(
    pointers: &Pointers<'_, '_>,
    decoder: &Decoder<'_>,
    unwind: Option<&UnwindTable<'_>>,
    seed: VirtAddr,
    runs: &Cell<usize>,
) -> Vec<Table> {
    let run = |start: VirtAddr| {
        let left = runs.get().checked_sub(1);
        runs.set(left.unwrap_or(0));
        let written = left.and_then(|_| stores::written(pointers, decoder, start, seed));
        written.map_or_else(Vec::new, |written| read_all(pointers, &written, seed))
    };
    let range = unwind.and_then(|unwind| unwind.covering(seed));
    if let Some(range) = range.filter(|range| range.end.0 - range.start.0 <= FUNCTION_MAX) {
        return run(range.start);
    }
    if let Some(found) = from_aligned(seed, &run) {
        return found;
    }
    let step = if decoder.is_x86() { 1 } else { 4 };
    for back in REACH_BACK {
        let starts = (0..STARTS).filter_map(|n| seed.0.checked_sub(back + n * step));
        let mut seen = starts
            .map(|start| run(VirtAddr(start)))
            .filter(|all| !all.is_empty());
        if let Some(first) = seen.next() {
            return match seen.all(|other| other == first) {
                true => first,
                false => Vec::new(),
            };
        }
    }
    Vec::new()
}

/// Compilers begin functions at multiples of sixteen: the nearest place before the seed from which a whole table
/// is seen. Reading from farther back, across another function's end, shows nothing; if it shows something else,
/// neither is believed.
fn from_aligned(seed: VirtAddr, run: &impl Fn(VirtAddr) -> Vec<Table>) -> Option<Vec<Table>> {
    let nearest = seed.0 & !(ALIGNMENT - 1);
    let starts = (0..ALIGNED_STARTS).filter_map(|n| nearest.checked_sub(n * ALIGNMENT));
    let mut seen = starts
        .map(|start| run(VirtAddr(start)))
        .skip_while(Vec::is_empty);
    let first = seen.next()?;
    let mut others = seen.take(ALIGNED_OTHERS).filter(|all| !all.is_empty());
    others.all(|other| other == first).then_some(first)
}

fn read_all(pointers: &Pointers<'_, '_>, written: &Written, seed: VirtAddr) -> Vec<Table> {
    let places = written.numbers(|number| key_of(number).is_some());
    places
        .into_iter()
        .take(TABLES_MAX)
        .filter_map(|(region, at)| read(pointers, written, region, at, seed))
        .collect()
}

fn read(
    pointers: &Pointers<'_, '_>,
    written: &Written,
    region: Region,
    at: i64,
    seed: VirtAddr,
) -> Option<Table> {
    let number = |offset: u64, size: usize| {
        let place = at.checked_add(i64::try_from(offset).ok()?)?;
        written.number(region, place, size)
    };
    let segments = &pointers.image().segments;
    let slot = |offset: u64| match number(offset, 8) {
        None | Some(0) => Slot::Empty,
        Some(word) if segments.code_offset(VirtAddr(word)).is_some() => Slot::Code(VirtAddr(word)),
        Some(_) => Slot::Other,
    };
    let key = key_of(u32::try_from(number(0, 4)?).ok()?)?;
    let detail = match region {
        Region::Fixed => format!(
            " is filled by the code at {seed}, at {:#x}",
            at.cast_unsigned()
        ),
        _ => format!(" is filled by the code at {seed}, where its argument points"),
    };
    Table::read(
        key,
        slot,
        number,
        evp::place(Method::TableInit, key, &detail),
    )
}
