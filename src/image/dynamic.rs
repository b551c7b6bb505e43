//! `PT_DYNAMIC`: what the loader reads. It stands where section headers are stripped or lie.
//! Source: System V ABI, "Dynamic Section"; glibc elf/dl-lookup.c for the number of symbols.

use std::collections::BTreeMap;

use object::elf;
use object::endian::Endianness;
use object::read::elf::{FileHeader, GnuHashTable, HashTable};

use super::symbols::{SymbolTable, Versions};
use super::{Arch, Image, VirtAddr};
use crate::bytes::{self, Endian, Reader};

/// binutils include/elf/common.h.
const DF_1_PIE: u64 = 0x0800_0000;

/// Addresses are virtual, as in the file (no load bias).
#[derive(Default)]
pub(super) struct Dynamic<'a> {
    strings: &'a [u8],
    symbols: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
    versym: Option<u64>,
    verdef: Option<(u64, u64)>,
    string_addr: u64,
    pub is_pie: bool,
    pub needed: Vec<&'a [u8]>,
    pub soname: Option<&'a [u8]>,
    pub run_path: Option<&'a [u8]>,
}

impl<'a> Dynamic<'a> {
    /// `None` if there is no dynamic segment, or no string table to make sense of it.
    pub fn parse(image: &Image<'a>) -> Option<Self> {
        let entries = entries(image)?;
        let value = |tag: elf::DynamicTag| {
            entries
                .iter()
                .find(|(found, _)| *found == tag.0 as u64)
                .map(|(_, value)| *value)
        };
        let string_addr = value(elf::DT_STRTAB)?;
        let strings = image.bytes_at(VirtAddr(string_addr))?;
        let size = usize::try_from(value(elf::DT_STRSZ)?).ok()?;
        let strings = strings.get(..size.min(strings.len()))?;
        let string = |offset: u64| bytes::name(strings, usize::try_from(offset).ok()?);
        Some(Self {
            strings,
            string_addr,
            symbols: value(elf::DT_SYMTAB),
            hash: value(elf::DT_HASH),
            gnu_hash: value(elf::DT_GNU_HASH),
            versym: value(elf::DT_VERSYM),
            verdef: value(elf::DT_VERDEF).zip(value(elf::DT_VERDEFNUM)),
            is_pie: value(elf::DT_FLAGS_1).is_some_and(|flags| flags & DF_1_PIE != 0),
            needed: entries
                .iter()
                .filter(|(tag, _)| *tag == elf::DT_NEEDED.0 as u64)
                .filter_map(|(_, offset)| string(*offset))
                .collect(),
            soname: value(elf::DT_SONAME).and_then(string),
            run_path: value(elf::DT_RUNPATH)
                .or(value(elf::DT_RPATH))
                .and_then(string),
        })
    }

