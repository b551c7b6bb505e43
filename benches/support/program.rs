//! The programs under load: one TLS library each, both ends in one process, joined by memory (Bun: by a
//! loopback socket).
//!
//! A shared library is copied first: nobody else has the copy open, so that probes of other tracers on
//! this machine are not measured, nor other programs captured.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agentsight_testbins::{self as testbins, Unbuilt, golang, rust};
use goblin::elf::Elf;

use super::child::Ended;
use super::{Result, sample};

/// The programs that there are.
pub const NAMES: [&str; 5] = ["OpenSSL", BUN, "GnuTLS", "Go", "rustls"];

/// BoringSSL as a vendor compiled it, with assembly and without names.
const BUN: &str = "BoringSSL in Bun";

/// How much a program is to say, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes of a message.
    pub size: u64,
    pub until: Until,
    /// Messages a second in all; flat out without.
    pub rate: Option<u64>,
    pub connections: u64,
    pub threads: u64,
}

/// When it is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Messages(u64),
    Seconds(u64),
}

impl Load {
    /// One connection, flat out.
    pub fn flat_out(size: u64, until: Until) -> Self {
        Self {
            size,
            until,
            rate: None,
            connections: 1,
            threads: 1,
        }
    }

    fn words(&self) -> Vec<String> {
        let mut words = vec!["--size".to_owned(), self.size.to_string()];
        let mut add = |name: &str, value: u64| words.extend([name.to_owned(), value.to_string()]);
        match self.until {
            Until::Messages(messages) => add("--messages", messages),
            Until::Seconds(seconds) => {
                add("--seconds", seconds);
                add("--timeout", 3 * seconds + 60);
            }
        }
        if let Some(rate) = self.rate {
            add("--rate", rate);
        }
        if self.connections > 1 {
            add("--connections", self.connections);
            add("--threads", self.threads);
        }
        words
    }
}

/// A program, and where its TLS functions are.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: &'static str,
    pub path: PathBuf,
    /// The shared library, or the program itself.
    pub library: PathBuf,
    /// Where shared libraries are looked for first.
    libraries: PathBuf,
    /// What the program is to run, if it is an interpreter.
    script: Option<PathBuf>,
    extra: Vec<String>,
}

impl Program {
    /// Builds one of [`NAMES`]; what it needs at run time goes into the folder.
    ///
    /// # Errors
    /// Something is not installed, or can't be built.
    pub fn build(name: &'static str, folder: &Path) -> Result<Self> {
        match name {
            "OpenSSL" => Self::shared(name, "openssl/load", "libssl.so", folder),
            "GnuTLS" => Self::shared(name, "gnutls/load", "libgnutls.so", folder),
            BUN => {
                let bun = sample("bun-x64-1.4", "bun");
                let bun = bun.ok_or("BoringSSL in Bun: scripts/fetch-samples bun-x64-1.4")?;
                let mut program = Self::whole(name, bun, folder).with_keys(folder)?;
                let script =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/libraries/bun.mjs");
                program.script = Some(script);
                Ok(program)
            }
            "Go" => {
                let version = golang::VERSIONS.last().ok_or("no toolchain")?;
                let built = golang::link(version, "load", &[], &[]);
                Ok(Self::whole(name, told(name, built)?, folder))
            }
            _ => {
                let path = told(name, rust::load())?;
                Self::whole(name, path, folder).with_keys(folder)
            }
        }
    }

    /// Tells it where a certificate is.
    fn with_keys(mut self, folder: &Path) -> Result<Self> {
        let keys = told(self.name, rust::certificate(folder))?;
        for (option, file) in ["--cert", "--key"].iter().zip(keys) {
            self.extra
                .extend([(*option).to_owned(), file.display().to_string()]);
        }
        Ok(self)
    }

    fn whole(name: &'static str, path: PathBuf, folder: &Path) -> Self {
        Self {
            name,
            library: path.clone(),
            path,
            libraries: folder.to_owned(),
            script: None,
            extra: Vec::new(),
        }
    }

