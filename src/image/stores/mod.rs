//! What straight-line code writes into memory, as far as it is constant: for functions that do nothing but fill
//! a table. Conditional jumps are not taken, callees are trusted to leave what was written alone, and what is
//! not certain is [`Word::Unknown`].
//!
//! This says what the code would write if it ran, not that it runs.

mod a64;
mod x86;

use std::collections::BTreeMap;

use super::insn::{Decoder, Flow, REGISTERS};
use super::{Pointers, VirtAddr};

/// Most instructions that are followed from one start.
const STEPS_MAX: usize = 512;
/// Most bytes that are written from one start; those after them are not known.
const BYTES_MAX: usize = 4096;
/// Vector registers, and words in one.
const VECTORS: usize = 32;
const LANES: usize = 4;

/// Where a word points, or what number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Region {
    /// A number, or an address before any load bias.
    Fixed,
    /// Relative to the stack pointer at the start.
    Stack,
    /// Relative to what the caller handed in as its first argument.
    Argument,
}

/// What is known of eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Word {
    /// Nothing.
    #[default]
    Unknown,
    /// So far from the start of a region.
    In(Region, i64),
}

impl Word {
    const ZERO: Self = Self::In(Region::Fixed, 0);

    fn number(value: u64) -> Self {
        Self::In(Region::Fixed, value.cast_signed())
    }

    fn constant(self) -> Option<u64> {
        match self {
            Self::In(Region::Fixed, value) => Some(value.cast_unsigned()),
            _ => None,
        }
    }

    fn add(self, distance: i64) -> Self {
        match self {
            Self::In(region, at) => Self::In(region, at.wrapping_add(distance)),
            Self::Unknown => Self::Unknown,
        }
    }

    /// The lowest `bytes`, of a number only; all of it with eight.
    fn lowest(self, bytes: usize) -> Self {
        if bytes >= 8 {
            return self;
        }
        let mask = (1u64 << (8 * bytes)) - 1;
        self.constant()
            .map_or(Self::Unknown, |value| Self::number(value & mask))
    }

    fn byte(self, n: u8) -> Option<u8> {
        let bytes = self.constant()?.to_le_bytes();
        bytes.get(usize::from(n)).copied()
    }
}

/// What was written, byte by byte: each is a part of some word.
#[derive(Clone, Debug, Default)]
pub struct Written {
    bytes: BTreeMap<(Region, i64), (Word, u8)>,
    /// Bytes that were written, one place as often as it was.
    count: usize,
}

impl Written {
    /// Every place, outside of the stack, at which a number of four bytes was written that `is_wanted`.
    pub fn numbers(&self, is_wanted: impl Fn(u32) -> bool) -> Vec<(Region, i64)> {
        let places = self.bytes.keys().copied();
        places
            .filter(|(region, _)| *region != Region::Stack)
            .filter(|(region, at)| {
                let number = self.read(*region, *at, 4).constant();
                number.is_some_and(|number| is_wanted(number as u32))
            })
            .collect()
    }

    /// The number of `size` bytes, up to eight, that was written at a place. `None`: nothing was, or not a
    /// known number.
    pub fn number(&self, region: Region, at: i64, size: usize) -> Option<u64> {
        self.read(region, at, size).constant()
    }

    fn read(&self, region: Region, at: i64, size: usize) -> Word {
        let byte = |n: usize| self.bytes.get(&(region, at.checked_add(n as i64)?));
        let Some((first, 0)) = byte(0).copied() else {
            return self.assembled(region, at, size);
        };
        let whole = size == 8 && (1..8).all(|n| byte(n) == Some(&(first, n as u8)));
        if whole {
            return first;
        }
        self.assembled(region, at, size)
    }

    fn assembled(&self, region: Region, at: i64, size: usize) -> Word {
        let mut value = 0u64;
        for n in 0..size.min(8) {
            let place = at.checked_add(n as i64);
            let byte = place.and_then(|place| self.bytes.get(&(region, place)));
            let Some(byte) = byte.and_then(|(word, part)| word.byte(*part)) else {
                return Word::Unknown;
            };
            value |= u64::from(byte) << (8 * n);
        }
        Word::number(value)
    }

    fn write(&mut self, place: Word, word: Word, size: usize) {
        let Word::In(region, at) = place else {
            return;
        };
        self.count = self.count.saturating_add(size);
        for n in 0..size.min(8) {
            let Some(at) = at.checked_add(n as i64) else {
                return;
            };
            if word == Word::Unknown || self.count > BYTES_MAX {
                self.bytes.remove(&(region, at));
            } else {
                self.bytes.insert((region, at), (word, n as u8));
            }
        }
    }

