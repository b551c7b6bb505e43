//! The pieces that a function is made of, in random order.

use iced_x86::code_asm::*;

use super::{
    COUNTER, Code, FLAGS, Far, Frame, Helpers, RAX, RDI, RDX, RETRIES, RSI, Reg, SCRATCH, asm,
};

/// The 5-byte nop.
const NOP5: &[u8] = b"\x0f\x1f\x44\x00\x00";

/// Where a function keeps what it was given.
#[derive(Clone, Copy)]
struct Values {
    object: Reg,
    buffer: Reg,
    length: Reg,
    sum: Reg,
}

impl Values {
    /// What holds none of them: at least one.
    fn scratch(&self) -> Vec<Reg> {
        let taken = [self.object, self.buffer, self.length, self.sum];
        let free = SCRATCH.into_iter().filter(|reg| !taken.contains(reg));
        free.collect()
    }
}

/// What a call gives back.
#[derive(Clone, Copy)]
enum Outcome {
    Length,
    Minus,
    One,
    /// The sum over the buffer, cut to the length.
    Sum,
    Zero,
}

/// Success more often than not.
const OUTCOMES: [Outcome; 8] = [
    Outcome::Length,
    Outcome::Length,
    Outcome::Length,
    Outcome::Minus,
    Outcome::One,
    Outcome::Sum,
    Outcome::Sum,
    Outcome::Zero,
];

/// Code that is placed behind the rest.
type Later = Box<dyn FnOnce(&mut Maker<'_>)>;

/// A function in the making.
pub struct Maker<'c> {
    code: &'c mut Code,
    start: CodeLabel,
    frame: Frame,
    /// Where a wrong canary leads.
    fail: CodeLabel,
    /// Where the frame stands, with the arguments where they came.
    framed: CodeLabel,
    /// Its values survive calls of other functions.
    calls: bool,
    /// Emitted behind the return.
    later: Vec<Later>,
}

/// A way into a function that is not its beginning.
pub struct SideDoor {
    frame: Frame,
    framed: CodeLabel,
}

impl SideDoor {
    /// A function that does as its neighbour does, without passing its beginning.
    pub fn emit(self, code: &mut Code) {
        let framed = self.framed;
        asm!(code, inc(dword_ptr(rdi + COUNTER)););
        self.frame.enter(code);
        asm!(code, jmp(framed););
    }
}

