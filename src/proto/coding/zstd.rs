//! `zstd` (RFC 8878): frames one after the other, their sums verified. Windows beyond 8 MiB are refused (RFC 9659).
//!
//! By libzstd: the decoders in Rust hold back a whole window until the frame ends, so that a stream would show nothing.

use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{BEHIND, Codec, DAMAGED, PIECE, Pieces};
use crate::proto::Fault;

/// 8 MiB, as a power of two.
const WINDOW_LOG_MAX: u32 = 23;

pub(super) struct Zstd {
    decoder: DCtx<'static>,
    buffer: Box<[u8]>,
    /// How much libzstd takes next. Given more, it would lose good blocks before a broken one.
    wanted: usize,
    /// A frame has ended, and no other has begun.
    between: bool,
}

impl Zstd {
    pub(super) fn new() -> Result<Self, Fault> {
        let mut decoder = DCtx::try_create().ok_or(DAMAGED)?;
        let window = DParameter::WindowLogMax(WINDOW_LOG_MAX);
        decoder.set_parameter(window).map_err(|_| DAMAGED)?;
        Ok(Self {
            decoder,
            buffer: vec![0; PIECE].into(),
            wanted: 0,
            between: false,
        })
    }
}

impl Codec for Zstd {
    fn push(&mut self, bytes: &[u8], out: &mut Pieces<'_>) -> Result<(), Fault> {
        let mut rest = bytes;
        loop {
            let step = rest.get(..self.wanted.max(1)).unwrap_or(rest);
            let mut input = InBuffer::around(step);
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            let Ok(wanted) = self.decoder.decompress_stream(&mut output, &mut input) else {
                return Err(if self.between { BEHIND } else { DAMAGED });
            };
            let (read, made) = (input.pos(), output.pos());
            self.between = wanted == 0;
            self.wanted = wanted;
            rest = rest.get(read..).unwrap_or_default();
            if let Some(piece) = self.buffer.get(..made).filter(|piece| !piece.is_empty()) {
                out(piece)?;
            }
            if rest.is_empty() && made < self.buffer.len() {
                return Ok(());
            }
            if read == 0 && made == 0 {
                return Err(DAMAGED);
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.between
    }

    fn held(&self) -> usize {
        self.decoder.sizeof() + self.buffer.len()
    }
}
