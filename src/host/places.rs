//! Where processes run: their cgroup and their container.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::process::Process;

use super::cgroups;
use super::containers::Containers;
use crate::select::Place;

/// Looks places up.
pub struct Places {
    /// `None`: the engines' directories cannot be looked at.
    containers: Option<Containers>,
    /// `None`: cgroups (v2) are not mounted.
    cgroups: Option<PathBuf>,
}

impl Places {
    /// Of the processes of this machine.
    pub fn new() -> Self {
        Self {
            containers: Containers::new(Path::new("/")).ok(),
            cgroups: cgroups::Mounts::here()
                .ok()
                .and_then(|mounts| mounts.whole()),
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

impl Places {
    /// Whether the directory of this cgroup (v2) has this inode; if it cannot be looked at, it is believed.
    pub fn is_cgroup(&self, path: &Path, inode: u64) -> bool {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let dir = self.cgroups.as_ref().map(|mount| mount.join(inside));
        dir.is_none_or(|dir| fs::metadata(dir).is_ok_and(|data| data.ino() == inode))
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
