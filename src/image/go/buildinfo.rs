//! The version of Go that built a program, as `go version FILE` reads it. Programs can do without, so
//! nothing depends on it.
//!
//! Source: <https://github.com/golang/go/blob/go1.27.3/src/debug/buildinfo/buildinfo.go>

use memchr::memmem;

use crate::bytes::{Endian, Reader};
use crate::image::{FileOff, Pointers, VirtAddr};

const MAGIC: &[u8] = b"\xff Go buildinf:";

/// Longest version that is believed: `go1.22-20240109-RC01 cl/597041403 +dcbe772469 X:loopvar` has 58.
const VERSION_MAX: u64 = 128;

/// The version, `go1.27.3`.
pub fn version(pointers: &Pointers<'_, '_>) -> Option<String> {
    let image = pointers.image();
    let by_section = image.section(".go.buildinfo").and_then(|section| {
        let data = image.section_data(section)?;
        data.starts_with(MAGIC)
            .then(|| image.segments.addr_of(FileOff(section.offset)))
            .flatten()
    });
    let addr = by_section.or_else(|| scan(pointers))?;
    let text = read(pointers, addr)?;
    let plain =
        text.len() as u64 <= VERSION_MAX && text.iter().all(|byte| (b' '..0x7f).contains(byte));
    (plain && !text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// It is aligned to 16 bytes, which a mention of the text in code that reads it need not be.
fn scan(pointers: &Pointers<'_, '_>) -> Option<VirtAddr> {
    let image = pointers.image();
    let finder = memmem::Finder::new(MAGIC);
    image.loaded_data().find_map(|data| {
        let start = data.as_ptr().addr() - image.data().as_ptr().addr();
        finder.find_iter(data).take(64).find_map(|at| {
            let addr = image.segments.addr_of(FileOff((start + at) as u64))?;
            (addr.0 % 16 == 0 && read(pointers, addr).is_some()).then_some(addr)
        })
    })
}

fn read<'a>(pointers: &Pointers<'_, 'a>, addr: VirtAddr) -> Option<&'a [u8]> {
    let data = pointers.image().bytes_at(addr)?;
    let mut reader = Reader::at(data, 14, Endian::Little)?;
    let pointer_size = reader.u8()?;
    let flags = reader.u8()?;
    if flags & 2 != 0 {
        // Since Go 1.18: the text itself, after its length.
        reader.skip(16)?;
        return inline(&mut reader);
    }
    if pointer_size != 8 || flags & 1 != 0 {
        return None;
    }
    let header = pointers.at_offset(addr, 16)?;
    let text = pointers.at(header)?;
    let size = pointers.word(VirtAddr(header.0.checked_add(8)?))?;
    let size = usize::try_from(size.min(VERSION_MAX)).ok()?;
    pointers.image().bytes_at(text)?.get(..size)
}

fn inline<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let low = reader.u8()?;
    let size = match low {
        0..0x80 => u64::from(low),
        _ => u64::from(low & 0x7f) | u64::from(reader.u8().filter(|high| *high < 0x80)?) << 7,
    };
    reader.bytes(usize::try_from(size.min(VERSION_MAX)).ok()?)
}
