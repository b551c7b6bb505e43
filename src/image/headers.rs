//! File, program and section headers of either class, read with the object crate into one plain form.

use std::borrow::Cow;

use object::elf::{self, FileHeader32, FileHeader64};
use object::endian::{Endian as _, Endianness};
use object::read::elf::{
    CompressionHeader, FileHeader, ProgramHeader, SectionHeader, SectionTable,
};
use object::read::{CompressedData, CompressionFormat};

use super::{Arch, BuildId, Image, Section, Segment, Segments, VirtAddr, build_id};
use crate::bytes::{self, Endian};
use crate::error::{Error, OrInvalid, Result};

/// Most loadable segments; linkers make up to ten. Each look-up of an address passes them all.
const SEGMENTS_MAX: usize = 256;
/// Linkers write one or two note segments. Hostile ones can be as many as fit, and each the whole file.
const NOTE_SEGMENTS_MAX: usize = 16;

pub(super) fn parse(data: &[u8]) -> Result<Image<'_>> {
    // e_ident[EI_CLASS]: System V ABI, "ELF Identification".
    match data.get(4) {
        Some(1) => parse_class::<FileHeader32<Endianness>>(data),
        Some(2) => parse_class::<FileHeader64<Endianness>>(data),
        Some(class) => Err(Error::invalid(format!(
            "damaged ELF header: class {class} is neither 32 nor 64 bit"
        ))),
        None => Err(Error::invalid("truncated: the ELF header is not complete")),
    }
}

fn parse_class<Elf: FileHeader<Endian = Endianness>>(data: &[u8]) -> Result<Image<'_>> {
    if data.len() < size_of::<Elf>() {
        return Err(Error::invalid("truncated: the ELF header is not complete"));
    }
    let header = Elf::parse(data).or_invalid(|| "damaged ELF header")?;
    let endian = header.endian().or_invalid(|| "damaged ELF header")?;
    let programs = header.program_headers(endian, data).or_invalid(|| {
        format!(
            "truncated or damaged: the program headers at byte {} do not fit into {} bytes",
            header.e_phoff(endian).into(),
            data.len()
        )
    })?;
    let (sections, section_damage) = sections(header, endian, data);
    Ok(Image {
        data,
        endian: if endian == Endianness::Big {
            Endian::Big
        } else {
            Endian::Little
        },
        is_64: header.is_type_64(),
        arch: arch(header.e_machine(endian)),
        file_type: header.e_type(endian).0,
        segments: segments::<Elf>(programs, endian)?,
        build_id: find_build_id::<Elf>(programs, &sections, endian, data),
        interpreter: programs
            .iter()
            .find(|program| program.p_type(endian) == elf::PT_INTERP)
            .and_then(|program| bytes::c_str(program.data(endian, data).ok()?, 0)),
        sections,
        section_damage,
        unwind_header: programs
            .iter()
            .find(|program| program.p_type(endian) == elf::PT_GNU_EH_FRAME)
            .map(|program| VirtAddr(program.p_vaddr(endian).into())),
        dynamic_data: programs
            .iter()
            .find(|program| program.p_type(endian) == elf::PT_DYNAMIC)
            .and_then(|program| program.data(endian, data).ok()),
        dynamic: None,
    })
}

fn arch(machine: elf::Machine) -> Arch {
    match machine {
        elf::EM_386 => Arch::X86,
        elf::EM_AARCH64 => Arch::Aarch64,
        elf::EM_ARM => Arch::Arm,
        elf::EM_X86_64 => Arch::X86_64,
        other => Arch::Other(other.0),
    }
}

fn segments<Elf: FileHeader>(
    programs: &[Elf::ProgramHeader],
    endian: Elf::Endian,
) -> Result<Segments> {
    let segments: Vec<_> = programs
        .iter()
        .filter_map(|program| segment::<Elf>(program, endian))
        .collect();
    if segments.len() > SEGMENTS_MAX {
        return Err(Error::invalid(format!(
            "{} loadable segments: more than {SEGMENTS_MAX} are no honest file's",
            segments.len()
        )));
    }
    Ok(Segments::new(segments))
}

fn segment<Elf: FileHeader>(program: &Elf::ProgramHeader, endian: Elf::Endian) -> Option<Segment> {
    let flags = program.p_flags(endian);
    (program.p_type(endian) == elf::PT_LOAD).then(|| Segment {
        vaddr: program.p_vaddr(endian).into(),
        offset: program.p_offset(endian).into(),
        file_size: program.p_filesz(endian).into(),
        mem_size: program.p_memsz(endian).into(),
        executable: flags.contains(elf::PF_X),
        writable: flags.contains(elf::PF_W),
    })
}

