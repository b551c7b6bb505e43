//! The ways to run the program, and which of them this machine has.

use crate::others;
use crate::support::observer::Abilities;

/// Bytes of plaintext a second, written and read.
const GIGABYTE: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Bare,
    Agentsight,
    Recording,
    RecordingPaced,
    Bpftrace,
    BpftraceCount,
    Fritap,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Agentsight => "agentsight, JSON",
            Self::Recording => "agentsight, recording",
            Self::RecordingPaced => "agentsight, recording, at 1 GB/s",
            Self::Bpftrace => "bpftrace, 200 B kept",
            Self::BpftraceCount => "bpftrace, counts only",
            Self::Fritap => "friTap",
        }
    }

    /// Messages of this size a second, if it is not to go flat out.
    pub fn rate(self, size: u64) -> Option<u64> {
        (self == Self::RecordingPaced).then(|| GIGABYTE / (2 * size))
    }

    /// Whether it says something about messages of this size: small ones never make a gigabyte a second.
    pub fn is_for(self, size: u64) -> bool {
        self != Self::RecordingPaced || size >= 4096
    }

    /// Those that can be run; the others are named.
    pub fn usable(abilities: Abilities) -> Vec<Self> {
        let all = [
            (Self::Bare, None),
            (Self::Agentsight, None),
            (
                Self::Recording,
                abilities
                    .record
                    .then_some(())
                    .map_or(Some("attach --record"), |()| None),
            ),
            (
                Self::RecordingPaced,
                abilities
                    .record
                    .then_some(())
                    .map_or(Some("attach --record"), |()| None),
            ),
            (Self::Bpftrace, others::lacks_bpftrace()),
            (Self::BpftraceCount, others::lacks_bpftrace()),
            (Self::Fritap, others::lacks_fritap()),
        ];
        let usable = all.into_iter().filter(|(way, lacks)| {
            if let Some(what) = lacks {
                eprintln!("skipped: {}: no {what}", way.name());
            }
            lacks.is_none()
        });
        usable.map(|(way, _)| way).collect()
    }
}
