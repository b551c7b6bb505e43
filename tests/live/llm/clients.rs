//! Real clients against the mock server, in a network that reaches nobody else.

use std::cell::RefCell;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agentsight_testbins::llm::{MockServer, Options};

use crate::capture::Capture;
use crate::llm::compare;
use crate::program;
use crate::support::{repository, sample_cache, skip};

/// A server, and where its clients live.
pub struct Scene {
    pub server: MockServer,
    pub dir: tempfile::TempDir,
    is_library: bool,
    /// Clients that have run.
    pids: RefCell<Vec<u64>>,
}

impl Scene {
    /// Observes this program or library, takes this thread and what it starts off the network, and starts a server there.
    pub fn start(binary: &Path, options: Options) -> (Self, Capture) {
        let is_library = binary.to_string_lossy().contains(".so");
        let own = std::process::id().to_string();
        // A library has many users: ours are what this test starts. Of a program no process is there yet.
        let ours: &[&str] = if is_library { &["--pid", &own] } else { &[] };
        let capture = Capture::start_alone(binary, ours);
        let mut scene = Self::set(options);
        scene.is_library = is_library;
        (scene, capture)
    }

    /// The same without observing anything.
    pub fn set(options: Options) -> Self {
        leave_network();
        Self::set_here(options)
    }

    /// The same in the network that this thread is in.
    pub fn set_here(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = MockServer::start(options, dir.path()).unwrap();
        Self {
            server,
            dir,
            is_library: true,
            pids: RefCell::default(),
        }
    }

    /// A command with an empty home and no other environment, which trusts the server as far as variables can say it.
    pub fn command(&self, program: &Path) -> Command {
        command(program, self.dir.path(), &self.server.ca)
    }

    /// curl, which trusts the server.
    pub fn curl(&self) -> Option<Command> {
        let mut command = self.command(&program("curl")?);
        command.args(["--silent", "--show-error", "--no-buffer", "--cacert"]);
        command.arg(&self.server.ca);
        command.args(["--header", "content-type: application/json"]);
        Some(command)
    }

    /// Runs it to its end, which must be a good one: what it printed.
    pub fn run(&self, command: &mut Command) -> String {
        let (pid, said) = run(command);
        self.pids.borrow_mut().push(pid);
        said
    }

    /// Demands that each exchange of the truth log, of which there must be so many at least, was seen as it was.
    pub fn compare(&self, what: &str, capture: Capture, at_least: usize) {
        // Other tests may run the same program meanwhile.
        let captured = match self.pids.borrow().as_slice() {
            [pid] if !self.is_library => capture.stop_of(*pid),
            _ => capture.stop(),
        };
        captured.assert_whole();
        let truth = self.server.truth().unwrap();
        assert!(
            truth.len() >= at_least,
            "{what}: only {} exchanges",
            truth.len()
        );
        let complaints = compare::complaints(&truth, &captured.lines);
        eprintln!(
            "{what}: {} exchanges, {} complaints",
            truth.len(),
            complaints.len()
        );
        assert!(complaints.is_empty(), "{what}:\n{}", complaints.join("\n"));
    }
}

/// A command with a home in this folder and no other environment, which trusts this certificate as far as variables can say
/// it.
pub fn command(program: &Path, dir: &Path, ca: &Path) -> Command {
    let home = dir.join("home");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(program);
    command
        .current_dir(&home)
        .env_clear()
        .env("HOME", &home)
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/bash")
        .env("TMPDIR", dir);
    for name in [
        "AWS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
    ] {
        command.env(name, ca);
    }
    command
}

/// Runs it to its end, which must be a good one: its number and what it printed.
pub fn run(command: &mut Command) -> (u64, String) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = u64::from(child.id());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{command:?}: {}: {said}{complaint}",
        out.status
    );
    (pid, said)
}

/// From here on, this thread and what it starts have a loopback device and nothing else.
pub fn leave_network() {
    // SAFETY: takes no memory; changes this thread alone.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(left, 0, "{}", std::io::Error::last_os_error());
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: an `ifreq` of zeros is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the socket is open, and the kernel reads one `ifreq`.
    let raised = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(raised, 0, "{}", std::io::Error::last_os_error());
}

/// The folder of the SDKs for this language (`langchain`: that and what it needs), as `scripts/fetch-clients` made it from the pins of today.
pub fn sdks(language: &str) -> Option<PathBuf> {
    let folder = sample_cache()?.join(".clients").join(language);
    let pins = match language {
        "langchain" => "langchain.txt",
        "python" => "requirements.txt",
        _ => "package-lock.json",
    };
    let wanted = std::fs::read(driver(pins)).unwrap();
    if std::fs::read(folder.join(".pins")).is_ok_and(|have| have == wanted) {
        return Some(folder);
    }
    skip(&format!("{language} SDKs (scripts/fetch-clients)"))
}

/// A file of this repository.
pub fn repository_file(name: &str) -> PathBuf {
    repository().join(name)
}

/// A file of `testbins/clients`.
pub fn driver(name: &str) -> PathBuf {
    repository().join("testbins/clients").join(name)
}
