//! What is done to bytes, in megabytes per second, and next to each stage something simple with the same bytes: only their
//! ratio says something on another machine.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::report::{self, Measured, size, table};
use super::stats::Spread;
use super::{Options, Result};

/// One stage.
pub struct Stage {
    pub name: String,
    /// Bytes that come at once, where that matters.
    pub at_once: Option<usize>,
    /// Bytes of one pass.
    pub bytes: usize,
    pub pass: Box<dyn FnMut()>,
    /// What it is compared with.
    pub simple: Simple,
}

/// Something simple with the same bytes.
pub struct Simple {
    pub name: &'static str,
    pub pass: Box<dyn FnMut()>,
}

/// Rounds of one stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub stage: String,
    pub at_once: Option<u64>,
    /// Of one pass.
    pub bytes: u64,
    pub simple: String,
    pub rounds: Vec<Round>,
}

/// Seconds of one pass.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Round {
    pub seconds: f64,
    pub simple_seconds: f64,
}

/// The whole of a bench's main, if it has nothing but stages.
///
/// # Errors
/// What was measured before can't be read.
pub fn run(name: &str, stages: fn() -> Vec<Stage>) -> Result<()> {
    let measure = |options: &Options| {
        Ok(Measured {
            rows: measure(stages(), options),
            faults: Vec::new(),
        })
    };
    report::run_as_anyone(name, measure, |rows, _| Ok(show(rows)))
}

/// All wanted stages, in turn.
fn measure(mut stages: Vec<Stage>, options: &Options) -> Vec<Row> {
    stages.retain(|stage| options.wants(&stage.name));
    let mut rows: Vec<Row> = stages.iter().map(Row::of).collect();
    let whole = Duration::from_secs(options.seconds.unwrap_or(1));
    for _ in 0..options.rounds.unwrap_or(7) {
        for (stage, row) in stages.iter_mut().zip(&mut rows) {
            let simple_seconds = seconds(&mut stage.simple.pass, whole / 4);
            let seconds = seconds(&mut stage.pass, whole);
            row.rounds.push(Round {
                seconds,
                simple_seconds,
            });
        }
    }
    rows
}

/// Of one pass, the first left out: it fills the caches.
fn seconds(pass: &mut dyn FnMut(), whole: Duration) -> f64 {
    pass();
    let began = Instant::now();
    let mut passes = 0_u32;
    while passes == 0 || began.elapsed() < whole {
        pass();
        passes += 1;
    }
    began.elapsed().as_secs_f64() / f64::from(passes)
}

impl Row {
    fn of(stage: &Stage) -> Self {
        Self {
            stage: stage.name.clone(),
            at_once: stage.at_once.map(|bytes| bytes as u64),
            bytes: stage.bytes as u64,
            simple: stage.simple.name.to_owned(),
            rounds: Vec::new(),
        }
    }

    fn speed(&self, seconds: fn(&Round) -> f64) -> Option<Spread> {
        let bytes = self.bytes as f64;
        Spread::of(self.rounds.iter().map(|round| bytes / seconds(round) / 1e6))
    }
}

/// A table of all rows.
fn show(rows: &[Row]) -> String {
    let heads = [
        "stage",
        "bytes at once",
        "MB/s, median (min – max)",
        "compared with",
        "MB/s of that",
        "times its time",
    ];
    let lines = rows.iter().map(|row| {
        let speed = row.speed(|round| round.seconds);
        let simple = row.speed(|round| round.simple_seconds);
        let ratios = row.rounds.iter();
        let ratio = Spread::of(ratios.map(|round| round.seconds / round.simple_seconds));
        let text = |spread: Option<Spread>, show: fn(Spread) -> String| {
            spread.map(show).unwrap_or_default()
        };
        [
            row.stage.clone(),
            row.at_once.map(size).unwrap_or_default(),
            text(speed, |speed| {
                let [median, min, max] = [speed.median, speed.min, speed.max].map(figure);
                format!("{median} ({min} – {max})")
            }),
            row.simple.clone(),
            text(simple, |simple| figure(simple.median)),
            text(ratio, |ratio| figure(ratio.median)),
        ]
    });
    let rounds = rows.first().map_or(0, |row| row.rounds.len());
    format!(
        "{rounds} rounds, all rows in turn:\n\n{}",
        table(heads, lines)
    )
}

/// With two digits at least.
fn figure(value: f64) -> String {
    match value {
        _ if value < 1.0 => format!("{value:.2}"),
        _ if value < 10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

impl Simple {
    /// Counting the ends of lines, eight and more bytes at a time (memchr).
    pub fn lines(data: impl AsRef<[u8]> + 'static) -> Self {
        Self {
            name: "counting line ends",
            pass: Box::new(move || {
                let data = std::hint::black_box(data.as_ref());
                std::hint::black_box(memchr::memchr_iter(b'\n', data).count());
            }),
        }
    }

    /// Reading each of these as JSON, and keeping nothing of it (serde_json).
    pub fn json(texts: impl AsRef<[String]> + 'static) -> Self {
        Self {
            name: "reading the JSON, keeping nothing",
            pass: Box::new(move || {
                for text in texts.as_ref() {
                    let read = serde_json::from_str::<serde::de::IgnoredAny>(text);
                    assert!(std::hint::black_box(read).is_ok());
                }
            }),
        }
    }
}
