//! Secrets out, before any sink sees them: values of credential headers and fields, and texts with the
//! shape of well-known keys. On by default. What is one is said in `rules.json` ([`rules`]).
//!
//! A secret keeps its length, so offsets stay true, and shows a tag that is the same for the same
//! secret in one run and says nothing about it otherwise. What is masked stays as it is when it is masked again.
//!
//! Streams are masked as they are sent ([`Redactor::mask`]): a secret that crosses the border of two chunks is masked
//! on both sides, but for the few bytes that came before it could be recognised. Of what has been decoded (fields,
//! paths, JSON, text, [`Redactor::stream_text`]), nothing is shown before it is known to be none.
//!
//! What it cannot do by itself: HTTP/2 headers are compressed (HPACK), compressed bodies are too; of a recording, that is
//! `record/mask.rs`'s. Numbers, and values that stand before the name that makes them secret (`{"value": …, "name": …}`), are
//! masked in decoded JSON only.

mod chunks;
mod deeds;
mod ending;
mod escapes;
pub mod example;
mod hints;
mod json;
mod named;
mod pen;
mod pieces;
pub mod rules;
mod said;
mod scan;
mod worth;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::error::Result;
use crate::event::Direction;
use crate::event::process::ProcessInfo;
use crate::stream::Message;

use chunks::Chunks;
use ending::{Ending, Open};
use json::Kinds;
use pen::{Pen, overwrite};
use pieces::Pieces;
use scan::{Scanner, Scratch, Span};

pub use pieces::TextKey;
pub use rules::{Level, Rule, Rules};

/// Makes equal secrets have equal tags, which tell nothing else; by chance, or by a recording's header.
pub type TagKey = [u8; 32];

/// Masks secrets in all messages of a run.
pub struct Redactor {
    scanner: Arc<Scanner>,
    chunks: Chunks,
    pieces: Pieces,
    scratch: Scratch,
    pen: Pen,
    kinds: Kinds,
    masked_in_said: u64,
    speaking: said::Speaking,
}

/// A secret that [`Redactor::find`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'r> {
    /// By this rule.
    pub rule: &'r str,
    /// In bytes.
    pub range: std::ops::Range<usize>,
}

impl Redactor {
    /// A redactor with our rules of the default level, and this key for its tags.
    ///
    /// # Errors
    /// A rule is broken; the tests keep that from shipping.
    pub fn new(tag_key: TagKey) -> Result<Self> {
        Self::with_rules(Rules::new(Level::Default)?, tag_key)
    }

    /// A redactor with these rules.
    ///
    /// # Errors
    /// A rule is broken.
    pub fn with_rules(rules: Rules, tag_key: TagKey) -> Result<Self> {
        let scanner = Arc::new(Scanner::new(rules)?);
        Ok(Self::with_scanner(scanner, tag_key))
    }

    fn with_scanner(scanner: Arc<Scanner>, tag_key: TagKey) -> Self {
        Self {
            scanner,
            chunks: Chunks::default(),
            pieces: Pieces::default(),
            scratch: Scratch::default(),
            pen: Pen { tag_key, masked: 0 },
            kinds: Kinds::new(),
            masked_in_said: 0,
            speaking: said::Speaking::default(),
        }
    }

    /// Another one with the same rules and tags, which has seen nothing. To make rules ready takes longer than many a run.
    pub fn anew(&self) -> Self {
        Self::with_scanner(Arc::clone(&self.scanner), self.pen.tag_key)
    }

    /// Secrets masked so far: in what was sent, or, where that is not looked at, in what it says.
    pub fn masked(&self) -> u64 {
        self.pen.masked.max(self.masked_in_said)
    }

    /// The rules in use.
    pub fn rules(&self) -> &Rules {
        self.scanner.rules()
    }

    /// Masks the secrets of one message in place.
    pub fn apply(&mut self, message: &mut Message<'_>) {
        match message {
            Message::Data { origin, payload } => {
                let key = (origin.conn.0, payload.direction);
                self.mask(key, payload.offset, &mut payload.bytes);
            }
            Message::Close { origin, .. } => self.forget(origin.conn.0),
            Message::Endpoint { endpoint, .. } => {
                if let Some((host, _)) = &mut endpoint.host {
                    self.authority(host);
                }
            }
            Message::Process(info) => self.process(info),
            Message::Gap { .. }
            | Message::Missed(_)
            | Message::Open { .. }
            | Message::Shutdown(_) => {}
        }
    }

    /// Nothing more comes of this connection.
    pub fn forget(&mut self, conn: u64) {
        self.chunks.forget(conn);
    }

    /// Masks the secrets of one chunk of a connection's direction, which is at `offset` in its stream. Bytes
    /// that are lent stay as they are: with a secret in them, they are replaced by bytes of their own.
    pub fn mask(&mut self, key: (u64, Direction), offset: u64, bytes: &mut Cow<'_, [u8]>) {
        let Self {
            scanner,
            chunks,
            scratch,
            pen,
            ..
        } = self;
        chunks.mask(scanner, scratch, pen, key, offset, bytes);
    }

