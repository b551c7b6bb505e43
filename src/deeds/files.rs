//! Files: what was opened is remembered by descriptor, so that what is written through it has a path.

use std::collections::HashMap;

use super::deed::{Device, File, FileKind, Inode, What};
use super::path::Path;
use super::{Watched, keep, numbers};
use crate::bytes::{Endian, Reader};
use crate::event::ProcessId;
use crate::event::act::{Act, ActKind};
use crate::event::process::FileId;

/// `include/uapi/asm-generic/fcntl.h`
const FLAGS: [(u64, &str); 9] = [
    (0o100, "create"),
    (0o200, "exclusive"),
    (0o1000, "truncate"),
    (0o2000, "append"),
    (0o4000, "nonblock"),
    (0o10000, "dsync"),
    (0o200_000, "directory"),
    (0o400_000, "nofollow"),
    (0o20_000_000, "tmpfile"),
];
const O_ACCMODE: u64 = 3;
/// `AT_REMOVEDIR` of unlinkat(2).
const REMOVES_DIRECTORY: u64 = 0x200;
const PERMISSIONS: u64 = 0o7777;
/// As chown(2) has it for an owner that stays.
const STAYS: u32 = u32::MAX;

/// A number is another file's as soon as it is closed, and threads come to the ends of their calls in any order.
type Descriptor = (ProcessId, i32, FileId);

/// Files that are open for writing.
#[derive(Default)]
pub struct Files {
    open: HashMap<Descriptor, Path>,
    /// How many there are of a process, so that its end costs what it left.
    of: HashMap<ProcessId, u32>,
    /// Whose reading is told.
    pub watched: Option<Watched>,
}

impl Files {
    pub fn what(&mut self, process: ProcessId, act: &Act<'_>) -> Option<What> {
        if act.kind == ActKind::Open && act.flags.is_watched() && !self.is_watched(act) {
            return None;
        }
        let (kind, file) = match act.kind {
            ActKind::Open => (FileKind::Open, self.opened(process, act)),
            ActKind::Written => (FileKind::Write, self.written(process, act)),
            ActKind::Rename => (FileKind::Rename, two(act)),
            ActKind::Link => (FileKind::Link, two(act)),
            ActKind::Symlink => (FileKind::Symlink, link(act)),
            ActKind::Rmdir => (FileKind::Rmdir, one(act)),
            ActKind::Unlink if act.value[0] & REMOVES_DIRECTORY != 0 => (FileKind::Rmdir, one(act)),
            ActKind::Mkdir => (FileKind::Mkdir, with_mode(act)),
            ActKind::Mknod => (FileKind::Mknod, with_mode(act)),
            ActKind::Chmod => (FileKind::Chmod, with_mode(act)),
            ActKind::Chown => (FileKind::Chown, owned(act)),
            ActKind::Mmap => (FileKind::Mmap, with_len(act)),
            ActKind::Truncate => (FileKind::Truncate, with_len(act)),
            ActKind::Memfd => (FileKind::Memfd, memory(act)),
            _ => (FileKind::Unlink, one(act)),
        };
        // Its end was of interest here alone.
        let is_nothing = kind == FileKind::Write && file.bytes == Some(0);
        (!is_nothing).then(|| What::File(kind, Box::new(file)))
    }

    pub fn forget(&mut self, process: ProcessId) {
        if self.of.remove(&process).is_some() {
            self.open.retain(|(owner, ..), _| *owner != process);
        }
    }

    /// The kernel side has looked at the name alone.
    fn is_watched(&self, act: &Act<'_>) -> bool {
        let path = act.text(0);
        let watched = self.watched.as_ref();
        path.is_some_and(|path| watched.is_some_and(|watched| watched.fits(&path.path())))
    }

