//! Takes the times: each function bare and probed in turn, round after round, so that whatever else the
//! machine does falls on all of them alike.

use std::time::{Duration, Instant};

use super::code::Sample;
use super::mapped::Mapped;
use crate::attach::{BenchKind, BenchProbe, Session};
use crate::error::Result;

/// Rounds; odd, so that there is one in the middle.
pub const ROUNDS: usize = 9;

/// Calls in one round: long against the clock, short against a time slice.
pub const CALLS: u64 = 2_000;

/// Calls before the first round. A kernel may rewrite a probe after its first hits (5-byte nop).
const WARM_UP: u64 = 64;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The function.
    pub sample: Sample,
    /// How it is watched.
    pub kind: BenchKind,
}

/// What a call costs more for being watched, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The median of all rounds.
    pub median: f64,
    /// The best round.
    pub least: f64,
    /// The worst round.
    pub most: f64,
}

/// A cost, or why there is none.
pub type Outcome = Result<Cost, String>;

/// Measures them all, in the order given.
///
/// # Errors
/// Code of our own cannot be mapped. What goes wrong with one subject is its outcome.
pub fn measure(session: &Session, subjects: &[Subject]) -> Result<Vec<Outcome>> {
    let codes: Vec<_> = subjects.iter().map(|of| of.sample.code).collect();
    let mapped = Mapped::new(&codes)?;
    let mut watched = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        watched.push(Watched::new(session, &mapped, index, subject));
    }
    for _ in 0..ROUNDS {
        for of in &mut watched {
            of.round(session, &mapped);
        }
    }
    Ok(watched.into_iter().map(Watched::outcome).collect())
}

/// A time tells nothing about calls that were not seen, or seen twice.
fn per_call(time: Duration, calls: u64, hits: u64, wanted: u64) -> Result<f64, String> {
    if hits != wanted {
        return Err(format!("{hits} hits in {calls} calls"));
    }
    Ok(time.as_nanos() as f64 / calls as f64)
}

/// Everything that is known of one subject so far.
struct Watched {
    /// Held: dropping it takes the probe away.
    probe: Option<BenchProbe>,
    /// Of the two functions, this one is probed; the next one is not.
    slot: usize,
    hits_per_call: u64,
    costs: Vec<f64>,
    failed: Option<String>,
}

impl Watched {
    fn new(session: &Session, mapped: &Mapped, index: usize, subject: &Subject) -> Self {
        let slot = 2 * index;
        let mut offset = mapped.offset(slot);
        offset.0 += subject.sample.at;
        let probe = session.attach_bench(mapped.file(), offset, subject.kind);
        let mut watched = Self {
            failed: probe.as_ref().err().map(|error| format!("{error:#}")),
            probe: probe.ok(),
            slot,
            hits_per_call: subject.kind.hits_per_call(),
            costs: Vec::new(),
        };
        watched.timed(session, mapped, slot, WARM_UP);
        watched
    }

    fn round(&mut self, session: &Session, mapped: &Mapped) {
        let bare = self.timed(session, mapped, self.slot + 1, CALLS);
        let probed = self.timed(session, mapped, self.slot, CALLS);
        if let (Some(bare), Some(probed)) = (bare, probed) {
            self.costs.push(probed - bare);
        }
    }

    /// Nanoseconds for a call. Each must have been seen once, or never if nothing watches the function.
    fn timed(
        &mut self,
        session: &Session,
        mapped: &Mapped,
        slot: usize,
        calls: u64,
    ) -> Option<f64> {
        if self.probe.is_none() || self.failed.is_some() {
            return None;
        }
        let before = session.bench_hits();
        let start = Instant::now();
        let called = mapped.call(slot, calls);
        let time = start.elapsed();
        let hits = session.bench_hits().wrapping_sub(before);
        let is_probed = slot == self.slot;
        let wanted = if is_probed {
            calls * self.hits_per_call
        } else {
            0
        };
        let called = called.map_err(|error| format!("{error:#}"));
        match called.and_then(|()| per_call(time, calls, hits, wanted)) {
            Ok(time) => return Some(time),
            Err(why) => self.failed = Some(why),
        }
        None
    }

    fn outcome(mut self) -> Outcome {
        if let Some(why) = self.failed {
            return Err(why);
        }
        self.costs.sort_by(f64::total_cmp);
        let at = |place: usize| self.costs.get(place).copied();
        let middle = at(self.costs.len() / 2).zip(at(0));
        let (Some((median, least)), Some(most)) = (middle, self.costs.last().copied()) else {
            return Err("no round was measured".into());
        };
        if median < 1.0 {
            return Err("the probe cost no time that could be measured".into());
        }
        Ok(Cost {
            median,
            least,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One hit too few or too many, and there is no price.
    #[test]
    fn hits_must_be_exact() {
        let time = Duration::from_micros(5);
        assert_eq!(per_call(time, 10, 20, 20), Ok(500.0));
        for hits in [0, 19, 21, 40] {
            assert!(per_call(time, 10, hits, 20).is_err());
        }
    }

    /// The price is the middle round's, however wild the others; a round that failed ends it.
    #[test]
    fn median_is_the_price() {
        let watched = |costs: &[f64], failed: Option<&str>| Watched {
            probe: None,
            slot: 0,
            hits_per_call: 1,
            costs: costs.to_vec(),
            failed: failed.map(str::to_owned),
        };
        let cost = watched(&[9e9, 5.0, -3.0], None).outcome().unwrap();
        assert_eq!((cost.median, cost.least, cost.most), (5.0, -3.0, 9e9));
        assert!(watched(&[0.0, 0.0, 0.1], None).outcome().is_err());
        assert!(watched(&[], None).outcome().is_err());
        assert_eq!(watched(&[5.0], Some("why")).outcome(), Err("why".into()));
    }
}
