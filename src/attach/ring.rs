//! The thread that empties the ring buffer. It copies records into the queue and never waits for anybody:
//! what the queue has no room for is left out or left in the ring, and counted (`event/queue.rs`).
//!
//! # How old a record can get
//!
//! While records come, the thread looks every three quarters of the latency asked for, and the kernel side
//! wakes it when a batch is there (`bpf/emit.h`). When nothing has come for a while it asks for a wake-up
//! with the next record (`reader_sleeps`), looks once more after one such time, and only then sleeps for
//! long. A program that made its record without seeing the wish began before the wish was written; its
//! record shows in the ring nanoseconds later, so the look after that time finds it. Whatever is made later
//! sees the wish and wakes the thread.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use libbpf_rs::{MapHandle, MapImpl};

use super::boot_time_ns;
use super::libbpf::Blame;
use super::mapped::{MappedRing, MappedWord};
use super::waiter::Waiter;
use crate::error::{Error, ErrorKind, Result, panic_if_wanted};
use crate::event::frame::Frame;
use crate::event::process::Sighted;
use crate::event::queue::{Filler, Queue, Taken};
use crate::event::wire::{self, Sort};
use crate::event::{Caller, Event, ProcessId};

/// Nothing for so long, and the thread asks to be woken instead of looking.
const IDLE_AFTER: Duration = Duration::from_millis(100);
/// How often the time is told while nothing comes.
const TICK: Duration = Duration::from_millis(50);
/// After so long without a record everybody has heard what time it is.
const TICK_UNTIL: Duration = Duration::from_millis(500);
/// Sleeps end with the next record; this is for nothing but peace of mind.
const LONG_SLEEP: Duration = Duration::from_secs(1);
/// Between two looks for room in the queue.
const FULL_SLEEP: Duration = Duration::from_millis(1);
/// Of the thread.
const NICE: libc::c_int = -10;
/// Notices that may wait; a program's libraries are looked for now and then in any case.
const NOTICES: usize = 4096;

/// Reads one session's records.
pub struct RingReader {
    map: MapHandle,
    variables: MapHandle,
    sleeps_at: usize,
}

/// What must be acted upon at once, whatever waits in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A process ended. All that it said is in the queue; whether it has had connections.
    Exit(Caller, bool),
    /// A process has loaded code that was not known.
    Loader(Loaded),
    /// A process was told of.
    Process(Box<Sighted>),
}

/// What a dynamic loader told. Times are of the boot clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Whose.
    pub process: ProcessId,
    /// When.
    pub at_ns: u64,
    /// Until when it had loaded nothing that was not known; 0: nobody looked.
    pub quiet_until_ns: u64,
}

/// A running reader.
pub struct RunningRing {
    /// What must be acted upon at once.
    pub notices: Receiver<Notice>,
    queue: Arc<Queue>,
    stop: Arc<AtomicBool>,
    waiter: Arc<Waiter>,
    thread: Option<JoinHandle<()>>,
}

impl RingReader {
    /// `variables`: the object's `.bss`, with `reader_sleeps` at `sleeps_at`.
    pub(super) fn new<T>(
        map: &MapImpl<'_, T>,
        variables: &MapImpl<'_, T>,
        sleeps_at: usize,
    ) -> Result<Self>
    where
        for<'m> MapHandle: TryFrom<&'m MapImpl<'m, T>, Error = libbpf_rs::Error>,
    {
        let open = |map| MapHandle::try_from(map).blame(|| "failed to open the ring buffer");
        Ok(Self {
            map: open(map)?,
            variables: open(variables)?,
            sleeps_at,
        })
    }

    /// Starts the thread, which fills `queue`. No record is older than `latency` when it is read, as long as
    /// the thread gets its turn on a CPU.
    ///
    /// # Errors
    /// There can be no thread, or the ring buffer cannot be mapped.
    pub fn start(self, queue: Arc<Queue>, latency: Duration) -> Result<RunningRing> {
        let failed = |error: std::io::Error| {
            Error::new(
                ErrorKind::Io,
                format!("failed to read the ring buffer: {error}"),
            )
        };
        let (sender, notices) = bounded(NOTICES);
        let stop = Arc::new(AtomicBool::new(false));
        let waiter = Arc::new(Waiter::new(self.map.as_fd().as_raw_fd()).map_err(failed)?);
        let run = Reading {
            ring: MappedRing::new(&self.map).map_err(failed)?,
            sleeps: MappedWord::new(&self.variables, self.sleeps_at).map_err(failed)?,
            filler: Filler::new(Arc::clone(&queue)),
            notices: sender,
            waiter: Arc::clone(&waiter),
            stop: Arc::clone(&stop),
            pause: latency * 3 / 4,
        };
        let thread = thread::Builder::new()
            .name("ring".into())
            .spawn(move || run.read())
            .map_err(failed)?;
        Ok(RunningRing {
            notices,
            queue,
            stop,
            waiter,
            thread: Some(thread),
        })
    }
}

