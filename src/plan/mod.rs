//! From findings to a probe plan: plain data that prints, compares and attaches. No input or output
//! happens here, and the kernel is not asked.

mod cookie;

use std::path::PathBuf;

use serde::Serialize;

use crate::discover::{Finding, Function, Report};
use crate::error::{Error, ErrorKind, Result};
use crate::image::addr::FileOff;
use crate::image::{Arch, FileIdentity};

#[cfg(all(test, feature = "bpf"))]
pub(crate) use cookie::CONSTANTS as COOKIE_CONSTANTS;
pub use cookie::{Cookie, FUNCTIONS_MAX};

/// All probes for one file.
#[derive(Clone, Debug, Serialize)]
pub struct ProbePlan {
    /// The file, as people know it.
    pub path: PathBuf,
    /// The state of the file that the offsets are true for; checked again before attaching.
    #[serde(skip)]
    pub identity: FileIdentity,
    /// What to attach, by file offset.
    pub probes: Vec<Probe>,
    /// Functions that get no probe, and why.
    pub skipped: Vec<Skipped>,
    /// The file holds NSS's TLS layer: descriptors whose code lies in it are TLS.
    pub is_nss: bool,
}

/// A probe on one function.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    /// Which library.
    pub library: String,
    /// Which function.
    pub function: String,
    /// First instruction, in the file.
    pub entry: FileOff,
    /// Whether the return is watched as well.
    pub with_return: bool,
    /// What the BPF program is to do there; the function's index is filled in when attaching.
    pub cookie: Cookie,
}

/// A function left alone.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// Which function.
    pub function: String,
    /// Why.
    pub reason: String,
}

impl ProbePlan {
    /// Plans the probes for everything that was found in one file. The plan may be empty.
    ///
    /// # Errors
    /// The file is for another kind of processor than this machine's.
    pub fn new(report: &Report, arch: Arch, is_64: bool, identity: FileIdentity) -> Result<Self> {
        let mut plan = Self {
            path: PathBuf::from(&report.path),
            identity,
            probes: Vec::new(),
            skipped: Vec::new(),
            is_nss: report.findings.iter().any(|found| found.library == "nss"),
        };
        if report.findings.is_empty() {
            return Ok(plan);
        }
        if Some(arch) != Arch::HOST || !is_64 {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "{} is a {} program: probes here are for 64-bit {} only",
                    report.path,
                    report.arch,
                    std::env::consts::ARCH
                ),
            ));
        }
        for finding in &report.findings {
            for function in &finding.functions {
                plan.add(finding, function);
            }
        }
        // Aliases of one function share an address; one probe sees all their calls.
        plan.probes.sort_by_key(|probe| probe.entry);
        let skipped = &mut plan.skipped;
        plan.probes.dedup_by(|later, first| {
            let same = later.entry == first.entry;
            if same {
                skipped.push(Skipped {
                    function: later.function.clone(),
                    reason: format!("same code as {}", first.function),
                });
            }
            same
        });
        Ok(plan)
    }

    fn add(&mut self, finding: &Finding, function: &Function) {
        if let Some(other) = &function.covered_by {
            self.skipped.push(Skipped {
                function: function.name.clone(),
                reason: format!("its calls are seen at {other}"),
            });
            return;
        }
        match Cookie::new(&finding.library, function.role, function.call) {
            Ok(cookie) => self.probes.push(Probe {
                library: match finding.library.as_str() {
                    // NSPR moves the bytes, but the TLS connections are NSS's.
                    "nspr" => "nss".to_owned(),
                    library => library.to_owned(),
                },
                function: function.name.clone(),
                entry: function.file_offset,
                with_return: cookie.needs_return(),
                cookie,
            }),
            Err(reason) => self.skipped.push(Skipped {
                function: function.name.clone(),
                reason: reason.to_owned(),
            }),
        }
    }

    /// Whether plaintext would be seen with it.
    pub fn captures(&self) -> bool {
        self.probes.iter().any(|probe| probe.cookie.moves_data())
    }
}
