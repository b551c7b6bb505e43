//! What a function hands to the functions it calls, as far as that is constant: a small constant
//! propagation over one [`Body`]. Of memory only the function's own stack frame is followed, on the trust
//! that callees leave its spilled registers alone; what is not certain is [`Value::Unknown`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::VirtAddr;
use super::function::Body;
use super::insn::{Access, Decoder, Effect, Flow, Insn, REGISTERS, Reg};

/// Most conditional jumps that one way takes from its start, both sides each.
const FORKS_MAX: usize = 4;
/// Most instructions of one way.
const STEPS_MAX: usize = 200;
/// Most ways from one start.
const WAYS_MAX: usize = 16;
/// Most places of the stack frame that are followed.
const SLOTS_MAX: usize = 64;
/// Rounds over all blocks until they agree; more would be a contrived function.
const ROUNDS_MAX: usize = 64;

/// Most instructions in all rounds, and as many again on all ways; no function that a compiler made is known to take
/// a tenth of it.
const WORK_MAX: usize = 1 << 19;

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Unknown,
    /// A number or an address.
    Const(u64),
    /// An address in the function's own stack frame, relative to the stack pointer at its entry.
    Stack(i64),
    /// What the caller handed in as this argument, from 0.
    Argument(u8),
}

impl Value {
    /// The number, if it is one.
    pub fn constant(self) -> Option<u64> {
        match self {
            Self::Const(value) => Some(value),
            _ => None,
        }
    }

    fn add(self, value: i64) -> Self {
        match self {
            Self::Const(base) => Self::Const(base.wrapping_add_signed(value)),
            Self::Stack(base) => base.checked_add(value).map_or(Self::Unknown, Self::Stack),
            _ if value == 0 => self,
            _ => Self::Unknown,
        }
    }

    fn narrow(self) -> Self {
        match self {
            Self::Const(value) => Self::Const(value & 0xffff_ffff),
            // The lower half of an `int` argument is the argument.
            Self::Argument(_) => self,
            _ => Self::Unknown,
        }
    }
}

/// One call, with what its first six arguments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallArgs {
    /// The call instruction.
    pub at: VirtAddr,
    /// Whom; `None` through a pointer.
    pub callee: Option<VirtAddr>,
    /// Arguments in order.
    pub args: [Value; 6],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    registers: [Value; REGISTERS],
    /// What was stored in the stack frame, by offset.
    frame: BTreeMap<i64, Value>,
}

impl State {
    fn get(&self, reg: Reg) -> Value {
        self.registers.get(reg.index()).copied().unwrap_or_default()
    }

    fn set(&mut self, reg: Reg, value: Value) {
        if let Some(slot) = self.registers.get_mut(reg.index()) {
            *slot = value;
        }
    }

    fn lose(&mut self, mask: u32) {
        for (n, slot) in self.registers.iter_mut().enumerate() {
            if mask >> n & 1 == 1 {
                *slot = Value::Unknown;
            }
        }
    }

