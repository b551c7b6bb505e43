//! From the plan's probes to single sites: which BPF program runs at which offset with which cookie.

use crate::event::wire::FunctionFacts;
use crate::image::{FileOff, VirtAddr};
use crate::plan::{Cookie, Exits, Place, Probe, Watch};

/// The BPF programs that run at sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Where a Go function's arguments are.
    GoEnter,
    /// Where a Go function's results are.
    GoLeave,
    /// Where a record's decryption has ended.
    RecordExit,
    /// Where a record's decryption begins.
    RecordOpen,
    /// Its return.
    RecordOpened,
    /// Where a record's encryption begins.
    RecordSeal,
    /// A record's decryption: beginning and return in one.
    RecordSession,
    /// Where a C function's arguments are.
    TlsEnter,
    /// Where its result is.
    TlsExit,
    /// Its return.
    TlsLeave,
    /// Entry and return of a C function in one.
    TlsSession,
}

/// How the kernel runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the instruction.
    Here,
    /// When the function returns that begins there.
    Return,
    /// At the instruction; and again at the return, if the program wants that.
    Both,
}

impl Program {
    /// Returns first: a call seen at entry must not be missed at its end.
    pub const ALL: [Self; 11] = [
        Self::TlsLeave,
        Self::TlsExit,
        Self::GoLeave,
        Self::RecordOpened,
        Self::RecordExit,
        Self::TlsEnter,
        Self::TlsSession,
        Self::GoEnter,
        Self::RecordOpen,
        Self::RecordSession,
        Self::RecordSeal,
    ];

    /// Return probes never go to Go.
    pub fn when(self) -> When {
        match self {
            Self::RecordOpened | Self::TlsLeave => When::Return,
            Self::RecordSession | Self::TlsSession => When::Both,
            _ => When::Here,
        }
    }

    /// Where a call ends that another site has seen begin.
    fn ends_call(self) -> bool {
        matches!(
            self,
            Self::RecordExit | Self::RecordOpened | Self::TlsExit | Self::TlsLeave
        )
    }
}

/// The programs for one kind of function.
struct Family {
    enter: Program,
    exit: Program,
    leave: Program,
    session: Program,
}

const TLS: Family = Family {
    enter: Program::TlsEnter,
    exit: Program::TlsExit,
    leave: Program::TlsLeave,
    session: Program::TlsSession,
};

const RECORD: Family = Family {
    enter: Program::RecordOpen,
    exit: Program::RecordExit,
    leave: Program::RecordOpened,
    session: Program::RecordSession,
};

impl Family {
    /// Which programs run where. With sessions, a return probe costs only those calls that it is for.
    fn sites(&self, entry: Place, exits: &Exits, sessions: bool) -> Vec<(Program, Place)> {
        let mut sites = match exits {
            Exits::Return if sessions => return vec![(self.session, entry)],
            Exits::Return => vec![(self.leave, entry)],
            Exits::Sites(exits) => exits.iter().map(|exit| (self.exit, *exit)).collect(),
            Exits::None => Vec::new(),
        };
        sites.insert(0, (self.enter, entry));
        sites
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
    depth: u16,
    cookie: Cookie,
}

impl SiteOf {
    /// The end of a call is known by its beginning.
    pub fn shares_index(&self) -> bool {
        self.program.ends_call()
    }

    /// The bits for the kernel.
    pub fn cookie(&self) -> u64 {
        self.cookie.bits(self.index, self.depth)
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
    pub fn of(probe: &'p Probe, sessions: bool) -> Self {
        let (places, first_word, go) = match &probe.watch {
            Watch::C {
                entry,
                exits,
                first_word,
            } => (TLS.sites(*entry, exits, sessions), *first_word, None),
            Watch::Go {
                entry,
                returns,
                facts,
            } => {
                let entry = entry.iter().map(|place| (Program::GoEnter, *place));
                let returns = returns.iter().map(|place| (Program::GoLeave, *place));
                (entry.chain(returns).collect(), None, *facts)
            }
            Watch::Record { entry, exits } if exits.is_watched() => {
                (RECORD.sites(*entry, exits, sessions), None, None)
            }
            Watch::Record { entry, .. } => (vec![(Program::RecordSeal, *entry)], None, None),
        };
        let site = |(program, place): (Program, Place)| SiteOf {
            program,
            offset: place.offset,
            index: 0,
            facts: FunctionFacts {
                vaddr: place.vaddr.0,
                first_word: first_word.map_or(0, |word| word.0),
                ..FunctionFacts::default()
            },
            depth: place.depth,
            cookie: probe.cookie,
        };
        Self {
            name: &probe.function,
            sites: places.into_iter().map(site).collect(),
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
