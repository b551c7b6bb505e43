//! Builds OpenSSL from the sources in `openssl-src`, the way that crate does: in a copy of its tree,
//! so that source paths read `ssl/ssl_lib.c`.
//!
//! Only `ssl/` is compiled with the flags of a combination; libcrypto is made once per version,
//! quickly, because no finder looks at it. Where the linker optimises, that cannot be: then both are
//! compiled with these flags.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Combination, Library, make, source};
use crate::{Unbuilt, cache, tool};

/// Understood by 1.1.1 and everything newer. Nothing here changes what `ssl/` has to offer.
const CONFIGURE: &[&str] = &[
    "linux-x86_64",
    "no-asm",
    "no-aria",
    "no-bf",
    "no-camellia",
    "no-cast",
    "no-cms",
    "no-dso",
    "no-engine",
    "no-idea",
    "no-mdc2",
    "no-rc2",
    "no-seed",
    "no-shared",
    "no-sm2",
    "no-tests",
    "no-ts",
    "no-whirlpool",
];

/// The flags that put the library into a program.
pub fn build(combination: &Combination) -> Result<Vec<String>, Unbuilt> {
    let Library::OpenSsl(version) = combination.library else {
        return Err(Unbuilt::failed("not OpenSSL", combination.name));
    };
    let tree = tree(version)?;
    let is_whole = combination.library_flags.contains("-flto");
    let folder = library(combination, &tree, is_whole)?;
    let crypto = if is_whole { &folder } else { &tree };
    Ok(vec![
        format!("-I{}", tree.join("include").display()),
        folder.join("libssl.a").display().to_string(),
        crypto.join("libcrypto.a").display().to_string(),
    ])
}

/// The sources, configured, with all that is generated, and a libcrypto that was compiled quickly.
/// The tree does not know where it lies now: nothing can be configured or generated in it again.
fn tree(version: &str) -> Result<PathBuf, Unbuilt> {
    cache::folder(&format!("openssl-{version}"), &CONFIGURE, |folder| {
        make::copy(
            &source::fetch("openssl-src", version)?.join("openssl/."),
            folder,
        )?;
        let arguments = [&["Configure"], CONFIGURE].concat();
        tool::run("perl", folder, arguments)?;
        make::make(folder, &["build_generated"])?;
        make::make(folder, &["CFLAGS=-O0 -fPIC", "libcrypto.a"])?;
        // The objects would be in each copy.
        let find = [".", "-name", "*.o", "-delete"];
        tool::run("find", folder, find).map(drop)
    })
}

/// libssl with the flags of a combination, and libcrypto where it has to have the same.
fn library(combination: &Combination, tree: &Path, is_whole: bool) -> Result<PathBuf, Unbuilt> {
    let archives: &[&str] = match is_whole {
        true => &["libssl.a", "libcrypto.a"],
        false => &["libssl.a"],
    };
    let (compiler, flags) = (combination.compiler, combination.library_flags);
    let version = tool::run(compiler, Path::new("/"), ["--version"])?;
    let label = format!("openssl-lib-{}", combination.name);
    cache::folder(&label, &(tree, version, flags), |folder| {
        let compiler_flag = format!("CC={compiler}");
        let [ar, ranlib] = archivers(compiler);
        let flags = format!("CFLAGS={flags}");
        compile(
            tree,
            folder,
            &[&compiler_flag, &flags, ar, ranlib],
            archives,
        )
    })
}

/// Plain `ar` makes no index of what clang compiled for the linker to optimise.
fn archivers(compiler: &str) -> [&'static str; 2] {
    match compiler {
        "clang" => ["AR=llvm-ar", "RANLIB=llvm-ranlib"],
        _ => ["AR=gcc-ar", "RANLIB=gcc-ranlib"],
    }
}

/// Makes archives in a copy of the tree and keeps nothing else.
fn compile(tree: &Path, into: &Path, settings: &[&str], archives: &[&str]) -> Result<(), Unbuilt> {
    let scratch = tempfile::tempdir_in(into)
        .map_err(|error| Unbuilt::failed("failed to make a temporary folder", error))?;
    let copy = scratch.path().join("tree");
    make::copy(tree, &copy)?;
    make::make(&copy, &[settings, archives].concat())?;
    for archive in archives {
        fs::rename(copy.join(archive), into.join(archive))
            .map_err(|error| Unbuilt::failed(format!("no {archive}"), error))?;
    }
    Ok(())
}
