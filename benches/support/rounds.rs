//! Rounds of one program with one load in one way, and whether the observer's account is right.

use serde::{Deserialize, Serialize};

use super::observer::Ending;
use super::program::Done;
use super::report::{size, thousands};
use super::stats::Spread;
use super::told::Lost;

/// What the bare program's way is called.
pub const BARE: &str = "bare";

/// All rounds of one way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Whose TLS library.
    pub program: String,
    pub way: String,
    /// Bytes of a message.
    pub size: u64,
    pub rounds: Vec<Round>,
}

/// One round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Microseconds per message: one write and one read.
    pub us: f64,
    pub messages: u64,
    pub seconds: f64,
    pub seen: Option<Seen>,
}

/// What the tracer saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub events: u64,
    /// Moved by the calls that were seen.
    pub bytes: u64,
    /// What it says that it lost; of other tracers nothing is known.
    pub told: Option<Lost>,
    /// Its start included.
    pub cpu_seconds: f64,
    pub output_bytes: u64,
}

impl From<Ending> for Seen {
    fn from(ending: Ending) -> Self {
        Self {
            events: ending.told.events,
            bytes: ending.told.bytes,
            told: Some(ending.told.lost),
            cpu_seconds: ending.cpu_seconds,
            output_bytes: ending.output_bytes,
        }
    }
}

impl Round {
    pub fn new(done: Done, seen: Option<Seen>) -> Self {
        Self {
            us: done.us(),
            messages: done.messages,
            seconds: done.seconds,
            seen,
        }
    }

    /// Each message is written once and read once.
    fn events_expected(&self) -> u64 {
        2 * self.messages
    }

    /// Calls that the tracer did not see; `None` without one.
    pub fn lost_events(&self) -> Option<u64> {
        let seen = self.seen.as_ref()?;
        Some(self.events_expected().saturating_sub(seen.events))
    }

    /// What is wrong with the observer's account of this round: what did not come must be what it says
    /// that it lost, to the byte.
    pub fn fault(&self, size: u64) -> Option<String> {
        let seen = self.seen.as_ref()?;
        let told: u64 = seen.told.as_ref()?.values().map(|[bytes, _]| bytes).sum();
        let expected = self.events_expected() * size;
        let came = seen.bytes + told;
        (came != expected).then(|| {
            format!(
                "of {expected} B {} B came and {told} B are told as lost, which is {} B",
                seen.bytes,
                came.abs_diff(expected)
            ) + if came > expected {
                " too much"
            } else {
                " too little"
            }
        })
    }
}

impl Row {
    pub fn new(program: &str, way: &str, size: u64) -> Self {
        Self {
            program: program.to_owned(),
            way: way.to_owned(),
            size,
            rounds: Vec::new(),
        }
    }

    pub fn us(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| round.us))
    }

    /// To the bare rounds among these rows: a median by a median.
    pub fn ratio(&self, rows: &[Self]) -> Option<f64> {
        let is_base =
            |row: &&Self| row.way == BARE && row.size == self.size && row.program == self.program;
        let bare = rows.iter().find(is_base)?.us()?;
        Some(self.us()?.median / bare.median)
    }

    /// What a table of ways says about this one, from the time on.
    pub fn columns(&self, rows: &[Self]) -> [String; 6] {
        let time = self.us().map_or_else(String::new, |us| {
            format!("{:.2} ({:.2} – {:.2})", us.median, us.min, us.max)
        });
        let ratio = self
            .ratio(rows)
            .map_or_else(String::new, |ratio| format!("{ratio:.1}"));
        let seen: Vec<&Seen> = self
            .rounds
            .iter()
            .filter_map(|round| round.seen.as_ref())
            .collect();
        if seen.is_empty() {
            return [
                size(self.size),
                time,
                ratio,
                String::new(),
                String::new(),
                String::new(),
            ];
        }
        [
            size(self.size),
            time,
            ratio,
            self.lost(),
            self.told(),
            cost(&seen),
        ]
    }

    /// Events that did not come: of all rounds, and in the worst one.
    pub fn lost(&self) -> String {
        let lost = || self.rounds.iter().filter_map(Round::lost_events);
        let expected: u64 = self.rounds.iter().map(Round::events_expected).sum();
        let [all, worst] = [lost().sum(), lost().max().unwrap_or(0)];
        if all == 0 {
            return format!("0 of {}", thousands(expected));
        }
        let share = 100.0 * all as f64 / expected as f64;
        format!(
            "{} of {} ({share:.2} %), worst round {}",
            thousands(all),
            thousands(expected),
            thousands(worst)
        )
    }

    /// Whether what did not come is what the gaps say.
    pub fn told(&self) -> String {
        let told = self
            .rounds
            .iter()
            .filter_map(|round| round.seen.as_ref()?.told.as_ref());
        let mut causes: Vec<&str> = told
            .clone()
            .flat_map(|lost| lost.keys().map(String::as_str))
            .collect();
        causes.sort_unstable();
        causes.dedup();
        let faults = self
            .rounds
            .iter()
            .filter(|round| round.fault(self.size).is_some())
            .count();
        match (told.count(), faults, causes.is_empty()) {
            (0, ..) => "tells nothing".to_owned(),
            (_, 0, true) => "nothing lost, nothing told".to_owned(),
            (_, 0, false) => format!("equal ({})", causes.join(", ")),
            (all, wrong, _) => format!("**wrong in {wrong} of {all}**"),
        }
    }
}

/// Processor seconds of the tracer per gigabyte that it saw.
fn cost(seen: &[&Seen]) -> String {
    let costs = seen.iter().filter(|seen| seen.bytes > 0);
    let costs = costs.map(|seen| seen.cpu_seconds * 1e9 / seen.bytes as f64);
    Spread::of(costs).map_or_else(String::new, |cost| format!("{:.2}", cost.median))
}
