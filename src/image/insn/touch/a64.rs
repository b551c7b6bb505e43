//! aarch64, by groups of encodings (Arm ARM DDI 0487, C4.1). Fields that may name a register that is
//! written are taken for written, unless the group is one of the few that compilers use all the time.

use super::{Moved, Reg, Store, Target, Touch};

/// The stack pointer where an encoding means that by 31, as [`Reg`] has it.
const SP: u32 = 31;
const LINK: u32 = 30;

pub(super) fn touch(code: &[u8]) -> Option<Touch> {
    let word = u32::from_le_bytes(code.get(..4)?.try_into().ok()?);
    // SVE, SME and what is not allocated
    if word & 0x1a00_0000 == 0 {
        return Some(Touch::UNKNOWN);
    }
    Some(if word & 0x1c00_0000 == 0x1400_0000 {
        branch_or_system(word)
    } else if word & 0x0a00_0000 == 0x0800_0000 {
        memory(word)
    } else {
        compute(word)
    })
}

fn registers(written: u32) -> Touch {
    Touch {
        written,
        moved: None,
        store: Store::None,
        target: Target::Unknown,
    }
}

fn field(word: u32, low: u32) -> u32 {
    (word >> low) & 31
}

/// Never the zero register: 31 means nothing is kept.
fn general(number: u32) -> u32 {
    if number == 31 { 0 } else { 1 << number }
}

fn branch_or_system(word: u32) -> Touch {
    let is_hint = word & 0xffff_f01f == 0xd503_201f;
    let is_nop = word == 0xd503_201f;
    let is_landing = word & 0xffff_ff3f == 0xd503_241f;
    let is_system = word & 0xff00_0000 == 0xd500_0000;
    let is_exception = word & 0xff00_0000 == 0xd400_0000;
    let is_call = word & 0xfc00_0000 == 0x9400_0000 || word & 0xfe60_0000 == 0xd620_0000;
    match () {
        () if is_nop || is_landing => registers(0),
        // Signs or checks addresses.
        () if is_hint => registers(1 << 16 | 1 << 17 | 1 << LINK),
        () if is_exception => Touch::UNKNOWN,
        () if is_system => Touch {
            store: Store::Anywhere,
            ..registers(general(field(word, 0)))
        },
        () if is_call => registers(1 << LINK),
        () if word & 0xffff_fc1f == 0xd61f_0000 => Touch {
            target: Target::Register(Reg(field(word, 5) as u8)),
            ..registers(0)
        },
        () => registers(0),
    }
}

fn compute(word: u32) -> Touch {
    let (rd, rn) = (field(word, 0), field(word, 5));
    let wide = word >> 31 == 1;
    // add, sub (immediate): 31 is the stack pointer unless flags are set, too
    if word & 0x1f80_0000 == 0x1100_0000 {
        let sets_flags = word & 0x2000_0000 != 0;
        let number = if sets_flags { general(rd) } else { 1 << rd };
        let shift = 12 * ((word >> 22) & 1);
        let value = i64::from((word >> 10 & 0xfff) << shift);
        let by = if word & 0x4000_0000 == 0 {
            value
        } else {
            -value
        };
        let moved = (wide && number != 0).then_some(Moved {
            dst: Reg(rd as u8),
            src: Reg(rn as u8),
            by,
        });
        return Touch {
            moved,
            ..registers(number)
        };
    }
    // orr (shifted register) from the zero register: mov
    if word & 0xffe0_ffe0 == 0xaa00_03e0 && rd != 31 && field(word, 16) != 31 {
        let moved = Moved {
            dst: Reg(rd as u8),
            src: Reg(field(word, 16) as u8),
            by: 0,
        };
        return Touch {
            moved: Some(moved),
            ..registers(1 << rd)
        };
    }
    // and, orr, eor (immediate) and add, sub (extended register) without flags may write it.
    let logical = word & 0x1f80_0000 == 0x1200_0000 && word & 0x6000_0000 != 0x6000_0000;
    let extended = word & 0x1fe0_0000 == 0x0b20_0000 && word & 0x2000_0000 == 0;
    let tagged = word & 0x1f80_0000 == 0x1180_0000;
    registers(if logical || extended || tagged {
        1 << rd
    } else {
        general(rd)
    })
}

fn memory(word: u32) -> Touch {
    let (rt, rn, rt2, rs) = (
        field(word, 0),
        field(word, 5),
        field(word, 10),
        field(word, 16),
    );
    let is_vector = word & (1 << 26) != 0;
    let loaded = |number: u32| if is_vector { 0 } else { general(number) };
    // ldr (literal); prfm writes nothing, and is taken for a load.
    if word & 0x3b00_0000 == 0x1800_0000 {
        return registers(loaded(rt));
    }
    if word & 0x3a00_0000 == 0x2800_0000 {
        let loads = word & (1 << 22) != 0;
        // stgp scales otherwise.
        if word & 0xfe40_0000 == 0x6800_0000 {
            return Touch::UNKNOWN;
        }
        let written = if loads { loaded(rt) | loaded(rt2) } else { 0 };
        let scale = 2 + if is_vector { word >> 30 } else { word >> 31 };
        let offset = i64::from((word << 10).cast_signed() >> 25) << scale;
        let mode = (word >> 23) & 3;
        return access(Plain {
            rn,
            written,
            loads,
            offset,
            size: 2 << scale,
            post: mode == 1,
            back: mode & 1 == 1,
        });
    }
    let is_single = word & 0x3a00_0000 == 0x3800_0000;
    let opc = (word >> 22) & 3;
    let wide_vector = is_vector && opc & 2 != 0;
    let scale = if wide_vector { 4 } else { word >> 30 };
    let loads = if is_vector { opc & 1 == 1 } else { opc != 0 };
    let plain = Plain {
        rn,
        written: if loads { loaded(rt) } else { 0 },
        loads,
        offset: 0,
        size: 1 << scale,
        post: false,
        back: false,
    };
    // unsigned offset
    if is_single && word & (1 << 24) != 0 {
        let offset = i64::from((word >> 10) & 0xfff) << scale;
        return access(Plain { offset, ..plain });
    }
    // unscaled, pre- and post-indexed
    if is_single && word & (1 << 21) == 0 {
        let mode = (word >> 10) & 3;
        return access(Plain {
            offset: i64::from((word << 11).cast_signed() >> 23),
            post: mode == 1,
            back: mode & 1 == 1,
            ..plain
        });
    }
    // register offset
    if is_single && (word >> 10) & 3 == 2 {
        let store = if loads { Store::None } else { Store::Anywhere };
        return Touch {
            store,
            ..registers(plain.written)
        };
    }
    // Exclusive, ordered, atomic, structures: any field may be written.
    Touch {
        store: Store::Anywhere,
        ..registers(general(rt) | general(rt2) | general(rs) | 1 << rn)
    }
}

/// Loads and stores at a register and a number.
struct Plain {
    rn: u32,
    written: u32,
    loads: bool,
    offset: i64,
    size: u32,
    /// The offset is added after the access.
    post: bool,
    /// The base register is changed.
    back: bool,
}

fn access(plain: Plain) -> Touch {
    let base = Reg(plain.rn.min(SP) as u8);
    let store = if plain.loads {
        Store::None
    } else {
        Store::At {
            base,
            offset: if plain.post { 0 } else { plain.offset },
            size: plain.size,
        }
    };
    let moved = plain.back.then_some(Moved {
        dst: base,
        src: base,
        by: plain.offset,
    });
    let changed = if plain.back { 1 << plain.rn } else { 0 };
    Touch {
        moved,
        store,
        ..registers(plain.written | changed)
    }
}
