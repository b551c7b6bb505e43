//! Functions by their DWARF entries: the rung for files that kept debug information but lost their
//! symbol table. Only concrete functions with a code address count, no inlined copies.

use std::borrow::Cow;

use gimli::{AttributeValue, EndianSlice, RunTimeEndian, Section as _};

use super::{Image, VirtAddr};
use crate::bytes::Endian;
use crate::error::{Error, Result};

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// Unpacked debug sections of the largest browsers stay below this.
const SECTION_LIMIT: u64 = 4 << 30;

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
    let sections = gimli::DwarfSections::load(|id| contents(image, id.name()))?;
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
    walk(&dwarf, wanted)
        .map(Some)
        .map_err(|error| Error::invalid(format!("failed to read DWARF: {error}")))
}

fn contents<'a>(image: &Image<'a>, name: &str) -> Result<Cow<'a, [u8]>> {
    match image.section(name) {
        Some(section) => image.section_contents(section, SECTION_LIMIT),
        None => Ok(Cow::Borrowed(&[])),
    }
}

fn walk(
    dwarf: &gimli::Dwarf<Slice<'_>>,
    wanted: &dyn Fn(&[u8]) -> bool,
) -> gimli::Result<Vec<Subprogram>> {
    let mut found = Vec::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let unit = dwarf.unit(header)?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            if entry.tag() == gimli::DW_TAG_subprogram
                && let Some(function) = subprogram(dwarf, &unit, entry, wanted)?
            {
                found.push(function);
            }
        }
    }
    Ok(found)
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
