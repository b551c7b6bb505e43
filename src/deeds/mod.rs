//! What processes do to the system: the kernel side's acts become deeds, which have paths, names and addresses instead of
//! numbers. A function of the events alone, in their order: nothing is looked up.
//!
//! What it does not know it does not say: a file whose opening was not seen has no path.

pub mod deed;
mod dns;
mod files;
mod network;
mod numbers;
pub mod path;
mod programs;
mod stdio;
mod watched;

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};

use crate::event::act::{Act, ActKind};
use crate::event::{Caller, Event, ProcessId};
use deed::{Blind, Deed, Identity, Ptrace, PtraceRequest, Signal, What};
use files::Files;
use network::Network;
use programs::Programs;

#[doc(hidden)]
pub use dns::fuzz_dns;
pub use programs::is_told as is_variable_told;
pub use watched::{Names, Watched};

/// Follows what processes do.
#[derive(Default)]
pub struct Deeds {
    /// Deeds so far.
    last: u64,
    files: Files,
    network: Network,
    programs: Programs,
}

/// How many of what: for the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeedCounts {
    /// Deeds told.
    pub deeds: u64,
    /// Acts that were not understood.
    pub strange: u64,
}

impl Deeds {
    /// Of files that are only read, those that fit are told.
    pub fn watch(&mut self, watched: Watched) {
        self.files.watched = Some(watched);
    }

    /// Whether an event is of interest here.
    pub fn concerns(event: &Event<'_>) -> bool {
        matches!(
            event,
            Event::Act { .. } | Event::Stdio { .. } | Event::Words { .. }
        )
    }

    /// Takes an event. What came of it, if it is a deed.
    pub fn push(&mut self, event: &Event<'_>) -> Option<Deed> {
        let (caller, what) = match event {
            Event::Act { caller, act } => (caller, self.what(caller, act)?),
            Event::Stdio { caller, stdio } => (caller, What::Stdio(stdio::told(stdio)?)),
            Event::Words { caller, words } => {
                self.programs.hear(caller.process, words);
                return None;
            }
            _ => return None,
        };
        self.last += 1;
        Some(Deed {
            number: self.last,
            ts_ns: caller.ts_ns,
            process: caller.process,
            tid: caller.tid,
            comm: caller.comm,
            what,
        })
    }

    /// The process has ended, and nothing more comes of it.
    pub fn forget(&mut self, process: ProcessId) {
        self.files.forget(process);
        self.programs.forget(process);
    }

    /// Deeds so far.
    pub fn count(&self) -> u64 {
        self.last
    }

    fn what(&mut self, caller: &Caller, act: &Act<'_>) -> Option<What> {
        Some(match act.kind {
            ActKind::Fork => What::Fork(programs::fork(act)),
            ActKind::Exec => What::Exec(Box::new(self.programs.exec(caller.process, act))),
            ActKind::ExecFailed => What::Exec(Box::new(programs::failed(act))),
            ActKind::Exit => What::Exit(programs::exit(act)),
            ActKind::Open
            | ActKind::Written
            | ActKind::Truncate
            | ActKind::Rename
            | ActKind::Unlink
            | ActKind::Rmdir
            | ActKind::Link
            | ActKind::Symlink
            | ActKind::Mkdir
            | ActKind::Mknod
            | ActKind::Chmod
            | ActKind::Chown
            | ActKind::Mmap
            | ActKind::Memfd => self.files.what(caller.process, act)?,
            ActKind::Flow if network::is_pipe(act) => What::Stdio(stdio::untold(act)?),
            ActKind::Connect
            | ActKind::Bind
            | ActKind::Listen
            | ActKind::Accept
            | ActKind::Connected
            | ActKind::Flow
            | ActKind::SendTo => self.network.what(act)?,
            ActKind::Dns => What::Dns(self.network.dns(act)?),
            ActKind::Signal => What::Signal(signal(act)),
            ActKind::Ptrace => What::Ptrace(ptrace(act)),
            ActKind::SetId => What::Identity(identity(act)),
            ActKind::Blind => What::Blind(blind(act)),
        })
    }
}

fn identity(act: &Act<'_>) -> Identity {
    let ([uid, gid], [euid, egid]) = (act.pair(0), act.pair(1));
    Identity {
        uid,
        gid,
        euid,
        egid,
        error: numbers::failure(act),
    }
}

fn signal(act: &Act<'_>) -> Signal {
    let [target, signal, ..] = act.value;
    Signal {
        signal: signal as i32,
        name: numbers::signal(signal as i32),
        target: target as i32,
        error: numbers::failure(act),
    }
}

/// `process_vm_readv` and `process_vm_writev` have no request: numbers that ptrace(2) does not use.
const READS: u64 = u64::MAX;
const WRITES: u64 = u64::MAX - 1;

/// Requests by include/uapi/linux/ptrace.h.
fn ptrace(act: &Act<'_>) -> Ptrace {
    let [request, target, ..] = act.value;
    let request = match request {
        READS => PtraceRequest::Named("read"),
        WRITES => PtraceRequest::Named("write"),
        0 => PtraceRequest::Named("traceme"),
        16 => PtraceRequest::Named("attach"),
        0x4206 => PtraceRequest::Named("seize"),
        other => PtraceRequest::Number(other),
    };
    Ptrace {
        request,
        target: target as i32,
        error: numbers::failure(act),
    }
}

fn blind(act: &Act<'_>) -> Blind {
    Blind {
        by: match act.value {
            [1, ..] => "io_uring",
            [2, ..] => "compat",
            _ => "system_calls",
        },
    }
}

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Names a process for good, as in every line.
fn process_name<S: Serializer>(process: &ProcessId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("p{}.{}", process.pid, process.start_ns))
}

fn path_text<S: Serializer>(path: &Option<path::Path>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(path::Path::text).serialize(serializer)
}

/// Room for one thing of each process or descriptor: as many as the kernel side follows (`DESCRIPTORS_MAX`).
const KEPT_MAX: usize = 65536;

/// Keeps a value unless there are too many already.
fn keep<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() < KEPT_MAX || map.contains_key(&key) {
        map.insert(key, value);
    }
}

#[cfg(test)]
mod tests;
