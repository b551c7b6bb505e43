//! A command to observe: started once the probes are in place, as the user who called `sudo`. A program
//! that is observed by root must not thereby become root's.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::unistd::{Gid, Pid, Uid, User, getgrouplist, setgid, setgroups, setuid};

use super::signals::{self, Inherited, Signals};
use super::terminal::Terminal;
use crate::error::{Context, Error, ErrorKind, Result};

/// A process that will become the command, and waits.
pub struct Waiting {
    pid: u32,
    go: PipeWriter,
    started: Receiver<io::Result<()>>,
    ended: Receiver<io::Result<ExitStatus>>,
    program: OsString,
}

/// The command, which runs or has ended.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    ended: Receiver<io::Result<ExitStatus>>,
    status: Option<ExitStatus>,
}

/// Makes the process that will run the command, if there is one. It shares our terminal and environment.
///
/// # Errors
/// There can be no process, or its user does not exist.
pub fn prepare(
    command: &[OsString],
    signals: &Signals,
    never_stops: bool,
) -> Result<Option<Waiting>> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(user) = invoking_user()? {
        become_user(&mut command, &user)?;
    }
    let failed = || format!("failed to run {}", program.display());
    let (told, tell) = io::pipe().context(failed)?;
    let (wait, go) = io::pipe().context(failed)?;
    let inherited = signals.inherited().clone();
    let restored = inherited.clone();
    // With it open, the new process would not see that we are gone.
    let other_end = go.as_raw_fd();
    // SAFETY: between fork and exec only system calls are made, nothing is allocated or locked; in the new process nobody
    // else uses the descriptor.
    unsafe {
        command.pre_exec(move || {
            libc::close(other_end);
            stand_by(&restored, &tell, &wait)
        });
    }
    let (say_started, started) = bounded(1);
    let (say_ended, ended) = bounded(1);
    // Who starts a process waits until it has become its program: we have something to do before. The thread stays for
    // as long as the process does, which may have asked to be told when its parent ends (PR_SET_PDEATHSIG means the
    // thread).
    thread::Builder::new()
        .name("command".into())
        .spawn(move || look_after(command, (&inherited, never_stops), &say_started, &say_ended))
        .context(failed)?;
    let mut pid = [0; 4];
    if (&told).read_exact(&mut pid).is_err() {
        // There is no process, and the thread knows why.
        let why = started.recv().unwrap_or(Ok(()));
        let why = why.and(Err(io::ErrorKind::BrokenPipe.into()));
        return why.context(failed).map(|()| None);
    }
    Ok(Some(Waiting {
        pid: u32::from_ne_bytes(pid),
        go,
        started,
        ended,
        program: program.clone(),
    }))
}

/// In the new process: says who it is, and waits for a word. If we die meanwhile, it never becomes the command.
fn stand_by(inherited: &Inherited, mut tell: &PipeWriter, mut wait: &PipeReader) -> io::Result<()> {
    inherited.restore()?;
    tell.write_all(&std::process::id().to_ne_bytes())?;
    wait.read_exact(&mut [0])
}

/// Starts the command, and waits for its end.
fn look_after(
    mut command: Command,
    (inherited, never_stops): (&Inherited, bool),
    started: &Sender<io::Result<()>>,
    ended: &Sender<io::Result<ExitStatus>>,
) {
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    // Its ends of the pipes.
    drop(command);
    let terminal = Terminal::share(inherited, never_stops);
    let _ = started.send(Ok(()));
    let status = wait(&child, &terminal);
    terminal.take_back();
    signals::keep();
    let _ = ended.send(status);
}

/// Waits for the end; whatever else becomes of the command is done to us.
fn wait(child: &Child, terminal: &Terminal) -> io::Result<ExitStatus> {
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a valid integer.
        let result = unsafe { libc::waitpid(pid.as_raw(), &mut status, libc::WUNTRACED) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            continue;
        }
        let status = ExitStatus::from_raw(status);
        match status.stopped_signal() {
            Some(signal) => terminal.stop(pid, signal),
            None => return Ok(status),
        }
    }
}

impl Waiting {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it become the command.
    ///
    /// # Errors
    /// The program does not exist, or cannot be run.
    pub fn release(mut self) -> Result<Running> {
        let failed = || format!("failed to run {}", self.program.display());
        signals::pass_on_to(self.pid).context(failed)?;
        // If it does not wait any more, starting it has failed, and the thread knows why.
        let _ = self.go.write_all(&[1]);
        let started = self.started.recv();
        let started = started.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        started.context(failed).map_err(|error| {
            signals::keep();
            let kind = match error.kind() {
                ErrorKind::NotFound => ErrorKind::CommandMissing,
                _ => ErrorKind::CommandUnusable,
            };
            error.with_kind(kind)
        })?;
        Ok(Running {
            pid: self.pid,
            ended: self.ended,
            status: None,
        })
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none()
            && let Ok(status) = self.ended.try_recv()
        {
            self.status = Some(status.context(waiting)?);
        }
        Ok(self.status)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = self.ended.recv();
        let status = status.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        status.context(waiting)
    }
}

fn waiting() -> &'static str {
    "failed to wait for the command"
}

/// Who called sudo, if that is how we came to be root.
///
/// # Errors
/// There is no such user.
pub fn invoking_user() -> Result<Option<User>> {
    let uid = std::env::var("SUDO_UID")
        .ok()
        .and_then(|uid| uid.parse().ok());
    let Some(uid) = uid.filter(|_| Uid::effective().is_root()) else {
        return Ok(None);
    };
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => Ok(Some(user)),
        _ => Err(Error::new(
            ErrorKind::CommandUnusable,
            format!("the user who called sudo (SUDO_UID={uid}) does not exist"),
        )),
    }
}

/// With all that belongs to a user: groups, home, names.
fn become_user(command: &mut Command, user: &User) -> Result<()> {
    let failed = || format!("failed to look up the groups of {}", user.name);
    let name = std::ffi::CString::new(user.name.as_str())
        .map_err(|_| Error::new(ErrorKind::CommandUnusable, failed()))?;
    let groups = getgrouplist(&name, user.gid)
        .map_err(io::Error::from)
        .context(failed)?;
    command
        .env("HOME", &user.dir)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name);
    let (uid, gid) = (user.uid, user.gid);
    // SAFETY: between fork and exec only system calls are made, nothing is allocated or locked.
    unsafe { command.pre_exec(move || switch(uid, gid, &groups)) };
    Ok(())
}

fn switch(uid: Uid, gid: Gid, groups: &[Gid]) -> io::Result<()> {
    setgroups(groups)?;
    setgid(gid)?;
    setuid(uid)?;
    Ok(())
}
