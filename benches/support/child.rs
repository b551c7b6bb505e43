//! Processes that do not outlive the bench.

use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use procfs::process::Process;

use super::Result;

/// A process that is killed when dropped before its end.
pub struct Ended(pub Child);

impl Ended {
    /// Asks it to end.
    pub fn interrupt(&self) -> Result<()> {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("failed to end process {pid}").into())
        }
    }

    /// Waits for the end, and tells the processor seconds: a process that ended and was not waited for
    /// still shows them.
    pub fn finish(&mut self) -> Result<f64> {
        let process = self.process()?;
        while process.stat()?.state != 'Z' {
            thread::sleep(Duration::from_millis(2));
        }
        let seconds = self.cpu_seconds()?;
        self.0.wait()?;
        Ok(seconds)
    }

    /// What it has used of processors until now.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.process()?.stat()?;
        Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
    }

    /// What /proc says of it.
    pub fn process(&self) -> Result<Process> {
        Ok(Process::new(i32::try_from(self.0.id())?)?)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail if it ended and was waited for, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
