//! aarch64, decoded here: words of 32 bits in few groups. Encodings are those of the Arm Architecture
//! Reference Manual (DDI 0487), C4.1; what is not named below changes the register in its lowest five bits.

use super::{Access, Effect, Flow, Insn, Reg};
use crate::image::VirtAddr;

/// `nop`, in memory order.
pub(super) const NOP: [u8; 4] = 0xd503_201f_u32.to_le_bytes();

/// Number 31 means the zero register in most places.
const ZERO: u32 = 31;

pub(super) fn decode(code: &[u8], addr: VirtAddr) -> Option<Insn> {
    let word = u32::from_le_bytes(code.get(..4)?.try_into().ok()?);
    let access = access(word);
    Some(Insn {
        addr,
        len: 4,
        flow: flow(word, addr),
        effect: effect(word, addr),
        access,
    })
}

/// `sub sp, sp, #n`, `stp x, x, [sp, #-n]!`, `str x, [sp, #-n]!`, `paciasp`, `bti c`.
pub(super) fn is_prologue(code: &[u8]) -> bool {
    let Some(bytes) = code.first_chunk() else {
        return false;
    };
    let word = u32::from_le_bytes(*bytes);
    word & 0xff80_03ff == 0xd100_03ff
        || word & 0xffe0_03e0 == 0xa9a0_03e0
        || word & 0xfff0_0fe0 == 0xf810_0fe0
        || word == 0xd503_233f
        || word == 0xd503_245f
}

/// `mov w, #imm16`
pub(super) fn loads_of(register: Reg, value: u32) -> Vec<Vec<u8>> {
    let word = 0x5280_0000 | (value & 0xffff) << 5 | register.index() as u32 & 31;
    vec![word.to_le_bytes().to_vec()]
}

fn field(word: u32, low: u32, bits: u32) -> u32 {
    (word >> low) & ((1 << bits) - 1)
}

/// The upper `32 - low - bits` bits cut off, the rest as a signed number.
fn signed(word: u32, low: u32, bits: u32) -> i64 {
    let value = i64::from(field(word, low, bits));
    (value << (64 - bits)) >> (64 - bits)
}

fn reg(number: u32) -> Reg {
    Reg((number & 31) as u8)
}

fn target(addr: VirtAddr, words: i64) -> VirtAddr {
    VirtAddr(addr.0.wrapping_add_signed(words * 4))
}

fn flow(word: u32, addr: VirtAddr) -> Flow {
    if word & 0xfc00_0000 == 0x1400_0000 {
        return Flow::Jump(target(addr, signed(word, 0, 26)));
    }
    if word & 0xfc00_0000 == 0x9400_0000 {
        return Flow::Call(target(addr, signed(word, 0, 26)));
    }
    // b.cond and bc.cond; cbz and cbnz
    if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        return Flow::Branch(target(addr, signed(word, 5, 19)));
    }
    // tbz and tbnz
    if word & 0x7e00_0000 == 0x3600_0000 {
        return Flow::Branch(target(addr, signed(word, 5, 14)));
    }
    // br, blr, ret, with and without pointer authentication
    if word & 0xfe00_0000 == 0xd600_0000 {
        return match field(word, 21, 2) {
            0 => Flow::JumpIndirect,
            1 => Flow::CallIndirect,
            2 => Flow::Return,
            _ => Flow::Stop,
        };
    }
    let is_udf = word >> 16 == 0;
    let is_brk = word & 0xffe0_001f == 0xd420_0000;
    let is_hlt = word & 0xffe0_001f == 0xd440_0000;
    if is_udf || is_brk || is_hlt {
        return Flow::Stop;
    }
    Flow::Next
}

fn effect(word: u32, addr: VirtAddr) -> Effect {
    known_effect(word, addr).unwrap_or_else(|| Effect::Lose(lost(word)))
}

