//! Takes the front of a growing file away, so that minutes of output need no more than a gigabyte of memory.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What stays at the end, and the least that is taken at once.
const KEPT: u64 = 512 << 20;

/// Holes are punched until it is dropped. The file's length stays what it is.
pub struct Trim {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Trim {
    /// Watches a file that need not be there yet.
    pub fn start(file: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watch = move || {
            let mut gone = 0;
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
                let length = fs::metadata(&file).map_or(0, |file| file.len());
                if length - gone < 2 * KEPT {
                    continue;
                }
                let end = (length - KEPT) & !0xfff;
                let punched = Command::new("fallocate")
                    .args(["--punch-hole", "--offset", "0", "--length"])
                    .arg(end.to_string())
                    .arg(&file)
                    .status();
                if punched.is_ok_and(|status| status.success()) {
                    gone = end;
                }
            }
        };
        Self {
            stop,
            thread: Some(thread::spawn(watch)),
        }
    }
}

impl Drop for Trim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing that could panic.
            let _ = thread.join();
        }
    }
}
