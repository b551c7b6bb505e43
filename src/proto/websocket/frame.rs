//! Headers of frames (RFC 6455 section 5.2).

use crate::proto::Fault;

/// Bytes of the longest header: two, a length of 64 bits, a mask.
pub(super) const HEADER_MAX: usize = 14;

const RESERVED_BITS: Fault = Fault {
    what: "a WebSocket frame has a reserved bit that nobody agreed on",
};
const RESERVED_OPCODE: Fault = Fault {
    what: "a WebSocket frame has a reserved opcode",
};
const CONTROL: Fault = Fault {
    what: "a WebSocket control frame is fragmented, compressed or too long",
};
const MASK: Fault = Fault {
    what: "a WebSocket frame of the client without a mask, or of the server with one",
};
const LENGTH: Fault = Fault {
    what: "a WebSocket frame's length has its highest bit set",
};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Binary,
    Close,
    Continuation,
    Ping,
    Pong,
    Text,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_last: bool,
    /// RSV1: the message is compressed (RFC 7692 section 6).
    pub(super) is_compressed: bool,
    /// Of the payload.
    pub(super) len: u64,
    pub(super) mask: Option<[u8; 4]>,
}

/// What both sides agreed on, as far as it shows in headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) is_client: bool,
    pub(super) may_compress: bool,
}

impl Header {
    /// Reads a header and says how long it is. `Ok(None)`: it is not complete.
    pub(super) fn parse(bytes: &[u8], rules: Rules) -> Result<Option<(Self, usize)>, Fault> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let header = Self {
            opcode: opcode(*first)?,
            is_last: first & 0x80 != 0,
            is_compressed: first & 0x40 != 0,
            len: u64::from(second & 0x7f),
            mask: None,
        };
        let has_mask = second & 0x80 != 0;
        header.check(*first, has_mask, rules)?;
        let Some((len, rest)) = length(header.len, rest)? else {
            return Ok(None);
        };
        let mask = match has_mask {
            true => match rest.first_chunk::<4>() {
                Some(mask) => Some(*mask),
                None => return Ok(None),
            },
            false => None,
        };
        let used = bytes.len() - rest.len() + if has_mask { 4 } else { 0 };
        Ok(Some((
            Self {
                len,
                mask,
                ..header
            },
            used,
        )))
    }

    fn check(&self, first: u8, has_mask: bool, rules: Rules) -> Result<(), Fault> {
        let is_control = self.opcode.is_control();
        // RFC 7692 section 6.1: only the first frame of a message has the bit.
        let may_compress = rules.may_compress && !is_control && self.opcode != Opcode::Continuation;
        if first & 0x30 != 0 || (self.is_compressed && !may_compress && !is_control) {
            return Err(RESERVED_BITS);
        }
        // Section 5.5.
        if is_control && (!self.is_last || self.is_compressed || self.len > 125) {
            return Err(CONTROL);
        }
        // Section 5.1.
        if has_mask != rules.is_client {
            return Err(MASK);
        }
        Ok(())
    }
}

fn opcode(first: u8) -> Result<Opcode, Fault> {
    match first & 0xf {
        0 => Ok(Opcode::Continuation),
        1 => Ok(Opcode::Text),
        2 => Ok(Opcode::Binary),
        8 => Ok(Opcode::Close),
        9 => Ok(Opcode::Ping),
        10 => Ok(Opcode::Pong),
        _ => Err(RESERVED_OPCODE),
    }
}

/// The length, and what follows it.
fn length(short: u64, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    let length = match short {
        126 => rest
            .split_first_chunk::<2>()
            .map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest)),
        127 => rest
            .split_first_chunk::<8>()
            .map(|(len, rest)| (u64::from_be_bytes(*len), rest)),
        short => Some((short, rest)),
    };
    match length {
        Some((len, _)) if len >> 63 != 0 => Err(LENGTH),
        length => Ok(length),
    }
}

/// Takes the mask off; `at` is where in the payload `bytes` begin (section 5.3).
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4], at: u64) {
    let mut mask = mask;
    mask.rotate_left((at % 4) as usize);
    let mut quads = bytes.chunks_exact_mut(4);
    for quad in &mut quads {
        for (byte, key) in quad.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in quads.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}
