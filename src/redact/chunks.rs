//! Secrets in the chunks of connections, as they are sent. Of each direction, the end of the last chunk is remembered.

use hashlink::LinkedHashMap;
use std::borrow::Cow;

use super::{Open, Pen, Scanner, Scratch, Span, overwrite};
use crate::event::Direction;

/// Bytes of the chunk before that are looked at again: longer than any name and key prefix of the rules.
pub const CONTEXT: usize = 128;

/// Bytes at the beginning of a context that was cut, of which it is not known what they are the end of.
const BLIND: usize = 32;

/// How much of this context only says what the rest means.
pub fn blind(context: &[u8]) -> usize {
    if context.len() < CONTEXT { 0 } else { BLIND }
}

/// Directions of connections that are remembered at a time.
const TAILS_MAX: usize = 1 << 17;

/// What is remembered of a direction's last chunk.
#[derive(Default)]
pub struct Tail {
    end: u64,
    context: Vec<u8>,
    open: Option<Open>,
}

/// What is remembered of all directions.
#[derive(Default)]
pub struct Chunks {
    /// By number of the connection and direction. Those that were silent the longest go first.
    tails: LinkedHashMap<(u64, Direction), Tail>,
    /// Kept between calls for its memory only.
    text: Vec<u8>,
}

impl Chunks {
    /// Nothing more comes of this connection.
    pub fn forget(&mut self, conn: u64) {
        for direction in Direction::ALL {
            self.tails.remove(&(conn, direction));
        }
    }

    /// As [`super::Redactor::mask`].
    pub fn mask(
        &mut self,
        scanner: &Scanner,
        scratch: &mut Scratch,
        pen: &mut Pen,
        key: (u64, Direction),
        offset: u64,
        bytes: &mut Cow<'_, [u8]>,
    ) {
        let mut tail = self.tails.remove(&key).unwrap_or_default();
        if tail.end != offset {
            // Behind a gap, what was open may go on: too much masked is better than half a secret told.
            tail.context.clear();
        }
        tail.end = offset.saturating_add(bytes.len() as u64);
        tail.mask(scanner, scratch, pen, &mut self.text, bytes);
        self.tails.insert(key, tail);
        // The ends of some connections are never told.
        if self.tails.len() > TAILS_MAX {
            self.tails.pop_front();
        }
    }
}

impl Tail {
    fn mask(
        &mut self,
        scanner: &Scanner,
        scratch: &mut Scratch,
        pen: &mut Pen,
        text: &mut Vec<u8>,
        bytes: &mut Cow<'_, [u8]>,
    ) {
        let mut from = 0;
        let mut open = self.open.take();
        if let Some(mut going_on) = open {
            let extent = going_on.mask(bytes.to_mut());
            from = self.context.len() + extent.end;
            open = extent.is_open.then_some(going_on);
        }
        text.clear();
        text.extend_from_slice(&self.context);
        text.extend_from_slice(bytes);
        if open.is_none() {
            scanner.scan(text, blind(&self.context), from, scratch);
            if !scratch.spans.is_empty() {
                open = self.mask_found(&scratch.spans, pen, text, bytes);
            }
        }
        let keep = text.len().saturating_sub(CONTEXT);
        self.context.clear();
        self.context
            .extend_from_slice(text.get(keep..).unwrap_or_default());
        self.open = open;
    }

    /// Masks what was found in `text`, which ends with `bytes`. Tells what goes on in the next chunk.
    fn mask_found(
        &self,
        spans: &[Span],
        pen: &mut Pen,
        text: &mut [u8],
        bytes: &mut Cow<'_, [u8]>,
    ) -> Option<Open> {
        let seen = self.context.len();
        let mut open = None;
        for span in spans {
            open = span.open(text);
            let Some(end) = span.end.checked_sub(seen).filter(|end| *end > 0) else {
                continue; // masked with the chunk before
            };
            let start = span.start.saturating_sub(seen);
            let Some(target) = bytes.to_mut().get_mut(start..end) else {
                continue;
            };
            let before = text.get(span.start..seen).unwrap_or_default();
            if !before.is_empty() && span.ending.has_escapes() {
                Open::new(span.ending, before).mask(target);
            } else {
                let is_whole = span.start >= seen && !span.is_open;
                let tag = is_whole.then(|| pen.tag(text.get(span.range()).unwrap_or_default()));
                overwrite(target, tag);
            }
            pen.masked += 1;
            if let Some(known) = text.get_mut(span.start.max(seen)..span.end) {
                known.copy_from_slice(target);
            }
        }
        open
    }
}
