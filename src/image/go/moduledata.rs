//! `runtime.firstmoduledata`: where the parts of a Go program are. It is found by its first word, which
//! points to the function table, and believed only if the words that must agree do.
//!
//! Source: `type moduledata` in runtime/symtab.go of Go 1.15, 1.16, 1.20 and 1.27.

use super::pclntab::{Format, Pclntab};
use crate::image::{FileOff, Pointers, VirtAddr};

/// What is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleData {
    /// Where it is loaded.
    pub addr: VirtAddr,
    /// `runtime.text`: offsets of functions count from here.
    pub text: VirtAddr,
    /// The end of the code.
    pub etext: VirtAddr,
    /// Offsets of types and names count from here.
    pub types: Option<VirtAddr>,
    /// The end of types and names.
    pub etypes: Option<VirtAddr>,
}

/// Offsets inside of it, in bytes.
struct Layout {
    /// Length of the functab, one more than there are functions.
    functab_len: u64,
    min_pc: u64,
    max_pc: u64,
    text: u64,
    types: u64,
}

impl Layout {
    const fn of(format: Format) -> Self {
        match format {
            Format::Go12 => Self {
                functab_len: 32,
                min_pc: 80,
                max_pc: 88,
                text: 96,
                types: 200,
            },
            Format::Go116 | Format::Go118 => Self {
                functab_len: 136,
                min_pc: 160,
                max_pc: 168,
                text: 176,
                types: 280,
            },
            // Go 1.20 put `covctrs, ecovctrs` before the types.
            Format::Go120 => Self {
                functab_len: 136,
                min_pc: 160,
                max_pc: 168,
                text: 176,
                types: 296,
            },
        }
    }
}

/// The module data of one of `tables`, and which of them.
pub fn find(pointers: &Pointers<'_, '_>, tables: &[Pclntab<'_>]) -> Option<(usize, ModuleData)> {
    let image = pointers.image();
    // Go 1.26 and later give it a section.
    let by_section = image
        .section(".go.module")
        .and_then(|section| image.segments.addr_of(FileOff(section.offset)));
    let check = |addr| {
        let mut all = tables.iter().enumerate();
        all.find_map(|(index, table)| Some((index, parse(pointers, table, addr)?)))
    };
    by_section.and_then(check).or_else(|| {
        let targets: Vec<_> = tables.iter().map(|table| table.addr).collect();
        let places = pointers.to(&targets);
        places.iter().find_map(|pointer| check(pointer.place))
    })
}

/// The module data at `addr`, if what stands there is that of `table`.
pub fn parse(
    pointers: &Pointers<'_, '_>,
    table: &Pclntab<'_>,
    addr: VirtAddr,
) -> Option<ModuleData> {
    let layout = Layout::of(table.format);
    let pointer = |offset| pointers.at_offset(addr, offset);
    let number = |offset| pointers.word(VirtAddr(addr.0.checked_add(offset)?));
    let second = if table.format == Format::Go12 {
        (24, table.functab_offset) // ftab
    } else {
        (8, table.names_offset) // funcnametab
    };
    let (text, etext) = (pointer(layout.text)?, pointer(layout.text + 8)?);
    let (min_pc, max_pc) = (pointer(layout.min_pc)?, pointer(layout.max_pc)?);
    let code = |addr: VirtAddr| pointers.image().segments.code_offset(addr).is_some();
    let fits = pointer(0)? == table.addr
        && pointer(second.0)?.0 == table.addr.0.checked_add(second.1)?
        && number(layout.functab_len)? == table.functions as u64 + 1
        && text <= min_pc
        && min_pc < max_pc
        && max_pc <= etext
        && code(text)
        && code(VirtAddr(max_pc.0.checked_sub(1)?));
    let types = types(pointers, addr, layout.types);
    fits.then_some(ModuleData {
        addr,
        text,
        etext,
        types: types.map(|types| types.0),
        etypes: types.map(|types| types.1),
    })
}

/// Go 1.27 put `typedesclen`, a number, between `types` and `etypes`.
fn types(pointers: &Pointers<'_, '_>, addr: VirtAddr, offset: u64) -> Option<(VirtAddr, VirtAddr)> {
    let types = pointers.at_offset(addr, offset)?;
    let end = |offset| {
        pointers
            .at_offset(addr, offset)
            .filter(|end| *end > types)
            // Inside one segment, of which it may be the end.
            .filter(|end| {
                let size = usize::try_from(end.0 - types.0).unwrap_or(usize::MAX);
                let data = pointers.image().bytes_at(types);
                data.is_some_and(|data| data.len() >= size)
            })
    };
    end(offset + 8)
        .or_else(|| end(offset + 16))
        .map(|end| (types, end))
}
