//! Cuts one direction into frames (RFC 9113 section 4), in pieces as they come: DATA is handed on without being kept, what
//! must be whole to be understood is kept until it is. Knows which bytes were lost, and what that costs: one payload, or
//! the place in the stream.

use super::assembly::Assembly;
use super::event::{Event, Settings, Take};
use super::frame::{
    self, ACK, CONTINUATION, DATA, END_STREAM, FRAME_MAX, GOAWAY, HEADER, HEADERS, Header, PADDED,
    PREFACE, PUSH_PROMISE, RST_STREAM, SETTINGS,
};
use super::search::{Found, Search};
use crate::bytes::{Endian, Reader as Cursor};
use crate::proto::Fault;

/// Bytes that go into a search at once.
const SEARCHED: usize = 8 << 10;

/// Room that a buffer keeps when it is empty.
const SPARE: usize = 256;

const BAD_PADDING: Fault = Fault {
    what: "a frame has more padding than bytes",
};
const BAD_START: Fault = Fault {
    what: "the connection does not begin as HTTP/2 does",
};
const CUT_FRAME: Fault = Fault {
    what: "the connection ends in the middle of a frame",
};
const JOINED: Fault = Fault {
    what: "the connection was joined in the middle of a frame",
};
const LOST: Fault = Fault {
    what: "bytes were lost, and so the place where the next frame begins",
};
const MIXED_BLOCK: Fault = Fault {
    what: "a header block is interrupted, or goes on without having begun",
};

enum State {
    /// Nothing was decided yet.
    Start,
    /// Between frames, or in the header of one.
    Header,
    /// In a payload that is kept until it is whole.
    Whole(Header),
    /// In the payload of DATA: bytes that are left, and how many of these are padding, once that is known.
    Data {
        header: Header,
        left: usize,
        padding: Option<usize>,
    },
    /// In a payload that nobody needs.
    Skip { header: Header, left: usize },
    /// Nobody knows where the next frame begins.
    Search(Box<Search>),
}

/// Reads the frames of one direction.
pub struct Reader {
    state: State,
    /// The first bytes of a preface, a header or a payload.
    buffer: Vec<u8>,
    assembly: Assembly,
    from_start: bool,
    /// A frame was just found in the middle: it may continue a header block.
    rejoined: bool,
    /// Bytes to be read before any that come.
    again: Option<Vec<u8>>,
    /// Bytes of a payload that are kept.
    keep: usize,
    /// SETTINGS_MAX_FRAME_SIZE of the other end.
    max_frame: u32,
}

impl Reader {
    /// For a direction that was there from its start, or was joined late.
    pub fn new(keep: usize, from_start: bool) -> Self {
        Self {
            state: State::Start,
            buffer: Vec::new(),
            assembly: Assembly::new(keep.max(FRAME_MAX as usize)),
            from_start,
            rejoined: false,
            again: None,
            keep: keep.max(FRAME_MAX as usize),
            // In a connection that was joined late, it may have been agreed upon before.
            max_frame: if from_start {
                FRAME_MAX
            } else {
                frame::FRAME_LIMIT
            },
        }
    }

    /// The other end allows larger frames from now on; those that it allowed before may still come.
    pub fn allow_frame(&mut self, size: u32) {
        self.max_frame = self.max_frame.max(size.min(frame::FRAME_LIMIT));
    }