    /// Whatever was there is not known any more.
    fn forget(&mut self, place: Word, size: usize) {
        for n in (0..size).step_by(8) {
            self.write(place.add(n as i64), Word::Unknown, (size - n).min(8));
        }
    }
}

/// Registers and memory.
struct State<'p, 'i, 'a> {
    pointers: &'p Pointers<'i, 'a>,
    general: [Word; REGISTERS],
    vectors: [[Word; LANES]; VECTORS],
    memory: Written,
}

impl<'p, 'i, 'a> State<'p, 'i, 'a> {
    fn at_entry(pointers: &'p Pointers<'i, 'a>, decoder: &Decoder<'_>) -> Self {
        let mut state = Self {
            pointers,
            general: [Word::Unknown; REGISTERS],
            vectors: [[Word::Unknown; LANES]; VECTORS],
            memory: Written::default(),
        };
        state.set(decoder.stack_pointer().index(), Word::In(Region::Stack, 0));
        if let Some(first) = decoder.argument(0) {
            state.set(first.index(), Word::In(Region::Argument, 0));
        }
        state
    }

    fn get(&self, register: usize) -> Word {
        self.general.get(register).copied().unwrap_or_default()
    }

    fn set(&mut self, register: usize, word: Word) {
        if let Some(slot) = self.general.get_mut(register) {
            *slot = word;
        }
    }

    fn lane(&self, register: usize, lane: usize) -> Word {
        let vector = self.vectors.get(register);
        let word = vector.and_then(|vector| vector.get(lane));
        word.copied().unwrap_or_default()
    }

    fn set_vector(&mut self, register: usize, words: [Word; LANES]) {
        if let Some(slot) = self.vectors.get_mut(register) {
            *slot = words;
        }
    }

    fn lose(&mut self, mask: u32) {
        for (n, slot) in self.general.iter_mut().enumerate() {
            if mask >> n & 1 == 1 {
                *slot = Word::Unknown;
            }
        }
    }

    /// What stands in memory: as written before, else as the file has it where nobody writes later.
    fn load(&self, place: Word, size: usize) -> Word {
        let Word::In(region, at) = place else {
            return Word::Unknown;
        };
        let known = self.memory.read(region, at, size);
        if known != Word::Unknown || region != Region::Fixed {
            return known;
        }
        self.constant_at(VirtAddr(at.cast_unsigned()), size)
            .map_or(Word::Unknown, Word::number)
    }

    fn constant_at(&self, place: VirtAddr, size: usize) -> Option<u64> {
        let relocated = self
            .pointers
            .is_relocated()
            .then(|| self.pointers.at(place));
        if size == 8
            && let Some(target) = relocated.flatten()
        {
            return Some(target.0);
        }
        let image = self.pointers.image();
        let offset = image.segments.file_offset(place)?;
        if image.segments.holder(offset)?.writable {
            return None;
        }
        let bytes = image.bytes_at(place)?.get(..size)?.iter().rev();
        Some(bytes.fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn after_call(&mut self, decoder: &Decoder<'_>) {
        self.lose(decoder.lost_in_calls());
        self.vectors = [[Word::Unknown; LANES]; VECTORS];
    }
}

/// What the code from `start` on writes until it returns or jumps away, if it comes by `through`: the address of
/// any byte of one of its instructions. What ends another function before that is passed over.
///
/// `None`: it does not come by there, or something on the way does not decode.
pub fn written(
    pointers: &Pointers<'_, '_>,
    decoder: &Decoder<'_>,
    start: VirtAddr,
    through: VirtAddr,
) -> Option<Written> {
    let mut state = State::at_entry(pointers, decoder);
    let mut at = start;
    for _ in 0..STEPS_MAX {
        let is_past = at > through;
        let Some(insn) = decoder.decode(at) else {
            return is_past.then_some(state.memory);
        };
        let is_end = matches!(
            insn.flow,
            Flow::Return | Flow::Stop | Flow::Jump(_) | Flow::JumpIndirect
        );
        match insn.flow {
            _ if is_end && is_past => return Some(state.memory),
            _ if is_end => state = State::at_entry(pointers, decoder),
            Flow::Call(_) | Flow::CallIndirect => state.after_call(decoder),
            _ if decoder.is_x86() => x86::step(&mut state, pointers.image(), at)?,
            _ => a64::step(&mut state, &insn, pointers.image())?,
        }
        at = insn.end();
    }
    None
}
