//! An HTTPS server on 127.0.0.1: node of a sample, which brings its own TLS library, so that nothing that is observed
//! uses the same one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::child::Ended;
use super::{Result, sample};

/// It ends with this.
pub struct Server {
    pub port: u16,
    child: Ended,
}

impl Server {
    /// `None` without the program for it.
    ///
    /// # Errors
    /// It does not start.
    pub fn start([cert, key]: &[PathBuf; 2]) -> Result<Option<Self>> {
        let Some(node) = sample("node-x64-20", "node") else {
            return Ok(None);
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/agent/server.mjs");
        let child = Command::new(node)
            .arg(script)
            .args([cert, key])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut child = Ended(child);
        let stdout = child.0.stdout.take().ok_or("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.strip_prefix("listening ");
        let port = port
            .ok_or_else(|| format!("no port: {line}"))?
            .trim()
            .parse()?;
        Ok(Some(Self { port, child }))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }
}