    /// The other end may have allowed larger frames.
    pub fn allow_any_frame(&mut self) {
        self.max_frame = frame::FRAME_LIMIT;
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8], take: &mut Take<'_>) {
        if let State::Search(search) = &mut self.state {
            search.begin_piece();
        }
        self.read(bytes, take);
        self.settle(false, take);
    }

    /// Bytes that were lost; `None`: nobody knows how many.
    pub fn gap(&mut self, bytes: Option<u64>, take: &mut Take<'_>) {
        let lost = bytes.map_or(usize::MAX, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        });
        match self.state {
            _ if lost == 0 => {}
            State::Data {
                header,
                left,
                padding,
            } if lost <= left => self.gap_in_data(header, left, padding, lost, take),
            State::Skip { header, left } if lost <= left => self.skip_to(header, left - lost, take),
            State::Whole(header) if lost <= header.length() - self.buffer.len() => {
                let left = header.length() - self.buffer.len() - lost;
                self.empty_buffer();
                self.lose_frame(&header, take);
                self.skip_to(header, left, take);
            }
            _ => {
                self.tell_kept(LOST, take);
                self.search(LOST, take);
            }
        }
    }

    /// The direction has ended.
    pub fn end(&mut self, take: &mut Take<'_>) {
        self.settle(true, take);
        self.tell_kept(CUT_FRAME, take);
        self.assembly.clear();
        self.state = State::Header;
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        let searched = match &self.state {
            State::Search(search) => search.held(),
            _ => 0,
        };
        self.buffer.capacity() + searched + self.assembly.held()
    }

    /// Reads `bytes`, and what must be read again in between.
    fn read(&mut self, mut bytes: &[u8], take: &mut Take<'_>) {
        let mut again: Vec<(Vec<u8>, usize)> = Vec::new();
        loop {
            if let Some(found) = self.again.take() {
                again.push((found, 0));
            }
            if let Some((held, at)) = again.pop() {
                let rest = held.get(at..).unwrap_or_default();
                if !rest.is_empty() {
                    let used = self.step(rest, take);
                    again.push((held, at + used));
                }
            } else if bytes.is_empty() {
                break;
            } else {
                let used = self.step(bytes, take);
                bytes = bytes.get(used..).unwrap_or_default();
            }
        }
    }

    /// A search ends if what it has is enough for now.
    fn settle(&mut self, ended: bool, take: &mut Take<'_>) {
        while let State::Search(search) = &mut self.state
            && let Some(found) = search.settle(ended)
        {
            self.rejoin(found, take);
            self.read(&[], take);
        }
    }

    /// Reads some of `bytes`, which are not empty: how many.
    fn step(&mut self, bytes: &[u8], take: &mut Take<'_>) -> usize {
        match &mut self.state {
            State::Start => self.start(bytes, take),
            State::Header => self.header(bytes, take),
            State::Whole(header) => {
                let header = *header;
                self.whole(&header, bytes, take)
            }
            State::Data {
                header,
                left,
                padding,
            } => {
                let (header, left, padding) = (*header, *left, *padding);
                self.data(header, left, padding, bytes, take)
            }
            State::Skip { header, left } => {
                let (header, used) = (*header, bytes.len().min(*left));
                let left = *left - used;
                self.skip_to(header, left, take);
                used
            }
            State::Search(search) => {
                let bytes = bytes.get(..SEARCHED).unwrap_or(bytes);
                if let Some(found) = search.push(bytes) {
                    self.rejoin(found, take);
                }
                bytes.len()
            }
        }
    }

    /// Section 3.4: clients begin with the preface, servers with SETTINGS.
    fn start(&mut self, bytes: &[u8], take: &mut Take<'_>) -> usize {
        let fresh = self.buffer.is_empty();
        let wanted = PREFACE.len() - self.buffer.len();
        let used = bytes.len().min(wanted);
        self.buffer.extend(bytes.iter().take(used));
        if PREFACE.starts_with(&self.buffer) {
            if self.buffer.len() == PREFACE.len() {
                self.empty_buffer();
                self.state = State::Header;
                self.from_start = true;
                take(Event::Preface);
            }
            return used;
        }
        if !self.from_start {
            let mut search = Search::new(JOINED);
            if fresh {
                search.begin_piece();
            }
            self.state = State::Search(Box::new(search));
            self.again = Some(std::mem::take(&mut self.buffer));
        } else if let Some(header) = Header::parse(&self.buffer) {
            let settings = header.kind == SETTINGS
                && !header.has(ACK)
                && header.fault(self.max_frame).is_none();
            self.state = State::Header;
            if !settings {
                self.search(BAD_START, take);
            }
            self.again = Some(std::mem::take(&mut self.buffer));
        }
        used
    }

    fn header(&mut self, bytes: &[u8], take: &mut Take<'_>) -> usize {
        if self.buffer.is_empty()
            && let Some(header) = Header::parse(bytes)
        {
            self.begin(header, bytes.get(..HEADER).unwrap_or_default(), take);
            return HEADER;
        }
        let used = bytes.len().min(HEADER - self.buffer.len().min(HEADER));
        self.buffer.extend(bytes.iter().take(used));
        if let Some(header) = Header::parse(&self.buffer) {
            let raw = std::mem::take(&mut self.buffer);
            self.begin(header, &raw, take);
        }
        used
    }

    /// A frame begins; `raw` is its header.
    fn begin(&mut self, header: Header, raw: &[u8], take: &mut Take<'_>) {
        let rejoined = std::mem::take(&mut self.rejoined);
        let continues = header.kind == CONTINUATION;
        if rejoined && continues && header.fault(self.max_frame).is_none() {
            self.assembly.begin_lost(&header);
        }
        let expected = self.assembly.stream();
        let mixed = expected.is_some() != continues
            || expected.is_some_and(|stream| stream != header.stream);
        let fault = header
            .fault(self.max_frame)
            .or(mixed.then_some(MIXED_BLOCK));
        if let Some(fault) = fault {
            self.search(fault, take);
            self.again = Some(raw.to_vec());
            return;
        }
        let left = header.length();
        match header.kind {
            DATA if header.has(PADDED) && left == 0 => self.search(BAD_PADDING, take),
            DATA => {
                let padding = (!header.has(PADDED)).then_some(0);
                self.data_to(header, left, padding, take);
            }
            HEADERS | PUSH_PROMISE | CONTINUATION | SETTINGS | RST_STREAM | GOAWAY => {
                if left > self.keep {
                    self.lose_frame(&header, take);
                    self.skip_to(header, left, take);
                } else if left == 0 {
                    self.complete(&header, &[], take);
                } else {
                    self.state = State::Whole(header);
                }
            }
            // PRIORITY, PING and WINDOW_UPDATE say nothing of messages; others are to be ignored (section 5.5).
            _ => self.skip_to(header, left, take),
        }
    }

    fn whole(&mut self, header: &Header, bytes: &[u8], take: &mut Take<'_>) -> usize {
        let wanted = header.length() - self.buffer.len().min(header.length());
        let Some(rest) = bytes.get(..wanted) else {
            self.buffer.extend_from_slice(bytes);
            return bytes.len();
        };
        if self.buffer.is_empty() {
            self.complete(header, rest, take);
        } else {
            let mut payload = std::mem::take(&mut self.buffer);
            payload.extend_from_slice(rest);
            self.complete(header, &payload, take);
            payload.clear();
            payload.shrink_to(SPARE);
            self.buffer = payload;
        }
        wanted
    }

    /// A payload is whole.
    fn complete(&mut self, header: &Header, payload: &[u8], take: &mut Take<'_>) {
        self.state = State::Header;
        let mut cursor = Cursor::new(payload, Endian::Big);
        match header.kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => self.block(header, payload, take),
            SETTINGS if header.has(ACK) => take(Event::Acknowledged),
            SETTINGS => take(Event::Settings(Some(Settings::parse(payload)))),
            RST_STREAM => take(Event::Reset {
                stream: header.stream,
                code: cursor.u32(),
            }),
            GOAWAY => {
                if let (Some(last), Some(code)) = (cursor.u32(), cursor.u32()) {
                    let last = last & 0x7fff_ffff;
                    take(Event::Goaway { last, code });
                }
            }
            _ => {}
        }
    }

    fn block(&mut self, header: &Header, payload: &[u8], take: &mut Take<'_>) {
        if self.assembly.push(header, payload, take).is_none() {
            self.search(BAD_PADDING, take);
        }
    }

    /// The payload of a frame is not known, or not all of it.
    fn lose_frame(&mut self, header: &Header, take: &mut Take<'_>) {
        let stream = header.stream;
        match header.kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => self.assembly.lose(header, take),
            RST_STREAM => take(Event::Reset { stream, code: None }),
            SETTINGS => take(Event::Settings(None)),
            _ => {}
        }
    }

    fn data(
        &mut self,
        header: Header,
        mut left: usize,
        padding: Option<usize>,
        bytes: &[u8],
        take: &mut Take<'_>,
    ) -> usize {
        // Section 6.1: the first byte says how many there are at the end.
        let Some(padding) = padding else {
            let padding = usize::from(bytes.first().copied().unwrap_or_default());
            left -= left.min(1);
            if padding > left {
                self.search(BAD_PADDING, take);
            } else {
                self.data_to(header, left, Some(padding), take);
            }
            return 1;
        };
        let content = left - padding.min(left);
        let part = if content > 0 { content } else { left };
        let piece = bytes.get(..part).unwrap_or(bytes);
        if content > 0 {
            take(Event::Data {
                stream: header.stream,
                bytes: piece,
            });
        }
        self.data_to(header, left - piece.len(), Some(padding), take);
        piece.len()
    }

    fn gap_in_data(
        &mut self,
        header: Header,
        left: usize,
        padding: Option<usize>,
        lost: usize,
        take: &mut Take<'_>,
    ) {
        let stream = header.stream;
        let Some(padding) = padding else {
            take(Event::DataLost {
                stream,
                bytes: None,
            });
            return self.skip_to(header, left - lost, take);
        };
        let content = lost.min(left - padding.min(left));
        if content > 0 {
            let bytes = Some(content as u64);
            take(Event::DataLost { stream, bytes });
        }
        self.data_to(header, left - lost, Some(padding.min(left - lost)), take);
    }

    fn data_to(
        &mut self,
        header: Header,
        left: usize,
        padding: Option<usize>,
        take: &mut Take<'_>,
    ) {
        if left == 0 {
            return self.skip_to(header, left, take);
        }
        self.state = State::Data {
            header,
            left,
            padding,
        };
    }

    fn skip_to(&mut self, header: Header, left: usize, take: &mut Take<'_>) {
        self.state = State::Skip { header, left };
        if left == 0 {
            self.state = State::Header;
            if header.kind == DATA && header.has(END_STREAM) {
                let stream = header.stream;
                take(Event::EndStream { stream });
            }
        }
    }

    fn search(&mut self, why: Fault, take: &mut Take<'_>) {
        self.assembly.clear();
        self.state = State::Search(Box::new(Search::new(why)));
        take(Event::Adrift);
    }

    /// A frame begins behind what the search has skipped.
    fn rejoin(&mut self, found: Found, take: &mut Take<'_>) {
        self.tell(found.skipped, take);
        self.state = State::Header;
        self.rejoined = true;
        self.again = Some(found.bytes);
    }

    /// Tells what is kept, and will not become a frame.
    fn tell_kept(&mut self, why: Fault, take: &mut Take<'_>) {
        if let State::Search(search) = &self.state {
            let bytes = search.end();
            self.tell(bytes, take);
        }
        if !self.buffer.is_empty() {
            let bytes = self.buffer.len() as u64;
            take(Event::Skipped { bytes, why });
        }
        self.empty_buffer();
    }

    fn tell(&mut self, skipped: usize, take: &mut Take<'_>) {
        if let State::Search(search) = &self.state
            && skipped > 0
        {
            let (bytes, why) = (skipped as u64, search.why());
            take(Event::Skipped { bytes, why });
        }
    }

    fn empty_buffer(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(SPARE);
    }
}
