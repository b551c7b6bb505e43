//! Functions by their DWARF entries: the rung for files that kept debug information but lost their
//! symbol table. Only concrete functions with a code address count, no inlined copies.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gimli::{AttributeValue, EndianSlice, RunTimeEndian, Section as _};

use super::{Image, VirtAddr};
use crate::bytes::Endian;
use crate::error::{Error, Result};

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
type Unit<'a> = gimli::Unit<Slice<'a>>;
type Entry<'a> = gimli::DebuggingInformationEntry<Slice<'a>>;

/// All unpacked debug sections together: more memory than this is too high a price for a name.
const UNPACKED_MAX: u64 = 4 << 30;

/// So much any file may unpack, and beyond it so many times its size: far more than compilers' output
/// shrinks, while a zstd bomb of a few kilobytes could claim gigabytes.
const UNPACKED_FREE: u64 = 16 << 20;
const UNPACKED_RATIO: u64 = 64;

/// The sections that names and addresses of functions are in; the others stay packed.
const SECTIONS: [gimli::SectionId; 9] = [
    gimli::SectionId::DebugAbbrev,
    gimli::SectionId::DebugAddr,
    gimli::SectionId::DebugInfo,
    gimli::SectionId::DebugLine,
    gimli::SectionId::DebugLineStr,
    gimli::SectionId::DebugRanges,
    gimli::SectionId::DebugRngLists,
    gimli::SectionId::DebugStr,
    gimli::SectionId::DebugStrOffsets,
];

/// Units may share tables that have to be read for each, so the file's size is no bound. Measured: 14 MB
/// of `.debug_info` take 0.05 to 0.08 s, so that this is enough for a gigabyte.
const TIME_MAX: Duration = Duration::from_secs(8);

/// Most functions that may be of interest.
const FUNCTIONS_MAX: usize = 4096;

/// From a function's code to its inlined form to its declaration are two steps.
const HOPS_MAX: usize = 4;

/// A function that DWARF knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subprogram {
    /// Its linkage name, else its name.
    pub name: Vec<u8>,
    /// First instruction.
    pub addr: VirtAddr,
    /// Bytes; 0 if not told.
    pub size: u64,
}

/// Every function that `wanted` accepts by name. `Ok(None)`: the image has no DWARF, or its strings
/// do not hold any of `hints`, so that walking the tree would be in vain.
///
/// # Errors
/// The debug sections cannot be read.
pub fn subprograms(
    image: &Image<'_>,
    hints: &[&[u8]],
    wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<Vec<Subprogram>>> {
    if image.section(".debug_info").is_none() {
        return Ok(None);
    }
    let mut budget = UNPACKED_MAX.min(UNPACKED_FREE + UNPACKED_RATIO * image.data().len() as u64);
    let sections = gimli::DwarfSections::load(|id| {
        if SECTIONS.contains(&id) {
            contents(image, id.name(), &mut budget)
        } else {
            Ok(Cow::Borrowed(&[][..]))
        }
    })?;
    let endian = match image.endian {
        Endian::Big => RunTimeEndian::Big,
        Endian::Little => RunTimeEndian::Little,
    };
    let dwarf = sections.borrow(|section| EndianSlice::new(section, endian));
    // Names stand in the string sections or right in the entries.
    let names = [
        dwarf.debug_str.reader().slice(),
        dwarf.debug_line_str.reader().slice(),
        dwarf.debug_info.reader().slice(),
    ];
    let mentions = |hint: &&[u8]| {
        let finder = memchr::memmem::Finder::new(hint);
        names.iter().any(|section| finder.find(section).is_some())
    };
    if !hints.iter().any(mentions) {
        return Ok(None);
    }
    walk(&dwarf, wanted).map(Some)
}

fn contents<'a>(image: &Image<'a>, name: &str, budget: &mut u64) -> Result<Cow<'a, [u8]>> {
    let Some(section) = image.section(name) else {
        return Ok(Cow::Borrowed(&[]));
    };
    let contents = image.section_contents(section, *budget)?;
    if let Cow::Owned(unpacked) = &contents {
        *budget = budget.saturating_sub(unpacked.len() as u64);
    }
    Ok(contents)
}

fn walk(
    dwarf: &gimli::Dwarf<Slice<'_>>,
    wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<Subprogram>> {
    let began = Instant::now();
    let units = Units::list(dwarf)?;
    let mut found = Vec::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let unit = dwarf.unit(header)?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            if entry.tag() != gimli::DW_TAG_subprogram {
                continue;
            }
            check_time(began)?;
            if let Some(function) = subprogram(&units, &unit, entry, wanted)? {
                found.push(function);
            }
            if found.len() > FUNCTIONS_MAX {
                return Err(Error::invalid(format!(
                    "too many names, over {FUNCTIONS_MAX}"
                )));
            }
        }
        check_time(began)?;
    }
    Ok(found)
}

