//! `gzip` (RFC 1952; several members, all their sums verified) and `deflate` (RFC 1950, or bare RFC 1951 as some senders
//! do it).

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::{BEHIND, Codec, DAMAGED, PIECE, Pieces, opening};
use crate::proto::Fault;

const SUM: Fault = super::fault("the sum of the coded content is wrong");
const HEAD: &[u8] = &[0x1f, 0x8b, 8];
/// About what an inflater takes: its window and tables.
const INFLATER: usize = 44 << 10;
const HEAD_LEN: usize = 10;
const TAIL_LEN: usize = 8;

/// Decompresses what `input` has; whether that was the end.
fn inflate(
    decompress: &mut Decompress,
    input: &mut &[u8],
    buffer: &mut [u8],
    out: &mut Pieces<'_>,
) -> Result<bool, Fault> {
    loop {
        let before = (decompress.total_in(), decompress.total_out());
        let status = decompress.decompress(input, buffer, FlushDecompress::None);
        let read = decompress.total_in().saturating_sub(before.0) as usize;
        let made = decompress.total_out().saturating_sub(before.1) as usize;
        *input = input.get(read..).unwrap_or_default();
        if let Some(piece) = buffer.get(..made).filter(|piece| !piece.is_empty()) {
            out(piece)?;
        }
        // What came before the damage is good.
        let status = status.map_err(|_| DAMAGED)?;
        if status == Status::StreamEnd {
            return Ok(true);
        }
        if made < buffer.len() {
            if input.is_empty() {
                return Ok(false);
            }
            if read == 0 && made == 0 {
                return Err(DAMAGED);
            }
        }
    }
}

/// Where in a member of gzip, in the order of RFC 1952 section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    ExtraLength,
    Extra(usize),
    Name,
    Comment,
    HeadSum,
    Body,
    Tail,
}

pub(super) struct Gzip {
    part: Part,
    flags: u8,
    held: Vec<u8>,
    members: u64,
    /// Of the head, then of the body.
    sum: Hasher,
    size: u32,
    decompress: Decompress,
    buffer: Box<[u8]>,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            part: Part::Head,
            flags: 0,
            held: Vec::new(),
            members: 0,
            sum: Hasher::new(),
            size: 0,
            decompress: Decompress::new(false),
            buffer: vec![0; PIECE].into(),
        }
    }

    /// Moves bytes of `input` to those that are held, until there are `len`.
    fn hold(&mut self, input: &mut &[u8], len: usize) -> bool {
        let missing = len.saturating_sub(self.held.len()).min(input.len());
        if let Some((more, rest)) = input.split_at_checked(missing) {
            self.held.extend_from_slice(more);
            *input = rest;
        }
        self.held.len() == len
    }

    /// Ends a part of the head: what follows, of those that the flags announce.
    fn enter(&mut self, parts: &[(u8, Part)]) {
        if self.part != Part::HeadSum {
            self.sum.update(&self.held);
        }
        self.held.clear();
        let next = parts.iter().find(|(flag, _)| self.flags & flag != 0);
        self.part = next.map_or(Part::Body, |(_, part)| *part);
        if self.part == Part::Body {
            self.sum = Hasher::new();
            self.size = 0;
            self.decompress.reset(false);
        }
    }

    fn head(&mut self, input: &mut &[u8]) -> Result<(), Fault> {
        let whole = self.hold(input, HEAD_LEN);
        let seen = self.held.len().min(HEAD.len());
        if self.held.get(..seen) != HEAD.get(..seen) {
            return Err(if self.members > 0 { BEHIND } else { DAMAGED });
        }
        if !whole {
            return Ok(());
        }
        self.flags = self.held.get(3).copied().unwrap_or_default();
        // "Reserved FLG bits must be zero."
        if self.flags & 0xe0 != 0 {
            return Err(DAMAGED);
        }
        self.sum = Hasher::new();
        self.enter(BEHIND_HEAD);
        Ok(())
    }

    /// A name or a comment: up to its zero.
    fn text(&mut self, input: &mut &[u8], next: &[(u8, Part)]) {
        let end = memchr::memchr(0, input).map_or(input.len(), |zero| zero + 1);
        if let Some((text, rest)) = input.split_at_checked(end) {
            self.sum.update(text);
            *input = rest;
            if text.last() == Some(&0) {
                self.enter(next);
            }
        }
    }

    fn extra(&mut self, input: &mut &[u8], left: usize) {
        let taken = left.min(input.len());
        if let Some((extra, rest)) = input.split_at_checked(taken) {
            self.sum.update(extra);
            *input = rest;
        }
        self.part = Part::Extra(left - taken);
        if left == taken {
            self.enter(BEHIND_EXTRA);
        }
    }

    fn head_sum(&mut self, input: &mut &[u8]) -> Result<(), Fault> {
        if self.hold(input, 2) {
            let sum = self.sum.clone().finalize().to_le_bytes();
            if !sum.starts_with(&self.held) {
                return Err(SUM);
            }
            self.enter(&[]);
        }
        Ok(())
    }

    fn body(&mut self, input: &mut &[u8], out: &mut Pieces<'_>) -> Result<(), Fault> {
        let (sum, size) = (&mut self.sum, &mut self.size);
        let ended = inflate(
            &mut self.decompress,
            input,
            &mut self.buffer,
            &mut |piece| {
                sum.update(piece);
                *size = size.wrapping_add(piece.len() as u32);
                out(piece)
            },
        )?;
        if ended {
            self.part = Part::Tail;
        }
        Ok(())
    }

    fn tail(&mut self, input: &mut &[u8]) -> Result<(), Fault> {
        if self.hold(input, TAIL_LEN) {
            let sum = self.sum.clone().finalize().to_le_bytes();
            let size = self.size.to_le_bytes();
            if !self.held.iter().eq(sum.iter().chain(&size)) {
                return Err(SUM);
            }
            self.held.clear();
            self.members += 1;
            self.part = Part::Head;
        }
        Ok(())
    }
}

