//! Answers what the kernel side asks about processes: whether an executable, a name, a place or a user is what the user
//! asked for. An answer holds for all processes of which the same can be said, so it is given only if what /proc shows
//! is still what was asked about.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::attach::Session;
use crate::error::Result;
use crate::event::process::{FileId, Property, Question, Sighted};
use crate::host::inodes::CodeInode;
use crate::host::places::Places;
use crate::host::programs;
use crate::host::roots::Root;
use crate::host::selected::Executable;
use crate::select::Selection;

/// Knows what the user asked for.
pub struct Judge {
    selection: Selection,
    places: Places,
}

/// The properties that decide.
pub fn asked(selection: &Selection) -> u32 {
    let kinds = [
        (
            Property::Exe,
            selection.binaries.is_empty() && selection.exes.is_empty(),
        ),
        (Property::Comm, selection.comms.is_empty()),
        (
            Property::Place,
            selection.cgroups.is_empty() && selection.containers.is_empty(),
        ),
        (Property::User, selection.users.is_empty()),
    ];
    let wanted = kinds.into_iter().filter(|(_, is_empty)| !is_empty);
    wanted.fold(0, |bits, (property, _)| bits | property.bit())
}

impl Judge {
    /// For this selection, whose binaries are programs.
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            places: Places::new(),
        }
    }

    /// Answers all that is asked about a process, as far as it can be told. True: something was answered.
    ///
    /// # Errors
    /// The kernel does not take an answer.
    pub fn answer(&mut self, sighted: &Sighted, session: &mut Session) -> Result<bool> {
        let asked = asked(&self.selection);
        let mut has_answered = false;
        for property in Property::ALL {
            if asked & property.bit() == 0 {
                continue;
            }
            let fits = match property {
                Property::Exe => self.fits_exe(sighted, session),
                Property::Comm => Some(self.selection.fits_comm(&sighted.facts.comm().text())),
                Property::Place => self.fits_place(sighted),
                Property::User => Some(self.selection.fits_user(sighted.facts.uid())),
            };
            if let Some(fits) = fits {
                session.answer(&sighted.facts.question(property), fits)?;
                has_answered = true;
            }
        }
        Ok(has_answered)
    }

    fn fits_exe(&self, sighted: &Sighted, session: &mut Session) -> Option<bool> {
        let (pid, id) = (sighted.caller.process.pid as i32, sighted.facts.exe());
        let mut is_asked = |file: &File| session.file_id(file).ok() == Some(id);
        let (exe, path) = executable(sighted, &mut is_asked)?;
        if self.selection.exes.iter().any(|exe| exe.matches(&path)) {
            return Some(true);
        }
        let exe = CodeInode::of(&exe).ok()?;
        // With a container, a path is meant as its processes see it.
        let is_inside = !self.selection.containers.is_empty();
        let root = if is_inside {
            Root::of_process(pid).ok()?
        } else {
            Root::ours()
        };
        let is_home = is_inside || programs::is_at_home(sighted.caller.process.pid);
        Some(self.selection.binaries.iter().any(|binary| {
            let named = root.open(binary).and_then(|file| CodeInode::of(&file));
            // What runs may have been deleted, or replaced, since.
            named.is_ok_and(|named| named.is_same(&exe)) || (is_home && path == *binary)
        }))
    }

    fn fits_place(&mut self, sighted: &Sighted) -> Option<bool> {
        let pid = sighted.caller.process.pid;
        let place = self.places.of(pid);
        // It may have moved, or ended, since it was asked.
        let is_current =
            programs::mount_namespace(pid) == Some(sighted.facts.mount_namespace().into());
        Some(self.selection.fits_place(&place?)).filter(|_| is_current)
    }

    /// From now on, processes of this executable fit.
    ///
    /// # Errors
    /// The kernel does not take the answer.
    pub fn expect_exe(&self, id: FileId, session: &Session) -> Result<()> {
        let question = Question {
            property: Property::Exe,
            value: id.0,
        };
        session.answer(&question, true)
    }
}

/// The executable that was asked about and its path, as its process sees it, if it can still be told.
fn executable(
    sighted: &Sighted,
    is_asked: &mut impl FnMut(&File) -> bool,
) -> Option<(File, PathBuf)> {
    let pid = sighted.caller.process.pid;
    let running = File::open(format!("/proc/{pid}/exe")).ok();
    if let Some(exe) = running.filter(|exe| is_asked(exe)) {
        return Some((exe, Executable::of(pid.cast_signed())?.path));
    }
    // It has ended already, and was not run in a place of its own.
    let named = Path::new(OsStr::from_bytes(&sighted.facts.path));
    let file = named.is_absolute().then(|| File::open(named).ok())??;
    is_asked(&file).then(|| (file, named.to_owned()))
}