fn check_time(began: Instant) -> Result<()> {
    if began.elapsed() > TIME_MAX {
        return Err(Error::invalid(format!(
            "gave up on DWARF after {TIME_MAX:?}"
        )));
    }
    Ok(())
}

fn subprogram<'a>(
    units: &Units<'_, 'a>,
    unit: &Unit<'a>,
    entry: &Entry<'a>,
    wanted: &dyn Fn(&[u8]) -> bool,
) -> gimli::Result<Option<Subprogram>> {
    let has_ranges = entry.attr_value(gimli::DW_AT_ranges).is_some();
    let low = entry.attr_value(gimli::DW_AT_low_pc);
    if !has_ranges && low.is_none() {
        return Ok(None);
    }
    let name = units.name(unit, entry, HOPS_MAX)?;
    let Some(name) = name.filter(|name| wanted(name)) else {
        return Ok(None);
    };
    let place = if has_ranges {
        // DWARF 5, 2.17.3: what was split (gcc's `.cold` parts) begins with its first range.
        let first = units.dwarf.die_ranges(unit, entry)?.next()?;
        first.map(|range| (range.begin, range.end.saturating_sub(range.begin)))
    } else {
        let addr = low
            .map(|low| units.dwarf.attr_address(unit, low))
            .transpose()?;
        addr.flatten().map(|addr| (addr, size(entry, addr)))
    };
    Ok(place.map(|(addr, size)| Subprogram {
        name: name.to_vec(),
        addr: VirtAddr(addr),
        size,
    }))
}

fn size(entry: &Entry<'_>, addr: u64) -> u64 {
    match entry.attr_value(gimli::DW_AT_high_pc) {
        Some(AttributeValue::Addr(end)) => end.saturating_sub(addr),
        Some(value) => value.udata_value().unwrap_or(0),
        None => 0,
    }
}

/// A function that was inlined somewhere, too, has its name in another entry, to which it refers
/// (DWARF 5, 3.3.8.3); after link-time optimisation, in another unit.
struct Units<'d, 'a> {
    dwarf: &'d gimli::Dwarf<Slice<'a>>,
    starts: Vec<gimli::DebugInfoOffset>,
    /// The unit that was referred to last: mostly the next reference leads there as well.
    last: RefCell<Option<Rc<Unit<'a>>>>,
}

impl<'d, 'a> Units<'d, 'a> {
    fn list(dwarf: &'d gimli::Dwarf<Slice<'a>>) -> gimli::Result<Self> {
        let mut starts = Vec::new();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            starts.extend(header.debug_info_offset());
        }
        Ok(Self {
            dwarf,
            starts,
            last: RefCell::new(None),
        })
    }

    fn name(
        &self,
        unit: &Unit<'a>,
        entry: &Entry<'a>,
        hops: usize,
    ) -> gimli::Result<Option<&'a [u8]>> {
        let own = entry
            .attr_value(gimli::DW_AT_linkage_name)
            .or_else(|| entry.attr_value(gimli::DW_AT_name));
        if let Some(own) = own {
            return self
                .dwarf
                .attr_string(unit, own)
                .map(|name| Some(name.slice()));
        }
        let origin = entry
            .attr_value(gimli::DW_AT_abstract_origin)
            .or_else(|| entry.attr_value(gimli::DW_AT_specification));
        match origin {
            Some(AttributeValue::UnitRef(at)) if hops > 0 => {
                self.name(unit, &unit.entry(at)?, hops - 1)
            }
            Some(AttributeValue::DebugInfoRef(at)) if hops > 0 => {
                let Some((unit, at)) = self.find(at)? else {
                    return Ok(None);
                };
                self.name(&unit, &unit.entry(at)?, hops - 1)
            }
            _ => Ok(None),
        }
    }

    /// The unit in which `at` is.
    fn find(
        &self,
        at: gimli::DebugInfoOffset,
    ) -> gimli::Result<Option<(Rc<Unit<'a>>, gimli::UnitOffset)>> {
        let place = |unit: Rc<Unit<'a>>| {
            let inside = at.to_unit_offset(&unit.header)?;
            Some((unit, inside))
        };
        if let Some(found) = self.last.borrow().clone().and_then(place) {
            return Ok(Some(found));
        }
        let behind = self.starts.partition_point(|start| *start <= at);
        let Some(start) = behind.checked_sub(1).and_then(|n| self.starts.get(n)) else {
            return Ok(None);
        };
        let header = self.dwarf.debug_info.header_from_offset(*start)?;
        let unit = Rc::new(self.dwarf.unit(header)?);
        *self.last.borrow_mut() = Some(Rc::clone(&unit));
        Ok(place(unit))
    }
}

impl From<gimli::Error> for Error {
    fn from(error: gimli::Error) -> Self {
        Self::invalid(format!("failed to read DWARF: {error}"))
    }
}
