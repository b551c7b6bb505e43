//! Probes that only count their hits: for experiments on code of our own.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libbpf_rs::Link;

use super::{Session, When, uprobe};
use crate::error::Result;
use crate::image::FileOff;

/// Takes its probe away when it is dropped.
pub struct BenchProbe {
    _link: Link,
}

impl Session {
    /// Counts how often the instruction at `offset` is run, or how often the function returns that begins there.
    ///
    /// # Errors
    /// The kernel refuses the probe.
    pub fn attach_bench(
        &self,
        file: &File,
        offset: FileOff,
        return_probe: bool,
    ) -> Result<BenchProbe> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let when = if return_probe {
            When::Return
        } else {
            When::Here
        };
        let program = &self.skel.progs.bench_hit;
        let link = uprobe(program, (&path, offset), 0, when, &self.features)?;
        Ok(BenchProbe { _link: link })
    }

    /// Hits of all such probes so far.
    pub fn bench_hits(&self) -> u64 {
        let bss = self.skel.maps.bss_data.as_deref();
        bss.map_or(0, |bss| bss.bench_hits)
    }
}