    fn opened(&mut self, process: ProcessId, act: &Act<'_>) -> File {
        let mut file = one(act);
        file.flags = flags(act.value[0]);
        if act.errno().is_some() {
            return file;
        }
        file.fd = act.fd;
        file.inherited = act.flags.is_inherited();
        file.created = act.has_created() && !file.inherited;
        file.was_written = act.flags.was_written();
        file.watched = act.flags.is_watched();
        if act.is_writable()
            && let (Some(fd), Some(path)) = (act.fd, &file.path)
        {
            let key = (process, fd, act.file);
            if !self.open.contains_key(&key) {
                *self.of.entry(process).or_default() += 1;
            }
            keep(&mut self.open, key, path.clone());
        }
        file
    }

    fn written(&mut self, process: ProcessId, act: &Act<'_>) -> File {
        let key = (process, act.fd.unwrap_or(-1), act.file);
        let is_closed = act.flags.is_closed();
        let path = match is_closed {
            true => self.open.remove(&key),
            false => self.open.get(&key).cloned(),
        };
        if is_closed
            && path.is_some()
            && let Some(left) = self.of.get_mut(&process)
        {
            *left -= 1;
            if *left == 0 {
                self.of.remove(&process);
            }
        }
        File {
            path,
            inode: inode(act),
            fd: act.fd,
            bytes: Some(act.value[0]),
            calls: Some(act.value[1]),
            closed: is_closed,
            inherited: act.flags.is_inherited(),
            ..File::default()
        }
    }
}

/// The file that an act names.
pub fn inode(act: &Act<'_>) -> Option<Inode> {
    let mut reader = Reader::new(&act.file.0, Endian::NATIVE);
    let (dev, generation, ino) = (reader.u32()?, reader.u32()?, reader.u64()?);
    (ino > 0).then_some(Inode {
        dev: Device(dev),
        ino,
        generation,
    })
}

fn flags(flags: u64) -> Vec<&'static str> {
    let access = match flags & O_ACCMODE {
        0 => "read",
        1 => "write",
        _ => "read-write",
    };
    let named = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    std::iter::once(access)
        .chain(named.map(|(_, name)| *name))
        .collect()
}

/// The place that the first two texts name: walked, or given and where it starts from.
fn place(act: &Act<'_>, first: usize) -> Option<Path> {
    use crate::event::act::Reach;
    let text = act.text(first);
    let base = act.text(first + 1);
    match text {
        Some(text) if text.reach() == Some(Reach::Given) => Some(Path::given(&text, base.as_ref())),
        Some(text) => Some(Path::walked(&text)),
        // An empty path: the descriptor's own file.
        None => base.map(|base| Path::walked(&base)),
    }
}

fn one(act: &Act<'_>) -> File {
    File {
        path: place(act, 0),
        inode: inode(act),
        error: numbers::failure(act),
        ..File::default()
    }
}

fn two(act: &Act<'_>) -> File {
    File {
        to: place(act, 2),
        ..one(act)
    }
}

fn link(act: &Act<'_>) -> File {
    let target = act.text(2);
    File {
        target: target.map(|text| String::from_utf8_lossy(text.raw()).into_owned()),
        ..one(act)
    }
}

fn with_mode(act: &Act<'_>) -> File {
    File {
        mode: Some(format!("{:04o}", act.value[0] & PERMISSIONS)),
        fd: act.fd,
        ..one(act)
    }
}

fn with_len(act: &Act<'_>) -> File {
    File {
        len: Some(act.value[0]),
        fd: act.fd,
        ..one(act)
    }
}

fn owned(act: &Act<'_>) -> File {
    let id = |value: u64| Some(value as u32).filter(|id| *id != STAYS);
    File {
        owner: id(act.value[0]),
        group: id(act.value[1]),
        fd: act.fd,
        ..one(act)
    }
}

fn memory(act: &Act<'_>) -> File {
    let name = act.text(0);
    File {
        target: name.map(|text| String::from_utf8_lossy(text.raw()).into_owned()),
        fd: act.fd,
        error: numbers::failure(act),
        ..File::default()
    }
}
