//! What the frames of one direction say, with their framing taken away.

use super::frame::{HEADERS, Header};
use crate::bytes::{Endian, Reader};
use crate::proto::Fault;

/// What a header block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// HEADERS.
    Head { end_stream: bool },
    /// PUSH_PROMISE.
    Promise,
}

impl BlockKind {
    /// Of the frame that begins a block.
    pub fn of(header: &Header) -> Self {
        if header.kind == HEADERS {
            let end_stream = header.has(super::frame::END_STREAM);
            Self::Head { end_stream }
        } else {
            Self::Promise
        }
    }
}

/// A header block, with its CONTINUATION frames joined.
#[derive(Clone, Copy, Debug)]
pub struct Block<'b> {
    pub stream: u32,
    pub kind: BlockKind,
    /// `None`: a part of it was lost, or it is larger than what is kept.
    pub bytes: Option<&'b [u8]>,
    /// Of the payloads of its frames.
    pub length: u64,
}

/// What SETTINGS say that matters here (RFC 9113 section 6.5.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    pub header_table_size: Option<u32>,
    pub max_frame_size: Option<u32>,
}

impl Settings {
    /// Section 6.5.1; the last value of a setting holds.
    pub fn parse(payload: &[u8]) -> Self {
        let mut reader = Reader::new(payload, Endian::Big);
        let mut settings = Self::default();
        while let (Some(setting), Some(value)) = (reader.u16(), reader.u32()) {
            match setting {
                1 => settings.header_table_size = Some(value),
                5 => settings.max_frame_size = Some(value),
                _ => {}
            }
        }
        settings
    }
}

/// What the frames of a direction say.
#[derive(Clone, Copy, Debug)]
pub enum Event<'b> {
    /// The oldest SETTINGS of the other end are acknowledged.
    Acknowledged,
    /// Frames may have been lost.
    Adrift,
    Block(Block<'b>),
    /// Not empty.
    Data {
        stream: u32,
        bytes: &'b [u8],
    },
    DataLost {
        stream: u32,
        bytes: Option<u64>,
    },
    /// By DATA.
    EndStream {
        stream: u32,
    },
    Goaway {
        last: u32,
        code: u32,
    },
    /// Of the client.
    Preface,
    /// `None`: its code was lost.
    Reset {
        stream: u32,
        code: Option<u32>,
    },
    /// `None`: their content was lost.
    Settings(Option<Settings>),
    Skipped {
        bytes: u64,
        why: Fault,
    },
}

/// Takes events at once.
pub type Take<'t> = dyn FnMut(Event<'_>) + 't;
