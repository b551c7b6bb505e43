//! The thread that empties the ring buffer. It decodes and hands on, nothing else; when the consumer
//! is slow it waits, the ring fills up, and the kernel side counts what finds no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use libbpf_rs::{MapHandle, MapImpl, RingBufferBuilder};

use super::libbpf::Blame;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, wire};

/// How long a record may wait unless a batch wakes the reader earlier (`WAKEUP_BYTES`).
const LATENCY: Duration = Duration::from_millis(5);

/// Records between reader and consumer: at 16 KiB each, 64 MiB.
const QUEUE: usize = 4096;

/// Reads one session's records.
pub struct RingReader {
    map: MapHandle,
}

/// A running reader.
pub struct RunningRing {
    /// The records, in the order of the ring.
    pub events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    undecodable: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl RingReader {
    pub(super) fn new<T>(map: &MapImpl<'_, T>) -> Result<Self>
    where
        for<'m> MapHandle: TryFrom<&'m MapImpl<'m, T>, Error = libbpf_rs::Error>,
    {
        let map = MapHandle::try_from(map).blame(|| "failed to open the ring buffer")?;
        Ok(Self { map })
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(self) -> Result<RunningRing> {
        let (sender, events) = bounded(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let undecodable = Arc::new(AtomicU64::new(0));
        let (stop_seen, bad) = (Arc::clone(&stop), Arc::clone(&undecodable));
        let run = move || {
            let on_record = |record: &[u8]| match wire::decode(record) {
                // Below 0 ends the reading: nobody receives any more.
                Ok(event) => -i32::from(sender.send(event).is_err()),
                Err(_) => {
                    bad.fetch_add(1, Ordering::Relaxed);
                    0
                }
            };
            read(&self.map, on_record, &stop_seen)
        };
        let thread = thread::Builder::new()
            .name("ring".into())
            .spawn(run)
            .map_err(|error| {
                Error::new(ErrorKind::Io, format!("failed to start a thread: {error}"))
            })?;
        Ok(RunningRing {
            events,
            stop,
            undecodable,
            thread: Some(thread),
        })
    }
}

fn read(map: &MapHandle, on_record: impl FnMut(&[u8]) -> i32, stop: &AtomicBool) -> Result<()> {
    let mut builder = RingBufferBuilder::new();
    builder
        .add(map, on_record)
        .blame(|| "failed to open the ring buffer")?;
    let ring = builder.build().blame(|| "failed to open the ring buffer")?;
    loop {
        // Read before the last look: what was emitted before the stop is seen.
        let stopping = stop.load(Ordering::Acquire);
        // Most wake-ups are by time: the kernel side wakes for batches only.
        ring.poll_raw(if stopping { Duration::ZERO } else { LATENCY });
        let result = ring.consume_raw();
        if stopping || result < 0 {
            return Ok(());
        }
    }
}

impl RunningRing {
    /// Tells the thread to read what is there and end. Keep receiving until the channel is closed.
    pub fn finish(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Records that were not what the header file says.
    pub fn undecodable(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }
}

impl Drop for RunningRing {
    fn drop(&mut self) {
        self.finish();
        // A reader that waits for room in the queue must see that nobody receives any more.
        let (_, closed) = bounded(0);
        self.events = closed;
        if let Some(thread) = self.thread.take() {
            // It returns errors of opening only, and a panic there would have been reported.
            let _ = thread.join();
        }
    }
}
