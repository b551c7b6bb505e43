//! The thread that answers the kernel. It looks at each program once, asks for those that matter to be covered, and lets
//! everybody go on when that is done, or when the time is over. It waits for nobody and opens no file by its name.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use nix::errno::Errno;
use nix::sys::fanotify::{Fanotify, FanotifyEvent, FanotifyResponse, Response};

use super::chooser::{Chooser, Prospect};
use super::{BOUND, Wanted};
use crate::attach::{Waiter, go_first};
use crate::image::FileIdentity;

/// Processes that wait at a time: each takes a descriptor.
const WAITING_MAX: usize = 128;
/// Files that need not be looked at again; with more it begins anew.
const SETTLED_MAX: usize = 65536;
/// Programs that were let go, to be told of.
const LATE_MAX: usize = 64;
/// An exec within so long after another one of the same process belongs to it: the kernel opens a program's loader after
/// the program, and `env` runs another one. Together they take no longer than one may.
const BELONGS: Duration = Duration::from_millis(50);
/// Processes that were held a moment ago; with more, those of longer ago are forgotten.
const RECENT_MAX: usize = 1024;
/// With nobody waiting.
const IDLE: Duration = Duration::from_secs(1);

/// What the thread and its owner share.
pub struct Shared {
    waiter: Waiter,
    stop: AtomicBool,
    covered: Mutex<Vec<FileIdentity>>,
    late: Mutex<Vec<PathBuf>>,
    held: AtomicU64,
    let_go: AtomicU64,
}

impl Shared {
    /// For answering what comes from this group.
    pub fn new(group: &Fanotify) -> io::Result<Self> {
        let waiter = Waiter::new(group.as_fd().as_raw_fd())?;
        Ok(Self {
            waiter,
            stop: AtomicBool::new(false),
            covered: Mutex::default(),
            late: Mutex::default(),
            held: AtomicU64::new(0),
            let_go: AtomicU64::new(0),
        })
    }

    pub fn release(&self, identity: FileIdentity) {
        lock(&self.covered).push(identity);
        self.waiter.wake();
    }

    pub fn take_late(&self) -> Vec<PathBuf> {
        std::mem::take(&mut lock(&self.late))
    }

    /// How many waited, and how many were let go.
    pub fn counts(&self) -> [u64; 2] {
        [&self.held, &self.let_go].map(|count| count.load(Ordering::Relaxed))
    }
}

fn allow(group: &Fanotify, event: &FanotifyEvent) {
    if let Some(fd) = event.fd() {
        // It fails only for who has been killed while it waited.
        let _ = group.write_response(FanotifyResponse::new(fd, Response::FAN_ALLOW));
    }
}

/// A list is whole, whoever panicked.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running thread. Dropping it ends it, and all who wait go on.
pub struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        Self {
            shared,
            thread: Some(thread),
        }
    }

    pub fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.waiter.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there would have been reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}

struct Waiting {
    event: FanotifyEvent,
    identity: FileIdentity,
    path: PathBuf,
    until: Instant,
}

/// The thread's own.
pub struct Gate {
    /// Closed with this: the kernel then lets everybody go on.
    group: Arc<Fanotify>,
    shared: Arc<Shared>,
    chooser: Chooser,
    wanted: Sender<Wanted>,
    waiting: Vec<Waiting>,
    /// Asked for, and not covered yet.
    asked: HashSet<FileIdentity>,
    /// Of these, those that somebody waited for in vain.
    given_up: HashSet<FileIdentity>,
    settled: HashSet<FileIdentity>,
    /// Until when processes may be held that have been held.
    recent: HashMap<u32, Instant>,
}

impl Gate {
    pub fn new(
        group: Arc<Fanotify>,
        shared: Arc<Shared>,
        chooser: Chooser,
        wanted: Sender<Wanted>,
    ) -> Self {
        Self {
            group,
            shared,
            chooser,
            wanted,
            waiting: Vec::new(),
            asked: HashSet::new(),
            given_up: HashSet::new(),
            settled: HashSet::new(),
            recent: HashMap::new(),
        }
    }

