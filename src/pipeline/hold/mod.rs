//! Holds new processes until their probes are in place: execve(2) waits in the kernel, at the moment when it has opened the
//! program (fanotify(7), `FAN_OPEN_EXEC_PERM`), until we say that it may go on. No signal, no ptrace, and nothing of the
//! process is touched.
//!
//! Doing no harm comes first. A thread of its own answers, which waits for nobody: whatever the rest of us does, after
//! [`BOUND`] a process goes on. If we are killed, the kernel lets everybody go on at once. Only being stopped (SIGSTOP)
//! would hold all programs of the machine, so that the terminal's ways to stop us are switched off meanwhile. None of our
//! own children may be made while this is open: it would keep it open without answering.
//!
//! Not held: programs on file systems of other machines or of user space (their files may never come), those without a
//! name in any file system (memfd), and those from a mount namespace that nobody has run anything in since we began.

mod chooser;
mod gate;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::host::mounts::{self, Mount};
use crate::host::{processes, programs};
use crate::image::FileIdentity;

pub use chooser::Chooser;
use gate::{Gate, Running, Shared};

/// No process is held longer.
pub const BOUND: Duration = Duration::from_millis(200);
/// Each process that waits takes a descriptor of ours, and so does each BPF link. Without one the kernel would refuse the
/// exec: with fewer left, nobody is held any more.
const SPARE_FDS: u64 = 512;
/// Files that wait to be covered. More than this, and processes are let go at once.
const WANTED_MAX: usize = 64;
/// Mount namespaces that are known; with more it begins anew.
const NAMESPACES_MAX: usize = 4096;
/// File systems and programs that the user is told of.
const TOLD_MAX: usize = 1024;

/// For tests: the program with this path takes longer to cover than anybody may be held.
const SLOW: &str = "AGENTSIGHT_TEST_SLOW_TO_COVER";
/// Of descriptors, the kernel closes those with the highest numbers first when we are killed, and each of our BPF links
/// takes it milliseconds: this one shall not come after them.
const HIGH_FD: libc::c_int = 4096;

/// A file that somebody is about to run.
pub struct Wanted {
    /// The very file.
    pub file: File,
    /// Names it to [`Hold::release`].
    pub identity: FileIdentity,
    /// As far as it has a name.
    pub path: PathBuf,
    /// Who is about to run it.
    pub pid: u32,
    /// By its path it is what the user asked for.
    pub by_path: bool,
}

/// The hold; processes go on when it is dropped.
pub struct Hold {
    /// To be covered, and then released.
    pub wanted: Receiver<Wanted>,
    shared: Arc<Shared>,
    /// The thread alone owns it: whatever ends that closes it, and then nobody waits.
    group: Weak<Fanotify>,
    running: Running,
    mounts: HashSet<i32>,
    namespaces: HashSet<u64>,
    told: HashSet<String>,
    notices: Vec<String>,
    /// A test's wish.
    slow: Option<OsString>,
    _unstopped: Unstopped,
}

impl Hold {
    /// Begins to hold those that the chooser wants.
    ///
    /// # Errors
    /// A privilege is missing, or the kernel cannot do it.
    pub fn start(chooser: Chooser) -> Result<Self> {
        let group = Fanotify::init(
            InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK,
            EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC,
        )
        .map_err(|errno| refused(errno, "open fanotify"))?;
        let group = high(group);
        let (sender, wanted) = bounded(WANTED_MAX);
        let failed = |error: io::Error| {
            Error::new(
                ErrorKind::Io,
                format!("failed to hold new processes: {error}"),
            )
        };
        let shared = Arc::new(Shared::new(&group).map_err(failed)?);
        let group = Arc::new(group);
        let weak = Arc::downgrade(&group);
        let gate = Gate::new(group, Arc::clone(&shared), chooser, sender);
        let gate = thread::Builder::new()
            .name("hold".into())
            .spawn(move || gate.answer())
            .map_err(failed)?;
        let mut hold = Self {
            wanted,
            running: Running::new(Arc::clone(&shared), gate),
            shared,
            group: weak,
            mounts: HashSet::new(),
            namespaces: HashSet::new(),
            told: HashSet::new(),
            notices: Vec::new(),
            slow: std::env::var_os(SLOW).filter(|_| cfg!(debug_assertions)),
            _unstopped: Unstopped::new(),
        };
        let own = std::process::id();
        hold.namespaces.extend(programs::mount_namespace(own));
        hold.watch_own(true)?;
        hold.notices.insert(
            0,
            format!(
                "holding: new processes wait until their probes are in place, {} ms at most",
                BOUND.as_millis()
            ),
        );
        Ok(hold)
    }

    /// A program ran: from now on the file systems that it sees are watched, too.
    pub fn meet(&mut self, pid: u32) {
        let Some(namespace) = programs::mount_namespace(pid) else {
            return;
        };
        if self.namespaces.len() >= NAMESPACES_MAX {
            self.namespaces.clear();
        }
        if !self.namespaces.insert(namespace) {
            return;
        }
        for mount in mounts::with_programs(pid) {
            // Mostly the same file systems again, which changes nothing.
            self.watch(&mount).unwrap_or_default();
        }
    }

