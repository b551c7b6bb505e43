//! Gives a statically linked TLS library other names: `SSL_read` becomes `LK_SSL_read`.
//!
//! Vendored copies of OpenSSL are renamed like this so that two can live in one process. Every
//! global symbol that the archives define is renamed, in the archives and in the program's objects,
//! so that the program needs no macros and calls to libc keep their names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};

use crate::directive::{Prefix, entries};
use crate::{Unbuilt, tool};

/// What the archives are linked into where a shared library is wanted.
pub const SHARED_LIBRARY: &str = "libprefixed.so";

/// Renames the objects in place, and copies of the archives (given as `-l:` flags). Returns the
/// linker arguments that stand for the archives.
pub fn rename(
    prefix: &Prefix,
    archives: &[String],
    objects: &Path,
    folder: &Path,
) -> Result<Vec<String>, Unbuilt> {
    let paths: Vec<PathBuf> = archives
        .iter()
        .map(|flag| tool::library_path(flag.trim_start_matches("-l:")))
        .collect::<Result<_, _>>()?;
    let programs_objects = entries(objects)?;
    let map = objects.join("names.txt");
    write_map(prefix, &paths, &map)?;
    for object in &programs_objects {
        rename_one(&map, object, object)?;
    }
    let mut renamed = Vec::new();
    for path in &paths {
        let copy = objects.join(path.file_name().unwrap_or_default());
        rename_one(&map, path, &copy)?;
        renamed.push(copy.to_string_lossy().into_owned());
    }
    if prefix.shared {
        share(&renamed, folder)
    } else {
        Ok(renamed)
    }
}

fn rename_one(map: &Path, from: &Path, to: &Path) -> Result<(), Unbuilt> {
    let option = format!("--redefine-syms={}", map.display());
    let arguments = [option.as_ref(), from.as_os_str(), to.as_os_str()];
    tool::run("objcopy", Path::new("/"), arguments).map(drop)
}

/// One line per name, as `objcopy --redefine-syms` reads it.
fn write_map(prefix: &Prefix, archives: &[PathBuf], map: &Path) -> Result<(), Unbuilt> {
    let mut names = BTreeSet::new();
    for path in archives {
        let failed = |why: String| Unbuilt::failed(format!("failed to read {path:?}"), why);
        let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
        collect_names(&bytes, &mut names).map_err(|error| failed(error.to_string()))?;
    }
    let text = &prefix.text;
    let lines: String = names
        .iter()
        .map(|name| format!("{name} {text}{name}\n"))
        .collect();
    fs::write(map, lines).map_err(|error| Unbuilt::failed("failed to write the names", error))
}

fn collect_names(archive: &[u8], names: &mut BTreeSet<String>) -> object::Result<()> {
    for member in ArchiveFile::parse(archive)?.members() {
        let object = object::File::parse(member?.data(archive)?)?;
        let defined = object
            .symbols()
            .filter(|symbol| !symbol.is_undefined() && symbol.is_global());
        for symbol in defined {
            names.insert(symbol.name()?.to_owned());
        }
    }
    Ok(())
}

/// Links the archives, whole, into a shared library that the program finds beside itself.
fn share(archives: &[String], folder: &Path) -> Result<Vec<String>, Unbuilt> {
    let library = folder.join(SHARED_LIBRARY).to_string_lossy().into_owned();
    let soname = format!("-Wl,-soname,{SHARED_LIBRARY}");
    let mut arguments = vec!["-shared", "-o", &library, &soname, "-Wl,-Bsymbolic"];
    arguments.push("-Wl,--whole-archive");
    arguments.extend(archives.iter().map(String::as_str));
    arguments.extend(["-Wl,--no-whole-archive", "-pthread"]);
    tool::run("gcc", folder, arguments)?;
    Ok(vec![library, "-Wl,-rpath,$ORIGIN".to_owned()])
}
