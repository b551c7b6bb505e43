//! Whom the kernel side follows: the scope of a run, processes that are named, answers to what it asks.

use libbpf_rs::{Iter, IterOpts, MapCore, MapFlags};

use super::Session;
use super::libbpf::Blame;
use crate::error::{Context, Result};
use crate::event::process::{Property, Question};
use crate::event::{ProcessId, wire};

/// Generations of processes whose children have lower pids, found at a time.
const SCANS_MAX: usize = 4;
/// Of `enum agentsight_track`.
const TRACK_BORN: u8 = 8;

/// Whom to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody; of processes, only that they speak.
    Everybody,
    /// Everybody; processes are told of when they start.
    Machine,
    /// Those that are named with [`Session::add_root`], and those of which all these properties have been answered with
    /// yes ([`Session::answer`]).
    Selected {
        /// A set of [`Property::bit`].
        asked: u32,
        /// And what they start, whatever it is.
        follow: bool,
    },
}

impl Scope {
    /// Nobody, until somebody is named.
    pub const NOBODY: Self = Self::Selected {
        asked: 0,
        follow: false,
    };
}

impl Session {
    /// From now on, ends of processes are told, and what else the scope needs. Those that run already are told of with
    /// the next [`Session::scan`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn follow_processes(&mut self) -> Result<()> {
        let progs = &self.skel.progs;
        let mut wanted = vec![(&progs.process_exit, "sched_process_exit")];
        if self.scope != Scope::Everybody {
            wanted.push((&progs.process_execed, "sched_process_exec"));
        }
        if let Scope::Selected { asked, .. } = self.scope {
            wanted.push((&progs.process_forked, "sched_process_fork"));
            if asked & Property::Comm.bit() != 0 {
                wanted.push((&progs.process_renamed, "task_rename"));
            }
            if asked & Property::Place.bit() != 0 {
                wanted.push((&progs.process_moved, "cgroup_attach_task"));
            }
        }
        for (program, name) in wanted {
            let link = program
                .attach_raw_tracepoint(name)
                .blame(|| format!("failed to attach to tracepoint {name}"))?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Looks at all processes: tells of those that are to be followed and are not yet, and asks about those of which it
    /// cannot be said.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn scan(&self) -> Result<()> {
        // A child may come before its parent: once more, until nobody new is found.
        let mut known = usize::MAX;
        for _ in 0..SCANS_MAX {
            let now = self.tracked().len();
            if now == known {
                break;
            }
            known = now;
            self.scan_once()?;
        }
        let roots = &self.skel.maps.roots;
        for pid in roots.keys().collect::<Vec<_>>() {
            let _ = roots.delete(&pid);
        }
        Ok(())
    }

    fn scan_once(&self) -> Result<()> {
        let failed = || "failed to look at the running processes";
        let link = self
            .skel
            .progs
            .scan
            .attach_iter_with_opts(IterOpts::None)
            .blame(failed)?;
        let mut run = Iter::new(&link).blame(failed)?;
        std::io::copy(&mut run, &mut std::io::sink()).context(failed)?;
        Ok(())
    }

    /// With the next [`Session::scan`], this process is followed.
    ///
    /// # Errors
    /// More than 1024 are named.
    pub fn add_root(&self, pid: u32) -> Result<()> {
        let roots = &self.skel.maps.roots;
        roots
            .update(&pid.to_ne_bytes(), &[1], MapFlags::ANY)
            .blame(|| format!("failed to name process {pid}"))
    }

    /// Answers a question for good: all processes of which this can be said.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn answer(&self, question: &Question, is_wanted: bool) -> Result<()> {
        let answers = &self.skel.maps.answers;
        answers
            .update(
                &question.encode(),
                &[1 + u8::from(is_wanted)],
                MapFlags::ANY,
            )
            .blame(|| "failed to answer the BPF programs")
    }

    /// The processes that are followed now.
    pub fn tracked(&self) -> Vec<ProcessId> {
        let keys = self.skel.maps.tracked.keys();
        keys.filter_map(|key| wire::conn_key_process(&key))
            .collect()
    }

    /// Whether a process that is followed has been so since its first instruction.
    pub fn is_followed_since_birth(&self, process: ProcessId) -> bool {
        let why = self
            .skel
            .maps
            .tracked
            .lookup(&wire::process_key(process), MapFlags::ANY);
        let why = why.ok().flatten();
        why.is_some_and(|why| why.iter().any(|why| why & TRACK_BORN != 0))
    }
}
