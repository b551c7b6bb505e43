//! What it costs processes that say nothing: fork, exec and exit of `true`, one after the other.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::support::program::Program;
use crate::support::report::table;
use crate::support::stats::{Interval, Spread};
use crate::support::watcher::Watcher;
use crate::support::{Options, Result};

const BARE: &str = "nobody observes";

/// One way of observing.
#[derive(Serialize, Deserialize)]
pub struct Way {
    way: String,
    /// Microseconds of one process, of each round.
    us: Vec<f64>,
}

pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Way>> {
    let other = Program::build("OpenSSL", folder)?;
    let other = other.path.to_str().ok_or("a path that is no text")?;
    let ways: [(&str, &[&str]); 5] = [
        (BARE, &[]),
        ("another program is observed", &["--binary", other]),
        ("the same with `--hold`", &["--binary", other, "--hold"]),
        ("`--all`", &["--all"]),
        ("`--all --hold`", &["--all", "--hold"]),
    ];
    let mut rows = ways.map(|(way, _)| Way {
        way: way.to_owned(),
        us: Vec::new(),
    });
    let time = Duration::from_secs(options.seconds.unwrap_or(2));
    for _ in 0..options.rounds.unwrap_or(7) {
        for (row, (_, words)) in rows.iter_mut().zip(ways) {
            let watcher = match words {
                [] => None,
                words => Some(Watcher::start(words, folder)?),
            };
            row.us.push(round(time)?);
            watcher.map(Watcher::stop).transpose()?;
        }
    }
    Ok(rows.into())
}

fn round(time: Duration) -> Result<f64> {
    // Everything is in the cache, and known to the observer.
    Command::new("/bin/true").status()?;
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < time {
        Command::new("/bin/true").status()?;
        count += 1;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

pub fn show(ways: &[&Way]) -> String {
    let heads = [
        "",
        "µs per process, median (min – max)",
        "to unobserved (95 %)",
    ];
    let bare = ways.iter().find(|way| way.way == BARE);
    let lines = ways.iter().map(|way| {
        let pairs = bare.map(|bare| {
            let pairs = bare.us.iter().copied().zip(way.us.iter().copied());
            pairs.collect::<Vec<_>>()
        });
        let ratio = pairs.and_then(|pairs| Interval::of_pairs(&pairs));
        [
            way.way.clone(),
            Spread::of(way.us.iter().copied()).map_or_else(String::new, |us| {
                format!("{:.0} ({:.0} – {:.0})", us.median, us.min, us.max)
            }),
            ratio.map_or_else(String::new, |of| {
                format!("{:.2} ({:.2} – {:.2})", of.ratio, of.low, of.high)
            }),
        ]
    });
    let rounds = ways.first().map_or(0, |way| way.us.len());
    format!(
        "`/bin/true`, started and waited for, one after the other; {rounds} rounds in turn:\n\n{}",
        table(heads, lines)
    )
}
