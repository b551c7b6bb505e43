//! x86-64: the instructions with which compilers fill tables. All others lose what they write.

use iced_x86::{
    Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, UsedMemory,
};

use super::{LANES, State, Word};
use crate::image::insn::x86::instruction;
use crate::image::{Image, VirtAddr};

/// Most bytes that `rep stos` fills here.
const FILL_MAX: u64 = 1024;

const RAX: usize = 0;
const RCX: usize = 1;
const RSP: usize = 4;
const RBP: usize = 5;
const RDI: usize = 7;

type Vector = [Word; LANES];

pub(super) fn step(state: &mut State<'_, '_, '_>, image: &Image<'_>, at: VirtAddr) -> Option<()> {
    let insn = instruction(image.code_at(at)?, at)?;
    let done = if is_vector(&insn) {
        vector(state, &insn)
    } else {
        general(state, &insn)
    };
    if done.is_none() {
        lose(state, &insn);
    }
    Some(())
}

fn number(register: Register) -> usize {
    register.number()
}

fn is_vector(insn: &Instruction) -> bool {
    (0..insn.op_count())
        .any(|n| insn.op_kind(n) == OpKind::Register && lanes(insn.op_register(n)) > 0)
}

/// Words of a vector register that are followed; 0 for others.
fn lanes(register: Register) -> usize {
    match register {
        _ if register.is_xmm() => 2,
        _ if register.is_ymm() => 4,
        _ => 0,
    }
}

/// The address of the memory operand.
fn place(state: &State<'_, '_, '_>, insn: &Instruction) -> Word {
    if matches!(insn.segment_prefix(), Register::FS | Register::GS) {
        return Word::Unknown;
    }
    if insn.is_ip_rel_memory_operand() {
        return Word::number(insn.ip_rel_memory_address());
    }
    let base = match insn.memory_base() {
        Register::None => Word::ZERO,
        base if base.is_gpr64() => state.get(number(base)),
        _ => return Word::Unknown,
    };
    let index = match insn.memory_index() {
        Register::None => Some(0),
        index if index.is_gpr64() => state.get(number(index)).constant(),
        _ => None,
    };
    let Some(index) = index else {
        return Word::Unknown;
    };
    let scaled = index.wrapping_mul(u64::from(insn.memory_index_scale()));
    let distance = scaled.wrapping_add(insn.memory_displacement64());
    base.add(distance.cast_signed())
}

fn size(insn: &Instruction, operand: u32) -> usize {
    match insn.op_kind(operand) {
        OpKind::Register => insn.op_register(operand).size(),
        _ => insn.memory_size().size(),
    }
}

fn read(state: &State<'_, '_, '_>, insn: &Instruction, operand: u32) -> Word {
    match insn.op_kind(operand) {
        OpKind::Register => {
            let register = insn.op_register(operand);
            if !register.is_gpr() || is_high(register) {
                return Word::Unknown;
            }
            let full = register.full_register();
            state.get(number(full)).lowest(register.size())
        }
        OpKind::Memory => match size(insn, operand) {
            bytes @ (1 | 2 | 4 | 8) => state.load(place(state, insn), bytes),
            _ => Word::Unknown,
        },
        _ => insn
            .try_immediate(operand)
            .map_or(Word::Unknown, Word::number),
    }
}

/// `ah` and its kin.
fn is_high(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    )
}

/// Writes the first operand.
fn write(state: &mut State<'_, '_, '_>, insn: &Instruction, word: Word) -> Option<()> {
    let bytes = size(insn, 0);
    if insn.op0_kind() == OpKind::Memory {
        let place = place(state, insn);
        state.memory.write(place, word.lowest(bytes), bytes);
        return Some(());
    }
    let register = insn.op0_register();
    if !register.is_gpr() || is_high(register) {
        return None;
    }
    let full = number(register.full_register());
    let word = match bytes {
        8 => word,
        4 => word.lowest(4),
        // The rest of the register stays.
        _ => {
            let mask = (1u64 << (8 * bytes)) - 1;
            let old = state.get(full).constant()? & !mask;
            Word::number(old | word.constant()? & mask)
        }
    };
    state.set(full, word);
    Some(())
}

