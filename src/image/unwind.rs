//! Function bounds from unwind tables, found through `PT_GNU_EH_FRAME`. Many programs have none, or
//! tables for a part of their code only, so an answer is welcome and its absence means nothing.
//! Of the call frame instructions only those that hold at the first instruction are looked at.

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, UnwindSection};

use super::{Image, VirtAddr};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The binary search table of one image, with the entries behind it.
pub struct UnwindTable<'a> {
    header: gimli::ParsedEhFrameHdr<Slice<'a>>,
    frames: EhFrame<Slice<'a>>,
    bases: BaseAddresses,
}

/// The code that one frame description entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRange {
    /// First instruction.
    pub start: VirtAddr,
    /// First address behind it.
    pub end: VirtAddr,
}

impl<'a> UnwindTable<'a> {
    /// `None`: no table, or not one that can be searched.
    pub fn new(image: &Image<'a>) -> Option<Self> {
        let at = image.unwind_header?;
        let data = image.bytes_at(at)?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(at.0);
        let header = EhFrameHdr::new(data, LittleEndian)
            .parse(&bases, 8)
            .ok()
            .filter(|header| header.table().is_some())?;
        let gimli::Pointer::Direct(frames_at) = header.eh_frame_ptr() else {
            return None;
        };
        let frames = EhFrame::new(image.bytes_at(VirtAddr(frames_at))?, LittleEndian);
        Some(Self {
            header,
            frames,
            bases: bases.set_eh_frame(frames_at),
        })
    }

    /// The entry that covers `addr`.
    pub fn covering(&self, addr: VirtAddr) -> Option<CodeRange> {
        let table = self.header.table()?;
        let entry = table
            .fde_for_address(&self.frames, &self.bases, addr.0, EhFrame::cie_from_offset)
            .ok()?;
        let end = entry.initial_address().checked_add(entry.len())?;
        (entry.initial_address() <= addr.0 && addr.0 < end).then_some(CodeRange {
            start: VirtAddr(entry.initial_address()),
            end: VirtAddr(end),
        })
    }

    /// Whether the code at `start`, where an entry begins, runs with a stack frame already: then it is a
    /// part of a function that stands apart from the rest, and nobody calls it.
    pub fn has_frame(&self, start: VirtAddr, frame_at_entry: i64) -> bool {
        let Some(table) = self.header.table() else {
            return false;
        };
        let mut context = gimli::UnwindContext::new();
        let row = table.unwind_info_for_address(
            &self.frames,
            &self.bases,
            &mut context,
            start.0,
            EhFrame::cie_from_offset,
        );
        row.is_ok_and(|row| {
            !matches!(row.cfa(), gimli::CfaRule::RegisterAndOffset { offset, .. } if *offset == frame_at_entry)
        })
    }

    /// Whether an entry begins exactly here.
    pub fn begins(&self, addr: VirtAddr) -> bool {
        self.covering(addr).is_some_and(|range| range.start == addr)
    }
}
