//! The thread that takes what the ring thread has read: it prints, or it records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result, panic_if_wanted};
use crate::event::frame::Frame;
use crate::event::queue::{Next, Queue};
use crate::output::{Flow, Output, Summary};
use crate::record::Recorder;

/// Nothing depends on it: whoever adds a frame wakes the thread.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done with the frames.
pub enum Consumer {
    /// They are printed.
    Output(Box<Output>),
    /// They are kept.
    Recorder(Box<Recorder>),
}

impl Consumer {
    fn take(&mut self, frame: &mut Frame) -> Result<Flow> {
        match self {
            Self::Output(output) => output.take(frame),
            Self::Recorder(recorder) => recorder.take(frame),
        }
    }

    fn flush(&mut self) -> Result<Flow> {
        match self {
            Self::Output(output) => output.flush(),
            Self::Recorder(_) => Ok(Flow::More),
        }
    }

    fn summary(&self) -> Summary {
        match self {
            Self::Output(output) => output.summary(),
            Self::Recorder(recorder) => recorder.summary(),
        }
    }

    /// Takes all frames until the last one. When no more are wanted, `is_enough` is set, and of what comes still only the
    /// last word is of interest: it tells what was lost.
    fn run(mut self, queue: &Queue, is_enough: &AtomicBool) -> Result<Summary> {
        loop {
            // What is ready is taken before what was printed is written out.
            let next = match queue.pop(Instant::now()) {
                Next::Empty => {
                    note(self.flush()?, is_enough);
                    queue.pop(Instant::now() + PATIENCE)
                }
                next => next,
            };
            let mut frame = match next {
                Next::Closed => return Ok(self.summary()),
                Next::Empty => continue,
                Next::Frame(frame) => frame,
            };
            if matches!(frame, Frame::Records(_)) {
                panic_if_wanted("output");
            }
            if !is_enough.load(Ordering::Acquire) || matches!(frame, Frame::End(_)) {
                note(self.take(&mut frame)?, is_enough);
            }
            if let Frame::Records(block) = frame {
                queue.recycle(block);
            }
        }
    }
}

fn note(flow: Flow, is_enough: &AtomicBool) {
    if flow == Flow::Enough {
        is_enough.store(true, Ordering::Release);
    }
}

/// Whatever ends the thread: nobody may wait for it to take more.
struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The running thread.
pub struct Running {
    thread: Option<JoinHandle<Result<Summary>>>,
    is_enough: Arc<AtomicBool>,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(consumer: Consumer, queue: Arc<Queue>) -> Result<Self> {
        let is_enough = Arc::new(AtomicBool::new(false));
        let enough = Arc::clone(&is_enough);
        let run = move || {
            let queue = Abandon(queue);
            consumer.run(&queue.0, &enough)
        };
        let thread = thread::Builder::new().name("output".into()).spawn(run);
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Io, format!("failed to start a thread: {error}"))
        })?;
        Ok(Self {
            thread: Some(thread),
            is_enough,
        })
    }

    /// It has failed, or wants no more.
    pub fn has_ended(&self) -> bool {
        let thread = self.thread.as_ref();
        self.is_enough.load(Ordering::Acquire) || thread.is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The output failed.
    pub fn finish(&mut self) -> Result<Summary> {
        let joined = self.thread.take().map(JoinHandle::join);
        match joined {
            Some(Ok(result)) => result,
            _ => Err(Error::new(ErrorKind::Io, "the output thread panicked")),
        }
    }
}
