//! The functions that are measured: machine code, one function for each form of instruction, as small as
//! it can be. Each may be called as a C function without arguments and changes nothing that matters.

use crate::discover::finding::Form;
use crate::image::Arch;

/// One function.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Which form it stands for.
    pub form: Form,
    /// The instruction under the probe, for people.
    pub text: &'static str,
    /// The function.
    pub code: &'static [u8],
    /// Where in it the instruction is.
    pub at: u64,
}

const fn sample(form: Form, text: &'static str, code: &'static [u8], at: u64) -> Sample {
    Sample {
        form,
        text,
        code,
        at,
    }
}

/// What [`Sample::text`] is where no kernel emulates it: what the others are held against.
pub const YARDSTICK: Form = Form::Move;

/// Where a return probe is measured: the cheapest instruction that functions really begin with.
pub fn first_instruction(arch: Arch) -> Form {
    match arch {
        Arch::Aarch64 => Form::Nop,
        _ => Form::Push,
    }
}

/// The functions for one instruction set; none if it is not known.
pub fn samples(arch: Arch) -> &'static [Sample] {
    match arch {
        Arch::Aarch64 => AARCH64,
        Arch::X86_64 => X86_64,
        _ => &[],
    }
}

const X86_64: &[Sample] = &[
    sample(Form::Move, "mov %rdi,%rax", b"\x48\x89\xf8\xc3", 0),
    sample(Form::Nop, "nop", b"\x90\xc3", 0),
    sample(
        Form::Nop5,
        "nopl 0x0(%rax,%rax,1)",
        b"\x0f\x1f\x44\x00\x00\xc3",
        0,
    ),
    sample(Form::Push, "push %rbx", b"\x53\x5b\xc3", 0),
    sample(Form::Push, "push %r12", b"\x41\x54\x41\x5c\xc3", 0),
    sample(Form::Call, "call rel32", b"\xe8\x01\x00\x00\x00\xc3\xc3", 0),
    sample(Form::Jump, "jmp rel8", b"\xeb\x00\xc3", 0),
    sample(Form::Jump, "jmp rel32", b"\xe9\x00\x00\x00\x00\xc3", 0),
    sample(Form::Branch, "je rel8, taken", b"\x39\xff\x74\x00\xc3", 2),
    sample(
        Form::Branch,
        "jne rel8, not taken",
        b"\x39\xff\x75\x00\xc3",
        2,
    ),
    sample(
        Form::Branch,
        "je rel32, taken",
        b"\x39\xff\x0f\x84\x00\x00\x00\x00\xc3",
        2,
    ),
    sample(
        Form::Branch,
        "jne rel32, not taken",
        b"\x39\xff\x0f\x85\x00\x00\x00\x00\xc3",
        2,
    ),
    sample(Form::Landing, "endbr64", b"\xf3\x0f\x1e\xfa\xc3", 0),
    sample(Form::Lea, "lea 0x8(%rdi),%rax", b"\x48\x8d\x47\x08\xc3", 0),
    sample(
        Form::Lea,
        "lea 0x0(%rip),%rax",
        b"\x48\x8d\x05\x00\x00\x00\x00\xc3",
        0,
    ),
    sample(Form::Pop, "pop %rbx", b"\x53\x5b\xc3", 1),
    sample(Form::Pop, "pop %r12", b"\x41\x54\x41\x5c\xc3", 2),
    sample(Form::Return, "ret", b"\xc3", 0),
    sample(
        Form::StackRoom,
        "sub $0x8,%rsp",
        b"\x48\x83\xec\x08\x48\x83\xc4\x08\xc3",
        0,
    ),
    sample(
        Form::StackRoom,
        "sub $0x88,%rsp",
        b"\x48\x81\xec\x88\x00\x00\x00\x48\x81\xc4\x88\x00\x00\x00\xc3",
        0,
    ),
    sample(Form::Other, "mov (%rsp),%rax", b"\x48\x8b\x04\x24\xc3", 0),
    sample(
        Form::Other,
        "mov 0x0(%rip),%eax",
        b"\x8b\x05\x00\x00\x00\x00\xc3\x90\x90\x90",
        0,
    ),
    sample(Form::Other, "test %edx,%edx", b"\x85\xd2\xc3", 0),
];

