//! A command to observe: started once the probes are in place, as the user who called `sudo`. A program
//! that is observed by root must not thereby become root's.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};

use crate::error::{Context, Error, ErrorKind, Result};

/// Starts the command, if there is one. It shares our terminal and environment.
///
/// # Errors
/// It cannot be started, or its user does not exist.
pub fn start(command: &[OsString]) -> Result<Option<Child>> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(user) = invoking_user()? {
        become_user(&mut command, &user)?;
    }
    let child = command
        .spawn()
        .context(|| format!("failed to run {}", program.display()))
        .map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::NotFound => ErrorKind::CommandMissing,
                _ => ErrorKind::CommandUnusable,
            };
            error.with_kind(kind)
        })?;
    Ok(Some(child))
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
        .map_err(std::io::Error::from)
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

fn switch(uid: Uid, gid: Gid, groups: &[Gid]) -> std::io::Result<()> {
    setgroups(groups)?;
    setgid(gid)?;
    setuid(uid)?;
    Ok(())
}
