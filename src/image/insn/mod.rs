//! One instruction at a time, reduced to what analysis asks: where control goes next, and what is known
//! of registers afterwards. x86-64 and aarch64 behind one small interface; other processors are refused.
//!
//! Decoding says what an instruction does, never whether the bytes are code: that is shown by how one
//! got there.

mod a64;
mod touch;
pub(super) mod x86;

use super::{Arch, Image, VirtAddr};

pub use touch::{Moved, Store, Target, Touch};

/// Registers that can hold a value of interest: general purpose ones and the stack pointer.
pub const REGISTERS: usize = 32;

/// A general purpose register by its number in the instruction set: `rax` 0 … `r15` 15, `x0` 0 … `x30` 30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(u8);

impl Reg {
    /// Index into an array of [`REGISTERS`] values.
    pub fn index(self) -> usize {
        usize::from(self.0) % REGISTERS
    }
}

/// Where control goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On to the next one.
    Next,
    /// To one place.
    Jump(VirtAddr),
    /// To one place or the next instruction.
    Branch(VirtAddr),
    /// A call of a known place, and back.
    Call(VirtAddr),
    /// A call through a register or memory, and back.
    CallIndirect,
    /// Anywhere: a jump table, or a tail call through a pointer.
    JumpIndirect,
    /// Back to the caller.
    Return,
    /// Nowhere: a trap that compilers put where control must not come.
    Stop,
}

/// What happens to registers and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A constant or an address.
    Set(Reg, u64),
    /// `narrow` keeps the lower 32 bits only.
    Copy {
        /// To.
        dst: Reg,
        /// From.
        src: Reg,
        /// 32-bit form.
        narrow: bool,
    },
    /// `dst = src + value`
    Add {
        /// To.
        dst: Reg,
        /// From.
        src: Reg,
        /// May be negative.
        value: i64,
    },
    /// `movk`: 16 bits at `shift` are replaced.
    Insert {
        /// Which register.
        reg: Reg,
        /// Bit number of the lowest replaced bit.
        shift: u8,
        /// The new bits.
        value: u16,
    },
    /// On the stack: a constant, or what [`Access::register`] holds.
    Push(Option<u64>),
    /// From the stack.
    Pop(Reg),
    /// The set registers change to what is not known here.
    Lose(u32),
}

/// An access to memory relative to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The register with the address.
    pub base: Reg,
    /// Added to it, bytes.
    pub offset: i64,
    /// Bytes read or written.
    pub size: u8,
    /// Writes; otherwise reads.
    pub store: bool,
    /// The general purpose register that is moved as it is, if it is one alone.
    pub register: Option<Reg>,
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Insn {
    /// Where it stands.
    pub addr: VirtAddr,
    /// Its bytes.
    pub len: u8,
    /// Where control goes.
    pub flow: Flow,
    /// What becomes of registers.
    pub effect: Effect,
    /// The memory it touches, if that is relative to a register.
    pub access: Option<Access>,
}

impl Insn {
    /// Address of the one that follows in memory.
    pub fn end(&self) -> VirtAddr {
        VirtAddr(self.addr.0.saturating_add(u64::from(self.len)))
    }
}

/// Decodes the instructions of one image.
#[derive(Clone, Copy)]
pub struct Decoder<'a> {
    image: &'a Image<'a>,
    is_x86: bool,
}

impl<'a> Decoder<'a> {
    /// `None`: not an instruction set that is known here.
    pub fn new(image: &'a Image<'a>) -> Option<Self> {
        let little = image.endian == crate::bytes::Endian::Little;
        let is_x86 = match image.arch {
            Arch::X86_64 => true,
            Arch::Aarch64 => false,
            _ => return None,
        };
        (image.is_64 && little).then_some(Self { image, is_x86 })
    }

    /// Whether this is x86-64; otherwise it is aarch64.
    pub fn is_x86(&self) -> bool {
        self.is_x86
    }

