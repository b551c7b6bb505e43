//! Damage with a sense of what an ELF file is: values that are right, nearly right or as wrong as can be, in
//! headers, tables, code and data alike. What is not ELF is damaged as bytes.

use super::random::Random;

/// Most places that are damaged at once.
const PLACES_MAX: usize = 6;

/// Damages `data` in place; `seed` decides how. The length stays.
pub fn damage(data: &mut [u8], seed: u64) {
    let mut random = Random(seed);
    let regions = regions(data);
    for _ in 0..=random.below(PLACES_MAX) {
        let Some(&region) = (!regions.is_empty()).then(|| random.pick(&regions)) else {
            return;
        };
        strike(data, region, &regions, &mut random);
    }
}

/// Start and length of a part of the file; whether it is loaded somewhere, and where.
#[derive(Clone, Copy)]
struct Region {
    start: usize,
    len: usize,
    addr: u64,
    entry: usize,
}

fn strike(data: &mut [u8], region: Region, regions: &[Region], random: &mut Random) {
    let size = (*random.pick(&[1, 2, 4, 4, 8, 8])).min(region.len);
    let mut inside = random.below(region.len - size + 1);
    // Mostly whole fields.
    if random.below(4) > 0 {
        inside -= inside % size;
    }
    let at = region.start + inside;
    match random.below(10) {
        0 => data[at] ^= 1 << random.below(8),
        // What stands elsewhere in the same region: another entry's field.
        1 | 2 if region.entry > 0 && region.len > region.entry => {
            let entries = region.len / region.entry;
            let other = region.start + random.below(entries) * region.entry + inside % region.entry;
            if other + size <= region.start + region.len {
                data.copy_within(other..other + size, at);
            }
        }
        3 => {
            let other = random.pick(regions);
            let len = size.min(other.len);
            let from = other.start + random.below(other.len - len + 1);
            data.copy_within(from..from + len, at);
        }
        // Where something is: as an address, as an offset, as a distance.
        4 | 5 => {
            let other = random.pick(regions);
            let place = random.below(other.len + 1);
            let here = region.addr.wrapping_add(inside as u64);
            let value = match random.below(3) {
                0 => other.addr.wrapping_add(place as u64),
                1 => (other.start + place) as u64,
                _ => other.addr.wrapping_add(place as u64).wrapping_sub(here),
            };
            put(data, at, size, value);
        }
        6 => {
            let old = data[at..at + size].iter().rev();
            let old = old.fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
            let step = *random.pick(&[1, 4, 8, 16, 24, 0x1000]);
            let sign = random.below(2) == 0;
            let value = if sign {
                old.wrapping_add(step)
            } else {
                old.wrapping_sub(step)
            };
            put(data, at, size, value);
        }
        7 => put(data, at, size, random.next()),
        _ => {
            let value = *random.pick(&awkward(data.len() as u64));
            put(data, at, size, value);
        }
    }
}

fn put(data: &mut [u8], at: usize, size: usize, value: u64) {
    data[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// Numbers at the edges.
fn awkward(len: u64) -> [u64; 16] {
    [
        0,
        1,
        2,
        3,
        7,
        0x7f,
        len.wrapping_sub(1),
        len,
        len / 2,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        i64::MAX as u64,
        u64::MAX - 7,
        u64::MAX,
    ]
}

/// Headers, tables, and all that sections and segments hold, by the headers of a little-endian 64-bit file;
/// of anything else the whole.
fn regions(data: &[u8]) -> Vec<Region> {
    let whole = Region {
        start: 0,
        len: data.len(),
        addr: 0,
        entry: 0,
    };
    let mut found: Vec<Region> = Vec::new();
    if data.starts_with(b"\x7fELF\x02\x01") {
        found.push(Region { len: 64, ..whole });
        tables(data, 32, 54, 56, &mut found, |entry| {
            (
                field(entry, 8, 8),
                field(entry, 32, 8),
                field(entry, 16, 8),
                0,
            )
        });
        tables(data, 40, 58, 60, &mut found, |entry| {
            let has_bytes = field(entry, 4, 4) != 8;
            let size = if has_bytes { field(entry, 32, 8) } else { 0 };
            (
                field(entry, 24, 8),
                size,
                field(entry, 16, 8),
                field(entry, 56, 8),
            )
        });
    }
    found.push(whole);
    found.retain(|region| {
        let end = region.start.checked_add(region.len);
        region.len > 0 && end.is_some_and(|end| end <= data.len())
    });
    found
}

/// A table of headers, whose place, entry size and count stand in the file header, and what each of its
/// entries points to by `place`: offset, size, address, entry size.
fn tables(
    data: &[u8],
    offset: usize,
    entry: usize,
    count: usize,
    found: &mut Vec<Region>,
    place: fn(&[u8]) -> (u64, u64, u64, u64),
) {
    const ENTRIES_MAX: u64 = 64;
    let (start, size) = (field(data, offset, 8), field(data, entry, 2));
    let count = field(data, count, 2).min(ENTRIES_MAX);
    let region = |start: u64, len: u64, addr: u64, entry: u64| Region {
        start: usize::try_from(start).unwrap_or(usize::MAX),
        len: usize::try_from(len).unwrap_or(usize::MAX),
        addr,
        entry: usize::try_from(entry).unwrap_or(0),
    };
    found.push(region(start, size * count, 0, size));
    for n in 0..count {
        let Some(at) = start.checked_add(n * size) else {
            return;
        };
        let Some(header) = usize::try_from(at).ok().and_then(|at| data.get(at..)) else {
            return;
        };
        let (start, len, addr, entry) = place(header);
        found.push(region(start, len, addr, entry));
    }
}

/// A little-endian number; 0 if it is not there.
fn field(data: &[u8], at: usize, size: usize) -> u64 {
    let bytes = data.get(at..at + size).unwrap_or_default();
    let bytes = bytes.iter().rev();
    bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
}
