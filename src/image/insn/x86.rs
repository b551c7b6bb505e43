//! x86-64, decoded by iced-x86.

use iced_x86::{
    Code, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, InstructionInfoOptions,
    Mnemonic, OpAccess, OpKind, Register,
};

use super::{Access, Effect, Flow, Insn, Reg};
use crate::image::VirtAddr;

/// Longest instruction the processor takes.
const INSN_MAX: usize = 15;

pub(in crate::image) fn instruction(code: &[u8], addr: VirtAddr) -> Option<Instruction> {
    let code = code.get(..code.len().min(INSN_MAX))?;
    let mut decoder = iced_x86::Decoder::with_ip(64, code, addr.0, DecoderOptions::NONE);
    let insn = decoder.decode();
    (!insn.is_invalid()).then_some(insn)
}

pub(super) fn is_nop(code: &[u8], addr: VirtAddr) -> bool {
    // `xchg ax, ax` and `data16 nop` are nops to the decoder as well.
    instruction(code, addr).is_some_and(|insn| insn.mnemonic() == Mnemonic::Nop)
}

pub(super) fn is_prologue(code: &[u8], addr: VirtAddr) -> bool {
    instruction(code, addr).is_some_and(|insn| match insn.mnemonic() {
        Mnemonic::Endbr64 => true,
        Mnemonic::Push => insn.op0_kind() == OpKind::Register,
        Mnemonic::Sub => insn.op0_register() == Register::RSP && insn.try_immediate(1).is_ok(),
        _ => false,
    })
}

/// `mov r32, imm32`, and `push imm8; pop r64` where size matters.
pub(super) fn loads_of(register: Reg, value: u32) -> Vec<Vec<u8>> {
    let Some(number) = u8::try_from(register.index()).ok().filter(|n| *n < 8) else {
        return Vec::new();
    };
    let mut mov = vec![0xb8 + number];
    mov.extend(value.to_le_bytes());
    let short = u8::try_from(value).ok().filter(|value| *value < 0x80);
    let pushed = short.map(|value| vec![0x6a, value, 0x58 + number]);
    [mov].into_iter().chain(pushed).collect()
}

pub(super) fn decode(code: &[u8], addr: VirtAddr) -> Option<Insn> {
    let insn = instruction(code, addr)?;
    Some(Insn {
        addr,
        len: insn.len() as u8,
        flow: flow(&insn)?,
        effect: effect(&insn),
        access: access(&insn),
    })
}

fn flow(insn: &Instruction) -> Option<Flow> {
    let target = || {
        let is_near = insn.op0_kind() == OpKind::NearBranch64;
        is_near.then(|| VirtAddr(insn.near_branch_target()))
    };
    Some(match insn.flow_control() {
        FlowControl::Next => match insn.mnemonic() {
            Mnemonic::Hlt => Flow::Stop,
            _ => Flow::Next,
        },
        FlowControl::UnconditionalBranch => Flow::Jump(target()?),
        FlowControl::ConditionalBranch => Flow::Branch(target()?),
        FlowControl::Call => match insn.mnemonic() {
            // A system call is one instruction like others.
            Mnemonic::Syscall => Flow::Next,
            _ => Flow::Call(target()?),
        },
        FlowControl::IndirectCall => Flow::CallIndirect,
        FlowControl::IndirectBranch => Flow::JumpIndirect,
        FlowControl::Return => Flow::Return,
        FlowControl::Interrupt | FlowControl::Exception => Flow::Stop,
        FlowControl::XbeginXabortXend => Flow::Next,
    })
}

pub(super) fn reg(register: Register) -> Option<Reg> {
    let full = register.full_register();
    full.is_gpr64().then(|| Reg(full.number() as u8))
}

/// A register as it is written as a whole: a write to 8 or 16 bits keeps the rest.
fn written(register: Register) -> Option<Reg> {
    (register.is_gpr64() || register.is_gpr32())
        .then(|| reg(register))
        .flatten()
}

fn immediate(insn: &Instruction, operand: u32) -> Option<u64> {
    insn.try_immediate(operand).ok()
}

fn effect(insn: &Instruction) -> Effect {
    known_effect(insn).unwrap_or_else(|| Effect::Lose(lost(insn)))
}

