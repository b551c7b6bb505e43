//! Processes as they come and go: whatever they do, each byte is told under the process that said it, nothing is lost
//! unsaid, and nothing of ours stays when they or we have gone.

mod again;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentsight_testbins::run::{Running, read_logs};
use serde_json::Value;

use crate::capture::{Captured, PATIENCE, read, signal, wait_for};
use crate::testbins::{Own, testbin};
use crate::{is_root, program};

const AGENTSIGHT: &str = env!("CARGO_BIN_EXE_agentsight");

/// An observer, and what belongs to it in the kernel.
struct Observer {
    child: Child,
    dir: tempfile::TempDir,
}

impl Observer {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(AGENTSIGHT)
            .args(["attach", "--json", "--no-redact", "-o"])
            .arg(dir.path().join("lines"))
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(fs::File::create(dir.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let observer = Self { child, dir };
        wait_for("attaching", || {
            let said = observer.said();
            said.contains("attached: ")
                && (!said.contains("waiting: ") || said.contains("libssl.so"))
        });
        std::thread::sleep(Duration::from_millis(300));
        observer
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap()
    }

    /// Ids of what it holds, by what bpftool calls it.
    fn objects(&self) -> BTreeMap<&'static str, BTreeSet<u32>> {
        let mut objects: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let folder = format!("/proc/{}/fdinfo", self.child.id());
        for entry in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            for (field, kind) in [
                ("map_id:", "map"),
                ("link_id:", "link"),
                ("prog_id:", "prog"),
            ] {
                let values = text.lines().filter_map(|line| line.strip_prefix(field));
                let ids = values.filter_map(|value| value.trim().parse::<u32>().ok());
                objects.entry(kind).or_default().extend(ids);
            }
        }
        objects
    }

    /// Entries of the map of this name.
    fn entries(&self, bpftool: &Path, name: &str) -> usize {
        let maps = &self.objects()["map"];
        let shown = shown(bpftool, "map");
        let of_name = |map: &&Value| map["name"] == name && maps.contains(&id(map));
        let map = shown
            .iter()
            .find(of_name)
            .unwrap_or_else(|| panic!("no map {name}"));
        let dumped = Command::new(bpftool)
            .args(["map", "dump", "id", &id(map).to_string(), "-j"])
            .output()
            .unwrap();
        let dumped: Value = serde_json::from_slice(&dumped.stdout).unwrap();
        dumped.as_array().unwrap().len()
    }

    fn stop(mut self) -> Captured {
        signal(self.child.id(), "INT");
        assert!(self.child.wait().unwrap().success(), "{}", self.said());
        read(&self.dir.path().join("lines"), self.said())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn id(object: &Value) -> u32 {
    u32::try_from(object["id"].as_u64().unwrap()).unwrap()
}

fn shown(bpftool: &Path, kind: &str) -> Vec<Value> {
    let output = Command::new(bpftool)
        .args([kind, "show", "-j"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What one process wrote and read on one connection: pid, start in clock ticks, bytes.
type Said = (u64, u64, Vec<u8>, Vec<u8>);

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// A copy of the system's python that nobody else runs, and `torture.py` with what it needs.
struct Torture {
    dir: tempfile::TempDir,
    python: PathBuf,
}

impl Torture {
    fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let (python, openssl) = (program("python3")?, program("openssl")?);
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("python");
        fs::copy(python, &copy).unwrap();
        let made = Command::new(openssl)
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args([
                "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=x",
            ])
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(made.status.success());
        Some(Self { dir, python: copy })
    }

    fn command(&self) -> Vec<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/torture.py");
        [&self.python, &script, self.dir.path()]
            .map(|path| path.to_str().unwrap().to_owned())
            .to_vec()
    }

    /// What the processes say that they said.
    fn truth(&self) -> Vec<Said> {
        let mut truth = Vec::new();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some((pid, start)) = name.strip_prefix("log.").and_then(|id| id.split_once('.'))
            else {
                continue;
            };
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let bytes = |key: &str| unhex(line[key].as_str().unwrap());
                let (pid, start) = (pid.parse().unwrap(), start.parse().unwrap());
                truth.push((pid, start, bytes("written"), bytes("read")));
            }
        }
        truth.sort();
        truth
    }

    fn compare(&self, captured: &Captured) {
        captured.assert_whole();
        let (truth, seen) = (self.truth(), by_process(captured));
        let brief = |all: &[Said]| -> Vec<String> {
            let text =
                |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            all.iter()
                .map(|(pid, start, w, r)| {
                    format!("{pid}.{start} {} {} {}", w.len(), r.len(), text(w))
                })
                .collect()
        };
        assert!(truth.len() > 30, "{}", truth.len());
        assert_eq!(brief(&truth), brief(&seen), "{}", captured.stderr);
        assert!(truth == seen, "same lengths, other bytes");
        let pids = |all: &[Said]| all.iter().map(|said| said.0).collect::<BTreeSet<_>>().len();
        let processes: BTreeSet<_> = truth.iter().map(|said| (said.0, said.1)).collect();
        assert!(processes.len() > pids(&truth), "no pid was used again");
        let missed = captured
            .lines
            .iter()
            .filter(|line| line["type"] == "tls.missed");
        assert_eq!(missed.count(), 0, "{}", captured.stderr);
    }
}

