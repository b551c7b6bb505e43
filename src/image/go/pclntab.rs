//! The table of functions: addresses and names of everything that Go compiled, in four formats.
//! Names are searched as text; the table is then walked once for the records that have them.
//!
//! Source: <https://github.com/golang/go/blob/go1.27.3/src/debug/gosym/pclntab.go>, `go12line`,
//! and for the header without `textStart` `runtime/symtab.go` there.

use memchr::memmem;

use crate::bytes::{Endian, Reader, c_str};
use crate::error::{Error, OrInvalid, Result};
use crate::image::{Arch, FileOff, Image, Pointers, VirtAddr};

/// More functions than this no program has: Kubernetes, a giant, has 200,000.
const FUNCTIONS_MAX: u64 = 10_000_000;

/// Linkers write two to ten.
const SEGMENTS_MAX: usize = 64;

/// Layout of the table, named after the first version that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Magic `0xfffffffb`, up to Go 1.15.
    Go12,
    /// Magic `0xfffffffa`.
    Go116,
    /// Magic `0xfffffff0`.
    Go118,
    /// Magic `0xfffffff1`, up to Go 1.27 at least.
    Go120,
}

impl Format {
    fn of(magic: u32) -> Option<Self> {
        match magic {
            0xffff_fffb => Some(Self::Go12),
            0xffff_fffa => Some(Self::Go116),
            0xffff_fff0 => Some(Self::Go118),
            0xffff_fff1 => Some(Self::Go120),
            _ => None,
        }
    }

    /// Addresses are absolute words; later ones are offsets from the start of the text.
    fn is_absolute(self) -> bool {
        self <= Self::Go116
    }

    /// Bytes of one functab entry.
    fn entry_size(self) -> usize {
        if self.is_absolute() { 16 } else { 8 }
    }
}

/// A table whose header holds together.
pub struct Pclntab<'a> {
    /// Where it is loaded.
    pub addr: VirtAddr,
    /// Its layout.
    pub format: Format,
    /// Number of functions.
    pub functions: usize,
    /// Where the code starts, if the header tells (not since Go 1.26).
    pub text_start: Option<VirtAddr>,
    /// Offset of the names.
    pub names_offset: u64,
    /// Offset of the functab, and of what its entries point to.
    pub functab_offset: u64,
    names: &'a [u8],
    /// From the functab to the end of the segment.
    functab: &'a [u8],
    /// What offsets in the functab count from.
    records: &'a [u8],
    records_offset: u64,
}

/// The record of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the functab.
    pub index: usize,
    /// Where its name starts among the names.
    pub name_offset: u32,
    /// Where the record is loaded.
    pub addr: VirtAddr,
}

/// Where tables may be, and why there is none where a section says there is. One pass over the loaded
/// data if no section tells.
pub fn candidates(image: &Image<'_>, max: usize) -> (Vec<VirtAddr>, Option<Error>) {
    let quantum = match image.arch {
        Arch::X86_64 => 1,
        Arch::Aarch64 => 4,
        _ => return (Vec::new(), None),
    };
    if !image.is_64 || image.endian != Endian::Little {
        return (Vec::new(), None);
    }
    // Every address is looked up among the segments: no linker writes as many as a hostile file can have.
    let segments = image.segments.iter().count();
    if segments > SEGMENTS_MAX {
        let error = Error::invalid(format!("{segments} segments are too many for a Go program"));
        return (Vec::new(), Some(error));
    }
    let mut places = Vec::new();
    for name in [".gopclntab", ".data.rel.ro.gopclntab"] {
        let section = image.section(name);
        places.extend(section.and_then(|section| image.segments.addr_of(FileOff(section.offset))));
    }
    let damage = places
        .first()
        .and_then(|place| Pclntab::parse(image, *place).err());
    if damage.is_none() && !places.is_empty() {
        return (places, None);
    }
    scan(image, quantum, max, &mut places);
    (places, damage)
}

