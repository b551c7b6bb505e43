//! Where the dynamic loader would find a program's libraries (ld.so(8), "DESCRIPTION"), without
//! running anything of the program: `ldd` would execute its loader. All of it in the program's own root,
//! which may be a container's with another distribution, and by the rules of its own loader, glibc's or musl's.
//!
//! Of `LD_LIBRARY_PATH` ours counts, which a command that we start inherits; in another root that of its
//! process. What another environment brings is found when it is mapped.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::roots::Root;
use crate::image::{Image, ImageFile};

/// Chromium, a giant, needs about 120.
const LIBRARIES_MAX: usize = 1024;
/// `include` lines may include files with `include` lines.
const INCLUDE_DEPTH: usize = 4;
/// Of a loader's configuration, or an environment; real ones have a few hundred bytes. What is beyond is not read.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Directories and files of all configuration together; real ones have a dozen.
const DIRS_MAX: usize = 256;

/// All libraries that `program` and its libraries name in `DT_NEEDED`, as far as they are found in `root`. Their
/// names are those that they have for us.
pub fn needed(program: &ImageFile, root: &Root) -> Vec<ImageFile> {
    let search = Search::new(program, root);
    let mut seen = HashSet::from([program.identity()]);
    let mut found: Vec<ImageFile> = Vec::new();
    let mut waiting = VecDeque::from(wanted(program, root));
    while let Some(request) = waiting.pop_front() {
        if found.len() >= LIBRARIES_MAX {
            break;
        }
        let Some(library) = search.find(&request) else {
            continue;
        };
        if seen.insert(library.identity()) {
            waiting.extend(wanted(&library, root));
            found.push(library);
        }
    }
    found
}

/// Libraries of these names where `program` would find them if it loaded them later, as Python's `_ssl`
/// does: its own directories, `lib` beside its `bin`, and those of the system.
pub fn likely<'n>(
    program: &ImageFile,
    root: &Root,
    names: impl Iterator<Item = &'n str>,
) -> Vec<ImageFile> {
    let Ok(image) = program.image() else {
        return Vec::new();
    };
    let search = Search::new(program, root);
    let origin = origin(program, root);
    let mut run_path = image
        .run_path()
        .map(|dirs| split_run_path(dirs, &origin))
        .unwrap_or_default();
    run_path.push(origin.join("../lib"));
    let mut seen = HashSet::new();
    names
        .filter_map(|name| {
            let request = Request {
                name: name.into(),
                run_path: run_path.clone(),
                is_64: image.is_64,
                machine: image.arch.to_string(),
            };
            search.find(&request)
        })
        .filter(|library| seen.insert(library.identity()))
        .collect()
}

/// One `DT_NEEDED` entry with what decides where it is searched.
struct Request {
    name: PathBuf,
    run_path: Vec<PathBuf>,
    is_64: bool,
    machine: String,
}

/// The directory of a file, for those inside.
fn origin(file: &ImageFile, root: &Root) -> PathBuf {
    let inside = root.inside(file.path());
    inside.parent().unwrap_or(Path::new("/")).to_owned()
}

fn wanted(file: &ImageFile, root: &Root) -> Vec<Request> {
    let Ok(image) = file.image() else {
        return Vec::new();
    };
    let origin = origin(file, root);
    let run_path = image
        .run_path()
        .map(|dirs| split_run_path(dirs, &origin))
        .unwrap_or_default();
    let names = image.needed().into_iter();
    names
        .map(|name| Request {
            name: PathBuf::from(OsStr::from_bytes(name)),
            run_path: run_path.clone(),
            is_64: image.is_64,
            machine: image.arch.to_string(),
        })
        .collect()
}

fn split_run_path(dirs: &[u8], origin: &Path) -> Vec<PathBuf> {
    dirs.split(|byte| *byte == b':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| {
            let text = String::from_utf8_lossy(dir);
            let origin = origin.to_string_lossy();
            PathBuf::from(
                text.replace("${ORIGIN}", &origin)
                    .replace("$ORIGIN", &origin),
            )
        })
        .collect()
}

