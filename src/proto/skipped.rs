//! Bytes of one direction that nobody understands. A stretch of them is told when it begins and again, if it went on, when
//! it is over: two items however long it is and however it was cut. The counts add up to all of its bytes.

use super::{Fault, Item, Out, Party};

/// What is skipped in one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Skipped {
    stretch: Option<Stretch>,
}

#[derive(Clone, Debug)]
struct Stretch {
    fault: Fault,
    /// Bytes that were not told yet.
    untold: u64,
}

impl Skipped {
    /// Whether a stretch is going on.
    pub(super) fn is_open(&self) -> bool {
        self.stretch.is_some()
    }

    /// Takes more bytes; `fault` counts for the first ones of a stretch.
    pub(super) fn skip(
        &mut self,
        from: Party,
        at_ns: u64,
        bytes: usize,
        fault: Fault,
        out: &mut Out<'_>,
    ) {
        if bytes == 0 {
            return;
        }
        let bytes = bytes as u64;
        match &mut self.stretch {
            Some(stretch) => stretch.untold = stretch.untold.saturating_add(bytes),
            None => {
                self.stretch = Some(Stretch { fault, untold: 0 });
                tell(from, at_ns, Some(bytes), fault, out);
            }
        }
    }

    /// The stretch is over.
    pub(super) fn close(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        if let Some(stretch) = self.stretch.take()
            && stretch.untold > 0
        {
            tell(from, at_ns, Some(stretch.untold), stretch.fault, out);
        }
    }
}

/// Says that bytes belong to no message, if there are any.
pub(super) fn tell(from: Party, at_ns: u64, bytes: Option<u64>, fault: Fault, out: &mut Out<'_>) {
    if bytes == Some(0) {
        return;
    }
    out(Item::Unrecognised {
        from,
        bytes,
        fault,
        at_ns,
    });
}