/// All four magics end like this, and so does what follows them: zero, zero, quantum, pointer size.
fn scan(image: &Image<'_>, quantum: u8, max: usize, places: &mut Vec<VirtAddr>) {
    let tail = [0xff, 0xff, 0xff, 0, 0, quantum, 8];
    let finder = memmem::Finder::new(&tail);
    for data in image.loaded_data() {
        let start = data.as_ptr().addr() - image.data().as_ptr().addr();
        for at in finder.find_iter(data) {
            let Some(offset) = (start + at).checked_sub(1) else {
                continue;
            };
            let Some(addr) = image.segments.addr_of(FileOff(offset as u64)) else {
                continue;
            };
            if addr.0 % 8 == 0 && Pclntab::parse(image, addr).is_ok() && places.len() < max {
                places.push(addr);
            }
        }
    }
}

/// Offsets in the header, from Go 1.16 on.
struct Header {
    text_start: Option<u64>,
    names: u64,
    names_end: u64,
    functab: u64,
}

impl<'a> Pclntab<'a> {
    /// Checks the header at `addr`.
    ///
    /// # Errors
    /// Which check failed.
    pub fn parse(image: &Image<'a>, addr: VirtAddr) -> Result<Self> {
        let data = image
            .bytes_at(addr)
            .or_invalid(|| format!("pclntab: {addr} is not in the file"))?;
        let mut reader = Reader::new(data, Endian::Little);
        let magic = reader.u32().or_invalid(|| "pclntab: cut off")?;
        let format = Format::of(magic)
            .or_invalid(|| format!("pclntab at {addr}: unknown magic {magic:#x}"))?;
        let header = reader.bytes(4).or_invalid(|| "pclntab: cut off")?;
        if !matches!(header, [0, 0, 1 | 2 | 4, 8]) {
            return Err(Error::invalid(format!(
                "pclntab at {addr}: odd header {header:?} behind the magic"
            )));
        }
        let functions = reader.u64().unwrap_or(0);
        if !(1..=FUNCTIONS_MAX).contains(&functions) {
            return Err(Error::invalid(format!(
                "pclntab at {addr}: {functions} functions"
            )));
        }
        let header = if format == Format::Go12 {
            Header {
                text_start: None,
                names: 0,
                names_end: data.len() as u64,
                functab: 16,
            }
        } else {
            Header::parse(&mut reader, format, data.len() as u64)
                .or_invalid(|| format!("pclntab at {addr}: its parts are out of order"))?
        };
        Self::with_header(addr, data, format, functions, &header)
            .or_invalid(|| format!("pclntab at {addr}: {functions} functions do not fit"))
    }

    fn with_header(
        addr: VirtAddr,
        data: &'a [u8],
        format: Format,
        functions: u64,
        header: &Header,
    ) -> Option<Self> {
        let functions = usize::try_from(functions).ok()?;
        let slice = |start: u64, end: u64| {
            data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        };
        let from_functab = slice(header.functab, data.len() as u64)?;
        // One more address ends the last function.
        let size = functions.checked_mul(format.entry_size())? + format.entry_size() / 2;
        let (records, records_offset) = if format == Format::Go12 {
            (data, 0)
        } else {
            (from_functab, header.functab)
        };
        Some(Self {
            addr,
            format,
            functions,
            text_start: header.text_start.filter(|start| *start != 0).map(VirtAddr),
            names_offset: header.names,
            functab_offset: header.functab,
            names: slice(header.names, header.names_end)?,
            functab: from_functab.get(..size)?,
            records,
            records_offset,
        })
    }

    /// Its entries are addresses by themselves, or count from a start that it names.
    pub fn knows_addresses(&self) -> bool {
        self.format.is_absolute() || self.text_start.is_some()
    }

