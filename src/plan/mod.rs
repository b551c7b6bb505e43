//! From findings to a probe plan: plain data that prints, compares and attaches. No input or output
//! happens here, and the kernel is not asked.

mod choose;
mod cookie;
mod price;

use std::path::PathBuf;

use serde::Serialize;

use crate::discover::finding::{Abi, Site, SiteKind, Sites};
use crate::discover::{Evidence, Finding, Function, Method, Report};
use crate::error::{Error, ErrorKind};
use crate::image::addr::{FileOff, VirtAddr};
use crate::image::{Arch, FileIdentity};

pub use crate::discover::finding::GoFacts;
pub use choose::{Choice, ProbeSites, choose, choose_all};
#[cfg(all(test, feature = "bpf"))]
pub(crate) use cookie::CONSTANTS as COOKIE_CONSTANTS;
pub use cookie::{Cookie, DEPTH_MAX, FUNCTIONS_MAX};
pub use price::{PriceList, Source};

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
    /// Bytes that the stack pointer is below where it was at the function's first instruction.
    pub depth: u16,
}

/// How the end of a call is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exits {
    /// It is of no interest.
    None,
    /// By a return probe, set up where the entry is watched: one hit there serves both.
    Return,
    /// By probes in the function itself, one of which each return passes.
    Sites(Vec<Place>),
}

impl Exits {
    /// All but none.
    pub fn is_watched(&self) -> bool {
        *self != Self::None
    }
}

/// How a function is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// A C function.
    C {
        /// Where its arguments are read.
        entry: Place,
        /// Where its result is.
        exits: Exits,
        /// What the connection object's first word must be, before any load bias.
        first_word: Option<VirtAddr>,
    },
    /// A Go function. There is no return probe, which would end the program: Go moves its stacks, and
    /// looks at the return addresses on them.
    Go {
        /// Where its arguments are read, if they are.
        entry: Option<Place>,
        /// One of these is passed by each return, if the result matters.
        returns: Vec<Place>,
        /// Which of the plan's [`ProbePlan::go`] tells of the types.
        facts: Option<usize>,
    },
    /// A function that encrypts or decrypts one record: plaintext is read where it goes in, or where it
    /// comes out.
    Record {
        /// Where its arguments are read.
        entry: Place,
        /// Where decrypting ends; none for encrypting.
        exits: Exits,
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
                    entry: place(&function.sites.entry),
                    exits: exits(&function.sites, cookie.needs_return())?,
                    first_word: guard.map(|guard| guard.first_word),
                }
            }
            abi if abi.is_per_record() => Watch::Record {
                entry: place(&function.sites.entry),
                exits: exits(&function.sites, cookie.needs_return())?,
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
        probes.any(|probe| match &probe.watch {
            Watch::C { exits, .. } | Watch::Record { exits, .. } => *exits == Exits::Return,
            Watch::Go { .. } => false,
        })
    }

    /// Whether plaintext would be seen with it.
    pub fn captures(&self) -> bool {
        self.probes.iter().any(|probe| probe.cookie.moves_data())
    }
}

/// Why a function gets no probe.
type Unwatched = &'static str;

fn place(site: &Site) -> Place {
    Place {
        offset: site.file_offset,
        vaddr: site.vaddr,
        depth: site.depth,
    }
}

/// A return probe changes the return address, which it must find where the stack pointer points, and
/// serves the entry as well: it stands nowhere else.
fn exits(sites: &Sites, needed: bool) -> Result<Exits, Unwatched> {
    let is_return = |site: &&Site| site.kind == SiteKind::Uretprobe;
    if !needed {
        return Ok(Exits::None);
    }
    match (sites.exits.iter().find(is_return), sites.exits.len()) {
        (_, 0) => Err("its returns are not known"),
        (None, _) => Ok(Exits::Sites(sites.exits.iter().map(place).collect())),
        (Some(exit), 1) if exit.vaddr == sites.entry.vaddr && exit.depth == 0 => Ok(Exits::Return),
        (Some(_), _) => Err("a return probe would not find the return address"),
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
    let returns = match exits(&function.sites, needs_return)? {
        Exits::Return => return Err("a return probe would end a Go program"),
        Exits::None => Vec::new(),
        Exits::Sites(returns) => returns,
    };
    let entry = abi == Abi::GoRegisters || !needs_return;
    Ok(Watch::Go {
        entry: entry.then(|| place(&function.sites.entry)),
        returns,
        facts,
    })
}

#[cfg(test)]
mod tests;
