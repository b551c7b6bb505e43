//! Probes placed by a report of the test's own, without discovery: for functions that it would not find,
//! or must not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use agentsight::attach::{Events, Scope, Session, Settings};
use agentsight::discover::finding::{
    Abi, Call, Finding, Function, Guard, Report, Site, SiteKind, Sites,
};
use agentsight::discover::{self, Confidence};
use agentsight::event::{ConnId, Direction, Event};
use agentsight::image::debug_file::DebugDirs;
use agentsight::image::{FileOff, ImageFile, VirtAddr};
use agentsight::plan::ProbePlan;
use agentsight::stream::Joiner;
use agentsight::symdb::{ResultShape, Role, SymbolDb};
use goblin::elf::Elf;

use crate::capture::PATIENCE;

/// A session with the probes of one report, and all that it heard.
pub struct Direct {
    pub session: Session,
    ring: Events,
    pub events: Vec<Event<'static>>,
}

impl Direct {
    pub fn open() -> Self {
        let session = Session::open(&Settings {
            scope: Scope::Everybody,
            ring_bytes: 1 << 24,
            max_bytes: u64::MAX,
            tells_acts: false,
            watches_all: false,
        })
        .unwrap();
        let ring = Events::start(session.ring().unwrap()).unwrap();
        let events = Vec::new();
        Self {
            session,
            ring,
            events,
        }
    }

    pub fn attach(&mut self, file: &ImageFile, report: &Report) {
        let image = file.image().unwrap();
        let plan = ProbePlan::new(report, image.arch, image.is_64, file.identity()).unwrap();
        assert_eq!(plan.skipped.len(), 0, "{:?}", plan.skipped);
        let attached = self.session.attach(&plan, file.file()).unwrap();
        assert_eq!(attached.failed, []);
    }

    /// Listens until nothing has come for a moment.
    pub fn listen(&mut self) {
        let moment = || Instant::now() + Duration::from_millis(200);
        while let Some(event) = self.ring.next_before(moment()) {
            self.events.push(event);
        }
    }

    /// The same until somebody is done.
    pub fn listen_while(&mut self, is_busy: impl Fn() -> bool) {
        while is_busy() {
            self.listen();
        }
        self.listen();
    }

    /// What each joined connection of a process wrote and read, sorted.
    pub fn streams_of(&self, pid: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut joiner = Joiner::default();
        let pushed = self
            .events
            .iter()
            .flat_map(|event| joiner.push(event.clone()));
        let mut told: Vec<_> = pushed.collect();
        told.extend(joiner.finish());
        let mut streams: BTreeMap<ConnId, [Vec<u8>; 2]> = BTreeMap::new();
        for event in &told {
            let Event::Data { caller, conn, data } = event else {
                continue;
            };
            if u64::from(caller.process.pid) == pid {
                let stream = &mut streams.entry(conn.id).or_default()[data.direction as usize];
                assert_eq!(data.offset, stream.len() as u64, "{:?}", conn.id);
                stream.extend_from_slice(&data.payload);
            }
        }
        let mut streams: Vec<_> = streams.into_values().map(<(_, _)>::from).collect();
        streams.sort();
        streams
    }

    /// Each connection's plaintext, as `w:…` and `r:…` in the order of the calls, and its end.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let mut conns: Vec<(ConnId, Vec<String>)> = Vec::new();
        for event in &self.events {
            let (id, word) = match event {
                Event::Data { conn, data, .. } => {
                    let way = match data.direction {
                        Direction::Write => 'w',
                        Direction::Read => 'r',
                    };
                    let text = String::from_utf8_lossy(&data.payload);
                    (conn.id, format!("{way}:{text}"))
                }
                Event::Close { conn, .. } => (conn.id, "end".to_owned()),
                _ => continue,
            };
            match conns.iter_mut().find(|(known, _)| *known == id) {
                Some((_, words)) => words.push(word),
                None => conns.push((id, vec![word])),
            }
        }
        conns.into_iter().map(|(_, words)| words).collect()
    }
}

/// A function of a test program: its symbol, and what it is for.
pub struct Watched<'w> {
    pub symbol: &'w str,
    pub role: Role,
}