    /// The instruction at `addr`. `None`: no code there, or not a valid instruction.
    pub fn decode(&self, addr: VirtAddr) -> Option<Insn> {
        let code = self.image.code_at(addr)?;
        if self.is_x86 {
            x86::decode(code, addr)
        } else {
            a64::decode(code, addr)
        }
    }

    /// Registers of the first six arguments of a C function (System V psABI, AAPCS64).
    pub fn argument(&self, n: usize) -> Option<Reg> {
        const X86: [u8; 6] = [7, 6, 2, 1, 8, 9];
        let number = if self.is_x86 {
            *X86.get(n)?
        } else {
            u8::try_from(n).ok().filter(|n| *n < 8)?
        };
        Some(Reg(number))
    }

    /// The bytes of instructions that compilers use to hand a small number over as argument `n`.
    pub fn loads_of(&self, n: usize, value: u32) -> Vec<Vec<u8>> {
        let Some(register) = self.argument(n) else {
            return Vec::new();
        };
        if self.is_x86 {
            x86::loads_of(register, value)
        } else {
            a64::loads_of(register, value)
        }
    }

    /// Where a C function puts its result.
    pub fn result(&self) -> Reg {
        Reg(0)
    }

    /// The stack pointer.
    pub fn stack_pointer(&self) -> Reg {
        Reg(if self.is_x86 { 4 } else { 31 })
    }

    /// What people call a general purpose register.
    pub fn name(&self, number: usize) -> String {
        const X86: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        match X86.get(number) {
            Some(name) if self.is_x86 => (*name).to_owned(),
            _ => format!("x{number}"),
        }
    }

    /// Registers that a call does not keep, as a set of bits.
    pub fn lost_in_calls(&self) -> u32 {
        if self.is_x86 {
            // rax rcx rdx rsi rdi r8-r11
            1 | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7 | 0xf << 8
        } else {
            // x0-x18 and the link register
            0x7_ffff | 1 << 30
        }
    }

    /// Whether compilers put this between functions, or after a call that does not return: `int3`,
    /// `ud2`, `udf`, `brk`.
    pub fn is_trap(&self, addr: VirtAddr) -> bool {
        self.decode(addr)
            .is_some_and(|insn| insn.flow == Flow::Stop)
    }

    /// Whether a run of traps ends at `addr`, as linkers and compilers fill the room between functions.
    pub fn is_padding(&self, addr: VirtAddr) -> bool {
        let step = if self.is_x86 { 1 } else { 4 };
        [step, 2 * step].iter().all(|back| {
            let before = addr.0.checked_sub(*back).map(VirtAddr);
            before.is_some_and(|before| self.is_padding_trap(before))
        })
    }

    /// Whether this is a trap that is used as padding or stands where control must not come: `int3`, `ud2`,
    /// `udf`, `brk`. Others are instructions like any.
    pub fn is_padding_trap(&self, addr: VirtAddr) -> bool {
        let code = self.image.code_at(addr).unwrap_or_default();
        if self.is_x86 {
            matches!(code, [0xcc, ..] | [0x0f, 0x0b, ..])
        } else {
            self.is_trap(addr)
        }
    }

    /// Whether functions begin like this and little else does: room on the stack, saved registers, a
    /// landing pad.
    pub fn is_prologue(&self, addr: VirtAddr) -> bool {
        self.image.code_at(addr).is_some_and(|code| {
            if self.is_x86 {
                x86::is_prologue(code, addr)
            } else {
                a64::is_prologue(code)
            }
        })
    }

    /// Whether an instruction that does nothing stands here, as fills the room between functions.
    pub fn is_filler(&self, addr: VirtAddr) -> bool {
        self.image.code_at(addr).is_some_and(|code| {
            if self.is_x86 {
                x86::is_nop(code, addr)
            } else {
                code.starts_with(&a64::NOP)
            }
        })
    }
}
