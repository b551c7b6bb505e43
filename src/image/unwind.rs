//! Function bounds from unwind tables: through the index that `PT_GNU_EH_FRAME` names, else by reading all
//! of `.eh_frame`. Many programs have neither, or tables for a part of their code only, so an answer is
//! welcome and its absence means nothing.
//!
//! Of the call frame instructions only those that hold at a function's first instruction are looked at.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice,
    FrameDescriptionEntry, LittleEndian, UnwindContext, UnwindSection,
};

use super::{FileOff, Image, VirtAddr};

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = FrameDescriptionEntry<Slice<'a>>;

/// Most entries that are read where there is no index.
const ENTRIES_MAX: usize = 1 << 20;

/// The unwind table of one image.
pub struct UnwindTable<'a> {
    index: Index<'a>,
    frames: EhFrame<Slice<'a>>,
    bases: BaseAddresses,
}

enum Index<'a> {
    /// `.eh_frame_hdr`.
    Header(gimli::ParsedEhFrameHdr<Slice<'a>>),
    /// All entries, by their start.
    List(Vec<(CodeRange, EhFrameOffset)>),
}

/// The code that one frame description entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodeRange {
    /// First instruction.
    pub start: VirtAddr,
    /// First address behind it.
    pub end: VirtAddr,
}

impl CodeRange {
    fn of(entry: &Entry<'_>) -> Option<Self> {
        let start = entry.initial_address();
        Some(Self {
            start: VirtAddr(start),
            end: VirtAddr(start.checked_add(entry.len())?),
        })
    }

    fn contains(self, addr: VirtAddr) -> bool {
        self.start <= addr && addr < self.end
    }
}

impl<'a> UnwindTable<'a> {
    /// `None`: no table that can be searched.
    pub fn new(image: &Image<'a>) -> Option<Self> {
        Self::with_header(image).or_else(|| Self::with_list(image))
    }

    fn with_header(image: &Image<'a>) -> Option<Self> {
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
        Some(Self {
            frames: EhFrame::new(image.bytes_at(VirtAddr(frames_at))?, LittleEndian),
            bases: bases.set_eh_frame(frames_at),
            index: Index::Header(header),
        })
    }

    /// Static programs often have the table without an index.
    fn with_list(image: &Image<'a>) -> Option<Self> {
        let section = image.section(".eh_frame")?;
        let at = image.segments.addr_of(FileOff(section.offset))?;
        let frames = EhFrame::new(image.section_data(section)?, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(at.0);
        let mut list = Vec::new();
        let mut entries = frames.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else {
                continue;
            };
            let entry = partial.parse(EhFrame::cie_from_offset).ok();
            let range = entry.as_ref().and_then(CodeRange::of);
            if let Some((entry, range)) = entry.as_ref().zip(range) {
                list.push((range, EhFrameOffset(entry.offset())));
            }
            if list.len() >= ENTRIES_MAX {
                break;
            }
        }
        list.sort_by_key(|(range, _)| *range);
        (!list.is_empty()).then_some(Self {
            index: Index::List(list),
            frames,
            bases,
        })
    }

    fn entry(&self, addr: VirtAddr) -> Option<Entry<'a>> {
        let entry = match &self.index {
            Index::Header(header) => header.table()?.fde_for_address(
                &self.frames,
                &self.bases,
                addr.0,
                EhFrame::cie_from_offset,
            ),
            Index::List(list) => {
                let after = list.partition_point(|(range, _)| range.start <= addr);
                let (_, offset) = list.get(after.checked_sub(1)?)?;
                self.frames
                    .fde_from_offset(&self.bases, *offset, EhFrame::cie_from_offset)
            }
        };
        entry.ok()
    }

    /// The entry that covers `addr`.
    pub fn covering(&self, addr: VirtAddr) -> Option<CodeRange> {
        CodeRange::of(&self.entry(addr)?).filter(|range| range.contains(addr))
    }

    /// Whether an entry begins exactly here.
    pub fn begins(&self, addr: VirtAddr) -> bool {
        self.covering(addr).is_some_and(|range| range.start == addr)
    }

    /// Whether the code at `start`, where an entry begins, runs with a stack frame already: then it is a
    /// part of a function that stands apart from the rest, and nobody calls it. `frame_at_entry`: bytes
    /// that a call leaves on the stack.
    pub fn has_frame(&self, start: VirtAddr, frame_at_entry: i64) -> bool {
        let Some(entry) = self.entry(start) else {
            return false;
        };
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(&self.frames, &self.bases, &mut context, start.0);
        row.is_ok_and(|row| {
            !matches!(row.cfa(), CfaRule::RegisterAndOffset { offset, .. } if *offset == frame_at_entry)
        })
    }
}
