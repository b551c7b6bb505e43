//! Virtual addresses and file offsets, which must never be mixed: confusing them is *the* uprobe bug.
//! A probe is placed at a file offset; symbols and code speak of virtual addresses. The only way from
//! one to the other is [`Segments`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// An address as the linker saw it, before any load bias. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VirtAddr(pub u64);

/// A place in the file. Bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileOff(pub u64);

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for FileOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// One `PT_LOAD` program header.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where it is loaded, before the load bias.
    pub vaddr: u64,
    /// Where it starts in the file.
    pub offset: u64,
    /// Bytes that come from the file.
    pub file_size: u64,
    /// Bytes in memory; what exceeds `file_size` is zero.
    pub mem_size: u64,
    /// `PF_X`.
    pub executable: bool,
    /// `PF_W`.
    pub writable: bool,
}

impl Segment {
    fn offset_of(&self, addr: VirtAddr) -> Option<FileOff> {
        let inside = addr.0.checked_sub(self.vaddr)?;
        (inside < self.file_size)
            .then(|| self.offset.checked_add(inside).map(FileOff))
            .flatten()
    }
}

impl Segment {
    /// Where the byte at `offset` of the file is loaded, if this segment has it.
    pub fn addr_of(&self, offset: FileOff) -> Option<VirtAddr> {
        let inside = offset.0.checked_sub(self.offset)?;
        (inside < self.file_size)
            .then(|| self.vaddr.checked_add(inside).map(VirtAddr))
            .flatten()
    }
}

/// The loadable segments of one image.
#[derive(Clone, Debug, Default)]
pub struct Segments(Vec<Segment>);

impl Segments {
    /// Segments in the order of their program headers.
    pub fn new(segments: Vec<Segment>) -> Self {
        Self(segments)
    }

    /// All of them, in file order of the headers.
    pub fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.0.iter()
    }

    /// Where in the file the byte at `addr` comes from. `None` if it comes from nowhere (outside, or
    /// zero-filled), or if two segments claim it and disagree.
    pub fn file_offset(&self, addr: VirtAddr) -> Option<FileOff> {
        Self::agreed(self.0.iter(), addr)
    }

    /// Like [`Self::file_offset`], for code: only executable segments count.
    pub fn code_offset(&self, addr: VirtAddr) -> Option<FileOff> {
        Self::agreed(self.0.iter().filter(|segment| segment.executable), addr)
    }

    /// The first segment that loads the byte at `offset` of the file.
    pub fn holder(&self, offset: FileOff) -> Option<&Segment> {
        let mut all = self.0.iter();
        all.find(|segment| segment.addr_of(offset).is_some())
    }

    /// Where the byte at `offset` of the file is loaded: by the first segment that has it.
    pub fn addr_of(&self, offset: FileOff) -> Option<VirtAddr> {
        self.holder(offset)?.addr_of(offset)
    }

    fn agreed<'s>(segments: impl Iterator<Item = &'s Segment>, addr: VirtAddr) -> Option<FileOff> {
        let mut found = segments.filter_map(|segment| segment.offset_of(addr));
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(vaddr: u64, offset: u64, file_size: u64, executable: bool) -> Segment {
        Segment {
            vaddr,
            offset,
            file_size,
            mem_size: file_size.saturating_add(0x100),
            executable,
            writable: !executable,
        }
    }

    /// Code lies only where an executable segment has file bytes, and overlapping claims are refused.
    #[test]
    fn code_offset_needs_one_executable_answer() {
        let segments = Segments::new(vec![
            segment(0x1000, 0x400, 0x200, true),
            segment(0x3000, 0x800, 0x200, false),
            segment(0x5000, 0x900, 0x200, true),
            segment(0x5100, 0x100, 0x200, true),
            segment(u64::MAX - 1, u64::MAX - 1, u64::MAX, true),
        ]);
        assert_eq!(segments.code_offset(VirtAddr(0x1010)), Some(FileOff(0x410)));
        assert_eq!(segments.code_offset(VirtAddr(0x1200)), None, "zero-filled");
        assert_eq!(segments.code_offset(VirtAddr(0x3010)), None, "data");
        assert_eq!(segments.file_offset(VirtAddr(0x3010)), Some(FileOff(0x810)));
        assert_eq!(
            segments.code_offset(VirtAddr(0x5110)),
            None,
            "claimed twice"
        );
        assert_eq!(
            segments.code_offset(VirtAddr(u64::MAX)),
            Some(FileOff(u64::MAX))
        );
        assert_eq!(segments.code_offset(VirtAddr(0)), None);
    }
}
