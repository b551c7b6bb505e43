//! Function bounds from unwind tables: through the index that `PT_GNU_EH_FRAME` names, else by reading all
//! of `.eh_frame`. Many programs have neither, or tables for a part of their code only, so an answer is
//! welcome and its absence means nothing.
//!
//! Of the call frame instructions only those that hold at a function's first instruction are looked at.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, EhFrame, EhFrameOffset, EndianSlice,
    FrameDescriptionEntry, LittleEndian, Section as _, UnwindContext, UnwindSection,
};

use super::{FileOff, Image, VirtAddr};
use crate::bytes::{Endian, Reader};

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = FrameDescriptionEntry<Slice<'a>>;

/// Most entries that are read where there is no index.
const ENTRIES_MAX: usize = 1 << 20;

/// Bytes of one entry. Those of real functions have hundreds; each question reads one, and what it shares with
/// others, anew.
const ENTRY_MAX: u32 = 64 << 10;

/// Version and encodings of the index, as all linkers write it: where `.eh_frame` is, relative to that word;
/// an unsigned count; start and entry of each function, relative to the index. All have four bytes.
const INDEX_LAYOUT: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// The unwind table of one image.
pub struct UnwindTable<'a> {
    index: Index<'a>,
    frames: EhFrame<Slice<'a>>,
    bases: BaseAddresses,
}

enum Index<'a> {
    /// `.eh_frame_hdr`.
    Header(Header<'a>),
    /// All entries, by their start.
    List(Vec<(CodeRange, EhFrameOffset)>),
}

/// `.eh_frame_hdr` (LSB Core 5.0, 10.6.2). Read here, since gimli 0.34 does sums with what the file says that
/// overflow.
struct Header<'a> {
    /// Where it is loaded.
    at: u64,
    /// Where `.eh_frame` is loaded.
    frames_at: u64,
    /// Start and entry of each function, sorted by start.
    rows: &'a [[u8; 8]],
}

impl<'a> Header<'a> {
    fn parse(data: &'a [u8], at: VirtAddr) -> Option<Self> {
        let mut reader = Reader::new(data, Endian::Little);
        let layout = reader.bytes(INDEX_LAYOUT.len())?;
        let place = at.0.checked_add(layout.len() as u64)?;
        let frames_at = place.checked_add_signed(reader.i32()?.into())?;
        let count = usize::try_from(reader.u32()?).ok()?;
        let rows = reader.rest().as_chunks().0;
        (layout == INDEX_LAYOUT && count > 0).then_some(Self {
            at: at.0,
            frames_at,
            rows: rows.get(..count)?,
        })
    }

    /// The entry of the function that begins at `addr` or last before it.
    fn entry(&self, addr: VirtAddr) -> Option<EhFrameOffset> {
        let word = |row: &[u8; 8], at: usize| {
            let distance = Reader::at(row, at, Endian::Little)?.i32()?;
            self.at.checked_add_signed(distance.into())
        };
        let is_before = |row: &[u8; 8]| word(row, 0).is_some_and(|start| start <= addr.0);
        let after = self.rows.partition_point(is_before);
        let entry = word(self.rows.get(after.checked_sub(1)?)?, 4)?;
        let offset = entry.checked_sub(self.frames_at)?;
        usize::try_from(offset).ok().map(EhFrameOffset)
    }
}

/// What entries share, unless it is too large.
fn small_cie<'a>(
    frames: &EhFrame<Slice<'a>>,
    bases: &BaseAddresses,
    at: EhFrameOffset,
) -> gimli::Result<CommonInformationEntry<Slice<'a>>> {
    let length = Reader::at(frames.reader().slice(), at.0, Endian::Little)
        .and_then(|mut reader| reader.u32());
    if length.is_none_or(|length| length > ENTRY_MAX) {
        return Err(gimli::Error::NoUnwindInfoForAddress);
    }
    frames.cie_from_offset(bases, at)
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
        let header = Header::parse(data, at)?;
        let frames = image.bytes_at(VirtAddr(header.frames_at))?;
        Some(Self {
            frames: EhFrame::new(frames, LittleEndian),
            bases: BaseAddresses::default().set_eh_frame(header.frames_at),
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
            let entry = partial.parse(small_cie).ok();
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
        let offset = match &self.index {
            Index::Header(header) => header.entry(addr)?,
            Index::List(list) => {
                let after = list.partition_point(|(range, _)| range.start <= addr);
                list.get(after.checked_sub(1)?)?.1
            }
        };
        let entry = self.frames.fde_from_offset(&self.bases, offset, small_cie);
        let is_small = |entry: &Entry<'_>| entry.entry_len() <= ENTRY_MAX as usize;
        entry.ok().filter(is_small)
    }

    /// The entry that covers `addr`.
    pub fn covering(&self, addr: VirtAddr) -> Option<CodeRange> {
        CodeRange::of(&self.entry(addr)?).filter(|range| range.contains(addr))
    }

    /// Whether an entry begins exactly here.
    pub fn begins(&self, addr: VirtAddr) -> bool {
        self.covering(addr).is_some_and(|range| range.start == addr)
    }

    /// Whether the entry that covers `addr` names a table of what to do with exceptions.
    pub fn has_landing_pads(&self, addr: VirtAddr) -> bool {
        self.entry(addr).is_some_and(|entry| entry.lsda().is_some())
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
