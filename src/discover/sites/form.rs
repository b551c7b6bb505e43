//! Which instruction stands at a place, as far as kernels treat it apart from others under a probe.
//!
//! Sources: Linux 6.18 arch/x86/kernel/uprobes.c (`branch_setup_xol_ops`, `push_setup_xol_ops`) and
//! arch/arm64/kernel/probes/decode-insn.c (`arm_probe_decode_insn`). Whether a kernel
//! emulates a form is measured, so a mistake here costs time; what the kernel refuses, or turns into a call, is
//! told apart here and in `mod.rs`.

use crate::discover::finding::Form;

/// `None`: no probe goes there. `code` is the instruction, whole.
pub fn of(code: &[u8], is_x86: bool) -> Option<Form> {
    if is_x86 {
        x86(code)
    } else {
        let word = code.first_chunk()?;
        Some(aarch64(u32::from_le_bytes(*word)))
    }
}

/// `x86_nops` of the kernel, from two bytes on; the one of five is apart.
const X86_NOPS: &[&[u8]] = &[
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

const X86_NOP5: &[u8] = &[0x0f, 0x1f, 0x44, 0x00, 0x00];

fn x86(code: &[u8]) -> Option<Form> {
    if X86_NOPS.contains(&code) {
        return Some(Form::Nop);
    }
    if is_prefix(*code.first()?) {
        return x86_with_prefix(code);
    }
    Some(match code {
        _ if code == X86_NOP5 => Form::Nop5,
        [0x90] => Form::Nop,
        [0x50..=0x57] | [0x41, 0x50..=0x57] => Form::Push,
        [0x58..=0x5f] | [0x41, 0x58..=0x5f] => Form::Pop,
        [0xe8, ..] => Form::Call,
        [0xe9 | 0xeb, ..] => Form::Jump,
        [0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..] => Form::Branch,
        [0xc3] => Form::Return,
        [0x48, 0x83 | 0x81, 0xec, ..] => Form::StackRoom,
        [0x89 | 0x8b, 0xc0..=0xff] | [0x40..=0x4f, 0x89 | 0x8b, 0xc0..=0xff] => Form::Move,
        [0x48..=0x4f, 0x8d, ..] => Form::Lea,
        _ => Form::Other,
    })
}

/// The kernel refuses branches with 0x66, and processors differ about them; others with prefixes are rare.
fn x86_with_prefix(code: &[u8]) -> Option<Form> {
    let rest = code.iter().position(|byte| !is_prefix(*byte));
    let (prefixes, rest) = code.split_at_checked(rest?)?;
    // `is_prefix_bad` of the kernel: segments other than fs and gs, and lock.
    let is_refused = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0);
    let is_locked = prefixes.iter().any(is_refused);
    match (x86(rest)?, rest) {
        (Form::Call | Form::Jump | Form::Branch, _) => None,
        _ if is_locked => None,
        (_, [0x90]) => Some(Form::Nop),
        (_, [0xc3]) => Some(Form::Return),
        (_, [0x0f, 0x1e, 0xfa]) if prefixes == [0xf3] => Some(Form::Landing),
        _ => Some(Form::Other),
    }
}

fn is_prefix(byte: u8) -> bool {
    matches!(
        byte,
        0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3
    )
}

fn aarch64(word: u32) -> Form {
    match word {
        0xd503_201f => Form::Nop,
        _ if word & 0xffff_ff3f == 0xd503_241f => Form::Landing,
        _ if word & 0x1f00_0000 == 0x1000_0000 => Form::Address,
        _ if word & 0xfc00_0000 == 0x1400_0000 => Form::Jump,
        _ if word & 0xfc00_0000 == 0x9400_0000 => Form::Call,
        // b.cond; cbz, cbnz, tbz, tbnz
        _ if word & 0xff00_0010 == 0x5400_0000 || word & 0x7c00_0000 == 0x3400_0000 => Form::Branch,
        // ldr w, ldr x, ldrsw
        _ if word & 0x3f00_0000 == 0x1800_0000 && word >> 30 != 3 => Form::Literal,
        _ if word & 0xffff_fc1f == 0xd65f_0000 => Form::Return,
        _ if word & 0xff80_03ff == 0xd100_03ff => Form::StackRoom,
        _ if word & 0x7fe0_ffe0 == 0x2a00_03e0 => Form::Move,
        _ => Form::Other,
    }
}

/// Forms that a kernel may emulate; the first ones are cheaper.
pub fn may_be_cheap(form: Form, is_x86: bool) -> bool {
    match form {
        Form::Branch | Form::Call | Form::Jump | Form::Nop => true,
        Form::Nop5 | Form::Push => is_x86,
        Form::Address | Form::Literal | Form::Return => !is_x86,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is emulated is taken for single-stepped, or a branch with a prefix gets a probe that the kernel
    /// refuses.
    #[test]
    fn x86_forms() {
        let known: &[(&[u8], Option<Form>)] = &[
            (&[0x55], Some(Form::Push)),
            (&[0x41, 0x57], Some(Form::Push)),
            (&[0x48, 0x55], Some(Form::Other)),
            (&[0xf3, 0x0f, 0x1e, 0xfa], Some(Form::Landing)),
            (&[0x78, 0x10], Some(Form::Branch)),
            (&[0x0f, 0x88, 1, 2, 3, 4], Some(Form::Branch)),
            (&[0x66, 0xe9, 1, 2, 3, 4], None),
            (&[0xf2, 0xe9, 1, 2, 3, 4], None),
            (&[0x0f, 0x1f, 0x44, 0x00, 0x00], Some(Form::Nop5)),
            (&[0x66, 0x90], Some(Form::Nop)),
            (&[0xf3, 0xc3], Some(Form::Return)),
            (&[0x48, 0x83, 0xec, 0x18], Some(Form::StackRoom)),
            (&[0x48, 0x89, 0xe5], Some(Form::Move)),
            (&[0x48, 0x89, 0x45, 0xf8], Some(Form::Other)),
            (&[0xe3, 0x10], Some(Form::Other)),
        ];
        for (code, form) in known {
            assert_eq!(x86(code), *form, "{code:x?}");
        }
    }

    /// The same for aarch64, where the kernel simulates what is relative to the program counter.
    #[test]
    fn aarch64_forms() {
        let known = [
            (0xb400_0041, Form::Branch), // cbz x1
            (0x3600_0041, Form::Branch), // tbz
            (0x5400_0041, Form::Branch), // b.ne
            (0x9000_0000, Form::Address),
            (0x5800_0000, Form::Literal),
            (0x9800_0000, Form::Literal),
            (0xd800_0000, Form::Other), // prfm
            (0xd65f_03c0, Form::Return),
            (0xd503_245f, Form::Landing), // bti c
            (0xd503_233f, Form::Other),   // paciasp
        ];
        for (word, form) in known {
            assert_eq!(aarch64(word), form, "{word:x}");
        }
    }
}
