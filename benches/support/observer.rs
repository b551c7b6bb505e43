//! `agentsight attach` around a program.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Result;
use super::child::Ended;
use super::program::{Load, Program};
use super::rounds::Round;
use super::told::Told;
use super::trim::Trim;

/// Where the plaintext goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Hex,
    Json,
    Raw,
    Record,
    /// JSON into a pipe whose reader takes 20 MB a second while the program talks.
    SlowReader,
}

impl Output {
    pub const ALL: [Self; 5] = [
        Self::Json,
        Self::Hex,
        Self::Raw,
        Self::Record,
        Self::SlowReader,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex dump",
            Self::Json => "JSON",
            Self::Raw => "raw bytes",
            Self::Record => "recording",
            Self::SlowReader => "JSON, slow reader",
        }
    }
}

/// What this build of agentsight can do.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// `--probe-sites`
    pub sites: bool,
    /// `--record`
    pub record: bool,
}

impl Abilities {
    pub fn ask() -> Result<Self> {
        let output = Command::new(AGENTSIGHT)
            .args(["attach", "--help"])
            .output()?;
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Self {
            sites: help.contains("--probe-sites"),
            record: help.contains("--record"),
        })
    }
}

const AGENTSIGHT: &str = env!("CARGO_BIN_EXE_agentsight");

/// How long after its start it must have attached.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it is called.
#[derive(Clone, Debug)]
pub struct Attach<'a> {
    /// The program, or the library.
    pub binary: &'a Path,
    /// Attached when its line names this file.
    pub library: &'a Path,
    pub output: Output,
    /// `--probe-sites`, if that is to be said.
    pub sites: Option<&'a str>,
    /// `--buffer`
    pub buffer: Option<&'a str>,
    /// At the lowest priority there is.
    pub is_nice: bool,
    /// Where the output goes, and stays unless it gets longer than a gigabyte.
    pub file: &'a Path,
}

impl<'a> Attach<'a> {
    /// JSON, and all else as it comes.
    pub fn json(binary: &'a Path, library: &'a Path, file: &'a Path) -> Self {
        Self {
            binary,
            library,
            output: Output::Json,
            sites: None,
            buffer: None,
            is_nice: false,
            file,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nice");
        let niceness = if self.is_nice { "19" } else { "0" };
        command.args(["-n", niceness, AGENTSIGHT, "attach", "--binary"]);
        command.arg(self.binary);
        match self.output {
            Output::Hex => command.arg("--hex").arg("-o").arg(self.file),
            Output::Json => command.arg("--json").arg("-o").arg(self.file),
            Output::Raw => command.arg("--raw").arg("-o").arg(self.file),
            Output::Record => command.arg("--record").arg(self.file),
            Output::SlowReader => command.arg("--json"),
        };
        if let Some(sites) = self.sites {
            command.args(["--probe-sites", sites]);
        }
        if let Some(buffer) = self.buffer {
            command.args(["--buffer", buffer]);
        }
        command
    }

    /// One run of `program` under it. The program stands with its libraries loaded when the observer comes, so that
    /// the very first call is seen. The output is not kept.
    pub fn observe(&self, program: &Program, load: &Load) -> Result<Round> {
        let running = program.start(load)?;
        let observer = self.start()?;
        let done = running.go()?;
        let ending = observer.stop()?;
        if self.output != Output::SlowReader {
            fs::remove_file(self.file)?;
        }
        Ok(Round::new(done, Some(ending.into())))
    }

    /// Starts it, and waits until its probes are in place.
    pub fn start(&self) -> Result<Observer> {
        let stdout = match self.output {
            Output::SlowReader => Stdio::piped(),
            _ => Stdio::null(),
        };
        let mut command = self.command();
        let began = Instant::now();
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn()?;
        let mut child = Ended(child);
        let stderr = child.0.stderr.take().ok_or("no stderr")?;
        let mut observer = Observer {
            reader: child.0.stdout.take().map(SlowReader::start),
            child,
            stderr: BufReader::new(stderr),
            trim: None,
            file: self.file.to_owned(),
            attach_s: 0.0,
        };
        observer.wait_attached(self.library)?;
        observer.attach_s = began.elapsed().as_secs_f64();
        if self.output != Output::SlowReader {
            observer.trim = Some(Trim::start(self.file.to_owned()));
        }
        Ok(observer)
    }
}

/// agentsight at work.
pub struct Observer {
    pub child: Ended,
    stderr: BufReader<ChildStderr>,
    reader: Option<SlowReader>,
    trim: Option<Trim>,
    file: PathBuf,
    /// From its start until the probes were in place.
    pub attach_s: f64,
}

/// What agentsight said at its end.
#[derive(Clone, Debug)]
pub struct Ending {
    pub told: Told,
    /// Its start included.
    pub cpu_seconds: f64,
    pub output_bytes: u64,
}

impl Observer {
    fn wait_attached(&mut self, library: &Path) -> Result<()> {
        let library = library.display().to_string();
        let deadline = Instant::now() + PATIENCE;
        let mut said = String::new();
        loop {
            let before = said.len();
            let is_over = self.stderr.read_line(&mut said)? == 0;
            if is_over || Instant::now() > deadline {
                return Err(format!("agentsight did not attach: {said}").into());
            }
            let line = said.get(before..).unwrap_or_default();
            if line.contains("attached") && line.contains(&library) {
                return Ok(());
            }
        }
    }

    /// Ends it, and reads what it says.
    pub fn stop(mut self) -> Result<Ending> {
        if let Some(reader) = &self.reader {
            reader.hurry();
        }
        self.child.interrupt()?;
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        let told = Told::from_summary(&said).ok_or_else(|| format!("no summary: {said}"))?;
        let cpu_seconds = self.child.finish()?;
        drop(self.trim.take());
        let output_bytes = match self.reader.take() {
            Some(reader) => reader.finish()?,
            None => fs::metadata(&self.file)?.len(),
        };
        Ok(Ending {
            told,
            cpu_seconds,
            output_bytes,
        })
    }
}

/// What `agentsight replay` makes of a recording, as JSON lines.
pub fn replayed(recording: &Path) -> Result<Told> {
    let child = Command::new(AGENTSIGHT)
        .arg("replay")
        .arg(recording)
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut child = Ended(child);
    let stdout = child.0.stdout.take().ok_or("no stdout")?;
    let told = Told::from_lines(BufReader::new(stdout))?;
    child.0.wait()?;
    Ok(told)
}

/// What a file of JSON lines says.
pub fn read_lines(file: &Path) -> Result<Told> {
    Ok(Told::from_lines(BufReader::new(File::open(file)?))?)
}

/// Takes little at a time, until it is told to hurry.
struct SlowReader {
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<u64>>,
}

impl SlowReader {
    fn start(mut stdout: ChildStdout) -> Self {
        let hurry = Arc::new(AtomicBool::new(false));
        let hurries = Arc::clone(&hurry);
        let read = move || {
            let mut buffer = vec![0; 64 << 10];
            let mut bytes = 0;
            loop {
                let got = stdout.read(&mut buffer)?;
                if got == 0 {
                    return Ok(bytes);
                }
                bytes += got as u64;
                if !hurries.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(3));
                }
            }
        };
        Self {
            hurry,
            thread: thread::spawn(read),
        }
    }

    fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    fn finish(self) -> Result<u64> {
        let read = self.thread.join();
        Ok(read.map_err(|_| "the slow reader panicked")??)
    }
}