/// The same from what was captured; ends that said nothing are left out.
fn by_process(captured: &Captured) -> Vec<Said> {
    // SAFETY: no preconditions.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
    let mut conns: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in captured
        .lines
        .iter()
        .filter(|line| line["type"] == "tls.open")
    {
        let process = line["process"].as_str().unwrap();
        let (pid, start) = process.strip_prefix('p').unwrap().split_once('.').unwrap();
        let start: u64 = start.parse().unwrap();
        let process = (pid.parse().unwrap(), start / (1_000_000_000 / ticks));
        conns.insert(line["conn"].as_str().unwrap(), process);
    }
    let conns = captured.conns.iter().map(|(name, conn)| {
        let (pid, start) = conns[name.as_str()];
        assert_eq!(pid, conn.pid);
        (pid, start, conn.written.clone(), conn.read.clone())
    });
    let mut said: Vec<_> = conns
        .filter(|said| !said.2.is_empty() || !said.3.is_empty())
        .collect();
    said.sort();
    said
}

/// Forks, execs, threads, deaths and used pids: a byte under the wrong process, a lost one, or an entry of a dead process
/// that stays in the kernel.
#[test]
fn root_each_byte_under_its_own_process() {
    let (Some(torture), Some(bpftool)) = (Torture::new(), program("bpftool")) else {
        return;
    };
    let observer = Observer::start(&["--binary", torture.python.to_str().unwrap()], &[]);
    let links = observer.objects()["link"].len();
    let command = torture.command();
    let status = Command::new(&command[0])
        .args(&command[1..])
        .status()
        .unwrap();
    assert!(status.success());
    for map in ["tracked", "conns", "calls"] {
        wait_for(&format!("an empty map {map}"), || {
            observer.entries(&bpftool, map) == 0
        });
    }
    assert_eq!(observer.objects()["link"].len(), links);
    torture.compare(&observer.stop());
}

/// The same where processes are followed because of their parents.
#[test]
fn root_each_byte_of_a_followed_tree() {
    let Some(torture) = Torture::new() else {
        return;
    };
    let recording = torture.dir.path().join("run.rec");
    let record = Command::new(AGENTSIGHT)
        .args(["record", "--no-redact", "-o"])
        .arg(&recording)
        .arg("--")
        .args(torture.command())
        .env_remove("SUDO_UID")
        .output()
        .unwrap();
    let said = String::from_utf8(record.stderr).unwrap();
    assert!(record.status.success(), "{said}");
    torture.compare(&replay(&recording, &said));
}

fn replay(recording: &Path, said: &str) -> Captured {
    let lines = recording.with_extension("lines");
    let replayed = Command::new(AGENTSIGHT)
        .args(["replay", "--json", "--no-redact", "-o"])
        .args([&lines, recording])
        .output()
        .unwrap();
    assert!(replayed.status.success(), "{said}");
    read(
        &lines,
        format!("{said}{}", String::from_utf8_lossy(&replayed.stderr)),
    )
}

