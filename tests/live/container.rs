//! Real containers: podman with runc, on a Debian system of their own with node, Python and curl inside. The system is
//! built once into `~/.cache/agentsight/containers` (debootstrap, 230 MB); each test gets a tree of hard links to
//! it in which the programs it observes are files of its own, since probes go by inode.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::capture::wait_for;
use crate::{is_root, program, skip};

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
const PACKAGES: &str = "curl,openssl,python3";
/// Nothing runs from there, and half of the space is theirs.
const UNUSED: &[&str] = &[
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
];
/// What all programs with TLS in a library share; on Debian, next to each other.
const LIBRARIES: &[&str] = &["libssl.so.3", "libcrypto.so.3"];
const LIBRARY_DIR: &str = "usr/lib/x86_64-linux-gnu";

/// A tree that containers have as `/`.
pub struct System {
    dir: tempfile::TempDir,
}

impl System {
    /// With copies of these programs that no other test runs.
    pub fn new(programs: &[&str]) -> Option<Self> {
        if !is_root() {
            return None;
        }
        for tool in ["podman", "runc", "debootstrap"] {
            program(tool)?;
        }
        let (cache, base) = base()?;
        // Hard links need the same file system.
        let dir = tempfile::tempdir_in(cache).unwrap();
        let system = Self { dir };
        run(Command::new("cp").arg("-al").arg(base).arg(system.path()));
        let libraries = LIBRARIES.iter().map(|name| format!("{LIBRARY_DIR}/{name}"));
        let programs = programs.iter().map(|program| format!("usr/bin/{program}"));
        for file in libraries.chain(programs) {
            let own = system.path().join(file).canonicalize().unwrap();
            let copy = own.with_extension("copy");
            fs::copy(&own, &copy).unwrap();
            fs::rename(copy, own).unwrap();
        }
        Some(system)
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// One more program.
    pub fn add(&self, program: &Path) {
        let name = program.file_name().unwrap();
        fs::copy(program, self.path().join("usr/bin").join(name)).unwrap();
    }

    /// A program's path here for us, symbolic links followed.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.path().join("usr/bin").join(name);
        path.canonicalize().unwrap()
    }
}

/// Builds the system unless it is there, or skips by the name of what is missing.
fn base() -> Option<(PathBuf, PathBuf)> {
    let node = program("node")?;
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let Some(cache) = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache"))) else {
        skip("HOME (for the system of containers)");
        return None;
    };
    let cache = cache.join("agentsight/containers");
    fs::create_dir_all(&cache).unwrap();
    let mut recipe = DefaultHasher::new();
    (SUITE, MIRROR, PACKAGES, UNUSED, &node).hash(&mut recipe);
    fs::metadata(&node).unwrap().len().hash(&mut recipe);
    let base = cache.join(format!("{SUITE}-{:016x}", recipe.finish()));
    // Tests run in processes of their own: one of them builds.
    let lock = File::create(cache.join("lock")).unwrap();
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0);
    if !base.join("root").is_dir() && !build(&cache, &node, &base) {
        skip(&format!("a Debian system (debootstrap {SUITE} {MIRROR})"));
        return None;
    }
    Some((cache, base.join("root")))
}

fn build(cache: &Path, node: &Path, base: &Path) -> bool {
    let dir = tempfile::tempdir_in(cache).unwrap();
    let root = dir.path().join("root");
    let built = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE])
        .arg(&root)
        .arg(MIRROR)
        .output()
        .unwrap();
    if !built.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&built.stdout));
        return false;
    }
    for unused in UNUSED {
        fs::remove_dir_all(root.join(unused)).unwrap();
    }
    fs::copy(node, root.join("usr/bin/node")).unwrap();
    for library in libraries(&run(Command::new("ldd").arg(node))) {
        let inside = root.join(library.strip_prefix("/").unwrap());
        if !inside.exists() {
            fs::create_dir_all(inside.parent().unwrap()).unwrap();
            fs::copy(library, inside).unwrap();
        }
    }
    fs::create_dir_all(base).unwrap();
    fs::rename(&root, base.join("root")).unwrap();
    true
}

/// Paths that ldd says.
pub fn libraries(said: &str) -> Vec<PathBuf> {
    let paths = said
        .lines()
        .filter_map(|line| line.split_once("=> ")?.1.split(' ').next());
    paths.map(PathBuf::from).collect()
}

/// A container, which ends with its test.
pub struct Container {
    pub name: String,
    podman: Vec<String>,
}

impl Container {
    /// Starts one. `options` are podman's, `root` is a directory, or one with `:O` for an overlay over it.
    pub fn run(root: &str, options: &[&str], command: &[&str]) -> Self {
        Self::run_by(&[], root, options, command)
    }

    /// With options for podman itself.
    pub fn run_by(podman: &[&str], root: &str, options: &[&str], command: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let podman = [&["podman", "--runtime", "runc"], podman].concat();
        let container = Self {
            name: format!("agentsight-{}-{number}", std::process::id()),
            podman: podman.into_iter().map(str::to_owned).collect(),
        };
        let name = container.name.as_str();
        let limits = [
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1000:1000",
        ];
        let start = ["run", "--detach", "--name", name];
        container.podman(&[&start, &limits, options, &["--rootfs", root], command].concat());
        container
    }

    /// Runs podman on it: what it printed.
    pub fn podman(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.podman[0]);
        command.args(&self.podman[1..]);
        command
    }

    /// What `podman inspect` says.
    pub fn inspect(&self, field: &str) -> String {
        let format = format!("{{{{{field}}}}}");
        let said = self.podman(&["inspect", "--format", &format, &self.name]);
        said.trim().to_owned()
    }

    /// Its first process, as we see it.
    pub fn pid(&self) -> i32 {
        self.inspect(".State.Pid").parse().unwrap()
    }

    /// Runs one more command inside: what it printed.
    pub fn exec(&self, command: &[&str]) -> String {
        self.podman(&[&["exec", self.name.as_str()], command].concat())
    }

    /// Waits until it has printed this so many times.
    pub fn wait_for(&self, what: &str, times: usize) {
        wait_for(&format!("{times} times {what} in {}", self.name), || {
            self.podman(&["logs", &self.name]).matches(what).count() >= times
        });
    }

    pub fn stop(&self) {
        self.podman(&["stop", "--time", "0", &self.name]);
    }

    pub fn start(&self) {
        self.podman(&["start", &self.name]);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self
            .command()
            .args(["rm", "--force", "--time", "0", &self.name])
            .output();
    }
}

fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {said}");
    String::from_utf8(stdout).unwrap()
}