    /// Now and then: file systems that were mounted since, and whether there is room still. False: it is over.
    pub fn sweep(&mut self) -> bool {
        for path in self.shared.take_late() {
            self.tell(format!(
                "let go: {} after {} ms, before its probes were in place (tls.missed tells what may be missing)",
                path.display(),
                BOUND.as_millis()
            ));
        }
        let _ = self.watch_own(false);
        let spare = processes::spare_descriptors();
        if spare.is_some_and(|spare| spare < SPARE_FDS) {
            self.tell(
                "no process is held any more: too few file descriptors are left (ulimit -n)".into(),
            );
            return false;
        }
        true
    }

    /// What the user is to know since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn tell(&mut self, notice: String) {
        if self.told.len() < TOLD_MAX && self.told.insert(notice.clone()) {
            self.notices.push(notice);
        }
    }

    /// Those who wait for this file go on, and nobody waits for it any more.
    pub fn release(&self, identity: FileIdentity) {
        self.shared.release(identity);
    }

    /// Covering this program takes longer, if a test wants to know what happens then.
    pub fn delay(&self, program: &Path) {
        if self.slow.as_deref() == Some(program.as_os_str()) {
            thread::sleep(BOUND * 15);
        }
    }

    /// Ends it: how many waited, and how many of them in vain.
    pub fn finish(mut self) -> [u64; 2] {
        self.running.join();
        self.shared.counts()
    }

    /// File systems of our own namespace that were not there before.
    fn watch_own(&mut self, is_first: bool) -> Result<()> {
        let mounts = mounts::with_programs(std::process::id());
        let mut watched = 0;
        let mut failed = None;
        for mount in &mounts {
            if self.mounts.contains(&mount.id) {
                continue;
            }
            match self.watch(mount) {
                Ok(()) => watched += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.mounts = mounts.iter().map(|mount| mount.id).collect();
        match failed {
            Some(error) if is_first && watched == 0 => Err(error),
            _ => Ok(()),
        }
    }

    fn watch(&mut self, mount: &Mount) -> Result<()> {
        let (kind, path) = (&mount.kind, mount.path.display());
        if mount.is_remote {
            self.tell(format!(
                "not held: programs on {path} ({kind}), whose files come from elsewhere"
            ));
            return Ok(());
        }
        let Some(group) = self.group.upgrade() else {
            return Err(Error::new(
                ErrorKind::Io,
                "--hold: the thread that answers has ended",
            ));
        };
        let marked = File::open(&mount.path)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
            .and_then(|dir| {
                let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
                group.mark(flags, MaskFlags::FAN_OPEN_EXEC_PERM, dir, None::<&str>)
            });
        drop(group);
        marked.map_err(|errno| {
            let error = refused(errno, &format!("watch {path} ({kind})"));
            self.tell(format!("not held: programs on {path}: {error:#}"));
            error
        })
    }
}

/// The same with a high number, if we may have one.
fn high(group: Fanotify) -> Fanotify {
    // SAFETY: the descriptor is open, and the call makes another one.
    let fd = unsafe { libc::fcntl(group.as_raw_fd(), libc::F_DUPFD_CLOEXEC, HIGH_FD) };
    if fd < 0 {
        return group;
    }
    // SAFETY: it was just made, and nobody else has it.
    unsafe { Fanotify::from_raw_fd(fd) }
}

/// The terminal's ways to stop us do nothing as long as this exists.
struct Unstopped([(libc::c_int, libc::sighandler_t); 3]);

impl Unstopped {
    fn new() -> Self {
        Self([libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].map(|signal| {
            // SAFETY: to ignore a signal runs no code of ours.
            (signal, unsafe { libc::signal(signal, libc::SIG_IGN) })
        }))
    }
}

impl Drop for Unstopped {
    fn drop(&mut self) {
        for (signal, before) in self.0 {
            if before != libc::SIG_ERR {
                // SAFETY: it is what was there before.
                unsafe { libc::signal(signal, before) };
            }
        }
    }
}

/// In words that say what to do.
fn refused(errno: Errno, what: &str) -> Error {
    let (kind, why) = match errno {
        Errno::EPERM => (
            ErrorKind::PermissionDenied,
            "needs root or CAP_SYS_ADMIN".to_owned(),
        ),
        Errno::ENOSYS => (
            ErrorKind::UnsupportedKernel,
            "this kernel was built without CONFIG_FANOTIFY".to_owned(),
        ),
        Errno::EINVAL => (
            ErrorKind::UnsupportedKernel,
            "this kernel was built without CONFIG_FANOTIFY_ACCESS_PERMISSIONS, or is older than 5.0"
                .to_owned(),
        ),
        errno => (ErrorKind::Io, errno.desc().to_owned()),
    };
    Error::new(kind, format!("--hold: failed to {what}: {why}"))
}
