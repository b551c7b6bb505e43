//! Sequences that have begun: how far each has come, found by what its next step has to share.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::join::Key;

/// Begun sequences of one rule.
const BEGUN_MAX: usize = 16384;
/// With the same shared value: the newest are kept, since they can do all that the older ones can.
const ALIKE_MAX: usize = 4;

/// How far a sequence has come.
#[derive(Debug)]
pub struct Begun {
    /// Steps that were taken.
    pub steps: usize,
    /// When the first was, in nanoseconds.
    pub first_ns: u64,
    /// The events, in order.
    pub evidence: Vec<String>,
    /// What the last step may share with the next, for each of the rule's `same`.
    pub keys: Vec<Vec<Key>>,
    /// What each step told for the message.
    pub told: Vec<Vec<String>>,
}

/// Sequences of one rule that have begun.
#[derive(Debug, Default)]
pub struct Store {
    by_key: HashMap<Key, VecDeque<(u64, Arc<Begun>)>>,
    order: VecDeque<(u64, u64, Vec<Key>)>,
    last: u64,
    /// That were forgotten before their time was over.
    pub dropped: u64,
}

impl Store {
    /// Keeps one, until `until_ns`.
    pub fn insert(&mut self, begun: Begun, until_ns: u64) {
        let Some(keys) = begun.keys.first().cloned() else {
            return;
        };
        let now_ns = begun.first_ns;
        self.last += 1;
        let begun = Arc::new(begun);
        for key in &keys {
            let alike = self.by_key.entry(*key).or_default();
            alike.push_back((self.last, Arc::clone(&begun)));
            if alike.len() > ALIKE_MAX {
                alike.pop_front();
            }
        }
        self.order.push_back((self.last, until_ns, keys));
        while let Some((_, until_ns, _)) = self.order.front()
            && (*until_ns < now_ns || self.order.len() > BEGUN_MAX)
        {
            self.forget_oldest(now_ns);
        }
    }

    /// Those that wait for a step with one of these values, the newest first of each.
    pub fn find(&self, keys: &[Key]) -> impl Iterator<Item = &Arc<Begun>> {
        let found = keys.iter().filter_map(|key| self.by_key.get(key));
        found.flat_map(|alike| alike.iter().rev().map(|(_, begun)| begun))
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn forget_oldest(&mut self, now_ns: u64) {
        let Some((number, until_ns, keys)) = self.order.pop_front() else {
            return;
        };
        let mut was_there = false;
        for key in keys {
            let Some(alike) = self.by_key.get_mut(&key) else {
                continue;
            };
            let count = alike.len();
            alike.retain(|(other, _)| *other != number);
            was_there |= alike.len() < count;
            if alike.is_empty() {
                self.by_key.remove(&key);
            }
        }
        self.dropped += u64::from(was_there && until_ns >= now_ns);
    }
}

/// Values that were seen, and when first.
#[derive(Debug, Default)]
pub struct Past {
    first_ns: HashMap<Key, u64>,
    /// For which there was no room.
    pub dropped: u64,
}

impl Past {
    /// It was seen now.
    pub fn insert(&mut self, key: Key, ts_ns: u64) {
        let has_room = self.first_ns.len() < BEGUN_MAX;
        if has_room || self.first_ns.contains_key(&key) {
            self.first_ns.entry(key).or_insert(ts_ns);
        } else {
            self.dropped += 1;
        }
    }

    /// It was seen before this time.
    pub fn has(&self, key: Key, before_ns: u64) -> bool {
        self.first_ns
            .get(&key)
            .is_some_and(|first_ns| *first_ns < before_ns)
    }
}