/// The sections, or why there are none although the header names some.
fn sections<'a, Elf: FileHeader>(
    header: &Elf,
    endian: Elf::Endian,
    data: &'a [u8],
) -> (Vec<Section<'a>>, Option<String>) {
    let headers = match header.section_headers(endian, data) {
        Ok(headers) => headers,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let (names, damage) = match section_names(header, headers, endian, data) {
        Ok(names) => (names, None),
        Err(error) => (&[][..], Some(error.to_string())),
    };
    let name = |offset: u32| bytes::name(names, usize::try_from(offset).ok()?);
    let sections = headers
        .iter()
        .map(|section| Section {
            name: name(section.sh_name(endian)).unwrap_or_default(),
            no_bits: section.sh_type(endian) == elf::SHT_NOBITS,
            compressed: section.sh_flags(endian).contains(elf::SHF_COMPRESSED),
            offset: section.sh_offset(endian).into(),
            size: section.sh_size(endian).into(),
            link: section.sh_link(endian),
            kind: section.sh_type(endian).0,
        })
        .collect();
    (sections, damage)
}

/// The bytes of the table that section names stand in.
fn section_names<'a, Elf: FileHeader>(
    header: &Elf,
    headers: &[Elf::SectionHeader],
    endian: Elf::Endian,
    data: &'a [u8],
) -> Result<&'a [u8], object::read::Error> {
    if headers.is_empty() {
        return Ok(&[]);
    }
    let index = header.section_strings_index(endian, data)?;
    SectionTable::<Elf>::new(headers, Default::default())
        .section(index)?
        .data(endian, data)
}

/// From `PT_NOTE`, else from the section (separate debug files keep only that).
fn find_build_id<Elf: FileHeader>(
    programs: &[Elf::ProgramHeader],
    sections: &[Section<'_>],
    endian: Elf::Endian,
    data: &[u8],
) -> Option<BuildId> {
    let endian_of_notes = if endian.is_big_endian() {
        Endian::Big
    } else {
        Endian::Little
    };
    let from_segments = programs
        .iter()
        .filter(|program| program.p_type(endian) == elf::PT_NOTE)
        .take(NOTE_SEGMENTS_MAX)
        .filter_map(|program| program.data(endian, data).ok())
        .find_map(|notes| build_id::from_notes(notes, endian_of_notes));
    from_segments.or_else(|| {
        let section = sections
            .iter()
            .find(|section| section.name == b".note.gnu.build-id")?;
        let start = usize::try_from(section.offset).ok()?;
        let end = start.checked_add(usize::try_from(section.size).ok()?)?;
        build_id::from_notes(data.get(start..end)?, endian_of_notes)
    })
}

/// Undoes `SHF_COMPRESSED`. The size that the header claims is checked against `limit` first.
pub(super) fn decompress<'a>(
    image: &Image<'_>,
    raw: &'a [u8],
    limit: u64,
) -> Result<Cow<'a, [u8]>> {
    let (header_size, kind, size) = if image.is_64 {
        compression_header::<FileHeader64<Endianness>>(image.endian, raw)?
    } else {
        compression_header::<FileHeader32<Endianness>>(image.endian, raw)?
    };
    if size > limit {
        return Err(Error::invalid(format!(
            "{size} bytes are more than the limit of {limit}"
        )));
    }
    let format = match kind {
        elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
        elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
        other => {
            return Err(Error::invalid(format!(
                "unknown compression type {}",
                other.0
            )));
        }
    };
    CompressedData {
        format,
        data: raw.get(header_size..).unwrap_or_default(),
        uncompressed_size: size,
    }
    .decompress()
    .or_invalid(|| "damaged data")
}

fn compression_header<Elf: FileHeader<Endian = Endianness>>(
    endian: Endian,
    raw: &[u8],
) -> Result<(usize, elf::CompressionType, u64)> {
    let endian = if endian == Endian::Big {
        Endianness::Big
    } else {
        Endianness::Little
    };
    let (header, _) = object::pod::from_bytes::<Elf::CompressionHeader>(raw)
        .ok()
        .or_invalid(|| "truncated header")?;
    Ok((
        size_of::<Elf::CompressionHeader>(),
        header.ch_type(endian),
        header.ch_size(endian).into(),
    ))
}
