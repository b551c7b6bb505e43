//! What a function does to the stack at its beginning, and undoes before it returns.

use iced_x86::code_asm::*;

use super::{Code, RBP, Reg, SAVED, asm};

/// Where glibc keeps the stack protector's word, from `fs`.
const CANARY: i32 = 0x28;

/// A frame; none at all for small functions.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Registers given back at the end, in the order of their pushes.
    pub pushed: Vec<Reg>,
    /// `rbp` is the first of them and points there.
    pub has_pointer: bool,
    /// Bytes below.
    pub room: i32,
    /// The stack protector's word is in it.
    pub has_canary: bool,
    /// More room, as much as the length says: only the frame pointer knows the depth.
    pub is_dynamic: bool,
    /// How the room is made.
    way: usize,
}

impl Frame {
    /// `calls`: it is one that other functions can be called from, with four registers at least.
    pub fn random(code: &mut Code, calls: bool) -> Self {
        let mut pushed = SAVED.to_vec();
        for at in (1..pushed.len()).rev() {
            pushed.swap(at, code.random.below(at + 1));
        }
        pushed.truncate(match calls {
            true => 4 + code.random.below(2),
            false => code.random.below(6),
        });
        let has_pointer = code.one_in(3);
        if has_pointer {
            pushed.insert(0, RBP);
        }
        let has_canary = code.one_in(3);
        let mut room = match code.random.below(3) {
            _ if has_canary => 24,
            0 => 0,
            1 => 8 * (1 + code.random.below(6) as i32),
            _ => 8 * (16 + code.random.below(30) as i32),
        };
        // The stack is aligned to 16 bytes where a function is called.
        if calls && (8 * pushed.len() as i32 + room) % 16 != 8 {
            room += 8;
        }
        Self {
            is_dynamic: has_pointer && !has_canary && code.one_in(4),
            pushed,
            has_pointer,
            room,
            has_canary,
            way: code.random.below(4),
        }
    }

    /// Registers of the frame that may hold what must survive a call.
    pub fn free(&self) -> impl Iterator<Item = Reg> + '_ {
        self.pushed.iter().copied().filter(|reg| *reg != RBP)
    }

    pub fn enter(&self, code: &mut Code) {
        for (index, reg) in self.pushed.iter().enumerate() {
            asm!(code, push(reg.q););
            if index == 0 && self.has_pointer {
                asm!(code, mov(rbp, rsp););
            }
        }
        match self.way {
            _ if self.room == 0 => {}
            0 => asm!(code, lea(rsp, qword_ptr(rsp - self.room));),
            1 => asm!(code, add(rsp, -self.room);),
            _ => asm!(code, sub(rsp, self.room);),
        }
        if self.has_canary {
            asm!(code,
                mov(rax, qword_ptr(CANARY).fs());
                mov(qword_ptr(rsp + (self.room - 8)), rax);
                xor(eax, eax);
            );
        }
    }

    /// Makes dynamic room, if the frame has such; `length` decides how much. Changes rax.
    pub fn grow(&self, code: &mut Code, length: Reg) {
        if self.is_dynamic && self.way == 0 {
            asm!(code, and(rsp, -64););
        } else if self.is_dynamic {
            asm!(code, mov(eax, length.d); and(eax, 0xf0); sub(rsp, rax););
        }
    }

    /// Leaves rax as it is; changes rdx if there is a canary. `fail` is where a wrong canary leads.
    pub fn leave(&self, code: &mut Code, fail: CodeLabel) {
        if self.has_canary {
            asm!(code,
                mov(rdx, qword_ptr(rsp + (self.room - 8)));
                sub(rdx, qword_ptr(CANARY).fs());
                jne(fail);
            );
        }
        if self.has_pointer && self.pushed.len() == 1 {
            asm!(code, leave(););
            return;
        }
        if self.is_dynamic || (self.has_pointer && code.one_in(3)) {
            let below = 8 * (self.pushed.len() as i32 - 1);
            asm!(code, lea(rsp, qword_ptr(rbp - below)););
        } else if self.room > 0 {
            asm!(code, add(rsp, self.room););
        }
        for reg in self.pushed.iter().rev() {
            asm!(code, pop(reg.q););
        }
    }
}
