//! Where cgroups are mounted, and which cgroup a path means. Version 2 only: the kernel side goes by its ids.

use std::path::{Component, Path, PathBuf};

use procfs::process::{MountInfo, MountInfos};

use super::processes;
use crate::error::{Error, ErrorKind, Result};

/// Where systemd puts it, alone or beside version 1; which of them, people mix up.
const USUAL: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Mounted hierarchies.
#[derive(Debug)]
pub struct Mounts {
    /// Of version 2: where it is, and which cgroup that place shows.
    unified: Option<(PathBuf, PathBuf)>,
    /// Of version 1: where, and for which controllers.
    old: Vec<(PathBuf, String)>,
}

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// As /proc/PID/cgroup tells it.
    pub cgroup: PathBuf,
    /// Below which it was looked for.
    pub mount: PathBuf,
    /// There is such a cgroup.
    pub is_there: bool,
}

impl Mounts {
    /// Those that we see.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn here() -> Result<Self> {
        let mounts: MountInfos = processes::read("/proc/self/mountinfo")?;
        Ok(Self::of(&mounts.0))
    }

    /// Where the whole tree of version 2 is to be seen, if it is.
    pub fn whole(&self) -> Option<PathBuf> {
        let (mount, shows) = self.unified.as_ref()?;
        (shows == Path::new("/")).then(|| mount.clone())
    }

    fn of(mounts: &[MountInfo]) -> Self {
        let of_type =
            |wanted: &'static str| mounts.iter().filter(move |mount| mount.fs_type == wanted);
        let controllers = |mount: &MountInfo| {
            // Mount options have the names of the controllers, and of nothing else that is a directory's.
            let last = mount.mount_point.file_name().unwrap_or_default();
            last.to_string_lossy().into_owned()
        };
        Self {
            unified: of_type("cgroup2")
                .map(|mount| (mount.mount_point.clone(), PathBuf::from(&mount.root)))
                .next(),
            old: of_type("cgroup")
                .map(|mount| (mount.mount_point.clone(), controllers(mount)))
                .collect(),
        }
    }

    /// The cgroup that is meant with a path in the mounted tree, or below its mount point.
    ///
    /// # Errors
    /// It is of version 1, there is no version 2 here, or it leads upwards.
    pub fn find(&self, path: &Path) -> Result<Cgroup> {
        let shown = path.display();
        let usage = |why: String| {
            Err(Error::new(
                ErrorKind::Usage,
                format!("cgroup {shown}: {why}"),
            ))
        };
        let inner = self.old.iter().find(|(mount, _)| path.starts_with(mount));
        if let Some((mount, name)) = inner {
            let mount = mount.display();
            return usage(format!(
                "{mount} is a hierarchy of version 1 ({name}); only version 2 is understood"
            ));
        }
        let Some((mount, root)) = &self.unified else {
            return usage("no cgroup2 is mounted here (/proc/self/mountinfo)".into());
        };
        if path.components().any(|part| part == Component::ParentDir) {
            return usage("it has .. in it".into());
        }
        let tops = std::iter::once(mount.as_path()).chain(USUAL.iter().map(Path::new));
        let tops = tops.chain(std::iter::once(Path::new("/")));
        let below = tops.filter_map(|top| path.strip_prefix(top).ok());
        let below = below.map(Path::to_owned).next();
        let below = below.unwrap_or_else(|| path.to_owned());
        Ok(Cgroup {
            cgroup: trimmed(&root.join(&below)),
            is_there: mount.join(&below).join("cgroup.procs").exists(),
            mount: mount.clone(),
        })
    }
}

/// Without a slash at the end.
fn trimmed(path: &Path) -> PathBuf {
    path.components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All the ways in which people write a cgroup lead to what /proc/PID/cgroup says; version 1 is refused by name.
    #[test]
    fn paths_are_understood() {
        let mounts = |unified: &str, root: &str| Mounts {
            unified: Some((unified.into(), root.into())),
            old: vec![("/sys/fs/cgroup/memory".into(), "memory".into())],
        };
        let found = |mounts: &Mounts, path: &str| mounts.find(Path::new(path)).unwrap().cgroup;
        let hybrid = mounts("/sys/fs/cgroup/unified", "/");
        let alone = mounts("/sys/fs/cgroup", "/");
        for path in [
            "/sys/fs/cgroup/unified/a/b/",
            "/sys/fs/cgroup/a/b",
            "/a/b",
            "a/b",
        ] {
            assert_eq!(found(&hybrid, path), Path::new("/a/b"), "{path}");
            assert_eq!(
                found(&alone, path),
                Path::new(match path {
                    "/sys/fs/cgroup/unified/a/b/" => "/unified/a/b",
                    _ => "/a/b",
                })
            );
        }
        assert_eq!(found(&alone, "/sys/fs/cgroup"), Path::new("/"));
        let inside = mounts("/sys/fs/cgroup", "/docker/0123");
        assert_eq!(found(&inside, "x"), Path::new("/docker/0123/x"));
        let refused = hybrid
            .find(Path::new("/sys/fs/cgroup/memory/x"))
            .unwrap_err();
        assert!(
            refused.to_string().contains("version 1 (memory)"),
            "{refused}"
        );
        assert!(hybrid.find(Path::new("../x")).is_err());
        let nothing = Mounts {
            unified: None,
            old: Vec::new(),
        };
        assert!(nothing.find(Path::new("x")).is_err());
    }
}
