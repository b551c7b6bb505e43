//! Words that hold addresses. In an executable with fixed addresses they stand in the file as they are;
//! in a position-independent file a relocation makes them, and the word in the file may be anything.
//!
//! Read are the relative relocations of `DT_RELA`, `DT_RELR` and `DT_REL`, in files without a dynamic
//! segment those of the sections. Relocations against symbols are not: they point into other files, or
//! at exported names that the symbol table tells as well. 64-bit little-endian files only.
//!
//! Source: System V ABI, "Relocation" and "Relative Relocation Table" (SHT_RELR).

use std::sync::OnceLock;

use object::elf;

use super::{Arch, FileOff, Image, Segment, VirtAddr};
use crate::bytes::{Endian, Reader};

/// Chromium, the largest program we know, has about a million. Each takes 16 bytes of memory.
const RELOCATIONS_MAX: usize = 8 << 20;

/// Bytes of a word.
const WORD: u64 = 8;

/// A word that holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    /// Where the word is.
    pub place: VirtAddr,
    /// The address that it holds before any load bias.
    pub target: VirtAddr,
}

/// The view of one image's words as addresses.
pub struct Pointers<'i, 'a> {
    image: &'i Image<'a>,
    /// Sorted by place, each place once; filled when first needed.
    relocated: OnceLock<Vec<Pointer>>,
}

impl<'i, 'a> Pointers<'i, 'a> {
    /// Costs nothing before the first question.
    pub fn new(image: &'i Image<'a>) -> Self {
        Self {
            image,
            relocated: OnceLock::new(),
        }
    }

    /// The file this is a view of.
    pub fn image(&self) -> &'i Image<'a> {
        self.image
    }

    /// Words hold addresses only where a relocation says so.
    pub fn is_relocated(&self) -> bool {
        self.image.file_type != elf::ET_EXEC.0
    }

    /// The address in the word at `place`. `None`: no address there, or none that this view knows.
    pub fn at(&self, place: VirtAddr) -> Option<VirtAddr> {
        if self.is_relocated() {
            let all = self.relocated();
            let index = all
                .binary_search_by_key(&place, |pointer| pointer.place)
                .ok()?;
            return all.get(index).map(|pointer| pointer.target);
        }
        self.word(place).filter(|word| *word != 0).map(VirtAddr)
    }

    /// The word at `place` as it stands in the file, relocated or not.
    pub fn word(&self, place: VirtAddr) -> Option<u64> {
        if !is_readable(self.image) {
            return None;
        }
        Reader::new(self.image.bytes_at(place)?, Endian::Little).u64()
    }

    /// The word at `place + offset`, as [`Self::at`].
    pub fn at_offset(&self, place: VirtAddr, offset: u64) -> Option<VirtAddr> {
        self.at(VirtAddr(place.0.checked_add(offset)?))
    }

    /// Every word that holds one of `targets`, in the order of places. One pass over the file.
    pub fn to(&self, targets: &[VirtAddr]) -> Vec<Pointer> {
        let mut sorted = targets.to_vec();
        sorted.sort_unstable();
        let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else {
            return Vec::new();
        };
        let (low, span) = (low.0, high.0 - low.0);
        let is_wanted = |target: u64| {
            target.wrapping_sub(low) <= span && sorted.binary_search(&VirtAddr(target)).is_ok()
        };
        if self.is_relocated() {
            let all = self.relocated().iter().copied();
            return all.filter(|pointer| is_wanted(pointer.target.0)).collect();
        }
        let mut found = self.raw_words(&is_wanted);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The addresses in consecutive words from `start` on, as long as they point to code.
    pub fn run(&self, start: VirtAddr) -> impl Iterator<Item = VirtAddr> + '_ {
        let next = |place: &VirtAddr| place.0.checked_add(WORD).map(VirtAddr);
        let places = std::iter::successors(Some(start), next);
        places.map_while(|place| {
            self.at(place)
                .filter(|target| self.image.segments.code_offset(*target).is_some())
        })
    }

    /// All words that relocations make, sorted by place. Empty for a file with fixed addresses.
    pub fn relocated(&self) -> &[Pointer] {
        self.relocated.get_or_init(|| {
            let mut all = Vec::new();
            if self.is_relocated() && is_readable(self.image) {
                collect(self.image, &mut all);
                // Linkers sort by place, mostly: this is one more pass then. A place's last word
                // counts, as in the loader; hostile files alone name one twice.
                all.sort_by_key(|pointer| pointer.place);
                all.reverse();
                all.dedup_by_key(|pointer| pointer.place);
                all.reverse();
            }
            all
        })
    }

    /// The places of all words that hold a number, as they stand in the file, that `is_wanted`.
    pub fn words(&self, is_wanted: impl Fn(u64) -> bool) -> Vec<VirtAddr> {
        let words = self.raw_words(&is_wanted).into_iter();
        words.map(|word| word.place).collect()
    }

    fn raw_words(&self, is_wanted: &impl Fn(u64) -> bool) -> Vec<Pointer> {
        let mut found = Vec::new();
        if !is_readable(self.image) {
            return found;
        }
        for data in self.image.loaded_data() {
            let offset = data.as_ptr().addr() - self.image.data().as_ptr().addr();
            // Segments begin at the same place in their page in the file as in memory, so words that
            // are aligned in one are aligned in the other.
            let skipped = offset.next_multiple_of(WORD as usize) - offset;
            let (words, _) = data.get(skipped..).unwrap_or_default().as_chunks::<8>();
            // Where the last word was found is where the next one will be.
            let mut near: Option<Segment> = None;
            for (n, word) in words.iter().enumerate() {
                let target = u64::from_le_bytes(*word);
                if !is_wanted(target) || found.len() >= RELOCATIONS_MAX {
                    continue;
                }
                let at = FileOff((offset + skipped + n * WORD as usize) as u64);
                if near.is_none_or(|near| near.addr_of(at).is_none()) {
                    near = self.image.segments.holder(at).copied();
                }
                let place = near.and_then(|near| near.addr_of(at));
                found.extend(place.map(|place| Pointer {
                    place,
                    target: VirtAddr(target),
                }));
            }
        }
        found
    }
}

