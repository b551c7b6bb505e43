//! Wires the phases together: the only place that knows all of them, and the owner of the threads.
//!
//! Three threads. One empties the ring buffer into a queue and never waits (`attach/ring.rs`). One takes
//! what is in the queue, and prints or records it: when that is slow, the queue fills up, and what finds no
//! room is counted and shown. This one covers new libraries with probes and watches the clock, so that a
//! slow output delays no probe. Nothing ever waits in the observed programs, but with `--hold`, which has a
//! thread of its own, before they begin (`hold`).

mod census;
mod command;
mod consumer;
mod coverage;
mod files;
mod hold;
mod judge;
mod signals;
mod targets;
mod terminal;

use std::ffi::OsString;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{never, select};

use crate::attach::{Notice, RunningRing, Scope, Session, Settings};
use crate::cache::{Companions, Examiner};
use crate::deeds::Watched;
use crate::error::{Error, ErrorKind, Result, panic_if_wanted};
use crate::event::Caller;
use crate::event::frame::{End, Frame};
use crate::event::queue::Queue;
use crate::event::wire::{ConnState, Counter};
use crate::image::ImageFile;
use crate::image::debug_file::DebugDirs;
use crate::plan::Choice;
use crate::select::Selection;
use crate::symdb::SymbolDb;

pub use crate::output::Summary;
pub use command::{Running as RunningCommand, invoking_user};
pub use consumer::Consumer;
pub use signals::Signals;

use command::Waiting;
use consumer::Running;
use coverage::Coverage;
use hold::{Chooser, Hold, Wanted};
use judge::Judge;
use targets::Targets;

/// Between two looks at the clock, the child and the signals while nothing is to be done at once.
const TICK: Duration = Duration::from_millis(50);
/// After so long without a word, everything has been told of the processes that run already.
const SETTLE: Duration = Duration::from_millis(30);
/// What is not told by then is taken on the way: somewhere there is always something new.
const SETTLE_MAX: Duration = Duration::from_secs(3);
/// Notices that are taken before anything else has its turn.
const NOTICES_AT_ONCE: usize = 256;
/// Between two looks for libraries that no loader announced, and at the kernel's loss counters.
const SWEEP: Duration = Duration::from_secs(1);

/// What to observe, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom to observe; `None`: the whole machine. Binaries may be executables or shared libraries.
    pub selection: Option<Selection>,
    /// What is named and not there yet is waited for.
    pub wait: bool,
    /// A command to run once the probes are in place. Its end ends the run; if nobody else is observed, the run ends with
    /// the last of what it started.
    pub command: Vec<OsString>,
    /// The command is observed itself, and all that it starts.
    pub observes_command: bool,
    /// New processes wait until their probes are in place, for a moment at most.
    pub hold: bool,
    /// What the selected processes do is told, beside what they say.
    pub tells_acts: bool,
    /// Files whose reading is told.
    pub watched: Watched,
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

impl Options {
    /// Nobody is observed but the command and what it starts.
    fn has_only_command(&self) -> bool {
        let is_empty = |selection: &Selection| !selection.has_rules() && selection.pids.is_empty();
        self.observes_command && self.selection.as_ref().is_some_and(is_empty)
    }
}

/// What a run tells on the way.
pub trait Progress {
    /// A line for the user: what was attached, what was not and why.
    fn notice(&mut self, line: &str);

    /// The command has its first instruction before it, and the terminal to itself.
    fn command_begins(&mut self);

    /// The command has ended.
    fn command_ends(&mut self);
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The counts, or what went wrong after the command had begun.
    pub summary: Result<Summary>,
    /// How the command ended, if there was one and it did.
    pub status: Option<ExitStatus>,
    /// The command, if it still runs.
    pub command: Option<RunningCommand>,
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
    signals: &Signals,
) -> Result<Outcome> {
    let mut examiner = Examiner::new(SymbolDb::load()?, options.debug_dirs.clone());
    if options.cache {
        examiner = examiner.with_user_cache();
    }
    let targets = Targets::open(options)?;
    let named: Vec<_> = targets.programs.iter().map(ImageFile::identity).collect();
    let (rules, scope) = (targets.rules.clone(), targets.scope);
    let names = options.watched.names();
    let mut session = Session::open(&Settings {
        scope: targets.scope,
        ring_bytes: options.buffer.ring,
        max_bytes: options.max_bytes,
        tells_acts: options.tells_acts,
        watches_all: names.all,
    })?;
    let queue = Queue::new(options.buffer.queue);
    session.tell_functions(Arc::clone(&queue));
    session.watch_names(&names.begins, &names.ends, &names.parents)?;
    session.watch_acts()?;
    if options.tells_acts {
        // The queue has room yet.
        let _ = queue.push(Frame::Watched(options.watched.patterns().to_vec()));
    }
    let ring = session.ring()?.start(Arc::clone(&queue), options.latency)?;
    let judge = Judge::new(targets.rules.clone());
    let with = (&examiner, &options.choice);
    let unseen_calls = session.unseen_calls().map(str::to_owned);
    let mut coverage = Coverage::new(session, with, judge, queue, progress);
    if let Some(why) = unseen_calls {
        coverage.notice(&format!(
            "NOT SEEN: files and sockets; of what processes do, only programs are told: {why}"
        ));
    }
    let mut run = Run {
        options,
        signals,
        coverage,
        ring,
        consumer: None,
        counters: Vec::new(),
        has_told_rest: false,
        is_winding_up: false,
        hold: None,
        held: [0; 2],
        companions: None,
    };
    run.cover(targets)?;
    let waiting = run.stand_by()?;
    if options.hold && scope == Scope::Everybody {
        run.coverage
            .notice("holding nobody: probes in a library are there before any process begins");
    } else if options.hold {
        run.coverage.try_return_probes();
        let followed = run.coverage.followed()?;
        run.hold = Some(Hold::start(Chooser::new(rules, named, followed))?);
        run.sweep_hold();
    }
    // Only now: a run that cannot start must not empty an earlier capture.
    let queue = Arc::clone(run.ring.queue());
    run.consumer = Some(Running::start(make_consumer()?, queue)?);
    run.observe(waiting)
}