const BEHIND_HEAD: &[(u8, Part)] = &[
    (4, Part::ExtraLength),
    (8, Part::Name),
    (16, Part::Comment),
    (2, Part::HeadSum),
];
const BEHIND_EXTRA: &[(u8, Part)] = &[(8, Part::Name), (16, Part::Comment), (2, Part::HeadSum)];
const BEHIND_NAME: &[(u8, Part)] = &[(16, Part::Comment), (2, Part::HeadSum)];
const BEHIND_COMMENT: &[(u8, Part)] = &[(2, Part::HeadSum)];

impl Codec for Gzip {
    fn push(&mut self, bytes: &[u8], out: &mut Pieces<'_>) -> Result<(), Fault> {
        let mut input = bytes;
        while !input.is_empty() {
            match self.part {
                Part::Head => self.head(&mut input)?,
                Part::ExtraLength => {
                    if self.hold(&mut input, 2) {
                        let len = self.held.iter().rev();
                        let len = len.fold(0, |len, byte| len << 8 | usize::from(*byte));
                        self.enter(&[(4, Part::Extra(len))]);
                    }
                }
                Part::Extra(left) => self.extra(&mut input, left),
                Part::Name => self.text(&mut input, BEHIND_NAME),
                Part::Comment => self.text(&mut input, BEHIND_COMMENT),
                Part::HeadSum => self.head_sum(&mut input)?,
                Part::Body => self.body(&mut input, out)?,
                Part::Tail => self.tail(&mut input)?,
            }
        }
        Ok(())
    }

    fn held(&self) -> usize {
        INFLATER + self.held.capacity() + self.buffer.len()
    }

    fn is_whole(&self) -> bool {
        self.members > 0 && self.part == Part::Head && self.held.is_empty()
    }
}

pub(super) struct Deflate {
    /// Made when the first two bytes have told which format it is.
    decompress: Option<Decompress>,
    held: Vec<u8>,
    buffer: Box<[u8]>,
    ended: bool,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            decompress: None,
            held: Vec::new(),
            buffer: vec![0; PIECE].into(),
            ended: false,
        }
    }

    fn decode(&mut self, mut input: &[u8], out: &mut Pieces<'_>) -> Result<(), Fault> {
        if let Some(decompress) = &mut self.decompress
            && !self.ended
        {
            self.ended = inflate(decompress, &mut input, &mut self.buffer, out)?;
        }
        if input.is_empty() {
            Ok(())
        } else {
            Err(BEHIND)
        }
    }
}

impl Codec for Deflate {
    fn push(&mut self, bytes: &[u8], out: &mut Pieces<'_>) -> Result<(), Fault> {
        if self.decompress.is_some() {
            return self.decode(bytes, out);
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() < 2 {
            return Ok(());
        }
        self.decompress = Some(Decompress::new(opening::is_zlib(&self.held)));
        let held = std::mem::take(&mut self.held);
        self.decode(&held, out)
    }

    fn held(&self) -> usize {
        let decompress = self.decompress.as_ref().map_or(0, |_| INFLATER);
        decompress + self.held.capacity() + self.buffer.len()
    }

    fn is_whole(&self) -> bool {
        self.ended
    }
}
