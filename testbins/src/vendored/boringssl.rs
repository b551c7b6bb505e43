//! Builds BoringSSL from the sources that a crate carries, without its build
//! systems: every C and C++ file of `ssl/` and `crypto/`, no assembly.
//!
//! As with OpenSSL, libcrypto is compiled quickly unless the linker optimises both.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Combination, Library, make, source};
use crate::directive::entries;
use crate::{Unbuilt, cache, tool};

/// What their build systems say, in short; `-w` because these warnings are not ours to heed.
const FLAGS: &str = "-w -pthread -fno-strict-aliasing -fvisibility=hidden -DOPENSSL_NO_ASM \
                     -DBORINGSSL_IMPLEMENTATION -D_XOPEN_SOURCE=700 -Iinclude -I.";

/// Where the table of error texts is, by age of the sources.
const ERROR_TEXTS: &[&str] = &[
    "gen/crypto/err_data.cc",
    "../err_data.c",
    "generated-src/err_data.c",
    "crypto/err_data.c",
];

/// The flags that put the library into a program.
pub fn build(combination: &Combination) -> Result<Vec<String>, Unbuilt> {
    let Library::BoringSsl(name, version, below) = combination.library else {
        return Err(Unbuilt::failed("not BoringSSL", combination.name));
    };
    let root = source::fetch(name, version)?.join(below);
    let folder = libraries(combination, &root)?;
    Ok(vec![
        format!("-I{}", root.join("include").display()),
        folder.join("libssl.a").display().to_string(),
        folder.join("libcrypto.a").display().to_string(),
        "-lstdc++".to_owned(),
        "-lm".to_owned(),
    ])
}

fn libraries(combination: &Combination, root: &Path) -> Result<PathBuf, Unbuilt> {
    let (compiler, flags) = (combination.compiler, combination.library_flags);
    let is_whole = flags.contains("-flto");
    let inputs = (
        root,
        flags,
        tool::run(compiler, Path::new("/"), ["--version"])?,
    );
    let crypto = if is_whole {
        None
    } else {
        Some(quick_crypto(compiler, root)?)
    };
    cache::folder(
        &format!("boringssl-{}", combination.name),
        &inputs,
        |folder| {
            archive(root, folder, "ssl", compiler, flags)?;
            match &crypto {
                Some(crypto) => copy_archive(crypto, folder),
                None => archive(root, folder, "crypto", compiler, flags),
            }
        },
    )
}

fn quick_crypto(compiler: &str, root: &Path) -> Result<PathBuf, Unbuilt> {
    cache::folder("boringssl-libcrypto", &(root, compiler), |folder| {
        archive(root, folder, "crypto", compiler, "-O0 -fPIC")
    })
}

fn copy_archive(from: &Path, to: &Path) -> Result<(), Unbuilt> {
    let copied = fs::copy(from.join("libcrypto.a"), to.join("libcrypto.a"));
    copied
        .map(drop)
        .map_err(|error| Unbuilt::failed("failed to copy libcrypto.a", error))
}

/// Compiles all of one folder of the sources into `lib<folder>.a`.
fn archive(
    root: &Path,
    into: &Path,
    part: &str,
    compiler: &str,
    flags: &str,
) -> Result<(), Unbuilt> {
    let mut files = Vec::new();
    gather(root, Path::new(part), &mut files)?;
    if part == "crypto" {
        let texts = ERROR_TEXTS.iter().find(|path| root.join(path).is_file());
        files.extend(texts.map(PathBuf::from));
        files.dedup();
    }
    let objects = tempfile::tempdir_in(into)
        .map_err(|error| Unbuilt::failed("failed to make a temporary folder", error))?;
    let library = into.join(format!("lib{part}.a"));
    let rules = rules(root, &files, &library, compiler, flags);
    fs::write(objects.path().join("Makefile"), rules)
        .map_err(|error| Unbuilt::failed("failed to write a Makefile", error))?;
    make::make(objects.path(), &[])
}

/// The C and C++ files of a folder and below it, sorted; paths are relative to `root`.
fn gather(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Unbuilt> {
    for path in entries(&root.join(folder))? {
        let relative = folder.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            gather(root, &relative, files)?;
        } else if is_part_of_library(&relative.to_string_lossy()) {
            files.push(relative);
        }
    }
    Ok(())
}

/// Tests and tools lie among the sources, and the files of `fipsmodule` are included by one of them.
fn is_part_of_library(path: &str) -> bool {
    const NOT: &[&str] = &[
        "_test",
        "test/",
        "_fuzz",
        "perlasm",
        "/asm/",
        "wycheproof",
        "benchmark",
        "jitter",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_source = name.ends_with(".c") || name.ends_with(".cc");
    let is_included = path.contains("fipsmodule/")
        && !["bcm.c", "bcm.cc", "fips_shared_support.c"].contains(&name);
    is_source && !is_included && !NOT.iter().any(|part| path.contains(part)) && name != "err_data.c"
}

/// A Makefile: one object per file, and the archive of them all.
fn rules(root: &Path, files: &[PathBuf], library: &Path, compiler: &str, flags: &str) -> String {
    let (ar, plus_plus) = match compiler {
        "clang" => ("llvm-ar", "clang++"),
        _ => ("gcc-ar", "g++"),
    };
    let objects: Vec<String> = (0..files.len()).map(|n| format!("{n}.o")).collect();
    let library = library.display();
    let mut text = format!("{library}: {}\n\t{ar} rcs $@ $^\n", objects.join(" "));
    for (file, object) in files.iter().zip(&objects) {
        let language = match file.extension().is_some_and(|ending| ending == "cc") {
            true => format!("{plus_plus} -std=c++17 -fno-exceptions -fno-rtti"),
            false => format!("{compiler} -std=gnu11"),
        };
        let (root, file) = (root.display(), file.display());
        text += &format!(
            "{object}:\n\tcd {root} && {language} {FLAGS} {flags} -c {file} -o $(CURDIR)/{object}\n"
        );
    }
    text
}
