//! What signals do to a run. Without a command, the first one ends the run with a summary, the next one at once. While
//! a command runs, they are the command's: those of the terminal reach it by themselves, those that somebody sends to us
//! are passed on, and neither ends the run before the command has ended.
//!
//! The command begins with the dispositions and the mask that we began with ourselves (`nohup` works through us).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use libc::{
    SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, c_int, siginfo_t,
};

use crate::error::{Context, Result};

/// They end a run.
const ENDING: [c_int; 3] = [SIGHUP, SIGINT, SIGTERM];
/// While there is a command, they are passed on as well. At any other time they do what they do to everybody.
const PASSED_ON: [c_int; 3] = [SIGQUIT, SIGUSR1, SIGUSR2];
/// Signals are numbered from 1 to 64.
const SIGNALS: std::ops::RangeInclusive<c_int> = 1..=64;

/// The command's process: a pidfd, which never leads to another one; -1: there is none.
static COMMAND: AtomicI32 = AtomicI32::new(-1);
/// The command's pid, or 0.
static COMMAND_PID: AtomicI32 = AtomicI32::new(0);

/// What our own process found when it began, and what a command is to find.
#[derive(Clone)]
pub struct Inherited {
    ignored: Vec<c_int>,
    mask: libc::sigset_t,
    /// Of [`LIMITS`].
    limits: [libc::rlimit; 2],
}

/// Limits that we raise for ourselves: libbpf that of locked memory, where maps count against it.
const LIMITS: [libc::__rlimit_resource_t; 2] = [libc::RLIMIT_MEMLOCK, libc::RLIMIT_NOFILE];
/// Each probed file takes some descriptors.
const FILES_WANTED: libc::rlim_t = 1 << 16;

/// Signals are caught.
pub struct Signals {
    /// The run is to end.
    pub stop: Arc<AtomicBool>,
    inherited: Inherited,
}

impl Signals {
    /// From now on. To be called once, before anything else is started.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn catch(has_command: bool) -> Result<Self> {
        let failed = || "failed to catch signals";
        let inherited = Inherited::note().context(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let passed_on = PASSED_ON.iter().filter(|_| has_command);
        for signal in ENDING.iter().chain(passed_on) {
            // Who started us wants us to ignore it.
            if inherited.ignored.contains(signal) {
                continue;
            }
            let stop = Arc::clone(&stop);
            let ends = ENDING.contains(signal);
            let action = move |info: &siginfo_t| act(info, ends.then_some(&stop));
            // SAFETY: the action touches atomics and makes system calls, and nothing else.
            let caught = unsafe { signal_hook_registry::register_sigaction(*signal, action) };
            caught.context(failed)?;
        }
        // Ignored, it would keep us from hearing how the command ended.
        // SAFETY: no preconditions.
        unsafe { libc::signal(SIGCHLD, libc::SIG_DFL) };
        raise_file_limit(&inherited);
        Ok(Self { stop, inherited })
    }

    /// What a command is to find.
    pub fn inherited(&self) -> &Inherited {
        &self.inherited
    }
}

/// In a signal handler.
fn act(info: &siginfo_t, stop: Option<&Arc<AtomicBool>>) {
    // SAFETY: a thread's own.
    let errno = unsafe { *libc::__errno_location() };
    let command = COMMAND.load(Ordering::Acquire);
    match stop {
        _ if command >= 0 => pass_on(info, command),
        Some(stop) => {
            if stop.swap(true, Ordering::AcqRel) {
                // SAFETY: no preconditions.
                unsafe { libc::_exit(128 + info.si_signo) };
            }
        }
        // There is no command yet, or no more.
        None => signal_default(info.si_signo),
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// The terminal's signals (from the kernel) come to the command by themselves, and so do those that it sends to its group.
fn pass_on(info: &siginfo_t, command: RawFd) {
    // SAFETY: a signal that a process sent has its sender.
    let sender = || unsafe { info.si_pid() };
    if info.si_code > 0 || sender() == COMMAND_PID.load(Ordering::Acquire) {
        return;
    }
    send_to(command, info.si_signo);
}

fn signal_default(signal: c_int) {
    // SAFETY: no preconditions. The signal is blocked while its handler runs, and comes after it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// From now on, signals are passed on to this process, which is ours and was not waited for.
///
/// # Errors
/// The kernel refuses.
pub fn pass_on_to(pid: u32) -> io::Result<()> {
    // SAFETY: no preconditions; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    COMMAND_PID.store(pid.cast_signed(), Ordering::Release);
    // Never closed: a handler may be about to use it.
    COMMAND.store(fd, Ordering::Release);
    Ok(())
}

/// Sends the command a signal, if there is one.
pub fn send(signal: c_int) {
    send_to(COMMAND.load(Ordering::Acquire), signal);
}

fn send_to(command: RawFd, signal: c_int) {
    let no_info: *const siginfo_t = std::ptr::null();
    // SAFETY: a wrong descriptor is refused, and no information means the same as with kill(2). Whoever has ended needs
    // no signal.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, command, signal, no_info, 0) };
}

/// The command has ended: from now on, signals are ours.
pub fn keep() {
    COMMAND.store(-1, Ordering::Release);
}

impl Inherited {
    fn note() -> io::Result<Self> {
        let mut mask = MaybeUninit::uninit();
        let mut limits = [libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        }; 2];
        // SAFETY: with no new mask, the current one is written where the pointer leads; so are the limits.
        unsafe {
            let null = std::ptr::null();
            let mut is_noted = libc::pthread_sigmask(libc::SIG_BLOCK, null, mask.as_mut_ptr()) == 0;
            for (kind, limit) in LIMITS.into_iter().zip(&mut limits) {
                is_noted &= libc::getrlimit(kind, limit) == 0;
            }
            if !is_noted {
                return Err(io::Error::last_os_error());
            }
            Ok(Self {
                // SIGPIPE is ignored by Rust's start-up code, and nobody knows what was before.
                ignored: SIGNALS
                    .filter(|n| *n != SIGPIPE && is_ignored(*n))
                    .collect(),
                mask: mask.assume_init(),
                limits,
            })
        }
    }

    /// Whether it was ignored when we began.
    pub fn ignores(&self, signal: c_int) -> bool {
        self.ignored.contains(&signal)
    }

    /// In a new process before its exec: as if we had never been there.
    pub fn restore(&self) -> io::Result<()> {
        for signal in SIGNALS {
            let action = match self.ignores(signal) {
                true => libc::SIG_IGN,
                false => libc::SIG_DFL,
            };
            // SAFETY: no preconditions; those that cannot be set (SIGKILL, those of libc) are as they were.
            unsafe { libc::signal(signal, action) };
        }
        // SAFETY: all of them were read from the kernel.
        let is_restored = unsafe {
            let null = std::ptr::null_mut();
            let mut limits = LIMITS.into_iter().zip(&self.limits);
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, null) == 0
                && limits.all(|(kind, limit)| libc::setrlimit(kind, limit) == 0)
        };
        match is_restored {
            true => Ok(()),
            false => Err(io::Error::last_os_error()),
        }
    }
}

/// As far as we may: what is refused shows when descriptors run out.
fn raise_file_limit(inherited: &Inherited) {
    let [_, files] = inherited.limits;
    let most = files.rlim_max.max(FILES_WANTED);
    for limit in [most, files.rlim_max] {
        let wanted = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: the pointer is to a valid limit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } == 0 {
            return;
        }
    }
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action, the current one is written where the pointer leads, if there is such a signal.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
