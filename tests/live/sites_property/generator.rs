//! Random functions in the shape of `int write(object, buffer, length)`, with what compilers do to such
//! functions and what a planner of probe sites could get wrong: early errors, shrink-wrapped frames, loops,
//! cold parts inside and outside of the function, tail calls, retries that start over, results that are
//! ready long before the return, bytes that change after that.
//!
//! What each function does depends on its arguments and the object alone, so that every run is the same.

mod frame;
mod pieces;

use iced_x86::BlockEncoderOptions;
use iced_x86::code_asm::*;

use crate::support::Random;

use frame::Frame;
use pieces::Maker;

/// One part of the code, as a symbol table would have it.
#[derive(Clone, Debug)]
pub struct Extent {
    pub name: String,
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

/// What a part of the code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole function with the signature above.
    Function,
    /// One that leads into the middle of another one.
    SideDoor,
    /// What the others need.
    Part,
}

/// The code of all functions, and where each is in it. Everything is relative: it runs anywhere.
pub struct Program {
    pub code: Vec<u8>,
    pub extents: Vec<Extent>,
}

/// A register in its widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg {
    pub q: AsmRegister64,
    pub d: AsmRegister32,
}

const fn reg(q: AsmRegister64, d: AsmRegister32) -> Reg {
    Reg { q, d }
}

pub const RAX: Reg = reg(rax, eax);
pub const RDI: Reg = reg(rdi, edi);
pub const RSI: Reg = reg(rsi, esi);
pub const RDX: Reg = reg(rdx, edx);
pub const RBP: Reg = reg(rbp, ebp);

/// What a callee gives back as it was.
pub const SAVED: [Reg; 5] = [
    reg(rbx, ebx),
    reg(r12, r12d),
    reg(r13, r13d),
    reg(r14, r14d),
    reg(r15, r15d),
];

/// What any call may change, arguments and result apart.
pub const SCRATCH: [Reg; 5] = [
    reg(rcx, ecx),
    reg(r8, r8d),
    reg(r9, r9d),
    reg(r10, r10d),
    reg(r11, r11d),
];

/// Places in the object; `driver.c` has the same.
pub const FLAGS: i32 = 0;
pub const COUNTER: i32 = 8;
pub const RETRIES: i32 = 12;
pub const HOOK: i32 = 24;

/// Between the functions and their cold parts, bytes.
const DISTANCE: usize = 100 << 10;

/// Functions that the others call and that are not watched.
#[derive(Clone, Copy)]
pub struct Helpers {
    /// Changes every register that a callee may change.
    pub clobber: CodeLabel,
    /// Goes to the driver with the object, which may call any function again.
    pub hook: CodeLabel,
    /// A function with the same signature: returns half of the length.
    pub work: CodeLabel,
    /// Returns its first argument.
    pub same: CodeLabel,
    /// Never returns.
    pub stop: CodeLabel,
}

/// What is put somewhere else than where it is reached from.
type Pending = Vec<(usize, Far)>;

/// A cold part of a function, to be emitted far away from it.
pub struct Far {
    pub emit: Box<dyn FnOnce(&mut Code)>,
}

/// The code so far.
pub struct Code {
    pub a: CodeAssembler,
    pub random: Random,
    pub helpers: Helpers,
    pub far: Vec<Far>,
}

/// Everything about the assembler that can fail is a mistake of ours.
macro_rules! asm {
    ($code:expr, $($method:ident ( $($operand:expr),* );)+) => {{
        $($code.a.$method($($operand),*).unwrap();)+
    }};
}
pub(crate) use asm;

impl Code {
    fn new(seed: u64) -> Self {
        let mut a = CodeAssembler::new(64).unwrap();
        let helpers = Helpers {
            clobber: a.create_label(),
            hook: a.create_label(),
            work: a.create_label(),
            same: a.create_label(),
            stop: a.create_label(),
        };
        Self {
            a,
            random: Random(seed),
            helpers,
            far: Vec::new(),
        }
    }

    /// Once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    /// From here on. A label may stand where another one does.
    pub fn here(&mut self, label: &mut CodeLabel) {
        self.a.set_label(label).unwrap();
        self.a.zero_bytes().unwrap();
    }

    pub fn label(&mut self) -> CodeLabel {
        self.a.create_label()
    }

    fn emit_helpers(&mut self) {
        let mut helpers = self.helpers;
        self.here(&mut helpers.clobber);
        self.junk();
        asm!(self, ret(););
        self.here(&mut helpers.hook);
        asm!(self, jmp(qword_ptr(rdi + HOOK)););
        self.here(&mut helpers.work);
        asm!(self,
            inc(dword_ptr(rdi + COUNTER));
            mov(eax, edx);
            sar(eax, 1u32);
            mov(edi, 0x5au32);
            ret();
        );
        self.here(&mut helpers.same);
        asm!(self, mov(eax, edi); ret(););
        self.here(&mut helpers.stop);
        asm!(self, ud2(););
        self.helpers = helpers;
    }

    fn junk(&mut self) {
        let first = [RAX, RDI, RSI, RDX];
        for (index, reg) in first.into_iter().chain(SCRATCH).enumerate() {
            asm!(self, mov(reg.q, 0x00de_ad00_dead_0000_u64 + index as u64););
        }
    }
}

/// `count` functions that the seed decides.
pub fn generate(seed: u64, count: usize) -> Program {
    let mut code = Code::new(seed);
    let mut marks: Vec<(String, CodeLabel, CodeLabel, Kind)> = Vec::new();
    let mut part = |code: &mut Code, name: String, kind, emit: &mut dyn FnMut(&mut Code)| {
        let (mut start, mut end) = (code.label(), code.label());
        asm!(code, int3(););
        code.here(&mut start);
        emit(code);
        code.here(&mut end);
        marks.push((name, start, end, kind));
    };
    let helpers = &mut Code::emit_helpers;
    part(&mut code, "helpers".into(), Kind::Part, helpers);
    let mut pending = Pending::new();
    let mut doors = 0;
    for index in 0..count {
        let mut door = None;
        part(
            &mut code,
            format!("f{index}"),
            Kind::Function,
            &mut |code| {
                door = Maker::function(code);
            },
        );
        if let Some(door) = door.filter(|_| code.one_in(2)) {
            let mut door = Some(door);
            let name = format!("f{}", count + doors);
            part(&mut code, name, Kind::SideDoor, &mut |code| {
                door.take().unwrap().emit(code);
            });
            doors += 1;
        }
        let far = std::mem::take(&mut code.far);
        pending.extend(far.into_iter().map(|far| (index, far)));
    }
    // Farther than a planner may care to look around.
    code.a.db(&[0xcc; DISTANCE]).unwrap();
    for (number, (index, far)) in pending.into_iter().enumerate() {
        let mut emit = Some(far.emit);
        let name = format!("f{index}.cold.{number}");
        part(&mut code, name, Kind::Part, &mut |code| {
            emit.take().unwrap()(code);
        });
        assert!(code.far.is_empty(), "a cold part has no cold part");
    }
    asm!(code, int3(););
    let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let assembled = code.a.assemble_options(0, options).unwrap();
    let at = |label: &CodeLabel| assembled.label_ip(label).unwrap() as usize;
    let extents = marks.iter().map(|(name, start, end, kind)| Extent {
        name: name.clone(),
        start: at(start),
        end: at(end),
        kind: *kind,
    });
    let extents = extents.collect();
    Program {
        code: assembled.inner.code_buffer,
        extents,
    }
}
