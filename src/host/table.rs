//! All processes of one moment, and what is kept about each of them as long as nothing shows that it has changed. A
//! round over processes that do nothing costs one small read for each.
//!
//! A pid alone is nobody: the start time belongs to it.

use std::collections::HashMap;

use procfs::process::{Stat, StatFlags};

use super::processes;

/// What is kept is looked at again after this many rounds, whatever the process seems to do: a change may hide, as when
/// one mapping goes and another one of the same size comes.
const LOOK_AGAIN: u64 = 10;

/// A process, as /proc/PID/stat tells it: all that is cheap to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// As we see it.
    pub pid: i32,
    /// When it started, in ticks of the boot clock.
    pub start: u64,
    /// Its parent's pid; 0: in another pid namespace, or none.
    pub parent: i32,
    /// Its name.
    pub comm: String,
    /// It runs in the kernel only.
    pub is_kernel: bool,
    /// It has ended, and its parent has not asked how.
    pub is_zombie: bool,
    /// Bytes of address space: another number, other mappings.
    memory: u64,
    /// Where its program's code is, as far as we may know: exec changes it.
    code: (u64, u64),
}

impl Process {
    /// As it is now; `None` if there is none.
    pub fn read(pid: i32) -> Option<Self> {
        let stat: Stat = processes::read(&format!("/proc/{pid}/stat")).ok()?;
        Some(Self::from(stat))
    }

    /// Whether its pid still is its own.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.pid, self.start) == (other.pid, other.start)
    }
}

impl From<Stat> for Process {
    fn from(stat: Stat) -> Self {
        let flags = StatFlags::from_bits_truncate(stat.flags);
        Self {
            pid: stat.pid,
            start: stat.starttime,
            parent: stat.ppid,
            is_kernel: flags.contains(StatFlags::PF_KTHREAD),
            is_zombie: matches!(stat.state, 'Z' | 'X' | 'x'),
            memory: stat.vsize,
            code: (stat.startcode, stat.endcode),
            comm: stat.comm,
        }
    }
}

/// All processes, in the order of their pids. Those that end meanwhile may be left out.
pub fn all() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut processes: Vec<Process> = pids.filter_map(Process::read).collect();
    processes.sort_by_key(|process| process.pid);
    processes
}

/// What is known of processes that were seen before.
#[derive(Debug)]
pub struct Memory<T> {
    round: u64,
    known: HashMap<i32, (Process, T)>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self {
            round: 0,
            known: HashMap::new(),
        }
    }
}

impl<T> Memory<T> {
    /// A new round: these are there now, all others have ended and are forgotten.
    pub fn begin(&mut self, now: &[Process]) {
        self.round = self.round.wrapping_add(1);
        let there = |known: &Process| {
            let at = now.binary_search_by_key(&known.pid, |process| process.pid);
            at.is_ok_and(|at| now.get(at).is_some_and(|process| process.is_same(known)))
        };
        self.known.retain(|_, (process, _)| there(process));
    }

    /// What was kept, if nothing shows that it has changed and it is not time for another look.
    pub fn fresh(&self, process: &Process) -> Option<&T> {
        let (known, kept) = self.known.get(&process.pid)?;
        // Not all in the same round.
        let turn = self.round.wrapping_add(process.pid.unsigned_abs().into());
        (known == process && !turn.is_multiple_of(LOOK_AGAIN)).then_some(kept)
    }

    /// What was kept about this very process, whatever it has done since.
    pub fn last(&self, process: &Process) -> Option<&T> {
        let (known, kept) = self.known.get(&process.pid)?;
        known.is_same(process).then_some(kept)
    }

    /// Keeps this.
    pub fn keep(&mut self, process: &Process, what: T) {
        self.known.insert(process.pid, (process.clone(), what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept is told again for the same process in the same state, and not for one that has changed, or that has
    /// another's pid; and now and then there is another look.
    #[test]
    fn memory_is_of_one_process() {
        let own = Process::read(std::process::id().cast_signed()).unwrap();
        assert!(all().iter().any(|process| process.is_same(&own)));
        let mut memory = Memory::default();
        memory.keep(&own, "kept");
        let mut looks = 0;
        for _ in 0..3 * LOOK_AGAIN {
            memory.begin(std::slice::from_ref(&own));
            looks += u64::from(memory.fresh(&own).is_none());
        }
        assert_eq!(looks, 3);
        let memory_changed = Process {
            memory: own.memory + 4096,
            ..own.clone()
        };
        assert_eq!(memory.fresh(&memory_changed), None);
        assert_eq!(memory.last(&memory_changed), Some(&"kept"));
        let other = Process {
            start: own.start + 1,
            ..own.clone()
        };
        assert_eq!(memory.last(&other), None);
        memory.begin(&[other]);
        assert_eq!(memory.last(&own), None);
    }
}
