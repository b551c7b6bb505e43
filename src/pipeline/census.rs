//! The processes of a run that we know of: what they are, when we last looked at what they have mapped, and which files
//! they are known to use. From this follows what each may have said before its probes were in place.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::coverage::ProgramKey;
use crate::event::ProcessId;

/// After an exec, a program's loader needs moments to map its libraries: these are the moments to look again, where no
/// probe in the loader tells.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(300),
];

/// A process.
pub struct Known {
    /// For good.
    pub process: ProcessId,
    /// Its name when it was last told of.
    pub comm: String,
    /// When it began what it does now, on the boot clock.
    pub since_ns: u64,
    /// When the kernel side began to report it, on the boot clock; 0: before it began.
    pub followed_ns: u64,
    /// When we last knew what it has mapped; what is not in `files` came later.
    pub looked_ns: u64,
    /// Files that it uses, by their number in the coverage.
    pub files: HashSet<usize>,
    /// Its loader tells of new libraries.
    pub tells: bool,
    /// What it runs.
    pub program: Option<ProgramKey>,
}

/// A time in which a process may have spoken through a file that had no probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// On the boot clock.
    pub from_ns: u64,
    /// On the boot clock.
    pub until_ns: u64,
}

impl Known {
    /// It turned out to use a file, whose probes were in place at this time. Tells what may have been missed, once.
    pub fn uses(&mut self, file: usize, attached_ns: u64) -> Option<Window> {
        if !self.files.insert(file) {
            return None;
        }
        let from_ns = self.since_ns.max(self.looked_ns);
        let until_ns = attached_ns.max(self.followed_ns);
        (until_ns > from_ns).then_some(Window { from_ns, until_ns })
    }
}

/// All of them, and when to look at which.
#[derive(Default)]
pub struct Census {
    known: BTreeMap<u32, Known>,
    /// When to look again at whom, and for the how-manieth time.
    looks: BTreeMap<(Instant, u32), (ProcessId, usize)>,
}

impl Census {
    /// A process has begun something.
    pub fn learn(&mut self, process: ProcessId, comm: String, since_ns: u64) -> &mut Known {
        let fresh = Known {
            process,
            comm,
            since_ns,
            followed_ns: 0,
            looked_ns: 0,
            files: HashSet::new(),
            tells: false,
            program: None,
        };
        self.known.remove(&process.pid);
        self.known.entry(process.pid).or_insert(fresh)
    }

    /// The process, if we know it and its pid is not another one's by now.
    pub fn find(&mut self, process: ProcessId) -> Option<&mut Known> {
        let known = self.known.get_mut(&process.pid);
        known.filter(|known| known.process == process)
    }

    /// It has ended.
    pub fn forget(&mut self, process: ProcessId) {
        if self.find(process).is_some() {
            self.known.remove(&process.pid);
        }
    }

    /// All processes, or those that do not tell by themselves what they load.
    pub fn processes(&self, all: bool) -> Vec<ProcessId> {
        let known = self.known.values().filter(|known| all || !known.tells);
        known.map(|known| known.process).collect()
    }

    /// Whether the very process is known.
    pub fn knows(&self, process: ProcessId) -> bool {
        let known = self.known.get(&process.pid);
        known.is_some_and(|known| known.process == process)
    }

    /// Whether a process of this pid is known.
    pub fn knows_pid(&self, pid: u32) -> bool {
        self.known.contains_key(&pid)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Looks at it again soon, several times.
    pub fn look_soon(&mut self, process: ProcessId, round: usize) {
        if let Some(wait) = LOOKS.get(round) {
            let at = Instant::now() + *wait;
            self.looks.insert((at, process.pid), (process, round));
        }
    }

    /// Whom to look at now.
    pub fn due(&mut self) -> Option<(ProcessId, usize)> {
        let (at, _) = *self.looks.first_key_value()?.0;
        if at > Instant::now() {
            return None;
        }
        self.looks.pop_first().map(|(_, look)| look)
    }

    /// How long until somebody is to be looked at.
    pub fn next_look(&self) -> Option<Duration> {
        let ((at, _), _) = self.looks.first_key_value()?;
        Some(at.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: ProcessId = ProcessId {
        pid: 7,
        start_ns: 100,
    };

    /// What may have been missed begins where we last knew better, and is told once.
    #[test]
    fn windows_begin_where_we_last_looked() {
        let mut census = Census::default();
        let known = census.learn(PROCESS, "x".into(), 200);
        assert_eq!(known.uses(1, 150), None);
        let window = |from_ns, until_ns| Some(Window { from_ns, until_ns });
        assert_eq!(known.uses(2, 250), window(200, 250));
        assert_eq!(known.uses(2, 250), None);
        known.looked_ns = 300;
        assert_eq!(known.uses(3, 290), None);
        assert_eq!(known.uses(4, 310), window(300, 310));
        let known = census.learn(PROCESS, "x".into(), 200);
        known.followed_ns = 400;
        assert_eq!(known.uses(1, 150), window(200, 400));
    }

    /// A pid that is used again is another process, and an exec begins anew.
    #[test]
    fn pids_are_used_again() {
        let mut census = Census::default();
        census.learn(PROCESS, "x".into(), 200).uses(1, 0);
        let other = ProcessId {
            start_ns: 500,
            ..PROCESS
        };
        assert!(census.find(other).is_none());
        census.forget(other);
        assert!(census.find(PROCESS).is_some());
        assert_eq!(census.learn(PROCESS, "y".into(), 600).files.len(), 0);
    }
}
