//! Wires the phases together: the only place that knows all of them, and the owner of the threads.
//!
//! Three threads. One empties the ring buffer into a queue and never waits (`attach/ring.rs`). One takes
//! what is in the queue, and prints or records it: when that is slow, the queue fills up, and what finds no
//! room is counted and shown. This one covers new libraries with probes and watches the clock, so that a
//! slow output delays no probe. Nothing ever waits in the observed programs.

mod command;
mod consumer;
mod coverage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::attach::{Notice, RunningRing, Session, Settings};
use crate::cache::Examiner;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::event::Caller;
use crate::event::frame::{End, Frame};
use crate::event::queue::Queue;
use crate::event::wire::{ConnState, Counter};
use crate::image::ImageFile;
use crate::image::debug_file::DebugDirs;
use crate::plan::Choice;
use crate::symdb::SymbolDb;

pub use crate::output::Summary;
pub use consumer::Consumer;

use consumer::Running;
use coverage::Coverage;

/// Between two looks at the clock, the child and the signals while nothing is to be done at once.
const TICK: Duration = Duration::from_millis(50);
/// Between two looks for libraries that no loader announced, and at the kernel's loss counters.
const SWEEP: Duration = Duration::from_secs(1);

/// What to observe, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Executable or shared library.
    pub binary: PathBuf,
    /// A command to run once the probes are in place; its end ends the run.
    pub command: Vec<OsString>,
    /// Payload bytes to keep of each call.
    pub max_bytes: u64,
    /// Memory for records that wait.
    pub buffer: Buffer,
    /// Oldest that a record may be when it is read.
    pub latency: Duration,
    /// End after this time.
    pub duration: Option<Duration>,
    /// Where separate debug files are.
    pub debug_dirs: DebugDirs,
    /// Remember what discovery said.
    pub cache: bool,
    /// Which sites to choose.
    pub choice: Choice,
}

/// Memory for records that wait, in bytes: the kernel's ring buffer, which is there from the start, and the
/// queue behind it, which grows when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// A power of two.
    pub ring: u32,
    /// The most that the queue takes.
    pub queue: usize,
}

impl Buffer {
    /// Least memory in all: a ring for three of the largest records, and as much for a queue.
    pub const MIN: u64 = 256 << 10;
    /// Most memory in all: four of the largest rings that the kernel can make.
    pub const MAX: u64 = 8 << 30;

    /// Divides `size` bytes: half or less for the ring, which alone must hold a burst that comes faster than anybody can
    /// read it. `None` if there are too few or too many.
    pub fn divide(size: u64) -> Option<Self> {
        if !(Self::MIN..=Self::MAX).contains(&size) {
            return None;
        }
        let ring = (1_u64 << (size / 2).ilog2()).min(1 << 31);
        Some(Self {
            ring: u32::try_from(ring).ok()?,
            queue: usize::try_from(size - ring).ok()?,
        })
    }
}

/// What a run tells on the way.
pub trait Progress {
    /// A line for the user: what was attached, what was not and why.
    fn notice(&mut self, line: &str);
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The counts.
    pub summary: Summary,
    /// How the command ended, if there was one and it did.
    pub status: Option<ExitStatus>,
    /// The command, if it still runs.
    pub command: Option<Child>,
}

