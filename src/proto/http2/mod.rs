//! HTTP/2 (RFC 9113, with HPACK of RFC 7541 and the CONNECT of RFC 8441): both directions of one connection, from its start
//! or joined in its middle.
//!
//! * [`reader`] cuts a direction into frames, [`assembly`] joins header blocks, and [`search`] finds where a frame begins
//!   if nobody knows;
//! * [`hpack`] decodes header blocks, with [`table`] and [`huffman`];
//! * [`literals`] lets somebody change values of header blocks where they lie;
//! * [`mux`] says what they mean: [`blocks`] for heads and trailers, [`streams`] for what is open, [`sockets`] for those
//!   that have become WebSockets.
//!
//! What was not seen stays unknown. In a connection that was joined late, or that has lost bytes, a field of the table is a
//! name without a value, and a stream of which something may be missing says so. Flow control and priorities are passed
//! over; server push is decoded, so that the table stays right, and not followed.

mod assembly;
mod blocks;
mod event;
mod frame;
mod head;
mod hpack;
mod huffman;
mod literals;
mod mux;
mod reader;
mod search;
mod sockets;
mod streams;
mod table;

#[cfg(test)]
mod tests;

use frame::{Chain, Header, PREFACE, SETTINGS, chain};
use mux::{Mux, Pair, Said};
use reader::Reader;

use super::{Decoder, Limits, Out, Party};

pub use hpack::fuzz_hpack;
pub use literals::Literals;

/// Bytes in which a frame is looked for before an answer is given up: a frame of the common size, and headers behind it.
const LOOK_MAX: usize = 24 << 10;

/// Up to this stream, a chain is believed as it is: tables of numbers look like frames of higher ones. Those need one frame
/// more, and must lie near each other.
const LOOK_STREAMS: u32 = 1 << 16;

/// Decodes one HTTP/2 connection.
pub struct Http2 {
    readers: Pair<Reader>,
    mux: Mux,
}

impl Http2 {
    /// `from_start`: both directions come from their first byte on. Otherwise they may begin anywhere.
    pub fn new(limits: Limits, from_start: bool) -> Self {
        Self {
            readers: Pair::new(|| Reader::new(limits.head, from_start)),
            mux: Mux::new(limits, from_start),
        }
    }

    /// Whether the first bytes of one direction, as far as they came, are HTTP/2: the preface of a client, SETTINGS of a
    /// server, or in a connection that was joined in its middle a chain of frames, at the front or within the first 24
    /// KiB. `None`: more bytes are needed; so it is with most bytes that are not text, up to those 24 KiB. Takes time for
    /// all of `bytes`, so it should not be asked for every single one that is added.
    pub fn looks_like(bytes: &[u8]) -> Option<bool> {
        let preface = bytes.get(..PREFACE.len()).unwrap_or(bytes);
        if PREFACE.starts_with(preface) {
            return (preface.len() == PREFACE.len()).then_some(true);
        }
        // A single frame that is all there is: its length is as good as a second header.
        let all = match chain(bytes, 0, search::FRAMES, u32::MAX) {
            Chain::Whole => is_chained(bytes, 0, search::FRAMES),
            Chain::Open(links) => {
                let settings = Header::parse(bytes).is_some_and(|header| header.kind == SETTINGS);
                (links.filled > 0 || settings) && links.end == bytes.len()
            }
            Chain::Broken => false,
        };
        if all {
            return Some(true);
        }
        let bytes = bytes.get(..LOOK_MAX).unwrap_or(bytes);
        // Lengths up to the common size begin with a zero.
        let mut zeros = memchr::memchr_iter(0, bytes);
        match zeros.any(|at| is_chained(bytes, at, search::FRAMES + 1)) {
            true => Some(true),
            false => (bytes.len() >= LOOK_MAX).then_some(false),
        }
    }
}

/// Whether frames with a payload follow each other from `at` on: so many, and one more if their streams are high.
fn is_chained(bytes: &[u8], at: usize, frames: usize) -> bool {
    match chain(bytes, at, frames, u32::MAX) {
        Chain::Whole => {}
        Chain::Broken | Chain::Open(_) => return false,
    }
    chain(bytes, at, frames, LOOK_STREAMS) == Chain::Whole
        || chain(bytes, at, frames + 1, u32::MAX) == Chain::Whole
            && frame::streams_are_near(bytes, at, frames + 1, LOOK_STREAMS)
}

impl Decoder for Http2 {
    fn data(&mut self, from: Party, at_ns: u64, bytes: &[u8], out: &mut Out<'_>) {
        let Self { readers, mux } = self;
        let reader = readers.of(from);
        match mux.max_frame(from.other()) {
            Some(size) => reader.allow_frame(size),
            None => reader.allow_any_frame(),
        }
        let mut said = Said { from, at_ns, out };
        reader.push(bytes, &mut |event| mux.event(event, &mut said));
    }

    fn gap(&mut self, from: Party, at_ns: u64, bytes: Option<u64>, out: &mut Out<'_>) {
        let Self { readers, mux } = self;
        let mut said = Said { from, at_ns, out };
        readers
            .of(from)
            .gap(bytes, &mut |event| mux.event(event, &mut said));
    }

    fn end(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        let Self { readers, mux } = self;
        let mut said = Said { from, at_ns, out };
        readers
            .of(from)
            .end(&mut |event| mux.event(event, &mut said));
        mux.end(&mut said);
    }

    fn held(&self) -> usize {
        let readers = self.readers.both().iter().map(Reader::held).sum::<usize>();
        readers + self.mux.held()
    }
}

/// For fuzzing: any bytes, which say themselves how they are cut, what is lost, and who sends.
#[doc(hidden)]
pub fn fuzz_http2(data: &[u8]) {
    let Some((&how, mut rest)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        head: 4096,
        exchanges: 16,
        ..Limits::default()
    };
    let _ = Http2::looks_like(rest);
    let mut decoder = Http2::new(limits, how & 1 != 0);
    let mut bodies = 0_usize;
    let mut out = |item: super::Item<'_>| {
        if let super::Item::Body { bytes, .. } = item {
            assert!(!bytes.is_empty());
            bodies += bytes.len();
        }
    };
    while let Some((&turn, behind)) = rest.split_first() {
        let from = if turn & 1 == 0 {
            Party::Local
        } else {
            Party::Peer
        };
        let length = usize::from(turn >> 2) * usize::from(how | 1);
        let (piece, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
        rest = behind;
        match turn {
            0xfc => decoder.gap(from, 0, None, &mut out),
            0xfd => decoder.gap(from, 0, Some(u64::from(how)), &mut out),
            _ => decoder.data(from, 0, piece, &mut out),
        }
        assert!(decoder.held() < 1 << 20);
    }
    for from in [Party::Local, Party::Peer] {
        decoder.end(from, 0, &mut out);
    }
    assert!(bodies <= data.len());
}
