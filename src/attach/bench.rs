//! Probes whose programs do nothing but count, for `doctor --bench`: what they cost is the kernel's part
//! of a hit.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libbpf_rs::Link;

use super::sites::When;
use super::{Session, uprobe};
use crate::error::{Error, ErrorKind, Result};
use crate::image::FileOff;

/// How a call is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchKind {
    /// A probe on the instruction.
    Hit,
    /// That and a return probe set up there; as a session where the kernel has them.
    Both,
    /// A session that wants nothing of the return.
    Declined,
}

impl BenchKind {
    /// How often the programs run for one call.
    pub fn hits_per_call(self) -> u64 {
        match self {
            Self::Hit | Self::Declined => 1,
            Self::Both => 2,
        }
    }
}

/// Dropping it takes the probe away.
pub struct BenchProbe {
    _links: Vec<Link>,
}

impl Session {
    /// Puts a counting probe on an instruction.
    ///
    /// # Errors
    /// The kernel refuses, or has no sessions where one is asked for.
    pub fn attach_bench(
        &self,
        file: &File,
        offset: FileOff,
        kind: BenchKind,
    ) -> Result<BenchProbe> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let progs = &self.skel.progs;
        let sessions = self.features.uprobe_session;
        let session = |cookie| vec![(&progs.bench_session, cookie, When::Both)];
        let wanted = match kind {
            BenchKind::Hit => vec![(&progs.bench_hit, 0, When::Here)],
            BenchKind::Both if sessions => session(0),
            BenchKind::Both => vec![
                (&progs.bench_hit, 0, When::Return),
                (&progs.bench_hit, 0, When::Here),
            ],
            BenchKind::Declined if sessions => session(1),
            BenchKind::Declined => {
                return Err(Error::new(
                    ErrorKind::UnsupportedKernel,
                    "this kernel has no uprobe sessions (6.13)",
                ));
            }
        };
        let attach = |(program, cookie, when)| {
            uprobe(program, (&path, offset), cookie, when, &self.features)
        };
        let links = wanted.into_iter().map(attach).collect::<Result<_>>()?;
        Ok(BenchProbe { _links: links })
    }

    /// How often the programs of such probes have run since the session began.
    pub fn bench_hits(&self) -> u64 {
        let bss = self.skel.maps.bss_data.as_deref();
        // SAFETY: a reference is a valid pointer; the kernel changes the word behind our back.
        bss.map_or(0, |bss| unsafe {
            (&raw const bss.bench_hits).read_volatile()
        })
    }
}
