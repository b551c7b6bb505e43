//! Secrets in text that comes in small pieces, as models stream it. What may be the beginning of a secret is held back until
//! it is known to be one or not.

use hashlink::LinkedHashMap;

use super::chunks::{CONTEXT, blind};
use super::{Open, Pen, Scanner, Scratch, into_text};

/// Bytes of a text that are held back at most: longer secrets are masked without a tag.
const HELD_MAX: usize = 1024;
/// Texts that are remembered at a time.
const TEXTS_MAX: usize = 1 << 14;

/// Names one text: of which connection and exchange, and where in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TextKey {
    /// The connection.
    pub conn: u64,
    /// The exchange on it.
    pub exchange: u64,
    /// The choice of the answer.
    pub choice: u64,
    /// The part of the choice; text, reasoning and arguments are parts of their own.
    pub part: u64,
}

/// One text.
#[derive(Default)]
struct Piece {
    /// The end of what was given out, masked.
    context: Vec<u8>,
    /// What was not given out.
    held: Vec<u8>,
    open: Option<Open>,
}

/// All texts.
#[derive(Default)]
pub struct Pieces {
    /// In the order in which they came: the oldest go first.
    texts: LinkedHashMap<TextKey, Piece>,
}

impl Pieces {
    /// As [`super::Redactor::stream_text`].
    pub fn push(
        &mut self,
        scanner: &Scanner,
        scratch: &mut Scratch,
        pen: &mut Pen,
        key: TextKey,
        piece: &mut String,
    ) {
        if self.texts.len() >= TEXTS_MAX && !self.texts.contains_key(&key) {
            self.texts.pop_front();
        }
        let text = self.texts.entry(key).or_insert_with(Piece::default);
        text.held
            .extend_from_slice(std::mem::take(piece).as_bytes());
        *piece = into_text(text.release(scanner, scratch, pen, End::Open));
    }

    /// As [`super::Redactor::let_go`].
    pub fn let_go(
        &mut self,
        scanner: &Scanner,
        scratch: &mut Scratch,
        pen: &mut Pen,
        key: TextKey,
    ) -> String {
        let text = self.texts.get_mut(&key);
        let rest = text.map(|text| text.release(scanner, scratch, pen, End::Likely));
        into_text(rest.unwrap_or_default())
    }

    /// As [`super::Redactor::flush`].
    pub fn flush(
        &mut self,
        scanner: &Scanner,
        scratch: &mut Scratch,
        pen: &mut Pen,
        key: TextKey,
    ) -> String {
        let text = self.texts.remove(&key);
        let rest = text.map(|mut text| text.release(scanner, scratch, pen, End::Sure));
        into_text(rest.unwrap_or_default())
    }
}

/// Whether more comes of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It does.
    Open,
    /// Most likely not.
    Likely,
    /// It does not.
    Sure,
}

impl Piece {
    /// What can be told, masked; all, if nothing more comes.
    fn release(
        &mut self,
        scanner: &Scanner,
        scratch: &mut Scratch,
        pen: &mut Pen,
        end: End,
    ) -> Vec<u8> {
        let is_last = end != End::Open;
        let seen = self.context.len();
        let blind = blind(&self.context);
        let mut from = 0;
        if let Some(mut open) = self.open.take() {
            let extent = open.mask(&mut self.held);
            from = seen + extent.end;
            self.open = extent.is_open.then_some(open);
        }
        let mut text = std::mem::take(&mut self.context);
        text.append(&mut self.held);
        scratch.wants_undecided = !is_last;
        scanner.scan(&text, blind, from, scratch);
        scratch.wants_undecided = false;
        let is_too_long = text.len() - seen > HELD_MAX;
        let cut = match is_last || is_too_long || self.open.is_some() {
            true => text.len(),
            false => undecided(scanner, scratch, &text).max(seen),
        };
        for span in &scratch.spans {
            if span.end <= seen || span.start >= cut || self.open.is_some() {
                continue;
            }
            if span.start < seen || (span.is_open && !is_last) {
                text.get_mut(span.start.max(seen)..span.end)
                    .unwrap_or_default()
                    .fill(b'*');
                pen.masked += 1;
                self.open = span.open(&text);
            } else {
                let open = span.open(&text).filter(|_| end == End::Likely);
                pen.mask_whole(&mut text, span);
                self.open = open;
            }
        }
        self.held = text.split_off(cut);
        let keep = text.len().saturating_sub(CONTEXT);
        self.context = text.get(keep..).unwrap_or_default().to_vec();
        text.split_off(seen)
    }
}

/// Where the part of the text begins of which nothing can be told yet.
fn undecided(scanner: &Scanner, scratch: &Scratch, text: &[u8]) -> usize {
    let open = scratch
        .spans
        .iter()
        .find(|span| span.is_open)
        .map(|span| span.start);
    let places = [open, scratch.undecided, scanner.begun(text)];
    places.into_iter().flatten().min().unwrap_or(text.len())
}
