//! Symbol tables of either class, as an iterator over plain symbols. Names stay bytes: nothing says
//! that they are UTF-8.

use std::collections::BTreeMap;

use object::elf;

use super::{Arch, Image, VirtAddr};
use crate::bytes::{self, Endian, Reader};

/// `.gnu.version` and the names of the defined versions.
#[derive(Clone)]
pub(super) struct Versions<'a> {
    pub indices: &'a [u8],
    pub names: BTreeMap<u16, &'a [u8]>,
}

/// One symbol.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'a> {
    /// Without version.
    pub name: &'a [u8],
    /// Where it is; for ARM without the Thumb bit. Meaningless if not [`Self::is_defined`].
    pub addr: VirtAddr,
    /// Bytes; 0 if unknown.
    pub size: u64,
    /// Its position in the table.
    pub index: usize,
    kind: u8,
    bind: u8,
    section: u16,
}

impl<'a> Symbol<'a> {
    /// Defined in this file, not imported.
    pub fn is_defined(&self) -> bool {
        self.section != elf::SHN_UNDEF.0 && self.addr.0 != 0
    }

    /// May be called: a function, or of unknown type as hand-written assembly often is.
    pub fn is_code(&self) -> bool {
        self.kind == elf::STT_FUNC.0 || self.kind == elf::STT_NOTYPE.0
    }

    /// Chosen at load time by a resolver: its address is the resolver's, not the function's.
    pub fn is_indirect(&self) -> bool {
        self.kind == elf::STT_GNU_IFUNC.0
    }

    /// `LOCAL`, `GLOBAL`, `WEAK`, as readelf prints it.
    pub fn binding(&self) -> &'static str {
        match self.bind {
            0 => "LOCAL",
            1 => "GLOBAL",
            2 => "WEAK",
            _ => "OS-SPECIFIC",
        }
    }
}

/// A symbol table with its strings.
#[derive(Clone)]
pub struct SymbolTable<'a> {
    symbols: &'a [u8],
    strings: &'a [u8],
    versions: Option<Versions<'a>>,
    is_64: bool,
    endian: Endian,
    thumb: bool,
}

impl<'a> SymbolTable<'a> {
    pub(super) fn entry_size(is_64: bool) -> usize {
        if is_64 { 24 } else { 16 }
    }

    pub(super) fn new(
        image: &Image<'a>,
        symbols: &'a [u8],
        strings: &'a [u8],
        versions: Option<Versions<'a>>,
    ) -> Self {
        Self {
            symbols,
            strings,
            versions,
            is_64: image.is_64,
            endian: image.endian,
            thumb: image.arch == Arch::Arm,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.symbols.len() / Self::entry_size(self.is_64)
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All symbols with a readable name. Entries whose name lies outside of the strings are passed over.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'a>> + '_ {
        self.symbols
            .chunks_exact(Self::entry_size(self.is_64))
            .enumerate()
            .filter_map(|(index, entry)| self.symbol(index, entry))
    }

    fn symbol(&self, index: usize, entry: &'a [u8]) -> Option<Symbol<'a>> {
        let mut reader = Reader::new(entry, self.endian);
        let name = reader.u32()?;
        let (addr, size, info, section);
        if self.is_64 {
            info = reader.u8()?;
            reader.skip(1)?; // st_other
            section = reader.u16()?;
            addr = reader.u64()?;
            size = reader.u64()?;
        } else {
            addr = u64::from(reader.u32()?);
            size = u64::from(reader.u32()?);
            info = reader.u8()?;
            reader.skip(1)?; // st_other
            section = reader.u16()?;
        }
        let kind = info & 0xf;
        let thumb_bit = u64::from(self.thumb && kind == elf::STT_FUNC.0);
        Some(Symbol {
            name: bytes::name(self.strings, usize::try_from(name).ok()?)?,
            addr: VirtAddr(addr & !thumb_bit),
            size,
            index,
            kind,
            bind: info >> 4,
            section,
        })
    }

    /// The version this symbol is defined at (`OPENSSL_3.0.0`), if the table has versions.
    pub fn version(&self, symbol: &Symbol<'_>) -> Option<&'a [u8]> {
        /// `VERSYM_HIDDEN`: not the default version of the name.
        const HIDDEN: u16 = 0x8000;
        let versions = self.versions.as_ref()?;
        let at = symbol.index.checked_mul(2)?;
        let index = Reader::at(versions.indices, at, self.endian)?.u16()? & !HIDDEN;
        versions.names.get(&index).copied()
    }
}

/// The first section of type `kind` with the string table that it links to.
pub(super) fn from_section<'a>(image: &Image<'a>, kind: u32) -> Option<SymbolTable<'a>> {
    let table = image.sections.iter().find(|section| section.kind == kind)?;
    let strings = image.sections.get(usize::try_from(table.link).ok()?)?;
    let symbols = image.section_data(table).filter(|s| !s.is_empty())?;
    let strings = image.section_data(strings)?;
    Some(SymbolTable::new(image, symbols, strings, None))
}
