//! Wires the phases together: the only place that knows all of them, and the owner of the threads.
//!
//! The ring thread decodes records; this thread turns them into messages, prints them, and between
//! them covers new libraries with probes. When printing is slow the ring fills up, and what finds no
//! room there is counted and shown: nothing waits in the observed programs.

mod command;
mod coverage;
mod summary;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::attach::{RunningRing, Session, Settings, boot_time_ns};
use crate::cache::Examiner;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::event::wire::Counter;
use crate::event::{Caller, Event};
use crate::image::ImageFile;
use crate::image::debug_file::DebugDirs;
use crate::plan::Choice;
use crate::redact::Redactor;
use crate::sink::Sink;
use crate::stream::{Cause, Joiner, Message, Tracker};
use crate::symdb::SymbolDb;

pub use summary::Summary;

use coverage::Coverage;
use summary::Losses;

/// Between two looks at the clock and the child while no record comes.
const TICK: Duration = Duration::from_millis(50);
/// Between two looks for libraries that no loader announced, and at the kernel's loss counters.
const SWEEP: Duration = Duration::from_secs(1);

/// Events taken before the next look at anything else.
const BATCH: usize = 1024;

/// What to observe, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Executable or shared library.
    pub binary: PathBuf,
    /// A command to run once the probes are in place; its end ends the run.
    pub command: Vec<OsString>,
    /// Payload bytes to keep of each call.
    pub max_bytes: u64,
    /// Size of the ring buffer.
    pub ring_bytes: u32,
    /// End after this time.
    pub duration: Option<Duration>,
    /// End after this many `tls.data` messages.
    pub max_events: Option<u64>,
    /// Mask secrets.
    pub redact: bool,
    /// Where separate debug files are.
    pub debug_dirs: DebugDirs,
    /// Remember what discovery said.
    pub cache: bool,
    /// Which sites to choose.
    pub choice: Choice,
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
    make_sink: impl FnOnce() -> Result<Box<dyn Sink>>,
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
    let session = Session::open(&Settings {
        only_targets: is_program,
        ring_bytes: options.ring_bytes,
        max_bytes: options.max_bytes,
    })?;
    let ring = session.ring()?.start()?;
    let mut coverage = Coverage::new(session, &examiner, &options.choice, progress);
    if is_program {
        coverage.cover_program(target)?;
    } else {
        coverage.cover_library(target)?;
    }
    let mut run = Run {
        options,
        // Only now: a run that cannot start must not empty an earlier capture.
        sink: make_sink()?,
        stop,
        ring,
        coverage,
        joiner: Joiner::default(),
        heard_ns: 0,
        tracker: Tracker::default(),
        redactor: options.redact.then(Redactor::new).transpose()?,
        losses: Losses::default(),
        data_printed: 0,
        end: End::None,
    };
    run.observe()
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    None,
    /// All that was captured up to now is still wanted.
    Finish,
    /// The limit is reached, or the reader is gone: what still waits is not wanted.
    Enough,
}

struct Run<'r> {
    options: &'r Options,
    sink: Box<dyn Sink>,
    stop: &'r Arc<AtomicBool>,
    // Before the ring: nothing may fill it any more when its thread is joined.
    coverage: Coverage<'r>,
    ring: RunningRing,
    joiner: Joiner,
    /// When the last event happened.
    heard_ns: u64,
    tracker: Tracker,
    redactor: Option<Redactor>,
    losses: Losses,
    /// `tls.data` messages printed.
    data_printed: u64,
    end: End,
}

