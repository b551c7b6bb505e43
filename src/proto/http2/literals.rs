//! The literal values in the header blocks of one direction, for whoever must change them where they lie: a recording
//! keeps the bytes as they were sent, and a secret that HPACK has coded is masked in place.
//!
//! A value keeps the number of its coded bytes, so that every offset stays true. Coded in Huffman, a mask of stars always
//! fits, since a star takes eight bits (RFC 7541 appendix B); and since what is masked seldom has more characters than
//! before, a decoder evicts nothing that the encoder still refers to (section 4.1). What is referred to by its index is
//! in the block that inserted it, and was changed there.
//!
//! It understands as little as it must, and says nothing of what is sent: [`super::Http2`] does. Where it does not know
//! where a frame begins it changes nothing until a piece begins with one, and says so ([`Literals::is_lost`]).

use std::ops::Range;

use super::frame::{
    CONTINUATION, Chain, END_HEADERS, FRAME_LIMIT, HEADER, HEADERS, Header, PADDED, PREFACE,
    PUSH_PROMISE, SETTINGS, WITH_PRIORITY, chain,
};
use super::huffman;
use super::table::{Name, Table};

/// Changes the value of a field, whose length stays the same. Name `None`: the connection was joined late.
pub type Change<'c> = dyn FnMut(Option<&str>, &mut String) + 'c;

/// Bytes of a value that is looked at; a longer one is masked as a whole.
const STRING_MAX: usize = 64 << 10;
/// Streams are numbered upwards; more than these are never seen on one connection.
const STREAMS: u32 = u32::MAX >> 1;
/// Bytes of a number behind its first one: as many as hold 32 bits.
const NUMBER_MAX: u32 = 28;
/// `*` in Huffman code, and as it is.
const STARS: [u8; 2] = [b'*', 0xf9];

/// Where the next byte is.
enum Place {
    /// In the preface: bytes that are left.
    Preface(usize),
    /// In the header of a frame: what has come of it.
    Header(Vec<u8>),
    /// In a payload that holds no header block, or in padding: bytes that are left.
    Skip(usize),
    /// In the payload of a frame of a header block.
    Block(Payload),
    /// Nobody knows.
    Lost,
}

/// Of HEADERS, PUSH_PROMISE or CONTINUATION (RFC 9113 section 6).
struct Payload {
    /// Its first byte, which has not come, says how much padding there is.
    is_padded: bool,
    /// Bytes before the fragment.
    front: usize,
    /// All bytes that are left.
    left: usize,
    padding: usize,
    ends_block: bool,
}

/// Follows one direction.
pub struct Literals {
    place: Place,
    /// A header block goes on in the next frame.
    in_block: bool,
    fields: Fields,
    /// Nothing was seen yet.
    is_new: bool,
}

impl Default for Literals {
    fn default() -> Self {
        Self {
            place: Place::Lost,
            in_block: false,
            fields: Fields::new(false),
            is_new: true,
        }
    }
}

