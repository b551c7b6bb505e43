//! What a hit of a probe costs the program that runs into it, by the instruction under it. Measured by
//! `doctor --bench` on the machine at hand; else as measured once on a known kernel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::discover::finding::Form;
use crate::image::Arch;

/// Prices in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceList {
    /// Where they come from.
    pub source: Source,
    /// A hit by the instruction under the probe. What is not there costs as much as [`Form::Other`].
    pub forms: BTreeMap<Form, u32>,
    /// What a return probe adds to the entry probe at the same place.
    pub return_probe: u32,
}

/// Where prices come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In this program: Linux 6.18 on x86-64 in a virtual machine; aarch64 by its kernel's rules.
    BuiltIn,
    /// Measured here.
    Measured {
        /// `uname -rv` of the kernel.
        kernel: String,
        /// The processor's model name.
        processor: String,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in, as once measured on Linux 6.18"),
            Self::Measured { kernel, processor } => {
                write!(f, "measured on Linux {kernel}, {processor}")
            }
        }
    }
}

/// Emulated forms and what they cost, nanoseconds; everything else is single-stepped.
const X86: &[(Form, u32)] = &[
    (Form::Branch, 950),
    (Form::Call, 950),
    (Form::Jump, 950),
    (Form::Nop, 680),
    (Form::Nop5, 500),
    (Form::Other, 11_500),
    (Form::Push, 680),
];

/// Linux arch/arm64/kernel/probes/decode-insn.c (6.12), arm_probe_decode_insn: what is simulated. Prices are
/// those of x86-64: only their order matters.
const AARCH64: &[(Form, u32)] = &[
    (Form::Address, 950),
    (Form::Branch, 950),
    (Form::Call, 950),
    (Form::Jump, 950),
    (Form::Literal, 950),
    (Form::Nop, 680),
    (Form::Other, 11_500),
    (Form::Return, 950),
];

const RETURN_PROBE: u32 = 1_000;

impl PriceList {
    /// Without a measurement on this machine.
    pub fn built_in(arch: Arch) -> Self {
        let forms = match arch {
            Arch::Aarch64 => AARCH64,
            _ => X86,
        };
        Self {
            source: Source::BuiltIn,
            forms: forms.iter().copied().collect(),
            return_probe: RETURN_PROBE,
        }
    }

    /// A hit of a probe on such an instruction.
    pub fn of(&self, form: Form) -> u32 {
        let other = || self.forms.get(&Form::Other).copied().unwrap_or(u32::MAX);
        self.forms.get(&form).copied().unwrap_or_else(other)
    }
}