fn is_readable(image: &Image<'_>) -> bool {
    image.is_64 && image.endian == Endian::Little
}

/// `R_*_RELATIVE` of the machine.
fn relative_type(arch: Arch) -> Option<u32> {
    match arch {
        Arch::X86_64 => Some(8),
        Arch::Aarch64 => Some(1027),
        _ => None,
    }
}

/// Where tables of relocations are, in bytes of the file.
#[derive(Default)]
struct Tables<'a> {
    rela: Vec<&'a [u8]>,
    rel: Vec<&'a [u8]>,
    relr: Vec<&'a [u8]>,
}

fn collect(image: &Image<'_>, all: &mut Vec<Pointer>) {
    let tables = dynamic_tables(image);
    let is_empty = tables.rela.is_empty() && tables.rel.is_empty() && tables.relr.is_empty();
    let tables = if is_empty {
        section_tables(image)
    } else {
        tables
    };
    let Some(relative) = relative_type(image.arch) else {
        return;
    };
    for table in tables.rela {
        let entries = table.as_chunks::<24>().0.iter();
        all.extend(
            entries
                .filter_map(|entry| rela(entry, relative))
                .take(RELOCATIONS_MAX - all.len().min(RELOCATIONS_MAX)),
        );
    }
    let mut in_place = Vec::new();
    for table in tables.rel {
        let entries = table.as_chunks::<16>().0.iter();
        in_place.extend(
            entries
                .filter_map(|entry| rel(entry, relative))
                .take(RELOCATIONS_MAX),
        );
    }
    for table in tables.relr {
        relr(table, &mut in_place);
    }
    in_place.truncate(RELOCATIONS_MAX - all.len().min(RELOCATIONS_MAX));
    add_in_place(image, &in_place, all);
}

fn dynamic_tables<'a>(image: &Image<'a>) -> Tables<'a> {
    let table = |start, size| {
        let (start, size) = (image.dynamic_value(start)?, image.dynamic_value(size)?);
        let bytes = image.bytes_at(VirtAddr(start))?;
        bytes.get(..usize::try_from(size).ok()?.min(bytes.len()))
    };
    Tables {
        rela: Vec::from_iter(table(elf::DT_RELA, elf::DT_RELASZ)),
        rel: Vec::from_iter(table(elf::DT_REL, elf::DT_RELSZ)),
        relr: Vec::from_iter(table(elf::DT_RELR, elf::DT_RELRSZ)),
    }
}

/// Sections that are tables for the loader: allocated ones, which `.rela.debug_info` is not.
fn section_tables<'a>(image: &Image<'a>) -> Tables<'a> {
    let mut tables = Tables::default();
    for section in &image.sections {
        let loaded = image.segments.addr_of(FileOff(section.offset)).is_some();
        let Some(data) = image.section_data(section).filter(|_| loaded) else {
            continue;
        };
        match section.kind {
            kind if kind == elf::SHT_RELA.0 => tables.rela.push(data),
            kind if kind == elf::SHT_REL.0 => tables.rel.push(data),
            kind if kind == elf::SHT_RELR.0 => tables.relr.push(data),
            _ => {}
        }
        // More tables than any linker writes, and each may claim the whole file.
        if tables.rela.len() + tables.rel.len() + tables.relr.len() >= 8 {
            break;
        }
    }
    tables
}

fn le(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}

fn rela(entry: &[u8; 24], relative: u32) -> Option<Pointer> {
    let (place, rest) = entry.split_at(8);
    let (info, addend) = rest.split_at(8);
    (le(info) & 0xffff_ffff == u64::from(relative)).then(|| Pointer {
        place: VirtAddr(le(place)),
        target: VirtAddr(le(addend)),
    })
}

fn rel(entry: &[u8; 16], relative: u32) -> Option<u64> {
    let (place, info) = entry.split_at(8);
    (le(info) & 0xffff_ffff == u64::from(relative)).then(|| le(place))
}

/// An even word is a place; an odd one is a bitmap of which of the next 63 words are places.
fn relr(table: &[u8], places: &mut Vec<u64>) {
    let mut next = 0u64;
    for word in table.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        if places.len() >= RELOCATIONS_MAX {
            return;
        }
        if word & 1 == 0 {
            places.push(word);
            next = word.wrapping_add(WORD);
            continue;
        }
        let bits = (0..63).filter(|bit| word >> (bit + 1) & 1 == 1);
        places.extend(bits.map(|bit| next.wrapping_add(bit * WORD)));
        next = next.wrapping_add(63 * WORD);
    }
}

/// The addends that stand in the words themselves.
fn add_in_place(image: &Image<'_>, places: &[u64], all: &mut Vec<Pointer>) {
    let mut segment: (u64, &[u8]) = (0, &[]);
    for place in places {
        let inside = |(start, bytes): (u64, &[u8])| {
            let at = usize::try_from(place.checked_sub(start)?).ok()?;
            Some(le(bytes.get(at..at.checked_add(8)?)?))
        };
        let word = inside(segment).or_else(|| {
            segment = (*place, image.bytes_at(VirtAddr(*place))?);
            inside(segment)
        });
        all.extend(word.map(|target| Pointer {
            place: VirtAddr(*place),
            target: VirtAddr(target),
        }));
    }
}
