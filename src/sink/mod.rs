//! Outputs: one file per form. A sink prints messages and knows nothing of where they come from.

mod clock;
mod human;
mod json;
mod jsonl;
mod raw;

use std::io;

use crate::stream::Message;

pub use clock::Clock;
pub use human::{Human, Style};
pub use jsonl::JsonLines;
pub use raw::Raw;

/// The JSON Schema of every line that [`JsonLines`] writes.
pub const LINES_SCHEMA: &str = include_str!("lines.schema.json");

/// Takes the messages of a run, in order.
pub trait Sink {
    /// Prints one message.
    ///
    /// # Errors
    /// The output failed; a broken pipe is the reader's wish to stop.
    fn message(&mut self, message: &Message<'_>) -> io::Result<()>;

    /// Writes out what is buffered: called whenever no message waits.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn flush(&mut self) -> io::Result<()>;
}
