//! The streams of a connection that are open (RFC 9113 section 5.1), and what each half of them has seen. Finds out what a
//! stream is that was not seen to begin; keeps no bytes.

use std::collections::{BTreeMap, VecDeque};

use crate::proto::{ExchangeId, Outcome, Side};

/// Streams that were reset, of which more may come: those who send did not know yet.
const RESET_MAX: usize = 256;

/// How far a half is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection was joined later than this half began, and nothing has come of it.
    Unseen,
    /// Its head has not come yet.
    Awaited,
    /// Its body may come.
    Open,
    /// Nothing may come any more.
    Ended,
}

/// One direction of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    pub phase: Phase,
    /// It was told that bytes of it are missing, and nothing has come since.
    pub gap_told: bool,
    /// Anything of it may have been missed.
    pub doubtful: bool,
}

impl Half {
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            gap_told: false,
            doubtful: false,
        }
    }

    /// Something of it is still to come.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Awaited | Phase::Open)
    }
}

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    pub exchange: ExchangeId,
    pub request: Half,
    pub response: Half,
    /// What a request with CONNECT asks for: `connect`, or its `:protocol`.
    pub tunnel: Option<Box<str>>,
}

impl Stream {
    pub fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Nothing more is to come.
    fn is_over(&self) -> bool {
        let over = |phase| matches!(phase, Phase::Ended | Phase::Unseen);
        self.response.phase == Phase::Ended && over(self.request.phase)
    }

    fn is_doubtful(&self) -> bool {
        self.request.doubtful || self.response.doubtful
    }
}

/// What a stream is of which something came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is open.
    Open,
    /// It has ended, or was not followed.
    Over,
    /// It was not seen to begin.
    Unseen,
}

/// The streams that clients open: those with odd numbers.
#[derive(Default)]
pub struct Streams {
    open: BTreeMap<u32, Stream>,
    /// The number of the last exchange.
    exchanges: u64,
    /// From this stream on, up to `highest`, every one was seen to begin.
    first: Option<u32>,
    highest: u32,
    reset: VecDeque<u32>,
}

impl Streams {
    pub fn get(&mut self, stream: u32) -> Option<&mut Stream> {
        self.open.get_mut(&stream)
    }

    pub fn iter(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.values_mut()
    }

    /// What this stream is.
    pub fn standing(&self, stream: u32) -> Standing {
        let began = self
            .first
            .is_some_and(|first| (first..=self.highest).contains(&stream));
        if self.open.contains_key(&stream) {
            Standing::Open
        } else if began || self.reset.contains(&stream) {
            Standing::Over
        } else {
            Standing::Unseen
        }
    }

    /// No stream with this number, or a higher one, was seen (section 5.1.1: they only rise).
    pub fn is_new(&self, stream: u32) -> bool {
        stream > self.highest
    }

    /// The client opens a stream.
    pub fn begin(&mut self, stream: u32) {
        if self.is_new(stream) {
            self.first = self.first.or(Some(stream));
            self.highest = stream;
        }
    }

    /// The client may have opened streams that were not seen.
    pub fn lose_beginnings(&mut self) {
        self.first = None;
    }

    /// Sees to it that fewer than `max` are open, by giving up on one of which the end may have been lost. `None`: there
    /// is no such one.
    pub fn make_room(&mut self, max: usize) -> Option<Option<Stream>> {
        if self.open.len() < max {
            return Some(None);
        }
        let doubtful = self.open.iter().find(|(_, open)| open.is_doubtful());
        let oldest = doubtful.map(|(number, _)| *number)?;
        Some(self.open.remove(&oldest))
    }

    /// Follows a stream.
    pub fn add(&mut self, stream: u32, request: Phase, response: Phase) -> &mut Stream {
        self.exchanges += 1;
        let added = Stream {
            exchange: ExchangeId(self.exchanges),
            request: Half::new(request),
            response: Half::new(response),
            tunnel: None,
        };
        self.open.remove(&stream);
        self.open.entry(stream).or_insert(added)
    }

    /// Takes a stream out of which nothing more is to come.
    pub fn remove_if_over(&mut self, stream: u32) {
        if self.open.get(&stream).is_some_and(Stream::is_over) {
            self.open.remove(&stream);
        }
    }

    /// Takes a stream out that was reset, and remembers it if nothing else says that it is over.
    pub fn remove_reset(&mut self, stream: u32) -> Option<Stream> {
        let removed = self.open.remove(&stream);
        if self.standing(stream) == Standing::Over {
            return removed;
        }
        if self.reset.len() == RESET_MAX {
            self.reset.pop_front();
        }
        self.reset.push_back(stream);
        removed
    }

    /// The open streams with a number higher than this.
    pub fn above(&self, last: u32) -> Vec<u32> {
        let from = last.saturating_add(1);
        self.open.range(from..).map(|(number, _)| *number).collect()
    }

    /// Takes out what is over.
    pub fn sweep(&mut self) {
        self.open.retain(|_, stream| !stream.is_over());
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.open.len() * (size_of::<Stream>() + 16) + self.reset.capacity() * size_of::<u32>()
    }
}

/// The halves of a stream that end now, in the order in which they are told.
pub fn end_halves(
    stream: &mut Stream,
    outcome: Outcome,
    mut tell: impl FnMut(ExchangeId, Side, Outcome),
) {
    let exchange = stream.exchange;
    for side in [Side::Request, Side::Response] {
        let half = stream.half(side);
        if half.is_live() {
            half.phase = Phase::Ended;
            tell(exchange, side, outcome);
        }
    }
}
