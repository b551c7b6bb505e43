//! What capture costs a program that does nothing but TLS, and whether all of it arrives: a TLS pair in
//! one process, flat out, bare, under `agentsight attach`, and under bpftrace with the same job.
//!
//! Only ratios within one run mean something: the ways take turns, and the median of the rounds counts.
//! The pair uses a copy of libssl that nobody else has open, so that probes of other tracers on this
//! machine are not measured, nor other programs captured. Needs root. bpftrace may be absent.
//!
//! `--json` prints one object instead of the table, `--rounds N` takes N rounds (5).

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used)] // a bench prints, and fails loudly

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use procfs::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes of a message, and messages of a run, which takes about a second with probes.
const LOADS: [(u64, u64); 2] = [(256, 20_000), (16 << 10, 8_000)];

/// Messages of the runs whose whole output is read and checked.
const CHECKED: u64 = 2_000;

/// No round is begun after this time.
const BUDGET: Duration = Duration::from_secs(70);

/// The most that bpftrace up to 0.20 copies of a buffer.
const BPFTRACE_BYTES: &str = "200";

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--test" || arg == "--list") {
        return Ok(()); // `cargo test --benches` asks every bench
    }
    let rounds = args.iter().skip_while(|arg| *arg != "--rounds").nth(1);
    let rounds: u32 = rounds.map_or(Ok(5), |rounds| rounds.parse())?;
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(why) => {
            eprintln!("skipped: {why}");
            return Ok(());
        }
    };
    for (size, _) in LOADS {
        bench.check_output(size)?;
    }
    let rows = bench.measure(rounds)?;
    if args.iter().any(|arg| arg == "--json") {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        println!("{:#}", Value::from(rows));
    } else {
        print_table(&rows);
    }
    Ok(())
}

/// A way to run the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bare,
    Agentsight,
    Bpftrace,
    BpftraceCount,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::Bare,
        Self::Agentsight,
        Self::Bpftrace,
        Self::BpftraceCount,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Agentsight => "agentsight",
            Self::Bpftrace => "bpftrace, 200 B kept",
            Self::BpftraceCount => "bpftrace, counts only",
        }
    }
}

/// What the tracer told of one run; for the bare pair, what there was to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    events: u64,
    /// Moved by the calls that were seen.
    bytes: u64,
    /// Processor seconds that the tracer took, its start included.
    cpu: f64,
}

