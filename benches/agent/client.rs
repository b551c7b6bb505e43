//! The clients, as processes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use procfs::process::MMapPath;

use crate::Figures;
use crate::support::child::Ended;
use crate::support::{Result, sample};

/// Beside this file.
fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/agent");
    folder.join(name)
}

/// What is to be said.
pub struct Talk<'t> {
    pub port: u16,
    pub cert: &'t Path,
    pub requests: u64,
    pub events: u64,
    pub pause_ms: u64,
}

/// A client.
#[derive(Clone)]
pub struct Client {
    pub name: &'static str,
    /// What is observed.
    pub program: PathBuf,
    script: PathBuf,
    /// Where shared libraries are looked for first.
    libraries: PathBuf,
}

impl Client {
    /// Those that this machine has; the others are named.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        let mut add = |name, program: Option<PathBuf>, file| match program {
            Some(program) => all.push(Self {
                name,
                program,
                script: script(file),
                libraries: folder.to_owned(),
            }),
            None => eprintln!("skipped: {name} is not there"),
        };
        add("node 26", sample("node-x64-26", "node"), "client.mjs");
        add("python", python(folder)?, "client.py");
        Ok(all)
    }

    /// Starts it; it stands still with its TLS library loaded.
    pub fn start(&self, talk: &Talk<'_>) -> Result<Running> {
        let numbers = [talk.requests, talk.events, talk.pause_ms];
        let child = Command::new(&self.program)
            .arg(&self.script)
            .arg(talk.port.to_string())
            .arg(talk.cert)
            .args(numbers.map(|number| number.to_string()))
            .env("LD_LIBRARY_PATH", &self.libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut child = Ended(child);
        let stdout = child.0.stdout.take().ok_or("no stdout")?;
        let mut running = Running {
            child,
            stdout: BufReader::new(stdout),
            program: self.program.clone(),
        };
        let mut line = String::new();
        running.stdout.read_line(&mut line)?;
        if line == "ready\n" {
            Ok(running)
        } else {
            Err(format!("{} is not ready: {line}", self.name).into())
        }
    }
}

/// The interpreter itself, if the one in the path is a script; with a copy of its libssl in the folder, so
/// that nobody else's probes are measured.
fn python(folder: &Path) -> Result<Option<PathBuf>> {
    let code = "import sys, _ssl; print(sys.executable); \
                print(next(line.split()[-1] for line in open('/proc/self/maps') if 'libssl' in line))";
    let output = Command::new("python3").args(["-c", code]).output();
    let printed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let printed = printed.unwrap_or_default();
    let mut lines = printed.lines().map(PathBuf::from);
    let (Some(program), Some(library)) = (lines.next(), lines.next()) else {
        return Ok(None);
    };
    fs::copy(
        &library,
        folder.join(library.file_name().unwrap_or_default()),
    )?;
    Ok(Some(fs::canonicalize(program)?))
}

/// A client that stands still until it is told to go.
pub struct Running {
    child: Ended,
    stdout: BufReader<ChildStdout>,
    program: PathBuf,
}

impl Running {
    /// The libssl that it has loaded, or itself.
    pub fn library(&self) -> Result<PathBuf> {
        let maps = self.child.process()?.maps()?;
        let mut paths = maps.into_iter().filter_map(|map| match map.pathname {
            MMapPath::Path(path) => Some(path),
            _ => None,
        });
        let found = paths.find(|path| path.to_string_lossy().contains("/libssl.so"));
        Ok(found.unwrap_or_else(|| self.program.clone()))
    }

    /// Lets it talk until it is done.
    pub fn go(mut self) -> Result<Figures> {
        let stdin = self.child.0.stdin.as_mut().ok_or("no stdin")?;
        stdin.write_all(b"\n")?;
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed)?;
        let number = |name: &str| {
            let mut lines = printed.lines();
            let text = lines.find_map(|line| line.strip_prefix(name))?;
            text.parse::<f64>().ok()
        };
        let figures = || {
            Some(Figures {
                bytes: number("bytes ")? as u64,
                wall_s: number("seconds ")?,
                cpu_s: number("cpu_seconds ")?,
            })
        };
        figures().ok_or_else(|| format!("the client printed no figures: {printed}").into())
    }
}
