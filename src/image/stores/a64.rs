//! aarch64: the instructions with which compilers fill tables. Encodings are those of the Arm Architecture
//! Reference Manual (DDI 0487), C4.1. All others lose what they write.

use super::{LANES, State, Word};
use crate::image::Image;
use crate::image::insn::{Effect, Insn};

/// Number 31 means zero where data are meant.
const ZERO: u32 = 31;
/// Words of a register that are used: 128 bits.
const WORDS: usize = 2;

pub(super) fn step(state: &mut State<'_, '_, '_>, insn: &Insn, image: &Image<'_>) -> Option<()> {
    let code = image.code_at(insn.addr)?;
    let word = u32::from_le_bytes(*code.first_chunk()?);
    if let Some(access) = Access::of(word, insn.addr.0) {
        access.run(state);
    } else if word & 0x0a00_0000 == 0x0800_0000 {
        lose_access(state, word);
    } else if word & 0x0e00_0000 == 0x0e00_0000 {
        vector(state, insn, word);
    } else {
        apply(state, insn.effect);
    }
    Some(())
}

fn field(word: u32, low: u32, bits: u32) -> u32 {
    (word >> low) & ((1 << bits) - 1)
}

fn signed(word: u32, low: u32, bits: u32) -> i64 {
    let value = i64::from(field(word, low, bits));
    (value << (64 - bits)) >> (64 - bits)
}

fn apply(state: &mut State<'_, '_, '_>, effect: Effect) {
    match effect {
        Effect::Set(reg, value) => state.set(reg.index(), Word::number(value)),
        Effect::Copy { dst, src, narrow } => {
            let word = state.get(src.index()).lowest(if narrow { 4 } else { 8 });
            state.set(dst.index(), word);
        }
        Effect::Add { dst, src, value } => {
            state.set(dst.index(), state.get(src.index()).add(value));
        }
        Effect::Insert { reg, shift, value } => {
            let old = state.get(reg.index()).constant();
            let new = old.map(|old| old & !(0xffff << shift) | u64::from(value) << shift);
            state.set(reg.index(), new.map_or(Word::Unknown, Word::number));
        }
        Effect::Lose(mask) => state.lose(mask),
        Effect::Push(_) | Effect::Pop(_) => {}
    }
}

/// A load or store of one register or two, relative to another or to the place of the instruction.
struct Access {
    /// The register with the address, and what is added for the access and to the register for good.
    base: Option<u32>,
    offset: i64,
    step: i64,
    /// Bytes of one register.
    size: usize,
    is_load: bool,
    is_vector: bool,
    registers: [Option<u32>; 2],
}

impl Access {
    fn of(word: u32, at: u64) -> Option<Self> {
        let is_vector = word & (1 << 26) != 0;
        let first = field(word, 0, 5);
        let single = Self {
            base: Some(field(word, 5, 5)),
            offset: 0,
            step: 0,
            size: 0,
            is_load: false,
            is_vector,
            registers: [Some(first), None],
        };
        // literal
        if word & 0x3b00_0000 == 0x1800_0000 {
            let size = *[4, 8, 16].get(field(word, 30, 2) as usize)?;
            let place = at.wrapping_add_signed(signed(word, 5, 19) * 4);
            return (is_vector || size < 16).then_some(Self {
                base: None,
                offset: place.cast_signed(),
                size,
                is_load: true,
                ..single
            });
        }
        // a pair
        if word & 0x3a00_0000 == 0x2800_0000 {
            let kind = field(word, 30, 2);
            let size = *match is_vector {
                true => [4, 8, 16].get(kind as usize)?,
                false => [4, 0, 8].get(kind as usize).filter(|size| **size > 0)?,
            };
            let distance = signed(word, 15, 7) * size as i64;
            let mode = field(word, 23, 2);
            return Some(Self {
                offset: if mode == 1 { 0 } else { distance },
                step: if mode & 1 == 1 { distance } else { 0 },
                size,
                is_load: word & (1 << 22) != 0,
                registers: [Some(first), Some(field(word, 10, 5))],
                ..single
            });
        }
        let (size, is_load) = single_kind(word, is_vector)?;
        let access = Self {
            size,
            is_load,
            ..single
        };
        if word & 0x3b00_0000 == 0x3900_0000 {
            let offset = i64::from(field(word, 10, 12)) * size as i64;
            return Some(Self { offset, ..access });
        }
        // unscaled, pre- and post-indexed
        if word & 0x3b20_0000 == 0x3800_0000 {
            let distance = signed(word, 12, 9);
            let mode = field(word, 10, 2);
            return (mode != 2).then_some(Self {
                offset: if mode == 1 { 0 } else { distance },
                step: if mode & 1 == 1 { distance } else { 0 },
                ..access
            });
        }
        None
    }

