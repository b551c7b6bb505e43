//! The kernel side's tables as user space reads and clears them.

use std::collections::HashSet;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::libbpf::Blame;
use super::{Scope, Session};
use crate::error::Result;
use crate::event::process::FileId;
use crate::event::wire::{self, ConnState, Counter};
use crate::event::{ProcessId, Thread};

/// Of `enum agentsight_track`.
const TRACK_ROOT: u8 = 1;
const TRACK_CHILD: u8 = 4;
/// Processes that are looked through for one: the question is asked while somebody waits.
const FOLLOWED_MAX: usize = 4096;

/// Which processes the kernel side follows, for a thread of its own.
pub struct Followed {
    map: MapHandle,
    follow: bool,
}

impl Followed {
    /// Whether this process is followed, and will be whatever program it runs.
    pub fn keeps(&self, pid: u32) -> bool {
        let is_its = |key: &Vec<u8>| key.get(8..12) == Some(&pid.to_ne_bytes());
        let key = self.map.keys().take(FOLLOWED_MAX).find(is_its);
        let why = key.and_then(|key| self.map.lookup(&key, MapFlags::ANY).ok()?);
        why.is_some_and(|why| {
            self.follow || why.iter().any(|why| why & (TRACK_ROOT | TRACK_CHILD) != 0)
        })
    }
}

impl Session {
    /// For another thread; `None` if everybody is followed.
    ///
    /// # Errors
    /// The map cannot be opened again.
    pub fn followed(&self) -> Result<Option<Followed>> {
        let Scope::Selected { follow, .. } = self.scope else {
            return Ok(None);
        };
        let map = MapHandle::try_from(&self.skel.maps.tracked)
            .blame(|| "failed to open the table of processes")?;
        Ok(Some(Followed { map, follow }))
    }

    /// The sum over all CPUs of what was counted since the start.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        let map = &self.skel.maps.counters;
        let mut counters = Vec::with_capacity(Counter::ALL.len());
        for counter in Counter::ALL {
            let per_cpu = map
                .lookup_percpu(&(counter as u32).to_ne_bytes(), MapFlags::ANY)
                .blame(|| "failed to read the counters")?
                .unwrap_or_default();
            let sum = per_cpu
                .iter()
                .filter_map(|value| value.as_slice().try_into().ok().map(u64::from_ne_bytes))
                .sum();
            counters.push((counter, sum));
        }
        Ok(counters)
    }

    /// Processes that load this file are not told of from now on, unless they load another one, too.
    pub fn know_file(&self, file: FileId) {
        // Without room for it, they are told of as before.
        let _ = self
            .skel
            .maps
            .known_files
            .update(&file.0, &[1], MapFlags::ANY);
    }

    /// Undoes [`Self::know_file`].
    pub fn forget_file(&self, file: FileId) {
        let _ = self.skel.maps.known_files.delete(&file.0);
    }

    /// The connections that are open now.
    pub fn connections(&self) -> Vec<ConnState> {
        let maps = &self.skel.maps;
        let mut states = entries(&maps.conns, wire::decode_conn);
        states.extend(entries(&maps.halves, wire::decode_half));
        states
    }

    /// The processes that the kernel's tables know.
    pub fn processes(&self) -> HashSet<ProcessId> {
        let maps = &self.skel.maps;
        let keys = maps.conns.keys().chain(maps.go_reads.keys());
        let keys = keys.chain(maps.halves.keys());
        keys.filter_map(|key| wire::conn_key_process(&key))
            .collect()
    }

    /// Clears the kernel's table of calls of those whose thread ended in the middle.
    pub fn forget_calls(&mut self, is_alive: impl Fn(Thread) -> bool) {
        let maps = &self.skel.maps;
        let is_over =
            |key: &Vec<u8>| wire::call_key_thread(key).is_some_and(|thread| !is_alive(thread));
        delete(&maps.calls, is_over);
        delete(&maps.openings, is_over);
    }

    /// Clears the kernel's tables of the connections and Go calls of processes that ended.
    pub fn forget(&mut self, ended: &HashSet<ProcessId>) {
        let maps = &self.skel.maps;
        forget_in(&maps.conns, ended);
        forget_in(&maps.go_reads, ended);
        forget_in(&maps.go_writes, ended);
        forget_in(&maps.halves, ended);
        forget_in(&maps.tracked, ended);
    }
}

fn entries(
    map: &impl MapCore,
    decode: impl Fn(&[u8], &[u8]) -> Option<ConnState>,
) -> Vec<ConnState> {
    let decoded = map.keys().filter_map(|key| {
        let value = map.lookup(&key, MapFlags::ANY).ok()??;
        decode(&key, &value)
    });
    decoded.collect()
}

/// In a map whose key starts with a `struct process_key`.
fn forget_in(map: &impl MapCore, ended: &HashSet<ProcessId>) {
    delete(map, |key| {
        wire::conn_key_process(key).is_some_and(|process| ended.contains(&process))
    });
}

fn delete(map: &impl MapCore, is_over: impl Fn(&Vec<u8>) -> bool) {
    for key in map.keys().filter(is_over).collect::<Vec<_>>() {
        // Already gone is as good as deleted.
        let _ = map.delete(&key);
    }
}