impl Literals {
    /// It is not known where the next frame begins: literals may pass unchanged.
    pub fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }

    /// The next bytes of the direction, in which `change` changes the values.
    pub fn push(&mut self, bytes: &mut [u8], change: &mut Change<'_>) {
        if self.is_lost() {
            self.find(bytes);
        }
        self.is_new = false;
        let mut at = 0;
        while at < bytes.len() && !self.is_lost() {
            at += self.step(bytes, at, change);
        }
        self.fields.cut(bytes);
    }

    /// Bytes of the direction are missing.
    pub fn gap(&mut self) {
        self.lose();
        self.is_new = false;
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.fields.table.held() + self.fields.coded.capacity()
    }

    fn lose(&mut self) {
        self.place = Place::Lost;
        self.in_block = false;
        self.fields = Fields::new(false);
    }

    /// Whether a piece begins with a frame. Nothing has come before the preface, nor before the SETTINGS that a server
    /// begins with (RFC 9113 section 3.4): then the table is known.
    fn find(&mut self, bytes: &[u8]) {
        if bytes.starts_with(PREFACE) {
            self.fields = Fields::new(true);
            self.place = Place::Preface(PREFACE.len());
            return;
        }
        let is_settings = Header::parse(bytes)
            .is_some_and(|header| header.kind == SETTINGS && header.fault(FRAME_LIMIT).is_none());
        let is_chain = match chain(bytes, 0, usize::MAX, STREAMS) {
            Chain::Broken => false,
            Chain::Open(links) => links.frames > 0,
            Chain::Whole => true,
        };
        if is_chain {
            self.fields = Fields::new(self.is_new && is_settings);
            self.place = Place::Header(Vec::new());
        }
    }

    /// Takes some of the bytes from `at` on, of which there is one at least: how many.
    fn step(&mut self, bytes: &mut [u8], at: usize, change: &mut Change<'_>) -> usize {
        let rest = bytes.len().saturating_sub(at);
        match &mut self.place {
            Place::Preface(left) | Place::Skip(left) => {
                let used = rest.min(*left);
                *left -= used;
                if *left == 0 {
                    self.place = Place::Header(Vec::new());
                }
                used
            }
            Place::Header(seen) if seen.is_empty() && rest >= HEADER => {
                let header = Header::parse(bytes.get(at..).unwrap_or_default());
                header.iter().for_each(|header| self.begin(header));
                HEADER
            }
            Place::Header(seen) => {
                let used = rest.min(HEADER.saturating_sub(seen.len()));
                seen.extend(bytes.iter().skip(at).take(used));
                if let Some(header) = Header::parse(seen) {
                    self.begin(&header);
                }
                used
            }
            Place::Block(_) => self.payload(bytes, at, change),
            Place::Lost => rest,
        }
    }

    fn begin(&mut self, header: &Header) {
        let continues = header.kind == CONTINUATION;
        if header.fault(FRAME_LIMIT).is_some() || continues != self.in_block {
            return self.lose();
        }
        if !matches!(header.kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
            self.skip(header.length());
            return;
        }
        let front = match header.kind {
            PUSH_PROMISE => 4,
            HEADERS if header.has(WITH_PRIORITY) => 5,
            _ => 0,
        };
        self.in_block = true;
        self.place = Place::Block(Payload {
            is_padded: header.has(PADDED) && !continues,
            front,
            left: header.length(),
            padding: 0,
            ends_block: header.has(END_HEADERS),
        });
        self.end_payload();
    }

    fn skip(&mut self, bytes: usize) {
        self.place = match bytes {
            0 => Place::Header(Vec::new()),
            bytes => Place::Skip(bytes),
        };
    }

    fn payload(&mut self, bytes: &mut [u8], at: usize, change: &mut Change<'_>) -> usize {
        let Place::Block(payload) = &mut self.place else {
            return 0;
        };
        let rest = bytes.len().saturating_sub(at);
        let used = if payload.is_padded {
            payload.is_padded = false;
            payload.padding = bytes.get(at).copied().unwrap_or_default().into();
            1
        } else if payload.front > 0 {
            let used = rest.min(payload.front).min(payload.left);
            payload.front -= used;
            used
        } else if payload.left > payload.padding {
            let used = rest.min(payload.left - payload.padding);
            if self.fields.push(bytes, at..at + used, change).is_none() {
                self.lose();
                return used;
            }
            used
        } else {
            let used = rest.min(payload.padding);
            payload.padding -= used;
            used
        };
        payload.left = payload.left.saturating_sub(used);
        if payload.padding + payload.front > payload.left {
            // More padding than bytes.
            self.lose();
            return used;
        }
        self.end_payload();
        used
    }

    /// A payload may be over.
    fn end_payload(&mut self) {
        let Place::Block(payload) = &self.place else {
            return;
        };
        if payload.left > 0 {
            return;
        }
        self.in_block = !payload.ends_block;
        self.place = Place::Header(Vec::new());
        if !self.in_block && !self.fields.is_between() {
            self.lose();
        }
    }
}

/// What a field does (RFC 7541 section 6).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A literal that goes into the table.
    Added,
    /// An entry of the table.
    Indexed,
    /// A literal that does not.
    Plain,
    /// The table changes its size.
    Resize,
}

/// What the next byte is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The beginning of a field.
    Begin,
    Index,
    NameLength,
    Name,
    ValueLength,
    Value,
}