    /// The dynamic symbol table with its versions.
    pub fn symbols(&self, image: &Image<'a>) -> Option<SymbolTable<'a>> {
        let addr = self.symbols?;
        let available = image.bytes_at(VirtAddr(addr))?;
        let entry = SymbolTable::entry_size(image.is_64);
        let count = self
            .count(image, addr)
            .unwrap_or(0)
            .min(available.len() / entry);
        let bytes = available.get(..count.checked_mul(entry)?)?;
        (count > 0).then(|| SymbolTable::new(image, bytes, self.strings, self.versions(image)))
    }

    /// The loader never needs the number of symbols, so nothing states it: the hash tables imply it,
    /// and without them the string table stands right behind the symbols in every known linker.
    fn count(&self, image: &Image<'a>, symbols: u64) -> Option<usize> {
        let endian = match image.endian {
            Endian::Big => Endianness::Big,
            Endian::Little => Endianness::Little,
        };
        let table = |addr: Option<u64>| image.bytes_at(VirtAddr(addr?));
        let by_hash = || {
            let data = table(self.hash)?;
            // s390x (and Alpha) has 64-bit hash tables: binutils bfd/elf64-s390.c,
            // s390_elf64_size_info.
            if image.is_64 && image.arch == Arch::Other(elf::EM_S390.0) {
                let mut reader = Reader::new(data, image.endian);
                reader.skip(8)?; // nbucket
                return usize::try_from(reader.u64()?).ok();
            }
            let hash = HashTable::<elf::FileHeader64<Endianness>>::parse(endian, data).ok()?;
            Some(hash.symbol_table_length() as usize)
        };
        let by_gnu_hash = || {
            let data = table(self.gnu_hash)?;
            if image.is_64 {
                gnu_hash_count::<elf::FileHeader64<Endianness>>(endian, data)
            } else {
                gnu_hash_count::<elf::FileHeader32<Endianness>>(endian, data)
            }
        };
        let by_position = || {
            let size = self.string_addr.checked_sub(symbols)?;
            Some(usize::try_from(size).ok()? / SymbolTable::entry_size(image.is_64))
        };
        by_hash()
            .filter(|count| *count > 0)
            .or_else(by_gnu_hash)
            .or_else(by_position)
    }

    fn versions(&self, image: &Image<'a>) -> Option<Versions<'a>> {
        let (addr, count) = self.verdef?;
        let definitions = image.bytes_at(VirtAddr(addr))?;
        Some(Versions {
            indices: image.bytes_at(VirtAddr(self.versym?))?,
            names: version_names(definitions, count, self.strings, image.endian),
        })
    }
}

fn gnu_hash_count<Elf: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    data: &[u8],
) -> Option<usize> {
    let table = GnuHashTable::<Elf>::parse(endian, data).ok()?;
    let length = table.symbol_table_length(endian);
    length
        .or(Some(table.symbol_base()))
        .map(|length| length as usize)
}

/// The value of the first entry with this tag, whether or not the rest makes sense.
pub(super) fn value(image: &Image<'_>, tag: elf::DynamicTag) -> Option<u64> {
    let entries = entries(image)?;
    let mut entries = entries.iter();
    let (_, value) = entries.find(|(found, _)| *found == tag.0 as u64)?;
    Some(*value)
}

/// Tag and value of each entry up to `DT_NULL`.
fn entries(image: &Image<'_>) -> Option<Vec<(u64, u64)>> {
    let mut reader = Reader::new(image.dynamic_data?, image.endian);
    let mut entries = Vec::new();
    loop {
        let entry = if image.is_64 {
            reader.u64().zip(reader.u64())
        } else {
            reader.u32().map(u64::from).zip(reader.u32().map(u64::from))
        };
        match entry {
            Some((0, _)) | None => return Some(entries),
            Some(entry) => entries.push(entry),
        }
    }
}

/// `Elfxx_Verdef` chain: index to name. The layout is the same in both classes.
fn version_names<'a>(
    definitions: &'a [u8],
    count: u64,
    strings: &'a [u8],
    endian: Endian,
) -> BTreeMap<u16, &'a [u8]> {
    let mut names = BTreeMap::new();
    let mut at = 0usize;
    // A chain that leads backwards cannot exist: `vd_next` is unsigned; 0 ends it.
    for _ in 0..count.min(u64::from(u16::MAX)) {
        let Some((index, name, next)) = version_definition(definitions, at, strings, endian) else {
            break;
        };
        names.entry(index).or_insert(name);
        let Some(following) = at.checked_add(next).filter(|_| next > 0) else {
            break;
        };
        at = following;
    }
    names
}

fn version_definition<'a>(
    definitions: &'a [u8],
    at: usize,
    strings: &'a [u8],
    endian: Endian,
) -> Option<(u16, &'a [u8], usize)> {
    let mut reader = Reader::at(definitions, at, endian)?;
    reader.skip(4)?; // vd_version, vd_flags
    let index = reader.u16()?;
    reader.skip(6)?; // vd_cnt, vd_hash
    let aux = usize::try_from(reader.u32()?).ok()?;
    let next = usize::try_from(reader.u32()?).ok()?;
    let mut aux = Reader::at(definitions, at.checked_add(aux)?, endian)?;
    let name = bytes::name(strings, usize::try_from(aux.u32()?).ok()?)?;
    Some((index, name, next))
}
