//! Which processes a [`Selection`] means now, by /proc. In what container a process runs is for others to tell.
//!
//! Programs are compared by inode: a file may have many names, and a name may lead to another file by now.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::process::Status;

use super::processes::{self, Inode};
use super::roots::Root;
use super::table::{self, Memory, Process};
use crate::select::{Place, Selection};

/// Processes that fit, and with [`Selection::follow`] their descendants, in the order of their pids. We ourselves, the
/// kernel's own processes and those that have ended are left out.
pub fn matching(selection: &Selection, places: impl Fn(i32) -> Option<Place>) -> Vec<i32> {
    let table = table::all();
    let found = Selected::new(selection).among(&table, places);
    found.iter().map(|process| process.pid).collect()
}

/// Tells again and again who fits.
pub struct Selected<'s> {
    selection: &'s Selection,
    /// Of the files that were named and are ours to name; those that had the names before stay.
    binaries: HashSet<Inode>,
    /// One of them is a library.
    with_libraries: bool,
    known: Memory<bool>,
    /// Whose pids were asked for, by when they started: a later process with such a pid is another one.
    named: HashMap<i32, u64>,
    /// Who was in, as pid and start: with [`Selection::follow`] they stay in, whoever becomes their parent.
    members: HashSet<(i32, u64)>,
}

impl<'s> Selected<'s> {
    /// Nobody is known yet.
    pub fn new(selection: &'s Selection) -> Self {
        Self {
            selection,
            binaries: HashSet::new(),
            with_libraries: false,
            known: Memory::default(),
            named: HashMap::new(),
            members: HashSet::new(),
        }
    }

    /// A name may lead to another file than before, or to one at last.
    fn find_binaries(&mut self) {
        if !self.selection.containers.is_empty() {
            return;
        }
        for path in &self.selection.binaries {
            let found = fs::metadata(path).ok().as_ref().map(inode);
            if found.is_some_and(|inode| self.binaries.insert(inode)) {
                self.with_libraries |= !is_program(path);
            }
        }
    }

    /// Those of `table`, which is in the order of pids, that fit.
    pub fn among<'t>(
        &mut self,
        table: &'t [Process],
        places: impl Fn(i32) -> Option<Place>,
    ) -> Vec<&'t Process> {
        self.known.begin(table);
        self.find_binaries();
        let own = std::process::id().cast_signed();
        let is_candidate =
            |process: &Process| process.pid != own && !process.is_kernel && !process.is_zombie;
        let mut fitting = HashSet::new();
        for process in table.iter().filter(|process| is_candidate(process)) {
            if self.is_member(process) || self.fits_still(process, &places) {
                fitting.insert(process.pid);
            }
        }
        if self.selection.follow {
            add_descendants(&mut fitting, table);
        }
        let chosen = |process: &&Process| is_candidate(process) && fitting.contains(&process.pid);
        let chosen: Vec<&Process> = table.iter().filter(chosen).collect();
        let members = chosen.iter().map(|process| (process.pid, process.start));
        self.members = members.collect();
        chosen
    }

    fn is_member(&self, process: &Process) -> bool {
        self.selection.follow && self.members.contains(&(process.pid, process.start))
    }

    fn fits_still(&mut self, process: &Process, places: &impl Fn(i32) -> Option<Place>) -> bool {
        if let Some(fits) = self.known.fresh(process) {
            return *fits;
        }
        if self.selection.pids.contains(&process.pid.unsigned_abs()) {
            self.named.entry(process.pid).or_insert(process.start);
        }
        let fits = self.fits(process, places);
        self.known.keep(process, fits);
        fits
    }

    /// The cheapest questions come first.
    fn fits(&self, process: &Process, places: &impl Fn(i32) -> Option<Place>) -> bool {
        let selection = self.selection;
        let pid = process.pid;
        let is_asked = |process: &Process| {
            selection.pids.is_empty() || self.named.get(&process.pid) == Some(&process.start)
        };
        if !is_asked(process) || !selection.fits_comm(&process.comm) {
            return false;
        }
        if !selection.users.is_empty() && !user(pid).is_some_and(|uid| selection.fits_user(uid)) {
            return false;
        }
        let has_place = !(selection.cgroups.is_empty() && selection.containers.is_empty());
        if has_place && !places(pid).is_some_and(|place| selection.fits_place(&place)) {
            return false;
        }
        self.fits_program(pid)
    }

    fn fits_program(&self, pid: i32) -> bool {
        let selection = self.selection;
        if selection.binaries.is_empty() && selection.exes.is_empty() {
            return true;
        }
        if let Some(exe) = Executable::of(pid)
            && (selection.exes.iter().any(|glob| glob.matches(&exe.path))
                || self.binaries.contains(&exe.inode)
                || self.is_inside(pid, &exe))
        {
            return true;
        }
        let mapped = |file: &processes::MappedFile| {
            let open = || file.open_file().ok()?.metadata().ok();
            let is_likely = self.binaries.iter().any(|(_, ino)| *ino == file.inode.1);
            is_likely && open().is_some_and(|metadata| self.binaries.contains(&inode(&metadata)))
        };
        self.with_libraries && processes::mapped_files(pid).iter().any(mapped)
    }

    /// Whether it runs what has one of the wanted names inside of its container.
    fn is_inside(&self, pid: i32, exe: &Executable) -> bool {
        let selection = self.selection;
        let wanted = |path: &PathBuf| {
            let file = metadata_inside(pid, path);
            *path == exe.path || file.is_some_and(|metadata| inode(&metadata) == exe.inode)
        };
        !selection.containers.is_empty() && selection.binaries.iter().any(wanted)
    }
}

