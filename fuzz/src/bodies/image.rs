//! The views of an image: headers, symbols, relocations, unwind tables.

use agentsight::image::debug_file::{debug_link, mini_debug_info};
use agentsight::image::symbols::SymbolTable;
use agentsight::image::unwind::UnwindTable;
use agentsight::image::{FileOff, Image, Pointers, VirtAddr};

/// Far more than any seed holds.
const UNPACKED_MAX: u64 = 1 << 20;
/// Addresses that are asked about.
const PLACES_MAX: usize = 64;

/// Everything that headers lead to.
pub fn views(data: &[u8]) {
    let Ok(image) = Image::parse(data) else {
        return;
    };
    let _ = image.check_complete();
    for section in &image.sections {
        let within = |bytes: &[u8]| bytes.len() as u64 <= section.size;
        assert!(image.section_data(section).is_none_or(within));
        if let Ok(contents) = image.section_contents(section, UNPACKED_MAX) {
            assert!(!section.compressed || contents.len() as u64 <= UNPACKED_MAX);
        }
    }
    for table in [image.symtab(), image.dynsym()].into_iter().flatten() {
        symbols(&image, &table);
    }
    segments(&image);
    let _ = (
        image.needed(),
        image.run_path(),
        image.soname(),
        image.is_pie(),
    );
    let _ = image.function_offset(b"SSL_read");
    let _ = debug_link(&image);
    if let Ok(Some(inner)) = mini_debug_info(&image)
        && let Ok(inner) = Image::parse(&inner)
    {
        let _ = (
            inner.symtab().map(|table| table.iter().count()),
            inner.dynsym().is_some(),
        );
    }
}

fn symbols(image: &Image<'_>, table: &SymbolTable<'_>) {
    let mut count = 0;
    for symbol in table.iter() {
        count += 1;
        let _ = (symbol.is_code(), symbol.is_indirect(), symbol.binding());
        let _ = table.version(&symbol);
        if let Some(offset) = image.segments.code_offset(symbol.addr) {
            let anywhere = image.segments.file_offset(symbol.addr);
            assert!(anywhere.is_none_or(|at| at == offset));
        }
    }
    assert!(count <= table.len());
    assert!(table.len() <= image.data().len());
}

/// Each byte that a segment has is where the segment says.
fn segments(image: &Image<'_>) {
    let data = image.data();
    let mut total = 0usize;
    for (base, bytes) in image.code_ranges().chain(image.constant_ranges()) {
        total += bytes.len();
        assert!(base.checked_add(bytes.len() as u64).is_some());
    }
    assert!(total <= data.len().saturating_mul(4));
    assert!(image.loaded_data().map(<[u8]>::len).sum::<usize>() <= data.len());
    for segment in image.segments.iter().take(PLACES_MAX) {
        for addr in [
            segment.vaddr,
            segment.vaddr.wrapping_add(segment.file_size / 2),
        ] {
            let addr = VirtAddr(addr);
            let offset = image.segments.file_offset(addr);
            if let (Some(bytes), Some(FileOff(offset))) = (image.bytes_at(addr), offset) {
                let start = usize::try_from(offset).unwrap();
                assert_eq!(bytes, &data[start..start + bytes.len()]);
            }
            if let Some(code) = image.code_at(addr) {
                assert!(code.len() <= data.len());
            }
        }
    }
}

/// Words that hold addresses: whatever way one asks, the answer is the same.
pub fn relocations(data: &[u8]) {
    let Ok(image) = Image::parse(data) else {
        return;
    };
    let pointers = Pointers::new(&image);
    let all = pointers.relocated();
    assert!(all.is_sorted_by(|a, b| a.place < b.place), "a place twice");
    assert!(pointers.is_relocated() || all.is_empty());
    // A relocation takes at least a bit of the file, and a word that it changes.
    assert!(all.len() <= data.len().saturating_mul(8));
    let step = all.len() / PLACES_MAX + 1;
    for pointer in all.iter().step_by(step) {
        assert_eq!(pointers.at(pointer.place), Some(pointer.target));
        assert!(pointers.to(&[pointer.target]).contains(pointer));
        let _ = pointers.at_offset(pointer.place, 8);
        let _ = pointers.run(pointer.place).take(PLACES_MAX).count();
    }
    let mut targets: Vec<_> = all
        .iter()
        .step_by(step)
        .map(|pointer| pointer.target)
        .collect();
    for segment in image.segments.iter().take(PLACES_MAX) {
        let addr = VirtAddr(segment.vaddr);
        targets.push(addr);
        if let Some(word) = pointers.word(addr) {
            targets.push(VirtAddr(word));
        }
        let _ = pointers.run(addr).take(PLACES_MAX).count();
    }
    for pointer in pointers.to(&targets) {
        assert!(targets.contains(&pointer.target));
        if pointers.is_relocated() {
            assert_eq!(pointers.at(pointer.place), Some(pointer.target));
        }
    }
}

/// Bounds of functions by the tables for unwinding.
pub fn unwind(data: &[u8]) {
    let Ok(image) = Image::parse(data) else {
        return;
    };
    let Some(table) = UnwindTable::new(&image) else {
        return;
    };
    for addr in places(&image) {
        let Some(range) = table.covering(addr) else {
            continue;
        };
        assert!(range.start <= addr && addr < range.end);
        assert!(!table.begins(addr) || range.start == addr);
        for frame in [0, 8] {
            let _ = table.has_frame(range.start, frame);
        }
    }
}

/// Addresses of code, evenly spread, and the edges.
pub fn places(image: &Image<'_>) -> Vec<VirtAddr> {
    let mut places = vec![VirtAddr(0), VirtAddr(1), VirtAddr(u64::MAX)];
    for (base, code) in image.code_ranges().take(4) {
        let step = (code.len() / PLACES_MAX).max(1);
        places.extend(
            (0..code.len())
                .step_by(step)
                .map(|at| VirtAddr(base + at as u64)),
        );
        places.push(VirtAddr(base.wrapping_sub(1)));
        places.push(VirtAddr(base.saturating_add(code.len() as u64)));
    }
    places
}