    fn run(&self, state: &mut State<'_, '_, '_>) {
        let base = self.base.map(|base| state.get(base as usize));
        let start = base.unwrap_or(Word::ZERO).add(self.offset);
        for (n, register) in self.registers.iter().flatten().enumerate() {
            let place = start.add((n * self.size) as i64);
            if self.is_load {
                self.load(state, place, *register);
            } else {
                self.store(state, place, *register);
            }
        }
        if let (Some(base), Some(word)) = (self.base, base)
            && self.step != 0
        {
            state.set(base as usize, word.add(self.step));
        }
    }

    fn load(&self, state: &mut State<'_, '_, '_>, place: Word, register: u32) {
        if self.is_vector {
            let mut words = [Word::ZERO; LANES];
            for (n, word) in words.iter_mut().enumerate().take(WORDS) {
                let left = self.size.saturating_sub(8 * n).min(8);
                if left > 0 {
                    *word = state.load(place.add(8 * n as i64), left);
                }
            }
            state.set_vector(register as usize, words);
        } else if register != ZERO {
            let word = state.load(place, self.size);
            state.set(register as usize, word);
        }
    }

    fn store(&self, state: &mut State<'_, '_, '_>, place: Word, register: u32) {
        if !self.is_vector {
            let word = match register {
                ZERO => Word::ZERO,
                _ => state.get(register as usize),
            };
            state.memory.write(place, word.lowest(self.size), self.size);
            return;
        }
        for n in 0..WORDS {
            let left = self.size.saturating_sub(8 * n).min(8);
            let word = state.lane(register as usize, n).lowest(left);
            state.memory.write(place.add(8 * n as i64), word, left);
        }
    }
}

/// Bytes, and whether it loads: of the single-register forms that move the bytes as they are.
fn single_kind(word: u32, is_vector: bool) -> Option<(usize, bool)> {
    let (size, kind) = (field(word, 30, 2), field(word, 22, 2));
    match (is_vector, size, kind) {
        (true, 0, 2) => Some((16, false)),
        (true, 0, 3) => Some((16, true)),
        (_, _, 0) => Some((1 << size, false)),
        (_, _, 1) => Some((1 << size, true)),
        _ => None,
    }
}

/// Other accesses: what they load is not known, and those that store do so somewhere else.
fn lose_access(state: &mut State<'_, '_, '_>, word: u32) {
    let (first, second) = (field(word, 0, 5), field(word, 10, 5));
    if word & (1 << 26) != 0 {
        // Up to four registers in a row.
        for n in 0..4 {
            state.set_vector(((first + n) % 32) as usize, [Word::Unknown; LANES]);
        }
        return;
    }
    for register in [first, second, field(word, 16, 5)] {
        if register != ZERO {
            state.set(register as usize, Word::Unknown);
        }
    }
}

fn vector(state: &mut State<'_, '_, '_>, insn: &Insn, word: u32) {
    let (to, from) = (field(word, 0, 5) as usize, field(word, 5, 5));
    let other = field(word, 16, 5) as usize;
    let general = match from {
        ZERO => Word::ZERO,
        _ => state.get(from as usize),
    };
    let from = from as usize;
    let two = |low, high| [low, high, Word::ZERO, Word::ZERO];
    let words = match (word & !0x1f, word & !0x3ff, word & 0xffe0_fc00) {
        // movi of zero, to 64 and 128 bits
        (0x6f00_e400 | 0x4f00_e400 | 0x4f00_0400 | 0x2f00_e400 | 0x0f00_e400, ..) => {
            two(Word::ZERO, Word::ZERO)
        }
        // fmov d, x; fmov s, w
        (_, 0x9e67_0000, _) => two(general, Word::ZERO),
        (_, 0x1e27_0000, _) => two(general.lowest(4), Word::ZERO),
        // fmov x, d
        (_, 0x9e66_0000, _) => {
            if to != ZERO as usize {
                state.set(to, state.lane(from, 0));
            }
            return;
        }
        // mov v.d[0], x; mov v.d[1], x
        (_, 0x4e08_1c00, _) => two(general, state.lane(to, 1)),
        (_, 0x4e18_1c00, _) => two(state.lane(to, 0), general),
        // mov v.d[1], v.d[0]
        (_, 0x6e18_0400, _) => two(state.lane(to, 0), state.lane(from, 0)),
        // dup v.2d, x; dup v.2d, v.d[0]
        (_, 0x4e08_0c00, _) => two(general, general),
        (_, 0x4e08_0400, _) => two(state.lane(from, 0), state.lane(from, 0)),
        // zip1 v.2d
        (_, _, 0x4ec0_3800) => two(state.lane(from, 0), state.lane(other, 0)),
        // mov v, v
        (_, _, 0x4ea0_1c00) if other == from => two(state.lane(from, 0), state.lane(from, 1)),
        _ => {
            apply(state, insn.effect);
            [Word::Unknown; LANES]
        }
    };
    state.set_vector(to, words);
}
