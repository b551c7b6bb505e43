//! A command to observe: started once the probes are in place, as the user who called `sudo`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use crate::error::{Context, ErrorKind, Result};

/// Starts the command, if there is one. It shares our terminal and environment.
///
/// # Errors
/// It cannot be started.
pub fn start(command: &[OsString]) -> Result<Option<Child>> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    // A program that is observed by root must not thereby become root's.
    if let (Some(uid), Some(gid)) = (sudo_id("SUDO_UID"), sudo_id("SUDO_GID")) {
        command.uid(uid).gid(gid);
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

fn sudo_id(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}