impl Run<'_> {
    fn observe(&mut self) -> Result<Outcome> {
        let mut child = command::start(&self.options.command)?;
        let duration = self.options.duration;
        let deadline = duration.and_then(|time| Instant::now().checked_add(time));
        let mut swept = Instant::now();
        let mut status = None;
        while self.end == End::None {
            self.take_events()?;
            if let Some(child) = &mut child {
                status = child
                    .try_wait()
                    .context(|| "failed to wait for the command")?;
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if status.is_some() || is_over || self.stop.load(Ordering::Acquire) {
                // Not over a reader that wants no more.
                if self.end == End::None {
                    self.end = End::Finish;
                }
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.coverage.sweep();
                self.tell_losses()?;
                let flushed = self.sink.flush();
                self.printed(flushed)?;
            }
        }
        self.wind_up()?;
        Ok(Outcome {
            summary: self.summary(),
            status,
            command: child.filter(|_| status.is_none()),
        })
    }

    /// Prints what comes until nothing comes for a moment.
    fn take_events(&mut self) -> Result<()> {
        match self.ring.events.recv_timeout(TICK) {
            Ok(event) => self.take(event)?,
            // All that was said is known.
            Err(RecvTimeoutError::Timeout) => return self.tell_waiting(boot_time_ns()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(ErrorKind::Io, "the ring buffer cannot be read"));
            }
        }
        // Bounded, so that a flood does not keep us from the clock and the signals.
        for _ in 0..BATCH {
            let Ok(event) = self.ring.events.try_recv() else {
                break;
            };
            self.take(event)?;
            if self.end != End::None {
                return Ok(());
            }
        }
        self.tell_waiting(self.heard_ns)?;
        self.coverage.cover_news();
        let flushed = self.sink.flush();
        self.printed(flushed)
    }

    /// Data that have waited for their connection's socket long enough.
    fn tell_waiting(&mut self, now_ns: u64) -> Result<()> {
        let events = self.joiner.tick(now_ns);
        self.tell(events)
    }

    fn take(&mut self, event: Event) -> Result<()> {
        self.heard_ns = event.ts_ns();
        let events = self.joiner.push(event);
        self.tell(events)
    }

    fn tell(&mut self, events: Vec<Event>) -> Result<()> {
        for event in events {
            match &event {
                Event::Loader(caller) => self.coverage.expect_news(caller.process.pid),
                Event::Exit(caller) => {
                    self.coverage.expect_no_more(caller.process);
                    self.exit(caller)?;
                    continue;
                }
                _ => {}
            }
            let messages = self.tracker.push(event, &self.coverage);
            self.print(messages)?;
        }
        Ok(())
    }

    /// What a process lost at its very end shows in the kernel's table only.
    fn exit(&mut self, caller: &Caller) -> Result<()> {
        if !self.tracker.knows(caller.process) {
            self.joiner.forget_process(caller.process);
            return Ok(());
        }
        let open = self.joiner.states(self.coverage.connections());
        self.joiner.forget_process(caller.process);
        let messages = self.tracker.exit(caller, &open);
        self.print(messages)
    }

    fn print(&mut self, messages: Vec<Message>) -> Result<()> {
        for mut message in messages {
            if self.end == End::Enough {
                return Ok(());
            }
            if let Some(redactor) = &mut self.redactor {
                redactor.apply(&mut message);
            }
            let printed = self.sink.message(&message);
            self.printed(printed)?;
            self.data_printed += u64::from(matches!(message, Message::Data { .. }));
            let limit = self.options.max_events;
            if limit.is_some_and(|limit| self.data_printed >= limit) {
                self.end = End::Enough;
            }
        }
        Ok(())
    }

    /// A reader that hangs up (`| head`) has seen enough; that is no failure.
    fn printed(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.end = End::Enough;
                Ok(())
            }
            result => result.context(|| "failed to write the output"),
        }
    }

    /// Losses that belong to no connection are told as soon as they are noticed.
    fn tell_losses(&mut self) -> Result<()> {
        let counters = self.coverage.counters()?;
        for (cause, bytes, records) in self.losses.since(&counters, self.ring.undecodable()) {
            let messages = self.tracker.lost(cause, bytes, records);
            self.print(messages)?;
        }
        Ok(())
    }

    /// A connection of which nothing arrived, or whose last word was lost, has no gap of its own: what
    /// the kernel side counted and no connection has told is told here.
    fn tell_unseen_losses(&mut self) -> Result<()> {
        let told = self.tracker.totals().gaps.get(&Cause::RingFull);
        let (bytes, records) = told.copied().unwrap_or_default();
        let bytes = self
            .losses
            .count(Counter::RingFullBytes)
            .saturating_sub(bytes);
        let records = self
            .losses
            .count(Counter::RingFullRecords)
            .saturating_sub(records);
        if bytes + records == 0 {
            return Ok(());
        }
        let messages = self.tracker.lost(Cause::RingFull, bytes, records);
        self.print(messages)
    }

    /// Probes off first; then everything that is in the ring comes out.
    fn wind_up(&mut self) -> Result<()> {
        self.coverage.detach();
        self.ring.finish();
        if self.end == End::Finish {
            while let Ok(event) = self.ring.events.recv() {
                self.take(event)?;
            }
            let waiting = self.joiner.finish();
            self.tell(waiting)?;
            let open = self.joiner.states(self.coverage.connections());
            let messages = self.tracker.finish(&open);
            self.print(messages)?;
        }
        self.tell_losses()?;
        self.tell_unseen_losses()?;
        let flushed = self.sink.flush();
        self.printed(flushed)
    }

    fn summary(&self) -> Summary {
        Summary {
            totals: self.tracker.totals().clone(),
            masked: self.redactor.as_ref().map_or(0, Redactor::masked),
            wrong_objects: self.losses.count(Counter::WrongObject),
            under_way: self.losses.count(Counter::UnderWayCalls),
            silent: self.losses.count(Counter::SilentRecords),
            not_tls: self.losses.count(Counter::NotTls),
            forged: self.losses.count(Counter::ForgedRecords),
        }
    }
}
