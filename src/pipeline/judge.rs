//! Answers what the kernel side asks about processes: whether an executable, a name, a place or a user is what the user
//! asked for. An answer holds for all processes of which the same can be said, so it is given only if what /proc shows
//! is still what was asked about.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::attach::Session;
use crate::error::Result;
use crate::event::process::{FileId, Property, Question, Sighted};
use crate::host::inodes::CodeInode;
use crate::host::places::Places;
use crate::host::programs;
use crate::host::roots::Root;
use crate::host::selected::Executable;
use crate::select::Selection;

/// As many as the kernel side remembers (`ANSWERS_MAX`).
const ANSWERS_MAX: usize = 16384;
/// The same answer within this time changes nothing.
const ANSWER_HOLDS: Duration = Duration::from_secs(5);

/// What came of a question.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Somebody may fit now who did not: another look at all processes finds them.
    pub has_news: bool,
    /// The process is what the user asked for.
    pub fits: bool,
}

/// Knows what the user asked for.
pub struct Judge {
    selection: Selection,
    places: Places,
    /// What was answered with yes, and when: another look at all processes finds those that fit now.
    said_yes: HashMap<Question, Instant>,
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
            said_yes: HashMap::new(),
        }
    }

    /// Answers all that is asked about a process, as far as it can be told.
    ///
    /// # Errors
    /// The kernel does not take an answer.
    pub fn answer(&mut self, sighted: &Sighted, session: &mut Session) -> Result<Answered> {
        let asked = asked(&self.selection);
        let mut answered = Answered {
            has_news: false,
            fits: true,
        };
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
                let question = sighted.facts.question(property);
                session.answer(&question, fits)?;
                answered.has_news |= fits && self.is_news(question);
            }
            answered.fits &= fits == Some(true);
        }
        Ok(answered)
    }

    /// The kernel side forgets what it is not asked for long: then the same is news again.
    fn is_news(&mut self, question: Question) -> bool {
        if self.said_yes.len() >= ANSWERS_MAX {
            self.said_yes.clear();
        }
        let now = Instant::now();
        let last = self.said_yes.insert(question, now);
        last.is_none_or(|last| now.duration_since(last) > ANSWER_HOLDS)
    }

    fn fits_exe(&self, sighted: &Sighted, session: &mut Session) -> Option<bool> {
        let (pid, id) = (sighted.caller.process.pid as i32, sighted.facts.exe());
        let mut is_asked = |file: &File| session.file_id(file).ok() == Some(id);
        let (exe, path) = executable(sighted, &mut is_asked)?;
        if self.selection.exes.iter().any(|exe| exe.matches(&path)) {
            return Some(true);
        }
        let has_names = exe.metadata().is_ok_and(|data| data.nlink() > 1);
        let exe = CodeInode::of(&exe).ok()?;
        // With a container, a path is meant as its processes see it.
        let is_inside = !self.selection.containers.is_empty();
        let root = if is_inside {
            Root::of_process(pid).ok()?
        } else {
            Root::ours()
        };
        let is_home = is_inside || programs::is_at_home(sighted.caller.process.pid);
        let fits = self.selection.binaries.iter().any(|binary| {
            let named = root.open(binary).and_then(|file| CodeInode::of(&file));
            // What runs may have been deleted, or replaced, since.
            named.is_ok_and(|named| named.is_same(&exe)) || (is_home && path == *binary)
        });
        // By another of its names it may fit: that is asked again.
        let may_fit = has_names && !self.selection.exes.is_empty();
        (fits || !may_fit).then_some(fits)
    }

    fn fits_place(&mut self, sighted: &Sighted) -> Option<bool> {
        let pid = sighted.caller.process.pid;
        let place = self.places.of(pid);
        let place = place?;
        // It may have moved, or ended, since it was asked.
        let is_current = programs::mount_namespace(pid)
            == Some(sighted.facts.mount_namespace().into())
            && self.places.is_cgroup(&place.cgroup, sighted.facts.cgroup());
        is_current.then(|| self.selection.fits_place(&place))
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
    let path = || Executable::of(pid.cast_signed()).map(|exe| exe.path);
    let before = path();
    let running = File::open(format!("/proc/{pid}/exe")).ok();
    if let Some(exe) = running.filter(|exe| is_asked(exe)) {
        // It may run another program from one look to the next.
        let is_still = before.is_some() && before == path();
        return before.filter(|_| is_still).map(|path| (exe, path));
    }
    // It has ended already, and was not run in a place of its own.
    let named = Path::new(OsStr::from_bytes(&sighted.facts.path));
    let file = named.is_absolute().then(|| File::open(named).ok())??;
    // The path as exec'ed may lead through symbolic links.
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    is_asked(&file).then_some((file, path))
}
