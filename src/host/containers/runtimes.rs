//! Containers by their mount namespace, for those without a cgroup of their own: runtimes keep the first process
//! of each container they run. Formats: runc v1.1 libcontainer/container_linux.go (`BaseState`), `ROOT/ID/state.json`;
//! crun 1.8 src/libcrun/status.c, `ROOT/ID/status`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::processes::Processes;
use super::state::{StateFiles, bounded};

/// Runtimes' own directories.
const ROOTS: &[&str] = &["/run/runc", "/run/crun"];
/// A directory for each namespace of containerd.
const ROOTS_OF_NAMESPACES: &[&str] = &["/run/containerd/runc", "/run/docker/runtime-runc"];

/// runc's has 35 kB.
const STATE_BYTES_MAX: u64 = 4 << 20;
const CONTAINERS_MAX: usize = 4096;

/// The first process of a container.
#[derive(Deserialize)]
struct State {
    #[serde(rename = "init_process_pid", alias = "pid")]
    pid: i32,
    /// In ticks since boot.
    #[serde(rename = "init_process_start", alias = "process-start-time")]
    start: u64,
}

/// The id of the running container that has this mount namespace.
pub(super) fn of_mounts(
    files: &StateFiles,
    processes: &Processes,
    mounts: &Path,
) -> Option<String> {
    let dirs = roots(files).into_iter().flat_map(|root| list(files, &root));
    dirs.take(CONTAINERS_MAX).find_map(|dir| {
        let state = ["state.json", "status"].iter().find_map(|name| {
            let file = files.root.open(&dir.join(name)).ok()?;
            let bytes = bounded(file, STATE_BYTES_MAX).ok()?;
            serde_json::from_slice::<State>(&bytes).ok()
        })?;
        let is_it = processes.mounts(state.pid).as_deref() == Some(mounts)
            && processes.start(state.pid) == Some(state.start);
        is_it.then(|| dir.file_name()?.to_str().map(str::to_owned))?
    })
}

fn roots(files: &StateFiles) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = ROOTS.iter().map(PathBuf::from).collect();
    for root in ROOTS_OF_NAMESPACES {
        roots.extend(list(files, Path::new(root)));
    }
    // Rootless engines: one directory for each user.
    for user in list(files, Path::new("/run/user")) {
        roots.extend(["runc", "crun"].map(|runtime| user.join(runtime)));
    }
    roots
}

fn list(files: &StateFiles, dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = files.root.read_dir(dir) else {
        return Vec::new();
    };
    let entries = entries.flatten().take(CONTAINERS_MAX);
    entries.map(|entry| dir.join(entry.file_name())).collect()
}
