//! Joins the frames of a header block: HEADERS or PUSH_PROMISE, and CONTINUATION (RFC 9113 sections 4.3 and 6.10).

use super::event::{Block, BlockKind, Event, Take};
use super::frame::{CONTINUATION, END_HEADERS, Header, PADDED, PUSH_PROMISE, WITH_PRIORITY};
use crate::bytes::{Endian, Reader};

/// The header block of a direction that has begun, if one has.
pub struct Assembly {
    open: Option<Box<Open>>,
    /// Bytes of a block that are kept.
    keep: usize,
}

/// A block of which more frames must come.
struct Open {
    stream: u32,
    kind: BlockKind,
    /// `None`: lost, as [`Block::bytes`].
    bytes: Option<Vec<u8>>,
    length: u64,
}

impl Assembly {
    pub fn new(keep: usize) -> Self {
        Self { open: None, keep }
    }

    /// The stream of the block that has begun: nothing else may come before its end.
    pub fn stream(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.stream)
    }

    pub fn clear(&mut self) {
        self.open = None;
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        let bytes = self.open.as_ref().and_then(|open| open.bytes.as_ref());
        bytes.map_or(0, Vec::capacity)
    }

    /// The payload of HEADERS, PUSH_PROMISE, or the CONTINUATION of a block that has begun. `None`: its padding is wrong.
    pub fn push(&mut self, header: &Header, payload: &[u8], take: &mut Take<'_>) -> Option<()> {
        if header.kind == CONTINUATION {
            self.go_on(header, payload, take);
            return Some(());
        }
        let fragment = fragment(header, payload)?;
        let mut open = Open::new(header);
        if header.has(END_HEADERS) {
            take(Event::Block(open.block(Some(fragment))));
        } else {
            open.bytes = Some(fragment.to_vec());
            self.open = Some(Box::new(open));
        }
        Some(())
    }

    /// The same for a frame of which the payload, or a part of it, is not known. A CONTINUATION may be all that is seen of
    /// its block.
    pub fn lose(&mut self, header: &Header, take: &mut Take<'_>) {
        match &mut self.open {
            Some(open) if header.kind == CONTINUATION => {
                open.bytes = None;
                open.length += u64::from(header.length);
            }
            _ => self.open = Some(Box::new(Open::new(header))),
        }
        if header.has(END_HEADERS)
            && let Some(open) = self.open.take()
        {
            take(Event::Block(open.block(None)));
        }
    }

    /// A CONTINUATION comes of a block whose beginning was not seen.
    pub fn begin_lost(&mut self, header: &Header) {
        let mut open = Open::new(header);
        // What it continues is most likely a head; whether that ends the stream is not known.
        open.kind = BlockKind::Head { end_stream: false };
        open.length = 0;
        self.open = Some(Box::new(open));
    }

    fn go_on(&mut self, header: &Header, fragment: &[u8], take: &mut Take<'_>) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        open.length += u64::from(header.length);
        let mut bytes = open.bytes.take();
        if let Some(kept) = &mut bytes {
            kept.extend_from_slice(fragment);
        }
        let bytes = bytes.filter(|bytes| bytes.len() <= self.keep);
        if header.has(END_HEADERS) {
            take(Event::Block(open.block(bytes.as_deref())));
        } else {
            open.bytes = bytes;
            self.open = Some(open);
        }
    }
}

impl Open {
    fn new(header: &Header) -> Self {
        Self {
            stream: header.stream,
            kind: BlockKind::of(header),
            bytes: None,
            length: u64::from(header.length),
        }
    }

    fn block<'b>(&self, bytes: Option<&'b [u8]>) -> Block<'b> {
        Block {
            stream: self.stream,
            kind: self.kind,
            bytes,
            length: self.length,
        }
    }
}

/// The part of HEADERS or PUSH_PROMISE that belongs to the header block (sections 6.2 and 6.6).
fn fragment<'b>(header: &Header, payload: &'b [u8]) -> Option<&'b [u8]> {
    let mut reader = Reader::new(payload, Endian::Big);
    let padding = if header.has(PADDED) { reader.u8()? } else { 0 };
    match header.kind {
        PUSH_PROMISE => reader.skip(4)?,
        _ if header.has(WITH_PRIORITY) => reader.skip(5)?,
        _ => {}
    }
    let rest = reader.rest();
    rest.get(..rest.len().checked_sub(usize::from(padding))?)
}