    /// Until it is over.
    pub fn answer(mut self) {
        go_first();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.take_events();
            self.take_covered();
            self.let_go_late();
            let next = self.waiting.iter().map(|waiting| waiting.until).min();
            let pause = next.map_or(IDLE, |next| next.saturating_duration_since(Instant::now()));
            self.shared.waiter.wait(pause);
        }
    }

    fn take_events(&mut self) {
        loop {
            match self.group.read_events() {
                Ok(events) => events.into_iter().for_each(|event| self.take(event)),
                // Without room for a descriptor the kernel has answered, and others wait behind.
                Err(Errno::EINTR | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => {}
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, event: FanotifyEvent) {
        let wanted = event
            .fd()
            .and_then(|fd| self.wanted(fd, event.pid().cast_unsigned()));
        match wanted {
            Some(wanted) if self.waiting.len() < WAITING_MAX => self.hold(event, wanted),
            _ => allow(&self.group, &event),
        }
    }

    /// The program, if its process is to wait for it.
    fn wanted(&mut self, fd: BorrowedFd<'_>, pid: u32) -> Option<Wanted> {
        let file = File::from(fd.try_clone_to_owned().ok()?);
        let identity = FileIdentity::of(&file).ok()?;
        if self.settled.contains(&identity) || pid == std::process::id() {
            return None;
        }
        let mut magic = [0; 4];
        let is_elf = file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF";
        if !is_elf {
            // A script: who runs it comes next.
            self.settle(identity);
            return None;
        }
        let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
        let by_path = match self.chooser.choose(pid, identity, &path) {
            Prospect::Nobody => return None,
            Prospect::ByPath => true,
            Prospect::Followed => false,
        };
        Some(Wanted {
            file,
            identity,
            path,
            pid,
            by_path,
        })
    }

    fn hold(&mut self, event: FanotifyEvent, wanted: Wanted) {
        let (identity, path) = (wanted.identity, wanted.path.clone());
        let until = self.until(event.pid().cast_unsigned());
        // Whoever covers is busy for longer than anybody may wait.
        if self.given_up.contains(&identity) {
            allow(&self.group, &event);
            return;
        }
        if !self.asked.contains(&identity) {
            if self.wanted.try_send(wanted).is_err() {
                allow(&self.group, &event);
                return;
            }
            self.asked.insert(identity);
        }
        self.shared.held.fetch_add(1, Ordering::Relaxed);
        self.waiting.push(Waiting {
            event,
            identity,
            path,
            until,
        });
    }

    /// How long this process may be held now.
    fn until(&mut self, pid: u32) -> Instant {
        let now = Instant::now();
        if self.recent.len() >= RECENT_MAX {
            self.recent.retain(|_, until| *until + BELONGS > now);
        }
        let until = self.recent.entry(pid).or_insert(now + BOUND);
        if *until + BELONGS <= now {
            *until = now + BOUND;
        }
        *until
    }

    fn settle(&mut self, identity: FileIdentity) {
        if self.settled.len() >= SETTLED_MAX {
            self.settled.clear();
        }
        self.settled.insert(identity);
    }

    fn take_covered(&mut self) {
        let covered = std::mem::take(&mut *lock(&self.shared.covered));
        for identity in covered {
            self.asked.remove(&identity);
            self.given_up.remove(&identity);
            self.settle(identity);
            let group = &self.group;
            self.waiting.retain(|waiting| {
                let is_over = waiting.identity == identity;
                if is_over {
                    allow(group, &waiting.event);
                }
                !is_over
            });
        }
    }

    fn let_go_late(&mut self) {
        let now = Instant::now();
        let (late, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| waiting.until <= now);
        self.waiting = waiting;
        for waiting in late {
            allow(&self.group, &waiting.event);
            self.given_up.insert(waiting.identity);
            self.shared.let_go.fetch_add(1, Ordering::Relaxed);
            let mut told = lock(&self.shared.late);
            if told.len() < LATE_MAX && !told.contains(&waiting.path) {
                told.push(waiting.path);
            }
        }
    }
}
