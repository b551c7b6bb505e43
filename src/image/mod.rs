//! What is this file: the ELF view that every finder reads. No knowledge of any library, no guesses:
//! a size, offset or count that points outside of the file is an error or an absence, never a panic.
//!
//! Section headers are a convenience that may lie or be missing; program headers are what the kernel
//! loads by. Whatever both can tell (dynamic symbols, notes) is taken from the program headers first.

pub mod addr;
pub mod build_id;
pub mod debug_file;
pub mod dwarf;
mod dynamic;
pub mod file;
pub mod function;
pub mod go;
mod headers;
pub mod insn;
pub mod pointers;
pub mod stores;
pub mod symbols;
mod torn;
pub mod unwind;
pub mod values;
pub mod xref;

use std::borrow::Cow;

use crate::bytes::Endian;
use crate::error::{Error, OrInvalid, Result};

pub use addr::{FileOff, Segment, Segments, VirtAddr};
pub use build_id::BuildId;
pub use file::{FileIdentity, ImageFile};
pub use pointers::Pointers;

use symbols::SymbolTable;

/// Instruction set, named as users know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM; bit 0 of a code address selects Thumb.
    Arm,
    /// 32-bit x86.
    X86,
    /// 64-bit x86.
    X86_64,
    /// Anything else, by its `e_machine` number.
    Other(u16),
}

impl Arch {
    /// The architecture this program runs on.
    pub const HOST: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else {
        None
    };
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
            Self::X86 => "x86",
            Self::X86_64 => "x86-64",
            Self::Other(machine) => {
                let known = object::elf::Machine(*machine);
                return match known {
                    object::elf::EM_MIPS => f.write_str("mips"),
                    object::elf::EM_PPC => f.write_str("powerpc"),
                    object::elf::EM_PPC64 => f.write_str("powerpc64"),
                    object::elf::EM_RISCV => f.write_str("riscv"),
                    object::elf::EM_S390 => f.write_str("s390x"),
                    object::elf::EM_LOONGARCH => f.write_str("loongarch"),
                    _ => write!(f, "e_machine {machine}"),
                };
            }
        };
        f.write_str(name)
    }
}

/// One section header, in either class and byte order.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Name as in the section name table; empty if that is damaged.
    pub name: &'a [u8],
    /// `SHT_NOBITS`: takes no room in the file.
    pub no_bits: bool,
    /// `SHF_COMPRESSED`.
    pub compressed: bool,
    /// Where it starts in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Index of a related section (a symbol table's strings).
    pub link: u32,
    /// `SHT_*`.
    pub kind: u32,
}

/// A parsed ELF file, borrowed from its bytes.
pub struct Image<'a> {
    data: &'a [u8],
    /// Byte order.
    pub endian: Endian,
    /// 64-bit class.
    pub is_64: bool,
    /// Instruction set.
    pub arch: Arch,
    /// `ET_EXEC`, `ET_DYN`, … as in the header.
    pub file_type: u16,
    /// What the kernel maps.
    pub segments: Segments,
    /// Section headers; empty if there are none or they are damaged.
    pub sections: Vec<Section<'a>>,
    /// Why there are no usable section headers, if the file claims to have some.
    pub section_damage: Option<String>,
    /// The `.note.gnu.build-id`, if any.
    pub build_id: Option<BuildId>,
    /// The dynamic loader that the executable asks for.
    pub interpreter: Option<&'a [u8]>,
    /// Where `.eh_frame_hdr` is loaded (`PT_GNU_EH_FRAME`).
    unwind_header: Option<VirtAddr>,
    /// Contents of `PT_DYNAMIC`.
    dynamic_data: Option<&'a [u8]>,
    dynamic: Option<dynamic::Dynamic<'a>>,
}