/// Where one program's loader searches.
struct Search<'r> {
    root: &'r Root,
    /// `LD_LIBRARY_PATH`.
    preferred: Vec<PathBuf>,
    /// The configuration's directories, then those that are compiled into the loader.
    system: Vec<PathBuf>,
}

impl<'r> Search<'r> {
    fn new(program: &ImageFile, root: &'r Root) -> Self {
        let paths = if root.is_ours() {
            std::env::var_os("LD_LIBRARY_PATH")
        } else {
            root.pid().and_then(library_path_of)
        };
        let image = program.image().ok();
        let interpreter = image.and_then(|image| image.interpreter);
        Self {
            root,
            preferred: std::env::split_paths(&paths.unwrap_or_default()).collect(),
            system: match interpreter.and_then(musl_arch) {
                Some(arch) => musl_dirs(root, &arch),
                None => glibc_dirs(root),
            },
        }
    }

    fn find(&self, request: &Request) -> Option<ImageFile> {
        if request.name.components().count() > 1 {
            return self.open(request, &request.name);
        }
        let dirs = self.preferred.iter().chain(&request.run_path);
        dirs.chain(&self.system)
            .filter(|dir| dir.is_absolute())
            .find_map(|dir| self.open(request, &dir.join(&request.name)))
    }

    /// The loader passes over files of another class or machine, and so do we.
    fn open(&self, request: &Request, path: &Path) -> Option<ImageFile> {
        let file = self.root.open_image(path).ok()?;
        let fits = |image: Image<'_>| {
            image.is_64 == request.is_64 && image.arch.to_string() == request.machine
        };
        file.image().is_ok_and(fits).then_some(file)
    }
}

/// What a process was started with.
fn library_path_of(pid: i32) -> Option<OsString> {
    let environment = text(&Root::ours(), format!("/proc/{pid}/environ").as_ref())?;
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(b"LD_LIBRARY_PATH="))?;
    Some(OsString::from_vec(value.to_vec()))
}

fn text(root: &Root, path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = root.open(path).ok()?;
    file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// What musl calls the machine, from the name of its loader: `/lib/ld-musl-x86_64.so.1`.
fn musl_arch(interpreter: &[u8]) -> Option<String> {
    let name = Path::new(OsStr::from_bytes(interpreter)).file_name()?;
    let arch = name.to_str()?.strip_prefix("ld-musl-")?.split('.').next()?;
    Some(arch.to_owned())
}

/// As musl 1.2.5 does, ldso/dynlink.c, `load_library`: the file's directories, divided by newlines or colons, stand
/// for those that are compiled in.
fn musl_dirs(root: &Root, arch: &str) -> Vec<PathBuf> {
    let conf = text(root, format!("/etc/ld-musl-{arch}.path").as_ref());
    let dirs = conf.unwrap_or_else(|| b"/lib:/usr/local/lib:/usr/lib".to_vec());
    dirs.split(|byte| matches!(byte, b':' | b'\n'))
        .take(DIRS_MAX)
        .map(|dir| PathBuf::from(OsStr::from_bytes(dir)))
        .collect()
}

/// The directories of `/etc/ld.so.conf`, then those that are compiled into the loader.
fn glibc_dirs(root: &Root) -> Vec<PathBuf> {
    let mut conf = Conf {
        root,
        dirs: Vec::new(),
        files: 0,
    };
    conf.read(Path::new("/etc/ld.so.conf"), INCLUDE_DEPTH);
    let mut dirs = conf.dirs;
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    for dir in ["/lib64", "/usr/lib64", "/lib", "/usr/lib"] {
        dirs.push(Path::new(dir).join(&multiarch));
        dirs.push(dir.into());
    }
    dirs
}

/// What ldconfig(8) would read.
struct Conf<'r> {
    root: &'r Root,
    dirs: Vec<PathBuf>,
    files: usize,
}

