//! A command to observe: started once the probes are in place, as the user who called `sudo`. A program
//! that is observed by root must not thereby become root's.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};

use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};

use crate::error::{Context, Error, ErrorKind, Result};

/// A process that will become the command, and waits.
pub struct Waiting {
    pid: u32,
    go: PipeWriter,
    start: JoinHandle<io::Result<Child>>,
    program: OsString,
}

/// Makes the process that will run the command, if there is one. It shares our terminal and environment.
///
/// # Errors
/// There can be no process, or its user does not exist.
pub fn prepare(command: &[OsString]) -> Result<Option<Waiting>> {
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
    // SAFETY: between fork and exec only system calls are made, nothing is allocated or locked.
    unsafe { command.pre_exec(move || stand_by(&tell, &wait)) };
    // Who starts a process waits until it has become its program: we have something to do before.
    let start = thread::Builder::new()
        .name("command".into())
        .spawn(move || command.spawn())
        .context(failed)?;
    let mut pid = [0; 4];
    if (&told).read_exact(&mut pid).is_err() {
        // There is no process, and the thread knows why.
        let why = start
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        let why = why.map(|_| ()).and(Err(io::ErrorKind::BrokenPipe.into()));
        return why.context(failed).map(|()| None);
    }
    Ok(Some(Waiting {
        pid: u32::from_ne_bytes(pid),
        go,
        start,
        program: program.clone(),
    }))
}

/// In the new process: says who it is, and waits for a word. If we die meanwhile, it never becomes the command.
fn stand_by(mut tell: &PipeWriter, mut wait: &PipeReader) -> io::Result<()> {
    tell.write_all(&std::process::id().to_ne_bytes())?;
    wait.read_exact(&mut [0])
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
    pub fn release(self) -> Result<Child> {
        let Self {
            mut go,
            start,
            program,
            ..
        } = self;
        // If it does not wait any more, starting it has failed, and the thread knows why.
        let _ = go.write_all(&[1]);
        let started = start
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        started
            .context(|| format!("failed to run {}", program.display()))
            .map_err(|error| {
                let kind = match error.kind() {
                    ErrorKind::NotFound => ErrorKind::CommandMissing,
                    _ => ErrorKind::CommandUnusable,
                };
                error.with_kind(kind)
            })
    }
}

/// Who called sudo, if that is how we came to be root.
fn invoking_user() -> Result<Option<User>> {
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
