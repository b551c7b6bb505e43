//! permessage-deflate (RFC 7692): what the two agreed on, and a message's compression undone as it comes.
//!
//! Windows are always of 32 KiB, which reads what was written with smaller ones. Output beyond a message's limit is counted
//! but not kept, and beyond the limit of decoding nothing more is decoded.

use flate2::{Decompress, FlushDecompress, Status};

use crate::proto::Limits;

/// About what an inflater takes: its window and tables.
const INFLATER: usize = 44 << 10;

/// Room that is made for output at a time.
const STEP: usize = 4 << 10;

/// Behind each message (RFC 7692 section 7.2.2).
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// What the two agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deflate {
    /// The server begins each message with an empty window (section 7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client does (section 7.1.1.2).
    pub client_no_context_takeover: bool,
}

impl Deflate {
    /// From `Sec-WebSocket-Extensions` of the response. `None`: they agreed on no compression.
    pub fn agreed(extensions: &str) -> Option<Self> {
        let mut extensions = extensions.split(',').map(|extension| {
            let mut parts = extension.split(';').map(str::trim);
            (parts.next().unwrap_or_default(), parts)
        });
        let (_, parameters) =
            extensions.find(|(name, _)| name.eq_ignore_ascii_case("permessage-deflate"))?;
        let mut agreed = Self::default();
        for parameter in parameters {
            let name = parameter.split('=').next().unwrap_or_default().trim();
            match name.to_ascii_lowercase().as_str() {
                "server_no_context_takeover" => agreed.server_no_context_takeover = true,
                "client_no_context_takeover" => agreed.client_no_context_takeover = true,
                // Smaller windows need nothing of us.
                _ => {}
            }
        }
        Some(agreed)
    }
}

/// Undoes the compression of one direction.
pub(super) struct Inflater {
    keeps_window: bool,
    /// Of the current message, or of the one before if the window is kept.
    stream: Option<Box<Decompress>>,
    /// The window does not have what the sender believes it to have.
    is_broken: bool,
    /// Bytes that the current message gave.
    decoded: u64,
}

impl Inflater {
    pub(super) fn new(keeps_window: bool) -> Self {
        Self {
            keeps_window,
            stream: None,
            is_broken: false,
            decoded: 0,
        }
    }

    /// A piece of a message was lost: what follows cannot be decoded, up to where the window is empty again.
    pub(super) fn lose(&mut self) {
        self.is_broken = true;
        self.stream = None;
    }

    /// A message begins, and messages before it were lost.
    pub(super) fn restart(&mut self) {
        self.stream = None;
        self.decoded = 0;
        self.is_broken = self.keeps_window;
    }

    /// Adds what a piece gives to `message`, at most up to the limit. False: it cannot be decoded, now or any more.
    pub(super) fn decode(&mut self, piece: &[u8], message: &mut Vec<u8>, limits: &Limits) -> bool {
        if !self.is_broken && self.inflate(piece, message, limits).is_none() {
            self.lose();
        }
        !self.is_broken
    }

    /// The message is complete. Gives how many bytes it had; `None`: it was not decoded to its end.
    pub(super) fn finish(&mut self, message: &mut Vec<u8>, limits: &Limits) -> Option<u64> {
        let is_decoded = self.decode(TAIL, message, limits);
        let decoded = std::mem::take(&mut self.decoded);
        if !self.keeps_window {
            self.stream = None;
            self.is_broken = false;
        }
        is_decoded.then_some(decoded)
    }

    fn inflate(&mut self, piece: &[u8], message: &mut Vec<u8>, limits: &Limits) -> Option<()> {
        let mut rest = piece;
        let mut room = [0; STEP];
        loop {
            let stream = self
                .stream
                .get_or_insert_with(|| Box::new(Decompress::new(false)));
            let (read, written) = (stream.total_in(), stream.total_out());
            let status = stream
                .decompress(rest, &mut room, FlushDecompress::Sync)
                .ok()?;
            let read = usize::try_from(stream.total_in() - read).ok()?;
            let written = usize::try_from(stream.total_out() - written).ok()?;
            rest = rest.get(read..)?;
            self.decoded += written as u64;
            let kept = limits.message.saturating_sub(message.len()).min(written);
            message.extend_from_slice(room.get(..kept)?);
            if self.decoded > limits.decoded {
                return None;
            }
            match status {
                // A last block (section 7.2.3.4): another stream begins behind it, which cannot refer to this one here.
                Status::StreamEnd => {
                    stream.reset(false);
                    if rest.is_empty() {
                        return Some(());
                    }
                }
                _ if rest.is_empty() && written < STEP => return Some(()),
                _ if read == 0 && written == 0 => return None,
                _ => {}
            }
        }
    }

    pub(super) fn held(&self) -> usize {
        self.stream.as_ref().map_or(0, |_| INFLATER)
    }
}
