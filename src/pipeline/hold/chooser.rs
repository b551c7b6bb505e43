//! Whom to hold, as far as it can be told before a process runs its program: who is followed already, and who will be, by
//! the program, the name that it brings, the user and the place. A name that a process gives itself comes too late.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::attach::Followed;
use crate::host::places::Places;
use crate::host::{processes, programs};
use crate::image::FileIdentity;
use crate::select::Selection;

/// Bytes of a name that the kernel keeps (`TASK_COMM_LEN`, less one).
const COMM_LEN: usize = 15;

/// Why a process is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// It will be as the user asked for.
    ByPath,
    /// It is followed already, or everybody is.
    Followed,
    /// It need not wait.
    Nobody,
}

/// Knows whom the user asked for.
pub struct Chooser {
    selection: Selection,
    /// `None`: everybody is.
    followed: Option<Followed>,
    /// The programs that were named.
    programs: HashSet<FileIdentity>,
    places: Places,
    /// Our own program.
    own: Option<(u64, u64)>,
}

impl Chooser {
    /// For this selection and these programs of it; `followed` if not everybody is.
    pub fn new(
        selection: Selection,
        programs: impl IntoIterator<Item = FileIdentity>,
        followed: Option<Followed>,
    ) -> Self {
        Self {
            selection,
            followed,
            programs: programs.into_iter().collect(),
            places: Places::new(),
            own: program_of(std::process::id()),
        }
    }

    /// Whether this process, about to run this program, is to wait.
    pub fn choose(&mut self, pid: u32, program: FileIdentity, path: &Path) -> Prospect {
        if self.is_ours(pid) {
            return Prospect::Nobody;
        }
        match &self.followed {
            None => return Prospect::Followed,
            Some(followed) if followed.keeps(pid) => return Prospect::Followed,
            Some(_) => {}
        }
        // Processes that were named run already.
        let may_come = self.selection.has_rules() && self.selection.pids.is_empty();
        if may_come && self.fits(pid, program, path) {
            Prospect::ByPath
        } else {
            Prospect::Nobody
        }
    }

    fn fits(&mut self, pid: u32, program: FileIdentity, path: &Path) -> bool {
        let selection = &self.selection;
        // Without a container, a path is meant as we see it.
        let is_meant = || !selection.containers.is_empty() || programs::is_at_home(pid);
        let names_programs = !selection.exes.is_empty() || !selection.binaries.is_empty();
        let is_named = !names_programs
            || self.programs.contains(&program)
            || (programs::is_at_home(pid) && selection.exes.iter().any(|exe| exe.matches(path)))
            || (selection.binaries.iter().any(|binary| binary == path) && is_meant());
        // The name that the process will have.
        let comm = path.file_name().map(|name| {
            let name = name.as_bytes();
            String::from_utf8_lossy(name.get(..COMM_LEN).unwrap_or(name)).into_owned()
        });
        is_named
            && comm.is_some_and(|comm| selection.fits_comm(&comm))
            && (selection.users.is_empty()
                || processes::effective_user(pid).is_some_and(|user| selection.fits_user(user)))
            && ((selection.cgroups.is_empty() && selection.containers.is_empty())
                || self
                    .places
                    .of(pid)
                    .is_some_and(|place| selection.fits_place(&place)))
    }

    /// A child that we are just making: the thread that would cover its program waits for it.
    fn is_ours(&self, pid: u32) -> bool {
        self.own.is_some()
            && program_of(pid) == self.own
            && processes::parent(pid) == Some(std::process::id())
    }
}

/// Device and inode of a process's program.
fn program_of(pid: u32) -> Option<(u64, u64)> {
    let program = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((program.dev(), program.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::Pattern;

    fn identity(ino: u64) -> FileIdentity {
        FileIdentity {
            dev: 1,
            ino,
            size: 0,
            mtime_ns: 0,
        }
    }

    /// Who was asked for would not be waited for, or somebody else would.
    #[test]
    fn programs_are_known_by_their_path_and_the_rest_by_their_process() {
        let own = std::process::id();
        let selection = Selection {
            exes: vec![Pattern::new("/opt/*/node").unwrap()],
            users: vec![processes::effective_user(own).unwrap()],
            ..Selection::default()
        };
        let mut chooser = Chooser::new(selection.clone(), [identity(7)], None);
        let mut fits = |ino, path: &str| chooser.fits(own, identity(ino), Path::new(path));
        assert!(fits(1, "/opt/x/node"));
        assert!(fits(7, "/anywhere/else"));
        assert!(!fits(1, "/anywhere/else"));
        let users = vec![54_321];
        let mut chooser = Chooser::new(Selection { users, ..selection }, [identity(7)], None);
        assert!(!chooser.fits(own, identity(7), Path::new("/opt/x/node")));
    }

    /// We are nobody's child of our own.
    #[test]
    fn only_children_that_run_our_program_are_ours() {
        let chooser = Chooser::new(Selection::default(), [], None);
        assert!(!chooser.is_ours(std::process::id()));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let is_ours = chooser.is_ours(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_ours);
    }
}
