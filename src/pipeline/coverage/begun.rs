//! Programs that had begun before it was known that their processes are wanted: what /proc tells of them is told instead of
//! the kernel side's word.

use std::os::unix::ffi::OsStringExt;

use super::Coverage;
use crate::event::begun::{Begun, Seen};
use crate::event::frame::Frame;
use crate::event::process::Sighted;
use crate::host::processes;
use crate::host::selected::Executable;
use crate::host::started::Started;

impl Coverage<'_> {
    /// Before anything else of the process is told. If it has ended, or runs another program already, there is its name.
    pub(super) fn tell_begun(&mut self, sighted: &Sighted) {
        let (caller, facts) = (sighted.caller, &sighted.facts);
        let pid = caller.process.pid.cast_signed();
        let started = self.still_runs(sighted);
        let started = started.then(|| Started::of(pid, &facts.path)).flatten();
        let started = started.filter(|_| self.still_runs(sighted));
        let mut begun = Begun {
            caller,
            exe: facts.exe(),
            was_written: self.files.session.was_written(&facts.exe()),
            filename: facts.path.clone(),
            seen: started.map(seen),
        };
        if !self.queue.push(Frame::Records(begun.records())) {
            begun.seen = None;
            let _ = self.queue.push(Frame::Records(begun.records()));
        }
    }

    /// Whether it is the same process, with the same program.
    fn still_runs(&mut self, sighted: &Sighted) -> bool {
        let process = sighted.caller.process;
        let exe = Executable::open(process.pid.cast_signed());
        let id = exe.ok().map(|exe| self.files.session.file_id(&exe));
        id.is_some_and(|id| id.is_ok_and(|id| id == sighted.facts.exe()))
            && processes::is_alive(process)
    }
}

fn seen(started: Started) -> Seen {
    Seen {
        exe: started.exe.path.into_os_string().into_vec(),
        is_deleted: started.exe.is_deleted,
        cwd: started.cwd.into_os_string().into_vec(),
        interpreter: started.interpreter,
        args: started.args,
        env: started.env,
        ids: started.ids,
        tty: started.tty,
    }
}
