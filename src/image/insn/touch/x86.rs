//! x86-64, by what iced-x86 knows of each instruction.

use iced_x86::{
    FlowControl, Instruction, InstructionInfo, InstructionInfoFactory, MemorySizeInfo, Mnemonic,
    OpAccess, OpKind, Register, UsedMemory,
};

use super::{Moved, Reg, Store, Target, Touch};
use crate::image::VirtAddr;
use crate::image::insn::x86::{instruction, reg};

const RBP: Reg = Reg(5);
const RSP: Reg = Reg(4);

pub(super) fn touch(code: &[u8], addr: VirtAddr) -> Option<Touch> {
    let insn = instruction(code, addr)?;
    // The kernel writes what it likes; an aborted transaction goes on elsewhere.
    let is_odd = matches!(
        insn.mnemonic(),
        Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Enter
    ) || insn.flow_control() == FlowControl::XbeginXabortXend;
    if is_odd {
        return Some(Touch::UNKNOWN);
    }
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&insn);
    Some(Touch {
        written: written(info),
        moved: moved(&insn),
        store: match insn.has_rep_prefix() || insn.has_repne_prefix() {
            true if !matches!(store(info), Store::None) => Store::Anywhere,
            _ => store(info),
        },
        target: target(&insn),
    })
}

fn target(insn: &Instruction) -> Target {
    // `notrack` is what compilers mark jumps through tables with.
    if insn.flow_control() != FlowControl::IndirectBranch || insn.segment_prefix() == Register::DS {
        return Target::Unknown;
    }
    match insn.op0_kind() {
        OpKind::Memory if insn.memory_index() == Register::None => Target::Pointer,
        OpKind::Register => reg(insn.op0_register()).map_or(Target::Unknown, Target::Register),
        _ => Target::Unknown,
    }
}

fn may_write(access: OpAccess) -> bool {
    !matches!(
        access,
        OpAccess::None | OpAccess::NoMemAccess | OpAccess::Read | OpAccess::CondRead
    )
}

fn written(info: &InstructionInfo) -> u32 {
    let used = info.used_registers().iter();
    used.filter(|used| may_write(used.access()))
        .filter_map(|used| reg(used.register()))
        .fold(0, |mask, reg| mask | 1 << reg.index())
}

fn moved(insn: &Instruction) -> Option<Moved> {
    let wide = |register: Register| register.is_gpr64().then(|| reg(register)).flatten();
    if insn.mnemonic() == Mnemonic::Leave {
        return Some(Moved {
            dst: RSP,
            src: RBP,
            by: 8,
        });
    }
    if insn.is_stack_instruction() {
        let takes_stack = insn.mnemonic() == Mnemonic::Pop && insn.op0_register() == Register::RSP;
        let by = i64::from(insn.stack_pointer_increment());
        return (!takes_stack).then_some(Moved {
            dst: RSP,
            src: RSP,
            by,
        });
    }
    let dst = wide(insn.op0_register()).filter(|_| insn.op0_kind() == OpKind::Register)?;
    match insn.mnemonic() {
        Mnemonic::Mov if insn.op1_kind() == OpKind::Register => {
            let src = wide(insn.op1_register())?;
            Some(Moved { dst, src, by: 0 })
        }
        Mnemonic::Lea => {
            let is_plain = insn.memory_index() == Register::None;
            let src = wide(insn.memory_base()).filter(|_| is_plain)?;
            let by = insn.memory_displacement64().cast_signed();
            Some(Moved { dst, src, by })
        }
        Mnemonic::Add | Mnemonic::Sub => {
            let value = insn.try_immediate(1).ok()?.cast_signed();
            let by = match insn.mnemonic() {
                Mnemonic::Add => value,
                _ => value.checked_neg()?,
            };
            Some(Moved { dst, src: dst, by })
        }
        _ => None,
    }
}

fn store(info: &InstructionInfo) -> Store {
    let mut written = info
        .used_memory()
        .iter()
        .filter(|used| may_write(used.access()));
    match (written.next(), written.next()) {
        (None, _) => Store::None,
        (Some(only), None) => place(only).unwrap_or(Store::Anywhere),
        _ => Store::Anywhere,
    }
}

fn place(used: &UsedMemory) -> Option<Store> {
    let size = used.memory_size().info();
    let plain = used.index() == Register::None
        && used.base().is_gpr64()
        && !matches!(used.segment(), Register::FS | Register::GS)
        && size.size() > 0;
    plain.then_some(Store::At {
        base: reg(used.base())?,
        offset: used.displacement().cast_signed(),
        size: bytes(size),
    })
}

fn bytes(size: &MemorySizeInfo) -> u32 {
    u32::try_from(size.size()).unwrap_or(u32::MAX)
}
