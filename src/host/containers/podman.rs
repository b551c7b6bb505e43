//! The storage that podman and CRI-O share (containers/storage v1.43, containers.go): `containers.json` names all
//! containers, `volatile-containers.json` those that do not outlive a reboot, and `ID/userdata/config.json` is
//! the bundle of each. As podman 4.3.1 writes them: the bundle has no name, and the list has no engine.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::oci;
use super::state::{Known, StateFiles};
use crate::error::Result;
use crate::host::roots::Root;
use crate::select::Container;

/// For each storage driver its own.
pub(super) const DRIVERS: &[&str] = &[
    "overlay-containers",
    "vfs-containers",
    "btrfs-containers",
    "zfs-containers",
];
const LISTS: &[&str] = &["containers.json", "volatile-containers.json"];

#[derive(Deserialize)]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
    /// JSON inside of JSON.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "image-name", default)]
    image: String,
    /// CRI-O's.
    #[serde(rename = "pod-name", default)]
    pod: String,
}

/// What is known about one container.
pub(super) fn of_id(files: &StateFiles, dir: &Path, id: &str) -> Result<Option<Container>> {
    let listed = listed(files, dir)?;
    let listed = listed
        .iter()
        .flat_map(|known| known.iter())
        .find(|known| known.id == id);
    let bundle = dir.join(id).join("userdata/config.json");
    let bundle = oci::of_bundle(files, &bundle, id)?;
    Ok(match (bundle, listed) {
        // CRI-O lists names that nobody types: k8s_NAME_POD_NAMESPACE_UID_0.
        (Some(bundle), Some(listed)) => Some(Container {
            name: bundle.name.or_else(|| listed.name.clone()),
            image: bundle.image.or_else(|| listed.image.clone()),
            ..bundle
        }),
        (Some(bundle), None) => Some(bundle),
        (None, listed) => listed.cloned(),
    })
}

/// Those in the lists; a container that is being made may have its bundle first.
pub(super) fn ids(files: &StateFiles, dir: &Path) -> Result<Vec<String>> {
    let listed = listed(files, dir)?;
    let known = listed.iter().flat_map(|known| known.iter());
    Ok(known.map(|known| known.id.clone()).collect())
}

fn listed(files: &StateFiles, dir: &Path) -> Result<Vec<Known>> {
    let lists = LISTS.iter().map(|list| files.read(&dir.join(list), parse));
    lists.filter_map(Result::transpose).collect()
}

fn parse(bytes: &[u8]) -> Result<Vec<Container>, serde_json::Error> {
    let all: Vec<Listed> = serde_json::from_slice(bytes)?;
    let container = |listed: Listed| {
        let metadata: Metadata = serde_json::from_str(&listed.metadata).unwrap_or_default();
        let engine = if metadata.pod.is_empty() {
            "podman"
        } else {
            "cri-o"
        };
        Container {
            engine: Some(engine.into()),
            name: listed.names.and_then(|names| names.into_iter().next()),
            image: oci::filled(&metadata.image),
            id: listed.id,
            ..Container::default()
        }
    };
    Ok(all.into_iter().map(container).collect())
}

/// Where the storage is told to be (containers-storage.conf(5)): `graphroot = "DIR"` and `runroot`. Of TOML no more
/// is read, as nothing else is written there in practice.
pub(super) fn configured(root: &Root) -> Vec<PathBuf> {
    let file = root.open("/etc/containers/storage.conf".as_ref()).ok();
    let text = file.and_then(|file| super::state::bounded(file, super::CONF_BYTES_MAX).ok());
    let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
    let dir = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let value = value.split('#').next()?.trim().trim_matches('"');
        (matches!(key.trim(), "graphroot" | "runroot") && value.starts_with('/'))
            .then(|| value.into())
    };
    text.lines().filter_map(dir).collect()
}