/// Of a file by the name that it has for a process.
fn metadata_inside(pid: i32, path: &Path) -> Option<Metadata> {
    Root::of_process(pid).ok()?.open(path).ok()?.metadata().ok()
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

fn is_program(path: &Path) -> bool {
    let file = crate::image::ImageFile::open(path);
    file.is_ok_and(|file| file.image().is_ok_and(|image| image.is_program()))
}

/// Adds children of those that are in, and theirs. A parent's pid may be another process's by the time it is read: a child
/// is never older than its parent, and a parent that is looked at twice must be the same.
fn add_descendants(fitting: &mut HashSet<i32>, table: &[Process]) {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process);
    }
    let find = |pid: i32| {
        let at = table.binary_search_by_key(&pid, |process| process.pid);
        at.ok().and_then(|at| table.get(at))
    };
    let mut waiting: Vec<&Process> = fitting.iter().filter_map(|pid| find(*pid)).collect();
    while let Some(parent) = waiting.pop() {
        let Some(born) = children.get(&parent.pid) else {
            continue;
        };
        if Process::read(parent.pid).is_some_and(|now| !now.is_same(parent)) {
            continue;
        }
        for child in born.iter().filter(|child| child.start >= parent.start) {
            if fitting.insert(child.pid) {
                waiting.push(child);
            }
        }
    }
}

/// The program that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// As the process sees it; what a chroot is below is cut off.
    pub path: PathBuf,
    /// The name is gone, or leads to another file by now.
    pub is_deleted: bool,
    /// The file itself.
    pub inode: Inode,
}

impl Executable {
    /// `None`: it has ended, is the kernel's own, or we may not look at it.
    pub fn of(pid: i32) -> Option<Self> {
        Self::read(pid).ok()
    }

    /// # Errors
    /// As [`Self::of`], with what is the matter.
    pub fn read(pid: i32) -> std::io::Result<Self> {
        let link = format!("/proc/{pid}/exe");
        let inode = inode(&fs::metadata(&link)?);
        let (path, is_deleted) = split_deleted(pid, fs::read_link(&link)?, inode);
        Ok(Self {
            path,
            is_deleted,
            inode,
        })
    }

    /// Opens the file itself, whatever its name leads to.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn open(pid: i32) -> std::io::Result<File> {
        File::open(format!("/proc/{pid}/exe"))
    }
}

/// The kernel adds a word to names that are gone; a file may also be called like that.
fn split_deleted(pid: i32, path: PathBuf, is: Inode) -> (PathBuf, bool) {
    let is_there = |path: &Path| {
        let file = metadata_inside(pid, path);
        file.is_some_and(|metadata| inode(&metadata) == is)
    };
    let text = path.to_str();
    let name = text.and_then(|text| processes::without_deleted(text).map(PathBuf::from));
    let (path, is_deleted) = match name {
        Some(name) if !is_there(&path) => (name, true),
        _ => (path, false),
    };
    (inside(pid, path), is_deleted)
}

/// A path as the process sees it: what a chroot is below is cut off.
pub(super) fn inside(pid: i32, path: PathBuf) -> PathBuf {
    let root = fs::read_link(format!("/proc/{pid}/root")).unwrap_or_default();
    match path.strip_prefix(&root) {
        Ok(inner) if root.components().count() > 1 => Path::new("/").join(inner),
        _ => path,
    }
}

/// The real user of a process, as the kernel side counts.
pub fn user(pid: i32) -> Option<u32> {
    status(pid).map(|status| status.euid)
}

/// A process's pids, as we see it first, then as each pid namespace further in does; and its effective user.
pub fn names(pid: i32) -> Option<(Vec<i32>, u32)> {
    let status = status(pid)?;
    Some((status.nspid.unwrap_or_else(|| vec![pid]), status.euid))
}

/// The process that a thread belongs to, if there is such a thread.
pub fn process_of(tid: i32) -> Option<i32> {
    status(tid).map(|status| status.tgid)
}

fn status(pid: i32) -> Option<Status> {
    processes::read(&format!("/proc/{pid}/status")).ok()
}
