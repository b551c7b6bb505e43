//! For the tests of decoders: all the ways in which a stream may be cut into pieces.

use std::fmt::Debug;

/// What `read` makes of `bytes` in one piece, which is what it must make of them however they are cut: in two at every
/// place, and into pieces of equal length.
pub fn every_way<T: Debug + PartialEq>(bytes: &[u8], read: impl Fn(&[&[u8]]) -> T) -> T {
    let whole = read(&[bytes]);
    for at in 0..=bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(read(&[left, right]), whole, "cut at {at}");
    }
    for size in [1, 2, 3, 5, 7, 16, 61] {
        let pieces: Vec<_> = bytes.chunks(size).collect();
        assert_eq!(read(&pieces), whole, "pieces of {size}");
    }
    whole
}

/// Pieces of the given lengths, over and over.
pub fn pieces<'b>(mut bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let mut sizes = sizes.iter().cycle();
    while !bytes.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, bytes.len());
        let (piece, rest) = bytes.split_at(size);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
