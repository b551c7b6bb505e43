//! What engines write into the annotations of an OCI bundle's `config.json` (OCI runtime specification 1.0), or into
//! labels of the same names. Sources: containerd v1.7 pkg/cri/annotations/annotations.go, nerdctl v1.7
//! pkg/labels/labels.go, CRI-O v1.30 pkg/annotations (its own) and kubelet v1.30 pkg/kubelet/types/labels.go,
//! podman v4.3 (`io.container.manager`).

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::state::StateFiles;
use crate::error::Result;
use crate::select::Container;

const NAMES: &[&str] = &[
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
    "nerdctl/name",
];
const PODS: &[&str] = &["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const NAMESPACES: &[&str] = &[
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.namespace",
];
const IMAGES: &[&str] = &[
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.Image",
];

/// Containerd's own namespace for what docker starts.
const DOCKERS_NAMESPACE: &str = "moby";

#[derive(Deserialize)]
struct Config {
    annotations: Option<HashMap<String, String>>,
}

/// Of one container of containerd: `TASKS/NAMESPACE/ID/config.json`, there while it runs.
pub(super) fn of_task(files: &StateFiles, dir: &Path, id: &str) -> Result<Option<Container>> {
    let Ok(namespaces) = files.root.read_dir(dir) else {
        return Ok(None);
    };
    for namespace in namespaces.flatten() {
        let name = namespace.file_name();
        let path = dir.join(&name).join(id).join("config.json");
        if let Some(mut container) = of_bundle(files, &path, id)? {
            let is_dockers = name == DOCKERS_NAMESPACE;
            let engine = if is_dockers { "docker" } else { "containerd" };
            container.engine = Some(engine.into());
            return Ok(Some(container));
        }
    }
    Ok(None)
}

/// Of one `config.json`.
pub(super) fn of_bundle(files: &StateFiles, path: &Path, id: &str) -> Result<Option<Container>> {
    let known = files.read(path, parse)?;
    let known = known.and_then(|known| known.first().cloned());
    Ok(known.map(|known| Container {
        id: id.to_owned(),
        ..known
    }))
}

fn parse(bytes: &[u8]) -> Result<Vec<Container>, serde_json::Error> {
    let config: Config = serde_json::from_slice(bytes)?;
    let texts = config.annotations.unwrap_or_default();
    let engine = match texts.get("io.container.manager").map(String::as_str) {
        Some("libpod") => Some("podman".into()),
        Some("cri-o") => Some("cri-o".into()),
        _ => None,
    };
    Ok(vec![Container {
        engine,
        id: String::new(),
        name: name(&texts),
        image: first(&texts, IMAGES),
        pod: pod(&texts),
        namespace: namespace(&texts),
    }])
}

pub(super) fn name(texts: &HashMap<String, String>) -> Option<String> {
    first(texts, NAMES)
}

pub(super) fn pod(texts: &HashMap<String, String>) -> Option<String> {
    first(texts, PODS)
}

pub(super) fn namespace(texts: &HashMap<String, String>) -> Option<String> {
    first(texts, NAMESPACES)
}

fn first(texts: &HashMap<String, String>, keys: &[&str]) -> Option<String> {
    let texts = keys.iter().filter_map(|key| texts.get(*key));
    texts.filter_map(|text| filled(text)).next()
}

/// Nothing for an empty text.
pub(super) fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
