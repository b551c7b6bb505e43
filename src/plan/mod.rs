//! From findings to a probe plan: plain data that prints, compares and attaches. No input or output
//! happens here, and the kernel is not asked.

mod cookie;

use std::path::PathBuf;

use serde::Serialize;

use crate::discover::finding::{Abi, Site, SiteKind};
use crate::discover::{Evidence, Finding, Function, Method, Report};
use crate::error::{Error, ErrorKind};
use crate::image::addr::{FileOff, VirtAddr};
use crate::image::{Arch, FileIdentity};

pub use crate::discover::finding::GoFacts;
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
    /// What is known of Go's types in the file.
    pub go: Vec<GoFacts>,
}

/// The probes on one function.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    /// Which library.
    pub library: String,
    /// Which function.
    pub function: String,
    /// First instruction, in the file.
    pub entry: FileOff,
    /// Where it is watched, and how.
    pub watch: Watch,
    /// What the BPF program is to do there; the function's index is filled in when attaching.
    pub cookie: Cookie,
}

/// An instruction that gets a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// In the file.
    pub offset: FileOff,
    /// In memory, before any load bias.
    pub vaddr: VirtAddr,
}

/// How a function is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// A C function: a probe at the first instruction.
    C {
        /// There.
        entry: Place,
        /// A return probe as well.
        with_return: bool,
        /// What the connection object's first word must be, before any load bias.
        first_word: Option<VirtAddr>,
    },
    /// A Go function. There is no return probe, which would end the program: Go moves its stacks, and
    /// looks at the return addresses on them.
    Go {
        /// The first instruction, if it is watched.
        entry: Option<Place>,
        /// Each RET, if the result matters.
        returns: Vec<Place>,
        /// Which of the plan's [`ProbePlan::go`] tells of the types.
        facts: Option<usize>,
    },
    /// A function that encrypts or decrypts one record: plaintext is read where it goes in, or where it
    /// comes out.
    Record {
        /// The first instruction.
        entry: Place,
        /// A return probe as well: it decrypts.
        with_return: bool,
    },
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
    pub fn new(
        report: &Report,
        arch: Arch,
        is_64: bool,
        identity: FileIdentity,
    ) -> crate::error::Result<Self> {
        let mut plan = Self {
            path: PathBuf::from(&report.path),
            identity,
            probes: Vec::new(),
            skipped: Vec::new(),
            is_nss: report.findings.iter().any(|found| found.library == "nss"),
            go: Vec::new(),
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
            plan.add_all(finding);
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

    fn add_all(&mut self, finding: &Finding) {
        let facts = finding.go.as_ref().map(|facts| {
            self.go.push(facts.clone());
            self.go.len() - 1
        });
        for function in &finding.functions {
            if let Some(other) = &function.covered_by {
                self.skipped.push(Skipped {
                    function: function.name.clone(),
                    reason: format!("its calls are seen at {other}"),
                });
                continue;
            }
            if let Some(reason) = &function.unprobed {
                self.skipped.push(Skipped {
                    function: function.name.clone(),
                    reason: reason.clone(),
                });
                continue;
            }
            if let Err(reason) = self.add(finding, function, facts) {
                self.skipped.push(Skipped {
                    function: function.name.clone(),
                    reason: reason.to_owned(),
                });
            }
        }
    }

    fn add(
        &mut self,
        finding: &Finding,
        function: &Function,
        facts: Option<usize>,
    ) -> Result<(), Unwatched> {
        let mut cookie = Cookie::new(&finding.library, function.role, function.call)?;
        let watch = match function.call.abi {
            Abi::C => {
                // What a name tells needs no condition, and serves DTLS too, which has another table.
                let is_named = |evidence: &Evidence| evidence.method <= Method::Dwarf;
                let guard = finding.guard;
                let guard = guard.filter(|_| !function.evidence.iter().any(is_named));
                if guard.is_some() {
                    cookie = cookie.guarded();
                }
                Watch::C {
                    entry: first(function),
                    with_return: cookie.needs_return(),
                    first_word: guard.map(|guard| guard.first_word),
                }
            }
            abi if abi.is_per_record() => Watch::Record {
                entry: first(function),
                with_return: cookie.needs_return(),
            },
            abi => watch_go(function, abi, cookie.needs_return(), facts)?,
        };
        self.probes.push(Probe {
            library: match finding.library.as_str() {
                // NSPR moves the bytes, but the TLS connections are NSS's.
                "nspr" => "nss".to_owned(),
                library => library.to_owned(),
            },
            function: function.name.clone(),
            entry: function.file_offset,
            watch,
            cookie,
        });
        Ok(())
    }

    /// Whether attaching it sets up return probes.
    pub fn has_return_probes(&self) -> bool {
        let mut probes = self.probes.iter();
        probes.any(|probe| match probe.watch {
            Watch::C { with_return, .. } | Watch::Record { with_return, .. } => with_return,
            Watch::Go { .. } => false,
        })
    }

    /// Whether records are watched instead of connections, so that sockets must say what belongs together.
    pub fn needs_sockets(&self) -> bool {
        let mut probes = self.probes.iter();
        probes.any(|probe| matches!(probe.watch, Watch::Record { .. }))
    }

    /// Whether plaintext would be seen with it.
    pub fn captures(&self) -> bool {
        self.probes.iter().any(|probe| probe.cookie.moves_data())
    }
}

/// Why a function gets no probe.
type Unwatched = &'static str;

fn first(function: &Function) -> Place {
    Place {
        offset: function.file_offset,
        vaddr: function.vaddr,
    }
}

/// With registers, arguments are gone when the function returns, and are noted at its entry; on the
/// stack they are still there.
fn watch_go(
    function: &Function,
    abi: Abi,
    needs_return: bool,
    facts: Option<usize>,
) -> Result<Watch, Unwatched> {
    let returns = if needs_return {
        go_returns(function)?
    } else {
        Vec::new()
    };
    let entry = (abi == Abi::GoRegisters || !needs_return).then(|| first(function));
    Ok(Watch::Go {
        entry,
        returns,
        facts,
    })
}

/// The function's RETs. They lie between its first and its last byte, and its code is in one piece, so
/// that addresses and offsets have the same distances.
fn go_returns(function: &Function) -> Result<Vec<Place>, Unwatched> {
    let place = |site: &Site| {
        if site.kind != SiteKind::Uprobe {
            return Err("a return probe would end a Go program");
        }
        let distance = site.file_offset.0.checked_sub(function.file_offset.0);
        let distance = distance.filter(|distance| *distance < function.size);
        let distance = distance.ok_or("a return outside of the function")?;
        let vaddr = function.vaddr.0.checked_add(distance);
        Ok(Place {
            offset: site.file_offset,
            vaddr: VirtAddr(vaddr.ok_or("a return outside of the address space")?),
        })
    };
    let returns: Result<Vec<_>, Unwatched> = function.sites.exits.iter().map(place).collect();
    match returns {
        Ok(returns) if returns.is_empty() => Err("its returns are not known"),
        returns => returns,
    }
}

#[cfg(test)]
mod tests;
