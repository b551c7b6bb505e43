//! Bounds of functions by the unwind table's index are those that its entries have, read one by one.

use std::fs;

use agentsight::image::unwind::UnwindTable;
use agentsight::image::{Image, VirtAddr};
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};

/// Start and end of every function, in the order of `.eh_frame`, by gimli.
fn entries(image: &Image<'_>) -> Vec<(u64, u64)> {
    let section = image.section(".eh_frame").unwrap();
    let at = image
        .segments
        .iter()
        .find(|segment| {
            (segment.offset..segment.offset + segment.file_size).contains(&section.offset)
        })
        .map(|segment| segment.vaddr + (section.offset - segment.offset))
        .unwrap();
    let frames = EhFrame::new(image.section_data(section).unwrap(), LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(at);
    let mut entries = frames.entries(&bases);
    let mut found = Vec::new();
    while let Some(entry) = entries.next().unwrap() {
        if let CieOrFde::Fde(partial) = entry {
            let entry = partial.parse(EhFrame::cie_from_offset).unwrap();
            found.push((entry.initial_address(), entry.end_address()));
        }
    }
    found
}

/// A function would be taken for another, or its table be overlooked.
#[test]
fn the_index_leads_to_each_entry() {
    let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
    let image = Image::parse(&bytes).unwrap();
    let table = UnwindTable::new(&image).unwrap();
    let entries = entries(&image);
    assert!(entries.len() > 1000);
    for (start, end) in entries {
        for addr in [start, start + (end - start) / 2, end - 1] {
            let range = table.covering(VirtAddr(addr)).unwrap();
            assert_eq!((range.start.0, range.end.0), (start, end), "{addr:#x}");
        }
        assert!(table.begins(VirtAddr(start)));
    }
}
