//! Generated functions as a real program: their bytes with symbols, linked with a driver that calls them
//! and writes down what came of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::generator::{self, Kind, Program};

/// How much of the functions the file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Where each begins.
    Begin,
    /// Where each begins and ends, by symbols.
    Symbols,
    /// The same by unwind tables.
    Unwind,
}

/// A program on disk.
pub struct Made {
    pub path: PathBuf,
    /// Those to be watched.
    pub functions: Vec<String>,
}

/// Builds it; `None` without a compiler.
pub fn make(dir: &Path, seed: u64, count: usize, known: Known) -> Option<Made> {
    let cc = crate::program("cc")?;
    let generated = generator::generate(seed, count);
    let assembly = dir.join("functions.s");
    fs::write(&assembly, text(&generated, known)).unwrap();
    let path = dir.join("driver");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/sites_property/driver.c");
    let status = Command::new(cc)
        .args(["-O1", "-pthread", "-o"])
        .arg(&path)
        .args([&source, &assembly])
        .status()
        .unwrap();
    assert!(status.success());
    let functions = names(&generated, Kind::Function).map(str::to_owned);
    let functions = functions.collect();
    Some(Made { path, functions })
}

fn names(program: &Program, kind: Kind) -> impl Iterator<Item = &str> {
    let extents = program.extents.iter();
    let extents = extents.filter(move |of| of.kind == kind);
    extents.map(|of| of.name.as_str())
}

/// The bytes for an assembler, which adds nothing but names and tables.
fn text(program: &Program, known: Known) -> String {
    let mut text = ".text\n.balign 16\n".to_owned();
    let mut at = 0;
    for extent in &program.extents {
        bytes(&mut text, &program.code[at..extent.start]);
        at = extent.end;
        let name = &extent.name;
        writeln!(text, ".globl {name}\n.type {name}, @function\n{name}:").unwrap();
        if known == Known::Unwind {
            text.push_str(".cfi_startproc\n");
        }
        bytes(&mut text, &program.code[extent.start..extent.end]);
        if known == Known::Unwind {
            text.push_str(".cfi_endproc\n");
        }
        writeln!(text, ".size {name}, . - {name}").unwrap();
    }
    bytes(&mut text, &program.code[at..]);
    text.push_str(".section .data.rel.ro, \"aw\"\n.globl functions\nfunctions:\n");
    let doors = names(program, Kind::SideDoor);
    // By their numbers, with which the driver names them.
    let all: Vec<_> = names(program, Kind::Function).chain(doors).collect();
    for name in &all {
        writeln!(text, ".quad {name}").unwrap();
    }
    let count = all.len();
    writeln!(text, ".globl function_count\nfunction_count: .long {count}").unwrap();
    text.push_str(".section .note.GNU-stack, \"\", @progbits\n");
    text
}

fn bytes(text: &mut String, bytes: &[u8]) {
    for line in bytes.chunks(16) {
        let words: Vec<_> = line.iter().map(|byte| format!("{byte:#04x}")).collect();
        writeln!(text, ".byte {}", words.join(", ")).unwrap();
    }
}

/// A call that moved bytes, as the driver or a probe saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub function: String,
    /// Which of the thread's objects.
    pub object: u64,
    pub moved: u64,
    /// FNV-1a of the bytes.
    pub hash: u64,
}

/// What the driver wrote down.
pub struct Truth {
    /// The part that is the same in each run.
    pub text: String,
    /// By thread id, in the order of returns.
    pub calls: BTreeMap<u32, Vec<Seen>>,
    /// Calls that claim to have moved more than they were given, by function.
    pub impossible: BTreeMap<String, u64>,
    /// Where a thread's objects begin, and their size.
    pub objects: BTreeMap<u32, (u64, u64)>,
}

/// Starts the driver; what it says goes to a file.
pub fn start(made: &Made, output: &Path, calls: usize, threads: usize) -> Child {
    let mut command = Command::new(&made.path);
    command
        .args([calls, threads].map(|number| number.to_string()))
        .stdout(File::create(output).unwrap());
    command.spawn().unwrap()
}

/// Reads what it said.
pub fn read(output: &Path) -> Truth {
    let said = fs::read_to_string(output).unwrap();
    let mut truth = Truth {
        text: String::new(),
        calls: BTreeMap::new(),
        impossible: BTreeMap::new(),
        objects: BTreeMap::new(),
    };
    let mut tids = Vec::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        if words[0] == "thread" {
            let tid = u32::try_from(number(1)).unwrap();
            let start = u64::from_str_radix(words[2].trim_start_matches("0x"), 16).unwrap();
            truth.objects.insert(tid, (start, number(3) as u64));
            tids.push(tid);
            continue;
        }
        truth.text += line;
        truth.text.push('\n');
        let (function, result) = (words[1].to_owned(), number(4));
        if words[5] != "-" {
            let calls = truth.calls.entry(tids[number(0) as usize]).or_default();
            calls.push(Seen {
                function,
                object: number(2) as u64,
                moved: result as u64,
                hash: u64::from_str_radix(words[5], 16).unwrap(),
            });
        } else if result > 0 {
            *truth.impossible.entry(function).or_default() += 1;
        }
    }
    truth
}

/// As the driver has it.
pub fn hash_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
