//! Numbers that the kernel side's tables go by: of functions, and of programs' Go types. There are only so many, and an
//! observer that runs for weeks meets more files than that: numbers of files that are gone are given again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A number rests before it is given again: records that name it may still be on their way out of the ring buffer.
const REST: Duration = Duration::from_secs(60);

/// Gives numbers.
pub struct Numbers {
    next: u32,
    max: u32,
    /// The first has rested longest.
    resting: VecDeque<(Instant, u32)>,
}

impl Numbers {
    /// Numbers below `max`.
    pub fn new(max: u32) -> Self {
        Self {
            next: 0,
            max,
            resting: VecDeque::new(),
        }
    }

    /// One that nobody has. `None`: all are in use, or were a moment ago.
    pub fn take(&mut self, now: Instant) -> Option<u32> {
        let has_rested = |(since, _): &(Instant, u32)| now.duration_since(*since) >= REST;
        if self.resting.front().is_some_and(has_rested) {
            return self.resting.pop_front().map(|(_, number)| number);
        }
        let number = self.next;
        (number < self.max).then(|| {
            self.next += 1;
            number
        })
    }

    /// Nobody has it any more.
    pub fn give_back(&mut self, number: u32, now: Instant) {
        self.resting.push_back((now, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record would be told under another function's name; or, after some weeks, nothing new could be probed.
    #[test]
    fn numbers_rest_before_they_are_given_again() {
        let mut numbers = Numbers::new(2);
        let now = Instant::now();
        assert_eq!([numbers.take(now), numbers.take(now)], [Some(0), Some(1)]);
        assert_eq!(numbers.take(now), None);
        numbers.give_back(0, now);
        assert_eq!(numbers.take(now + REST / 2), None);
        assert_eq!(numbers.take(now + REST), Some(0));
        assert_eq!(numbers.take(now + REST), None);
    }
}