/// Little-endian words; `ret` is `d65f03c0`.
const AARCH64: &[Sample] = &[
    sample(
        Form::Move,
        "mov x9, x0",
        b"\xe9\x03\x00\xaa\xc0\x03\x5f\xd6",
        0,
    ),
    sample(Form::Nop, "nop", b"\x1f\x20\x03\xd5\xc0\x03\x5f\xd6", 0),
    sample(Form::Jump, "b", b"\x01\x00\x00\x14\xc0\x03\x5f\xd6", 0),
    sample(
        Form::Branch,
        "b.eq, taken",
        b"\x1f\x00\x00\xeb\x20\x00\x00\x54\xc0\x03\x5f\xd6",
        4,
    ),
    sample(
        Form::Branch,
        "b.ne, not taken",
        b"\x1f\x00\x00\xeb\x21\x00\x00\x54\xc0\x03\x5f\xd6",
        4,
    ),
    sample(
        Form::Branch,
        "cbz xzr, taken",
        b"\x3f\x00\x00\xb4\xc0\x03\x5f\xd6",
        0,
    ),
    sample(
        Form::Branch,
        "cbnz xzr, not taken",
        b"\x3f\x00\x00\xb5\xc0\x03\x5f\xd6",
        0,
    ),
    // mov x9, x30; bl .+12; mov x30, x9; ret; ret
    sample(
        Form::Call,
        "bl",
        b"\xe9\x03\x1e\xaa\x03\x00\x00\x94\xfe\x03\x09\xaa\xc0\x03\x5f\xd6\xc0\x03\x5f\xd6",
        4,
    ),
    sample(
        Form::Address,
        "adr x9, .",
        b"\x09\x00\x00\x10\xc0\x03\x5f\xd6",
        0,
    ),
    sample(
        Form::Address,
        "adrp x9, .",
        b"\x09\x00\x00\x90\xc0\x03\x5f\xd6",
        0,
    ),
    sample(
        Form::Literal,
        "ldr x9, .+8",
        b"\x49\x00\x00\x58\xc0\x03\x5f\xd6\0\0\0\0\0\0\0\0",
        0,
    ),
    sample(
        Form::Landing,
        "bti c",
        b"\x5f\x24\x03\xd5\xc0\x03\x5f\xd6",
        0,
    ),
    sample(Form::Return, "ret", b"\xc0\x03\x5f\xd6", 0),
    sample(
        Form::Other,
        "ldr x9, [sp]",
        b"\xe9\x03\x40\xf9\xc0\x03\x5f\xd6",
        0,
    ),
    // The add that gives the room back follows.
    sample(
        Form::StackRoom,
        "sub sp, sp, #16",
        b"\xff\x43\x00\xd1\xff\x43\x00\x91\xc0\x03\x5f\xd6",
        0,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A price under the wrong name would send probes to dear places. The words for people are what
    /// another decoder than ours makes of the bytes.
    #[test]
    fn aarch64_texts_are_true() {
        use yaxpeax_arch::{Decoder, U8Reader};
        let decoder = yaxpeax_arm::armv8::a64::InstDecoder::default();
        for of in AARCH64 {
            let mut reader = U8Reader::new(&of.code[of.at as usize..]);
            let text = decoder.decode(&mut reader).unwrap().to_string();
            let word = |text: &str| text.split([' ', ',']).next().unwrap_or_default().to_owned();
            // yaxpeax prints bti as the hint that it is.
            let theirs = text.replace("hint", "bti");
            assert_eq!(word(&theirs), word(of.text), "{text}");
        }
    }

    /// Every instruction of a function decodes, one of them begins where the probe goes, and the last
    /// one that runs is the return.
    #[test]
    fn x86_texts_are_true() {
        for of in X86_64 {
            let decoder = iced_x86::Decoder::new(64, of.code, 0);
            let all: Vec<_> = decoder.into_iter().collect();
            assert!(all.iter().all(|of| !of.is_invalid()), "{}", of.text);
            let found = all.iter().find(|found| found.ip() == of.at);
            let mnemonic = format!("{:?}", found.unwrap().mnemonic()).to_lowercase();
            let text = of.text.replace("nopl", "nop");
            assert_eq!(mnemonic, text.split(' ').next().unwrap(), "{}", of.text);
            assert!(all.iter().any(|of| of.code() == iced_x86::Code::Retnq));
        }
    }
}
