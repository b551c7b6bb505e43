//! What cargo does: downloads what the lock file names, compiles, links.
//!
//! Nobody's settings come in from the environment: the tests run below a cargo of their own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Combination, Profile, Shape};
use crate::directive::{entries, source_root};
use crate::{Unbuilt, cache, tool};

/// Where all of it is, in the sample cache.
const HOME: &str = ".rust";

const ARM64: &str = "aarch64-unknown-linux-musl";
const GNU: &str = "x86_64-unknown-linux-gnu";
const MUSL: &str = "x86_64-unknown-linux-musl";

/// The linked file, with its symbols.
pub fn link(combination: &Combination) -> Result<PathBuf, Unbuilt> {
    let package = source_root().join("rust").join(combination.stack.folder);
    let compiler = tool::run("rustc", Path::new("/"), ["-vV"])?;
    let inputs = (
        (combination.stack, combination.profile, combination.shape),
        compiler.as_slice(),
        files(&package, &["Cargo.lock", "Cargo.toml"])?,
        files(&source_root().join("rust/src"), &[".rs"])?,
        include_str!("cargo.rs"),
    );
    let folder = cache::kept_folder(HOME, &combination.link_name(), &inputs, |folder| {
        if let Some(tool) = combination.stack.needs {
            tool::run(tool, Path::new("/"), ["--version"])?;
        }
        fetch(&package, target(combination.shape))?;
        compile(&package, combination, &compiler, folder)
    })?;
    Ok(folder.join(file_name(combination.shape)))
}

/// What the agent is called.
pub fn file_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Shared => "agent.so",
        _ => "agent",
    }
}

/// Every file below a folder that ends so, with what it holds.
fn files(folder: &Path, endings: &[&str]) -> Result<Vec<(String, Vec<u8>)>, Unbuilt> {
    let mut all = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            all.extend(files(&path, endings)?);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let bytes = fs::read(&path).map_err(|error| Unbuilt::failed(path.display(), error))?;
            all.push((name.into_owned(), bytes));
        }
    }
    Ok(all)
}

/// What cargo has already needs no network; without one, the crates are missing.
fn fetch(package: &Path, target: Option<&str>) -> Result<(), Unbuilt> {
    let target = target.unwrap_or(GNU);
    let mut arguments = vec!["fetch", "--quiet", "--locked", "--target", target];
    let online = cargo(package, &arguments);
    arguments.push("--offline");
    let offline = cargo(package, &arguments);
    run(offline).or_else(|_| run(online)).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default();
        Unbuilt::Missing(format!("crates of {} ({why})", package.display()))
    })
}

/// Compiles in a folder that all builds of a lock file share, one at a time: most of what they need is
/// the same, and the next one may replace the file.
fn compile(
    package: &Path,
    combination: &Combination,
    compiler: &[u8],
    into: &Path,
) -> Result<(), Unbuilt> {
    let lock_file = package.join("Cargo.lock");
    let lock_text =
        fs::read(&lock_file).map_err(|error| Unbuilt::failed(lock_file.display(), error))?;
    let name = format!("work-{:016x}", cache::digest(&(lock_text, compiler)));
    let work = cache::sample_cache()?.join(HOME).join(name);
    let _lock = cache::lock(&work.with_extension("lock"))?;
    let (command, made) = build_command(package, combination, &work)?;
    run(command)?;
    let copied = fs::copy(&made, into.join(file_name(combination.shape)));
    copied
        .map(drop)
        .map_err(|error| Unbuilt::failed(made.display(), error))
}

/// The call, and the file that it makes.
fn build_command(
    package: &Path,
    combination: &Combination,
    work: &Path,
) -> Result<(Command, PathBuf), Unbuilt> {
    let mut command = cargo(package, &["rustc", "--quiet", "--locked", "--offline"]);
    command.arg("--target-dir").arg(work);
    command.args(["--features", combination.stack.features]);
    let profile = set_profile(&mut command, combination.profile);
    let target = target(combination.shape);
    if let Some(target) = target {
        set_target(&mut command, target)?;
    }
    let (what, file) = match combination.shape {
        Shape::Shared => ("--lib", "libagent_shared.so"),
        _ => ("--bin=agent", "agent"),
    };
    command.arg(what).args(link_options(combination.shape));
    let folder = work.join(target.unwrap_or_default()).join(profile);
    Ok((command, folder.join(file)))
}

/// Tells cargo the profile, and returns the folder that it will use. What [`Profile::Lto`] and
/// [`Profile::Release`] share is compiled once because they are the same profile to cargo.
fn set_profile(command: &mut Command, profile: Profile) -> &'static str {
    if profile == Profile::Debug {
        return "debug";
    }
    command.arg("--release");
    if profile != Profile::Release {
        command
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    }
    if profile == Profile::Size {
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z");
    }
    "release"
}

/// The machine and libc, where they are not what cargo takes by itself.
fn target(shape: Shape) -> Option<&'static str> {
    match shape {
        Shape::Arm64 => Some(ARM64),
        Shape::StaticGnu => Some(GNU),
        Shape::StaticMusl => Some(MUSL),
        Shape::Fixed | Shape::Pie | Shape::Relr | Shape::Shared => None,
    }
}

fn set_target(command: &mut Command, target: &str) -> Result<(), Unbuilt> {
    let answer = tool::run(
        "rustc",
        Path::new("/"),
        ["--print", "target-libdir", "--target", target],
    )?;
    if !Path::new(String::from_utf8_lossy(&answer).trim()).is_dir() {
        return Err(Unbuilt::Missing(format!(
            "Rust's {target} (rustup target add {target})"
        )));
    }
    command
        .args(["--target", target])
        // All crates have to know, but no build script.
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-Ctarget-feature=+crt-static",
        )
        // There is no musl-gcc everywhere, and nothing of libc is needed to compile.
        .env("CC_x86_64_unknown_linux_musl", "gcc")
        .env("AR_aarch64_unknown_linux_musl", "llvm-ar")
        .env("CC_aarch64_unknown_linux_musl", "clang")
        // Rust brings musl for it, and its own linker knows all machines.
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld");
    Ok(())
}

/// What the last call of rustc gets, which makes all the code where it optimises as a whole.
fn link_options(shape: Shape) -> &'static [&'static str] {
    match shape {
        Shape::Fixed => &["--", "-Crelocation-model=static"],
        Shape::Relr => &["--", "-Clink-arg=-Wl,-z,pack-relative-relocs"],
        Shape::Arm64 | Shape::Pie | Shape::Shared | Shape::StaticGnu | Shape::StaticMusl => &[],
    }
}

/// A call of cargo that knows nothing of the one above it.
fn cargo(package: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if is_setting(&name) {
            command.env_remove(name);
        }
    }
    command.current_dir(package).args(arguments);
    // Nobody compiles it twice.
    command.env("CARGO_INCREMENTAL", "0");
    command
}

fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_cargo = name.starts_with("CARGO") && name != "CARGO_HOME";
    is_cargo || name.starts_with("RUSTC") || name == "RUSTFLAGS"
}

fn run(mut command: Command) -> Result<(), Unbuilt> {
    let output = tool::finish("cargo", &mut command)?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(Unbuilt::failed(format!("{command:?}"), printed))
}
