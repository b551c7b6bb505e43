//! The build ID: what makes one build of a file different from all others.
//! Source: binutils, `ld --build-id`; note layout: System V ABI, "Note Section".

use std::fmt;

use crate::bytes::{Endian, Reader, hex};

const NT_GNU_BUILD_ID: u32 = 3;

/// Linkers write 8, 16 or 20 bytes, users up to this many (`--build-id=0x…`).
const BUILD_ID_MAX: usize = 64;

/// The bytes of a `.note.gnu.build-id`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

/// The first build ID among `notes`, the contents of a note segment or section.
pub(super) fn from_notes(notes: &[u8], endian: Endian) -> Option<BuildId> {
    let mut reader = Reader::new(notes, endian);
    loop {
        let name_len = usize::try_from(reader.u32()?).ok()?;
        let desc_len = usize::try_from(reader.u32()?).ok()?;
        let kind = reader.u32()?;
        let name = padded(&mut reader, name_len)?;
        let desc = padded(&mut reader, desc_len)?;
        if name == b"GNU\0" && kind == NT_GNU_BUILD_ID && (1..=BUILD_ID_MAX).contains(&desc_len) {
            return Some(BuildId(desc.to_vec()));
        }
    }
}

/// Name and descriptor are padded to four bytes; the last one of a segment may lack its padding.
fn padded<'a>(reader: &mut Reader<'a>, len: usize) -> Option<&'a [u8]> {
    let bytes = reader.bytes(len)?;
    let padding = len.next_multiple_of(4) - len;
    reader.skip(padding.min(reader.rest().len()))?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for n in [name.len() as u32, desc.len() as u32, kind] {
            note.extend(n.to_le_bytes());
        }
        for part in [name, desc] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    /// The build ID is found behind other notes, and cut-off notes are no build ID.
    #[test]
    fn found_behind_other_notes() {
        let mut notes = note(b"GNU\0", 5, &[1, 2, 3, 4, 5]);
        notes.extend(note(b"Go\0\0", 4, b"abc"));
        notes.extend(note(b"GNU\0", NT_GNU_BUILD_ID, &[0xab, 0xcd, 0xef]));
        let id = from_notes(&notes, Endian::Little).unwrap();
        assert_eq!(id.to_string(), "abcdef");
        for len in 0..notes.len() - 4 {
            assert_eq!(from_notes(&notes[..len], Endian::Little), None, "{len}");
        }
    }
}
