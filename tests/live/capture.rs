//! Runs the real binary against a real program, and reads back what it said.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// Longest time any step may take on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One connection as it was captured.
#[derive(Clone, Debug, Default)]
pub struct Conn {
    pub pid: u64,
    pub library: String,
    pub written: Vec<u8>,
    pub read: Vec<u8>,
    pub from_start: bool,
    pub role: Option<String>,
    pub local: Option<String>,
    pub peer: Option<String>,
    pub fd: Option<i64>,
    pub joined_by: String,
    pub close: Option<String>,
    pub functions: Vec<String>,
    /// The last word on where it goes.
    pub endpoint: Option<Value>,
}

/// All that one run said.
#[derive(Debug)]
pub struct Captured {
    pub conns: BTreeMap<String, Conn>,
    pub gaps: Vec<Value>,
    pub lines: Vec<Value>,
    pub stderr: String,
}

/// A running `agentsight attach`.
pub struct Capture {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    dir: tempfile::TempDir,
    /// Observes the same with classic probe sites.
    classic: Option<Box<Self>>,
}

impl Capture {
    /// Starts it and waits until probes are in place. A second one beside it has classic sites: at the end, both
    /// must have seen the same. Of a library, what this test has started is observed, and no other tests' processes.
    pub fn start(binary: &Path, options: &[&str]) -> Self {
        let own = std::process::id().to_string();
        let is_library = binary.to_string_lossy().contains(".so");
        let ours: &[&str] = if is_library { &["--pid", &own] } else { &[] };
        let options = [options, ours].concat();
        let classic = [&options[..], &["--probe-sites", "classic"]].concat();
        let classic = Self::spawn(binary, &classic, "");
        let mut capture = Self::start_alone(binary, &options);
        capture.classic = Some(Box::new(classic.attached()));
        capture
    }

    /// Without a second one: where load, limits, the moment of attaching, or other tests' processes of the same program
    /// make them differ.
    pub fn start_alone(binary: &Path, options: &[&str]) -> Self {
        Self::spawn(binary, options, "").attached()
    }

    /// Starts one for the processes that these selectors mean.
    pub fn select(selectors: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--json", "--no-redact", "-o"])
            .arg(dir.path().join("lines"))
            .args(selectors)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut capture = Self::of(child, dir);
        while !["attached: ", "waiting: "]
            .iter()
            .any(|word| capture.said.contains(word))
        {
            let before = capture.said.len();
            capture.stderr.read_line(&mut capture.said).unwrap();
            assert_ne!(before, capture.said.len(), "ended early: {}", capture.said);
        }
        std::thread::sleep(Duration::from_millis(150));
        capture
    }

    /// Starts one that keeps all in a recording.
    pub fn start_printing_nothing(binary: &Path, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--no-redact", "--binary"])
            .arg(binary)
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::of(child, dir).attached()
    }

    /// Ends a recording: what it said.
    pub fn stop_recording(mut self) -> String {
        signal(self.child.id(), "INT");
        self.stderr.read_to_string(&mut self.said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said);
        std::mem::take(&mut self.said)
    }

    /// The same on a kernel that lacks these features.
    pub fn without(features: &str, binary: &Path) -> Self {
        Self::spawn(binary, &[], features).attached()
    }

    fn attached(self) -> Self {
        let mut capture = self;
        let deadline = Instant::now() + PATIENCE;
        while !capture.said.contains("attached: ") || capture.said.contains("waiting: ") {
            assert!(
                Instant::now() < deadline,
                "never attached: {}",
                capture.said
            );
            let before = capture.said.len();
            capture.stderr.read_line(&mut capture.said).unwrap();
            assert_ne!(before, capture.said.len(), "ended early: {}", capture.said);
            if capture.said.contains("waiting: ") && capture.said.contains("libssl.so.3,") {
                break;
            }
        }
        // NSPR comes in two files, and the notices of a program's other libraries may follow.
        std::thread::sleep(Duration::from_millis(150));
        capture
    }

    fn spawn(binary: &Path, options: &[&str], without: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--json", "--no-redact", "--binary"])
            .arg(binary)
            .arg("-o")
            .arg(dir.path().join("lines"))
            .args(options)
            .env("AGENTSIGHT_WITHOUT", without)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::of(child, dir)
    }