impl<'a> Image<'a> {
    /// Reads the headers. `data` is the whole file.
    ///
    /// # Errors
    /// Not an ELF file, or one whose file or program headers do not fit into `data`.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        if !data.starts_with(b"\x7fELF") {
            return Err(Error::invalid(describe_other(data)));
        }
        let mut image = headers::parse(data)?;
        image.dynamic = dynamic::Dynamic::parse(&image);
        Ok(image)
    }

    /// All bytes of the file.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// # Errors
    /// A loadable segment reaches beyond the end of the file: it was cut off.
    pub fn check_complete(&self) -> Result<()> {
        let have = self.data.len() as u64;
        for segment in self.segments.iter() {
            let need = segment.offset.checked_add(segment.file_size);
            if segment.file_size > 0 && need.is_none_or(|need| need > have) {
                return Err(Error::invalid(format!(
                    "truncated: a segment ends at byte {}, the file has {have}",
                    need.unwrap_or(u64::MAX)
                )));
            }
        }
        Ok(())
    }

    /// The first section of that name.
    pub fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.sections
            .iter()
            .find(|section| section.name == name.as_bytes())
    }

    /// A section's bytes as they stand in the file.
    pub fn section_data(&self, section: &Section<'_>) -> Option<&'a [u8]> {
        if section.no_bits {
            return Some(&[]);
        }
        self.file_range(section.offset, section.size)
    }

    /// A section's bytes, decompressed if need be (`SHF_COMPRESSED`), up to `limit` bytes.
    ///
    /// # Errors
    /// Outside of the file, beyond the limit, or not decompressible.
    pub fn section_contents(&self, section: &Section<'_>, limit: u64) -> Result<Cow<'a, [u8]>> {
        let name = || String::from_utf8_lossy(section.name).into_owned();
        let raw = self
            .section_data(section)
            .or_invalid(|| format!("section {} lies outside of the file", name()))?;
        if !section.compressed {
            return Ok(Cow::Borrowed(raw));
        }
        headers::decompress(self, raw, limit).map_err(|error| {
            Error::invalid(format!("failed to decompress section {}: {error}", name()))
        })
    }

    /// The bytes that are loaded at `addr` from the file, up to the end of their segment.
    pub fn bytes_at(&self, addr: VirtAddr) -> Option<&'a [u8]> {
        let offset = self.segments.file_offset(addr)?;
        let segment = self.segments.iter().find(|segment| {
            addr.0
                .checked_sub(segment.vaddr)
                .is_some_and(|inside| inside < segment.file_size)
        })?;
        self.file_range(
            offset.0,
            segment.file_size.checked_sub(addr.0 - segment.vaddr)?,
        )
    }

    /// The code that is loaded at `addr`, up to the end of its segment. `None` if none is, or if two
    /// segments claim the address and disagree.
    pub fn code_at(&self, addr: VirtAddr) -> Option<&'a [u8]> {
        let offset = self.segments.code_offset(addr)?;
        let mut segments = self.segments.iter().filter(|segment| segment.executable);
        let left = segments.find_map(|segment| {
            let inside = addr.0.checked_sub(segment.vaddr)?;
            segment
                .file_size
                .checked_sub(inside)
                .filter(|left| *left > 0)
        })?;
        self.file_range(offset.0, left)
    }

    /// `size` bytes from `offset` of the file, if they are there.
    pub fn file_range(&self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.data.get(start..end)
    }

    /// `.symtab`, through the section headers.
    pub fn symtab(&self) -> Option<SymbolTable<'a>> {
        symbols::from_section(self, object::elf::SHT_SYMTAB.0)
    }

    /// The dynamic symbols: through `PT_DYNAMIC`, as the loader finds them, else `.dynsym`.
    pub fn dynsym(&self) -> Option<SymbolTable<'a>> {
        self.dynamic
            .as_ref()
            .and_then(|dynamic| dynamic.symbols(self))
            .or_else(|| symbols::from_section(self, object::elf::SHT_DYNSYM.0))
    }

    /// The value of the first dynamic entry with this tag (`DT_RELA`, …).
    pub fn dynamic_value(&self, tag: object::elf::DynamicTag) -> Option<u64> {
        dynamic::value(self, tag)
    }

    /// Libraries this file asks the loader for (`DT_NEEDED`), in order.
    pub fn needed(&self) -> Vec<&'a [u8]> {
        self.dynamic
            .as_ref()
            .map(|dynamic| dynamic.needed.clone())
            .unwrap_or_default()
    }

    /// Search directories (`DT_RUNPATH`, else `DT_RPATH`), as written: `$ORIGIN` not replaced.
    pub fn run_path(&self) -> Option<&'a [u8]> {
        self.dynamic.as_ref().and_then(|dynamic| dynamic.run_path)
    }

    /// `DF_1_PIE`: a position-independent executable, not a library.
    pub fn is_pie(&self) -> bool {
        self.dynamic.as_ref().is_some_and(|dynamic| dynamic.is_pie)
    }

    /// An executable, not a library: `ET_EXEC`, marked as PIE, or with a loader and no library name.
    pub fn is_program(&self) -> bool {
        self.file_type == object::elf::ET_EXEC.0
            || self.is_pie()
            || (self.interpreter.is_some() && self.soname().is_none())
    }

    /// Where in the file the function of exactly this name begins, by the dynamic symbols.
    pub fn function_offset(&self, name: &[u8]) -> Option<FileOff> {
        let table = self.dynsym()?;
        let mut symbols = table.iter();
        let symbol = symbols.find(|symbol| symbol.name == name && symbol.is_defined())?;
        self.segments.code_offset(symbol.addr)
    }

    /// The name other files ask for this library by.
    pub fn soname(&self) -> Option<&'a [u8]> {
        self.dynamic.as_ref().and_then(|dynamic| dynamic.soname)
    }

    /// Executable segments: where each is loaded, and its bytes from the file.
    pub fn code_ranges(&self) -> impl Iterator<Item = (u64, &'a [u8])> + '_ {
        self.ranges(|segment| segment.executable)
    }

    /// Segments that the program can neither write nor run: where its literals mostly are.
    pub fn constant_ranges(&self) -> impl Iterator<Item = (u64, &'a [u8])> + '_ {
        self.ranges(|segment| !segment.writable && !segment.executable)
    }

    /// Segments that the program cannot run, each with its bytes from the file.
    pub fn data_ranges(&self) -> impl Iterator<Item = (&Segment, &'a [u8])> + '_ {
        self.segment_ranges(|segment| !segment.executable)
    }

    fn ranges(&self, wanted: fn(&Segment) -> bool) -> impl Iterator<Item = (u64, &'a [u8])> + '_ {
        let ranges = self.segment_ranges(wanted);
        ranges.map(|(segment, bytes)| (segment.vaddr, bytes))
    }

    fn segment_ranges(
        &self,
        wanted: fn(&Segment) -> bool,
    ) -> impl Iterator<Item = (&Segment, &'a [u8])> + '_ {
        // Headers may claim the same bytes again and again; an honest file does so once at most.
        let mut budget = self.data.len().saturating_mul(2);
        self.segments
            .iter()
            .filter(move |segment| wanted(segment))
            .filter(|segment| segment.vaddr.checked_add(segment.file_size).is_some())
            .filter_map(|segment| {
                let bytes = self.file_range(segment.offset, segment.file_size)?;
                Some((segment, bytes))
            })
            .take_while(move |(_, bytes)| {
                let left = budget.checked_sub(bytes.len());
                budget = left.unwrap_or(0);
                left.is_some()
            })
    }

    /// Bytes of the read-only and read-write data that the program loads from this file: what its own
    /// code can refer to. Debug data, overlays and embedded payload behind the segments are not in it.
    /// Segments that overlap in the file are one range, so that no byte is seen twice.
    pub fn loaded_data(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let mut ranges: Vec<_> = self
            .segments
            .iter()
            .filter_map(|segment| {
                Some((
                    segment.offset,
                    segment.offset.checked_add(segment.file_size)?,
                ))
            })
            .filter(|(start, end)| start < end && *end <= self.data.len() as u64)
            .collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let overlap = next.0 < range.1;
            if overlap {
                range.1 = range.1.max(next.1);
            }
            overlap
        });
        ranges
            .into_iter()
            .filter_map(|(start, end)| self.file_range(start, end - start))
    }
}

/// Says what a file without ELF magic is, where that helps.
fn describe_other(data: &[u8]) -> String {
    let script = || {
        let line = data.get(2..)?.split(|&byte| byte == b'\n').next()?;
        let line = line.get(..line.len().min(80))?;
        Some(String::from_utf8_lossy(line).trim().to_owned())
    };
    match data {
        [] => "not an ELF file: it is empty".into(),
        [b'#', b'!', ..] => format!(
            "not an ELF file: a script run by {}; name that interpreter's binary instead",
            script().unwrap_or_default()
        ),
        [b'M', b'Z', ..] => "not an ELF file: a Windows executable".into(),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "not an ELF file: a Mach-O binary".into(),
        [0x7f, b'E', ..] | [0x7f] => "not an ELF file: truncated in its first four bytes".into(),
        _ if data.starts_with(b"!<arch>\n") => {
            "not an ELF file: a static library (link it first)".into()
        }
        _ => "not an ELF file".into(),
    }
}
