//! Which processes a user asks for, as plain data, and whether what is known of a process fits. No /proc here, no
//! kernel: `host` tells what is known, `pipeline` and `discover` ask.
//!
//! As with `pgrep`, all kinds of selectors that are given must fit, and of one kind any one value.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobBuilder};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// What a user asks for. Empty: everybody.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Executables, by where they are: as the processes see them, if a container is asked for too.
    pub binaries: Vec<PathBuf>,
    /// Cgroups (v2), as absolute paths below its mount point; those below them count.
    pub cgroups: Vec<PathBuf>,
    /// Names of processes, as in /proc/PID/comm.
    pub comms: Vec<Pattern>,
    /// Containers: a name, an id, or the beginning of one.
    pub containers: Vec<String>,
    /// Paths of executables.
    pub exes: Vec<Pattern>,
    /// Process ids, as we see them.
    pub pids: Vec<u32>,
    /// User ids.
    pub users: Vec<u32>,
    /// Children of these processes, and theirs, whatever they are.
    pub follow: bool,
}

/// A glob, or a plain name.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    glob: globset::GlobMatcher,
}

impl Pattern {
    /// Of paths: `*` and `?` do not match `/`, `**` does.
    ///
    /// # Errors
    /// It is no glob.
    pub fn new(text: &str) -> Result<Self> {
        Self::build(text, true)
    }

    /// Of names, in which `/` is as good as any character.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn name(text: &str) -> Result<Self> {
        Self::build(text, false)
    }

    fn build(text: &str, is_path: bool) -> Result<Self> {
        let glob: Result<Glob, globset::Error> =
            GlobBuilder::new(text).literal_separator(is_path).build();
        let glob = glob.map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))?;
        Ok(Self {
            text: text.to_owned(),
            glob: glob.compile_matcher(),
        })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether all of `text` fits.
    pub fn matches(&self, text: impl AsRef<Path>) -> bool {
        self.glob.is_match(text)
    }
}

/// Less of an id is no id.
const ID_DIGITS_MIN: usize = 4;

/// In which container a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// `docker`, `containerd`, `cri-o`, `podman`; of an unknown one, nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// In full.
    pub id: String,
    /// As users call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The pod's name in Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's namespace in Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Container {
    /// Whether `wanted` is its name, or its id, or the beginning of that.
    pub fn is_called(&self, wanted: &str) -> bool {
        let is_id = wanted.len() >= ID_DIGITS_MIN && self.id.starts_with(wanted);
        is_id || self.is_named(wanted)
    }

    /// Whether `wanted` is its name, alone or behind its pod's (`POD/NAME`).
    pub fn is_named(&self, wanted: &str) -> bool {
        let Some(name) = self.name.as_deref() else {
            return false;
        };
        let of_pod = wanted.split_once('/');
        name == wanted
            || of_pod.is_some_and(|(pod, of)| self.pod.as_deref() == Some(pod) && of == name)
    }
}

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its cgroup (v2), as an absolute path below the mount point.
    pub cgroup: PathBuf,
    /// Its container, if it is in one.
    pub container: Option<Container>,
}

impl Selection {
    /// Whether a property is asked for: not only everybody, or those with a pid.
    pub fn has_rules(&self) -> bool {
        let are_empty = [
            self.binaries.is_empty(),
            self.cgroups.is_empty(),
            self.comms.is_empty(),
            self.containers.is_empty(),
            self.exes.is_empty(),
            self.users.is_empty(),
        ];
        are_empty.contains(&false)
    }

    /// Whether an executable fits, by its path as its process sees it, the place that is meant included or not.
    pub fn fits_exe(&self, path: &Path) -> bool {
        let named = self.binaries.iter().any(|binary| binary == path);
        let is_free = self.binaries.is_empty() && self.exes.is_empty();
        is_free || named || self.exes.iter().any(|exe| exe.matches(path))
    }

    /// Whether a process's name fits.
    pub fn fits_comm(&self, comm: &str) -> bool {
        self.comms.is_empty() || self.comms.iter().any(|known| known.matches(comm))
    }

    /// Whether the place fits where a process runs.
    pub fn fits_place(&self, place: &Place) -> bool {
        let in_cgroup = |wanted: &PathBuf| place.cgroup.starts_with(wanted);
        let is_container = |wanted: &String| {
            let container = place.container.as_ref();
            container.is_some_and(|container| container.is_called(wanted))
        };
        (self.cgroups.is_empty() || self.cgroups.iter().any(in_cgroup))
            && (self.containers.is_empty() || self.containers.iter().any(is_container))
    }

    /// Whether a user's processes fit.
    pub fn fits_user(&self, uid: u32) -> bool {
        self.users.is_empty() || self.users.contains(&uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds are joined with "and", values of a kind with "or".
    #[test]
    fn all_kinds_any_value() {
        let selection = Selection {
            comms: vec![Pattern::new("node*").unwrap(), Pattern::new("bun").unwrap()],
            users: vec![1000],
            containers: vec!["web".into(), "0123".into()],
            ..Selection::default()
        };
        assert!(selection.fits_comm("bun") && selection.fits_comm("nodejs"));
        assert!(!selection.fits_comm("bunny"));
        assert!(selection.fits_user(1000) && !selection.fits_user(0));
        let container = |name: &str, id: &str| Place {
            cgroup: "/a/b".into(),
            container: Some(Container {
                id: id.into(),
                name: Some(name.into()),
                ..Container::default()
            }),
        };
        assert!(selection.fits_place(&container("web", "ff")));
        assert!(selection.fits_place(&container("other", "0123456789")));
        assert!(!selection.fits_place(&container("webs", "ff")));
        assert!(!selection.fits_place(&Place::default()));
        assert!(selection.fits_exe(Path::new("/bin/sh")));
    }

    /// Containers of one name in many pods could not be told apart.
    #[test]
    fn pods_tell_containers_apart() {
        let container = Container {
            id: "abcdef".into(),
            name: Some("app".into()),
            pod: Some("web-1".into()),
            ..Container::default()
        };
        for (wanted, is_called) in [
            ("app", true),
            ("web-1/app", true),
            ("web-2/app", false),
            ("web-1", false),
            ("abcd", true),
            ("abc", false),
            ("", false),
            ("/", false),
        ] {
            assert_eq!(container.is_called(wanted), is_called, "{wanted}");
        }
        assert!(!Container::default().is_called("") && !Container::default().is_called("/"));
    }

    /// A path's parts are what stars stand for.
    #[test]
    fn globs_stop_at_slashes() {
        let pattern = Pattern::new("/opt/*/node").unwrap();
        assert!(pattern.matches("/opt/x/node"));
        assert!(!pattern.matches("/opt/x/y/node"));
        assert!(
            Pattern::new("/opt/**/node")
                .unwrap()
                .matches("/opt/x/y/node")
        );
        assert!(Pattern::new("[").is_err());
    }
}
