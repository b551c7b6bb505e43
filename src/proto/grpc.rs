//! gRPC's messages in a body (the gRPC over HTTP/2 protocol description, "Length-Prefixed-Message"): a byte of flags, four
//! bytes of length, the message. Takes the framing away and nothing else: what is compressed stays so.

use super::Fault;

/// Bytes of the prefix.
const PREFIX: usize = 5;

/// Compressed, as `grpc-encoding` says.
const COMPRESSED: u8 = 0x01;
/// gRPC-Web: trailers, as the fields of HTTP/1.
const TRAILERS: u8 = 0x80;

/// Room that the buffer keeps when it is empty.
const SPARE: usize = 256;

const BAD_FLAGS: Fault = Fault {
    what: "a gRPC message has unknown flags",
};
const LOST: Fault = Fault {
    what: "bytes were lost, and so the place where the next gRPC message begins",
};
const CUT_PREFIX: Fault = Fault {
    what: "the body ends in the middle of a gRPC message's prefix",
};

/// One message of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcMessage<'b> {
    /// As `grpc-encoding` says, which may be `identity`.
    pub compressed: bool,
    /// gRPC-Web: these are the trailers.
    pub trailers: bool,
    /// Its content, or the first part of it if something is missing.
    pub bytes: &'b [u8],
    /// Bytes behind these that were lost, did not come, or are beyond the limit.
    pub missing: u64,
}

/// Takes messages at once.
pub type Take<'t> = dyn FnMut(GrpcMessage<'_>) + 't;

#[derive(Clone, Copy)]
enum State {
    /// Between messages, or in a prefix.
    Prefix,
    /// In a message: its flags, and bytes that have not come yet.
    Message { flags: u8, left: u64 },
    /// The same, but nothing more of it is kept. It has missed so many bytes, with all that come.
    Incomplete { flags: u8, left: u64, missing: u64 },
    /// Nobody knows where a message begins.
    Broken(Fault),
}

/// Takes a body apart into messages.
pub struct GrpcMessages {
    limit: u64,
    state: State,
    /// The first bytes of a prefix or a message.
    buffer: Vec<u8>,
}

impl GrpcMessages {
    /// Messages larger than `limit` bytes are told without their content.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit as u64,
            state: State::Prefix,
            buffer: Vec::new(),
        }
    }

    /// The next bytes of the body.
    pub fn push(&mut self, mut bytes: &[u8], take: &mut Take<'_>) {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Prefix => self.prefix(bytes, take),
                State::Message { flags, left } => self.message(flags, left, bytes, take),
                State::Incomplete {
                    flags,
                    left,
                    missing,
                } => {
                    let used = within(left, bytes);
                    self.state = State::Incomplete {
                        flags,
                        left: left - used as u64,
                        missing,
                    };
                    self.finish_incomplete(take);
                    used
                }
                State::Broken(_) => return,
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }

    /// Bytes of the body that were lost; `None`: nobody knows how many. If they may reach beyond a message, nothing more
    /// of the body can be understood.
    pub fn gap(&mut self, bytes: Option<u64>, take: &mut Take<'_>) {
        let lost = bytes.unwrap_or(u64::MAX);
        let (flags, left, missing) = match self.state {
            _ if lost == 0 => return,
            State::Message { flags, left } => (flags, left, left),
            State::Incomplete {
                flags,
                left,
                missing,
            } => (flags, left, missing),
            State::Prefix => {
                self.empty_buffer();
                self.state = State::Broken(LOST);
                return;
            }
            State::Broken(_) => return,
        };
        if lost <= left {
            let left = left - lost;
            self.state = State::Incomplete {
                flags,
                left,
                missing,
            };
            return self.finish_incomplete(take);
        }
        self.tell(flags, missing, take);
        self.state = State::Broken(LOST);
    }

    /// The body has ended. `Err`: why there is more in it than messages.
    pub fn finish(&mut self, take: &mut Take<'_>) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::Prefix) {
            State::Prefix if self.buffer.is_empty() => Ok(()),
            State::Prefix => {
                self.empty_buffer();
                Err(CUT_PREFIX)
            }
            State::Message { flags, left } => {
                self.tell(flags, left, take);
                Ok(())
            }
            State::Incomplete { flags, missing, .. } => {
                self.tell(flags, missing, take);
                Ok(())
            }
            State::Broken(fault) => Err(fault),
        }
    }

    /// Why nothing more is understood.
    pub fn fault(&self) -> Option<Fault> {
        match self.state {
            State::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn prefix(&mut self, bytes: &[u8], take: &mut Take<'_>) -> usize {
        let used = bytes.len().min(PREFIX - self.buffer.len().min(PREFIX));
        self.buffer.extend(bytes.iter().take(used));
        let &[flags, a, b, c, d] = self.buffer.as_slice() else {
            return used;
        };
        self.buffer.clear();
        let left = u64::from(u32::from_be_bytes([a, b, c, d]));
        self.state = if flags & !(COMPRESSED | TRAILERS) != 0 {
            State::Broken(BAD_FLAGS)
        } else if left > self.limit {
            let missing = left;
            State::Incomplete {
                flags,
                left,
                missing,
            }
        } else {
            State::Message { flags, left }
        };
        if left == 0 && self.fault().is_none() {
            self.tell(flags, 0, take);
        }
        used
    }

    fn message(&mut self, flags: u8, left: u64, bytes: &[u8], take: &mut Take<'_>) -> usize {
        let used = within(left, bytes);
        let piece = bytes.get(..used).unwrap_or(bytes);
        let left = left - used as u64;
        if left == 0 && self.buffer.is_empty() {
            self.state = State::Prefix;
            take(message(flags, piece, 0));
            return used;
        }
        self.buffer.extend_from_slice(piece);
        self.state = State::Message { flags, left };
        if left == 0 {
            self.tell(flags, 0, take);
        }
        used
    }

    fn finish_incomplete(&mut self, take: &mut Take<'_>) {
        if let State::Incomplete {
            flags,
            left: 0,
            missing,
        } = self.state
        {
            self.tell(flags, missing, take);
        }
    }

    /// Tells what is kept of a message, and goes on to the next.
    fn tell(&mut self, flags: u8, missing: u64, take: &mut Take<'_>) {
        take(message(flags, &self.buffer, missing));
        self.empty_buffer();
        self.state = State::Prefix;
    }

    fn empty_buffer(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(SPARE);
    }
}

fn message(flags: u8, bytes: &[u8], missing: u64) -> GrpcMessage<'_> {
    GrpcMessage {
        compressed: flags & COMPRESSED != 0,
        trailers: flags & TRAILERS != 0,
        bytes,
        missing,
    }
}

/// How many of `bytes` are among the next `left`.
fn within(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

/// For fuzzing: any bytes, at once and in pieces, give the same messages.
#[doc(hidden)]
pub fn fuzz_grpc(data: &[u8]) {
    let Some((&step, body)) = data.split_first() else {
        return;
    };
    let read = |step: usize| {
        let mut messages = Vec::new();
        let mut decoder = GrpcMessages::new(1 << 10);
        let mut keep =
            |message: GrpcMessage<'_>| messages.push((message.bytes.to_vec(), message.missing));
        for piece in body.chunks(step) {
            decoder.push(piece, &mut keep);
            assert!(decoder.held() <= 4 << 10);
        }
        let end = decoder.finish(&mut keep);
        (messages, end)
    };
    assert_eq!(read(usize::from(step) + 1), read(usize::MAX));
}

#[cfg(test)]
mod tests;