fn known_effect(word: u32, addr: VirtAddr) -> Option<Effect> {
    let rd = reg(word);
    let rn = field(word, 5, 5);
    let wide = word >> 31 == 1;
    if is_memory(word) {
        return stepped_base(word);
    }
    // adr, adrp
    if word & 0x1f00_0000 == 0x1000_0000 {
        let value = signed(word, 5, 19) << 2 | i64::from(field(word, 29, 2));
        let base = if wide { addr.0 & !0xfff } else { addr.0 };
        let step = if wide { value << 12 } else { value };
        return (rd.0 != 31).then(|| Effect::Set(rd, base.wrapping_add_signed(step)));
    }
    // add, sub (immediate): register 31 is the stack pointer
    if word & 0x3f80_0000 == 0x1100_0000 {
        let shift = 12 * field(word, 22, 1);
        let value = i64::from(field(word, 10, 12) << shift);
        let value = if word & 0x4000_0000 == 0 {
            value
        } else {
            -value
        };
        return wide.then(|| Effect::Add {
            dst: rd,
            src: reg(rn),
            value,
        });
    }
    // movn, movz, movk
    if word & 0x1f80_0000 == 0x1280_0000 && rd.0 != 31 {
        return move_wide(word, rd, wide);
    }
    // orr (shifted register) from the zero register, without a shift: mov
    if word & 0x7fe0_ffe0 == 0x2a00_03e0 && rd.0 != 31 {
        let src = field(word, 16, 5);
        return Some(if src == ZERO {
            Effect::Set(rd, 0)
        } else {
            Effect::Copy {
                dst: rd,
                src: reg(src),
                narrow: !wide,
            }
        });
    }
    // orr (immediate) from the zero register: mov of a bit pattern
    if word & 0x7f80_03e0 == 0x3200_03e0 && rd.0 != 31 {
        return bitmask(word, wide).map(|value| Effect::Set(rd, value));
    }
    None
}

/// A store that moves its base register, as prologues do with the stack pointer.
fn stepped_base(word: u32) -> Option<Effect> {
    if is_load(word) || !writes_back(word) {
        return None;
    }
    let base = reg(field(word, 5, 5));
    let value = if is_pair(word) {
        signed(word, 15, 7) << pair_scale(word)
    } else {
        signed(word, 12, 9)
    };
    Some(Effect::Add {
        dst: base,
        src: base,
        value,
    })
}

fn pair_scale(word: u32) -> u32 {
    2 + if is_vector(word) {
        word >> 30
    } else {
        word >> 31
    }
}

fn move_wide(word: u32, reg: Reg, wide: bool) -> Option<Effect> {
    let shift = 16 * field(word, 21, 2);
    let value = u64::from(field(word, 5, 16)) << shift;
    if !wide && shift > 16 {
        return None;
    }
    let kept = if wide { u64::MAX } else { 0xffff_ffff };
    match field(word, 29, 2) {
        0 => Some(Effect::Set(reg, !value & kept)),
        2 => Some(Effect::Set(reg, value)),
        3 => Some(Effect::Insert {
            reg,
            shift: shift as u8,
            value: field(word, 5, 16) as u16,
        }),
        _ => None,
    }
}

/// `DecodeBitMasks` for logical immediates: a run of ones, rotated, repeated.
fn bitmask(word: u32, wide: bool) -> Option<u64> {
    let (n, immr, imms) = (field(word, 22, 1), field(word, 16, 6), field(word, 10, 6));
    let combined = n << 6 | (!imms & 63);
    let size_log = 31u32.checked_sub(combined.leading_zeros())?;
    if size_log == 0 || (!wide && n == 1) {
        return None;
    }
    let size = 1u32 << size_log;
    let (ones, turn) = ((imms & (size - 1)) + 1, immr & (size - 1));
    if ones == size {
        return None;
    }
    let mask = if size == 64 {
        u64::MAX
    } else {
        (1 << size) - 1
    };
    let run = (1u64 << ones) - 1;
    let element = if turn == 0 {
        run
    } else {
        (run >> turn | run << (size - turn)) & mask
    };
    let mut value = element;
    let mut width = size;
    while width < 64 {
        value |= value << width;
        width *= 2;
    }
    Some(if wide { value } else { value & 0xffff_ffff })
}

/// Loads and stores: op0 bits 27 and 25 are 1 and 0 (C4.1, "Loads and stores").
fn is_memory(word: u32) -> bool {
    word & 0x0a00_0000 == 0x0800_0000
}

