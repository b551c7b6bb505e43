//! A cursor over untrusted bytes: it never panics and never reads outside. Every read is a question
//! whose answer may be `None`; a failed read leaves the cursor where it was.
//!
//! It knows byte order, no formats, and holds no unsafe code. Beside it, what else turns untrusted bytes
//! into something safe to look at.

use std::fmt;

/// Byte order of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

impl Endian {
    /// The order of this machine, for data that comes from its kernel.
    pub const NATIVE: Self = if cfg!(target_endian = "big") {
        Self::Big
    } else {
        Self::Little
    };
}

/// A position in a slice. Invariant: `0 <= position <= data.len()`.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    data: &'a [u8],
    position: usize,
    endian: Endian,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `data`.
    pub fn new(data: &'a [u8], endian: Endian) -> Self {
        Self {
            data,
            position: 0,
            endian,
        }
    }

    /// A reader at `offset` of `data`, if that is inside or at its end.
    pub fn at(data: &'a [u8], offset: usize, endian: Endian) -> Option<Self> {
        (offset <= data.len()).then_some(Self {
            data,
            position: offset,
            endian,
        })
    }

    /// Bytes from the start of the data to the cursor.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.data.get(self.position..).unwrap_or_default()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(n)?;
        let bytes = self.data.get(self.position..end)?;
        self.position = end;
        Some(bytes)
    }

    /// Passes over `n` bytes.
    pub fn skip(&mut self, n: usize) -> Option<()> {
        self.bytes(n).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes: [u8; N] = self.bytes(N)?.try_into().ok()?;
        if self.endian == Endian::Big {
            bytes.reverse();
        }
        Some(bytes)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next two bytes as a number.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next four bytes as a signed number.
    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }
}

/// The zero-terminated string at `offset` of `data`, without its zero; `None` if there is no zero.
pub fn c_str(data: &[u8], offset: usize) -> Option<&[u8]> {
    let tail = data.get(offset..)?;
    tail.get(..memchr::memchr(0, tail)?)
}

/// Longest name that is read. Those that any finder asks for are far shorter; without a limit, a
/// table of entries that all name the same endless string takes the square of the file's size.
const NAME_MAX: usize = 4096;

/// Like [`c_str`], for the many names of a table; `None` also for one longer than 4096 bytes.
pub fn name(data: &[u8], offset: usize) -> Option<&[u8]> {
    let tail = data.get(offset..)?;
    c_str(tail.get(..NAME_MAX + 1).unwrap_or(tail), 0)
}

/// Lower-case hexadecimal, two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Text that does nothing to a terminal: control and direction-changing characters are spelled out.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => safe.push(c),
            '\r' if chars.peek() == Some(&'\n') => {}
            // Bidirectional controls and marks can make text read as what it is not (CVE-2021-42574), and what ends lines
            // forges others.
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                safe.extend(c.escape_unicode());
            }
            _ if c.is_control() => safe.extend(c.escape_default()),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Numbers read as the standard library would from the same bytes, in both orders.
        #[test]
        fn numbers_agree_with_std(bytes in proptest::collection::vec(any::<u8>(), 15..16)) {
            for (endian, big) in [(Endian::Big, true), (Endian::Little, false)] {
                let mut reader = Reader::new(&bytes, endian);
                let a = reader.u64().unwrap();
                let b = reader.u32().unwrap();
                let c = reader.u16().unwrap();
                let d = reader.u8().unwrap();
                let (x, y, z) = (
                    bytes[0..8].try_into().unwrap(),
                    bytes[8..12].try_into().unwrap(),
                    bytes[12..14].try_into().unwrap(),
                );
                if big {
                    prop_assert_eq!((a, b, c), (u64::from_be_bytes(x), u32::from_be_bytes(y), u16::from_be_bytes(z)));
                } else {
                    prop_assert_eq!((a, b, c), (u64::from_le_bytes(x), u32::from_le_bytes(y), u16::from_le_bytes(z)));
                }
                prop_assert_eq!(d, bytes[14]);
                prop_assert!(reader.u8().is_none());
            }
        }

        /// Any sequence of reads stays inside, a failed one does not move, the rest is what is left.
        #[test]
        fn reads_never_leave_the_data(
            data in proptest::collection::vec(any::<u8>(), 0..64),
            start in 0usize..80,
            reads in proptest::collection::vec(0usize..usize::MAX, 0..32),
        ) {
            let Some(mut reader) = Reader::at(&data, start, Endian::Little) else {
                prop_assert!(start > data.len());
                return Ok(());
            };
            for n in reads {
                let n = if n % 3 == 0 { n } else { n % 16 };
                let before = reader.position();
                match reader.bytes(n) {
                    Some(bytes) => {
                        prop_assert_eq!(bytes, &data[before..before + n]);
                        prop_assert_eq!(reader.position(), before + n);
                    }
                    None => {
                        prop_assert!(n > data.len() - before);
                        prop_assert_eq!(reader.position(), before);
                    }
                }
                prop_assert_eq!(reader.rest(), &data[reader.position()..]);
            }
        }

        /// A name is the string at its place, unless that is too long for one.
        #[test]
        fn names_are_short_strings(len in NAME_MAX - 2..NAME_MAX + 3, at in 0usize..4) {
            let mut data = vec![b'x'; len];
            data.push(0);
            let expected = c_str(&data, at).filter(|text| text.len() <= NAME_MAX);
            prop_assert_eq!(name(&data, at), expected);
        }

        /// A string ends at the first zero and nowhere else.
        #[test]
        fn c_strings_end_at_their_zero(data in proptest::collection::vec(0u8..3, 0..32), at in 0usize..40) {
            let expected = data.get(at..).and_then(|tail| {
                tail.iter().position(|&b| b == 0).map(|end| &tail[..end])
            });
            prop_assert_eq!(c_str(&data, at), expected);
        }
    }
}
