//! The thread that takes what the ring thread has read: it prints, or it records.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
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

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Output(output) => output.flush(),
            Self::Recorder(_) => Ok(()),
        }
    }

    fn summary(&self) -> Summary {
        match self {
            Self::Output(output) => output.summary(),
            Self::Recorder(recorder) => recorder.summary(),
        }
    }

    /// Takes all frames until the last one, or until no more are wanted.
    fn run(mut self, queue: &Queue) -> Result<Summary> {
        loop {
            // What is ready is taken before what was printed is written out.
            let next = match queue.pop(Instant::now()) {
                Next::Empty => {
                    self.flush()?;
                    queue.pop(Instant::now() + PATIENCE)
                }
                next => next,
            };
            let mut frame = match next {
                Next::Closed => return Ok(self.summary()),
                Next::Empty => continue,
                Next::Frame(frame) => frame,
            };
            let flow = self.take(&mut frame)?;
            if let Frame::Records(block) = frame {
                queue.recycle(block);
            }
            if flow == Flow::Enough {
                self.flush()?;
                return Ok(self.summary());
            }
        }
    }
}

/// The running thread.
pub struct Running {
    thread: Option<JoinHandle<Result<Summary>>>,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(consumer: Consumer, queue: Arc<Queue>) -> Result<Self> {
        let run = move || {
            let result = consumer.run(&queue);
            queue.abandon();
            result
        };
        let thread = thread::Builder::new().name("output".into()).spawn(run);
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Io, format!("failed to start a thread: {error}"))
        })?;
        Ok(Self {
            thread: Some(thread),
        })
    }

    /// It has failed, or wants no more.
    pub fn has_ended(&self) -> bool {
        let thread = self.thread.as_ref();
        thread.is_none_or(JoinHandle::is_finished)
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
