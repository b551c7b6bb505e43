//! What is done now and then, for what nobody told: ends and starts whose word was lost, libraries that came without one,
//! files that nobody uses any more.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{Brought, Coverage};
use crate::attach::boot_time_ns;
use crate::event::{Caller, Comm, ProcessId};
use crate::host::{processes, programs, table};

/// Between two looks for processes whose end was not told (a full ring may have lost it), and for libraries that came
/// without a word of the loader's.
const ALIVE_CHECK: Duration = Duration::from_secs(10);

impl Coverage<'_> {
    /// Now and then: forgets processes that ended, and looks at all others again, for those that load
    /// code without telling a loader that we know. Returns those whose end was not told.
    pub fn sweep(&mut self) -> Vec<Caller> {
        let is_thorough = self.checked_alive.elapsed() >= ALIVE_CHECK;
        let mut unheard = Vec::new();
        if is_thorough {
            self.checked_alive = Instant::now();
            if self.files.session.shares_pids() {
                unheard = self.find_ended();
            }
        }
        if !self.ended.is_empty() {
            self.files.session.forget(&self.ended);
            for process in std::mem::take(&mut self.ended) {
                self.census.forget(process);
            }
        }
        self.files.remove_misfits();
        // If it fails, the next one tells.
        let _ = self.files.session.tell_descriptors();
        if is_thorough && self.follows {
            self.find_unheard();
        }
        let processes = self.census.processes(is_thorough);
        for process in &processes {
            self.look(*process, boot_time_ns());
        }
        if is_thorough {
            self.release_stale(&processes);
        }
        unheard
    }

    /// Processes that ended without a word: a full ring may have lost it.
    fn find_ended(&mut self) -> Vec<Caller> {
        let session = &mut self.files.session;
        session.forget_calls(processes::has_thread);
        let mut known = session.processes();
        known.extend(session.tracked());
        known.extend(self.census.processes(true));
        let is_gone =
            |process: &ProcessId| !self.ended.contains(process) && !processes::is_alive(*process);
        let gone = known.into_iter().filter(is_gone);
        let caller = |process: ProcessId| Caller {
            ts_ns: boot_time_ns(),
            process,
            tid: process.pid,
            comm: Comm::default(),
        };
        gone.map(caller).collect()
    }

    /// Processes that are there, and of which no word arrived: a full ring may have lost it, or the question whether they
    /// are to be followed; and users change without a word.
    fn find_unheard(&mut self) {
        if !self.is_machine {
            self.is_scan_due = true;
            for process in self.files.session.tracked() {
                if !self.census.knows(process) && processes::is_alive(process) {
                    self.learn_late(process);
                }
            }
            return;
        }
        let own = std::process::id();
        for process in table::all() {
            let pid = process.pid.cast_unsigned();
            let is_one = !process.is_kernel && !process.is_zombie && pid != own;
            if is_one && !self.census.knows_pid(pid) {
                let start_ns = processes::ticks_to_ns(process.start);
                self.learn_late(ProcessId { pid, start_ns });
            }
        }
    }

    fn learn_late(&mut self, process: ProcessId) {
        let comm = programs::comm(process.pid).unwrap_or_default();
        let since_birth = self.files.session.is_followed_since_birth(process);
        let known = self.census.learn(process, comm, process.start_ns);
        known.followed_ns = if since_birth { 0 } else { boot_time_ns() };
    }

    fn release_stale(&mut self, processes: &[ProcessId]) {
        let mut used = HashSet::new();
        for process in processes {
            let mapped = processes::mapped_files(process.pid as i32);
            used.extend(mapped.into_iter().map(|mapped| mapped.inode));
        }
        self.files.release_stale(self.follows.then_some(&used));
        let files = &self.files;
        self.used.retain(|number| files.get(*number).is_some());
        let is_whole = |brought: &Brought| {
            let mut files = brought.files.iter().map(|number| files.get(*number));
            files.all(|file| file.is_some())
        };
        self.programs.retain(|_, brought| is_whole(brought));
        for brought in self.programs.values_mut() {
            brought.loads.retain(|number| files.get(*number).is_some());
        }
        // An open directory keeps a container's file system in use.
        let alive = processes
            .iter()
            .map(|process| programs::mount_namespace(process.pid));
        let alive: HashSet<u64> = alive.flatten().collect();
        self.roots
            .retain(|namespace, _| alive.contains(&u64::from(*namespace)));
    }
}