/// Observes until something ends it: a signal through `stop`, a limit, the end of the command, or a
/// reader that wants no more.
///
/// # Errors
/// The target holds nothing to attach to, a privilege is missing, the kernel cannot do it, or the
/// output fails.
pub fn run(
    options: &Options,
    make_consumer: impl FnOnce() -> Result<Consumer>,
    progress: &mut dyn Progress,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome> {
    let mut examiner = Examiner::new(SymbolDb::load()?, options.debug_dirs.clone());
    if options.cache {
        examiner = examiner.with_user_cache();
    }
    let target = ImageFile::open(&options.binary)?;
    let image = target
        .image()
        .map_err(|error| error.with_kind(ErrorKind::NotFound))?;
    let is_program = coverage::is_program(&image);
    drop(image);
    let mut session = Session::open(&Settings {
        only_targets: is_program,
        ring_bytes: options.buffer.ring,
        max_bytes: options.max_bytes,
    })?;
    let queue = Queue::new(options.buffer.queue);
    session.tell_functions(Arc::clone(&queue));
    let ring = session.ring()?.start(queue, options.latency)?;
    let mut coverage = Coverage::new(session, &examiner, &options.choice, progress);
    if is_program {
        coverage.cover_program(target)?;
    } else {
        coverage.cover_library(target)?;
    }
    // Only now: a run that cannot start must not empty an earlier capture.
    let consumer = Running::start(make_consumer()?, Arc::clone(ring.queue()))?;
    let mut run = Run {
        options,
        stop,
        coverage,
        ring,
        consumer,
        counters: Vec::new(),
    };
    run.observe()
}

struct Run<'r> {
    options: &'r Options,
    stop: &'r Arc<AtomicBool>,
    // Before the ring: nothing may fill it any more when its thread is joined.
    coverage: Coverage<'r>,
    ring: RunningRing,
    consumer: Running,
    /// As they were last told.
    counters: Vec<(Counter, u64)>,
}

impl Run<'_> {
    fn observe(&mut self) -> Result<Outcome> {
        let mut child = command::start(&self.options.command)?;
        let duration = self.options.duration;
        let deadline = duration.and_then(|time| Instant::now().checked_add(time));
        let mut swept = Instant::now();
        let mut status = None;
        let mut failed = Ok(());
        while failed.is_ok() && !self.consumer.has_ended() {
            failed = self.take_notices();
            if let Some(child) = &mut child {
                status = child
                    .try_wait()
                    .context(|| "failed to wait for the command")?;
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if status.is_some() || is_over || self.stop.load(Ordering::Acquire) {
                break;
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.coverage.sweep();
                failed = failed.and_then(|()| self.tell_counters());
            }
        }
        self.wind_up();
        let summary = self.consumer.finish();
        failed?;
        Ok(Outcome {
            summary: summary?,
            status,
            command: child.filter(|_| status.is_none()),
        })
    }

    /// Does what must be done at once, or waits for it for a moment.
    fn take_notices(&mut self) -> Result<()> {
        match self.ring.notices.recv_timeout(TICK) {
            Ok(first) => {
                self.take_these(Some(first));
                self.coverage.cover_news();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(
                    ErrorKind::Io,
                    "the ring buffer is not read any more",
                ));
            }
        }
        Ok(())
    }

    /// Takes `first` and all that wait behind it.
    fn take_these(&mut self, first: Option<Notice>) {
        let mut ended: Vec<Caller> = Vec::new();
        for notice in first.into_iter().chain(self.ring.notices.try_iter()) {
            match notice {
                Notice::Exit(caller) => ended.push(caller),
                Notice::Loader(pid) => self.coverage.expect_news(pid),
            }
        }
        if ended.is_empty() {
            return;
        }
        // Read before the next sweep clears the table.
        let open = self.coverage.connections();
        for caller in ended {
            let of = |state: &&ConnState| state.process == caller.process;
            let open = open.iter().filter(of).copied().collect();
            // Without room and without connections there is nothing that anybody waits for.
            let _ = self.ring.queue().push(Frame::Exited { caller, open });
            self.coverage.expect_no_more(caller.process);
        }
    }

    fn tell_counters(&mut self) -> Result<()> {
        let counters = self.coverage.counters()?;
        if counters != self.counters && self.ring.queue().push(Frame::Counters(counters.clone())) {
            self.counters = counters;
        }
        Ok(())
    }

    /// Probes off first; then everything that is in the ring comes out.
    fn wind_up(&mut self) {
        self.coverage.detach();
        let queue = Arc::clone(self.ring.queue());
        self.ring.join();
        self.take_these(None);
        queue.push(Frame::End(End {
            open: self.coverage.connections(),
            // As they were last told, if they cannot be read any more.
            counters: self
                .coverage
                .counters()
                .unwrap_or_else(|_| self.counters.clone()),
            masked: 0,
        }));
        queue.close();
    }
}
