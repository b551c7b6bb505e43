//! What processes have mapped: looked at when their loaders tell of something new, and now and then. What may have been said
//! before its probes were in place is told.

use std::sync::Arc;
use std::time::Duration;

use super::Coverage;
use crate::attach::{Loaded, boot_time_ns};
use crate::event::ProcessId;
use crate::event::frame::Frame;
use crate::event::process::Missed;
use crate::host::processes;
use crate::pipeline::census::Window;
use crate::pipeline::files::Covered;

impl Coverage<'_> {
    /// A process loaded code that was not known.
    pub fn expect_news(&mut self, loaded: Loaded) {
        if let Some(known) = self.census.find(loaded.process) {
            known.looked_ns = known.looked_ns.max(loaded.quiet_until_ns);
        }
        self.look(loaded.process, loaded.at_ns);
    }

    /// Covers what a process has mapped; what was not there at the last look came at `now_ns` or before.
    pub(super) fn look(&mut self, process: ProcessId, now_ns: u64) {
        if !self.census.knows(process) {
            return;
        }
        // Its pid may be another one's by now.
        if !processes::is_alive(process) {
            self.presume_use(process);
            return;
        }
        let mut used = Vec::new();
        for mapped in processes::mapped_files(process.pid as i32) {
            if let Some(number) = self.files.cover_mapped(&mapped) {
                used.push(number);
            }
        }
        self.note_loads(process, &used);
        self.note_use(process, used);
        if let Some(known) = self.census.find(process) {
            known.looked_ns = now_ns;
        }
    }

    /// It ended before anybody could look: it may have used what others of its program do.
    fn presume_use(&mut self, process: ProcessId) {
        let known = self.census.find(process);
        let unseen = known.filter(|known| known.looked_ns == 0);
        let program = unseen.and_then(|known| known.program);
        let brought = program.and_then(|program| self.programs.get(&program));
        if let Some(brought) = brought {
            let loads = brought.loads.iter().copied().collect();
            self.note_use(process, loads);
        }
    }

    fn note_loads(&mut self, process: ProcessId, used: &[usize]) {
        let program = self.census.find(process).and_then(|known| known.program);
        let brought = program.and_then(|program| self.programs.get_mut(&program));
        if let Some(brought) = brought {
            let files = &self.files;
            let captures = |number: &&usize| files.get(**number).is_some_and(|file| file.captures);
            brought.loads.extend(used.iter().filter(captures));
            brought.loads_others |= used.iter().any(|number| !brought.files.contains(number));
        }
    }

    /// A process uses these files. What it may have said before their probes came is told, once.
    pub(super) fn note_use(&mut self, process: ProcessId, used: Vec<usize>) {
        let Some(known) = self.census.find(process) else {
            return;
        };
        let mut missed = Vec::new();
        for number in used {
            let Some(file) = self.files.get(number).filter(|file| file.captures) else {
                known.files.insert(number);
                continue;
            };
            self.captures = true;
            self.used.insert(number);
            if let Some(window) = known.uses(number, file.attached_ns) {
                missed.push(late(process, &known.comm, file, window));
            }
        }
        for missed in missed {
            let _ = self.queue.push(Frame::Missed(Arc::new(missed)));
        }
    }

    /// Looks again at those that began a moment ago.
    pub fn look_again(&mut self) {
        while let Some((process, round)) = self.census.due() {
            let Some(known) = self.census.find(process) else {
                continue;
            };
            // Its loader tells, and told already.
            if known.tells && round > 0 {
                continue;
            }
            self.look(process, boot_time_ns());
            self.census.look_soon(process, round + 1);
        }
    }

    /// How long until [`Coverage::look_again`] has something to do.
    pub fn next_look(&self) -> Option<Duration> {
        self.census.next_look()
    }
}

fn late(process: ProcessId, comm: &str, file: &Covered, window: Window) -> Missed {
    Missed {
        process,
        comm: comm.to_owned(),
        file: file.path.clone(),
        libraries: file.libraries.clone(),
        from_ns: window.from_ns,
        until_ns: window.until_ns,
    }
}
