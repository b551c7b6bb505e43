//! Running `make` on all cores, and copying source trees for it.

use std::ffi::OsStr;
use std::path::Path;

use crate::{Unbuilt, tool};

/// Runs `make` with these arguments in a folder.
pub fn make(folder: &Path, arguments: &[&str]) -> Result<(), Unbuilt> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = format!("-j{cores}");
    let all = ["--silent", &jobs]
        .into_iter()
        .chain(arguments.iter().copied());
    tool::run("make", folder, all).map(drop)
}

/// Copies a folder with its dates, which `make` goes by.
pub fn copy(from: &Path, to: &Path) -> Result<(), Unbuilt> {
    let arguments = ["-a".as_ref(), from.as_os_str(), to.as_os_str()];
    tool::run::<&OsStr>("cp", Path::new("/"), arguments).map(drop)
}