impl Conf<'_> {
    fn read(&mut self, path: &Path, depth: usize) {
        self.files += 1;
        let Some(text) = text(self.root, path).filter(|_| self.files <= DIRS_MAX) else {
            return;
        };
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.strip_prefix("include") {
                Some(pattern) if depth > 0 && pattern.starts_with([' ', '\t']) => {
                    for file in matching(self.root, path, pattern.trim()) {
                        self.read(&file, depth - 1);
                    }
                }
                Some(_) => {}
                None if line.is_empty() || self.dirs.len() >= DIRS_MAX => {}
                None => self.dirs.push(line.into()),
            }
        }
    }
}

/// Files of an `include` line: a directory and a pattern with one star, as all distributions write it. One that is
/// not absolute is beside its file.
fn matching(root: &Root, file: &Path, pattern: &str) -> Vec<PathBuf> {
    let beside = file.parent().unwrap_or(Path::new("/"));
    let (dir, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let dir = beside.join(dir);
    let (before, after) = name.split_once('*').unwrap_or((name, ""));
    let Ok(entries) = root.read_dir(&dir) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .flatten()
        .take(DIRS_MAX)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        })
        .map(|entry| dir.join(entry.file_name()))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What we resolve is what the loader itself resolves for real programs: this one, the shell, and
    /// curl with its forty libraries where it is installed.
    #[test]
    fn agrees_with_the_loader() {
        let own = std::env::current_exe().unwrap();
        let curl = Path::new("/usr/bin/curl");
        let programs = [own.as_path(), Path::new("/bin/bash"), curl];
        for program in programs
            .into_iter()
            .filter(|path| *path != curl || path.exists())
        {
            let file = ImageFile::open(program).unwrap();
            let mut ours: Vec<_> = needed(&file, &Root::ours())
                .iter()
                .map(|library| library.path().canonicalize().unwrap())
                .filter(|path| !path.to_string_lossy().contains("ld-linux"))
                .collect();
            ours.sort();
            assert!(!ours.is_empty(), "{}", program.display());
            assert_eq!(ours, listed_by_ldd(program));
        }
    }

    /// A container's loader would be taken for ours, or read what its links lead to outside.
    #[test]
    fn each_root_has_its_own_directories() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file(
            "etc/ld.so.conf",
            "# first\n/opt/a\ninclude ld.so.conf.d/*.conf\n",
        );
        file("etc/ld.so.conf.d/2.conf", "/opt/c # c\n");
        file(
            "etc/ld.so.conf.d/1.conf",
            "/opt/b\ninclude /etc/ld.so.conf\n",
        );
        file("etc/ld.so.conf.d/3.off", "/opt/off\n");
        let root = Root::at(dir.path()).unwrap();
        let dirs = glibc_dirs(&root);
        let at = |dir: &str| dirs.iter().position(|one| one == Path::new(dir));
        assert_eq!((at("/opt/a"), at("/opt/b")), (Some(0), Some(1)));
        assert!(at("/opt/c") < at("/lib64") && at("/opt/c").is_some());
        assert!(at("/opt/off").is_none() && dirs.len() < DIRS_MAX + 8);

        let paths = |dirs: &[&str]| -> Vec<PathBuf> { dirs.iter().map(PathBuf::from).collect() };
        let arch = musl_arch(b"/lib/ld-musl-x86_64.so.1").unwrap();
        assert_eq!(arch, "x86_64");
        assert_eq!(musl_arch(b"/lib64/ld-linux-x86-64.so.2"), None);
        let compiled = paths(&["/lib", "/usr/local/lib", "/usr/lib"]);
        assert_eq!(musl_dirs(&root, &arch), compiled);
        file("etc/ld-musl-x86_64.path", "/a:/b\n/c");
        assert_eq!(musl_dirs(&root, &arch), paths(&["/a", "/b", "/c"]));
    }

    fn listed_by_ldd(program: &Path) -> Vec<PathBuf> {
        let listed = std::process::Command::new("ldd").arg(program).output();
        let text = String::from_utf8(listed.unwrap().stdout).unwrap();
        let paths = text
            .lines()
            .filter_map(|line| line.split_once("=> ")?.1.split(' ').next());
        let mut paths: Vec<_> = paths
            .map(|path| Path::new(path).canonicalize().unwrap())
            .collect();
        paths.sort();
        paths
    }
}
