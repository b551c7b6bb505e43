//! A shell that lives through a round, so that it can be observed before it begins to work.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::support::Result;
use crate::support::child::Ended;

/// What some work took.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds.
    pub wall: f64,
    /// Processor seconds of the programs.
    pub processor: f64,
}

/// The shell; killed when dropped.
pub struct Worker {
    child: Ended,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Works in this folder.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut child = Command::new("/bin/sh")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take());
        let child = Ended(child);
        Ok(Self {
            child,
            commands: commands.ok_or("no standard input")?,
            answers: BufReader::new(answers.ok_or("no standard output")?),
        })
    }

    /// For `--pid`.
    pub fn pid(&self) -> String {
        self.child.0.id().to_string()
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&mut self, command: &str) -> Result<Cost> {
        let (began, before) = (Instant::now(), self.processor()?);
        writeln!(self.commands, "{{ {command}; }} < /dev/null; echo $?")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer != "0\n" {
            return Err(format!("{command}: exit status {}", answer.trim_end()).into());
        }
        Ok(Cost {
            wall: began.elapsed().as_secs_f64(),
            processor: self.processor()? - before,
        })
    }

    /// Of the shell and of all that it has waited for.
    fn processor(&self) -> Result<f64> {
        let stat = self.child.process()?.stat()?;
        let ticks = stat.utime + stat.stime + (stat.cutime + stat.cstime).unsigned_abs();
        Ok(ticks as f64 / procfs::ticks_per_second() as f64)
    }
}
