//! Code: single instructions, and what functions are made of them.

use agentsight::image::function::Functions;
use agentsight::image::insn::{Decoder, Effect, Flow, Insn};
use agentsight::image::stores;
use agentsight::image::values::Values;
use agentsight::image::xref::{self, Edges, Pages};
use agentsight::image::{Image, Pointers, VirtAddr};
use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand};

use super::image::places;

/// Where the code under test is loaded.
const BASE: u64 = 0x40_0000;
/// Instructions of one input.
const CODE_MAX: usize = 1 << 12;
/// Starts from which one input is followed for what it writes.
const STARTS: usize = 8;
/// Functions that are followed; each may have the size of the input.
const BODIES_MAX: usize = 12;

const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

/// The code of `data` in an executable with one segment, for each processor.
pub fn instructions(data: &[u8]) {
    let code = &data[..data.len().min(CODE_MAX)];
    for machine in [EM_X86_64, EM_AARCH64] {
        let file = executable(machine, code);
        let image = Image::parse(&file).expect("the file is whole");
        let decoder = Decoder::new(&image).expect("the processor is known");
        for at in 0..code.len() {
            let addr = VirtAddr(BASE + at as u64);
            let insn = decoder.decode(addr);
            if let Some(insn) = insn {
                sane(&decoder, &insn, addr, code.len() - at);
            }
            let _ = (
                decoder.is_trap(addr),
                decoder.is_filler(addr),
                decoder.is_prologue(addr),
            );
            if machine == EM_AARCH64 && at % 4 == 0 && code.len() - at >= 4 {
                agrees(
                    &code[at..at + 4],
                    insn.expect("each word decodes").flow,
                    addr,
                );
            }
        }
        writes(&image, &decoder, code.len());
    }
}

/// What code writes can be read where it was written.
fn writes(image: &Image<'_>, decoder: &Decoder<'_>, len: usize) {
    let pointers = Pointers::new(image);
    for start in (0..len).step_by(len / STARTS + 1) {
        let (start, through) = (start as u64, ((start + len) / 2) as u64);
        let (start, through) = (VirtAddr(BASE + start), VirtAddr(BASE + through));
        let Some(written) = stores::written(&pointers, decoder, start, through) else {
            continue;
        };
        for (region, at) in written.numbers(|number| number != 0) {
            let number = written.number(region, at, 4).expect("it was found");
            assert!(number != 0 && number <= u64::from(u32::MAX));
            assert_eq!(written.number(region, at, 1), Some(number & 0xff));
        }
    }
}

fn sane(decoder: &Decoder<'_>, insn: &Insn, addr: VirtAddr, left: usize) {
    assert_eq!(insn.addr, addr);
    let len = usize::from(insn.len);
    let allowed = if decoder.is_x86() { 1..=15 } else { 4..=4 };
    assert!(allowed.contains(&len) && len <= left, "{insn:?}");
    assert_eq!(insn.end().0, addr.0 + len as u64);
    if let Some(access) = insn.access {
        assert!(access.size > 0, "{insn:?}"); // nothing of unknown size may look harmless
    }
    if !decoder.is_x86() {
        if let Flow::Jump(to) | Flow::Branch(to) | Flow::Call(to) = insn.flow {
            assert_eq!(to.0 % 4, addr.0 % 4, "{insn:?}");
        }
        assert!(
            !matches!(insn.effect, Effect::Push(_) | Effect::Pop(_)),
            "{insn:?}"
        );
    }
}

