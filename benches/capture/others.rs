//! Other tracers with the same job.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Result;
use crate::support::child::Ended;
use crate::support::program::{Done, Load, Program};
use crate::support::rounds::{Round, Seen};

/// The most that bpftrace up to 0.20 copies of a buffer.
const BPFTRACE_BYTES: &str = "200";

/// The usual way: arguments kept by thread, the bytes copied when the call returns.
pub const COPY: &str = "
    uprobe:LIB:SSL_write, uprobe:LIB:SSL_read { @buf[tid] = arg1; }
    uretprobe:LIB:SSL_write, uretprobe:LIB:SSL_read /@buf[tid]/ {
        $n = (int32)retval;
        if ($n > 0) { printf(\"%d %d %r\\n\", tid, $n, buf(@buf[tid], (uint64)$n)); }
        delete(@buf[tid]);
    }
    END { clear(@buf); }";

/// The least that shows every call.
pub const COUNT: &str = "
    uretprobe:LIB:SSL_write, uretprobe:LIB:SSL_read {
        $n = (int32)retval;
        if ($n > 0) { @events = count(); @bytes = sum((uint64)$n); }
    }";

/// What is missing, if it is.
pub fn lacks_bpftrace() -> Option<&'static str> {
    let there = Command::new("bpftrace").arg("--version").output();
    there.is_err().then_some("bpftrace")
}

/// bpftrace starts the program itself, once its probes are in place.
pub fn bpftrace(program: &Program, load: &Load, file: &Path, script: &str) -> Result<Round> {
    let library = program.library.display().to_string();
    let child = Command::new("bpftrace")
        .arg("-c")
        .arg(program.command_line(load))
        .arg("-o")
        .arg(file)
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
    let cpu_seconds = tracer.finish()?;
    let done = Done::parse(&printed, load.threads)
        .ok_or_else(|| format!("bpftrace ran no program: {printed}"))?;
    let seen = read_seen(file, cpu_seconds, parse_bpftrace)?;
    Ok(Round::new(done, Some(seen)))
}

/// What a tracer left in its file, which is taken away. It does not tell what it lost.
fn read_seen(file: &Path, cpu_seconds: f64, parse: fn(&[u8]) -> (u64, u64)) -> Result<Seen> {
    let output = fs::read(file)?;
    fs::remove_file(file)?;
    let (events, bytes) = parse(&output);
    Ok(Seen {
        events,
        bytes,
        told: None,
        cpu_seconds,
        output_bytes: output.len() as u64,
    })
}

/// Events and bytes, from lines of [`COPY`] or the maps of [`COUNT`].
fn parse_bpftrace(output: &[u8]) -> (u64, u64) {
    let (mut events, mut bytes) = (0, 0);
    for line in output.split(|byte| *byte == b'\n') {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let mut word = || str::from_utf8(words.next().unwrap_or_default()).unwrap_or_default();
        let (first, number) = (word(), word());
        let Ok(number) = number.parse::<u64>() else {
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

/// How long after its start friTap must have put its hooks into the program.
const FRITAP_PATIENCE: Duration = Duration::from_secs(60);

/// Headers before the bytes of each call in its capture file: of the record, IPv4 and TCP.
const PACKET_HEADERS: usize = 16 + 20 + 20;
/// Of the file.
const PCAP_HEADER: usize = 24;

/// `pip install fritap` into an environment; its `fritap` in the path, or named by this variable.
const FRITAP: &str = "AGENTSIGHT_BENCH_FRITAP";

fn fritap_path() -> PathBuf {
    env::var_os(FRITAP).map_or_else(|| "fritap".into(), PathBuf::from)
}

/// What is missing, if it is.
pub fn lacks_fritap() -> Option<&'static str> {
    let there = Command::new(fritap_path()).arg("--version").output();
    there
        .is_err()
        .then_some("fritap (AGENTSIGHT_BENCH_FRITAP=PROGRAM)")
}

/// friTap hooks the functions inside of the program, with Frida, and writes each call's plaintext into a
/// capture file as a packet of its own.
pub fn fritap(program: &Program, load: &Load, file: &Path) -> Result<Round> {
    let running = program.start(load)?;
    // It looks for the library by its name, wherever that is.
    let log = file.with_extension("log");
    let child = Command::new(fritap_path())
        .args(["--enable_default_fd", "-nl", "-p"])
        .arg(file)
        .arg(running.child.0.id().to_string())
        .env("PYTHONUNBUFFERED", "1")
        .current_dir(file.parent().unwrap_or(file))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let tracer = Ended(child);
    let deadline = Instant::now() + FRITAP_PATIENCE;
    while !fs::read_to_string(&log)?.contains("Logging TLS plaintext") {
        if Instant::now() > deadline {
            return Err(format!("friTap did not start: {}", fs::read_to_string(&log)?).into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    // Its hooks are in place a moment after it says so.
    thread::sleep(Duration::from_secs(1));
    let done = running.go()?;
    wait_until_still(file)?;
    // It does not end with the program.
    let cpu_seconds = tracer.cpu_seconds()?;
    drop(tracer);
    fs::remove_file(&log)?;
    let seen = read_seen(file, cpu_seconds, parse_pcap)?;
    Ok(Round::new(done, Some(seen)))
}

/// Until nothing was written for a second.
fn wait_until_still(file: &Path) -> Result<()> {
    let length = || -> Result<u64> { Ok(fs::metadata(file)?.len()) };
    let mut before = 0;
    while length()? != before {
        before = length()?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Packets with content, and its bytes: <https://wiki.wireshark.org/Development/LibpcapFileFormat>.
fn parse_pcap(file: &[u8]) -> (u64, u64) {
    let (mut events, mut bytes) = (0, 0);
    let mut rest = file.get(PCAP_HEADER..).unwrap_or_default();
    while let Some(length) = rest.get(8..12).and_then(|bytes| bytes.first_chunk::<4>()) {
        let whole = 16 + u32::from_le_bytes(*length) as usize;
        let content = whole.saturating_sub(PACKET_HEADERS) as u64;
        events += u64::from(content > 0);
        bytes += content;
        rest = rest.get(whole..).unwrap_or_default();
    }
    (events, bytes)
}