/// All rounds of one way with one load.
struct Row {
    way: Way,
    size: u64,
    expected: Seen,
    bare_us: f64,
    /// Microseconds per message.
    times: Vec<f64>,
    seen: Vec<Seen>,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "way": self.way.name(),
            "bytes": self.size,
            "us_per_iteration": { "median": self.median(), "min": self.min(), "max": self.max() },
            "ratio_to_bare": self.median() / self.bare_us,
            "events_expected": self.expected.events,
            "events_lost": self.lost(),
            "bytes_expected": self.expected.bytes,
            "bytes_seen_min": self.seen.iter().map(|seen| seen.bytes).min(),
            "tracer_cpu_s": median(self.seen.iter().map(|seen| seen.cpu).collect()),
            "rounds": self.times.len(),
        })
    }

    fn median(&self) -> f64 {
        median(self.times.clone())
    }

    fn min(&self) -> f64 {
        self.times.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn max(&self) -> f64 {
        self.times.iter().copied().fold(0.0, f64::max)
    }

    /// Events that did not arrive: in the best and in the worst round.
    fn lost(&self) -> [u64; 2] {
        let lost = |seen: &Seen| self.expected.events.saturating_sub(seen.events);
        let (best, worst) = (
            self.seen.iter().map(lost).min(),
            self.seen.iter().map(lost).max(),
        );
        [best.unwrap_or(0), worst.unwrap_or(0)]
    }

    fn is_whole(&self) -> bool {
        let whole =
            |seen: &Seen| seen.events == self.expected.events && seen.bytes == self.expected.bytes;
        self.seen.iter().all(whole)
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_table(rows: &[Row]) {
    println!(
        "  bytes  way                     us/iter (min - max)      ratio  events expected  lost (best - worst)  whole  tracer cpu"
    );
    for row in rows {
        let cpu = median(row.seen.iter().map(|seen| seen.cpu).collect());
        let [best, worst] = row.lost();
        let mut line = format!("{:>7}  {:<22}", row.size, row.way.name());
        let _ = write!(
            line,
            " {:>8.2} ({:>6.2} - {:>6.2})",
            row.median(),
            row.min(),
            row.max()
        );
        let _ = write!(line, " {:>9.1}x", row.median() / row.bare_us);
        if row.way != Way::Bare {
            let whole = if row.is_whole() { "yes" } else { "no" };
            let _ = write!(
                line,
                " {:>16}  {best:>8} - {worst:<8}  {whole:>5}  {cpu:>8.2} s",
                row.expected.events
            );
        }
        println!("{line}");
    }
}

/// The pair, its own copy of libssl, and what can trace it.
struct Bench {
    pair: PathBuf,
    /// Holds the library and what tracers write.
    folder: TempDir,
    library: PathBuf,
    ways: Vec<Way>,
}

impl Bench {
    /// Or why nothing can be measured.
    fn new() -> Result<Self> {
        let built = agentsight_testbins::build("openssl/pair", "dyn-O2");
        let pair = built.map_err(|why| format!("openssl/pair: {why}"))?.path;
        if Process::myself()?.uid()? != 0 {
            return Err("it needs root".into());
        }
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            TempDir::new_in(memory)?
        } else {
            TempDir::new()?
        };
        let system = library_of(&pair)?;
        let library = folder.path().join(system.file_name().unwrap_or_default());
        fs::copy(&system, &library)?;
        let mut ways = Way::ALL.to_vec();
        if let Err(why) = Command::new("bpftrace").arg("--version").output() {
            eprintln!("skipped: bpftrace: {why}");
            ways.retain(|way| matches!(way, Way::Bare | Way::Agentsight));
        }
        Ok(Self {
            pair,
            folder,
            library,
            ways,
        })
    }

    /// The ways take turns, so that whatever else this machine does meets all of them alike.
    fn measure(&self, rounds: u32) -> Result<Vec<Row>> {
        let start = Instant::now();
        let mut rows: Vec<Row> = LOADS
            .iter()
            .flat_map(|(size, messages)| {
                self.ways.iter().map(|way| self.row(*way, *size, *messages))
            })
            .collect();
        for _ in 0..rounds {
            if start.elapsed() > BUDGET {
                break;
            }
            for row in &mut rows {
                let messages = row.expected.events / 2 - 1;
                let (time, seen) = self.run(row.way, row.size, messages)?;
                row.times.push(time);
                row.seen.push(seen);
            }
        }
        let is_bare = |row: &&Row| row.way == Way::Bare;
        let bare = |row: &Row| (row.size, row.median());
        let bare: BTreeMap<u64, f64> = rows.iter().filter(is_bare).map(bare).collect();
        for row in &mut rows {
            row.bare_us = bare.get(&row.size).copied().unwrap_or(f64::NAN);
        }
        Ok(rows)
    }

    fn row(&self, way: Way, size: u64, messages: u64) -> Row {
        Row {
            way,
            size,
            expected: expected(size, messages),
            bare_us: f64::NAN,
            times: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Microseconds per message, and what was seen.
    fn run(&self, way: Way, size: u64, messages: u64) -> Result<(f64, Seen)> {
        match way {
            Way::Bare => {
                let time = self.start_pair(size, messages)?.go()?;
                Ok((time, expected(size, messages)))
            }
            Way::Agentsight => self.under_agentsight(size, messages, Path::new("/dev/null")),
            Way::Bpftrace => self.under_bpftrace(size, messages, COPY),
            Way::BpftraceCount => self.under_bpftrace(size, messages, COUNT),
        }
    }

    fn start_pair(&self, size: u64, messages: u64) -> Result<Pair> {
        let child = Command::new(&self.pair)
            .args(pair_options(size, messages))
            .arg("--wait")
            .env("LD_LIBRARY_PATH", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut pair = Pair(Ended(child));
        pair.wait_ready()?;
        Ok(pair)
    }

    fn under_agentsight(&self, size: u64, messages: u64, output: &Path) -> Result<(f64, Seen)> {
        // The pair waits with its libraries loaded, so that the very first call is seen.
        let pair = self.start_pair(size, messages)?;
        let mut tracer = Ended(
            Command::new(env!("CARGO_BIN_EXE_agentsight"))
                .args(["attach", "--json", "--binary"])
                .arg(&self.pair)
                .arg("-o")
                .arg(output)
                .stderr(Stdio::piped())
                .spawn()?,
        );
        let stderr = tracer.0.stderr.take().ok_or("no stderr")?;
        let mut told = BufReader::new(stderr);
        self.wait_attached(&mut told)?;
        let time = pair.go()?;
        tracer.interrupt()?;
        let mut summary = String::new();
        told.read_to_string(&mut summary)?;
        let mut seen = parse_summary(&summary).ok_or_else(|| format!("no summary: {summary}"))?;
        seen.cpu = tracer.finish()?;
        Ok((time, seen))
    }

    fn wait_attached(&self, told: &mut BufReader<ChildStderr>) -> Result<()> {
        let library = self.library.display().to_string();
        let mut line = String::new();
        while !line.contains(&library) {
            line.clear();
            if told.read_line(&mut line)? == 0 {
                return Err("agentsight ended before it attached".into());
            }
        }
        Ok(())
    }

    fn under_bpftrace(&self, size: u64, messages: u64, script: &str) -> Result<(f64, Seen)> {
        let library = self.library.display().to_string();
        let options = pair_options(size, messages).join(" ");
        let folder = self.folder.path().display();
        let output = self.folder.path().join("bpftrace.out");
        let child = Command::new("bpftrace")
            .arg("-c")
            .arg(format!(
                "/usr/bin/env LD_LIBRARY_PATH={folder} {} {options}",
                self.pair.display()
            ))
            .arg("-o")
            .arg(&output)
            .arg("-e")
            .arg(script.replace("LIB", &library))
            .env("BPFTRACE_STRLEN", BPFTRACE_BYTES)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut tracer = Ended(child);
        let mut printed = String::new();
        let stdout = tracer.0.stdout.as_mut().ok_or("no stdout")?;
        stdout.read_to_string(&mut printed)?;
        let cpu = tracer.finish()?;
        let time =
            parse_time(&printed).ok_or_else(|| format!("bpftrace ran no pair: {printed}"))?;
        let (events, bytes) = parse_bpftrace(&fs::read(&output)?);
        Ok((time, Seen { events, bytes, cpu }))
    }

    /// Reads every line that agentsight writes: the numbers of its summary are the lines' own.
    fn check_output(&self, size: u64) -> Result<()> {
        let output = self.folder.path().join("lines");
        let (_, told) = self.under_agentsight(size, CHECKED, &output)?;
        let mut read = Seen {
            cpu: told.cpu,
            ..Seen::default()
        };
        for line in fs::read_to_string(&output)?.lines() {
            let line: Value = serde_json::from_str(line)?;
            if line.get("type").is_some_and(|kind| kind == "tls.data") {
                read.events += 1;
                read.bytes += line.get("data").and_then(Value::as_str).map_or(0, str::len) as u64;
            }
        }
        fs::remove_file(&output)?;
        if read == told {
            return Ok(());
        }
        Err(format!("{size} B: the summary says {told:?}, the lines {read:?}").into())
    }
}

/// Each message is written once and read once; the other end answers with one more.
fn expected(size: u64, messages: u64) -> Seen {
    let events = 2 * (messages + 1);
    Seen {
        events,
        bytes: events * size,
        cpu: 0.0,
    }
}

fn pair_options(size: u64, messages: u64) -> [String; 5] {
    let [size, messages] = [size, messages].map(|number| number.to_string());
    [
        "--print-timing".into(),
        "--size".into(),
        size,
        "--iterations".into(),
        messages,
    ]
}

/// The usual way: arguments kept by thread, the bytes copied when the call returns.
const COPY: &str = "
    uprobe:LIB:SSL_write, uprobe:LIB:SSL_read { @buf[tid] = arg1; }
    uretprobe:LIB:SSL_write, uretprobe:LIB:SSL_read /@buf[tid]/ {
        $n = (int32)retval;
        if ($n > 0) { printf(\"%d %d %r\\n\", tid, $n, buf(@buf[tid], (uint64)$n)); }
        delete(@buf[tid]);
    }
    END { clear(@buf); }";

/// The least that shows every call.
const COUNT: &str = "
    uretprobe:LIB:SSL_write, uretprobe:LIB:SSL_read {
        $n = (int32)retval;
        if ($n > 0) { @events = count(); @bytes = sum((uint64)$n); }
    }";

/// A pair that stands still until it is told to go.
struct Pair(Ended);

impl Pair {
    fn wait_ready(&mut self) -> Result<()> {
        let stdout = self.0.0.stdout.as_mut().ok_or("no stdout")?;
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready)?;
        if &ready == b"ready\n" {
            Ok(())
        } else {
            Err("the pair is not ready".into())
        }
    }

    /// Microseconds per message.
    fn go(mut self) -> Result<f64> {
        let child = &mut self.0.0;
        child.stdin.as_mut().ok_or("no stdin")?.write_all(b"\n")?;
        let mut printed = String::new();
        child
            .stdout
            .as_mut()
            .ok_or("no stdout")?
            .read_to_string(&mut printed)?;
        parse_time(&printed).ok_or_else(|| format!("no time: {printed}").into())
    }
}

/// A process that does not outlive us.
struct Ended(Child);

impl Ended {
    fn interrupt(&self) -> Result<()> {
        let status = Command::new("kill")
            .arg("-INT")
            .arg(self.0.id().to_string())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err("failed to end agentsight".into())
        }
    }

    /// Waits for the end, and tells the processor seconds: a process that ended and was not waited for
    /// still shows them.
    fn finish(&mut self) -> Result<f64> {
        let process = Process::new(i32::try_from(self.0.id())?)?;
        loop {
            let stat = process.stat()?;
            if stat.state == 'Z' {
                self.0.wait()?;
                return Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail if it ended and was waited for, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The libssl that a program loads.
fn library_of(program: &Path) -> Result<PathBuf> {
    let child = Command::new(program)
        .arg("--wait")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pair = Pair(Ended(child));
    pair.wait_ready()?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", pair.0.0.id()))?;
    let mut paths = maps
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
    let library = paths.find(|path| path.contains("/libssl.so"));
    library
        .map(PathBuf::from)
        .ok_or_else(|| "the pair loads no libssl".into())
}

fn parse_time(printed: &str) -> Option<f64> {
    let mut lines = printed.lines();
    let ns = lines.find_map(|line| line.strip_prefix("ns_per_iteration "))?;
    ns.trim().parse::<f64>().ok().map(|ns| ns / 1e3)
}

/// `captured: 100 events on 2 connections, 12 B written, 12 B read`.
fn parse_summary(summary: &str) -> Option<Seen> {
    let line = summary
        .lines()
        .find_map(|line| line.strip_prefix("captured: "))?;
    let words = line.split(' ').filter_map(|word| word.parse().ok());
    let [events, _connections, written, read] = words.collect::<Vec<u64>>().try_into().ok()?;
    Some(Seen {
        events,
        bytes: written + read,
        cpu: 0.0,
    })
}

/// Events and bytes, from lines of [`COPY`] or the maps of [`COUNT`].
fn parse_bpftrace(output: &[u8]) -> (u64, u64) {
    let (mut events, mut bytes) = (0, 0);
    for line in output.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split(' ');
        let (first, number) = (words.next().unwrap_or_default(), words.next());
        let Some(number) = number.and_then(|word| word.parse::<u64>().ok()) else {
            continue;
        };
        match first {
            "@events:" => events = number,
            "@bytes:" => bytes = number,
            tid if tid.parse::<u32>().is_ok() => {
                events += 1;
                bytes += number;
            }
            _ => {}
        }
    }
    (events, bytes)
}