fn is_vector(word: u32) -> bool {
    word & (1 << 26) != 0
}

/// A pair: `ldp`, `stp` and their kin.
fn is_pair(word: u32) -> bool {
    word & 0x3a00_0000 == 0x2800_0000
}

fn is_load(word: u32) -> bool {
    if is_pair(word) {
        return word & (1 << 22) != 0;
    }
    // literal loads; opc of the single-register forms
    word & 0x3b00_0000 == 0x1800_0000
        || word & 0x3a00_0000 == 0x3800_0000 && field(word, 22, 2) & 1 != 0
        || word & 0x3a00_0000 == 0x3800_0000 && field(word, 22, 2) == 2 && !is_vector(word)
        // exclusive and ordered
        || word & 0x3f00_0000 == 0x0800_0000 && word & (1 << 22) != 0
}

fn lost(word: u32) -> u32 {
    let bit = |number: u32| if number == ZERO { 0 } else { 1u32 << number };
    let is_compute = word & 0x1c00_0000 == 0x1000_0000 || word & 0x0e00_0000 == 0x0a00_0000;
    if !is_memory(word) {
        // fmov, fcvt and umov write a general purpose register as well; system reads do
        let from_vector = word & 0x0e00_0000 == 0x0e00_0000;
        let from_system = word & 0xfff0_0000 == 0xd530_0000;
        let writes = is_compute || from_vector || from_system;
        // Logical immediate and extended-register forms may write the stack pointer.
        let to_stack = word & 0x1f80_0000 == 0x1200_0000 || word & 0x1fe0_0000 == 0x0b20_0000;
        let number = field(word, 0, 5);
        let register = if to_stack { 1 << number } else { bit(number) };
        return if writes { register } else { 0 };
    }
    let mut mask = 0;
    if is_load(word) && !is_vector(word) {
        mask |= bit(field(word, 0, 5));
        if is_pair(word) {
            mask |= bit(field(word, 10, 5));
        }
    }
    // stxr and the compare-and-swap family write their status or old value
    if word & 0x3f00_0000 == 0x0800_0000 || word & 0x3b20_0c00 == 0x3820_0000 {
        mask |= bit(field(word, 16, 5)) | bit(field(word, 0, 5));
    }
    if writes_back(word) {
        mask |= 1 << field(word, 5, 5);
    }
    mask
}

/// Pre- and post-indexed forms change the base register.
fn writes_back(word: u32) -> bool {
    if is_pair(word) {
        return field(word, 23, 1) == 1 && field(word, 24, 1) == 0 || field(word, 23, 2) == 3;
    }
    word & 0x3b20_0000 == 0x3800_0000 && field(word, 10, 1) == 1
}

fn access(word: u32) -> Option<Access> {
    let base = reg(field(word, 5, 5));
    let store = !is_load(word);
    let number = field(word, 0, 5);
    let register = (!is_vector(word) && number != ZERO && word >> 31 == 1).then(|| reg(number));
    // unsigned offset
    if word & 0x3b00_0000 == 0x3900_0000 {
        let scale = if is_vector(word) && word & (1 << 23) != 0 {
            4
        } else {
            word >> 30
        };
        return Some(Access {
            base,
            offset: i64::from(field(word, 10, 12)) << scale,
            size: 1 << scale,
            store,
            register,
        });
    }
    // unscaled, pre- and post-indexed
    if word & 0x3b20_0000 == 0x3800_0000 {
        let post = field(word, 10, 2) == 1;
        return Some(Access {
            base,
            offset: if post { 0 } else { signed(word, 12, 9) },
            size: if is_vector(word) && word & (1 << 23) != 0 {
                16
            } else {
                1 << (word >> 30)
            },
            store,
            register,
        });
    }
    if is_pair(word) {
        let post = field(word, 23, 2) == 1;
        return Some(Access {
            base,
            offset: if post {
                0
            } else {
                signed(word, 15, 7) << pair_scale(word)
            },
            size: 2 << pair_scale(word),
            store,
            register: None,
        });
    }
    None
}