/// The thread's own.
struct Reading {
    ring: MappedRing,
    sleeps: MappedWord,
    filler: Filler,
    notices: Sender<Notice>,
    waiter: Arc<Waiter>,
    stop: Arc<AtomicBool>,
    /// Between two looks while records come.
    pause: Duration,
}

/// What one look into the ring gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Some records, or one that is being made.
    Found,
    /// The queue is full.
    NoRoom,
    /// Nothing.
    Nothing,
}

impl Reading {
    fn read(mut self) {
        go_first();
        let mut heard = Instant::now();
        let mut ticked = heard;
        let mut has_asked = false;
        loop {
            // Read before the last look: what was emitted before the stop is seen.
            let stopping = self.stop.load(Ordering::Acquire);
            let look = self.look();
            self.filler.flush();
            if stopping && look == Look::Nothing {
                return;
            }
            if look == Look::NoRoom {
                if std::mem::take(&mut has_asked) {
                    self.sleeps.set(0);
                }
                thread::sleep(FULL_SLEEP);
                continue;
            }
            if look == Look::Found {
                heard = Instant::now();
                if std::mem::take(&mut has_asked) {
                    self.sleeps.set(0);
                }
            } else if ticked.elapsed() >= TICK && heard.elapsed() < TICK_UNTIL {
                ticked = Instant::now();
                // Without room nobody is waiting for the time either.
                let _ = self.filler.queue().push(Frame::Tick(boot_time_ns()));
            }
            if stopping {
                continue;
            }
            let pause = match (heard.elapsed() >= IDLE_AFTER, has_asked) {
                (false, _) => self.pause,
                (true, false) => {
                    self.sleeps.set(1);
                    has_asked = true;
                    self.pause
                }
                (true, true) if heard.elapsed() < TICK_UNTIL => TICK,
                (true, true) => LONG_SLEEP,
            };
            self.waiter.wait(pause);
        }
    }

    /// Takes what is in the ring now.
    fn look(&mut self) -> Look {
        let (filler, notices) = (&mut self.filler, &self.notices);
        let mut is_full = false;
        // What the queue has no room for may wait in the ring, until that is three quarters full.
        let (mut used, size) = (self.ring.used(), self.ring.size());
        let is_crowded = used > size - size / 4;
        let found = self.ring.consume(|record| {
            let may_strip = is_crowded && used > size / 2;
            let taken = match wire::sort(record) {
                Sort::Notice => tell(filler, notices, record, may_strip),
                _ => {
                    panic_if_wanted("ring");
                    filler.take(record, may_strip)
                }
            };
            is_full = taken == Taken::Refused;
            used = used.saturating_sub(record.len() as u64);
            !is_full
        });
        match (is_full, found) {
            (true, _) => Look::NoRoom,
            (false, true) => Look::Found,
            (false, false) => Look::Nothing,
        }
    }
}

/// What this thread leaves in the ring for too long is lost, and it has little to do: others wait for it, our
/// own output before all. Where that is not allowed it goes without.
pub fn go_first() {
    // SAFETY: these read and change nothing but the calling thread's turn on the CPU.
    unsafe {
        // Whoever was told to stand back (`nice`) does.
        if libc::getpriority(libc::PRIO_PROCESS, 0) <= 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        }
    }
}

/// Not through the queue, where it may have to wait. What came before it is there already.
fn tell(filler: &mut Filler, notices: &Sender<Notice>, record: &[u8], may_strip: bool) -> Taken {
    filler.flush();
    let notice = match wire::decode(record) {
        Ok(Event::Exit(caller)) => Notice::Exit(caller, wire::has_spoken(record)),
        Ok(Event::Loader(caller)) => Notice::Loader(Loaded {
            process: caller.process,
            at_ns: caller.ts_ns,
            quiet_until_ns: wire::quiet_until_ns(record),
        }),
        Ok(Event::Process(sighted)) => Notice::Process(sighted),
        _ => return filler.take(record, may_strip),
    };
    // If too many wait: processes and libraries are looked for now and then as well.
    let _ = notices.try_send(notice);
    Taken::Whole
}

impl RunningRing {
    /// Where the records go.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Reads what is there still, and ends. The queue stays open for a last word. Takes as long as the queue is
    /// full, unless it is abandoned.
    pub fn join(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waiter.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there would have been reported.
            let _ = thread.join();
        }
    }
}

impl Drop for RunningRing {
    fn drop(&mut self) {
        self.queue.abandon();
        self.join();
    }
}
