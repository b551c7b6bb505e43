//! What rules found, and nothing else: for those who want to know only that.

use std::io;

use super::Sink;
use crate::deeds::deed::Deed;
use crate::dialog::Said;
use crate::rules::Finding;
use crate::stream::Message;

/// Passes on findings.
pub struct FindingsOnly(pub Box<dyn Sink + Send>);

impl Sink for FindingsOnly {
    fn message(&mut self, _message: &Message<'_>) -> io::Result<()> {
        Ok(())
    }

    fn said(&mut self, _said: &Said) -> io::Result<()> {
        Ok(())
    }

    fn deed(&mut self, _deed: &Deed) -> io::Result<()> {
        Ok(())
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.0.finding(finding)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
