//! What the observer's JSON lines say of late probes and of requests.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::Result;

/// Probes that came late.
pub struct Missed {
    pub pid: u32,
    pub file: String,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// One connection.
#[derive(Default)]
pub struct Conn {
    pub from_start: bool,
    pub written: String,
}

/// All of a run.
#[derive(Default)]
pub struct Lines {
    pub missed: Vec<Missed>,
    pub conns: HashMap<String, Conn>,
}

impl Lines {
    pub fn read(file: &Path) -> Result<Self> {
        let mut lines = Self::default();
        for line in BufReader::new(File::open(file)?).lines() {
            lines.take(&serde_json::from_str(&line?)?)?;
        }
        Ok(lines)
    }

    fn take(&mut self, line: &Value) -> Result<()> {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let is = |name: &str, value: &str| text(name) == value;
        match text("type") {
            "tls.missed" => self.missed.push(Missed {
                pid: line.get("pid").and_then(Value::as_u64).unwrap_or_default() as u32,
                file: text("file").to_owned(),
                from: text("from").parse()?,
                until: text("until").parse()?,
            }),
            "tls.open" => {
                let from_start = line.get("from_start").and_then(Value::as_bool);
                let conn = self.conns.entry(text("conn").to_owned()).or_default();
                conn.from_start = from_start.unwrap_or_default();
            }
            "tls.data" if is("direction", "write") => {
                let conn = self.conns.entry(text("conn").to_owned()).or_default();
                conn.written.push_str(text("data"));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Missed {
    pub fn ms(&self) -> f64 {
        milliseconds(self.from, self.until)
    }
}

pub fn milliseconds(from: Timestamp, until: Timestamp) -> f64 {
    until.duration_since(from).as_secs_f64() * 1e3
}
