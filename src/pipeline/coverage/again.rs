//! Programs that were met before. A build runs the same few thousands of times: another process of one is told of by what is
//! known, and is not looked at, since its loader tells of code that is new.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::{Brought, Coverage};
use crate::event::process::{Facts, FileId, Sighted};
use crate::host::processes;
use crate::image::FileIdentity;
use crate::select::Place;

/// What is remembered of each; then it is learnt anew.
const MET_MAX: usize = 4096;
/// A container's own files may come after its first process.
const FRESH: Duration = Duration::from_secs(2);

/// A file, as the kernel calls it, and the mount namespace that it is run in.
type Program = (FileId, u32);

/// What is known of programs and places.
#[derive(Default)]
pub struct Met {
    /// In which state the file was, and how the first process saw it.
    programs: HashMap<Program, (FileIdentity, Option<String>)>,
    /// By cgroup and mount namespace.
    places: HashMap<(u64, u32), (Instant, Place)>,
}

impl Met {
    /// A program was examined.
    pub fn keep(&mut self, facts: &Facts, identity: FileIdentity, exe: Option<String>) {
        if self.programs.len() >= MET_MAX {
            self.programs.clear();
        }
        let program = (facts.exe(), facts.mount_namespace());
        self.programs.insert(program, (identity, exe));
    }

    fn place(&self, key: (u64, u32)) -> Option<Place> {
        let (since, place) = self.places.get(&key)?;
        (since.elapsed() < FRESH).then(|| place.clone())
    }

    fn keep_place(&mut self, key: (u64, u32), place: Place) {
        if self.places.len() >= MET_MAX {
            self.places.clear();
        }
        self.places.insert(key, (Instant::now(), place));
    }
}

impl Brought {
    /// Whatever its processes load later is told.
    fn needs_no_look(&self) -> bool {
        match self.is_dynamic {
            true => self.tells,
            false => !self.loads_others,
        }
    }
}

impl Coverage<'_> {
    /// A process runs a program. False: it is not known well enough.
    pub(super) fn meet_again(&mut self, sighted: &Sighted) -> bool {
        let (caller, facts) = (&sighted.caller, &sighted.facts);
        let process = caller.process;
        let met = (facts.exe(), facts.mount_namespace());
        let Some((identity, mut exe)) = self.met.programs.get(&met).cloned() else {
            return false;
        };
        // Of a process that has ended already, nobody can tell.
        if let Ok(now) = fs::metadata(format!("/proc/{}/exe", process.pid)) {
            // It may have been rewritten in place.
            if FileIdentity::from(&now) != identity {
                return false;
            }
            if now.nlink() > 1 {
                exe = super::exe_of(process).or(exe);
            }
        }
        let key = (identity, facts.mount_namespace());
        let brought = self.programs.get(&key);
        let Some(brought) = brought.filter(|brought| brought.needs_no_look()) else {
            return false;
        };
        let (files, tells) = (brought.files.clone(), brought.tells);
        self.tell(sighted, caller.ts_ns, exe);
        let comm = caller.comm.text().into_owned();
        let known = self.census.learn(process, comm, caller.ts_ns);
        known.tells = tells;
        known.program = Some(key);
        self.note_use(process, files);
        true
    }

    /// Where a process runs, if it can be told.
    pub(super) fn place(&mut self, sighted: &Sighted) -> Option<Place> {
        let (process, facts) = (sighted.caller.process, &sighted.facts);
        let key = (facts.cgroup(), facts.mount_namespace());
        if let Some(place) = self.met.place(key) {
            return Some(place);
        }
        let place = self.places.of(process.pid);
        let place = place.filter(|_| processes::is_alive(process))?;
        // It may have moved since.
        if self.places.is_cgroup(&place.cgroup, facts.cgroup()) {
            self.met.keep_place(key, place.clone());
        }
        Some(place)
    }
}
