//! Functions by their DWARF entries: the rung for files that kept debug information but lost their
//! symbol table. Only concrete functions with a code address count, no inlined copies.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use gimli::{AttributeValue, EndianSlice, RunTimeEndian, Section as _};

use super::{Image, VirtAddr};
use crate::bytes::Endian;
use crate::error::{Error, Result};

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// All unpacked debug sections together: more memory than this is too high a price for a name.
const UNPACKED_MAX: u64 = 4 << 30;

/// So much any file may unpack, and beyond it so many times its size. Debug data is packed to a third
/// or a fifth; zstd could claim gigabytes in a few kilobytes.
const UNPACKED_FREE: u64 = 16 << 20;
const UNPACKED_RATIO: u64 = 64;

/// The sections that names and addresses of functions are in; the others stay packed.
const SECTIONS: [gimli::SectionId; 7] = [
    gimli::SectionId::DebugAbbrev,
    gimli::SectionId::DebugAddr,
    gimli::SectionId::DebugInfo,
    gimli::SectionId::DebugLine,
    gimli::SectionId::DebugLineStr,
    gimli::SectionId::DebugStr,
    gimli::SectionId::DebugStrOffsets,
];

/// Units may share tables that have to be read for each, so the file's size is no bound. A gigabyte of
/// DWARF takes two or three seconds.
const TIME_MAX: Duration = Duration::from_secs(8);

/// Most functions that may be of interest.
const FUNCTIONS_MAX: usize = 4096;

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
            if let Some(function) = subprogram(dwarf, &unit, entry, wanted)? {
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
    dwarf: &gimli::Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    entry: &gimli::DebuggingInformationEntry<Slice<'a>>,
    wanted: &dyn Fn(&[u8]) -> bool,
) -> gimli::Result<Option<Subprogram>> {
    let addr = match entry.attr_value(gimli::DW_AT_low_pc) {
        Some(AttributeValue::Addr(addr)) => addr,
        Some(AttributeValue::DebugAddrIndex(index)) => dwarf.address(unit, index)?,
        _ => return Ok(None),
    };
    let Some(name) = name(dwarf, unit, entry)?.filter(|name| wanted(name)) else {
        return Ok(None);
    };
    let size = match entry.attr_value(gimli::DW_AT_high_pc) {
        Some(AttributeValue::Addr(end)) => end.saturating_sub(addr),
        Some(value) => value.udata_value().unwrap_or(0),
        None => 0,
    };
    Ok(Some(Subprogram {
        name: name.to_vec(),
        addr: VirtAddr(addr),
        size,
    }))
}

fn name<'a>(
    dwarf: &gimli::Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    entry: &gimli::DebuggingInformationEntry<Slice<'a>>,
) -> gimli::Result<Option<&'a [u8]>> {
    let value = entry
        .attr_value(gimli::DW_AT_linkage_name)
        .or_else(|| entry.attr_value(gimli::DW_AT_name));
    value
        .map(|value| dwarf.attr_string(unit, value).map(|name| name.slice()))
        .transpose()
}

impl From<gimli::Error> for Error {
    fn from(error: gimli::Error) -> Self {
        Self::invalid(format!("failed to read DWARF: {error}"))
    }
}
