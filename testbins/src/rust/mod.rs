//! Rust programs with rustls inside, in several versions, with several providers, in the ways in which
//! Rust programs are compiled, linked and stripped.
//!
//! Each version of rustls has a cargo package in `programs/rust` with its lock file; the sources are the
//! same. What cargo built is kept beside the samples, `<sample cache>/.rust/`, because aws-lc takes
//! minutes: a new checkout finds it there. Nothing is downloaded but what the lock files name.

mod cargo;
mod load;
mod matrix;
mod shipped;

use std::path::{Path, PathBuf};

use crate::vendored::EXTENDED;
use crate::{Expectation, Testbin, Unbuilt, tool};

pub use load::load;
pub use matrix::MATRIX;

/// A version of rustls with what encrypts for it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Stack {
    /// Its name: `0.23-ring`.
    pub name: &'static str,
    /// Whose AEAD functions are inside.
    pub providers: &'static [Provider],
    /// Of the package, below `programs/rust`.
    folder: &'static str,
    /// Of the package.
    features: &'static str,
    /// Without it, its C code does not compile.
    needs: Option<&'static str>,
}

impl Stack {
    /// Does it have `reqwest`, `server` and `ureq` beside `pair` and `tokio`?
    pub fn has_http(self) -> bool {
        self.features.contains("http")
    }
}

/// What encrypts.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Provider {
    /// aws-lc-rs.
    AwsLc,
    /// ring.
    Ring,
}

impl Provider {
    /// Discovery's names of the functions that it must find.
    fn functions(self) -> [&'static str; 2] {
        match self {
            Self::AwsLc => ["aws-lc::seal_scatter", "aws-lc::open_gather"],
            Self::Ring => ["ring::seal", "ring::open"],
        }
    }
}

/// How it is compiled.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Profile {
    /// As `cargo build` does.
    Debug,
    /// Optimised as a whole, and nothing can unwind.
    Lto,
    /// As `cargo build --release` does.
    Release,
    /// As [`Self::Lto`], for size.
    Size,
}

/// How it is linked.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Shape {
    /// For aarch64, with musl inside; it can't be run here.
    Arm64,
    /// At fixed addresses.
    Fixed,
    /// A position-independent executable with glibc.
    Pie,
    /// The same, with packed relocations.
    Relr,
    /// A C library, `agent.so`.
    Shared,
    /// With glibc inside.
    StaticGnu,
    /// With musl inside.
    StaticMusl,
}

/// What is done to a copy of the linked file.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum After {
    /// Stripped, and without a section header table.
    NoSections,
    /// Stripped, and without any unwind information.
    NoUnwind,
    /// No symbols.
    Strip,
}

/// One program.
#[derive(Clone, Copy, Debug)]
pub struct Combination {
    /// What is inside.
    pub stack: Stack,
    /// How it is compiled.
    pub profile: Profile,
    /// How it is linked.
    pub shape: Shape,
    /// How it is shipped.
    pub after: After,
    /// Whether only an extended run builds it.
    pub extended: bool,
}

impl Combination {
    /// `0.23-ring.lto.pie.strip`.
    pub fn name(&self) -> String {
        format!("{}.{:?}", self.link_name(), self.after).to_lowercase()
    }

    fn link_name(&self) -> String {
        format!("{}.{:?}.{:?}", self.stack.name, self.profile, self.shape).to_lowercase()
    }
}

/// The combination of that name.
pub fn combination(name: &str) -> Option<&'static Combination> {
    MATRIX.iter().find(|combination| combination.name() == name)
}

/// What this run should build: everything if [`EXTENDED`] is set, else what takes little time.
pub fn wanted() -> impl Iterator<Item = &'static Combination> {
    let extended = std::env::var_os(EXTENDED).is_some();
    MATRIX
        .iter()
        .filter(move |combination| extended || !combination.extended)
}

/// Builds the agent, or its library.
pub fn build(combination: &Combination) -> Result<Testbin, Unbuilt> {
    let twin = cargo::link(combination)?;
    let providers = combination.stack.providers.iter();
    let functions = providers.flat_map(|provider| provider.functions());
    Ok(Testbin {
        program: "rust/agent".to_owned(),
        variant: combination.name(),
        path: shipped::copy(combination, &twin)?,
        twin,
        debug_root: None,
        library: None,
        expect: vec![Expectation {
            library: "rustls".to_owned(),
            functions: functions.map(str::to_owned).collect(),
        }],
    })
}

/// Makes a certificate for 127.0.0.1 and localhost, which the agent's clients and servers accept:
/// `cert.pem` and `key.pem` in this folder.
pub fn certificate(folder: &Path) -> Result<[PathBuf; 2], Unbuilt> {
    let arguments = [
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
        // What may sign others is no server's own.
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ];
    tool::run("openssl", folder, arguments)?;
    Ok(["cert.pem", "key.pem"].map(|name| folder.join(name)))
}
