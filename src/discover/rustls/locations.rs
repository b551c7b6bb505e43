//! The places that a Rust program's panics tell: `core::panic::Location`, a constant of file name, line and
//! column that code hands on. Each proves that the source file was compiled into this very program.
//!
//! A bare path in the file proves nothing: it may belong to another program that is carried along as data.
//! Believed is only a path that a word of this program points to, with its length, line and column behind. In a
//! position-independent file that word is one that the loader relocates, which it does for no payload.
//!
//! Layout: { file: &str, line: u32, column: u32 }, 24 bytes, in all versions of rustc up to 1.100; since 1.89 a zero
//! stands behind the file name, which the length of 1.89 counts and that of later ones does not.
//! Source: <https://github.com/rust-lang/rust/blob/1.95.0/library/core/src/panic/location.rs>

use object::elf;

use crate::bytes::{Endian, Reader};
use crate::discover::Case;
use crate::image::{Image, VirtAddr};

/// Bytes of one.
const SIZE: u64 = 24;
/// Longest path that is believed.
const PATH_MAX: usize = 1024;
/// Shortest: `a.rs`.
const PATH_MIN: usize = 4;
/// Highest line number that is believed; generated code has long files.
const LINE_MAX: u32 = 4_000_000;
/// Highest column that is believed.
const COLUMN_MAX: u32 = 100_000;
/// Most that are kept. The largest program we know has 90,000.
const LOCATIONS_MAX: usize = 1 << 20;

/// A place in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location<'a> {
    /// Where the constant is.
    pub addr: VirtAddr,
    /// As the compiler was given it.
    pub path: &'a str,
    /// From 1.
    pub line: u32,
}

/// All of one program, sorted by address.
pub(super) struct Locations<'a> {
    all: Vec<Location<'a>>,
}

impl<'a> Locations<'a> {
    /// One pass over all words that hold addresses.
    pub fn gather(case: &Case<'a>) -> Self {
        let texts = Texts::new(case.image);
        let mut all = Vec::new();
        if case.image.is_64 && case.image.endian == Endian::Little {
            if case.pointers().is_relocated() {
                relocated(case, &texts, &mut all);
            } else {
                fixed(case.image, &texts, &mut all);
            }
        }
        all.sort_unstable_by_key(|location| location.addr);
        all.dedup_by_key(|location| location.addr);
        Self { all }
    }

    /// The one at exactly this address.
    pub fn at(&self, addr: VirtAddr) -> Option<&Location<'a>> {
        let at = self
            .all
            .binary_search_by_key(&addr, |location| location.addr);
        self.all.get(at.ok()?)
    }

    /// None that could be read: no Rust program, or not one whose places are laid out as is known here.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Location<'a>> {
        self.all.iter()
    }
}

/// Loaded bytes, with the segment that was asked last at hand.
struct Texts<'a> {
    ranges: Vec<(u64, &'a [u8])>,
}

impl<'a> Texts<'a> {
    /// Literals are in segments that the program cannot write; some linkers put them next to the code.
    fn new(image: &Image<'a>) -> Self {
        Self {
            ranges: image.constant_ranges().chain(image.code_ranges()).collect(),
        }
    }

    fn path(&self, addr: u64, len: u64) -> Option<&'a str> {
        let len = usize::try_from(len).ok()?;
        let bytes = self.ranges.iter().find_map(|(start, bytes)| {
            let at = usize::try_from(addr.checked_sub(*start)?).ok()?;
            bytes.get(at..at.checked_add(len)?)
        })?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        let is_path =
            bytes.ends_with(b".rs") && bytes.iter().all(|byte| (b' '..0x7f).contains(byte));
        is_path.then(|| std::str::from_utf8(bytes).ok()).flatten()
    }

    /// `rest`: what stands behind the pointer.
    fn location(&self, addr: u64, text: u64, rest: &[u8]) -> Option<Location<'a>> {
        let mut reader = Reader::new(rest, Endian::Little);
        let len = reader.u64()?;
        let (line, column) = (reader.u32()?, reader.u32()?);
        let looks_right = (PATH_MIN as u64..=PATH_MAX as u64).contains(&len)
            && (1..=LINE_MAX).contains(&line)
            && (1..=COLUMN_MAX).contains(&column);
        let path = looks_right.then(|| self.path(text, len)).flatten()?;
        Some(Location {
            addr: VirtAddr(addr),
            path,
            line,
        })
    }
}

fn relocated<'a>(case: &Case<'a>, texts: &Texts<'a>, all: &mut Vec<Location<'a>>) {
    let mut near: (u64, &[u8]) = (0, &[]);
    for pointer in case.pointers().relocated() {
        let place = pointer.place.0;
        let inside = |(start, bytes): (u64, &'a [u8])| {
            let at = usize::try_from(place.checked_sub(start)?).ok()?;
            bytes.get(at.checked_add(8)?..at.checked_add(SIZE as usize)?)
        };
        let rest = inside(near).or_else(|| {
            near = (place, case.image.bytes_at(pointer.place)?);
            inside(near)
        });
        let location = rest.and_then(|rest| texts.location(place, pointer.target.0, rest));
        all.extend(location.filter(|_| all.len() < LOCATIONS_MAX));
    }
}

fn fixed<'a>(image: &Image<'a>, texts: &Texts<'a>, all: &mut Vec<Location<'a>>) {
    debug_assert_eq!(image.file_type, elf::ET_EXEC.0);
    let low = texts.ranges.iter().map(|(start, _)| *start).min();
    let ends = texts
        .ranges
        .iter()
        .map(|(start, bytes)| start + bytes.len() as u64);
    let (Some(low), Some(high)) = (low, ends.max()) else {
        return;
    };
    for data in image.loaded_data() {
        let offset = data.as_ptr().addr() - image.data().as_ptr().addr();
        let skipped = offset.next_multiple_of(8) - offset;
        let data = data.get(skipped..).unwrap_or_default();
        for (n, word) in data.as_chunks::<8>().0.iter().enumerate() {
            let text = u64::from_le_bytes(*word);
            if text < low || text >= high || all.len() >= LOCATIONS_MAX {
                continue;
            }
            let Some(rest) = data.get(n * 8 + 8..n * 8 + SIZE as usize) else {
                continue;
            };
            if let Some(mut location) = texts.location(0, text, rest) {
                let at = crate::image::FileOff((offset + skipped + n * 8) as u64);
                let Some(addr) = image.segments.addr_of(at) else {
                    continue;
                };
                location.addr = addr;
                all.push(location);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rustc 1.89 counts the zero behind the name; programs of that one version would have no places at all.
    #[test]
    fn a_counted_zero_is_not_a_part_of_the_path() {
        let texts = Texts {
            ranges: vec![(0x1000, b"src/conn.rs\0src/tls.rsx")],
        };
        assert_eq!(texts.path(0x1000, 11), Some("src/conn.rs"));
        assert_eq!(texts.path(0x1000, 12), Some("src/conn.rs"));
        assert_eq!(texts.path(0x100c, 10), Some("src/tls.rs"));
        assert_eq!(texts.path(0x100c, 11), None);
    }
}
