//! Whether two open files are the same code for the kernel, whatever mount they are seen through.
//!
//! A uprobe belongs to the inode that holds the pages (`d_real_inode`, kernel/trace/bpf_trace.c): on overlayfs that
//! is the one in a layer below, which all containers of one image share. Probes that are placed through two mounts
//! fire twice for each call. Measured on Linux 6.18 with ext4 below and both ext4 and tmpfs above:
//!
//! | file seen as                          | layers on one file system      | on two                     |
//! |---------------------------------------|--------------------------------|----------------------------|
//! | `stat` of the path, /proc/PID/exe, /proc/PID/root/…, /proc/PID/map_files/… | device of the mount, inode of the layer | a device for each layer of each mount, inode of the layer |
//! | /proc/PID/maps                        | the same                       | device of the mount, inode of the layer |
//! | size, mtime and ctime                 | those of the layer             | those of the layer         |
//! | bind mounts                           | as what is bound               | as what is bound           |
//!
//! In the kernel, `mm->exe_file` leads to the mount's inode (another one after each mount, so for each start of a
//! container), `vma->vm_file` to the layer's.
//!
//! A file that is changed is copied up, and keeps its inode number but not its ctime. So the device tells
//! nothing across overlay mounts, and all else together does. On btrfs it is the other way round: snapshots have
//! the same numbers and times for inodes of their own, and only the device of `stat` differs (maps shows another
//! one, the same for all snapshots): other devices are the same file only where one of them is an overlay.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

/// With `xino=on`, overlayfs puts the layer's number into the upper bits.
const LAYER_INODE: u64 = 0xffff_ffff;

/// What a file keeps through all mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Traits {
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Where a file was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mount {
    dev: u64,
    is_overlay: bool,
}

/// A file as probes know it.
#[derive(Clone, Copy, Debug)]
pub struct CodeInode {
    traits: Traits,
    mount: Mount,
}

impl CodeInode {
    /// Of an open file, which may be a path alone (`O_PATH`).
    ///
    /// # Errors
    /// `fstat` failed.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            traits: Traits::of(&metadata),
            mount: Mount::of(file, &metadata),
        })
    }

    /// Whether a probe in the one is a probe in the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.traits == other.traits && self.mount.may_share(other.mount)
    }

    /// Whether it may be the same, without opening the other one: no is certain.
    pub(super) fn may_be(&self, other: &Metadata) -> bool {
        self.traits == Traits::of(other)
    }

    /// The device that `stat` tells.
    pub(super) fn dev(&self) -> u64 {
        self.mount.dev
    }
}

impl Traits {
    fn of(file: &Metadata) -> Self {
        Self {
            ino: file.ino() & LAYER_INODE,
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl Mount {
    fn of(file: &File, metadata: &Metadata) -> Self {
        let is_overlay =
            fstatfs(file).is_ok_and(|fs| fs.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
        Self {
            dev: metadata.dev(),
            is_overlay,
        }
    }

    fn may_share(self, other: Self) -> bool {
        self.dev == other.dev || self.is_overlay || other.is_overlay
    }
}

/// Files with a number each, whatever mount they are seen through.
#[derive(Debug, Default)]
pub struct CodeInodes(HashMap<Traits, Vec<(Mount, usize)>>);

impl CodeInodes {
    /// Its number, if it is known.
    pub fn find(&self, file: &CodeInode) -> Option<usize> {
        let mounts = self.0.get(&file.traits)?;
        let same = mounts.iter().find(|(mount, _)| mount.may_share(file.mount));
        same.map(|(_, number)| *number)
    }

    /// Gives it a number. Another mount of the same file, too, is one that others may share.
    pub fn insert(&mut self, file: &CodeInode, number: usize) {
        let mounts = self.0.entry(file.traits).or_default();
        if !mounts.iter().any(|(mount, _)| *mount == file.mount) {
            mounts.push((file.mount, number));
        }
    }

    /// Forgets the file with this number.
    pub fn remove(&mut self, number: usize) {
        self.remove_all(&HashSet::from([number]));
    }

    /// Forgets the files with these numbers.
    pub fn remove_all(&mut self, numbers: &HashSet<usize>) {
        self.0.retain(|_, mounts| {
            mounts.retain(|(_, known)| !numbers.contains(known));
            !mounts.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(path: &std::path::Path) -> CodeInode {
        CodeInode::of(&File::open(path).unwrap()).unwrap()
    }

    /// A hard link is the same code, a copy is not, and neither is what a file was before it changed.
    #[test]
    fn copies_are_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        fs::write(path("a"), "a").unwrap();
        fs::hard_link(path("a"), path("link")).unwrap();
        fs::copy(path("a"), path("copy")).unwrap();
        let before = of(&path("a"));
        assert!(before.is_same(&of(&path("link"))));
        assert!(!before.is_same(&of(&path("copy"))));
        let mut known = CodeInodes::default();
        known.insert(&before, 1);
        assert_eq!(known.find(&of(&path("copy"))), None);
        assert_eq!(known.find(&of(&path("link"))), Some(1));
        known.remove(1);
        assert_eq!(known.find(&before), None);
        fs::write(path("a"), "other").unwrap();
        assert!(!before.is_same(&of(&path("a"))));
    }

    /// Two snapshots would count as one file, or a container's layer as two.
    #[test]
    fn devices_count_outside_of_overlays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "a").unwrap();
        let file = of(&dir.path().join("a"));
        let elsewhere = |is_overlay| CodeInode {
            mount: Mount {
                dev: file.mount.dev + 1,
                is_overlay,
            },
            ..file
        };
        assert!(!file.mount.is_overlay, "the test is on an overlay itself");
        assert!(!file.is_same(&elsewhere(false)));
        assert!(file.is_same(&elsewhere(true)) && elsewhere(true).is_same(&file));
        let mut known = CodeInodes::default();
        known.insert(&file, 1);
        assert_eq!(known.find(&elsewhere(false)), None);
        assert_eq!(known.find(&elsewhere(true)), Some(1));
    }
}
