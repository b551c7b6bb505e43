//! The captured bytes themselves, nothing else: for `grep`, `wc` and files. Both directions and all
//! connections follow each other as they come.

use std::io::{self, Write};

use super::Sink;
use crate::deeds::deed::Deed;
use crate::dialog::Said;
use crate::stream::Message;

/// Writes payloads only.
pub struct Raw<W> {
    out: W,
}

impl<W: Write> Raw<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Sink for Raw<W> {
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        match message {
            Message::Data { payload, .. } => self.out.write_all(&payload.bytes),
            _ => Ok(()),
        }
    }

    fn said(&mut self, _said: &Said) -> io::Result<()> {
        Ok(())
    }

    fn deed(&mut self, _deed: &Deed) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
