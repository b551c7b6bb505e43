//! Where the dynamic loader would find a program's libraries (ld.so(8), "DESCRIPTION"), without
//! running anything of the program: `ldd` would execute its loader. Of `LD_LIBRARY_PATH` ours counts,
//! which a command that we start inherits; what another process's own environment brings is found when
//! it is mapped.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::image::{Image, ImageFile};

/// Chromium, a giant, needs about 120.
const LIBRARIES_MAX: usize = 1024;
/// `include` lines may include files with `include` lines.
const INCLUDE_DEPTH: usize = 4;

/// All libraries that `program` and its libraries name in `DT_NEEDED`, as far as they are found.
pub fn needed(program: &ImageFile) -> Vec<ImageFile> {
    let system = system_dirs();
    let mut seen = HashSet::from([program.identity()]);
    let mut found: Vec<ImageFile> = Vec::new();
    let mut waiting = VecDeque::from(wanted(program));
    while let Some(request) = waiting.pop_front() {
        if found.len() >= LIBRARIES_MAX {
            break;
        }
        let Some(library) = request.find(&system) else {
            continue;
        };
        if seen.insert(library.identity()) {
            waiting.extend(wanted(&library));
            found.push(library);
        }
    }
    found
}

/// Libraries of these names where `program` would find them if it loaded them later, as Python's `_ssl`
/// does: its own directories, `lib` beside its `bin`, and those of the system.
pub fn likely<'n>(program: &ImageFile, names: impl Iterator<Item = &'n str>) -> Vec<ImageFile> {
    let Ok(image) = program.image() else {
        return Vec::new();
    };
    let system = system_dirs();
    let origin = program.path().parent().unwrap_or(Path::new("/"));
    let mut run_path = image
        .run_path()
        .map(|dirs| split_run_path(dirs, origin))
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
            request.find(&system)
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

fn wanted(file: &ImageFile) -> Vec<Request> {
    let Ok(image) = file.image() else {
        return Vec::new();
    };
    let origin = file.path().parent().unwrap_or(Path::new("/"));
    let run_path = image
        .run_path()
        .map(|dirs| split_run_path(dirs, origin))
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

impl Request {
    fn find(&self, system: &[PathBuf]) -> Option<ImageFile> {
        if self.name.components().count() > 1 {
            return self.open(&self.name);
        }
        let environment = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let preferred: Vec<PathBuf> = std::env::split_paths(&environment).collect();
        let dirs = preferred.iter().chain(&self.run_path).chain(system);
        dirs.filter(|dir| dir.is_absolute())
            .find_map(|dir| self.open(&dir.join(&self.name)))
    }

    /// The loader passes over files of another class or machine, and so do we.
    fn open(&self, path: &Path) -> Option<ImageFile> {
        let file = ImageFile::open(path).ok()?;
        let fits =
            |image: Image<'_>| image.is_64 == self.is_64 && image.arch.to_string() == self.machine;
        file.image().is_ok_and(fits).then_some(file)
    }
}

/// The directories of `/etc/ld.so.conf`, then those that are compiled into the loader.
fn system_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    read_conf(Path::new("/etc/ld.so.conf"), &mut dirs, INCLUDE_DEPTH);
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    for dir in ["/lib64", "/usr/lib64", "/lib", "/usr/lib"] {
        dirs.push(Path::new(dir).join(&multiarch));
        dirs.push(dir.into());
    }
    dirs
}

fn read_conf(path: &Path, dirs: &mut Vec<PathBuf>, depth: usize) {
    let Ok(text) = fs::read_to_string(path) else {
        return;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.strip_prefix("include") {
            Some(pattern) if depth > 0 && pattern.starts_with([' ', '\t']) => {
                for file in matching(pattern.trim()) {
                    read_conf(&file, dirs, depth - 1);
                }
            }
            Some(_) => {}
            None if line.is_empty() => {}
            None => dirs.push(line.into()),
        }
    }
}

/// Files of an `include` line: a directory and a pattern with one star, as all distributions write it.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let (dir, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let (before, after) = name.split_once('*').unwrap_or((name, ""));
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        })
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
            let mut ours: Vec<_> = needed(&file)
                .iter()
                .map(|library| library.path().canonicalize().unwrap())
                .filter(|path| !path.to_string_lossy().contains("ld-linux"))
                .collect();
            ours.sort();
            assert!(!ours.is_empty(), "{}", program.display());
            assert_eq!(ours, listed_by_ldd(program));
        }
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
