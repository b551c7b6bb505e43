//! Many records in one piece of memory, as they came from the kernel, so that handing them on costs the
//! same for one and for a thousand. Nothing is decoded here.
//!
//! Each record is preceded by its length (`u32`) and four bytes of zero, and padded to eight bytes.

use std::ops::Range;

use super::wire::HEADER_LEN;

/// What a record takes beyond its own bytes, padding apart.
const PREFIX_LEN: usize = 8;
/// Largest record: a header and a full chunk (`TIER_LARGE`).
pub const RECORD_MAX: usize = HEADER_LEN + (16 << 10);

/// Room that a record of `len` bytes takes in a block.
pub const fn room_for(len: usize) -> usize {
    PREFIX_LEN + len.next_multiple_of(PREFIX_LEN)
}

/// Records, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    bytes: Vec<u8>,
}

impl Block {
    /// An empty block with room for `capacity` bytes, in memory that may have been used before.
    pub fn in_memory(mut bytes: Vec<u8>, capacity: usize) -> Self {
        bytes.clear();
        bytes.reserve_exact(capacity);
        Self { bytes }
    }

    /// A block of bytes that were read; or the place of the first byte that is no such record.
    ///
    /// # Errors
    /// A length leads beyond the end.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, usize> {
        let mut ranges = Ranges {
            bytes: &bytes,
            at: 0,
        };
        ranges.by_ref().for_each(drop);
        let end = ranges.at;
        if end == bytes.len() {
            Ok(Self { bytes })
        } else {
            Err(end)
        }
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Without a record.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that can be added without moving anything.
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Adds a record. Longer ones than [`RECORD_MAX`] are cut, which the decoder notices.
    pub fn push(&mut self, record: &[u8]) {
        let record = record.get(..RECORD_MAX).unwrap_or(record);
        let end = self.bytes.len() + room_for(record.len());
        let prefix = (record.len() as u64).to_le_bytes();
        self.bytes.extend_from_slice(&prefix);
        self.bytes.extend_from_slice(record);
        self.bytes.resize(end, 0);
    }

    /// The records.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let ranges = Ranges {
            bytes: &self.bytes,
            at: 0,
        };
        ranges.filter_map(|range| self.bytes.get(range))
    }

    /// Lets `change` change each record, but not its length.
    pub fn change(&mut self, mut change: impl FnMut(&mut [u8])) {
        let mut at = 0;
        while let Some(range) = range_at(&self.bytes, at) {
            at = range.start + range.len().next_multiple_of(PREFIX_LEN);
            if let Some(record) = self.bytes.get_mut(range) {
                change(record);
            }
        }
    }

    /// All bytes, lengths and padding included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the memory back.
    pub fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    /// The same in no more memory than it needs, and the memory that it was in.
    pub fn shrunk(self) -> (Self, Vec<u8>) {
        let bytes = self.bytes.as_slice().to_vec();
        (Self { bytes }, self.bytes)
    }
}

/// The record at a place, if there is a whole one.
fn range_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let prefix = bytes.get(at..)?.first_chunk::<PREFIX_LEN>()?;
    let len = usize::try_from(u64::from_le_bytes(*prefix)).ok()?;
    let start = at + PREFIX_LEN;
    let padded = start.checked_add(len.checked_next_multiple_of(PREFIX_LEN)?)?;
    (len <= RECORD_MAX && padded <= bytes.len()).then_some(start..start + len)
}

struct Ranges<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Iterator for Ranges<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let range = range_at(self.bytes, self.at)?;
        self.at = range.start + range.len().next_multiple_of(PREFIX_LEN);
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A record would come out changed, or not at all.
        #[test]
        fn what_goes_in_comes_out(records in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut block = Block::default();
            let room: usize = records.iter().map(|record| room_for(record.len())).sum();
            records.iter().for_each(|record| block.push(record));
            prop_assert_eq!(block.len(), room);
            let block = Block::from_bytes(block.into_memory()).unwrap();
            let out: Vec<_> = block.records().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(out, records);
        }

        /// Bytes from a file would make the reader panic, or read beyond them.
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(0u8..20, 0..200)) {
            let len = bytes.len();
            match Block::from_bytes(bytes) {
                Ok(mut block) => block.change(|record| record.fill(1)),
                Err(at) => prop_assert!(at <= len),
            }
        }
    }
}
