//! What frames mean: pairs the halves of streams, and says what they hold. Knows who is the client, from what each end
//! sends, and takes nothing for a body of which it is not known whose it is.

use super::event::{Event, Settings};
use super::hpack::Decoder as Hpack;
use super::sockets::Sockets;
use super::streams::{Half, Phase, Standing, Stream, Streams, end_halves};
use crate::proto::{ExchangeId, Fault, Item, Limits, Out, Outcome, Party, Side};

pub(super) const BEHIND_END: Fault = Fault {
    what: "it belongs to a stream that has ended, or is not followed",
};
const GIVEN_UP: Fault = Fault {
    what: "more streams are open than are followed, and the end of this one may have been lost",
};
pub(super) const NO_CLIENT: Fault = Fault {
    what: "the connection was joined late, and who is the client is not known yet",
};
pub(super) const PUSH: Fault = Fault {
    what: "server push is not followed",
};
const RESET_CODE_LOST: Fault = Fault {
    what: "the stream was reset, for a reason that was lost",
};
pub(super) const TOO_MANY: Fault = Fault {
    what: "more streams are open at once than are followed",
};

/// Who says something, when, and who takes what it means.
pub struct Said<'s, 'o> {
    pub from: Party,
    pub at_ns: u64,
    pub out: &'s mut Out<'o>,
}

impl Said<'_, '_> {
    pub(super) fn unrecognised(&mut self, bytes: u64, fault: Fault) {
        (self.out)(Item::Unrecognised {
            from: self.from,
            bytes: Some(bytes),
            fault,
            at_ns: self.at_ns,
        });
    }

    pub(super) fn end(&mut self, id: ExchangeId, side: Side, outcome: Outcome) {
        let at_ns = self.at_ns;
        (self.out)(Item::End {
            id,
            side,
            outcome,
            at_ns,
        });
    }

    /// That bytes of a half are missing, nobody knows how many: once, until something comes.
    pub(super) fn gap(&mut self, id: ExchangeId, side: Side, half: &mut Half) {
        half.doubtful = true;
        if half.is_live() && !std::mem::replace(&mut half.gap_told, true) {
            let (bytes, at_ns) = (None, self.at_ns);
            (self.out)(Item::Gap {
                id,
                side,
                bytes,
                at_ns,
            });
        }
    }
}

/// One of each direction, by who sends.
pub struct Pair<T>([T; 2]);

impl<T> Pair<T> {
    pub fn new(make: impl Fn() -> T) -> Self {
        Self([make(), make()])
    }

    pub fn of(&mut self, party: Party) -> &mut T {
        let [local, peer] = &mut self.0;
        match party {
            Party::Local => local,
            Party::Peer => peer,
        }
    }

    pub fn both(&self) -> &[T; 2] {
        &self.0
    }
}

/// Everything of a connection but its frames.
pub struct Mux {
    pub(super) limits: Limits,
    /// The connection was not there from its start.
    late: bool,
    pub(super) client: Option<Party>,
    pub(super) tables: Pair<Hpack>,
    pub(super) streams: Streams,
    pub(super) sockets: Sockets,
    /// By who allows it to the other end; `None`: nobody knows.
    max_frame: Pair<Option<u32>>,
}

impl Mux {
    pub fn new(limits: Limits, from_start: bool) -> Self {
        Self {
            limits,
            late: !from_start,
            client: None,
            tables: Pair::new(|| Hpack::new(from_start)),
            streams: Streams::default(),
            sockets: Sockets::default(),
            max_frame: Pair::new(|| Some(0)),
        }
    }

    /// The largest frame that this party has allowed, if it has said so; `None`: what it has said may have been lost.
    pub fn max_frame(&mut self, party: Party) -> Option<u32> {
        *self.max_frame.of(party)
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        let tables = self.tables.both().iter().map(Hpack::held).sum::<usize>();
        tables + self.streams.held() + self.sockets.held()
    }

