//! The code of one Go function: where it returns, and by which convention it is called. Go's stacks
//! move, so a return address must never be replaced; probes go on the return instructions instead, and
//! these must be known exactly: a probe inside of an instruction crashes the program. Whatever is not
//! understood from the first to the last byte is refused.
//!
//! Source: Intel SDM and Arm ARM for the encodings; prologues: cmd/internal/obj/x86/obj6.go and
//! arm64/obj7.go of Go 1.15, 1.17 and 1.27 (`stacksplit`).

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl};

use crate::image::{Arch, Image, VirtAddr};

/// Larger than any function that moves data: `tls.(*Conn).Write` has 2 kB.
pub const SIZE_MAX: u64 = 64 << 10;

/// More returns than this is no code that we know.
const RETURNS_MAX: usize = 64;

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// `ABIInternal`.
    Registers,
    /// `ABI0`.
    Stack,
}

/// What is known of a function's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionCode {
    /// Its return instructions, in order.
    pub returns: Vec<VirtAddr>,
    /// By its first instructions.
    pub convention: Convention,
    /// What it calls directly.
    pub calls: BTreeSet<VirtAddr>,
    /// Bytes, without padding.
    pub size: u64,
}

/// Reads the function from `start` up to `end`, where the next one starts. The error says what is not
/// as Go makes it.
pub fn read(image: &Image<'_>, start: VirtAddr, end: VirtAddr) -> Result<FunctionCode, String> {
    let size = end.0.checked_sub(start.0).filter(|size| *size > 0);
    let size = size.ok_or_else(|| format!("it ends at {end}, before it starts"))?;
    if size > SIZE_MAX {
        return Err(format!("{size} bytes are too many for one function"));
    }
    if image.segments.code_offset(start).is_none() {
        return Err(format!("{start} is not in an executable segment"));
    }
    let code = usize::try_from(size)
        .ok()
        .and_then(|size| image.bytes_at(start)?.get(..size))
        .ok_or_else(|| format!("its {size} bytes are not in the file"))?;
    let found = match image.arch {
        Arch::X86_64 => x86(code, start)?,
        Arch::Aarch64 => aarch64(code, start)?,
        other => return Err(format!("{other} is not supported")),
    };
    match found.returns.len() {
        0 => Err("it never returns".to_owned()),
        1..=RETURNS_MAX => Ok(found),
        many => Err(format!("it returns at {many} places")),
    }
}

/// All addresses of instructions and of jumps, until everything is read.
#[derive(Default)]
struct Flow {
    starts: BTreeSet<u64>,
    jumps: Vec<(u64, u64)>,
    returns: Vec<VirtAddr>,
    calls: BTreeSet<VirtAddr>,
}

impl Flow {
    /// A jump that leaves the function, or ends inside of an instruction, is no jump of Go's.
    fn finish(self, convention: Convention, size: u64) -> Result<FunctionCode, String> {
        let bad = self.jumps.iter().find(|(_, to)| !self.starts.contains(to));
        match bad {
            Some((from, to)) => Err(format!("the jump at {from:#x} leads out of it, to {to:#x}")),
            None => Ok(FunctionCode {
                returns: self.returns,
                convention,
                calls: self.calls,
                size,
            }),
        }
    }
}

fn x86(code: &[u8], start: VirtAddr) -> Result<FunctionCode, String> {
    let convention = x86_convention(code)
        .ok_or("its first instructions are not those of Go (calling convention unknown)")?;
    let mut decoder = Decoder::with_ip(64, code, start.0, DecoderOptions::NONE);
    let mut flow = Flow::default();
    while decoder.can_decode() {
        let at = decoder.position();
        let instruction = decoder.decode();
        let ip = instruction.ip();
        // Go fills up with INT3 to the next function.
        if instruction.code() == Code::Int3 {
            let rest = code.get(at..).unwrap_or_default();
            if rest.iter().any(|byte| *byte != 0xcc) {
                return Err(format!("a breakpoint at {ip:#x}"));
            }
            return flow.finish(convention, at as u64);
        }
        flow.starts.insert(ip);
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::IndirectCall | FlowControl::Exception => {
                if instruction.is_invalid() {
                    return Err(format!("no instruction at {ip:#x}"));
                }
            }
            FlowControl::Call => {
                flow.calls
                    .insert(VirtAddr(instruction.near_branch_target()));
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                flow.jumps.push((ip, instruction.near_branch_target()));
            }
            FlowControl::Return if instruction.code() == Code::Retnq => {
                flow.returns.push(VirtAddr(ip));
            }
            other => return Err(format!("{other:?} at {ip:#x}")),
        }
    }
    flow.finish(convention, code.len() as u64)
}

