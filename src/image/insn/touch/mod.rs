//! All that an instruction may change, for proofs: a register that is written in part counts as written,
//! and what is not understood counts as everything. What a callee does is not in it.

mod a64;
mod x86;

use super::{Decoder, Reg};
use crate::image::VirtAddr;

/// What an instruction changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// General purpose registers that may be written, as bits by number.
    pub written: u32,
    /// The one register, if any, whose new value is known by an old one.
    pub moved: Option<Moved>,
    /// Memory that may be written.
    pub store: Store,
    /// Where an indirect jump takes its target from.
    pub target: Target,
}

/// Where an indirect jump takes its target from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing that is known, or it is none.
    Unknown,
    /// Memory at a fixed distance from a register, or at a fixed place: a pointer, not a table.
    Pointer,
    /// A register.
    Register(Reg),
}

/// `dst = src + by`, with the value that `src` had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// To.
    pub dst: Reg,
    /// From.
    pub src: Reg,
    /// Bytes.
    pub by: i64,
}

/// Memory that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// None.
    None,
    /// At a fixed distance from what a register held before.
    At {
        /// The register.
        base: Reg,
        /// Added to it, bytes.
        offset: i64,
        /// Bytes.
        size: u32,
    },
    /// Anything.
    Anywhere,
}

impl Touch {
    /// What cannot be told.
    const UNKNOWN: Self = Self {
        written: u32::MAX,
        moved: None,
        store: Store::Anywhere,
        target: Target::Unknown,
    };
}

impl Decoder<'_> {
    /// What the instruction at `addr` changes; `None` if there is none.
    pub fn touch(&self, addr: VirtAddr) -> Option<Touch> {
        let code = self.image.code_at(addr)?;
        if self.is_x86 {
            x86::touch(code, addr)
        } else {
            a64::touch(code)
        }
    }
}
