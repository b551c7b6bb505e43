//! Docker's own files: `CONTAINERS/ID/config.v2.json`, there from `docker create` to `docker rm`.
//! Format: moby v24.0, container/container.go, `type Container` (and its `Config`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::oci;
use super::state::{Known, StateFiles};
use crate::error::Result;
use crate::select::Container;

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Config")]
    config: Option<Made>,
}

/// As the user asked for it.
#[derive(Default, Deserialize)]
struct Made {
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "Labels")]
    labels: Option<HashMap<String, String>>,
}

/// What is known about one container.
pub(super) fn of_id(files: &StateFiles, dir: &Path, id: &str) -> Result<Option<Container>> {
    let known = files.read(&dir.join(id).join("config.v2.json"), parse)?;
    Ok(known.and_then(|known: Known| known.first().filter(|one| one.id == id).cloned()))
}

fn parse(bytes: &[u8]) -> Result<Vec<Container>, serde_json::Error> {
    let config: Config = serde_json::from_slice(bytes)?;
    let made = config.config.unwrap_or_default();
    let labels = made.labels.unwrap_or_default();
    let name = config.name.trim_start_matches('/');
    Ok(vec![Container {
        engine: Some("docker".into()),
        id: config.id,
        // Kubernetes gives names that nobody types: k8s_NAME_POD_NAMESPACE_UID_0.
        name: oci::name(&labels).or_else(|| oci::filled(name)),
        image: oci::filled(&made.image),
        pod: oci::pod(&labels),
        namespace: oci::namespace(&labels),
    }])
}

/// Where the daemon was told to keep its files, in /etc/docker/daemon.json.
pub(super) fn configured(files: &StateFiles) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Daemon {
        #[serde(rename = "data-root", alias = "graph")]
        data_root: PathBuf,
    }
    let file = files.root.open("/etc/docker/daemon.json".as_ref()).ok()?;
    let bytes = super::state::bounded(file, super::CONF_BYTES_MAX).ok()?;
    let daemon: Daemon = serde_json::from_slice(&bytes).ok()?;
    Some(daemon.data_root.join("containers"))
}
