//! `br` (RFC 7932). Its large-window extension is refused, as browsers do.

use brotli_decompressor::{
    BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc,
};

use super::{BEHIND, Codec, DAMAGED, PIECE, Pieces};
use crate::proto::Fault;

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

pub(super) struct Brotli {
    state: Box<State>,
    buffer: Box<[u8]>,
    ended: bool,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let state = State::new_strict(
            StandardAlloc::default(),
            StandardAlloc::default(),
            StandardAlloc::default(),
        );
        Self {
            state: Box::new(state),
            buffer: vec![0; PIECE].into(),
            ended: false,
        }
    }
}

impl Codec for Brotli {
    fn push(&mut self, bytes: &[u8], out: &mut Pieces<'_>) -> Result<(), Fault> {
        let (mut left, mut read) = (bytes.len(), 0);
        while !self.ended {
            let (mut room, mut made, mut total) = (self.buffer.len(), 0, 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut read,
                bytes,
                &mut room,
                &mut made,
                &mut self.buffer,
                &mut total,
                &mut self.state,
            );
            if let Some(piece) = self.buffer.get(..made).filter(|piece| !piece.is_empty()) {
                out(piece)?;
            }
            match result {
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::ResultFailure => return Err(DAMAGED),
                BrotliResult::ResultSuccess => self.ended = true,
            }
        }
        if left == 0 { Ok(()) } else { Err(BEHIND) }
    }

    fn is_whole(&self) -> bool {
        self.ended
    }

    fn held(&self) -> usize {
        let state = &self.state;
        let groups = [
            &state.literal_hgroup,
            &state.insert_copy_hgroup,
            &state.distance_hgroup,
        ];
        let groups = groups.map(|group| bytes_of(&group.htrees) + bytes_of(&group.codes));
        let blocks = &state.block_type_length_state;
        let tables = [
            bytes_of(&blocks.block_type_trees),
            bytes_of(&blocks.block_len_trees),
            bytes_of(&state.context_map_table),
        ];
        let maps = [
            &state.ringbuffer,
            &state.context_map,
            &state.context_modes,
            &state.dist_context_map,
        ];
        let sums = [
            groups.iter().sum(),
            tables.iter().sum(),
            maps.map(bytes_of).iter().sum(),
            size_of::<State>() + self.buffer.len(),
        ];
        sums.iter().sum()
    }
}

fn bytes_of<T>(memory: &impl SliceWrapper<T>) -> usize {
    size_of_val(memory.slice())
}
