//! Frame headers of HTTP/2 (RFC 9113 sections 4.1 and 6): what they say, what rules them out, and whether bytes of which
//! nobody knows where a frame begins look like a chain of them.

use crate::bytes::{Endian, Reader};
use crate::proto::Fault;

/// What clients send first (section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header.
pub const HEADER: usize = 9;

/// Where SETTINGS_MAX_FRAME_SIZE says nothing else, and the least that it may say.
pub const FRAME_MAX: u32 = 16384;

/// The most that it may say, and that the header can.
pub const FRAME_LIMIT: u32 = (1 << 24) - 1;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// Of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// Of HEADERS, PUSH_PROMISE and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;
/// Of DATA, HEADERS and PUSH_PROMISE.
pub const PADDED: u8 = 0x8;
/// Of HEADERS.
pub const WITH_PRIORITY: u8 = 0x20;

/// The highest code of an error (section 7).
const LAST_ERROR: u32 = 0xd;
/// The highest setting that is registered at IANA, with some room.
const LAST_SETTING: u16 = 0x20;
/// Frames without a payload in a chain.
const EMPTY_MAX: usize = 4;

/// The first nine bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow.
    pub length: u32,
    /// Its type.
    pub kind: u8,
    pub flags: u8,
    /// Without the reserved bit; 0: the connection.
    pub stream: u32,
    /// The reserved bit, which is to be ignored.
    reserved: bool,
}

impl Header {
    /// The header at the front of `bytes`, if all of it is there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, Endian::Big);
        let (high, low, kind) = (reader.u8()?, reader.u16()?, reader.u8()?);
        let (flags, stream) = (reader.u8()?, reader.u32()?);
        Some(Self {
            length: u32::from(high) << 16 | u32::from(low),
            kind,
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 != 0,
        })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes that follow, for slices.
    pub fn length(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// The rule that it breaks, if any.
    pub fn fault(&self, max: u32) -> Option<Fault> {
        let on_stream = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION => Some(true),
            SETTINGS | PING | GOAWAY => Some(false),
            _ => None,
        };
        let fits = match self.kind {
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS if self.has(ACK) => self.length == 0,
            SETTINGS => self.length.is_multiple_of(6),
            PUSH_PROMISE => self.length >= 4,
            PING => self.length == 8,
            GOAWAY => self.length >= 8,
            _ => true,
        };
        let what = if self.length > max {
            "a frame is larger than was agreed upon"
        } else if !fits {
            "a frame has not the length of its type"
        } else if on_stream.is_some_and(|wanted| wanted != (self.stream != 0)) {
            "a frame has no stream and needs one, or the other way round"
        } else {
            return None;
        };
        Some(Fault { what })
    }

    /// It also looks like one that is really sent: for finding where a frame begins. Stricter than the standard, which
    /// wants unknown types and flags to be ignored.
    fn is_plausible(&self) -> bool {
        let flags = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
            SETTINGS | PING => ACK,
            PUSH_PROMISE => END_HEADERS | PADDED,
            CONTINUATION => END_HEADERS,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return false,
        };
        // Clients open odd streams (section 5.1.1), servers only those that they push.
        let stream = self.stream == 0 || self.stream % 2 == 1;
        // What is empty for no reason is most likely no frame: zeros are common in other protocols.
        let empty = match self.kind {
            DATA => self.length == 0 && !self.has(END_STREAM),
            HEADERS | CONTINUATION => self.length == 0,
            _ => false,
        };
        self.flags & !flags == 0
            && stream
            && !self.reserved
            && !empty
            && self.fault(FRAME_MAX).is_none()
    }

    /// Whether `next` may follow it on the wire (section 6.10: nothing comes between the frames of a header block).
    fn precedes(&self, next: &Self) -> bool {
        let in_block =
            matches!(self.kind, HEADERS | PUSH_PROMISE | CONTINUATION) && !self.has(END_HEADERS);
        in_block == (next.kind == CONTINUATION) && (!in_block || next.stream == self.stream)
    }
}

/// Whether the front of a payload, as far as it is there, is one of that type.
fn payload_fits(header: &Header, payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload, Endian::Big);
    match header.kind {
        RST_STREAM => reader.u32().is_none_or(|code| code <= LAST_ERROR),
        // Section 6.9: from 1 to 2^31 - 1.
        WINDOW_UPDATE => reader.u32().is_none_or(|more| more != 0 && more >> 31 == 0),
        SETTINGS if !header.has(ACK) => reader
            .u16()
            .is_none_or(|setting| (1..=LAST_SETTING).contains(&setting)),
        GOAWAY => {
            let _last = reader.u32();
            reader.u32().is_none_or(|code| code <= LAST_ERROR)
        }
        _ => true,
    }
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// No frame.
    Broken,
    /// As many frames as were asked for, one behind the other.
    Whole,
    /// So far a chain, of which the last frame ends at the given place (or goes beyond the end). More bytes will tell.
    Open(Links),
}

/// What a chain has so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    pub frames: usize,
    /// Those that have a payload: only these show by their length that another frame follows.
    pub filled: usize,
    pub end: usize,
}

/// Follows the frames from `at` on, until `wanted` of them have a payload. None of them has a stream above `highest`.
pub fn chain(bytes: &[u8], at: usize, wanted: usize, highest: u32) -> Chain {
    let mut links = Links {
        frames: 0,
        filled: 0,
        end: at,
    };
    let mut before: Option<Header> = None;
    while links.filled < wanted {
        let rest = bytes.get(links.end..).unwrap_or_default();
        let Some(header) = Header::parse(rest) else {
            return Chain::Open(links);
        };
        let payload = rest.get(HEADER..).unwrap_or_default();
        let payload = payload.get(..header.length()).unwrap_or(payload);
        let follows = before.is_none_or(|before| before.precedes(&header));
        let fits =
            header.is_plausible() && header.stream <= highest && payload_fits(&header, payload);
        if !fits || !follows || links.frames > EMPTY_MAX + links.filled {
            return Chain::Broken;
        }
        links.frames += 1;
        links.filled += usize::from(header.length > 0);
        links.end += HEADER + header.length();
        before = Some(header);
    }
    Chain::Whole
}

/// Whether the first `wanted` frames of a chain from `at` on that have a payload name streams twice at least, of which none
/// is more than `distance` above another.
pub fn streams_are_near(bytes: &[u8], at: usize, wanted: usize, distance: u32) -> bool {
    let (mut at, mut filled, mut count) = (at, 0, 0);
    let (mut lowest, mut highest) = (u32::MAX, 0);
    while filled < wanted
        && let Some(header) = bytes.get(at..).and_then(Header::parse)
    {
        if header.stream != 0 {
            count += 1;
            lowest = lowest.min(header.stream);
            highest = highest.max(header.stream);
        }
        filled += usize::from(header.length > 0);
        at = at.saturating_add(HEADER + header.length());
    }
    count >= 2 && highest.saturating_sub(lowest) <= distance
}