fn known_effect(insn: &Instruction) -> Option<Effect> {
    match insn.mnemonic() {
        Mnemonic::Mov => moved(insn),
        Mnemonic::Lea => lea(insn),
        Mnemonic::Xor | Mnemonic::Sub
            if insn.op0_register() == insn.op1_register()
                && insn.op1_kind() == OpKind::Register
                && insn.op0_kind() == OpKind::Register =>
        {
            Some(Effect::Set(written(insn.op0_register())?, 0))
        }
        Mnemonic::Add | Mnemonic::Sub => {
            let dst = written(insn.op0_register()).filter(|_| insn.op0_register().is_gpr64())?;
            let value = immediate(insn, 1)? as i64;
            let value = if insn.mnemonic() == Mnemonic::Sub {
                value.checked_neg()?
            } else {
                value
            };
            Some(Effect::Add {
                dst,
                src: dst,
                value,
            })
        }
        Mnemonic::Or if immediate(insn, 1)? == u64::MAX || immediate(insn, 1)? == 0xffff_ffff => {
            let dst = written(insn.op0_register())?;
            let wide = insn.op0_register().is_gpr64();
            Some(Effect::Set(dst, if wide { u64::MAX } else { 0xffff_ffff }))
        }
        Mnemonic::Push => match insn.op0_kind() {
            OpKind::Register | OpKind::Memory => Some(Effect::Push(None)),
            _ => Some(Effect::Push(immediate(insn, 0))),
        },
        Mnemonic::Pop => Some(Effect::Pop(written(insn.op0_register())?)),
        _ => None,
    }
}

fn moved(insn: &Instruction) -> Option<Effect> {
    let register = insn.op0_register();
    let dst = written(register).filter(|_| insn.op0_kind() == OpKind::Register)?;
    let narrow = register.is_gpr32();
    if insn.op1_kind() == OpKind::Register {
        return Some(Effect::Copy {
            dst,
            src: reg(insn.op1_register())?,
            narrow,
        });
    }
    let value = immediate(insn, 1)?;
    Some(Effect::Set(
        dst,
        if narrow { value & 0xffff_ffff } else { value },
    ))
}

fn lea(insn: &Instruction) -> Option<Effect> {
    let dst = written(insn.op0_register())?;
    if insn.is_ip_rel_memory_operand() {
        return Some(Effect::Set(dst, insn.ip_rel_memory_address()));
    }
    if insn.memory_index() != Register::None || !insn.op0_register().is_gpr64() {
        return None;
    }
    if insn.memory_base() == Register::None {
        return Some(Effect::Set(dst, insn.memory_displacement64()));
    }
    Some(Effect::Add {
        dst,
        src: reg(insn.memory_base())?,
        value: insn.memory_displacement64() as i64,
    })
}

/// All registers that the instruction writes, in whole or in part.
fn lost(insn: &Instruction) -> u32 {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info_options(insn, InstructionInfoOptions::NO_MEMORY_USAGE);
    info.used_registers()
        .iter()
        .filter(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead))
        .filter_map(|used| reg(used.register()))
        .fold(0, |mask, reg| mask | 1 << reg.index())
}

fn access(insn: &Instruction) -> Option<Access> {
    if insn.mnemonic() == Mnemonic::Push {
        return Some(Access {
            base: Reg(Register::RSP.number() as u8),
            offset: -8,
            size: 8,
            store: true,
            register: (insn.op0_kind() == OpKind::Register)
                .then(|| reg(insn.op0_register()))
                .flatten(),
        });
    }
    let memory = (0..insn.op_count()).find(|n| insn.op_kind(*n) == OpKind::Memory)?;
    if insn.memory_index() != Register::None || insn.code() == Code::Nop_rm32 {
        return None;
    }
    let base = insn.memory_base();
    let plain = base.is_gpr64() && insn.segment_prefix() == Register::None;
    if !plain || matches!(insn.mnemonic(), Mnemonic::Lea | Mnemonic::Nop) {
        return None;
    }
    Some(Access {
        base: reg(base)?,
        offset: insn.memory_displacement64() as i64,
        // Of what `fxsave` and its kin write, no size is told: it is a lot.
        size: match insn.memory_size().size() {
            0 => u8::MAX,
            size => u8::try_from(size).unwrap_or(u8::MAX),
        },
        store: memory == 0 && writes_memory(insn),
        register: moved_register(insn, 1 - memory.min(1)),
    })
}

/// The other operand of a `mov` between memory and a register.
fn moved_register(insn: &Instruction, operand: u32) -> Option<Reg> {
    let is_mov = insn.mnemonic() == Mnemonic::Mov && insn.op_kind(operand) == OpKind::Register;
    is_mov.then(|| written(insn.op_register(operand))).flatten()
}

/// Whether the first operand, a place in memory, is written rather than only looked at.
fn writes_memory(insn: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    matches!(
        factory.info(insn).op0_access(),
        OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
    )
}
