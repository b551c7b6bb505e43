//! Outputs: one file per form. A sink prints messages and knows nothing of where they come from.

mod clock;
mod collector;
mod eunomia;
mod filter;
mod findings;
mod human;
mod json;
mod jsonl;
mod raw;
mod said;
mod tree;

use std::io;

use crate::deeds::deed::Deed;
use crate::dialog::Said;
use crate::graph::Edge;
use crate::rules::Finding;
use crate::stream::Message;

pub use clock::Clock;
pub use collector::Collector;
pub use eunomia::Eunomia;
pub use filter::{Filter, Filtered};
pub use findings::FindingsOnly;
pub use human::{Human, Style};
pub use jsonl::JsonLines;
pub use raw::Raw;
pub use tree::Tree;

/// The JSON Schema of every line that [`JsonLines`] writes.
pub const LINES_SCHEMA: &str = include_str!("lines.schema.json");

/// What is printed of what was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of it, each byte as often as it has a meaning.
    All,
    /// HTTP exchanges, and the bytes of connections that speak something else.
    Http,
    /// Calls of models where they are recognised, HTTP exchanges otherwise, and the bytes of the rest.
    Llm,
    /// The bytes of all connections.
    Raw,
    /// What processes did and said, below each other.
    Tree,
}

/// Takes the messages of a run, in order.
pub trait Sink {
    /// Prints one message.
    ///
    /// # Errors
    /// The output failed; a broken pipe is the reader's wish to stop.
    fn message(&mut self, message: &Message<'_>) -> io::Result<()>;

    /// Prints what was said, above the level of bytes.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn said(&mut self, said: &Said) -> io::Result<()>;

    /// Prints what a process did.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn deed(&mut self, deed: &Deed) -> io::Result<()>;

    /// The run has ended: prints what can be said then only.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether [`Self::edge`] prints anything: nobody works them out for nothing.
    fn tells_edges(&self) -> bool {
        false
    }

    /// Prints what led to what, if that is told line by line.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn edge(&mut self, _edge: &Edge) -> io::Result<()> {
        Ok(())
    }

    /// Prints what a rule found.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn finding(&mut self, _finding: &Finding) -> io::Result<()> {
        Ok(())
    }

    /// Writes out what is buffered: called whenever no message waits.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn flush(&mut self) -> io::Result<()>;

    /// Lines to which the user's filter could not be applied.
    fn senseless(&self) -> u64 {
        0
    }
}