/// However the observer ends, also by a fault of its own: nothing of it stays in the kernel, and who was observed goes
/// on and says all that it wanted to.
#[test]
fn root_detach_leaves_nothing() {
    let Some(bpftool) = program("bpftool") else {
        return;
    };
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let path = pair.path.to_str().unwrap();
    for end in ["INT", "TERM", "KILL", "ring", "output", "main"] {
        let is_signal = end.chars().all(char::is_uppercase);
        let panic = if is_signal { "" } else { end };
        let mut observer = Observer::start(&["--binary", path], &[("AGENTSIGHT_PANIC", panic)]);
        let objects = observer.objects();
        assert!(
            ["map", "prog", "link"]
                .iter()
                .all(|kind| !objects[kind].is_empty())
        );
        let running = Running::start(&pair, &["--iterations", "20000", "--size", "64"]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        if is_signal {
            signal(observer.child.id(), end);
        }
        wait_for(&format!("the end by {end}"), || {
            observer.child.try_wait().unwrap().is_some()
        });
        let said = observer.said();
        assert_eq!(
            !is_signal,
            said.contains(&format!("wanted in {end}")),
            "{said}"
        );
        for (kind, ids) in &objects {
            wait_for(&format!("no {kind} after {end}"), || {
                shown(&bpftool, kind)
                    .iter()
                    .all(|object| !ids.contains(&id(object)))
            });
        }
        running.finish().unwrap();
    }
}

fn run(program: &Path, log: &Path) {
    let status = Command::new(program)
        .args(["--iterations", "5", "--log"])
        .arg(log)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn logged(log: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let ends = read_logs(log).unwrap().into_iter();
    let mut streams: Vec<_> = ends.map(|end| (end.written, end.read)).collect();
    streams.sort();
    streams
}

fn pair(variant: &str) -> Option<Own> {
    testbin("openssl/pair", variant)
}

/// An agent that updates itself: the new file at its path, the old one that still runs and has no name any more, and the
/// same file under another name are all the binary that the user asked for.
#[test]
fn root_updated_deleted_and_linked_binaries() {
    let Some(pair) = pair("static") else { return };
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("agent");
    fs::copy(&pair.path, &agent).unwrap();
    fs::hard_link(&agent, dir.path().join("link")).unwrap();
    let logs: Vec<_> = (0..4)
        .map(|number| dir.path().join(format!("log{number}")))
        .collect();
    logs.iter().for_each(|log| fs::create_dir(log).unwrap());
    let observer = Observer::start(&["--binary", agent.to_str().unwrap()], &[]);
    let old = pair.at(&agent);
    let options = [
        "--wait",
        "--iterations",
        "5",
        "--log",
        logs[0].to_str().unwrap(),
    ];
    let mut running = Running::start(&old, &options).unwrap();
    running.wait_ready().unwrap();
    run(&dir.path().join("link"), &logs[1]);
    let next = dir.path().join("next");
    fs::copy(&pair.path, &next).unwrap();
    fs::rename(&next, &agent).unwrap();
    // The first run of a new file may be over before its probes are there, which is told.
    run(&agent, &logs[2]);
    std::thread::sleep(Duration::from_secs(1));
    run(&agent, &logs[3]);
    running.go().unwrap();
    running.finish().unwrap();
    let captured = observer.stop();
    captured.assert_whole();
    let streams = captured.streams();
    for log in [&logs[0], &logs[1], &logs[3]] {
        let expected = logged(log);
        assert!(!expected.is_empty());
        for stream in expected {
            assert!(
                streams.contains(&stream),
                "{}: {}",
                log.display(),
                captured.stderr
            );
        }
    }
    assert_missed_or_seen(&captured, &logged(&logs[2]));
}

/// All of it is there, or what is not is the beginning, and told.
fn assert_missed_or_seen(captured: &Captured, expected: &[(Vec<u8>, Vec<u8>)]) {
    let streams = captured.streams();
    let missed = captured
        .lines
        .iter()
        .filter(|line| line["type"] == "tls.missed")
        .count();
    let is_whole = |stream: &&(Vec<u8>, Vec<u8>)| streams.contains(stream);
    let unseen = expected.iter().filter(|stream| !is_whole(stream)).count();
    // Each of these processes has both ends of one connection.
    assert!(
        unseen <= 2 * missed,
        "{unseen} not whole, {missed} told: {}",
        captured.stderr
    );
    for (written, read) in &streams {
        let fits = |(w, r): &(Vec<u8>, Vec<u8>)| w.ends_with(written) && r.ends_with(read);
        let is_known = expected.iter().any(fits);
        assert!(
            is_known || expected.len() < streams.len(),
            "bytes that nobody said"
        );
    }
}

/// A program without a name, and a script: what runs is followed whatever it is called.
#[test]
fn root_programs_in_memory_and_scripts() {
    let Some(pair) = pair("static") else { return };
    let Some(_python) = program("python3") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let recording = dir.path().join("run.rec");
    let path = pair.path.to_str().unwrap();
    let script = dir.path().join("script.py");
    let text = format!(
        "#!/usr/bin/env python3\nimport os\nfd = os.memfd_create('agent')\nos.write(fd, open({path:?}, 'rb').read())\n\
         os.execve(fd, ['agent', '--iterations', '5', '--log', {:?}], os.environ)\n",
        log.to_str().unwrap()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for _ in 0..2 {
        let _ = fs::remove_dir_all(&log);
        fs::create_dir(&log).unwrap();
        let record = Command::new(AGENTSIGHT)
            .args(["record", "--no-redact", "-o"])
            .arg(&recording)
            .arg("--")
            .arg(&script)
            .env_remove("SUDO_UID")
            .output()
            .unwrap();
        let said = String::from_utf8(record.stderr).unwrap();
        assert!(record.status.success(), "{said}");
        let captured = replay(&recording, &said);
        assert_missed_or_seen(&captured, &logged(&log));
    }
}

/// With nothing in the cache a large program may speak before its probes are there: then the window is told, and what is
/// missing is what was said before it ended. With the cache nothing is missing.
#[test]
fn root_what_is_missed_is_told() {
    let Some(pair) = pair("static") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (log, recording) = (dir.path().join("log"), dir.path().join("run.rec"));
    let path = pair.path.to_str().unwrap();
    let log_path = log.to_str().unwrap();
    for is_warm in [false, true] {
        let _ = fs::remove_dir_all(&log);
        fs::create_dir(&log).unwrap();
        // Through a shell, so that nobody knows before what will run.
        let script = format!("{path} --iterations 3000 --log {log_path} >/dev/null");
        let record = Command::new(AGENTSIGHT)
            .args(["record", "--no-redact", "-o"])
            .arg(&recording)
            .args(["--", "sh", "-c", &script])
            .env("AGENTSIGHT_CACHE", dir.path().join("cache"))
            .env_remove("SUDO_UID")
            .output()
            .unwrap();
        let said = String::from_utf8(record.stderr).unwrap();
        assert!(record.status.success(), "{said}");
        let captured = replay(&recording, &said);
        let missed: Vec<_> = captured
            .lines
            .iter()
            .filter(|line| line["type"] == "tls.missed")
            .collect();
        eprintln!("warm: {is_warm}: {missed:?}");
        if is_warm {
            assert_eq!(missed.len(), 0, "{said}");
            assert!(captured.streams() == logged(&log), "{said}");
        } else {
            assert_missed_or_seen(&captured, &logged(&log));
            for line in missed {
                assert!(line["from"].as_str() < line["until"].as_str(), "{line}");
            }
        }
    }
}

/// A library that is rewritten while it is in use: probes at its old addresses may crash whoever runs it.
#[test]
fn root_a_rewritten_library_is_examined_anew() {
    let Some(pair) = pair("dyn-O2") else { return };
    let dir = tempfile::tempdir().unwrap();
    let library = Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3");
    if !library.exists() {
        return crate::skip("libssl.so.3");
    }
    let copy = dir.path().join("libssl.so.3");
    fs::copy(library, &copy).unwrap();
    let path = pair.path.to_str().unwrap();
    let libraries = ("LD_LIBRARY_PATH", dir.path().to_str().unwrap());
    let observer = Observer::start(&["--binary", path], &[libraries]);
    // The same bytes: whoever has it mapped is not harmed, and the state is another one.
    let dd = format!(
        "dd if={} of={} conv=notrunc status=none",
        library.display(),
        copy.display()
    );
    assert!(
        Command::new("sh")
            .args(["-c", &dd])
            .status()
            .unwrap()
            .success()
    );
    wait_for("its release", || {
        observer.said().contains("was rewritten in place")
    });
    let log = dir.path().join("log");
    fs::create_dir(&log).unwrap();
    let run = || {
        let status = Command::new(path)
            .args(["--iterations", "5", "--log", log.to_str().unwrap()])
            .env(libraries.0, libraries.1)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    run();
    std::thread::sleep(Duration::from_secs(1));
    run();
    assert!(PATIENCE > Duration::from_secs(20));
    let captured = observer.stop();
    let expected = logged(&log);
    let last = &captured.streams();
    assert!(
        expected.iter().any(|stream| last.contains(stream)),
        "{}",
        captured.stderr
    );
}
