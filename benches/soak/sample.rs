//! What the observer holds at one moment.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use libbpf_rs::{MapCore, MapHandle, MapType};
use serde::{Deserialize, Serialize};

use crate::counted;
use crate::load::Load;
use crate::support::Result;
use crate::support::stats::Spread;
use crate::support::watcher::Watcher;

/// One look.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Since the load began.
    pub second: f64,
    /// Resident, in megabytes (1,000,000), without the pages of files: a giant is mapped while it is examined.
    pub own_mb: f64,
    /// Resident in all.
    pub rss_mb: f64,
    pub fds: u64,
    pub links: u64,
    pub maps: u64,
    pub programs: u64,
    /// Keys of all hash maps.
    pub entries: u64,
    /// Processes of the load that run.
    pub alive: u64,
    /// Processes of the load until now.
    pub started: u64,
}

/// One thing that must stay flat.
pub struct Series {
    pub name: &'static str,
    pub of: fn(&Sample) -> f64,
    /// Growth that is noise still: a share of the median, and so much more.
    bound: (f64, f64),
}

pub const SERIES: [Series; 6] = [
    Series {
        name: "memory of its own, MB",
        of: |sample| sample.own_mb,
        bound: (0.05, 0.0),
    },
    Series {
        name: "descriptors",
        of: |sample| sample.fds as f64,
        bound: (0.05, 2.0),
    },
    Series {
        name: "BPF links",
        of: |sample| sample.links as f64,
        bound: (0.05, 2.0),
    },
    Series {
        name: "BPF maps",
        of: |sample| sample.maps as f64,
        bound: (0.0, 0.0),
    },
    Series {
        name: "BPF programs",
        of: |sample| sample.programs as f64,
        bound: (0.0, 0.0),
    },
    Series {
        name: "entries of BPF tables",
        of: |sample| sample.entries as f64,
        bound: (0.05, 10.0),
    },
];

impl Series {
    /// More growth than this is a fault.
    pub fn bound(&self, samples: &[Sample]) -> f64 {
        let (share, more) = self.bound;
        let spread = Spread::of(counted(samples).iter().map(self.of));
        spread.map_or(0.0, |spread| spread.median * share) + more + 1e-6
    }
}

/// Of the CSV file.
pub const HEAD: &str = "second,own_mb,rss_mb,fds,links,maps,programs,entries,alive,started";

impl Sample {
    pub fn take(watcher: &Watcher, load: &Load, began: Instant) -> Result<Self> {
        let process = watcher.child.process()?;
        let held = Held::of(watcher.child.0.id())?;
        let status = process.status()?;
        let mb = |kib: Option<u64>| kib.unwrap_or(0) as f64 * 1024.0 / 1e6;
        Ok(Self {
            second: began.elapsed().as_secs_f64(),
            own_mb: mb(status.rssanon) + mb(status.rssshmem),
            rss_mb: mb(status.vmrss),
            fds: process.fd_count()? as u64,
            links: held.links,
            maps: held.maps.len() as u64,
            programs: held.programs.len() as u64,
            entries: held.maps.iter().map(|map| entries(*map)).sum(),
            alive: load.alive(),
            started: load.started(),
        })
    }

    pub fn line(&self) -> String {
        format!(
            "{:.1},{:.2},{:.2},{},{},{},{},{},{},{}",
            self.second,
            self.own_mb,
            self.rss_mb,
            self.fds,
            self.links,
            self.maps,
            self.programs,
            self.entries,
            self.alive,
            self.started
        )
    }
}

/// BPF objects behind a process's descriptors.
#[derive(Default)]
struct Held {
    links: u64,
    maps: BTreeSet<u32>,
    programs: BTreeSet<u32>,
}

impl Held {
    fn of(pid: u32) -> Result<Self> {
        let mut held = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // A descriptor may be closed meanwhile.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            let number = |name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name))?;
                value.trim().parse::<u32>().ok()
            };
            if number("link_id:").is_some() {
                held.links += 1;
            } else if let Some(map) = number("map_id:") {
                held.maps.insert(map);
            } else if let Some(program) = number("prog_id:") {
                held.programs.insert(program);
            }
        }
        Ok(held)
    }
}

/// 0 of a map that is no table, and of one that drops its oldest entries by itself: those fill up, as they are meant to.
fn entries(map: u32) -> u64 {
    let Ok(map) = MapHandle::from_map_id(map) else {
        return 0;
    };
    let is_table = matches!(map.map_type(), MapType::Hash | MapType::PercpuHash);
    if is_table {
        map.keys().count() as u64
    } else {
        0
    }
}