    /// Keeps what both know alike.
    fn meet(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers) {
            if *mine != theirs {
                *mine = Value::Unknown;
            }
        }
        self.frame
            .retain(|offset, value| other.frame.get(offset) == Some(value));
    }

    fn step(&mut self, decoder: &Decoder<'_>, insn: &Insn) {
        let loaded = insn.access.and_then(|access| self.touch(&access));
        self.apply(decoder, insn.effect);
        if let Some((register, value)) = loaded {
            self.set(register, value);
        }
        if matches!(insn.flow, Flow::Call(_) | Flow::CallIndirect) {
            self.lose(decoder.lost_in_calls());
        }
    }

    /// A store to the frame is remembered; a load from it gives its register and value.
    fn touch(&mut self, access: &Access) -> Option<(Reg, Value)> {
        let Value::Stack(base) = self.get(access.base) else {
            return None;
        };
        let offset = base.checked_add(access.offset)?;
        if !access.store {
            let value = self.frame.get(&offset).copied().unwrap_or_default();
            return access.register.map(|register| (register, value));
        }
        // Whatever overlaps is gone.
        let size = i64::from(access.size);
        let low = offset.checked_sub(7)?;
        self.frame
            .retain(|place, _| *place < low || *place >= offset.saturating_add(size));
        let value = access.register.map(|register| self.get(register));
        if let Some(value) = value.filter(|value| *value != Value::Unknown)
            && self.frame.len() < SLOTS_MAX
        {
            self.frame.insert(offset, value);
        }
        None
    }

    fn apply(&mut self, decoder: &Decoder<'_>, effect: Effect) {
        let stack = decoder.stack_pointer();
        match effect {
            Effect::Set(reg, value) => self.set(reg, Value::Const(value)),
            Effect::Copy { dst, src, narrow } => {
                let value = self.get(src);
                self.set(dst, if narrow { value.narrow() } else { value });
            }
            Effect::Add { dst, src, value } => self.set(dst, self.get(src).add(value)),
            Effect::Insert { reg, shift, value } => {
                let old = self.get(reg).constant();
                let new = old.map_or(Value::Unknown, |old| {
                    Value::Const(old & !(0xffff << shift) | u64::from(value) << shift)
                });
                self.set(reg, new);
            }
            Effect::Push(number) => {
                let top = self.get(stack).add(-8);
                self.set(stack, top);
                if let (Value::Stack(top), Some(number)) = (top, number) {
                    self.frame.insert(top, Value::Const(number));
                }
            }
            Effect::Pop(reg) => {
                let top = self.get(stack);
                let value = match top {
                    Value::Stack(offset) => self.frame.get(&offset).copied(),
                    _ => None,
                };
                self.set(stack, top.add(8));
                self.set(reg, value.unwrap_or_default());
            }
            Effect::Lose(mask) => self.lose(mask),
        }
    }

    fn args(&self, decoder: &Decoder<'_>) -> [Value; 6] {
        std::array::from_fn(|n| {
            decoder
                .argument(n)
                .map_or(Value::Unknown, |reg| self.get(reg))
        })
    }
}

/// The values in one function.
pub struct Values<'b, 'a> {
    decoder: &'b Decoder<'a>,
    body: &'b Body,
    /// What holds at the start of each block, whatever way led there.
    blocks: BTreeMap<VirtAddr, State>,
    /// Instructions that were looked at.
    work: Cell<usize>,
}

impl<'b, 'a> Values<'b, 'a> {
    /// Looks at one function.
    pub fn of(decoder: &'b Decoder<'a>, body: &'b Body) -> Self {
        let mut values = Self {
            decoder,
            body,
            blocks: BTreeMap::new(),
            work: Cell::new(0),
        };
        values.settle();
        values
    }

    fn at_entry(&self) -> State {
        let mut state = State {
            registers: [Value::Unknown; REGISTERS],
            frame: BTreeMap::new(),
        };
        for n in 0..6u8 {
            if let Some(reg) = self.decoder.argument(usize::from(n)) {
                state.set(reg, Value::Argument(n));
            }
        }
        state.set(self.decoder.stack_pointer(), Value::Stack(0));
        state
    }

    /// Starts of blocks: the entry, and what is jumped to or falls out of a jump or call.
    fn leaders(&self) -> BTreeSet<VirtAddr> {
        let mut leaders = BTreeSet::from([self.body.entry]);
        for insn in self.body.insns.values() {
            match insn.flow {
                Flow::Jump(target) => leaders.extend([target]),
                Flow::Branch(target) => leaders.extend([target, insn.end()]),
                Flow::Call(_) | Flow::CallIndirect => leaders.extend([insn.end()]),
                _ => {}
            }
        }
        leaders.retain(|leader| self.body.contains(*leader));
        leaders
    }

    fn settle(&mut self) {
        let leaders = self.leaders();
        self.blocks.insert(self.body.entry, self.at_entry());
        for _ in 0..ROUNDS_MAX {
            let mut changed = false;
            for leader in &leaders {
                changed |= self.flow_from(*leader, &leaders);
            }
            if !changed {
                return;
            }
            if self.work.get() > WORK_MAX {
                break;
            }
        }
        // Not settled: what is not certain is unknown.
        for state in self.blocks.values_mut() {
            state.lose(u32::MAX);
            state.frame.clear();
        }
    }

    /// Hands what holds at the end of a block on to those that follow; tells whether that was new.
    fn flow_from(&mut self, leader: VirtAddr, leaders: &BTreeSet<VirtAddr>) -> bool {
        let Some(mut state) = self.blocks.get(&leader).cloned() else {
            return false;
        };
        let mut changed = false;
        let mut at = leader;
        while let Some(insn) = self.body.insns.get(&at).copied() {
            state.step(self.decoder, &insn);
            self.work.update(|work| work + 1);
            at = insn.end();
            match insn.flow {
                Flow::Jump(target) => return self.merge(target, &state) | changed,
                Flow::Branch(target) => changed |= self.merge(target, &state),
                Flow::Return | Flow::Stop | Flow::JumpIndirect => return changed,
                _ => {}
            }
            if leaders.contains(&at) {
                return self.merge(at, &state) | changed;
            }
        }
        changed
    }

