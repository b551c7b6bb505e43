//! How long it takes to attach 1,000 probes, with `uprobe_multi` and with a link for each: 500 functions
//! of a made library, each with an entry site and an exit site.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use agentsight::attach::{Scope, Session, Settings};
use agentsight::discover::Confidence;
use agentsight::discover::finding::{Abi, Call, Finding, Function, Report, Site, SiteKind, Sites};
use agentsight::image::{FileOff, ImageFile, VirtAddr};
use agentsight::plan::ProbePlan;
use agentsight::symdb::{ResultShape, Role};
use goblin::elf::Elf;
use serde::{Deserialize, Serialize};

use crate::support::report::table;
use crate::support::stats::Spread;
use crate::support::{Options, Result};

const FUNCTIONS: usize = 500;

/// Rounds with a link for each site, at most: the kernel takes a minute or two to detach them.
const SLOW_ROUNDS: usize = 3;

/// Set in the process that measures, to the library.
const CHILD: &str = "AGENTSIGHT_BENCH_ATTACH";

/// Of one way.
#[derive(Serialize, Deserialize)]
pub struct Times {
    links: String,
    rounds: Vec<Round>,
}

#[derive(Serialize, Deserialize)]
struct Round {
    sites: usize,
    attach_ms: f64,
    detach_ms: f64,
}

/// In a process of its own, because what a kernel lacks is told by the environment.
pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Times>> {
    let library = build(folder)?;
    let mut ways =
        [("uprobe_multi", ""), ("a link for each", "uprobe_multi")].map(|(links, without)| {
            let times = Times {
                links: links.to_owned(),
                rounds: Vec::new(),
            };
            (times, without)
        });
    for _ in 0..options.rounds.unwrap_or(7) {
        for (times, without) in &mut ways {
            if !without.is_empty() && times.rounds.len() >= SLOW_ROUNDS {
                continue;
            }
            let output = Command::new(env::current_exe()?)
                .env(CHILD, &library)
                .env("AGENTSIGHT_WITHOUT", without)
                .output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            times.rounds.push(serde_json::from_slice(&output.stdout)?);
        }
    }
    Ok(ways.map(|(times, _)| times).into())
}

pub fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Attaches, detaches, and prints how long it took.
pub fn child() -> Result<()> {
    let library = PathBuf::from(env::var_os(CHILD).ok_or("no library")?);
    let file = ImageFile::open(&library)?;
    let image = file.image()?;
    let report = report(&library)?;
    let plan = ProbePlan::new(&report, image.arch, image.is_64, file.identity())?;
    let mut session = Session::open(&Settings {
        scope: Scope::Everybody,
        ring_bytes: 1 << 20,
        max_bytes: u64::MAX,
        tells_acts: false,
        watches_all: false,
    })?;
    let began = Instant::now();
    let attached = session.attach(&plan, file.file())?;
    let attach_ms = began.elapsed().as_secs_f64() * 1e3;
    if attached.functions != FUNCTIONS {
        return Err(format!("{} functions, {:?}", attached.functions, attached.failed).into());
    }
    let began = Instant::now();
    session.detach();
    let round = Round {
        sites: 2 * FUNCTIONS,
        attach_ms,
        detach_ms: began.elapsed().as_secs_f64() * 1e3,
    };
    println!("{}", serde_json::to_string(&round)?);
    Ok(())
}

fn build(folder: &Path) -> Result<PathBuf> {
    let (source, library) = (folder.join("many.s"), folder.join("many.so"));
    let mut text = ".text\n".to_owned();
    for number in 0..FUNCTIONS {
        // The exit site is the second instruction.
        writeln!(
            text,
            ".globl f{number}\n.type f{number}, @function\n.p2align 4\nf{number}: nop\nret\n\
             .size f{number}, . - f{number}"
        )?;
    }
    text.push_str(".section .note.GNU-stack,\"\",@progbits\n");
    fs::write(&source, text)?;
    let status = Command::new("gcc")
        .args(["-shared", "-nostdlib", "-Wl,--build-id", "-o"])
        .args([&library, &source])
        .status()?;
    if status.success() {
        Ok(library)
    } else {
        Err("gcc failed".into())
    }
}

/// Says that each of them writes, like `SSL_write`.
fn report(library: &Path) -> Result<Report> {
    let bytes = fs::read(library)?;
    let elf = Elf::parse(&bytes)?;
    let symbols = elf.dynsyms.iter().filter(|symbol| symbol.is_function());
    let functions: Vec<Function> = symbols
        .filter_map(|symbol| {
            let name = elf.dynstrtab.get_at(symbol.st_name)?;
            let mut segments = elf.program_headers.iter();
            let segment = segments
                .find(|segment| segment.vm_range().contains(&(symbol.st_value as usize)))?;
            let offset = symbol.st_value - segment.p_vaddr + segment.p_offset;
            Some(function(name, symbol.st_value, offset))
        })
        .collect();
    Ok(Report {
        path: library.display().to_string(),
        arch: env::consts::ARCH.to_owned(),
        build_id: None,
        size: bytes.len() as u64,
        findings: vec![Finding {
            library: "openssl".to_owned(),
            version: None,
            provider: None,
            compiler: None,
            functions,
            guard: None,
            go: None,
        }],
        refused: Vec::new(),
        warnings: Vec::new(),
        imports: Vec::new(),
        ladder: Vec::new(),
    })
}

fn function(name: &str, vaddr: u64, offset: u64) -> Function {
    let site = |at: u64| Site::new(SiteKind::Uprobe, VirtAddr(vaddr + at), FileOff(offset + at));
    Function {
        name: name.to_owned(),
        role: Role::Write,
        vaddr: VirtAddr(vaddr),
        file_offset: FileOff(offset),
        size: 2,
        confidence: Confidence::High,
        evidence: Vec::new(),
        sites: Sites {
            entry: site(0),
            exits: vec![site(1)],
        },
        call: Call {
            abi: Abi::C,
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

pub fn show(times: &[&Times]) -> String {
    let heads = [
        "links",
        "sites",
        "attach, median (min – max)",
        "detach",
        "rounds",
    ];
    let lines = times.iter().map(|of| {
        let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(of.rounds.iter().map(value));
        let attach = spread(&|round| round.attach_ms).map_or_else(String::new, |ms| {
            format!("{:.0} ms ({:.0} – {:.0})", ms.median, ms.min, ms.max)
        });
        let detach = spread(&|round| round.detach_ms);
        let sites = of.rounds.first().map_or(0, |round| round.sites);
        [
            of.links.clone(),
            sites.to_string(),
            attach,
            detach.map_or_else(String::new, |ms| format!("{:.0} ms", ms.median)),
            of.rounds.len().to_string(),
        ]
    });
    format!(
        "Attaching to {FUNCTIONS} functions:\n\n{}",
        table(heads, lines)
    )
}
