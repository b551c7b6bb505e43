//! Go's type descriptors, which stripped programs keep: names, packages, and where fields are.
//!
//! Source: `type Type` and what follows in internal/abi/type.go of Go 1.27, runtime/type.go before 1.20.

use memchr::memmem;

use super::moduledata::ModuleData;
use super::pclntab::Format;
use crate::bytes::{Endian, Reader};
use crate::image::{Pointers, VirtAddr};

/// Kinds of types that are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of methods.
    Interface,
    /// To another type.
    Pointer,
    /// Of fields.
    Struct,
    /// Any other.
    Other,
}

/// More fields than this no struct has that is of interest.
const FIELDS_MAX: u64 = 1024;

/// Longest name of a type or field that is believed.
const NAME_MAX: usize = 4096;

/// Most types that are called one of a few names; an honest program has one of each.
const NAMED_MAX: usize = 1024;

/// Occurrences of a type's name that are looked at: other names may end like it.
const NAME_HITS_MAX: usize = 64;

/// Bytes of what all types have in common; what a kind adds comes behind.
const COMMON: u64 = 48;

/// `TFlagUncommon`, `TFlagExtraStar`.
const UNCOMMON: u8 = 1;
const EXTRA_STAR: u8 = 2;

/// The types of one program.
pub struct Types<'p, 'a> {
    pointers: &'p Pointers<'p, 'a>,
    base: VirtAddr,
    data: &'a [u8],
    format: Format,
    shifted: bool,
}

/// One type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    /// Where its descriptor is.
    pub addr: VirtAddr,
    /// What kind it is.
    pub kind: Kind,
    /// Of values, in bytes.
    pub size: u64,
    /// What itabs repeat.
    pub hash: u32,
    flags: u8,
    name: u32,
}

/// One field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// For embedded ones that of the type.
    pub name: &'a [u8],
    /// Its type.
    pub addr: VirtAddr,
    /// Bytes from the start of the struct.
    pub offset: u64,
}

impl<'p, 'a> Types<'p, 'a> {
    /// `None`: the module data does not tell where they are.
    pub fn new(
        pointers: &'p Pointers<'p, 'a>,
        module: &ModuleData,
        format: Format,
    ) -> Option<Self> {
        let (base, end) = (module.types?, module.etypes?);
        let size = usize::try_from(end.0.checked_sub(base.0)?).ok()?;
        Some(Self {
            pointers,
            base,
            data: pointers.image().bytes_at(base)?.get(..size)?,
            format,
            shifted: format <= Format::Go116,
        })
    }

