//! Masks the records of a made-up run, for fuzzers.

use super::Mask;
use crate::event::block::Block;
use crate::event::wire::HEADER_LEN;
use crate::redact::Redactor;

/// Masks these blocks, which are all of a run. Nothing but the texts of records changes, no length does, and nothing is
/// held when all connections have ended.
#[doc(hidden)]
pub fn fuzz_mask(redactor: &Redactor, blocks: &mut [Block]) {
    let mut mask = Mask::new(redactor.anew());
    for block in blocks {
        let before = block.clone();
        mask.records(block);
        assert_eq!(before.len(), block.len());
        for (before, after) in before.records().zip(block.records()) {
            assert_eq!(before.len(), after.len());
            assert_eq!(before.get(..HEADER_LEN), after.get(..HEADER_LEN));
        }
    }
    let conns: Vec<_> = mask.conns.keys().copied().collect();
    conns.into_iter().for_each(|conn| mask.forget(conn));
    assert!(mask.conns.is_empty(), "connections are still held");
}