    /// Masks what tells of a process.
    pub fn process(&mut self, info: &mut Arc<ProcessInfo>) {
        let mut masked = ProcessInfo::clone(info);
        self.text(&mut masked.comm);
        for text in [&mut masked.exe, &mut masked.cgroup].into_iter().flatten() {
            self.text(text);
        }
        if masked != **info {
            *info = Arc::new(masked);
        }
    }

    /// Masks the value of a field of a head (a header); of its name, case does not matter.
    pub fn field(&mut self, name: &str, value: &mut String) {
        let is_secret = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.scanner.is_secret_header(&name.to_ascii_lowercase()),
            false => self.scanner.is_secret_header(name),
        };
        if !is_secret {
            // As it is sent, the name decides with the value.
            return self.text_behind(&format!("{name}: "), value, "\r\n");
        }
        if let named::Look::Value(found) = named::field(value.as_bytes()) {
            let end = value.trim_ascii_end().len();
            self.overwrite(value, found.start, end);
        }
    }

    /// Masks the secrets in a request's target: its path and query.
    pub fn target(&mut self, target: &mut String) {
        self.text(target);
    }

    /// Masks the password of a server's name and port (`user:password@host`, RFC 3986 section 3.2).
    pub fn authority(&mut self, authority: &mut String) {
        self.text_behind("https://", authority, "/");
    }

    /// Masks the secrets in any text that is whole.
    pub fn text(&mut self, text: &mut String) {
        self.scanner.scan(text.as_bytes(), 0, 0, &mut self.scratch);
        self.mask_found(text);
    }

    /// Masks the secrets in a text that stands between others.
    fn text_behind(&mut self, before: &str, text: &mut String, behind: &str) {
        let whole = [before, text, behind].concat();
        self.scanner.scan(whole.as_bytes(), 0, 0, &mut self.scratch);
        let length = text.len();
        self.scratch.spans.retain_mut(|span| {
            span.start = span.start.saturating_sub(before.len());
            span.end = span.end.saturating_sub(before.len()).min(length);
            span.start < span.end
        });
        self.mask_found(text);
    }

    fn mask_found(&mut self, text: &mut String) {
        if self.scratch.spans.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(text).into_bytes();
        for span in &self.scratch.spans {
            self.pen.mask_whole(&mut bytes, span);
        }
        *text = into_text(bytes);
    }

    /// Masks the values of secret keys, and the secrets in all strings. What is no string stays as it is, but for large
    /// numbers of secret keys.
    pub fn json(&mut self, value: &mut Value) {
        self.walk(value);
    }

    /// Masks a piece of a text that comes in pieces. Its end is held back while it may be the beginning of a secret, and
    /// comes with a later piece or with [`Self::flush`].
    pub fn stream_text(&mut self, key: TextKey, piece: &mut String) {
        let Self {
            scanner,
            pieces,
            scratch,
            pen,
            ..
        } = self;
        pieces.push(scanner, scratch, pen, key, piece);
    }

    /// The text has most likely ended: what was held back. If it goes on nevertheless, what goes on with a secret is masked.
    pub fn let_go(&mut self, key: TextKey) -> String {
        let Self {
            scanner,
            pieces,
            scratch,
            pen,
            ..
        } = self;
        pieces.let_go(scanner, scratch, pen, key)
    }

    /// The text has ended: what was held back.
    pub fn flush(&mut self, key: TextKey) -> String {
        let Self {
            scanner,
            pieces,
            scratch,
            pen,
            ..
        } = self;
        pieces.flush(scanner, scratch, pen, key)
    }

    /// The secrets of a whole text.
    pub fn find(&self, text: &[u8]) -> Vec<Found<'_>> {
        let rules = self.scanner.rules().all();
        let spans = self.scanner.secrets(text);
        let found = |span: &Span| {
            let rule = rules.get(span.rule).map_or("", |rule| rule.id.as_str());
            let range = span.range();
            Found { rule, range }
        };
        spans.iter().map(found).collect()
    }

    /// Masks a part of a text, unless it is masked already.
    fn overwrite(&mut self, text: &mut String, start: usize, end: usize) {
        let secret = text.as_bytes().get(start..end).unwrap_or_default();
        if secret.is_empty() || worth::is_masked(secret) {
            return;
        }
        let mut bytes = std::mem::take(text).into_bytes();
        let (rule, is_open, ending) = (0, false, Ending::Line);
        let span = Span {
            start,
            end,
            rule,
            ending,
            is_open,
        };
        self.pen.mask_whole(&mut bytes, &span);
        *text = into_text(bytes);
    }
}

/// Secrets end where characters do; a rule of a user may see that otherwise.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests;