fn general(state: &mut State<'_, '_, '_>, insn: &Instruction) -> Option<()> {
    let is_same = insn.op0_kind() == OpKind::Register
        && insn.op1_kind() == OpKind::Register
        && insn.op0_register() == insn.op1_register();
    match insn.mnemonic() {
        Mnemonic::Mov => {
            let word = read(state, insn, 1);
            write(state, insn, word)
        }
        // Narrower memory and registers come zero-extended.
        Mnemonic::Movzx => {
            let word = read(state, insn, 1);
            write(state, insn, word)
        }
        Mnemonic::Lea => {
            let word = place(state, insn);
            write(state, insn, word)
        }
        Mnemonic::Xor | Mnemonic::Sub if is_same => write(state, insn, Word::ZERO),
        Mnemonic::Add | Mnemonic::Sub | Mnemonic::Or | Mnemonic::And => arithmetic(state, insn),
        Mnemonic::Push => {
            let word = read(state, insn, 0);
            let top = state.get(RSP).add(-8);
            state.set(RSP, top);
            state.memory.write(top, word, 8);
            Some(())
        }
        Mnemonic::Pop => {
            let top = state.get(RSP);
            let word = state.load(top, 8);
            state.set(RSP, top.add(8));
            write(state, insn, word)
        }
        Mnemonic::Leave => {
            let top = state.get(RBP);
            let word = state.load(top, 8);
            state.set(RSP, top.add(8));
            state.set(RBP, word);
            Some(())
        }
        Mnemonic::Stosb | Mnemonic::Stosd | Mnemonic::Stosq => fill(state, insn),
        _ => None,
    }
}

fn arithmetic(state: &mut State<'_, '_, '_>, insn: &Instruction) -> Option<()> {
    let (left, right) = (read(state, insn, 0), read(state, insn, 1).constant()?);
    let both = |merged: fn(u64, u64) -> u64| {
        let left = left.constant()?;
        Some(Word::number(merged(left, right)))
    };
    let word = match insn.mnemonic() {
        Mnemonic::Add => left.add(right.cast_signed()),
        Mnemonic::Sub => left.add(right.cast_signed().wrapping_neg()),
        // `or r, -1` sets all bits, whatever was there.
        Mnemonic::Or if right == u64::MAX => Word::number(right),
        Mnemonic::Or => both(|left, right| left | right)?,
        _ => both(|left, right| left & right)?,
    };
    write(state, insn, word)
}

/// `rep stos` with the usual direction.
fn fill(state: &mut State<'_, '_, '_>, insn: &Instruction) -> Option<()> {
    let unit = insn.memory_size().size() as u64;
    let count = match insn.has_rep_prefix() {
        true => state.get(RCX).constant()?,
        false => 1,
    };
    let total = count.checked_mul(unit).filter(|total| *total <= FILL_MAX)?;
    let (start, word) = (state.get(RDI), state.get(RAX).lowest(unit as usize));
    for n in 0..count {
        let place = start.add((n * unit).cast_signed());
        state.memory.write(place, word, unit as usize);
    }
    state.set(RDI, start.add(total.cast_signed()));
    if insn.has_rep_prefix() {
        state.set(RCX, Word::ZERO);
    }
    Some(())
}

/// A vector operand as a whole.
fn read_vector(state: &State<'_, '_, '_>, insn: &Instruction, operand: u32) -> Vector {
    match insn.op_kind(operand) {
        OpKind::Register if lanes(insn.op_register(operand)) > 0 => {
            let register = number(insn.op_register(operand));
            std::array::from_fn(|n| state.lane(register, n))
        }
        OpKind::Register => [
            read(state, insn, operand),
            Word::ZERO,
            Word::ZERO,
            Word::ZERO,
        ],
        OpKind::Memory => {
            let (place, bytes) = (place(state, insn), insn.memory_size().size());
            std::array::from_fn(|n| match bytes.saturating_sub(8 * n) {
                0 => Word::ZERO,
                left => state.load(place.add(8 * n as i64), left.min(8)),
            })
        }
        _ => [Word::Unknown; LANES],
    }
}

fn write_vector(state: &mut State<'_, '_, '_>, insn: &Instruction, words: Vector) -> Option<()> {
    match insn.op0_kind() {
        OpKind::Memory => {
            let (place, bytes) = (place(state, insn), insn.memory_size().size());
            if bytes > 8 * LANES {
                return None;
            }
            for (n, word) in words.iter().enumerate() {
                let left = bytes.saturating_sub(8 * n).min(8);
                let place = place.add(8 * n as i64);
                state.memory.write(place, word.lowest(left), left);
            }
        }
        OpKind::Register if lanes(insn.op0_register()) > 0 => {
            let register = number(insn.op0_register());
            let [a, b, c, d] = words;
            let (old_c, old_d) = (state.lane(register, 2), state.lane(register, 3));
            // The old forms leave the upper half alone, the new ones clear it.
            let upper = match lanes(insn.op0_register()) {
                4 => [c, d],
                _ if is_new_form(insn) => [Word::ZERO; 2],
                _ => [old_c, old_d],
            };
            state.set_vector(register, [a, b, upper[0], upper[1]]);
        }
        OpKind::Register => {
            let [low, ..] = words;
            return write(state, insn, low);
        }
        _ => return None,
    }
    Some(())
}

fn is_new_form(insn: &Instruction) -> bool {
    insn.encoding() != iced_x86::EncodingKind::Legacy
}