    fn merge(&mut self, leader: VirtAddr, state: &State) -> bool {
        if !self.body.contains(leader) {
            return false;
        }
        let Some(known) = self.blocks.get_mut(&leader) else {
            self.blocks.insert(leader, state.clone());
            return true;
        };
        let before = known.clone();
        known.meet(state);
        *known != before
    }

    /// Instructions that were looked at so far: what this has cost.
    pub fn work(&self) -> usize {
        self.work.get()
    }

    /// All calls with what is known of their arguments, sorted; one call several times if several
    /// ways lead there with other values. None if that takes too long: a part could mislead.
    pub fn calls(&self) -> Vec<CallArgs> {
        let mut calls = BTreeSet::new();
        for (leader, state) in &self.blocks {
            let mut ways = WAYS_MAX;
            self.follow(*leader, state.clone(), FORKS_MAX, &mut ways, &mut calls);
        }
        if self.work.get() > 2 * WORK_MAX {
            return Vec::new();
        }
        calls.into_iter().collect()
    }

    /// Goes on until the next call, on every way.
    fn follow(
        &self,
        start: VirtAddr,
        mut state: State,
        forks: usize,
        ways: &mut usize,
        calls: &mut BTreeSet<CallArgs>,
    ) {
        let mut at = start;
        for _ in 0..STEPS_MAX {
            let insn = self.body.insns.get(&at).copied();
            let Some(insn) = insn.filter(|_| self.work.get() <= 2 * WORK_MAX) else {
                return;
            };
            self.work.update(|work| work + 1);
            let callee = match insn.flow {
                Flow::Call(target) => Some(Some(target)),
                Flow::CallIndirect | Flow::JumpIndirect => Some(None),
                Flow::Jump(target) if !self.body.contains(target) => Some(Some(target)),
                _ => None,
            };
            if let Some(callee) = callee {
                let args = state.args(self.decoder);
                let at = insn.addr;
                calls.insert(CallArgs { at, callee, args });
                return;
            }
            state.step(self.decoder, &insn);
            at = insn.end();
            match insn.flow {
                Flow::Jump(target) => at = target,
                Flow::Branch(target) if forks > 0 && *ways > 0 => {
                    *ways -= 1;
                    self.follow(target, state.clone(), forks - 1, ways, calls);
                }
                Flow::Return | Flow::Stop => return,
                _ => {}
            }
        }
    }

    /// Shows every instruction to `visit`, with what is known of a register before it.
    pub fn visit(&self, mut visit: impl FnMut(&Insn, &dyn Fn(Reg) -> Value)) {
        for (leader, state) in &self.blocks {
            let mut state = state.clone();
            let mut at = *leader;
            while let Some(insn) = self.body.insns.get(&at) {
                self.work.update(|work| work + 1);
                visit(insn, &|reg| state.get(reg));
                state.step(self.decoder, insn);
                at = insn.end();
                let goes_on = matches!(insn.flow, Flow::Next | Flow::Call(_) | Flow::CallIndirect);
                if !goes_on || self.blocks.contains_key(&at) {
                    break;
                }
            }
        }
    }

    /// The call that comes next after the one at `at` where no conditional jump is taken.
    pub fn next_call(&self, at: VirtAddr) -> Option<CallArgs> {
        let start = self.body.insns.get(&at)?.end();
        let mut calls = BTreeSet::new();
        self.follow(
            start,
            self.blocks.get(&start)?.clone(),
            0,
            &mut 0,
            &mut calls,
        );
        calls.pop_first()
    }

    /// What the function returns on the way on from behind `at`, where that is a constant.
    pub fn result_after(&self, at: VirtAddr) -> Option<u64> {
        let mut at = self.body.insns.get(&at)?.end();
        let mut state = self.blocks.get(&at)?.clone();
        for _ in 0..STEPS_MAX {
            let insn = self.body.insns.get(&at)?;
            state.step(self.decoder, insn);
            match insn.flow {
                Flow::Return => return state.get(self.decoder.result()).constant(),
                Flow::Jump(target) => at = target,
                Flow::Stop | Flow::JumpIndirect => return None,
                // At the end stands the check of the stack protector: not taken.
                _ => at = insn.end(),
            }
        }
        None
    }
}