    fn of(mut child: Child, dir: tempfile::TempDir) -> Self {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            stderr,
            said: String::new(),
            dir,
            classic: None,
        }
    }

    /// Ends it the way a user does, and reads everything it said.
    pub fn stop(self) -> Captured {
        self.stop_where(|_| true)
    }

    /// The same, of one process: others may run the same program or library meanwhile.
    pub fn stop_of(self, pid: u64) -> Captured {
        self.stop_where(|seen| seen == pid)
    }

    fn stop_where(mut self, is_ours: impl Fn(u64) -> bool) -> Captured {
        let classic = self.classic.take();
        self.signal("INT");
        let captured = self.finish().of_processes(&is_ours);
        if let Some(classic) = classic {
            let classic = classic.stop().of_processes(&is_ours);
            captured.assert_same_events(&classic);
        }
        captured
    }

    /// Waits until it ends by itself.
    pub fn finish(&mut self) -> Captured {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said);
        read(
            &self.dir.path().join("lines"),
            std::mem::take(&mut self.said),
        )
    }

    /// Waits until it has written a line with one of these words.
    pub fn wait_for_line(&self, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = fs::read_to_string(self.dir.path().join("lines")).unwrap_or_default();
            if words.iter().any(|word| lines.contains(word)) {
                return;
            }
            assert!(Instant::now() < deadline, "never said one of {words:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Ends it as nothing can be caught.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Runs it to its end with these options.
    pub fn run(binary: &Path, options: &[&str]) -> Captured {
        Self::spawn(binary, options, "").finish()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Reads lines from a file, each of which must be what the schema says.
pub fn read(path: &Path, stderr: String) -> Captured {
    let text = fs::read_to_string(path).unwrap();
    let schema: Value = serde_json::from_str(agentsight::sink::LINES_SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut captured = Captured {
        conns: BTreeMap::new(),
        gaps: Vec::new(),
        lines: Vec::new(),
        stderr,
    };
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Err(error) = schema.validate(&line) {
            panic!("{error}: {line}");
        }
        captured.take(&line);
        captured.lines.push(line);
    }
    captured
}

impl Captured {
    fn take(&mut self, line: &Value) {
        let kind = line["type"].as_str().unwrap();
        if kind == "tls.gap" {
            self.gaps.push(line.clone());
        }
        let Some(name) = line["conn"].as_str() else {
            return;
        };
        let conn = self.conns.entry(name.to_owned()).or_default();
        match kind {
            "tls.open" => {
                conn.pid = line["pid"].as_u64().unwrap();
                conn.library = line["library"].as_str().unwrap().to_owned();
                conn.from_start = line["from_start"].as_bool().unwrap();
                let text = |name: &str| line[name].as_str().map(str::to_owned);
                (conn.role, conn.local, conn.peer) = (text("role"), text("local"), text("peer"));
                conn.fd = line["fd"].as_i64();
                conn.joined_by = line["joined_by"].as_str().unwrap().to_owned();
            }
            "tls.data" => conn.push(line),
            "tls.endpoint" => {
                let known = |name: &str| line[name].as_str().map(str::to_owned);
                (conn.local, conn.peer) = (known("local"), known("peer"));
                conn.endpoint = Some(line.clone());
            }
            "tls.close" => {
                assert!(conn.close.is_none(), "closed twice: {line}");
                conn.close = line["reason"].as_str().map(str::to_owned);
            }
            _ => {}
        }
    }

    fn of_processes(mut self, is_ours: impl Fn(u64) -> bool) -> Self {
        self.conns.retain(|_, conn| is_ours(conn.pid));
        let of = |line: &Value| line["pid"].as_u64().is_none_or(&is_ours);
        self.lines.retain(of);
        self
    }

    /// Demands that nothing is missing, by the lines and by the summary.
    pub fn assert_whole(&self) {
        assert_eq!(self.gaps, Vec::<Value>::new(), "{}", self.stderr);
        assert!(self.stderr.contains("lost: nothing"), "{}", self.stderr);
    }

    /// Demands that another observer of the same processes, stopped after this one, saw the same calls, with the
    /// same bytes, in the same order on each connection.
    pub fn assert_same_events(&self, classic: &Self) {
        let (ours, theirs) = (self.events(), classic.events());
        let brief = |events: &[Vec<Value>]| -> Vec<String> {
            let cut = |line: &Value| line.to_string().chars().take(600).collect::<String>();
            events.iter().flatten().map(cut).collect()
        };
        if ours != theirs {
            let (ours, theirs) = (brief(&ours), brief(&theirs));
            let differ = ours.iter().zip(&theirs).find(|(a, b)| a != b);
            panic!(
                "planned sites saw {} events, classic ones {}; the first that differ: {differ:#?}\n{}\n{}",
                ours.len(),
                theirs.len(),
                self.stderr,
                classic.stderr
            );
        }
        let later = classic.ends();
        for (end, count) in self.ends() {
            assert!(
                later.get(&end).is_some_and(|later| *later >= count),
                "planned sites saw {count} ends {end:?}, classic ones {later:?}"
            );
        }
    }

    /// How many connections ended for which reason, told by which function; those apart that were open to the end
    /// of the capture, which another observer may have seen end a moment later.
    fn ends(&self) -> BTreeMap<(&str, &str), usize> {
        let mut ends = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line["type"] == "tls.close") {
            let [reason, function] =
                ["reason", "function"].map(|key| line[key].as_str().unwrap_or_default());
            if reason != "detached" {
                *ends.entry((reason, function)).or_default() += 1;
            }
        }
        ends
    }

    /// What happened on each connection in each direction, without the moment and the names that a run makes up. Between
    /// directions there is no order: two threads may read and write at the same time.
    fn events(&self) -> Vec<Vec<Value>> {
        let mut conns: BTreeMap<(&str, &str), Vec<Value>> = BTreeMap::new();
        for line in &self.lines {
            // How surely an endpoint is known, and when, depends on who spoke before whom (endpoints.rs has the truth).
            // Go's and rustls's come from elsewhere, and are told when the connection opens.
            let is_learnt = !["go-crypto-tls", "rustls"]
                .contains(&line["library"].as_str().unwrap_or_default());
            // What is above the level of bytes follows from them.
            let kind = line["type"].as_str().unwrap_or_default();
            if kind == "tls.endpoint" || !kind.starts_with("tls.") {
                continue;
            }
            let Some(name) = line["conn"].as_str() else {
                continue;
            };
            let direction = line["direction"].as_str().unwrap_or_default();
            let known = conns.entry((name, direction)).or_default();
            let mut line = line.clone();
            // The thread of an end is that of the last call to return, which may be another one's; its reason is
            // compared apart.
            let own: &[&str] = match line["type"].as_str() {
                Some("tls.data") => &["ts", "conn"],
                Some("tls.close") => &["ts", "conn", "tid", "reason", "function"],
                Some("tls.open") if is_learnt => &["ts", "conn", "tid", "local", "peer", "role"],
                _ => &["ts", "conn", "tid"],
            };
            for own in own {
                line.as_object_mut().unwrap().remove(*own);
            }
            known.push(line);
        }
        let mut events: Vec<_> = conns.into_values().collect();
        events.sort_by_cached_key(|events| Value::from(events.clone()).to_string());
        events
    }

    /// Both streams of each connection that moved bytes, sorted.
    pub fn streams(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut streams: Vec<_> = self
            .conns
            .values()
            .map(|conn| (conn.written.clone(), conn.read.clone()))
            .filter(|(written, read)| !written.is_empty() || !read.is_empty())
            .collect();
        streams.sort();
        streams
    }

    /// All plaintext, whatever the connection.
    pub fn all_bytes(&self) -> Vec<u8> {
        let conns = self.conns.values();
        conns
            .flat_map(|conn| [conn.written.clone(), conn.read.clone()].concat())
            .collect()
    }
}

impl Conn {
    fn push(&mut self, line: &Value) {
        let bytes = match (line["data"].as_str(), line["data_b64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(packed)) => BASE64_STANDARD.decode(packed).unwrap(),
            other => panic!("{other:?}: {line}"),
        };
        assert_eq!(bytes.len() as u64, line["len"].as_u64().unwrap());
        let function = line["function"].as_str().unwrap().to_owned();
        if !self.functions.contains(&function) {
            self.functions.push(function);
        }
        let stream = match line["direction"].as_str() {
            Some("write") => &mut self.written,
            Some("read") => &mut self.read,
            other => panic!("{other:?}"),
        };
        // With gaps the streams of a test are not compared; without, offsets must be seamless.
        let offset = line["offset"].as_u64().unwrap();
        if offset == stream.len() as u64 {
            stream.extend(bytes);
        } else {
            let from = stream.len() as u64;
            assert!(offset > from, "overlaps at {from}: {line}");
            stream.resize(offset as usize, b'?');
            stream.extend(bytes);
        }
    }
}

/// Of one field of all lines of a kind.
pub fn sum(lines: &[Value], kind: &str, field: &str) -> u64 {
    let lines = lines.iter().filter(|line| line["type"] == kind);
    lines.filter_map(|line| line[field].as_u64()).sum()
}

/// A file of these tests' own.
pub fn temp_file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Waits until `done`, or fails with `what`.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} never happened");
        std::thread::sleep(Duration::from_millis(20));
    }
}
