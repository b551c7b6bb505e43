//! Decodes the header blocks of one direction (RFC 7541). Differs from other decoders in that it may begin in the middle:
//! what stands in a part of the table that was not seen is told as unknown, and everything behind it goes on.
//!
//! It keeps no fields and knows no limits on them: who takes them decides how many to keep.

use std::collections::VecDeque;

use super::huffman;
use super::table::{Indexed, Name, Table};
use crate::proto::Fault;

/// SETTINGS that nobody has acknowledged yet, of one connection. Peers have one or two.
const PENDING_MAX: usize = 16;

/// The largest number that is read. Lengths are bounded by their block, indices and sizes are far smaller.
const INTEGER_MAX: u64 = u32::MAX as u64;

const TRUNCATED: Fault = Fault {
    what: "a header block ends in the middle of a field",
};
const BAD_INDEX: Fault = Fault {
    what: "a header field has an index beyond the table",
};
const BAD_INTEGER: Fault = Fault {
    what: "a number in a header block is too large",
};
const BAD_HUFFMAN: Fault = Fault {
    what: "a string in a header block is not in Huffman code",
};
const BAD_RESIZE: Fault = Fault {
    what: "the header table is set to a size that was not allowed",
};
const LATE_RESIZE: Fault = Fault {
    what: "the header table changes its size in the middle of a header block",
};

/// Takes the fields of a block: name and, if it is known, value.
pub type Take<'t> = dyn FnMut(&Name, Option<&[u8]>) + 't;

/// Decodes the blocks of one direction, in their order.
pub struct Decoder {
    table: Table,
    /// How large the encoder may make the table: SETTINGS_HEADER_TABLE_SIZE of the other end, acknowledged. `None`: not
    /// known, which allows any.
    allowed: Option<usize>,
    /// The same of SETTINGS that are under way; `None` for those which do not say it.
    pending: VecDeque<Option<usize>>,
}

impl Decoder {
    /// Of a connection that was there from its start, or of one that was joined late.
    pub fn new(from_start: bool) -> Self {
        Self {
            table: Table::new(from_start),
            allowed: from_start.then_some(super::table::DEFAULT_MAX),
            pending: VecDeque::new(),
        }
    }

    /// Decodes one block. After a fault, the table is as unknown as after a loss.
    pub fn decode(&mut self, block: &[u8], take: &mut Take<'_>) -> Result<(), Fault> {
        let decoded = self.fields(block, take);
        if decoded.is_err() {
            self.lost();
        }
        decoded
    }

    /// A block was missed.
    pub fn lost(&mut self) {
        self.table.forget();
        self.table.forget_max();
    }

    /// SETTINGS, or their acknowledgements, may have been missed.
    pub fn settings_lost(&mut self) {
        self.allowed = None;
        self.pending.clear();
    }

    /// The other end sends SETTINGS, maybe with a table size (RFC 9113 section 6.5.2).
    pub fn settings(&mut self, size: Option<u32>) {
        if self.pending.len() == PENDING_MAX {
            return self.settings_lost();
        }
        let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        self.pending.push_back(size);
    }

    /// The encoder acknowledges the oldest of them (section 6.5.3): from now on, they hold.
    pub fn acknowledged(&mut self) {
        if let Some(Some(size)) = self.pending.pop_front() {
            self.allowed = self.allowed.map(|_| size);
        }
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.table.held() + self.pending.capacity() * size_of::<Option<usize>>()
    }

