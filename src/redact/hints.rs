//! Finds the words that begin what may be a secret, all in one go: text without secrets passes at the speed of this.

use std::cmp::Reverse;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

use crate::error::{Error, Result};

/// The automaton waits for memory at each byte: as many texts are walked through at once.
const LANES: usize = 4;
/// Bytes of each from which on that is worth it.
const LANE_MIN: usize = 128;

/// A word was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Its first byte.
    pub at: usize,
    /// Its number.
    pub word: usize,
}

/// Looks for words, in upper and lower case alike.
pub struct Hints {
    dfa: DFA,
    start: StateID,
    /// In lower case, sorted.
    words: Vec<String>,
    longest: usize,
}

impl Hints {
    /// For words that are sorted, in lower case.
    ///
    /// # Errors
    /// There are too many.
    pub fn new(words: Vec<String>) -> Result<Self> {
        let broken = |error: &dyn std::fmt::Display| {
            Error::invalid(format!(
                "the words of the rules cannot be looked for: {error}"
            ))
        };
        let dfa = DFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .start_kind(StartKind::Unanchored)
            .build(&words)
            .map_err(|error| broken(&error))?;
        let start = dfa
            .start_state(Anchored::No)
            .map_err(|error| broken(&error))?;
        let longest = words.iter().map(String::len).max().unwrap_or(1);
        Ok(Self {
            dfa,
            start,
            words,
            longest,
        })
    }

    /// The length of a word.
    pub fn len(&self, word: usize) -> usize {
        self.words.get(word).map_or(0, String::len)
    }

    /// All words in the text, in the order of their beginnings, the longest first.
    pub fn find(&self, text: &[u8], hits: &mut Vec<Hit>) {
        hits.clear();
        let overlap = self.longest - 1;
        let step = text.len().saturating_sub(overlap) / LANES;
        if step < LANE_MIN.max(self.longest) {
            self.walk(self.start, text, 0, hits);
        } else {
            self.walk_lanes(text, step, overlap, hits);
        }
        // Of two that begin alike, the longer says more: `token=` is a parameter, `token` may be anything.
        hits.sort_unstable_by_key(|hit| (hit.at, Reverse(self.len(hit.word)), hit.word));
        hits.dedup();
    }

    /// Goes on from `state` at `from`.
    fn walk(&self, mut state: StateID, text: &[u8], from: usize, hits: &mut Vec<Hit>) {
        for (at, byte) in text.iter().enumerate().skip(from) {
            state = self.dfa.next_state(Anchored::No, state, *byte);
            if self.dfa.is_special(state) {
                self.note(state, at, hits);
            }
        }
    }

    /// Each lane begins `overlap` bytes before the one before it ends: no word is cut.
    fn walk_lanes(&self, text: &[u8], step: usize, overlap: usize, hits: &mut Vec<Hit>) {
        let lane = |number: usize| {
            let begin = number * step;
            text.get(begin..begin + step + overlap).unwrap_or_default()
        };
        let bytes = lane(0).iter().zip(lane(1)).zip(lane(2)).zip(lane(3));
        let dfa = &self.dfa;
        let [mut a, mut b, mut c, mut d] = [self.start; LANES];
        for (at, (((for_a, for_b), for_c), for_d)) in bytes.enumerate() {
            a = dfa.next_state(Anchored::No, a, *for_a);
            b = dfa.next_state(Anchored::No, b, *for_b);
            c = dfa.next_state(Anchored::No, c, *for_c);
            d = dfa.next_state(Anchored::No, d, *for_d);
            if dfa.is_special(a) | dfa.is_special(b) | dfa.is_special(c) | dfa.is_special(d) {
                for (number, state) in [a, b, c, d].into_iter().enumerate() {
                    self.note(state, number * step + at, hits);
                }
            }
        }
        self.walk(d, text, LANES * step + overlap, hits);
    }

    #[cold]
    fn note(&self, state: StateID, at: usize, hits: &mut Vec<Hit>) {
        if !self.dfa.is_match(state) {
            return;
        }
        for index in 0..self.dfa.match_len(state) {
            let word = self.dfa.match_pattern(state, index).as_usize();
            let at = (at + 1).saturating_sub(self.len(word));
            hits.push(Hit { at, word });
        }
    }

    /// Where the text's end begins that may be the beginning of a word.
    pub fn begun(&self, text: &[u8]) -> Option<usize> {
        let from = text.len().saturating_sub(self.longest - 1);
        (from..text.len()).find(|at| {
            let end = text.get(*at..).unwrap_or_default().to_ascii_lowercase();
            let next = self
                .words
                .partition_point(|word| word.as_bytes() < end.as_slice());
            let word = self.words.get(next);
            word.is_some_and(|word| word.as_bytes().starts_with(&end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words() -> Vec<String> {
        ["a", "abab", "bab", "key=", "longer-word"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Byte by byte, word by word, the longest first.
    fn naive(text: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        for at in 0..text.len() {
            let mut all: Vec<_> = words().into_iter().enumerate().collect();
            all.sort_by_key(|(_, name)| Reverse(name.len()));
            for (word, name) in all {
                let found = text.get(at..at + name.len());
                if found.is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes())) {
                    hits.push(Hit { at, word });
                }
            }
        }
        hits
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// A secret would be passed over where its word lies across two lanes.
        #[test]
        fn every_word_is_found(text in "(a|b|AB|key=|longer-word|longer| |xyz){0,900}") {
            let hints = Hints::new(words()).unwrap();
            let mut hits = Vec::new();
            hints.find(text.as_bytes(), &mut hits);
            prop_assert_eq!(hits, naive(text.as_bytes()));
        }
    }

    /// A word that is cut by two deltas would be shown, or text would be held back for nothing.
    #[test]
    fn beginnings_are_known() {
        let hints = Hints::new(words()).unwrap();
        assert_eq!(hints.begun(b"some longer-w"), Some(5));
        assert_eq!(hints.begun(b"some KE"), Some(5));
        assert_eq!(hints.begun(b"some text"), None);
    }
}
