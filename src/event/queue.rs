//! Between the thread that empties the ring buffer and the one that prints: frames, bounded by their bytes.
//! Whoever fills it never waits. When it is full, plaintext is left out and its header goes on, which tells
//! how much there was; the last part of the room is kept for that. When even that is used up, nothing is
//! taken: records stay in the ring buffer, and the kernel counts what finds no room there.
//!
//! Memory is taken when it is needed and given back when the queue is empty again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::block::{Block, room_for};
use super::frame::Frame;
use super::wire::{self, Sort};

/// Bytes of a block: large enough that handing it over costs nothing, small enough for the CPU's cache.
const BLOCK_MAX: usize = 256 << 10;
/// Room for the largest record.
const BLOCK_MIN: usize = 32 << 10;
/// Frames that there is always room for.
const FRAMES_MIN: usize = 1024;
/// Bytes of records that there is always room for, if they come by themselves.
const WORDS_MAX: usize = 1024;
/// Blocks kept for their memory.
const SPARE_MAX: usize = 4;

/// The frames that wait.
pub struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// Memory of all frames, in bytes.
    bytes: AtomicUsize,
    /// Nobody takes frames any more.
    is_abandoned: AtomicBool,
    bound: usize,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    spare: Vec<Vec<u8>>,
    /// Nothing comes any more.
    is_closed: bool,
}

/// What a look into the queue gives.
#[derive(Debug)]
pub enum Next {
    /// Nothing comes any more.
    Closed,
    /// Nothing came in time.
    Empty,
    /// The next one.
    Frame(Frame),
}

impl Queue {
    /// A queue for `bound` bytes.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            bytes: AtomicUsize::new(0),
            is_abandoned: AtomicBool::new(false),
            bound,
        })
    }

    /// Adds a frame, and tells if there was room. What cannot be said later always finds room: the end of
    /// the run, the names of functions, and the last word of a process about its connections.
    pub fn push(&self, frame: Frame) -> bool {
        let cost = frame.cost();
        let is_needed = match &frame {
            Frame::End(_) | Frame::Function { .. } | Frame::Missed(_) | Frame::Watched(_) => true,
            Frame::Exited { open, .. } => !open.is_empty(),
            // What user space says itself.
            Frame::Records(block) => block.len() <= WORDS_MAX,
            Frame::Counters(_) | Frame::Process(_) | Frame::Tick(_) => false,
        };
        if self.is_abandoned() || (self.bytes() + cost > self.bound && !is_needed) {
            return false;
        }
        self.bytes.fetch_add(cost, Ordering::Relaxed);
        self.state().frames.push_back(frame);
        self.ready.notify_one();
        true
    }

    /// The next frame, if one comes before `deadline`.
    pub fn pop(&self, deadline: Instant) -> Next {
        let mut state = self.state();
        loop {
            if let Some(frame) = state.frames.pop_front() {
                self.bytes.fetch_sub(frame.cost(), Ordering::Relaxed);
                if state.frames.is_empty() {
                    state.frames.shrink_to(FRAMES_MIN);
                }
                return Next::Frame(frame);
            }
            if state.is_closed {
                return Next::Closed;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Next::Empty;
            };
            let waited = self.ready.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives a block's memory back.
    pub fn recycle(&self, block: Block) {
        let memory = block.into_memory();
        let mut state = self.state();
        if state.spare.len() < SPARE_MAX && memory.capacity() >= self.block_len() {
            state.spare.push(memory);
        }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.ready.notify_all();
    }

    /// Nobody takes frames any more: those that wait are dropped, and so are all that come.
    pub fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
        let frames = std::mem::take(&mut self.state().frames);
        let cost: usize = frames.iter().map(Frame::cost).sum();
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Whether anybody takes frames still.
    pub fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    fn block_len(&self) -> usize {
        (self.bound / 16).clamp(BLOCK_MIN, BLOCK_MAX)
    }

    fn blank(&self) -> Block {
        let memory = self.state().spare.pop().unwrap_or_default();
        Block::in_memory(memory, self.block_len())
    }

    /// A panic elsewhere leaves the frames whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Not taken: there is no room.
    Refused,
    /// Its header was taken.
    Stripped,
    /// All of it was taken.
    Whole,
}

/// Fills the queue with records.
pub struct Filler {
    queue: Arc<Queue>,
    block: Block,
    /// Up to here whole records are taken; what is left is for headers.
    whole_up_to: usize,
}

impl Filler {
    /// Fills this queue. There should be one only.
    pub fn new(queue: Arc<Queue>) -> Self {
        // An eighth, and room for some blocks' worth of headers at least.
        let reserve = queue.bound / 8;
        Self {
            whole_up_to: queue.bound - reserve,
            block: Block::default(),
            queue,
        }
    }

    /// Takes one record; or, if it may be stripped, what there is room for.
    pub fn take(&mut self, record: &[u8], may_strip: bool) -> Taken {
        let (len, is_data) = match wire::sort(record) {
            Sort::Data(len) => (len.min(record.len()), true),
            _ => (record.len(), false),
        };
        let used = self.queue.bytes() + self.block.len();
        let room = room_for(len);
        let bound = if is_data {
            self.whole_up_to
        } else {
            self.queue.bound
        };
        if used + room <= bound {
            self.make_room(room);
            self.block.push(record.get(..len).unwrap_or(record));
            return Taken::Whole;
        }
        let header = wire::without_payload(record).filter(|_| is_data && may_strip);
        match header {
            Some(header) if used + room_for(header.len()) <= self.queue.bound => {
                self.make_room(room_for(header.len()));
                self.block.push(&header);
                Taken::Stripped
            }
            _ if self.queue.is_abandoned() => Taken::Whole,
            _ => Taken::Refused,
        }
    }

    fn make_room(&mut self, room: usize) {
        if self.block.room() < room {
            self.flush();
        }
        if self.block.room() < room {
            self.block = self.queue.blank();
        }
    }

    /// Hands over what there is.
    pub fn flush(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let mut block = std::mem::take(&mut self.block);
        // What waits is counted by what is in it, so nothing else may be held by it.
        if block.room() > block.len() / 3 {
            let (small, memory) = block.shrunk();
            block = small;
            self.block = Block::in_memory(memory, 0);
        }
        // It was counted record by record; only its unused room and the frame itself may be beyond the bound.
        let frame = Frame::Records(block);
        if self.queue.is_abandoned() {
            return;
        }
        self.queue.bytes.fetch_add(frame.cost(), Ordering::Relaxed);
        self.queue.state().frames.push_back(frame);
        self.queue.ready.notify_one();
    }

    /// The queue that is filled.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

#[cfg(test)]
mod tests;
