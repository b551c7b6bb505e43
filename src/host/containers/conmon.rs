//! podman's and CRI-O's supervisors, one for each running container: their command lines name its id, its name and
//! its bundle, wherever the storage is (`podman --root DIR`). As conmon 2.1.6 is started by podman 4.3.1:
//! `conmon … -c ID -u ID -r RUNTIME -b STORAGE/overlay-containers/ID/userdata … -n NAME …`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::cgroup;
use super::processes::Processes;
use super::state::StateFiles;
use super::stores::Store;

const NAME: &str = "conmon";
/// Between a process and the first one of its container, and from there to the supervisor.
const ANCESTORS_MAX: usize = 64;

/// What a supervisor says about its container.
pub(super) struct Supervised {
    pub(super) id: String,
    pub(super) name: Option<String>,
    /// Where more is said.
    pub(super) store: Option<Store>,
}

/// Of the container that a process is in.
pub(super) fn above(files: &StateFiles, processes: &Processes, pid: i32) -> Option<Supervised> {
    let parents = std::iter::successors(Some(pid), |pid| processes.parent(*pid));
    let mut parents = parents.take(ANCESTORS_MAX).take_while(|pid| *pid > 0);
    parents.find_map(|pid| of(files, processes, pid))
}

/// Of all that run.
pub(super) fn all(files: &StateFiles, processes: &Processes) -> Vec<Supervised> {
    let pids = processes.pids().into_iter();
    pids.filter_map(|pid| of(files, processes, pid)).collect()
}

fn of(files: &StateFiles, processes: &Processes, pid: i32) -> Option<Supervised> {
    if processes.comm(pid)? != NAME {
        return None;
    }
    let arguments = processes.arguments(pid);
    let after = |option: &str| {
        let pairs = arguments.iter().zip(arguments.iter().skip(1));
        let mut values = pairs.filter(|(key, _)| key.as_os_str() == option);
        values.next().map(|(_, value)| value)
    };
    let text = |option| after(option).and_then(|value| value.to_str());
    let id = text("-c").filter(|id| cgroup::is_id(id))?;
    let bundle = after("-b").filter(|bundle| is_owned(files, bundle, processes.user(pid)));
    Some(Supervised {
        id: id.to_owned(),
        name: text("-n").map(str::to_owned),
        store: bundle.and_then(|bundle| Store::of_bundle(bundle)),
    })
}

/// Anybody may call a program conmon: it shall not make us read what is not its user's.
fn is_owned(files: &StateFiles, bundle: &Path, user: Option<u32>) -> bool {
    let dir = files.root.open(bundle).and_then(|dir| dir.metadata());
    dir.is_ok_and(|dir| Some(dir.uid()) == user)
}