struct Run<'r> {
    // First: nobody may wait for who ends.
    hold: Option<Hold>,
    options: &'r Options,
    signals: &'r Signals,
    // Before the ring: nothing may fill it any more when its thread is joined.
    coverage: Coverage<'r>,
    ring: RunningRing,
    consumer: Option<Running>,
    /// As they were last told.
    counters: Vec<(Counter, u64)>,
    /// That descendants of the command are left was told.
    has_told_rest: bool,
    /// All probes are gone.
    is_winding_up: bool,
    /// New processes that waited, and those that did in vain.
    held: [u64; 2],
    /// What the command used, then and now.
    companions: Option<Companions>,
}

impl Run<'_> {
    /// Probes what is there, and finds out who is to be followed.
    fn cover(&mut self, targets: Targets) -> Result<()> {
        let pids = targets.pids()?;
        for library in targets.libraries {
            self.coverage.cover_library(library)?;
        }
        self.coverage.follow_processes(targets.scope)?;
        for program in targets.programs {
            self.coverage.cover_program(program)?;
        }
        for pid in pids {
            self.coverage.add_root(pid)?;
        }
        self.settle()?;
        if self.coverage.captures() || !self.options.command.is_empty() {
            return Ok(());
        }
        self.coverage.tell_waiting(&targets.rules.pids)
    }

    /// Makes the command's process, which waits until its probes are in place.
    fn stand_by(&mut self) -> Result<Option<Waiting>> {
        let waiting = command::prepare(&self.options.command, self.signals, self.options.hold)?;
        if let (Some(waiting), Some(name)) = (&waiting, self.options.command.first())
            && self.options.observes_command
        {
            self.coverage.add_command(waiting.pid())?;
            self.settle()?;
            self.coverage.expect_command(name);
            if self.options.cache {
                let companions = Companions::of(name);
                self.coverage.expect_companions(&companions);
                self.companions = Some(companions);
            }
        }
        Ok(waiting)
    }

    /// Takes what is told of processes until nothing more is asked.
    fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_MAX;
        let is_over = |run: &Self| Instant::now() > deadline || run.is_stopped();
        while !is_over(self) && self.coverage.scan_if_due()? {
            while !is_over(self)
                && let Ok(notice) = self.ring.notices.recv_timeout(SETTLE)
            {
                self.take_these(Some(notice))?;
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.consumer.as_ref().is_none_or(Running::has_ended)
    }

    fn observe(&mut self, waiting: Option<Waiting>) -> Result<Outcome> {
        // Whoever ends it before it began does not want the command to run.
        let waiting = waiting.filter(|_| !self.is_stopped());
        let mut command = waiting.map(|waiting| self.begin(waiting)).transpose()?;
        let watched = self.watch(&mut command);
        if let Some(companions) = &mut self.companions {
            companions.keep(self.coverage.companions());
        }
        self.end_hold();
        self.wind_up();
        let finished = self.consumer.as_mut().map(Running::finish);
        let summary = finished.unwrap_or_else(|| Ok(Summary::default()));
        let (status, watched) = match watched {
            Ok(status) => (status, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let [held, let_go] = self.held;
        let summary = summary.map(|summary| Summary {
            held,
            let_go,
            ..summary
        });
        Ok(Outcome {
            summary: watched.and(summary),
            status,
            command: command.filter(|_| status.is_none()),
        })
    }

    /// Lets the command run.
    fn begin(&mut self, waiting: Waiting) -> Result<RunningCommand> {
        let command = waiting.release()?;
        self.coverage.progress().command_begins();
        Ok(command)
    }

    fn is_stopped(&self) -> bool {
        self.signals.stop.load(Ordering::Acquire)
    }

    /// Until something ends it. How the command ended, if it did.
    fn watch(&mut self, command: &mut Option<RunningCommand>) -> Result<Option<ExitStatus>> {
        let duration = self.options.duration;
        let deadline = duration.and_then(|time| Instant::now().checked_add(time));
        let mut swept = Instant::now();
        let mut status = None;
        while !self.has_ended() {
            self.take_notices()?;
            if let Some(command) = command
                && status.is_none()
            {
                status = command.status()?;
                if status.is_some() {
                    self.coverage.progress().command_ends();
                }
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let is_done = status.is_some() && self.is_tree_over();
            if is_done || is_over || self.is_stopped() {
                break;
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                panic_if_wanted("main");
                let unheard = self.coverage.sweep();
                self.tell_ended(unheard, true);
                self.sweep_hold();
                self.tell_counters()?;
            }
        }
        Ok(status)
    }

    /// The command has ended: has all that it started, too, if that is observed?
    fn is_tree_over(&mut self) -> bool {
        if !self.options.has_only_command() {
            return true;
        }
        let left = self.coverage.tracked();
        if left > 0 && !self.has_told_rest {
            self.has_told_rest = true;
            self.coverage.notice(&format!(
                "the command has ended, and {left} processes that it started go on (Ctrl-C ends observing)"
            ));
        }
        left == 0
    }

    /// Does what must be done at once, or waits for it for a moment.
    fn take_notices(&mut self) -> Result<()> {
        let pause = self
            .coverage
            .next_look()
            .map_or(TICK, |look| look.min(TICK));
        let nobody = never();
        let wanted = self.hold.as_ref().map_or(&nobody, |hold| &hold.wanted);
        select! {
            recv(wanted) -> wanted => match wanted {
                Ok(wanted) => self.cover_ahead(wanted)?,
                Err(_) => {
                    self.end_hold();
                    self.coverage.notice("no process is held any more: the thread for it has failed");
                }
            },
            recv(self.ring.notices) -> first => match first {
                Ok(first) => self.take_these(Some(first))?,
                Err(_) => {
                    return Err(Error::new(
                        ErrorKind::Io,
                        "the ring buffer is not read any more",
                    ));
                }
            },
            default(pause) => {}
        }
        self.coverage.look_again();
        self.coverage.scan_if_due().map(|_| ())
    }

    /// Covers what somebody waits for.
    fn cover_ahead(&mut self, wanted: Wanted) -> Result<()> {
        let Some(hold) = &self.hold else {
            return Ok(());
        };
        hold.delay(&wanted.path);
        let release = || hold.release(wanted.identity);
        let file = (wanted.file, wanted.path.as_path());
        self.coverage
            .cover_ahead(file, wanted.pid, wanted.by_path, release)
    }

    /// Before anything else: somebody waits.
    fn cover_wanted(&mut self) -> Result<()> {
        let wanted = self.hold.as_ref().map(|hold| hold.wanted.clone());
        for wanted in wanted
            .iter()
            .flat_map(crossbeam_channel::Receiver::try_iter)
        {
            self.cover_ahead(wanted)?;
        }
        Ok(())
    }

    fn sweep_hold(&mut self) {
        if let Some(hold) = &mut self.hold {
            let goes_on = hold.sweep();
            for notice in hold.take_notices() {
                self.coverage.notice(&notice);
            }
            if !goes_on {
                self.end_hold();
            }
        }
    }

    fn end_hold(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.held = hold.finish();
        }
    }

    /// Takes `first` and all that wait behind it.
    fn take_these(&mut self, first: Option<Notice>) -> Result<()> {
        let mut ended: Vec<Caller> = Vec::new();
        let mut has_spoken = false;
        let notices = self.ring.notices.clone();
        let waiting = notices.try_iter().take(NOTICES_AT_ONCE);
        for notice in first.into_iter().chain(waiting) {
            self.cover_wanted()?;
            if let (Notice::Process(sighted), Some(hold)) = (&notice, &mut self.hold) {
                hold.meet(sighted.caller.process.pid);
            }
            match notice {
                Notice::Exit(caller, spoke) => {
                    has_spoken |= spoke;
                    ended.push(caller);
                }
                // Probes that are placed now would stay to the end.
                _ if self.is_winding_up => {}
                Notice::Loader(loaded) => self.coverage.expect_news(loaded),
                Notice::Process(sighted) => self.coverage.meet(&sighted)?,
            }
        }
        self.tell_ended(ended, has_spoken);
        Ok(())
    }

    /// `has_spoken`: one of them has had connections.
    fn tell_ended(&mut self, ended: Vec<Caller>, has_spoken: bool) {
        if ended.is_empty() {
            return;
        }
        // Read before the next sweep clears the table.
        let open = match has_spoken {
            true => self.coverage.connections(),
            false => Vec::new(),
        };
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
        self.is_winding_up = true;
        while !self.ring.notices.is_empty() {
            // It is over: what cannot be followed any more is of no interest.
            let _ = self.take_these(None);
        }
        queue.push(Frame::End(End {
            open: self.coverage.connections(),
            // As they were last told, if they cannot be read any more.
            counters: self
                .coverage
                .counters()
                .unwrap_or_else(|_| self.counters.clone()),
            masked: 0,
            left_out: 0,
            unread: 0,
        }));
        queue.close();
    }
}