/// A report that says that these symbols are a TLS library's functions.
pub fn report(path: &Path, library: &str, abi: Abi, watched: &[Watched<'_>]) -> Report {
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let functions = watched.iter().map(|of| {
        let symbol = elf
            .syms
            .iter()
            .find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(of.symbol))
            .unwrap_or_else(|| panic!("no {}", of.symbol));
        function(&elf, &bytes, of, abi, symbol.st_value, symbol.st_size)
    });
    let mut report = empty_report(path);
    report.findings.push(Finding {
        library: library.to_owned(),
        version: None,
        provider: None,
        compiler: None,
        functions: functions.collect(),
        guard: None,
        go: None,
    });
    report
}

fn function(
    elf: &Elf<'_>,
    bytes: &[u8],
    of: &Watched<'_>,
    abi: Abi,
    vaddr: u64,
    size: u64,
) -> Function {
    let segment = elf
        .program_headers
        .iter()
        .find(|segment| segment.p_vaddr <= vaddr && vaddr < segment.p_vaddr + segment.p_filesz)
        .unwrap();
    let offset = vaddr - segment.p_vaddr + segment.p_offset;
    let moves_data = of.role != Role::Close && of.role != Role::Free;
    let sites = if abi == Abi::C {
        Sites::classic(VirtAddr(vaddr), FileOff(offset), moves_data)
    } else {
        // Our assembly has no other byte like it: no immediate, no displacement.
        let code = &bytes[offset as usize..][..size as usize];
        let rets = (offset..)
            .zip(code)
            .filter(|(_, byte)| **byte == 0xc3 && moves_data);
        let site =
            |at: u64| Site::new(SiteKind::Uprobe, VirtAddr(at - offset + vaddr), FileOff(at));
        Sites {
            entry: site(offset),
            exits: rets.map(|(at, _)| site(at)).collect(),
        }
    };
    Function {
        name: of.symbol.to_owned(),
        role: of.role,
        vaddr: VirtAddr(vaddr),
        file_offset: FileOff(offset),
        size,
        confidence: Confidence::High,
        evidence: Vec::new(),
        sites,
        call: Call {
            abi,
            result: Some(ResultShape::I64),
            buf: Some(1),
            len: Some(2),
            ..Call::default()
        },
        legal: None,
        covered_by: None,
        unprobed: None,
    }
}

fn empty_report(path: &Path) -> Report {
    Report {
        path: path.display().to_string(),
        arch: std::env::consts::ARCH.to_owned(),
        build_id: None,
        size: 0,
        findings: Vec::new(),
        refused: Vec::new(),
        warnings: Vec::new(),
        imports: Vec::new(),
        ladder: Vec::new(),
    }
}

/// Where an object of the file is, before any load bias.
pub fn address(path: &Path, symbol: &str) -> Guard {
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let mut symbols = elf.syms.iter();
    let found = symbols.find(|of| elf.strtab.get_at(of.st_name) == Some(symbol));
    Guard {
        first_word: VirtAddr(found.unwrap().st_value),
    }
}

/// Attaches to what discovery finds in the file and detaches, again and again. In how many of the cycles
/// something was seen.
pub fn attach_and_detach(path: &Path, cycles: usize) -> usize {
    let file = ImageFile::open(path).unwrap();
    let mut report =
        discover::examine(&file, &SymbolDb::load().unwrap(), &DebugDirs::default()).unwrap();
    for finding in &mut report.findings {
        let functions = &mut finding.functions;
        functions.retain(|of| of.unprobed.is_none() && of.covered_by.is_none());
    }
    assert!(!report.findings.is_empty());
    let deadline = Instant::now() + 3 * PATIENCE;
    let mut direct = Direct::open();
    let mut seen = 0;
    for _ in 0..cycles {
        assert!(Instant::now() < deadline, "too slow");
        direct.attach(&file, &report);
        let in_time = Instant::now() + Duration::from_secs(5);
        seen += usize::from(direct.ring.next_before(in_time).is_some());
        direct.session.detach();
        // What still comes is of the cycle that is over.
        while direct.ring.next_before(Instant::now()).is_some() {}
    }
    seen
}
