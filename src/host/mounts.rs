//! File systems that programs can be run from, as a process sees them mounted.

use std::path::PathBuf;

use procfs::process::Process;

/// Made by the kernel out of nothing: no programs there.
const PSEUDO: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Another machine or a program has to answer before a file can be opened, and may not.
const REMOTE: &[&str] = &[
    "9p", "afs", "ceph", "cifs", "coda", "fuse", "fuseblk", "lustre", "nfs", "nfs4", "smb3",
];

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Of this mount, until it is gone.
    pub id: i32,
    /// What is mounted.
    pub kind: String,
    /// Where we reach it.
    pub path: PathBuf,
    /// Its files come from elsewhere.
    pub is_remote: bool,
}

/// Mounted directories with programs that this process could run. Empty if it has ended.
pub fn with_programs(pid: u32) -> Vec<Mount> {
    let process = i32::try_from(pid).ok().map(Process::new);
    let Some(Ok(mounts)) = process.map(|process| process.and_then(|process| process.mountinfo()))
    else {
        return Vec::new();
    };
    let own = pid == std::process::id();
    let usable = mounts.0.into_iter().filter(|mount| {
        !PSEUDO.contains(&mount.fs_type.as_str()) && !mount.mount_options.contains_key("noexec")
    });
    let reached = usable.map(|mount| Mount {
        id: mount.mnt_id,
        path: match own {
            true => mount.mount_point,
            // The kernel opens it as that process would: symbolic links are resolved in its mount point already.
            false => {
                let inside = mount.mount_point.strip_prefix("/");
                let inside = inside.unwrap_or(&mount.mount_point);
                PathBuf::from(format!("/proc/{pid}/root")).join(inside)
            }
        },
        is_remote: REMOTE.contains(&mount.fs_type.as_str()) || mount.fs_type.starts_with("fuse."),
        kind: mount.fs_type,
    });
    // What is bound to a single file lies in a file system that is mounted elsewhere, too.
    reached
        .filter(|mount| mount.is_remote || mount.path.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs would be run from where we do not look, or the kernel's own file systems would count.
    #[test]
    fn our_own_root_counts_and_proc_does_not() {
        let mounts = with_programs(std::process::id());
        let paths: Vec<_> = mounts.iter().map(|mount| mount.path.as_path()).collect();
        assert!(paths.contains(&"/".as_ref()), "{paths:?}");
        assert!(!paths.contains(&"/proc".as_ref()), "{paths:?}");
    }
}
