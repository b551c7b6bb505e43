//! Where engines keep their files, and what they tell there. No daemon is asked: its socket may be absent, and
//! asking leaves traces.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::state::{StateFiles, is_absent};
use super::{cgroup, docker, oci, podman};
use crate::error::{Context, Result};
use crate::select::Container;

/// Users whose own storage is looked for.
const USERS_MAX: usize = 256;
/// Entries of a directory.
const ENTRIES_MAX: usize = 16 << 10;
const PASSWD_BYTES_MAX: u64 = 1 << 20;

/// One directory of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Store {
    pub(super) dir: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `ID/config.v2.json`
    Docker,
    /// `containers.json` and `ID/userdata/config.json`
    Podman,
    /// `NAMESPACE/ID/config.json`
    Tasks,
}

impl Store {
    /// Of a bundle `DIR/ID/userdata`.
    pub(super) fn of_bundle(bundle: &Path) -> Option<Self> {
        (bundle.file_name()? == "userdata").then_some(Self {
            dir: bundle.parent()?.parent()?.to_owned(),
            kind: Kind::Podman,
        })
    }

    /// What is known here about one container; `None` if nothing is.
    ///
    /// # Errors
    /// A file is there and cannot be used.
    pub(super) fn of_id(&self, files: &StateFiles, id: &str) -> Result<Option<Container>> {
        match self.kind {
            Kind::Docker => docker::of_id(files, &self.dir, id),
            Kind::Podman => podman::of_id(files, &self.dir, id),
            Kind::Tasks => oci::of_task(files, &self.dir, id),
        }
    }

    /// All ids; `None` if the directory is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn ids(&self, files: &StateFiles) -> Result<Option<Vec<String>>> {
        let Some(mut ids) = names(files, &self.dir)? else {
            return Ok(None);
        };
        match self.kind {
            Kind::Docker => {}
            Kind::Podman => {
                ids.retain(|id| cgroup::is_id(id));
                ids.extend(podman::ids(files, &self.dir)?);
            }
            Kind::Tasks => {
                let of = |namespace: &String| names(files, &self.dir.join(namespace));
                let of = ids.iter().map(of).collect::<Result<Vec<_>>>()?;
                ids = of.into_iter().flatten().flatten().collect();
            }
        }
        ids.sort();
        ids.dedup();
        Ok(Some(ids))
    }
}

fn names(files: &StateFiles, dir: &Path) -> Result<Option<Vec<String>>> {
    let entries = match files.root.read_dir(dir) {
        Err(error) if is_absent(&error) => return Ok(None),
        entries => entries.context(|| format!("failed to list {}", dir.display()))?,
    };
    let names = entries.flatten().take(ENTRIES_MAX);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    Ok(Some(names.collect()))
}

/// Looked at, and named to users, on every machine.
const ALWAYS: &[(Kind, &str)] = &[
    (Kind::Docker, "/var/lib/docker/containers"),
    (Kind::Tasks, "/run/containerd/io.containerd.runtime.v2.task"),
    (
        Kind::Podman,
        "/var/lib/containers/storage/overlay-containers",
    ),
];

/// Of packages and versions that keep their files elsewhere.
const ELSEWHERE: &[(Kind, &str)] = &[
    (
        Kind::Docker,
        "/var/snap/docker/common/var-lib-docker/containers",
    ),
    (
        Kind::Tasks,
        "/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
    ),
    (
        Kind::Tasks,
        "/run/k3s/containerd/io.containerd.runtime.v2.task",
    ),
    (
        Kind::Tasks,
        "/run/containerd/io.containerd.runtime.v1.linux",
    ),
];

/// All that are worth a look.
pub(super) fn all(files: &StateFiles) -> Vec<Store> {
    let fixed = |(kind, dir): &(Kind, &str)| (*kind, PathBuf::from(dir));
    let mut elsewhere: Vec<_> = ELSEWHERE.iter().map(fixed).collect();
    elsewhere.extend(docker::configured(files).map(|dir| (Kind::Docker, dir)));
    let mut storages = podman::configured(&files.root);
    storages.extend(["/var/lib/containers/storage", "/run/containers/storage"].map(PathBuf::from));
    for home in homes(files) {
        elsewhere.push((Kind::Docker, home.join(".local/share/docker/containers")));
        storages.push(home.join(".local/share/containers/storage"));
    }
    for storage in storages {
        let drivers = podman::DRIVERS.iter().map(|driver| storage.join(driver));
        elsewhere.extend(drivers.map(|dir| (Kind::Podman, dir)));
    }
    elsewhere.retain(|(_, dir)| files.root.read_dir(dir).is_ok());
    let mut stores: Vec<Store> = Vec::new();
    for (kind, dir) in ALWAYS.iter().map(fixed).chain(elsewhere) {
        let store = Store { dir, kind };
        if !stores.contains(&store) {
            stores.push(store);
        }
    }
    stores
}

/// Of all users of the machine.
fn homes(files: &StateFiles) -> Vec<PathBuf> {
    let Ok(file) = files.root.open("/etc/passwd".as_ref()) else {
        return Vec::new();
    };
    let mut text = Vec::new();
    let _ = file.take(PASSWD_BYTES_MAX).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let homes = text.lines().filter_map(|line| line.split(':').nth(5));
    let homes = homes.filter(|home| home.starts_with('/') && home.len() > 1);
    let mut homes: Vec<PathBuf> = homes.take(USERS_MAX).map(PathBuf::from).collect();
    homes.sort();
    homes.dedup();
    homes
}