    /// A frame, or a part of one.
    pub fn event(&mut self, event: Event<'_>, said: &mut Said<'_, '_>) {
        match event {
            Event::Acknowledged => self.tables.of(said.from).acknowledged(),
            Event::Adrift => self.adrift(said),
            Event::Block(block) => self.block(&block, said),
            Event::Data { stream, bytes } => self.data(stream, Ok(bytes), said),
            Event::DataLost { stream, bytes } => self.data(stream, Err(bytes), said),
            Event::EndStream { stream } => self.end_stream(stream, said),
            Event::Goaway { last, code } => self.goaway(last, code, said),
            Event::Preface => self.preface(said.from),
            Event::Reset { stream, code } => {
                let outcome = code.map_or(Outcome::Broken(RESET_CODE_LOST), Outcome::Reset);
                self.reset(stream, outcome, said);
            }
            Event::Settings(settings) => self.settings(settings, said.from),
            Event::Skipped { bytes, why } => said.unrecognised(bytes, why),
        }
    }

    /// A direction has ended.
    pub fn end(&mut self, said: &mut Said<'_, '_>) {
        let Some(side) = self.side(said.from) else {
            return;
        };
        for stream in self.streams.iter() {
            let id = stream.exchange;
            let half = stream.half(side);
            if half.is_live() {
                half.phase = Phase::Ended;
                self.sockets.end(id, side, said);
                said.end(id, side, Outcome::CutOff);
            }
        }
        self.streams.sweep();
    }

    /// The half that this party sends.
    pub(super) fn side(&self, from: Party) -> Option<Side> {
        let client = self.client?;
        Some(if client == from {
            Side::Request
        } else {
            Side::Response
        })
    }

    /// No header block can have come before it: both tables are known from now on (RFC 9113 section 3.4).
    fn preface(&mut self, from: Party) {
        self.client = Some(from);
        if self.late {
            self.tables = Pair::new(|| Hpack::new(true));
            // SETTINGS of the server can have.
            self.tables.of(from).settings_lost();
        }
    }

    fn settings(&mut self, settings: Option<Settings>, from: Party) {
        let table = self.tables.of(from.other());
        let Some(settings) = settings else {
            *self.max_frame.of(from) = None;
            return table.settings_lost();
        };
        table.settings(settings.header_table_size);
        let max = self.max_frame.of(from);
        *max = max.map(|max| max.max(settings.max_frame_size.unwrap_or(0)));
    }

    /// Frames of a direction may have been lost: header blocks, SETTINGS, ends and beginnings of streams.
    fn adrift(&mut self, said: &mut Said<'_, '_>) {
        self.tables.of(said.from).lost();
        for party in [Party::Local, Party::Peer] {
            self.tables.of(party).settings_lost();
        }
        *self.max_frame.of(said.from) = None;
        let Some(side) = self.side(said.from) else {
            return;
        };
        if side == Side::Request {
            self.streams.lose_beginnings();
        }
        for stream in self.streams.iter() {
            let id = stream.exchange;
            said.gap(id, side, stream.half(side));
        }
        self.sockets.gap_in_all(said);
    }

    /// Bytes of DATA, or how many were lost.
    fn data(&mut self, stream: u32, bytes: Result<&[u8], Option<u64>>, said: &mut Said<'_, '_>) {
        let count = bytes.map_or_else(|lost| lost.unwrap_or(0), |bytes| bytes.len() as u64);
        let side = match self.joinable(stream, said.from) {
            Ok(side) => side,
            Err(_) if bytes.is_err() => return,
            Err(fault) => return said.unrecognised(count, fault),
        };
        let Some(open) = self.join(stream, side, said) else {
            return said.unrecognised(count, TOO_MANY);
        };
        let (id, half, at_ns) = (open.exchange, open.half(side), said.at_ns);
        if half.phase == Phase::Ended {
            if bytes.is_ok() {
                said.unrecognised(count, BEHIND_END);
            }
            return;
        }
        match bytes {
            Ok(bytes) => {
                half.gap_told = false;
                if !self.sockets.data(id, bytes, said) {
                    (said.out)(Item::Body {
                        id,
                        side,
                        bytes,
                        at_ns,
                    });
                }
            }
            Err(None) => {
                said.gap(id, side, half);
                self.sockets.gap(id, None, said);
            }
            Err(bytes) => {
                (said.out)(Item::Gap {
                    id,
                    side,
                    bytes,
                    at_ns,
                });
                self.sockets.gap(id, bytes, said);
            }
        }
    }