    fn fields(&mut self, block: &[u8], take: &mut Take<'_>) -> Result<(), Fault> {
        let mut rest = block;
        let mut scratch = Scratch::default();
        let mut first = true;
        while let Some((&byte, _)) = rest.split_first() {
            match byte {
                // Section 6.1.
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    let entry = self.table.get(index).ok_or(BAD_INDEX)?;
                    take(entry.name(), entry.value());
                }
                // Section 6.2.1.
                0x40.. => {
                    let (name, value) = self.literal(&mut rest, 6, &mut scratch)?;
                    take(&name, Some(value));
                    self.table.insert(name, value);
                }
                // Section 4.2: only in front of the fields.
                0x20.. if !first => return Err(LATE_RESIZE),
                // Section 6.3.
                0x20.. => {
                    self.resize(integer(&mut rest, 5)?)?;
                    continue;
                }
                // Sections 6.2.2 and 6.2.3.
                _ => {
                    let (name, value) = self.literal(&mut rest, 4, &mut scratch)?;
                    take(&name, Some(value));
                }
            }
            first = false;
        }
        Ok(())
    }

    fn literal<'s, 'b: 's>(
        &self,
        rest: &mut &'b [u8],
        prefix: u32,
        scratch: &'s mut Scratch,
    ) -> Result<(Name, &'s [u8]), Fault> {
        let index = integer(rest, prefix)?;
        let name = if index == 0 {
            Name::Known(string(rest, &mut scratch.name)?.into())
        } else {
            match self.table.get(index).ok_or(BAD_INDEX)? {
                Indexed::Entry(name, _) | Indexed::Unseen(name) => name,
            }
        };
        Ok((name, string(rest, &mut scratch.value)?))
    }

    fn resize(&mut self, size: usize) -> Result<(), Fault> {
        let under_way = self.pending.iter().flatten().max();
        let allowed = self
            .allowed
            .map(|allowed| allowed.max(under_way.copied().unwrap_or(0)));
        if allowed.is_some_and(|allowed| size > allowed) {
            return Err(BAD_RESIZE);
        }
        self.table.resize(size);
        Ok(())
    }
}

/// Strings of which the plain form is made; one after the other.
#[derive(Default)]
struct Scratch {
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The next number, of which the lowest `prefix` bits of the first byte are a part (section 5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Fault> {
    let mask = (1_u8 << prefix) - 1;
    let mut bytes = rest.iter();
    let first = bytes.next().ok_or(TRUNCATED)? & mask;
    let mut value = u64::from(first);
    let mut shift = 0;
    let mut more = first == mask;
    while more {
        let byte = bytes.next().ok_or(TRUNCATED)?;
        // Five bytes hold 32 bits; more would be zeros in front.
        if shift > 28 {
            return Err(BAD_INTEGER);
        }
        value += u64::from(byte & 0x7f) << shift;
        shift += 7;
        more = byte & 0x80 != 0;
    }
    *rest = bytes.as_slice();
    if value > INTEGER_MAX {
        return Err(BAD_INTEGER);
    }
    usize::try_from(value).map_err(|_| BAD_INTEGER)
}

/// The next string (section 5.2), in the block or in `plain`.
fn string<'s, 'b: 's>(rest: &mut &'b [u8], plain: &'s mut Vec<u8>) -> Result<&'s [u8], Fault> {
    let huffman = rest.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(TRUNCATED)?;
    *rest = behind;
    if !huffman {
        return Ok(bytes);
    }
    plain.clear();
    huffman::decode(bytes, plain).ok_or(BAD_HUFFMAN)?;
    Ok(plain)
}

/// For fuzzing: any bytes, as blocks of a connection from its start and of one that was joined late. Where both know a
/// field, they agree.
#[doc(hidden)]
pub fn fuzz_hpack(data: &[u8]) {
    let [mut whole, mut late] = [true, false].map(Decoder::new);
    for block in data.split(|byte| *byte == 0xff) {
        let [mut exact, mut guessed] = [Vec::new(), Vec::new()];
        let keep = |fields: &mut Vec<_>, name: &Name, value: Option<&[u8]>| {
            if fields.len() < 64 {
                fields.push((name.clone(), value.map(<[u8]>::to_vec)));
            }
        };
        let ended = whole.decode(block, &mut |name, value| keep(&mut exact, name, value));
        let _ = late.decode(block, &mut |name, value| keep(&mut guessed, name, value));
        if ended.is_err() {
            return;
        }
        for (exact, guessed) in exact.iter().zip(&guessed) {
            assert!(guessed.0 == exact.0 || matches!(guessed.0, Name::Unknown(_)));
            assert!(guessed.1 == exact.1 || guessed.1.is_none());
        }
        assert!(whole.held() <= 1 << 20 && late.held() <= 1 << 20);
    }
}

#[cfg(test)]
mod tests;
