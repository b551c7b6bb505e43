//! Reads the content of a response as it comes: events, and the answer of a model.

use super::call::{self, Calling};
use super::guess::Guess;
use super::said::{StreamEvent, What};
use crate::proto::content::Piece;

/// Events and news of an answer that are told of one piece of it: 16 KiB that are compressed may be millions.
const TOLD_MAX: usize = 1 << 16;

/// What a response holds.
#[derive(Default)]
pub struct Reader {
    /// The call that it answers.
    pub calling: Option<Box<Calling>>,
    /// It may be a call.
    pub guess: Option<Box<Guess>>,
    /// Events that were told.
    pub events: u64,
    /// That were too many.
    pub untold: u64,
    /// It comes in pieces that are told or merged as they come.
    pub streams: bool,
}

impl Reader {
    /// An answer in pieces was asked for, however it will be sent.
    pub fn wants_several(&self) -> bool {
        let calling = self.calling.as_ref();
        self.guess.is_some() || calling.is_some_and(|calling| calling.streams())
    }

    /// Takes a piece of it, and tells what that is.
    pub fn take(&mut self, piece: &Piece<'_>, at_ns: u64, told: &mut Vec<What>) {
        if let Some(event) = self.event(piece) {
            self.streams = true;
            self.events += 1;
            told.push(What::Event(event));
        }
        if let Some(calling) = &mut self.calling {
            self.streams |= calling.take(piece, at_ns, told);
        } else if let (Some(guess), Some(piece)) = (&mut self.guess, call::answer_piece(piece)) {
            self.streams |= guess.take(&piece);
        }
        if told.len() > TOLD_MAX {
            self.untold += (told.len() - TOLD_MAX) as u64;
            told.truncate(TOLD_MAX);
        }
    }

    fn event(&self, piece: &Piece<'_>) -> Option<StreamEvent> {
        let number = self.events + 1;
        match piece {
            Piece::Sse(event) => Some(StreamEvent {
                number,
                event: event.event.map(str::to_owned),
                id: event.id.map(str::to_owned),
                data: event.data.to_owned(),
                is_cut_off: !event.whole,
            }),
            Piece::Aws(message) => Some(StreamEvent {
                number,
                event: message.kind().map(str::to_owned),
                id: None,
                data: String::from_utf8_lossy(message.payload).into_owned(),
                is_cut_off: false,
            }),
            _ => None,
        }
    }
}