    /// Which half it is that this party sends on this stream, if that is open or may have begun unseen.
    fn joinable(&self, stream: u32, from: Party) -> Result<Side, Fault> {
        if stream.is_multiple_of(2) {
            return Err(PUSH);
        }
        let side = self.side(from).ok_or(NO_CLIENT)?;
        match self.streams.standing(stream) {
            Standing::Over => Err(BEHIND_END),
            Standing::Open | Standing::Unseen => Ok(side),
        }
    }

    /// The stream, of which something came that is no head: if that was not seen, it is told that something is missing.
    /// `None`: there are too many.
    pub(super) fn join(
        &mut self,
        stream: u32,
        side: Side,
        said: &mut Said<'_, '_>,
    ) -> Option<&mut Stream> {
        if self.streams.standing(stream) != Standing::Open {
            self.add(stream, Phase::Unseen, Phase::Unseen, said)?;
        }
        let open = self.streams.get(stream)?;
        let id = open.exchange;
        let half = open.half(side);
        if matches!(half.phase, Phase::Awaited | Phase::Unseen) {
            half.phase = Phase::Open;
            said.gap(id, side, half);
        }
        Some(open)
    }

    pub(super) fn add(
        &mut self,
        stream: u32,
        request: Phase,
        response: Phase,
        said: &mut Said<'_, '_>,
    ) -> Option<&mut Stream> {
        let max = self.limits.exchanges;
        if let Some(mut given_up) = self.streams.make_room(max)? {
            let outcome = Outcome::Broken(GIVEN_UP);
            self.end_halves(&mut given_up, outcome, said);
        }
        Some(self.streams.add(stream, request, response))
    }

    /// END_STREAM.
    pub(super) fn end_stream(&mut self, stream: u32, said: &mut Said<'_, '_>) {
        if let Some(side) = self.side(said.from) {
            self.end_half(stream, side, Outcome::Complete, said);
        }
    }

    pub(super) fn end_half(
        &mut self,
        stream: u32,
        side: Side,
        outcome: Outcome,
        said: &mut Said<'_, '_>,
    ) {
        let Some(open) = self.streams.get(stream) else {
            return;
        };
        let id = open.exchange;
        let half = open.half(side);
        let live = half.is_live();
        half.phase = Phase::Ended;
        if live {
            self.sockets.end(id, side, said);
            said.end(id, side, outcome);
        }
        self.streams.remove_if_over(stream);
    }

    /// Section 6.4: both halves are over.
    fn reset(&mut self, stream: u32, outcome: Outcome, said: &mut Said<'_, '_>) {
        if stream.is_multiple_of(2) {
            return;
        }
        if let Some(mut open) = self.streams.remove_reset(stream) {
            self.end_halves(&mut open, outcome, said);
        }
    }

    fn end_halves(&mut self, open: &mut Stream, outcome: Outcome, said: &mut Said<'_, '_>) {
        end_halves(open, outcome, |id, side, outcome| {
            self.sockets.end(id, side, said);
            said.end(id, side, outcome);
        });
    }

    /// Section 6.8: the server does not, and will not, look at streams above the last one.
    fn goaway(&mut self, last: u32, code: u32, said: &mut Said<'_, '_>) {
        if self.client.is_none() && last != 0 {
            let server = !last.is_multiple_of(2);
            self.client = Some(if server { said.from.other() } else { said.from });
        }
        if self.side(said.from) == Some(Side::Response) {
            for stream in self.streams.above(last) {
                self.reset(stream, Outcome::Reset(code), said);
            }
        }
    }
}