/// A second opinion on where an aarch64 instruction leads.
fn agrees(word: &[u8], flow: Flow, addr: VirtAddr) {
    let Ok(theirs) = InstDecoder::default().decode(&mut U8Reader::new(word)) else {
        return;
    };
    // It takes all of a reserved group for `udf`, which has sixteen bits of zeros.
    if theirs.opcode == Opcode::UDF && word[2..] != [0, 0] {
        return;
    }
    let distance = theirs.operands.iter().find_map(|operand| match operand {
        Operand::PCOffset(offset) => Some(*offset),
        _ => None,
    });
    let target = distance.map(|distance| VirtAddr(addr.0.wrapping_add_signed(distance)));
    let expected = match theirs.opcode {
        Opcode::B => Flow::Jump(target.unwrap()),
        Opcode::BL => Flow::Call(target.unwrap()),
        Opcode::Bcc(_)
        | Opcode::BCcc(_)
        | Opcode::CBZ
        | Opcode::CBNZ
        | Opcode::TBZ
        | Opcode::TBNZ => Flow::Branch(target.unwrap()),
        Opcode::BR | Opcode::BRAA | Opcode::BRAAZ | Opcode::BRAB | Opcode::BRABZ => {
            Flow::JumpIndirect
        }
        Opcode::BLR | Opcode::BLRAA | Opcode::BLRAAZ | Opcode::BLRAB | Opcode::BLRABZ => {
            Flow::CallIndirect
        }
        Opcode::RET | Opcode::RETAA | Opcode::RETAB => Flow::Return,
        Opcode::BRK
        | Opcode::HLT
        | Opcode::UDF
        | Opcode::ERET
        | Opcode::ERETAA
        | Opcode::ERETAB
        | Opcode::DRPS => Flow::Stop,
        _ => Flow::Next,
    };
    assert_eq!(flow, expected, "{word:02x?} at {addr}: {theirs}");
}

/// An ELF file with `code` at [`BASE`]: System V ABI, "ELF Header" and "Program Header".
fn executable(machine: u16, code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 0x1000;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for word in [BASE, 64, 0] {
        file.extend(u64::to_le_bytes(word));
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable
    file.extend(1u32.to_le_bytes());
    file.extend(5u32.to_le_bytes());
    let len = code.len() as u64;
    for word in [HEADERS, BASE, BASE, len, len, HEADERS] {
        file.extend(word.to_le_bytes());
    }
    file.resize(HEADERS as usize, 0);
    file.extend(code);
    file
}

/// Functions, their bounds and the constants that they hand on.
pub fn functions(data: &[u8]) {
    let Ok(image) = Image::parse(data) else {
        return;
    };
    let Some(decoder) = Decoder::new(&image) else {
        return;
    };
    let places = places(&image);
    let pages = Pages::covering(&image, [(0, u64::MAX)].into_iter());
    let edges = Edges::into_pages(&image, &decoder, &pages, true);
    let functions = Functions::new(&image, decoder, edges);
    let data_places = image.constant_ranges().map(|(base, _)| VirtAddr(base));
    let targets: Vec<_> = places.iter().copied().chain(data_places.take(8)).collect();
    for xref in xref::find(&image, &decoder, &targets)
        .iter()
        .take(BODIES_MAX)
    {
        assert!(targets.contains(&xref.target));
        assert!(image.code_at(xref.at).is_some() || image.segments.code_offset(xref.at).is_none());
    }
    let step = places.len() / BODIES_MAX + 1;
    for addr in places.iter().step_by(step) {
        if let Ok(entry) = functions.entry_of(*addr) {
            assert!(functions.body(entry.addr).contains(*addr) || entry.addr != *addr);
        }
        follow(&functions, *addr);
    }
}

fn follow(functions: &Functions<'_>, entry: VirtAddr) {
    let body = functions.body(entry);
    let values = Values::of(functions.decoder(), &body);
    for call in values.calls() {
        assert!(body.contains(call.at));
        let _ = values.next_call(call.at);
        let _ = values.result_after(call.at);
    }
    for (addr, insn) in &body.insns {
        assert_eq!(*addr, insn.addr);
    }
    assert!(
        body.insns
            .keys()
            .next()
            .is_none_or(|first| body.broken.is_some()
                || *first <= body.entry
                || body.contains(body.entry))
    );
    let _ = (body.size(), body.calls().count());
}
