//! The records of a session one by one, for those who look at few and print none. Ends of processes and
//! news of their libraries are not among them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{RingReader, RunningRing};
use crate::error::Result;
use crate::event::frame::Frame;
use crate::event::queue::{Next, Queue};
use crate::event::{Event, wire};

/// Memory for records that wait.
const QUEUE_BYTES: usize = 64 << 20;
const LATENCY: Duration = Duration::from_millis(5);

/// What a session tells.
pub struct Events {
    ring: RunningRing,
    queue: Arc<Queue>,
    waiting: VecDeque<Event<'static>>,
    undecodable: u64,
}

impl Events {
    /// Starts to read.
    ///
    /// # Errors
    /// As [`RingReader::start`].
    pub fn start(reader: RingReader) -> Result<Self> {
        let queue = Queue::new(QUEUE_BYTES);
        Ok(Self {
            ring: reader.start(Arc::clone(&queue), LATENCY)?,
            queue,
            waiting: VecDeque::new(),
            undecodable: 0,
        })
    }

    /// The next event, if one comes in time.
    pub fn next_before(&mut self, deadline: Instant) -> Option<Event<'static>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            match self.queue.pop(deadline) {
                Next::Frame(Frame::Records(block)) => {
                    for record in block.records() {
                        match wire::decode(record) {
                            Ok(event) => self.waiting.push_back(event.into_owned()),
                            Err(_) => self.undecodable += 1,
                        }
                    }
                }
                Next::Frame(_) => {}
                Next::Closed | Next::Empty => return None,
            }
        }
    }

    /// Stops reading: all that was in the ring until now.
    pub fn finish(&mut self) -> Vec<Event<'static>> {
        self.ring.join();
        self.queue.close();
        let now = Instant::now();
        std::iter::from_fn(|| self.next_before(now)).collect()
    }

    /// Records that were not what the header file says.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }
}
