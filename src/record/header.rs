//! How a recording begins: what it is, and what its frames cannot say.

use crate::bytes::{Endian, Reader};
use crate::error::{Error, Result};
use crate::event::wire::HEADER_LEN as RECORD_HEADER_LEN;
use crate::redact::TagKey;

const MAGIC: [u8; 16] = *b"agentsight\nrun\n\0";
/// Of the file's layout and of the kernel's records in it.
const VERSION: u32 = 2;
/// In the byte order of the machine that recorded.
const ORDER: u32 = 0x0102_0304;
const IS_MASKED: u32 = 1;
/// Bytes of all that, checksum included.
pub const LEN: usize = 16 + 4 + 4 + 4 + 4 + 16 + 32 + 4;

/// What holds for a whole recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What to add to an event's time to get the time of day, in nanoseconds since 1970.
    pub boot_to_unix_ns: i128,
    /// Makes masking the same each time that secrets are masked when the recording is read. Where they are masked already,
    /// another one is written, which is made of it and says nothing of it: it is for those that only show when all is
    /// decoded.
    pub tag_key: TagKey,
    /// Secrets were masked before they were written.
    pub is_masked: bool,
}

impl Header {
    /// As in the file.
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.is_masked { IS_MASKED } else { 0 };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(ORDER.to_ne_bytes());
        bytes.extend((RECORD_HEADER_LEN as u32).to_le_bytes());
        bytes.extend(u32::to_le_bytes(flags));
        bytes.extend(self.boot_to_unix_ns.to_le_bytes());
        // With it, whoever has the recording could try out secrets until the tag is right.
        let key = match self.is_masked {
            true => blake3::derive_key(
                "agentsight 2026 tags of what is masked in a replay",
                &self.tag_key,
            ),
            false => self.tag_key,
        };
        bytes.extend(key);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// It is no recording, a damaged one, or one that this version or machine cannot read.
    pub fn decode(bytes: &[u8; LEN]) -> Result<Self> {
        let (known, sum) = bytes.split_at(LEN - 4);
        let mut reader = Reader::new(known, Endian::Little);
        let broken = || Error::invalid("it is no recording of agentsight");
        if reader.bytes(16) != Some(&MAGIC) {
            return Err(broken());
        }
        let version = reader.u32().ok_or_else(broken)?;
        if version != VERSION {
            return Err(Error::invalid(format!(
                "it is a recording of version {version}, and only {VERSION} is known"
            )));
        }
        if crc32fast::hash(known).to_le_bytes() != sum {
            return Err(Error::invalid("its header is damaged"));
        }
        let order = reader.u32().ok_or_else(broken)?;
        let record = reader.u32().ok_or_else(broken)?;
        if order.to_le_bytes() != ORDER.to_ne_bytes() || record as usize != RECORD_HEADER_LEN {
            return Err(Error::invalid(
                "it was recorded on another kind of machine, or by another version",
            ));
        }
        let flags = reader.u32().ok_or_else(broken)?;
        let clock = reader.bytes(16).and_then(|bytes| bytes.try_into().ok());
        let key = reader.bytes(32).and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            boot_to_unix_ns: clock.map(i128::from_le_bytes).ok_or_else(broken)?,
            tag_key: key.ok_or_else(broken)?,
            is_masked: flags & IS_MASKED != 0,
        })
    }
}
