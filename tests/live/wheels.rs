//! Python packages whose TLS library is inside of their own shared object, stripped.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program;
use crate::support::{sample_cache, skip};

/// With all that they import, so that nothing depends on what is newest. Three of them are samples.
const PACKAGES: [&str; 8] = [
    "certifi==2026.10.18",
    "cffi==2.1.1",
    "cryptography==50.0.2",
    "curl-cffi==0.17.0",
    "grpcio==1.85.1",
    "pycparser==3.12",
    "pyopenssl==26.4.0",
    "typing-extensions==4.16.0",
];

/// Package and start of the name of the shared objects with TLS.
const LIBRARIES: [(&str, &str); 3] = [
    ("cryptography/hazmat/bindings", "_rust."),
    ("curl_cffi", "_wrapper."),
    ("grpc/_cython", "cygrpc."),
];

/// The folder for PYTHONPATH, filled by pip the first time.
pub fn installed() -> Option<PathBuf> {
    let python = program("python3")?;
    let cache = sample_cache()?;
    std::fs::create_dir_all(&cache).unwrap();
    // Tests run in several processes: one fetches, the others wait.
    let lock = File::create(cache.join(".wheels.lock")).unwrap();
    // SAFETY: the descriptor is open as long as `lock`, which is as long as this function runs.
    assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0);
    let wheels = cache.join("wheels");
    let list = wheels.join("packages.txt");
    if std::fs::read_to_string(&list).is_ok_and(|have| have == PACKAGES.join("\n")) {
        return Some(wheels);
    }
    let _ = std::fs::remove_dir_all(&wheels);
    let out = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .arg("--target")
        .arg(&wheels)
        .args(PACKAGES)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        return skip(&format!("Python packages (pip install): {said}"));
    }
    let strip = program("strip")?;
    for (package, start) in LIBRARIES {
        let library = library(&wheels, package, start);
        assert!(
            Command::new(&strip)
                .arg(library)
                .status()
                .unwrap()
                .success()
        );
    }
    std::fs::write(list, PACKAGES.join("\n")).unwrap();
    Some(wheels)
}

/// The one shared object of `package` whose name starts with `start`.
pub fn library(wheels: &Path, package: &str, start: &str) -> PathBuf {
    let entries = std::fs::read_dir(wheels.join(package)).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let found = paths.find(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(start) && name.ends_with(".so")
    });
    found.unwrap_or_else(|| panic!("{package} has no {start}*.so"))
}