/// The fields of header blocks, byte by byte.
struct Fields {
    table: Table,
    step: Step,
    kind: Kind,
    /// Of the number that has begun; how far the next byte of it is shifted.
    number: Option<(u64, u32)>,
    name: Option<Name>,
    is_huffman: bool,
    /// Bytes of the string that are left.
    left: usize,
    /// The string, as it is coded.
    coded: Vec<u8>,
    /// It is longer than is kept.
    is_long: bool,
    /// Where the value is in the piece that is looked at.
    places: Vec<Range<usize>>,
    /// A part of the value was in an earlier piece.
    is_cut: bool,
}

impl Fields {
    fn new(from_start: bool) -> Self {
        Self {
            table: Table::new(from_start),
            step: Step::Begin,
            kind: Kind::Plain,
            number: None,
            name: None,
            is_huffman: false,
            left: 0,
            coded: Vec::new(),
            is_long: false,
            places: Vec::new(),
            is_cut: false,
        }
    }

    /// No field has begun.
    fn is_between(&self) -> bool {
        self.step == Step::Begin
    }

    /// The next bytes of a header block, which stand at `range`. `None`: it is none.
    fn push(
        &mut self,
        bytes: &mut [u8],
        range: Range<usize>,
        change: &mut Change<'_>,
    ) -> Option<()> {
        let mut at = range.start;
        while at < range.end {
            if matches!(self.step, Step::Name | Step::Value) {
                let end = range.end.min(at.saturating_add(self.left));
                self.string(bytes, at..end, change)?;
                at = end;
            } else {
                let byte = *bytes.get(at)?;
                at += 1;
                if let Some(number) = self.number(byte)? {
                    self.counted(number, bytes, change)?;
                }
            }
        }
        Some(())
    }

    /// One more byte of a number, which may begin a field or a string (section 5.1). `Some(None)`: more come.
    fn number(&mut self, byte: u8) -> Option<Option<usize>> {
        if let Some((value, shift)) = self.number {
            if shift > NUMBER_MAX {
                return None;
            }
            let value = value + (u64::from(byte & 0x7f) << shift);
            self.number = (byte & 0x80 != 0).then_some((value, shift + 7));
            return self.whole_number(value);
        }
        let bits = match self.step {
            Step::Begin => self.kind(byte),
            _ => {
                self.is_huffman = byte & 0x80 != 0;
                7
            }
        };
        let mask = (1_u8 << bits) - 1;
        let value = u64::from(byte & mask);
        self.number = (byte & mask == mask).then_some((value, 0));
        self.whole_number(value)
    }

    fn whole_number(&self, value: u64) -> Option<Option<usize>> {
        match self.number {
            Some(_) => Some(None),
            None => u32::try_from(value).ok().map(|value| Some(value as usize)),
        }
    }

    /// By its first byte: the bits of the number in it.
    fn kind(&mut self, byte: u8) -> u32 {
        self.step = Step::Index;
        let (kind, bits) = match byte {
            0x80.. => (Kind::Indexed, 7),
            0x40.. => (Kind::Added, 6),
            0x20.. => (Kind::Resize, 5),
            _ => (Kind::Plain, 4),
        };
        self.kind = kind;
        bits
    }

    /// A number is whole.
    fn counted(&mut self, number: usize, bytes: &mut [u8], change: &mut Change<'_>) -> Option<()> {
        match (self.step, self.kind) {
            (Step::Index, Kind::Indexed) => self.step = Step::Begin,
            (Step::Index, Kind::Resize) => {
                self.table.resize(number);
                self.step = Step::Begin;
            }
            (Step::Index, _) if number == 0 => self.step = Step::NameLength,
            (Step::Index, _) => {
                self.name = Some(self.table.get(number)?.name().clone());
                self.step = Step::ValueLength;
            }
            (step, _) => {
                self.step = match step {
                    Step::NameLength => Step::Name,
                    _ => Step::Value,
                };
                self.left = number;
                self.coded.clear();
                self.is_long = false;
                if number == 0 {
                    self.end_string(bytes, change)?;
                }
            }
        }
        Some(())
    }

