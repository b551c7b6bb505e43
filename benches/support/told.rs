//! What agentsight says of a run: its summary, and its JSON lines.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde_json::Value;

/// Bytes and records that were lost, by cause.
pub type Lost = BTreeMap<String, [u64; 2]>;

/// What came, and what the gaps say is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Pieces of plaintext.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What did not come.
    pub lost: Lost,
}

impl Told {
    /// From the summary on stderr; `None` if there is none:
    ///
    /// ```text
    /// captured: 100 events on 2 connections, 12 B written, 12 B read
    /// lost: ring-full (300 B, 3 records)
    /// ```
    pub fn from_summary(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let captured = lines.find_map(|line| line.strip_prefix("captured: "))?;
        let [events, _connections, written, read] = numbers(captured).try_into().ok()?;
        let mut lost = Lost::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("lost: ")) {
            let Some((cause, rest)) = line.split_once(" (") else {
                continue; // "nothing"
            };
            lost.insert(cause.to_owned(), numbers(rest).try_into().ok()?);
        }
        Some(Self {
            events,
            bytes: written + read,
            lost,
        })
    }

    /// From what `--json` writes.
    ///
    /// # Errors
    /// A line is no JSON object, or can't be read.
    pub fn from_lines(lines: impl BufRead) -> io::Result<Self> {
        let mut told = Self::default();
        for line in lines.lines() {
            let line: Value = serde_json::from_str(&line?)?;
            let number = |name| line.get(name).and_then(Value::as_u64).unwrap_or(0);
            match line.get("type").and_then(Value::as_str) {
                Some("tls.data") => {
                    told.events += 1;
                    told.bytes +=
                        line.get("data").and_then(Value::as_str).map_or(0, str::len) as u64;
                }
                Some("tls.gap") => {
                    let cause = line
                        .get("cause")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    let [bytes, records] = told.lost.entry(cause.to_owned()).or_default();
                    *bytes += number("bytes");
                    *records += number("records");
                }
                _ => {}
            }
        }
        Ok(told)
    }

    /// Bytes that the gaps say were lost.
    pub fn lost_bytes(&self) -> u64 {
        self.lost.values().map(|[bytes, _]| bytes).sum()
    }
}

/// The numbers of a text, whatever is between them.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}
