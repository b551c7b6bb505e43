//! The terminal that we share with a command, and the shell that started us: it knows us only, so what happens to the
//! command in matters of job control must happen to us.

use std::fs::File;
use std::os::fd::AsFd;

use libc::{SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, c_int};
use nix::unistd::{Pid, getpgid, getpgrp, tcgetpgrp, tcsetpgrp};

use super::signals::{self, Inherited};

/// They stop processes, unless these choose otherwise.
const STOPPING: [c_int; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

/// Held while a command runs.
pub struct Terminal {
    /// The controlling terminal, if there is one.
    tty: Option<File>,
    /// We were in the foreground when the command began.
    is_foreground: bool,
    /// Of those that stop, which are not to be ignored.
    stopping: Vec<c_int>,
    /// Others wait for us: we must not stop, and the command goes on at once.
    never_stops: bool,
}

impl Terminal {
    /// From now on we do not stop before the command does: it may not want to stop at all.
    pub fn share(inherited: &Inherited, never_stops: bool) -> Self {
        let stopping = STOPPING.into_iter();
        let mut terminal = Self {
            tty: File::options().read(true).write(true).open("/dev/tty").ok(),
            is_foreground: false,
            never_stops,
            stopping: stopping.filter(|n| !inherited.ignores(*n)).collect(),
        };
        terminal.is_foreground = terminal.foreground() == Some(getpgrp());
        set_all(&terminal.stopping, libc::SIG_IGN);
        terminal
    }

    fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.tty.as_ref()?.as_fd()).ok()
    }

    fn give(&self, group: Pid) {
        if let Some(tty) = &self.tty {
            // Who has no right to it needs none.
            let _ = tcsetpgrp(tty.as_fd(), group);
        }
    }

    /// The command was stopped: so are we, until the shell lets us go on, and then the command goes on.
    pub fn stop(&self, command: Pid, signal: c_int) {
        if self.never_stops {
            signals::send(SIGCONT);
            return;
        }
        let ours = getpgrp();
        let its = getpgid(Some(command)).unwrap_or(ours);
        let foreground = self.foreground();
        let waits = foreground.is_some_and(|group| group == ours || group == its);
        // Somebody holds the command, and no shell waits for us to stop.
        if signal == SIGSTOP && !waits {
            return;
        }
        let signal = if signal == SIGSTOP { SIGTSTP } else { signal };
        if !self.stopping.contains(&signal) {
            return;
        }
        set_all(&self.stopping, libc::SIG_DFL);
        // To this thread, so that it comes before anything else is done. Without a shell that could let us go on, the
        // kernel passes it over.
        // SAFETY: no preconditions.
        unsafe { libc::raise(signal) };
        set_all(&self.stopping, libc::SIG_IGN);
        if its != ours && foreground == Some(its) && self.foreground() == Some(ours) {
            self.give(its);
        }
        signals::send(SIGCONT);
    }

    /// The command has ended, and may have left the terminal to a group of its own.
    pub fn take_back(&self) {
        let ours = getpgrp();
        if self.is_foreground && self.foreground().is_some_and(|group| group != ours) {
            self.give(ours);
        }
        if !self.never_stops {
            set_all(&self.stopping, libc::SIG_DFL);
        }
    }
}

fn set_all(signals: &[c_int], action: libc::sighandler_t) {
    for signal in signals {
        // SAFETY: no preconditions, and no handler.
        unsafe { libc::signal(*signal, action) };
    }
}