    fn string(
        &mut self,
        bytes: &mut [u8],
        range: Range<usize>,
        change: &mut Change<'_>,
    ) -> Option<()> {
        let piece = bytes.get(range.clone())?;
        self.is_long |= self.coded.len() + piece.len() > STRING_MAX;
        if !self.is_long {
            self.coded.extend_from_slice(piece);
        }
        self.left = self.left.saturating_sub(piece.len());
        if self.step == Step::Value {
            self.places.push(range);
        }
        if self.left == 0 {
            self.end_string(bytes, change)?;
        }
        Some(())
    }

    fn end_string(&mut self, bytes: &mut [u8], change: &mut Change<'_>) -> Option<()> {
        let mut plain = Vec::new();
        match self.is_huffman {
            true => huffman::decode(&self.coded, &mut plain),
            false => {
                plain.extend_from_slice(&self.coded);
                Some(())
            }
        }?;
        if self.step == Step::Name {
            self.name = (!self.is_long).then(|| Name::Known(plain.as_slice().into()));
            self.step = Step::ValueLength;
            return Some(());
        }
        self.step = Step::Begin;
        let name = self.name.take();
        let text = name
            .as_ref()
            .and_then(|name| name.known().map(|_| name.text()));
        if self.is_cut || self.is_long {
            self.stars(bytes);
        } else if let Some(changed) = self.changed(text.as_deref(), &plain, change) {
            self.write(bytes, &changed);
        }
        if self.kind == Kind::Added {
            match name {
                Some(name) if !self.is_long => self.table.insert(name, &plain),
                _ => self.table.forget(),
            }
        }
        self.places.clear();
        self.is_cut = false;
        Some(())
    }

    /// The coded value after the change; `None`: it stays as it is.
    fn changed(
        &self,
        name: Option<&str>,
        plain: &[u8],
        change: &mut Change<'_>,
    ) -> Option<Vec<u8>> {
        let before = String::from_utf8_lossy(plain);
        let mut value = before.clone().into_owned();
        change(name, &mut value);
        if value == before {
            return None;
        }
        let len = self.coded.len();
        let coded = match self.is_huffman {
            true => fitted(plain, value.as_bytes(), len),
            false => Some(value.into_bytes()),
        };
        let star = self.star();
        Some(
            coded
                .filter(|coded| coded.len() == len)
                .unwrap_or_else(|| vec![star; len]),
        )
    }

    fn star(&self) -> u8 {
        let [plain, coded] = STARS;
        if self.is_huffman { coded } else { plain }
    }

    fn write(&self, bytes: &mut [u8], value: &[u8]) {
        let mut value = value.iter();
        for place in &self.places {
            let place = bytes.get_mut(place.clone()).unwrap_or_default();
            place
                .iter_mut()
                .zip(value.by_ref())
                .for_each(|(to, from)| *to = *from);
        }
    }

    fn stars(&self, bytes: &mut [u8]) {
        let star = self.star();
        for place in &self.places {
            bytes.get_mut(place.clone()).unwrap_or_default().fill(star);
        }
    }

    /// The piece ends. A value that does not end with it is masked: what it is cannot be told before its end.
    fn cut(&mut self, bytes: &mut [u8]) {
        if self.places.is_empty() {
            return;
        }
        self.stars(bytes);
        self.places.clear();
        self.is_cut = true;
    }
}

/// `after` in Huffman code, in exactly `len` bytes: between what it has in common with `before`, stars go or come.
fn fitted(before: &[u8], after: &[u8], len: usize) -> Option<Vec<u8>> {
    let pairs = before.iter().zip(after);
    let front = pairs.take_while(|(a, b)| a == b).count();
    let pairs = before.iter().rev().zip(after.iter().rev());
    let shorter = before.len().min(after.len());
    let back = pairs
        .take_while(|(a, b)| a == b)
        .count()
        .min(shorter - front);
    let (front, rest) = after.split_at_checked(front)?;
    let (middle, back) = rest.split_at_checked(rest.len().checked_sub(back)?)?;
    let kept = || middle.iter().filter(|byte| **byte != b'*');
    let all = || front.iter().chain(kept()).chain(back);
    let stars = len.checked_sub(huffman::encoded_len(all().copied()))?;
    let stars = std::iter::repeat_n(&b'*', stars);
    let text = front.iter().chain(kept()).chain(stars).chain(back);
    Some(huffman::encode(text.copied()))
}

#[cfg(test)]
mod tests;
