//! Blocks of records, packed with Zstandard (RFC 8878): one stream for a whole recording, flushed behind each block, so that
//! a block is there as soon as it is written, and what agents send again and again is there once.
//!
//! A stream cannot be read from its middle; a recording that is damaged is not read behind the damage anyway. What a
//! recording says of its sizes is not believed: no block and no window is larger than those that are written.

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use crate::error::{Context, Result};

/// No block of records is larger.
const BLOCK_MAX: usize = 1 << 20;
/// Bytes before what is packed: how much it was.
const LEN: usize = 4;
/// As fast as LZ4, and a third of its bytes: benches/README.md has figures, next to other levels.
const LEVEL: i32 = -1;
/// As a power of two: how far back the same is found. An agent's requests hold its whole conversation.
const WINDOW: u32 = 22;
/// Blocks that are written as they are after one that does not shrink.
const PASSED_OVER: u32 = 7;
/// Room that is made for output at a time.
const STEP: usize = 128 << 10;

/// Packs records where that makes them smaller: time is not spent on what does not shrink, and after such a block some
/// others are not tried.
pub struct Packer {
    encoder: Encoder<'static>,
    packed: Vec<u8>,
    /// Blocks that are not tried yet.
    passed_over: u32,
}

impl Packer {
    /// For a new recording.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> Result<Self> {
        let failed = || "failed to begin packing";
        let mut encoder = Encoder::new(LEVEL).context(failed)?;
        encoder
            .set_parameter(CParameter::WindowLog(WINDOW))
            .context(failed)?;
        // A frame of the recording has a checksum of its own.
        encoder
            .set_parameter(CParameter::ChecksumFlag(false))
            .context(failed)?;
        Ok(Self {
            encoder,
            packed: Vec::new(),
            passed_over: 0,
        })
    }

    /// The block, packed; `None`: it is better written as it is.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn pack(&mut self, block: &[u8]) -> Result<Option<&[u8]>> {
        if let Some(left) = self.passed_over.checked_sub(1) {
            self.passed_over = left;
            return Ok(None);
        }
        if block.len() > BLOCK_MAX {
            return Ok(None);
        }
        let len = self.feed(block).context(|| "failed to pack records")?;
        // An eighth at least. It is in the stream now, and so it is written like that.
        if len > block.len() - block.len() / 8 {
            self.passed_over = PASSED_OVER;
        }
        Ok(self.packed.get(..len))
    }

    /// Leaves the length and what is packed in `packed`: how many bytes that is.
    fn feed(&mut self, block: &[u8]) -> std::io::Result<usize> {
        let mut used = LEN;
        let mut input = InBuffer::around(block);
        loop {
            if self.packed.len() < used + STEP {
                self.packed.resize(used + STEP, 0);
            }
            let mut output = OutBuffer::around_pos(self.packed.as_mut_slice(), used);
            if input.pos() < block.len() {
                self.encoder.run(&mut input, &mut output)?;
            }
            let is_fed = input.pos() == block.len();
            let is_flushed = is_fed && self.encoder.flush(&mut output)? == 0;
            used = output.pos();
            if is_flushed {
                break;
            }
        }
        let len = (block.len() as u32).to_le_bytes();
        self.packed
            .iter_mut()
            .zip(len)
            .for_each(|(to, from)| *to = from);
        Ok(used)
    }
}

/// Undoes it, block by block in their order.
pub struct Unpacker(Decoder<'static>);

impl Unpacker {
    /// For a new recording.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> Result<Self> {
        let failed = || "failed to begin unpacking";
        let mut decoder = Decoder::new().context(failed)?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW))
            .context(failed)?;
        Ok(Self(decoder))
    }

    /// The block; `None`: it is none.
    pub fn unpack(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let (len, packed) = content.split_first_chunk::<LEN>()?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > BLOCK_MAX {
            return None;
        }
        // One byte more than there should be shows that there are.
        let mut block = vec![0; len + 1];
        let mut input = InBuffer::around(packed);
        let mut output = OutBuffer::around(block.as_mut_slice());
        loop {
            let before = (input.pos(), output.pos());
            self.0.run(&mut input, &mut output).ok()?;
            let is_read = input.pos() == packed.len();
            if output.pos() > len || (is_read && output.pos() == len) {
                break;
            }
            if before == (input.pos(), output.pos()) {
                break;
            }
        }
        let is_whole = input.pos() == packed.len() && output.pos() == len;
        block.truncate(len);
        is_whole.then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpacked(unpacker: &mut Unpacker, packed: Option<&[u8]>, block: &[u8]) -> Vec<u8> {
        packed.map_or(block.to_vec(), |packed| unpacker.unpack(packed).unwrap())
    }

    /// What agents say again would be written again; or another block would come out.
    #[test]
    fn what_is_said_again_is_there_once() {
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
        let said = include_bytes!("../stream/mod.rs");
        let sizes = [said, said].map(|block| {
            let packed = packer.pack(block).unwrap();
            let len = packed.unwrap().len();
            assert_eq!(unpacked(&mut unpacker, packed, block), block);
            len
        });
        assert!(sizes[1] < sizes[0] / 10, "{sizes:?}");
    }

    /// Time would be spent on what does not shrink.
    #[test]
    fn what_does_not_shrink_is_not_tried_again_at_once() {
        let mut packer = Packer::new().unwrap();
        let mut x = 1_u64;
        let mut noise = || -> Vec<u8> {
            let next = |_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (x >> 56) as u8
            };
            (0..4096).map(next).collect()
        };
        assert!(packer.pack(&noise()).unwrap().is_some());
        let tried = (0..8).filter(|_| packer.pack(&noise()).unwrap().is_some());
        assert_eq!(tried.count(), 1);
    }

    /// A made-up recording would take all memory: a block larger than there are, one that says so, a larger window.
    #[test]
    fn sizes_are_not_believed() {
        let said = |len: u32, packed: &[u8]| [&len.to_le_bytes(), packed].concat();
        for size in [2 << 20, 64 << 20] {
            let bomb = zstd::bulk::compress(&vec![0; size], 1).unwrap();
            for len in [0, 100, 1 << 20, (1 << 20) + 1, size as u32, u32::MAX] {
                assert_eq!(Unpacker::new().unwrap().unpack(&said(len, &bomb)), None);
            }
        }
        let mut wide = Encoder::new(1).unwrap();
        wide.set_parameter(CParameter::WindowLog(WINDOW + 1))
            .unwrap();
        let mut room = vec![0; 1 << 10];
        let mut output = OutBuffer::around(room.as_mut_slice());
        wide.run(&mut InBuffer::around(b"text"), &mut output)
            .unwrap();
        wide.flush(&mut output).unwrap();
        let end = output.pos();
        assert_eq!(
            Unpacker::new().unwrap().unpack(&said(4, &room[..end])),
            None
        );
    }

    proptest! {
        /// Some blocks would come out as others.
        #[test]
        fn blocks_come_out_as_they_went_in(blocks in proptest::collection::vec(
            (0u8..4, 0usize..70_000), 0..12)) {
            let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
            for (fill, len) in blocks {
                let block: Vec<u8> = (0..len).map(|n| (n * n) as u8 & fill).collect();
                let packed = packer.pack(&block).unwrap();
                prop_assert_eq!(unpacked(&mut unpacker, packed, &block), block);
            }
        }

        /// Bytes from a file would end the reader.
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(block) = Unpacker::new().unwrap().unpack(&bytes) {
                prop_assert!(block.len() <= BLOCK_MAX);
            }
        }
    }
}
