//! The other end of a program under test, in a network of its own that reaches nothing else.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::capture::{Captured, PATIENCE};
use crate::program;
use crate::support::Random;

/// Free in every new network.
pub const SERVER_PORT: u16 = 4433;

/// What one end wrote and read inside TLS, by connection.
pub type Streams = Vec<(Vec<u8>, Vec<u8>)>;

/// A server of `tls_peer.py`. Programs that are to talk to it are started with [`Peer::command`].
pub struct Peer {
    process: Lonely,
    dir: tempfile::TempDir,
}

/// A process that ends with its stdin, alone in its network, and the port that it listens on.
pub struct Lonely {
    child: Child,
    pub port: u16,
}

impl Drop for Lonely {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lonely {
    /// Waits for its word `listening PORT`.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ");
        let port = port.unwrap_or_else(|| panic!("{command:?} said {line:?}"));
        Self {
            port: port.parse().unwrap(),
            child,
        }
    }

    pub fn pid(&self) -> u64 {
        u64::from(self.child.id())
    }

    /// Ends it and waits until it has written its last log.
    pub fn finish(mut self) {
        drop(self.child.stdin.take());
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "it never ended");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Peer {
    /// `llm` or `files`, as `tls_peer.py` documents them.
    pub fn start(role: &str) -> Option<Self> {
        program("nsenter")?;
        let mut command = Command::new(program("unshare")?);
        command.arg("--net").arg(program("python3")?);
        Self::start_by(command, role, &["--lonely"])
    }

    /// The same in our own network.
    pub fn start_here(role: &str) -> Option<Self> {
        Self::start_by(Command::new(program("python3")?), role, &[])
    }

    fn start_by(mut command: Command, role: &str, options: &[&str]) -> Option<Self> {
        program("openssl")?;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("files")).unwrap();
        command.arg(script()).arg(role).arg(dir.path());
        let process = Lonely::start(command.args(options));
        Some(Self { process, dir })
    }

    pub fn pid(&self) -> u64 {
        self.process.pid()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn cert(&self) -> PathBuf {
        self.dir().join("cert.pem")
    }

    /// A file that the server has.
    pub fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.dir().join("files").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.process.port)
    }

    /// A command in the peer's network, with an empty home and no other environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.process.pid()))
            .arg(program)
            .current_dir(self.dir())
            .env_clear()
            .env("HOME", self.dir())
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", self.dir());
        command
    }

    /// Runs a client to its end: its process, and what it printed.
    pub fn run(&self, command: &mut Command) -> (u64, Output) {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = u64::from(child.id());
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{command:?}: {}: {said}", out.status);
        (pid, out)
    }

    /// Starts a server of others that takes no port 0, on [`SERVER_PORT`], in the peer's folder; it is
    /// killed at its end.
    pub fn serve(&self, program: &Path, arguments: &[&str]) -> Lonely {
        let mut command = self.command(Path::new("/bin/sh"));
        let script = format!("echo listening {SERVER_PORT}; exec \"$@\" >output 2>&1");
        command.args(["-c", &script, "sh"]).arg(program);
        Lonely::start(command.args(arguments))
    }

    /// Fetches these paths from a server in this network over one connection.
    pub fn fetch(&self, port: u16, paths: &[&str]) -> Streams {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(self.cert(), dir.path().join("cert.pem")).unwrap();
        let mut command = self.command(&program("python3").unwrap());
        command.arg(script()).arg("fetch").arg(dir.path());
        self.run(command.arg(port.to_string()).args(paths));
        logged(dir.path())
    }

    /// Ends the server: what it wrote and read.
    pub fn finish(self) -> Streams {
        let Self { process, dir } = self;
        process.finish();
        logged(dir.path())
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/tls_peer.py")
}

fn logged(dir: &Path) -> Streams {
    let stream = |number: usize, name: &str| std::fs::read(dir.join(format!("{number}.{name}")));
    (0..)
        .map(|number| (stream(number, "written"), stream(number, "read")))
        .take_while(|(written, read)| written.is_ok() || read.is_ok())
        .map(|(written, read)| (written.unwrap_or_default(), read.unwrap_or_default()))
        .collect()
}

/// Demands that the observed end wrote what the other one read, and the other way round, by
/// connection, with nothing lost.
pub fn assert_crosswise(what: &str, captured: &Captured, other: &Streams) {
    captured.assert_whole();
    let mut other: Streams = other
        .iter()
        .map(|(written, read)| (read.clone(), written.clone()))
        .collect();
    other.sort();
    let ours = captured.streams();
    let sizes = |streams: &Streams| -> Vec<(usize, usize)> {
        streams.iter().map(|(w, r)| (w.len(), r.len())).collect()
    };
    let (seen, expected) = (sizes(&ours), sizes(&other));
    eprintln!("{what}: (written, read) seen {seen:?}, expected {expected:?}");
    assert!(!other.is_empty(), "{what}: nobody came");
    assert_eq!(seen, expected, "{what}: {}", captured.stderr);
    assert!(ours == other, "{what}: same lengths, other bytes");
}

/// Comments that don't compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(3);
    let mut line = || format!("// {:016x}{:016x}\n", random.next(), random.next()).into_bytes();
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend(line());
    }
    bytes
}