    fn shared(name: &'static str, testbin: &str, library: &str, folder: &Path) -> Result<Self> {
        let path = told(name, testbins::build(testbin, "dyn-O2"))?.path;
        let mut program = Self::whole(name, path, folder);
        let system = fs::read(program.mapped(library)?)?;
        // What the program asks for: the file itself may have a longer name.
        let name = Elf::parse(&system)?.soname.unwrap_or(library);
        program.library = folder.join(name);
        fs::write(&program.library, &system)?;
        Ok(program)
    }

    /// The same program under another path, and so another one to a tracer.
    pub fn copy_to(&self, path: &Path) -> Result<Self> {
        fs::copy(&self.path, path)?;
        Ok(Self {
            path: path.to_owned(),
            ..self.clone()
        })
    }

    /// The file that it loads whose path contains this.
    fn mapped(&self, part: &str) -> Result<PathBuf> {
        let load = Load::flat_out(1, Until::Messages(1));
        let running = self.start(&load)?;
        let maps = running.child.process()?.maps()?;
        let mut paths = maps.into_iter().filter_map(|map| match map.pathname {
            procfs::process::MMapPath::Path(path) => Some(path),
            _ => None,
        });
        let found = paths.find(|path| path.to_string_lossy().contains(part));
        found.ok_or_else(|| format!("{} loads no {part}", self.name).into())
    }

    /// The command line, for a tracer that starts programs.
    pub fn command_line(&self, load: &Load) -> String {
        let mut words = vec![
            "/usr/bin/env".to_owned(),
            format!("LD_LIBRARY_PATH={}", self.libraries.display()),
            self.path.display().to_string(),
        ];
        words.extend(load.words());
        words.extend(self.extra.iter().cloned());
        words.join(" ")
    }

    /// Starts it; it stands still with its libraries loaded, and nothing is connected yet.
    pub fn start(&self, load: &Load) -> Result<Running> {
        let child = Command::new(&self.path)
            .args(&self.script)
            .args(load.words())
            .args(&self.extra)
            .arg("--wait")
            .env("LD_LIBRARY_PATH", &self.libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut running = Running {
            child: Ended(child),
            threads: load.threads,
        };
        let stdout = running.child.0.stdout.as_mut().ok_or("no stdout")?;
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready)?;
        if &ready == b"ready\n" {
            Ok(running)
        } else {
            Err(format!("{} is not ready", self.path.display()).into())
        }
    }
}

fn told<T>(name: &str, built: std::result::Result<T, Unbuilt>) -> Result<T> {
    built.map_err(|why| format!("{name}: {why}").into())
}

/// A program that stands still until it is told to go.
pub struct Running {
    pub child: Ended,
    threads: u64,
}

impl Running {
    /// Lets it talk until it is done.
    pub fn go(mut self) -> Result<Done> {
        let child = &mut self.child.0;
        child.stdin.as_mut().ok_or("no stdin")?.write_all(b"\n")?;
        let mut printed = String::new();
        let stdout = child.stdout.as_mut().ok_or("no stdout")?;
        stdout.read_to_string(&mut printed)?;
        Done::parse(&printed, self.threads)
            .ok_or_else(|| format!("the program printed no figures: {printed}").into())
    }
}

/// What a program did.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub messages: u64,
    pub seconds: f64,
    /// Of all its threads, handshakes included.
    pub cpu_seconds: f64,
    threads: u64,
}

impl Done {
    /// From what the program printed.
    pub fn parse(printed: &str, threads: u64) -> Option<Self> {
        let number = |name: &str| {
            let mut lines = printed.lines();
            let text = lines.find_map(|line| line.strip_prefix(name))?;
            text.trim().parse::<f64>().ok()
        };
        Some(Self {
            messages: number("messages ")? as u64,
            seconds: number("seconds ")?,
            cpu_seconds: number("cpu_seconds ")?,
            threads,
        })
    }

    /// Microseconds per message of one thread: one write and one read.
    pub fn us(&self) -> f64 {
        self.seconds * 1e6 * self.threads as f64 / self.messages as f64
    }
}
