//! From the plan's probes to single sites: which BPF program runs at which offset with which cookie.

use crate::event::wire::FunctionFacts;
use crate::image::{FileOff, VirtAddr};
use crate::plan::{Cookie, Place, Probe, Watch};

/// The BPF programs that run at sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// A Go function's first instruction.
    GoEnter,
    /// A Go function's RET.
    GoLeave,
    /// The first instruction of a function that decrypts a record.
    RecordOpen,
    /// Its return.
    RecordOpened,
    /// The first instruction of a function that encrypts a record.
    RecordSeal,
    /// A C function's first instruction.
    TlsEnter,
    /// A C function's return.
    TlsLeave,
}

impl Program {
    /// Returns first: a call seen at entry must not be missed at its end.
    pub const ALL: [Self; 7] = [
        Self::TlsLeave,
        Self::GoLeave,
        Self::RecordOpened,
        Self::TlsEnter,
        Self::GoEnter,
        Self::RecordOpen,
        Self::RecordSeal,
    ];

    /// Whether it is attached as a return probe: never to Go.
    pub fn is_on_return(self) -> bool {
        matches!(self, Self::RecordOpened | Self::TlsLeave)
    }
}

/// One site.
#[derive(Clone, Copy, Debug)]
pub struct SiteOf {
    program: Program,
    /// Where.
    pub offset: FileOff,
    /// The function's index for this site.
    pub index: u16,
    /// What the kernel side is told of it.
    pub facts: FunctionFacts,
    cookie: Cookie,
}

impl SiteOf {
    /// A C function's return is known by its entry.
    pub fn shares_index(&self) -> bool {
        self.program.is_on_return()
    }

    /// The bits for the kernel.
    pub fn cookie(&self) -> u64 {
        self.cookie.bits(self.index)
    }
}

/// All sites of one function.
pub struct SitesOf<'p> {
    /// The function's name.
    pub name: &'p String,
    /// Where.
    pub sites: Vec<SiteOf>,
    /// Index of the first of them.
    pub index: u16,
    /// What guards it.
    pub first_word: Option<VirtAddr>,
    /// Which of the plan's Go facts are its own.
    pub go: Option<usize>,
}

impl<'p> SitesOf<'p> {
    /// The sites of a probe, without indices yet.
    pub fn of(probe: &'p Probe) -> Self {
        let (mut first_word, mut go) = (None, None);
        let site = |program, place: &Place| SiteOf {
            program,
            offset: place.offset,
            index: 0,
            facts: FunctionFacts {
                vaddr: place.vaddr.0,
                ..FunctionFacts::default()
            },
            cookie: probe.cookie,
        };
        let mut sites = Vec::new();
        match &probe.watch {
            Watch::C {
                entry,
                with_return,
                first_word: word,
            } => {
                first_word = *word;
                sites.push(site(Program::TlsEnter, entry));
                if *with_return {
                    sites.push(site(Program::TlsLeave, entry));
                }
                for site in &mut sites {
                    site.facts.first_word = word.map_or(0, |word| word.0);
                }
            }
            Watch::Go {
                entry,
                returns,
                facts,
            } => {
                go = *facts;
                sites.extend(entry.iter().map(|place| site(Program::GoEnter, place)));
                sites.extend(returns.iter().map(|place| site(Program::GoLeave, place)));
            }
            Watch::Record { .. } => {}
        }
        if let Watch::Record { entry, with_return } = &probe.watch {
            let (enter, leave) = match with_return {
                true => (Program::RecordOpen, Some(Program::RecordOpened)),
                false => (Program::RecordSeal, None),
            };
            sites.push(site(enter, entry));
            sites.extend(leave.map(|leave| site(leave, entry)));
        }
        Self {
            name: &probe.function,
            sites,
            index: 0,
            first_word,
            go,
        }
    }

    /// Those where this program runs.
    pub fn sites_for(&self, program: Program) -> impl Iterator<Item = &SiteOf> {
        self.sites
            .iter()
            .filter(move |site| site.program == program)
    }
}
