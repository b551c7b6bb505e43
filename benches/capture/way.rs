//! The ways to run the program, and which of them this machine has.

use crate::others;
use crate::support::observer::Abilities;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Bare,
    Agentsight,
    Recording,
    Classic,
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
            Self::Classic => "agentsight, JSON, classic probe sites",
            Self::Bpftrace => "bpftrace, 200 B kept",
            Self::BpftraceCount => "bpftrace, counts only",
            Self::Fritap => "friTap",
        }
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
                Self::Classic,
                abilities
                    .sites
                    .then_some(())
                    .map_or(Some("attach --probe-sites"), |()| None),
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
