//! What discovery costs on real programs: time per byte of the file, timed in this process with a warm
//! page cache, the time of a second look, and the memory of a child that does nothing else.
//!
//! The files come from `scripts/fetch-samples`, which this bench never runs: a sample that is not there
//! is named and passed over.

#![forbid(unsafe_code)]
#![allow(missing_docs)] // divan's entry points
#![allow(clippy::print_stdout, clippy::expect_used)] // a bench prints, and fails loudly

use std::env;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use agentsight::cache::{Examiner, Origin, Store};
use agentsight::discover;
use agentsight::image::ImageFile;
use agentsight::image::debug_file::DebugDirs;
use agentsight::symdb::SymbolDb;
use divan::Bencher;
use divan::counter::BytesCount;

/// A symbol table and BoringSSL's or OpenSSL's names; the same a third larger; names stripped, which is
/// told by a search through all data; a small library.
const SAMPLES: [&str; 4] = ["node-x64-20", "node-x64-26", "bun-x64-1.4", "deb-libssl3"];

/// What a new pipe holds (pipe(7)).
const PIPE_BYTES: usize = 65536;

/// Runs of the child for each sample; the largest peak counts.
const RUNS: usize = 3;

fn main() {
    for name in SAMPLES.iter().filter(|name| sample(name).is_none()) {
        println!("skipped: {name} is not there; scripts/fetch-samples {name} fetches it");
    }
    divan::main();
    let is_test = env::args().any(|arg| arg == "--test");
    if !is_test {
        println!(
            "\npeak memory of `agentsight discover --no-cache FILE`, mapped file pages included"
        );
        SAMPLES.iter().for_each(|name| print_memory(name));
    }
}

fn present() -> impl Iterator<Item = &'static str> {
    SAMPLES.into_iter().filter(|name| sample(name).is_some())
}

/// Opening, parsing, and all that a report holds.
#[divan::bench(args = present(), sample_count = 20, sample_size = 1)]
fn examine(bencher: Bencher<'_, '_>, name: &str) {
    let path = sample(name).expect("it was there");
    let db = SymbolDb::load().expect("the database is part of the program");
    let dirs = DebugDirs { global: Vec::new() };
    let size = fs::read(&path).expect("the sample is readable").len(); // warms the cache
    bencher.counter(BytesCount::new(size)).bench(|| {
        let file = ImageFile::open(&path).expect("the sample opens");
        black_box(discover::examine(&file, &db, &dirs).expect("the sample is an ELF file"));
    });
}

/// The second look at a file: opening it, and the answer from the cache.
#[divan::bench(args = present(), sample_count = 20, sample_size = 1)]
fn cached(bencher: Bencher<'_, '_>, name: &str) {
    let path = sample(name).expect("it was there");
    let place = tempfile::tempdir().expect("a directory can be made");
    let dirs = DebugDirs { global: Vec::new() };
    let db = SymbolDb::load().expect("the database is part of the program");
    let store = Store::new(place.path().to_owned(), "bench");
    let examiner = Examiner::new(db, dirs).with_store(store);
    let look = || {
        let file = ImageFile::open(&path).expect("the sample opens");
        examiner.examine(&file).expect("the sample is an ELF file")
    };
    look();
    bencher.bench(|| assert_eq!(black_box(look()).origin, Origin::SameFile));
}

/// The program in a sample's folder, as `scripts/fetch-samples` puts it there: with a lock file beside it.
fn sample(name: &str) -> Option<PathBuf> {
    let folder = samples()?.join(name);
    let files = fs::read_dir(folder).ok()?.flatten();
    let files = files
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    files.max_by_key(size).filter(|path| size(path) > 0)
}

fn samples() -> Option<PathBuf> {
    let cache = |name, rest| env::var_os(name).map(|root| Path::new(&root).join(rest));
    env::var_os("AGENTSIGHT_SAMPLES")
        .map(PathBuf::from)
        .or_else(|| cache("XDG_CACHE_HOME", "agentsight/samples"))
        .or_else(|| cache("HOME", ".cache/agentsight/samples"))
}

fn print_memory(name: &str) {
    let Some(path) = sample(name) else {
        return;
    };
    let size = fs::metadata(&path).expect("the sample is there").len() as f64 / 1e6;
    let peaks = (0..RUNS).map(|_| peak(&path));
    let Some(Peak { all, own }) = peaks.max_by(|a, b| a.all.total_cmp(&b.all)) else {
        return;
    };
    println!(
        "{name:<12} {size:7.1} MB  peak {all:6.1} MB = {:.2} per MB of file, {own:5.1} MB of it not the file's pages",
        all / size
    );
}

/// Megabytes.
struct Peak {
    all: f64,
    own: f64,
}

/// The child's peak when all is examined and nothing printed yet: a full pipe as its stdout holds it there.
/// (What `wait4` tells counts this process too, as it was when the child was forked.)
fn peak(path: &Path) -> Peak {
    let (reader, mut writer) = io::pipe().expect("a pipe can be made");
    writer.write_all(&[0; PIPE_BYTES]).expect("it holds that");
    let mut child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["discover", "--no-cache"])
        .arg(path)
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut peak = Peak { all: 0.0, own: 0.0 };
    let mut asleep = 0;
    while asleep < 25 {
        thread::sleep(Duration::from_micros(200));
        asleep = if look(&child, &mut peak) {
            asleep + 1
        } else {
            0
        };
    }
    drop(reader);
    child.wait().expect("a child can be waited for");
    peak
}

/// Whether it sleeps, which a single thread that examines never does for long.
fn look(child: &Child, peak: &mut Peak) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let megabytes = |name: &str| {
        let kib = field(name).and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.unwrap_or(0.0) * 1024.0 / 1e6
    };
    peak.all = peak.all.max(megabytes("VmHWM:"));
    peak.own = peak.own.max(megabytes("RssAnon:"));
    field("State:").is_none_or(|state| !state.contains(['R', 'D']))
}
