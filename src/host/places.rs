//! Where processes run: their cgroup and their container.

use std::path::{Path, PathBuf};

use procfs::process::Process;

use super::containers::Containers;
use crate::select::Place;

/// Looks places up.
pub struct Places {
    /// `None`: the engines' directories cannot be looked at.
    containers: Option<Containers>,
}

impl Places {
    /// Of the processes of this machine.
    pub fn new() -> Self {
        Self {
            containers: Containers::new(Path::new("/")).ok(),
        }
    }

    /// Where a process runs; `None`: it has ended.
    pub fn of(&self, pid: u32) -> Option<Place> {
        let pid = i32::try_from(pid).ok()?;
        match &self.containers {
            Some(containers) => containers.place_of(pid),
            None => cgroup(pid),
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::new()
    }
}

fn cgroup(pid: i32) -> Option<Place> {
    let groups = Process::new(pid)
        .and_then(|process| process.cgroups())
        .ok()?;
    let unified = groups.into_iter().find(|group| group.hierarchy == 0);
    Some(Place {
        cgroup: unified.map_or("/".into(), |group| PathBuf::from(group.pathname)),
        container: None,
    })
}