fn vector(state: &mut State<'_, '_, '_>, insn: &Instruction) -> Option<()> {
    // The operand that the old two-operand forms leave out.
    let three = insn.op_count() >= 3 && is_new_form(insn);
    let (left, right) = if three { (1, 2) } else { (0, 1) };
    let pair = |state: &State<'_, '_, '_>| {
        let (left, right) = (
            read_vector(state, insn, left),
            read_vector(state, insn, right),
        );
        (left, right)
    };
    let low = |low: Word, high: Word| [low, high, Word::Unknown, Word::Unknown];
    match insn.mnemonic() {
        Mnemonic::Movq | Mnemonic::Vmovq | Mnemonic::Movd | Mnemonic::Vmovd => {
            let [word, ..] = read_vector(state, insn, 1);
            let narrow = matches!(insn.mnemonic(), Mnemonic::Movd | Mnemonic::Vmovd);
            let word = if narrow { word.lowest(4) } else { word };
            write_vector(state, insn, [word, Word::ZERO, Word::ZERO, Word::ZERO])
        }
        Mnemonic::Movaps
        | Mnemonic::Movups
        | Mnemonic::Movapd
        | Mnemonic::Movupd
        | Mnemonic::Movdqa
        | Mnemonic::Movdqu
        | Mnemonic::Vmovaps
        | Mnemonic::Vmovups
        | Mnemonic::Vmovapd
        | Mnemonic::Vmovupd
        | Mnemonic::Vmovdqa
        | Mnemonic::Vmovdqu => {
            let words = read_vector(state, insn, 1);
            write_vector(state, insn, words)
        }
        Mnemonic::Pxor
        | Mnemonic::Xorps
        | Mnemonic::Xorpd
        | Mnemonic::Vpxor
        | Mnemonic::Vxorps
        | Mnemonic::Vxorpd => {
            let is_register =
                insn.op_kind(left) == OpKind::Register && insn.op_kind(right) == OpKind::Register;
            let is_same = is_register && insn.op_register(left) == insn.op_register(right);
            is_same.then_some(())?;
            write_vector(state, insn, [Word::ZERO; LANES])
        }
        Mnemonic::Punpcklqdq
        | Mnemonic::Movlhps
        | Mnemonic::Unpcklpd
        | Mnemonic::Vpunpcklqdq
        | Mnemonic::Vmovlhps
        | Mnemonic::Vunpcklpd
            if lanes(insn.op0_register()) == 2 =>
        {
            let ([a, ..], [b, ..]) = pair(state);
            write_vector(state, insn, low(a, b))
        }
        Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Vmovhps | Mnemonic::Vmovhpd => {
            if insn.op0_kind() == OpKind::Memory {
                let [_, high, ..] = read_vector(state, insn, 1);
                return write_vector(state, insn, [high; LANES]);
            }
            let ([a, ..], [b, ..]) = pair(state);
            write_vector(state, insn, low(a, b))
        }
        Mnemonic::Movlps | Mnemonic::Movlpd | Mnemonic::Vmovlps | Mnemonic::Vmovlpd => {
            if insn.op0_kind() == OpKind::Memory {
                let words = read_vector(state, insn, 1);
                return write_vector(state, insn, words);
            }
            let ([_, high, ..], [a, ..]) = pair(state);
            write_vector(state, insn, low(a, high))
        }
        Mnemonic::Pinsrq | Mnemonic::Vpinsrq => {
            let ([a, b, ..], [word, ..]) = pair(state);
            let lane = insn.try_immediate(insn.op_count() - 1).ok()?;
            let words = if lane & 1 == 0 {
                low(word, b)
            } else {
                low(a, word)
            };
            write_vector(state, insn, words)
        }
        Mnemonic::Vinsertf128 | Mnemonic::Vinserti128 => {
            let ([a, b, c, d], [x, y, ..]) = pair(state);
            let half = insn.try_immediate(3).ok()?;
            let words = if half & 1 == 0 {
                [x, y, c, d]
            } else {
                [a, b, x, y]
            };
            write_vector(state, insn, words)
        }
        _ => None,
    }
}

/// All that the instruction writes is not known any more.
fn lose(state: &mut State<'_, '_, '_>, insn: &Instruction) {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(insn);
    let writes = |access: OpAccess| !matches!(access, OpAccess::Read | OpAccess::CondRead);
    let written = info
        .used_memory()
        .iter()
        .any(|used: &UsedMemory| writes(used.access()));
    if written {
        let place = place(state, insn);
        state
            .memory
            .forget(place, insn.memory_size().size().min(64));
    }
    for used in info
        .used_registers()
        .iter()
        .filter(|used| writes(used.access()))
    {
        let register = used.register();
        if register.is_gpr() {
            state.set(number(register.full_register()), Word::Unknown);
        } else if register.is_vector_register() {
            state.set_vector(number(register), [Word::Unknown; LANES]);
        }
    }
}
