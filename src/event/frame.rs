//! What the capturing side hands to the output side, in order. The output is a function of these frames
//! and of nothing else: no clock, no kernel. A recording is a file of them.

use std::sync::Arc;

use super::block::Block;
use super::process::{Missed, ProcessInfo};
use super::wire::{ConnState, Counter};
use super::{Caller, Function};

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// What the kernel side has counted since the start of the run.
    Counters(Vec<(Counter, u64)>),
    /// The last frame.
    End(End),
    /// A process ended, and all that it said came before this.
    Exited {
        /// Which, and when.
        caller: Caller,
        /// What the kernel's table says of connections then.
        open: Vec<ConnState>,
    },
    /// From now on, records may name this function.
    Function {
        /// By this number.
        index: u16,
        /// The function.
        function: Arc<Function>,
    },
    /// Probes came after a process could have spoken.
    Missed(Arc<Missed>),
    /// What is known of a process, now or anew.
    Process(Arc<ProcessInfo>),
    /// Records in the order of the ring buffer.
    Records(Block),
    /// Nothing more came up to this time, in nanoseconds of the boot clock.
    Tick(u64),
    /// Patterns of files whose reading is told.
    Watched(Vec<String>),
}

/// How things stand at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Connections that are open still.
    pub open: Vec<ConnState>,
    /// What the kernel side has counted.
    pub counters: Vec<(Counter, u64)>,
    /// Secrets that were masked before the frames were written.
    pub masked: u64,
    /// Compressed bodies and messages that were left out then, from the secret on that was found in them.
    pub left_out: u64,
    /// Pieces of coded connections in which secrets could not be looked for, since nobody knew where a frame begins.
    pub unread: u64,
}

impl Frame {
    /// Memory that it takes, in bytes.
    pub fn cost(&self) -> usize {
        let content = match self {
            Self::Counters(counters) => size_of_val(counters.as_slice()),
            Self::End(end) => size_of_val(end.open.as_slice()),
            Self::Exited { open, .. } => size_of_val(open.as_slice()),
            Self::Function { function, .. } => function.library.len() + function.name.len(),
            Self::Missed(missed) => missed.file.len() + size_of::<Missed>(),
            Self::Process(info) => {
                let names = [&info.exe, &info.cgroup].into_iter().flatten();
                names.map(String::len).sum::<usize>() + size_of::<ProcessInfo>()
            }
            Self::Records(block) => block.len() + block.room(),
            Self::Tick(_) => 0,
            Self::Watched(patterns) => patterns.iter().map(String::len).sum(),
        };
        size_of::<Self>() + content
    }
}
