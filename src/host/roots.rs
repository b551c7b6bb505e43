//! Directories that stand for `/`: ours, a process's (it may be in a container), or a host's that is mounted
//! somewhere. Whatever is opened inside of one stays inside, absolute symbolic links and `..` included
//! (openat2(2), `RESOLVE_IN_ROOT`); who made the files there may be hostile.

use std::ffi::OsStr;
use std::fs::{self, File, ReadDir};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::Mode;

use crate::error::{Context, Result};
use crate::image::ImageFile;

/// As the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// A directory above was renamed meanwhile; the kernel asks for another try.
const TRIES: usize = 8;
/// `PATH_MAX`; also bounds what our own resolution takes.
const PATH_BYTES_MAX: usize = 4096;

/// A directory that stands for `/`.
pub struct Root {
    path: PathBuf,
    /// `None`: ours, where the kernel resolves paths as for anybody.
    dir: Option<OwnedFd>,
    pid: Option<i32>,
}

impl Root {
    /// Our own.
    pub fn ours() -> Self {
        Self {
            path: "/".into(),
            dir: None,
            pid: None,
        }
    }

    /// A directory of ours; `/` is [`Self::ours`].
    ///
    /// # Errors
    /// It is no directory, or may not be opened.
    pub fn at(path: &Path) -> Result<Self> {
        if path == Path::new("/") {
            return Ok(Self::ours());
        }
        let dir = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(path)
            .context(|| format!("failed to open the root {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            dir: Some(dir.into()),
            pid: None,
        })
    }

    /// What a process has as `/`. It stays what it is when the process ends, mounts included.
    ///
    /// # Errors
    /// The process has ended, or is somebody's whom we may not look at.
    pub fn of_process(pid: i32) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let mut root = if is_our_root(pid, &path) {
            Self::ours()
        } else {
            Self::at(&path)?
        };
        root.pid = Some(pid);
        Ok(root)
    }

    /// For a path of ours as users write it: `/proc/PID/root/usr/bin/node` is in that process's root, everything
    /// else in ours.
    ///
    /// # Errors
    /// As [`Self::of_process`].
    pub fn of_path(path: &Path) -> Result<Self> {
        let mut parts = path.components();
        let starts = parts.next() == Some(Component::RootDir)
            && parts.next() == Some(Component::Normal("proc".as_ref()));
        let pid = parts.next().and_then(|part| part.as_os_str().to_str());
        let is_root = parts.next() == Some(Component::Normal("root".as_ref()));
        match pid.and_then(|pid| pid.parse().ok()) {
            Some(pid) if starts && is_root => Self::of_process(pid),
            _ => Ok(Self::ours()),
        }
    }

    /// A system's tree around a program that is named by its path in ours, as `ROOTFS/usr/bin/node`: the closest
    /// directory above that holds the program's loader and an `etc` and a `usr` of its own. Whether it runs with that
    /// as its root, only a process can tell.
    pub fn around(program: &ImageFile) -> Option<Self> {
        let image = program.image().ok()?;
        let loader = Path::new(OsStr::from_bytes(image.interpreter?));
        let path = std::path::absolute(program.path()).ok()?;
        let mut above = path.ancestors().skip(1);
        above.find_map(|dir| {
            let root = Self::at(dir).ok().filter(|root| !root.is_ours())?;
            let is_system = ["/etc", "/usr"]
                .iter()
                .all(|dir| root.read_dir(dir.as_ref()).is_ok());
            (is_system && root.open(loader).is_ok()).then_some(root)
        })
    }

    /// The same once more.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn try_clone(&self) -> io::Result<Self> {
        let dir = self.dir.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok(Self {
            path: self.path.clone(),
            dir,
            pid: self.pid,
        })
    }

    /// Where it is, for us.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is our own `/`.
    pub fn is_ours(&self) -> bool {
        self.dir.is_none()
    }

    /// The process whose root it is, if it was asked for by process.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// A path of ours as those inside see it; one that does not lead through the root is taken for that already.
    pub fn inside(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.path) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => path.to_owned(),
        }
    }

    /// A path of those inside as we see it, for people: symbolic links in it may lead us elsewhere.
    pub fn outside(&self, inside: &Path) -> PathBuf {
        self.path.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Opens a file for reading. A FIFO or a terminal does not make us wait.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&self, inside: &Path) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let Some(dir) = &self.dir else {
            return File::options()
                .read(true)
                .custom_flags(flags.bits())
                .open(inside);
        };
        Ok(open_in(dir, inside, flags)?.into())
    }

    /// Opens a file for analysis, under its name for us.
    ///
    /// # Errors
    /// As [`ImageFile::open`].
    pub fn open_image(&self, inside: &Path) -> Result<ImageFile> {
        let name = self.outside(inside);
        let file = self
            .open(inside)
            .context(|| format!("failed to open {}", name.display()))?;
        ImageFile::from_file(&name, file)
    }

    /// What is in a directory.
    ///
    /// # Errors
    /// As opendir(3).
    pub fn read_dir(&self, inside: &Path) -> io::Result<ReadDir> {
        if self.is_ours() {
            return fs::read_dir(inside);
        }
        let dir = self.open(inside)?;
        fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()))
    }
}

/// Same directory of the same mounts. Without the rights to tell, it counts as another one, and fails when used.
fn is_our_root(pid: i32, root: &Path) -> bool {
    let mounts = |who: &str| fs::read_link(format!("/proc/{who}/ns/mnt"));
    let same_mounts =
        matches!((mounts("self"), mounts(&pid.to_string())), (Ok(a), Ok(b)) if a == b);
    let place = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    same_mounts && matches!((place(Path::new("/")), place(root)), (Ok(a), Ok(b)) if a == b)
}

fn open_in(dir: &OwnedFd, inside: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..TRIES {
        match openat2(dir, inside, how) {
            Err(Errno::EAGAIN) => {}
            // Linux before 5.6, or a seccomp filter that does not know it.
            Err(Errno::ENOSYS | Errno::EPERM) => return walk(dir, inside, flags),
            other => return Ok(other?),
        }
    }
    Err(Errno::EAGAIN.into())
}

/// The same, one part of the path after the other.
fn walk(root: &OwnedFd, inside: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let through = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut parts = parts(inside);
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(part) = parts.pop() {
        if part == Path::new("..") {
            // Above the root is the root.
            above.pop();
            continue;
        }
        let here = above.last().unwrap_or(root);
        if let Ok(link) = readlinkat(here, &part) {
            links += 1;
            let link = PathBuf::from(link);
            if links > LINKS_MAX || parts.len() > PATH_BYTES_MAX {
                return Err(Errno::ELOOP.into());
            }
            if link.is_absolute() {
                above.clear();
            }
            parts.extend(self::parts(&link));
            continue;
        }
        if parts.is_empty() {
            return Ok(openat(
                here,
                &part,
                flags | OFlag::O_NOFOLLOW,
                Mode::empty(),
            )?);
        }
        let next = openat(here, &part, through, Mode::empty())?;
        above.push(next);
    }
    let here = above.last().unwrap_or(root);
    Ok(openat(here, ".", flags, Mode::empty())?)
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().rev().filter(|part| {
        matches!(part, Component::Normal(_) | Component::ParentDir)
            && part.as_os_str().as_bytes().len() < PATH_BYTES_MAX
    });
    parts.map(|part| PathBuf::from(part.as_os_str())).collect()
}

#[cfg(test)]
mod tests;