    /// The words that the types are made of.
    pub fn pointers(&self) -> &'p Pointers<'p, 'a> {
        self.pointers
    }

    /// The descriptor at `addr`.
    pub fn at(&self, addr: VirtAddr) -> Option<Type> {
        if !addr.0.is_multiple_of(8) {
            return None;
        }
        // Descriptors may lie outside of the range of names (Go 1.27: in a section of their own).
        let mut reader = Reader::new(self.pointers.image().bytes_at(addr)?, Endian::Little);
        let size = reader.u64()?;
        reader.skip(8)?; // PtrBytes
        let hash = reader.u32()?;
        let flags = reader.u8()?;
        reader.skip(2)?; // alignments
        let kind = reader.u8()?;
        reader.skip(16)?; // Equal, GCData
        Some(Type {
            addr,
            kind: match kind & 31 {
                20 => Kind::Interface,
                22 => Kind::Pointer,
                25 => Kind::Struct,
                _ => Kind::Other,
            },
            size,
            hash,
            flags,
            name: reader.u32()?,
        })
    }

    /// As Go prints it, with the last element of the package's path: `*tls.Conn`.
    pub fn name(&self, of: &Type) -> Option<&'a [u8]> {
        let name = self.name_at(self.data, usize::try_from(of.name).ok()?)?;
        if of.flags & EXTRA_STAR != 0 {
            name.strip_prefix(b"*")
        } else {
            Some(name)
        }
    }

    /// The whole path of the package that a named type is of. For a pointer, ask what it points to.
    pub fn package(&self, of: &Type) -> Option<&'a [u8]> {
        let behind = match of.kind {
            Kind::Pointer => 8,
            Kind::Interface | Kind::Struct => 32,
            Kind::Other => return None,
        };
        if of.flags & UNCOMMON == 0 {
            return None;
        }
        let place = of.addr.0.checked_add(COMMON + behind)?;
        let bytes = self.pointers.image().bytes_at(VirtAddr(place))?;
        let name = Reader::new(bytes, Endian::Little).u32()?;
        self.name_at(self.data, usize::try_from(name).ok()?)
    }

    /// What a pointer type points to.
    pub fn element(&self, of: &Type) -> Option<Type> {
        if of.kind != Kind::Pointer {
            return None;
        }
        self.at(self.pointers.at_offset(of.addr, COMMON)?)
    }

    /// The pointer type that a type names as its own (`PtrToThis`), if the program has it.
    pub fn pointer_to(&self, of: &Type) -> Option<Type> {
        let place = VirtAddr(of.addr.0.checked_add(COMMON - 4)?);
        let bytes = self.pointers.image().bytes_at(place)?;
        let offset = Reader::new(bytes, Endian::Little).u32()?;
        let pointer = self.at(VirtAddr(self.base.0.checked_add(u64::from(offset))?))?;
        (offset != 0 && self.element(&pointer)?.addr == of.addr).then_some(pointer)
    }

    /// The fields of a struct; damaged ones end the list.
    pub fn fields(&self, of: &Type) -> Vec<Field<'a>> {
        let read = || {
            let first = self.pointers.at_offset(of.addr, COMMON + 8)?;
            let count = self
                .pointers
                .word(VirtAddr(of.addr.0.checked_add(COMMON + 16)?))?;
            let fields = (0..count.min(FIELDS_MAX)).map_while(|n| {
                let field = self.field(VirtAddr(first.0.checked_add(n * 24)?))?;
                (field.offset <= of.size).then_some(field)
            });
            Some(fields.collect())
        };
        (of.kind == Kind::Struct)
            .then(read)
            .flatten()
            .unwrap_or_default()
    }

    /// The field of that name.
    pub fn field_named(&self, of: &Type, name: &str) -> Option<Field<'a>> {
        let mut fields = self.fields(of).into_iter();
        fields.find(|field| field.name == name.as_bytes())
    }

    fn field(&self, addr: VirtAddr) -> Option<Field<'a>> {
        let name = self.pointers.at(addr)?;
        let bytes = self.pointers.image().bytes_at(name)?;
        let offset = self.pointers.word(VirtAddr(addr.0.checked_add(16)?))?;
        Some(Field {
            name: self.name_at(bytes, 0)?,
            addr: self.pointers.at_offset(addr, 8)?,
            offset: if self.shifted { offset >> 1 } else { offset },
        })
    }

    /// Before Go 1.19, bit 0 of a field's offset said whether it is embedded. Go 1.18 and 1.19 have the
    /// same function table: a struct whose last field is small tells them apart.
    pub fn settle_offsets(&mut self, by: &Type) {
        if self.format == Format::Go118 {
            self.shifted = false;
            let read = || {
                let count = self
                    .pointers
                    .word(VirtAddr(by.addr.0.checked_add(COMMON + 16)?))?;
                let first = self.pointers.at_offset(by.addr, COMMON + 8)?;
                let last = count.checked_sub(1)?.checked_mul(24)?;
                self.field(VirtAddr(first.0.checked_add(last)?))
            };
            self.shifted = by.kind == Kind::Struct && read().is_some_and(|f| f.offset >= by.size);
        }
    }

    /// A flag byte, the length, the name. The length is a varint, before Go 1.17 two bytes.
    fn name_at(&self, data: &'a [u8], at: usize) -> Option<&'a [u8]> {
        let mut reader = Reader::at(data, at, Endian::Little)?;
        reader.skip(1)?;
        let first = usize::from(reader.u8()?);
        let size = match (self.format, first) {
            (Format::Go12, _) => first << 8 | usize::from(reader.u8()?),
            // Go 1.16, whose names are never empty; Go 1.17 has the same function table.
            (Format::Go116, 0) => usize::from(reader.u8()?),
            (_, 0..0x80) => first,
            _ => first & 0x7f | usize::from(reader.u8().filter(|next| *next < 0x80)?) << 7,
        };
        if size > NAME_MAX {
            return None;
        }
        reader.bytes(size)
    }

    /// Types that are called one of `names` (written with a leading star where the type is a pointer),
    /// with the number of the name. One pass over the types.
    pub fn named(&self, names: &[&str]) -> Vec<(usize, Type)> {
        let mut wanted = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let offsets = self.name_offsets(name);
            wanted.extend(offsets.into_iter().map(|offset| (offset, number)));
        }
        wanted.sort_unstable();
        let (Some(low), Some(high)) = (wanted.first(), wanted.last()) else {
            return Vec::new();
        };
        let (low, high) = (low.0, high.0);
        let mut found = Vec::new();
        for (n, word) in self.data.as_chunks::<8>().0.iter().enumerate() {
            let [a, b, c, d, ..] = *word;
            let offset = u32::from_le_bytes([a, b, c, d]);
            if !(low..=high).contains(&offset) {
                continue;
            }
            let first = wanted.partition_point(|(known, _)| *known < offset);
            let same = wanted.iter().skip(first);
            for (_, number) in same.take_while(|(known, _)| *known == offset) {
                let of = self.starting_before(n * 8);
                let Some(name) = names.get(*number) else {
                    continue;
                };
                let is_it = |of: &Type| self.name(of) == Some(name.as_bytes());
                found.extend(of.filter(is_it).map(|of| (*number, of)));
            }
            if found.len() >= NAMED_MAX {
                break;
            }
        }
        found
    }

    /// The type whose name word is at `inside`.
    fn starting_before(&self, inside: usize) -> Option<Type> {
        let start = inside.checked_sub(40)?;
        self.at(VirtAddr(self.base.0.checked_add(start as u64)?))
    }

    /// Where this text stands as a name, with or without the star that only pointers print.
    fn name_offsets(&self, name: &str) -> Vec<u32> {
        let plain = name.trim_start_matches('*');
        let mut offsets = Vec::new();
        for text in [format!("*{plain}"), plain.to_owned()] {
            let hits = memmem::find_iter(self.data, text.as_bytes()).take(NAME_HITS_MAX);
            for at in hits {
                for before in [2, 3] {
                    let start = at.checked_sub(before);
                    let is_name = |start: &usize| {
                        self.name_at(self.data, *start)
                            .is_some_and(|name| name == text.as_bytes())
                    };
                    let start = start.filter(is_name);
                    offsets.extend(start.and_then(|start| u32::try_from(start).ok()));
                }
            }
        }
        offsets
    }
}
