//! Where processes run: their cgroup and their container.

use std::fs;
use std::path::PathBuf;

use crate::select::Place;

/// Looks places up.
#[derive(Default)]
pub struct Places;

impl Places {
    /// Of the processes of this machine.
    pub fn new() -> Self {
        Self
    }

    /// Where a process runs; `None`: it has ended.
    pub fn of(&self, pid: u32) -> Option<Place> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
        Some(Place {
            cgroup: PathBuf::from(unified.unwrap_or("/")),
            container: None,
        })
    }
}