/// By the check of the stack's bound, which every function that may need much stack starts with.
fn x86_convention(code: &[u8]) -> Option<Convention> {
    match code {
        // cmp rsp, [r14+16]
        [0x49, 0x3b, 0x66, 0x10, ..]
        // lea r12, [rsp-x]; cmp r12, [r14+16]
        | [0x4c, 0x8d, 0x64, 0x24, _, 0x4d, 0x3b, 0x66, 0x10, ..]
        | [0x4c, 0x8d, 0xa4, 0x24, _, _, _, _, 0x4d, 0x3b, 0x66, 0x10, ..] => {
            Some(Convention::Registers)
        }
        // mov rcx, fs:[-8]
        [0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, rest @ ..]
        // mov rcx, -8 or mov rcx, [rip+x]; mov rcx, fs:[rcx]: position-independent
        | [0x48, 0xc7, 0xc1, 0xf8, 0xff, 0xff, 0xff, 0x64, 0x48, 0x8b, 0x09, rest @ ..]
        | [0x48, 0x8b, 0x0d, _, _, _, _, 0x64, 0x48, 0x8b, 0x09, rest @ ..] => {
            is_stack_check(rest).then_some(Convention::Stack)
        }
        _ => None,
    }
}

fn is_stack_check(code: &[u8]) -> bool {
    matches!(
        code,
        // cmp rsp, [rcx+16]
        [0x48, 0x3b, 0x61, 0x10, ..]
        // lea rax, [rsp-x]; cmp rax, [rcx+16]
        | [0x48, 0x8d, 0x44, 0x24, _, 0x48, 0x3b, 0x41, 0x10, ..]
        | [0x48, 0x8d, 0x84, 0x24, _, _, _, _, 0x48, 0x3b, 0x41, 0x10, ..]
    )
}

fn aarch64(code: &[u8], start: VirtAddr) -> Result<FunctionCode, String> {
    let words: Vec<u32> = code
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    let convention = match words.first() {
        Some(0xf940_0b90) => Convention::Registers, // ldr x16, [x28, #16]
        Some(0xf940_0b81) => Convention::Stack,     // ldr x1, [x28, #16]
        _ => {
            return Err(
                "its first instruction is not that of Go (calling convention unknown)".into(),
            );
        }
    };
    // Go fills up with zeros to the next function.
    let used = words
        .iter()
        .rposition(|word| *word != 0)
        .map_or(0, |n| n + 1);
    let mut flow = Flow::default();
    for (n, word) in words.iter().take(used).enumerate() {
        let at = start.0 + n as u64 * 4;
        flow.starts.insert(at);
        match branch(*word, at) {
            Branch::None => {}
            Branch::Call(to) => {
                flow.calls.insert(VirtAddr(to));
            }
            Branch::Jump(to) => flow.jumps.push((at, to)),
            Branch::Return => flow.returns.push(VirtAddr(at)),
            Branch::Unknown => {
                return Err(format!("an instruction at {at:#x} that Go does not use"));
            }
        }
    }
    flow.finish(convention, used as u64 * 4)
}

enum Branch {
    Call(u64),
    Jump(u64),
    None,
    Return,
    Unknown,
}

/// Arm ARM, "Branches, Exception Generating and System instructions".
fn branch(word: u32, at: u64) -> Branch {
    let to = |bits: u32, shift: u32| {
        let offset = (i64::from(word) >> shift << (64 - bits)) >> (64 - bits);
        at.wrapping_add_signed(offset * 4)
    };
    match word {
        0 => Branch::Unknown,
        0xd65f_03c0 => Branch::Return,
        _ if word >> 26 == 0b000101 => Branch::Jump(to(26, 0)),
        _ if word >> 26 == 0b100101 => Branch::Call(to(26, 0)),
        _ if word >> 24 == 0b0101_0100 => Branch::Jump(to(19, 5)),
        _ if word & 0x7e00_0000 == 0x3400_0000 => Branch::Jump(to(19, 5)), // cbz, cbnz
        _ if word & 0x7e00_0000 == 0x3600_0000 => Branch::Jump(to(14, 5)), // tbz, tbnz
        _ if word & 0xffff_fc1f == 0xd63f_0000 => Branch::None,            // blr
        // Other branches to registers and returns.
        _ if word >> 25 == 0b1101011 => Branch::Unknown,
        _ => Branch::None,
    }
}
