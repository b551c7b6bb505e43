//! How fast an answer comes: when its parts passed, and how long nothing came.

use super::said::{STALL_MS, STALLS_MAX, Stall, Timings};

/// How fast an answer comes.
pub struct Pace {
    /// The head of the request was complete.
    pub began_ns: u64,
    /// All of the request had passed.
    pub sent_ns: Option<u64>,
    /// The head of the answer was there.
    pub headers_ns: Option<u64>,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    deltas: u64,
    stalls: Vec<Stall>,
}

impl Pace {
    /// Of a call that begins then.
    pub fn new(began_ns: u64) -> Self {
        Self {
            began_ns,
            sent_ns: None,
            headers_ns: None,
            first_ns: None,
            last_ns: None,
            deltas: 0,
            stalls: Vec::new(),
        }
    }

    fn ms(&self, at_ns: u64) -> f64 {
        at_ns.saturating_sub(self.began_ns) as f64 / 1e6
    }

    /// Something new came.
    pub fn heard(&mut self, at_ns: u64) {
        self.deltas += 1;
        self.first_ns.get_or_insert(at_ns);
        if let Some(last) = self.last_ns.replace(at_ns) {
            let ms = at_ns.saturating_sub(last) as f64 / 1e6;
            if ms >= STALL_MS {
                let at_ms = self.ms(last);
                self.stall(Stall { at_ms, ms });
            }
        }
    }

    /// Keeps the longest.
    fn stall(&mut self, stall: Stall) {
        self.stalls.push(stall);
        if self.stalls.len() > STALLS_MAX {
            let shortest = self.stalls.iter().enumerate();
            let shortest = shortest.min_by(|(_, a), (_, b)| a.ms.total_cmp(&b.ms));
            if let Some((at, _)) = shortest {
                self.stalls.remove(at);
            }
        }
    }

    /// As they are told.
    pub fn timings(&self, end_ns: u64) -> Timings {
        let ms = |at: Option<u64>| at.map(|at| self.ms(at));
        Timings {
            began_ns: self.began_ns,
            request_sent_ms: ms(self.sent_ns),
            headers_ms: ms(self.headers_ns),
            first_token_ms: ms(self.first_ns),
            last_token_ms: ms(self.last_ns),
            end_ms: self.ms(end_ns),
            deltas: self.deltas,
            stalls: self.stalls.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stalls beyond the bound would push out longer ones.
    #[test]
    fn the_longest_stalls_are_kept() {
        let mut pace = Pace::new(0);
        let mut at = 0;
        pace.heard(at);
        for n in 1..=40_u64 {
            at += n * 1_000_000_000;
            pace.heard(at);
        }
        let timings = pace.timings(at);
        assert_eq!(timings.stalls.len(), STALLS_MAX);
        assert!(timings.stalls.iter().all(|stall| stall.ms >= 25_000.0));
        assert_eq!(timings.deltas, 41);
    }
}