impl Maker<'_> {
    /// Emits one function, and leaves its far parts in the code's list. Tells of a way into its middle.
    pub fn function(code: &mut Code) -> Option<SideDoor> {
        let calls = code.one_in(2);
        let mut maker = Maker {
            start: code.label(),
            frame: Frame::random(code, calls),
            fail: code.label(),
            framed: code.label(),
            calls,
            later: Vec::new(),
            code,
        };
        maker.landing();
        if maker.code.one_in(12) {
            let work = maker.code.helpers.work;
            asm!(maker.code, jmp(work););
            return None;
        }
        let has_body = !maker.code.one_in(10);
        for _ in 0..maker.code.random.below(4) {
            maker.early(has_body);
        }
        if has_body {
            maker.body();
        } else {
            maker.frame.has_canary = false;
            maker.bare_return();
        }
        while let Some(emit) = maker.later.pop() {
            emit(&mut maker);
        }
        if maker.frame.has_canary {
            let mut fail = maker.fail;
            maker.code.here(&mut fail);
            let stop = maker.code.helpers.stop;
            if maker.code.one_in(2) {
                asm!(maker.code, call(stop););
            } else {
                asm!(maker.code, ud2(););
            }
        }
        has_body.then_some(SideDoor {
            frame: maker.frame,
            framed: maker.framed,
        })
    }

    fn landing(&mut self) {
        let mut start = self.start;
        self.code.here(&mut start);
        match self.code.random.below(8) {
            0..4 => asm!(self.code, endbr64();),
            4 => asm!(self.code, db(NOP5);),
            _ => {}
        }
    }

    /// Jumps to `target` or not, as a flag of the object says.
    fn by_flag(&mut self, object: Reg, target: CodeLabel) {
        let at = FLAGS + self.code.random.below(8) as i32;
        let bit = 1_u32 << self.code.random.below(8);
        asm!(self.code, test(byte_ptr(object.q + at), bit););
        if self.code.one_in(2) {
            asm!(self.code, je(target););
        } else {
            asm!(self.code, jne(target););
        }
    }

    /// The same, one time in eight.
    fn rarely(&mut self, object: Reg, target: CodeLabel) {
        let at = FLAGS + self.code.random.below(8) as i32;
        asm!(self.code, test(byte_ptr(object.q + at), 7u32); je(target););
    }

    /// Something before there is a frame, with the arguments where they came.
    fn early(&mut self, has_body: bool) {
        let mut go = self.code.label();
        match self.code.random.below(10) {
            0 => {
                let out = self.bare_returns();
                asm!(self.code, test(edx, edx); jle(out););
            }
            1 => {
                let out = self.bare_returns();
                self.rarely(RDI, out);
            }
            2 => {
                let out = self.bare_returns();
                asm!(self.code, test(rsi, rsi); je(out););
            }
            3 => {
                let work = self.code.helpers.work;
                self.rarely(RDI, work);
            }
            4 => self.start_over(),
            5 => asm!(self.code, movsxd(rdx, edx);),
            6 => asm!(self.code, inc(dword_ptr(rdi + COUNTER));),
            7 => self.call_with_arguments_pushed(),
            8 if has_body => self.frame_elsewhere(),
            _ => {
                self.by_flag(RDI, go);
                asm!(self.code, inc(dword_ptr(rdi + COUNTER)););
            }
        }
        self.code.here(&mut go);
    }

    /// A cold part that makes the same frame, and joins behind it.
    fn frame_elsewhere(&mut self) {
        let (away, framed) = (self.code.label(), self.framed);
        self.rarely(RDI, away);
        let emit = move |maker: &mut Maker<'_>| {
            maker.frame.clone().enter(maker.code);
            asm!(maker.code, inc(dword_ptr(rdi + COUNTER)); jmp(framed););
        };
        if self.code.one_in(2) {
            self.far(away, emit);
        } else {
            self.behind(away, emit);
        }
    }

    /// From the beginning, with the same arguments.
    fn start_over(&mut self) {
        self.retry(RDI, self.start);
    }

    fn retry(&mut self, object: Reg, target: CodeLabel) {
        let mut go = self.code.label();
        asm!(self.code,
            cmp(dword_ptr(object.q + RETRIES), 0);
            jle(go);
            dec(dword_ptr(object.q + RETRIES));
        );
        if self.code.one_in(3) {
            asm!(self.code, lea(rax, ptr(target)); jmp(rax););
        } else {
            asm!(self.code, jmp(target););
        }
        self.code.here(&mut go);
    }

    fn call_with_arguments_pushed(&mut self) {
        let Helpers { clobber, hook, .. } = self.code.helpers;
        let helper = *self.code.random.pick(&[clobber, hook]);
        asm!(self.code,
            push(rdi);
            push(rsi);
            push(rdx);
            call(helper);
            pop(rdx);
            pop(rsi);
            pop(rdi);
        );
    }

    /// A way out without a frame, somewhere else.
    fn bare_returns(&mut self) -> CodeLabel {
        let label = self.code.label();
        if self.code.one_in(3) {
            self.far(label, |maker| maker.bare_return());
        } else {
            self.behind(label, |maker| maker.bare_return());
        }
        label
    }

    fn bare_return(&mut self) {
        match self.code.random.below(5) {
            0 => asm!(self.code, xor(eax, eax); ret();),
            1 => asm!(self.code, mov(eax, -1i32); ret();),
            2 => asm!(self.code, mov(eax, 1); ret();),
            3 => {
                let work = self.code.helpers.work;
                asm!(self.code, jmp(work););
            }
            _ => asm!(self.code, mov(eax, edx); ret();),
        }
    }

    /// Behind the return.
    fn behind(&mut self, mut label: CodeLabel, emit: impl FnOnce(&mut Maker<'_>) + 'static) {
        self.later.push(Box::new(move |maker| {
            maker.code.here(&mut label);
            emit(maker);
        }));
    }

    /// Outside of the function, as GCC puts what it takes for cold.
    fn far(&mut self, mut label: CodeLabel, emit: impl FnOnce(&mut Maker<'_>) + 'static) {
        let (start, frame, fail, calls) = (self.start, self.frame.clone(), self.fail, self.calls);
        let framed = self.framed;
        let emit = move |code: &mut Code| {
            code.here(&mut label);
            let mut maker = Maker {
                code,
                start,
                frame,
                fail,
                framed,
                calls,
                later: Vec::new(),
            };
            emit(&mut maker);
            assert_eq!(maker.later.len(), 0);
        };
        let emit = Box::new(emit);
        self.code.far.push(Far { emit });
    }

    fn body(&mut self) {
        self.frame.clone().enter(self.code);
        let mut framed = self.framed;
        self.code.here(&mut framed);
        let values = self.place_values();
        self.frame.clone().grow(self.code, values.length);
        asm!(self.code, xor(values.sum.d, values.sum.d););
        let mut again = self.code.label();
        self.code.here(&mut again);
        for _ in 0..self.code.random.below(5) {
            self.piece(values);
        }
        if self.code.one_in(3) {
            self.retry(values.object, again);
        }
        let outcome = *self.code.random.pick(&OUTCOMES);
        self.finish(values, outcome);
    }

    /// Moves the arguments to where the body wants them, in any order.
    fn place_values(&mut self) -> Values {
        let mut homes: Vec<Reg> = self.frame.free().collect();
        if !self.calls {
            homes.extend(SCRATCH);
        }
        for at in (1..homes.len()).rev() {
            homes.swap(at, self.code.random.below(at + 1));
        }
        let mut home = || homes.pop().unwrap();
        let mut values = Values {
            object: RDI,
            buffer: RSI,
            length: RDX,
            sum: home(),
        };
        let first = self.code.random.below(3);
        for which in (0..3).map(|step| (first + step) % 3) {
            if !self.calls && self.code.one_in(2) {
                continue;
            }
            let value = match which {
                0 => &mut values.object,
                1 => &mut values.buffer,
                _ => &mut values.length,
            };
            let from = std::mem::replace(value, home());
            if which == 2 {
                asm!(self.code, mov(value.d, from.d););
            } else {
                asm!(self.code, mov(value.q, from.q););
            }
            if self.code.one_in(2) {
                self.spoil(from);
            }
        }
        values
    }

    /// Changes an argument's register; not every instruction names it.
    fn spoil(&mut self, from: Reg) {
        let plainly = self.code.one_in(2);
        match from {
            RDI if !plainly => asm!(self.code, scasb();),
            RSI if !plainly => asm!(self.code, lodsb();),
            RDX if !plainly => asm!(self.code, mov(eax, -5i32); cdq();),
            _ => asm!(self.code, mov(from.d, 0x77);),
        }
    }

    /// Something in the middle; keeps the values.
    fn piece(&mut self, values: Values) {
        match self.code.random.below(9) {
            0 => self.sum_up(values),
            1 | 2 if self.calls => self.call(values),
            3 => self.early_return(values),
            4 => self.detour(values),
            5 => self.cases(values),
            6 if self.code.one_in(2) => self.computed_jump(values),
            7 => asm!(self.code, inc(dword_ptr(values.object.q + COUNTER));),
            _ => self.diamond(values),
        }
    }

    fn diamond(&mut self, values: Values) {
        let (mut other, mut join) = (self.code.label(), self.code.label());
        self.by_flag(values.object, other);
        asm!(self.code, add(values.sum.d, 3););
        if self.code.one_in(2) {
            asm!(self.code, jmp(join););
        }
        self.code.here(&mut other);
        asm!(self.code, add(values.sum.d, 5););
        self.code.here(&mut join);
    }

    fn sum_up(&mut self, values: Values) {
        let scratch = values.scratch();
        let (index, byte) = (scratch[0], scratch.get(1).copied().unwrap_or(RAX));
        let (mut top, mut end) = (self.code.label(), self.code.label());
        asm!(self.code, xor(index.d, index.d););
        self.code.here(&mut top);
        asm!(self.code,
            cmp(index.d, values.length.d);
            jge(end);
            movzx(byte.d, byte_ptr(values.buffer.q + index.q));
            add(values.sum.d, byte.d);
            inc(index.d);
            jmp(top);
        );
        self.code.here(&mut end);
    }

    fn call(&mut self, values: Values) {
        let helpers = self.code.helpers;
        let all = [helpers.clobber, helpers.hook, helpers.work];
        let helper = *self.code.random.pick(&all);
        asm!(self.code,
            mov(rdi, values.object.q);
            mov(rsi, values.buffer.q);
            mov(edx, values.length.d);
            call(helper);
        );
    }

    /// With an end of its own.
    fn early_return(&mut self, values: Values) {
        let out = self.code.label();
        self.rarely(values.object, out);
        let outcome = *self.code.random.pick(&OUTCOMES);
        let emit = move |maker: &mut Maker<'_>| maker.finish(values, outcome);
        if self.code.one_in(3) {
            self.far(out, emit);
        } else {
            self.behind(out, emit);
        }
    }

    /// To a cold part and back.
    fn detour(&mut self, values: Values) {
        let (away, mut back) = (self.code.label(), self.code.label());
        self.rarely(values.object, away);
        self.code.here(&mut back);
        let emit = move |maker: &mut Maker<'_>| {
            asm!(maker.code, add(values.sum.d, 11););
            if maker.calls && maker.code.one_in(2) {
                maker.call(values);
            }
            asm!(maker.code, jmp(back););
        };
        if self.code.one_in(2) {
            self.far(away, emit);
        } else {
            self.behind(away, emit);
        }
    }

    fn cases(&mut self, values: Values) {
        let case = values.scratch()[0];
        let [mut first, mut second, mut join] = [(); 3].map(|()| self.code.label());
        asm!(self.code,
            movzx(case.d, byte_ptr(values.object.q + (FLAGS + 3)));
            and(case.d, 3);
            cmp(case.d, 1);
            jb(first);
            je(second);
            add(values.sum.d, case.d);
            jmp(join);
        );
        self.code.here(&mut first);
        asm!(self.code, add(values.sum.d, 17););
        self.code.here(&mut second);
        asm!(self.code, add(values.sum.d, 1););
        self.code.here(&mut join);
    }

    /// To one of two places, by an address that is made on the way.
    fn computed_jump(&mut self, values: Values) {
        let target = values.scratch()[0];
        let (mut one, mut other) = (self.code.label(), self.code.label());
        asm!(self.code,
            lea(target.q, ptr(one));
            lea(rax, ptr(other));
            test(byte_ptr(values.object.q + FLAGS), 1u32);
            cmove(target.q, rax);
            jmp(target.q);
        );
        self.code.here(&mut one);
        asm!(self.code, add(values.sum.d, 2););
        self.code.here(&mut other);
    }

    /// Puts the result in its register, does some last things, and returns.
    fn finish(&mut self, values: Values, outcome: Outcome) {
        self.result(values, outcome);
        for _ in 0..self.code.random.below(5) {
            self.last(values);
        }
        self.frame.clone().leave(self.code, self.fail);
        match self.code.random.below(8) {
            0 => {
                let same = self.code.helpers.same;
                asm!(self.code, mov(edi, eax); jmp(same););
            }
            1 => {
                self.code.a.rep().ret().unwrap();
            }
            _ => asm!(self.code, ret();),
        }
    }

    fn result(&mut self, values: Values, outcome: Outcome) {
        match outcome {
            Outcome::Length => asm!(self.code, mov(eax, values.length.d);),
            Outcome::Minus => asm!(self.code, or(eax, -1);),
            Outcome::Zero => asm!(self.code, xor(eax, eax);),
            Outcome::One => asm!(self.code, mov(eax, 1);),
            Outcome::Sum => asm!(self.code,
                and(values.sum.d, 0x3f);
                cmp(values.sum.d, values.length.d);
                cmovg(values.sum.d, values.length.d);
                mov(eax, values.sum.d);
            ),
        }
    }

    /// Something after the result stands; not all of it leaves the result, or the bytes, as they are.
    fn last(&mut self, values: Values) {
        let mut go = self.code.label();
        match self.code.random.below(12) {
            0 => self.change_bytes(values),
            6 => self.change_result(values),
            7 => asm!(self.code, nop();),
            8 => asm!(self.code, jmp(go);),
            9 | 10 => {
                let other = values.scratch()[0];
                self.by_flag(values.object, go);
                asm!(self.code, mov(other.d, 1););
            }
            1 => {
                self.by_flag(values.object, go);
                asm!(self.code, inc(dword_ptr(values.object.q + COUNTER)););
            }
            2 => {
                let count = values.scratch()[0];
                let mut top = self.code.label();
                asm!(self.code, mov(count.d, 3););
                self.code.here(&mut top);
                asm!(self.code, dec(count.d); jne(top););
            }
            3 => {
                self.rarely(values.object, go);
                asm!(self.code, mov(eax, 0););
            }
            4 => asm!(self.code, push(rax); mov(eax, 0x1234); pop(rax);),
            _ => asm!(self.code, inc(dword_ptr(values.object.q + COUNTER));),
        }
        self.code.here(&mut go);
    }

    /// Writes to the buffer in ways that not every reader of code sees.
    fn change_bytes(&mut self, values: Values) {
        let buffer = values.buffer.q;
        match self.code.random.below(5) {
            0 => asm!(self.code, mov(rdi, buffer); stosb();),
            1 => asm!(self.code, xadd(byte_ptr(buffer), al);),
            2 => asm!(self.code, bts(dword_ptr(buffer), 3u32);),
            3 => asm!(self.code, pxor(xmm0, xmm0); movq(qword_ptr(buffer), xmm0);),
            _ => asm!(self.code, mov(byte_ptr(buffer), 0x2a);),
        }
    }

    /// The same for the result.
    fn change_result(&mut self, values: Values) {
        let other = values.scratch()[0];
        match self.code.random.below(6) {
            0 => asm!(self.code, cwde();),
            1 => asm!(self.code, cmp(dword_ptr(values.object.q), 0); setne(al);),
            2 => asm!(self.code, mov(other.d, 2); xchg(eax, other.d);),
            3 => {
                asm!(self.code, mov(other.d, 1); cmpxchg(dword_ptr(values.object.q + COUNTER), other.d);)
            }
            4 => asm!(self.code, mov(other.d, 1); imul(other.d);),
            _ => asm!(self.code, and(al, 0x1f);),
        }
    }
}