    /// The names, one after the other, each ended by a zero.
    pub fn names(&self) -> &'a [u8] {
        self.names
    }

    /// Names that end in `suffix`, whole, with their offsets. At most `max`.
    pub fn names_ending(&self, suffix: &str, max: usize) -> Vec<(u32, &'a [u8])> {
        let needle = [suffix.as_bytes(), b"\0"].concat();
        let hits = memmem::find_iter(self.names, &needle);
        let whole = hits.filter_map(|at| {
            // Longer than any symbol that is worth a look: `bytes::name` refuses those as well.
            let floor = at.saturating_sub(1024);
            let before = self.names.get(floor..at)?;
            let start = floor + memchr::memrchr(0, before)? + 1;
            Some((u32::try_from(start).ok()?, c_str(self.names, start)?))
        });
        whole.take(max).collect()
    }

    /// Whether any name contains `text`.
    pub fn mentions(&self, text: &str) -> bool {
        memmem::find(self.names, text.as_bytes()).is_some()
    }

    /// The records of the functions with these names, in one pass over the table.
    pub fn records_named(&self, name_offsets: &[u32]) -> Vec<Record> {
        let mut wanted = name_offsets.to_vec();
        wanted.sort_unstable();
        let (Some(low), Some(high)) = (wanted.first(), wanted.last()) else {
            return Vec::new();
        };
        let all = (0..self.functions).filter_map(|index| self.record(index));
        all.filter(|record| {
            (*low..=*high).contains(&record.name_offset)
                && wanted.binary_search(&record.name_offset).is_ok()
        })
        .collect()
    }

    /// The record of the function with this number.
    pub fn record(&self, index: usize) -> Option<Record> {
        let half = self.format.entry_size() / 2;
        let offset = self.functab_word(index.checked_mul(2)?.checked_add(1)?)?;
        let at = usize::try_from(offset).ok()?.checked_add(half)?;
        let name_offset = Reader::at(self.records, at, Endian::Little)?.u32()?;
        let inside = self.records_offset.checked_add(offset)?;
        Some(Record {
            index,
            name_offset,
            addr: VirtAddr(self.addr.0.checked_add(inside)?),
        })
    }

    /// Words of the functab: of address size, or 32-bit offsets.
    fn functab_word(&self, number: usize) -> Option<u64> {
        let half = self.format.entry_size() / 2;
        let mut reader = Reader::at(self.functab, number.checked_mul(half)?, Endian::Little)?;
        if half == 8 {
            reader.u64()
        } else {
            reader.u32().map(u64::from)
        }
    }

    /// Where the function with this number starts; `index == functions` is the end of the last one.
    pub fn entry(
        &self,
        pointers: &Pointers<'_, 'a>,
        text: Option<VirtAddr>,
        index: usize,
    ) -> Option<VirtAddr> {
        if self.format.is_absolute() {
            let inside = (index as u64).checked_mul(16)?;
            return pointers.at_offset(self.addr, self.functab_offset.checked_add(inside)?);
        }
        let offset = self.functab_word(index.checked_mul(2)?)?;
        text?.0.checked_add(offset).map(VirtAddr)
    }

    /// The address that the function's own record has; it must be that of the functab.
    pub fn record_entry(
        &self,
        pointers: &Pointers<'_, 'a>,
        text: Option<VirtAddr>,
        record: &Record,
    ) -> Option<VirtAddr> {
        if self.format.is_absolute() {
            return pointers.at(record.addr);
        }
        let inside = record.addr.0.checked_sub(self.addr.0)?;
        let at = usize::try_from(inside.checked_sub(self.records_offset)?).ok()?;
        let offset = Reader::at(self.records, at, Endian::Little)?.u32()?;
        text?.0.checked_add(u64::from(offset)).map(VirtAddr)
    }

    /// The number of the function that starts at exactly this address.
    pub fn index_of(
        &self,
        pointers: &Pointers<'_, 'a>,
        text: Option<VirtAddr>,
        addr: VirtAddr,
    ) -> Option<usize> {
        let (mut low, mut high) = (0, self.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(pointers, text, middle)?.cmp(&addr) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl Header {
    fn parse(reader: &mut Reader<'_>, format: Format, size: u64) -> Option<Self> {
        reader.skip(8)?; // nfiles
        let text_start = match format {
            Format::Go12 | Format::Go116 => None,
            Format::Go118 | Format::Go120 => Some(reader.u64()?),
        };
        let names = reader.u64()?;
        let units = reader.u64()?;
        let files = reader.u64()?;
        let pcs = reader.u64()?;
        let functab = reader.u64()?;
        let in_order = reader.position() as u64 <= names
            && names < units
            && units <= files
            && files <= pcs
            && pcs <= functab
            && functab < size;
        in_order.then_some(Self {
            text_start,
            names,
            names_end: units,
            functab,
        })
    }
}
