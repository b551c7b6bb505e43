//! Running gcc, objcopy and the like, and telling "not there" from "went wrong".

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Unbuilt;

/// Runs a tool and returns what it printed on stdout.
pub fn run<S: AsRef<OsStr>>(
    tool: &str,
    folder: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Result<Vec<u8>, Unbuilt> {
    let output = finish(tool, Command::new(tool).args(arguments).current_dir(folder))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(Unbuilt::failed(
        format!("{tool} ended with {}", output.status),
        printed,
    ))
}

/// Runs it to its end, whatever that is.
pub fn finish(tool: &str, command: &mut Command) -> Result<Output, Unbuilt> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unbuilt::Missing(tool.to_owned()),
            _ => Unbuilt::failed(format!("failed to run {tool}"), error),
        })
}

/// What pkg-config answers about a package; a package it does not know is missing.
pub fn pkg_config(question: &str, package: &str) -> Result<String, Unbuilt> {
    let mut command = Command::new("pkg-config");
    let output = finish("pkg-config", command.args([question, package]))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(Unbuilt::Missing(format!("pkg-config package {package}")))
    }
}

/// Where gcc would find this library file.
pub fn library_path(file: &str) -> Result<PathBuf, Unbuilt> {
    let question = format!("-print-file-name={file}");
    let answer = run("gcc", Path::new("/"), [question])?;
    let path = PathBuf::from(String::from_utf8_lossy(&answer).trim());
    // gcc echoes the bare name of what it cannot find.
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Unbuilt::Missing(file.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test on a machine without the tool would fail instead of being skipped by name.
    #[test]
    fn names_what_is_missing() {
        let missing = Unbuilt::Missing("no-such-tool".to_owned());
        assert_eq!(run("no-such-tool", Path::new("/"), ["-v"]), Err(missing));
    }

    /// What a tool complained about must reach the reader.
    #[test]
    fn repeats_what_went_wrong() {
        let result = run("sh", Path::new("/"), ["-c", "echo because >&2; exit 7"]);
        let why = "sh ended with exit status: 7: because\n".to_owned();
        assert_eq!(result, Err(Unbuilt::Failed(why)));
    }
}
