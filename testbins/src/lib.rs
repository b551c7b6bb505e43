//! Sample programs whose TLS functions AgentSight's tests must find and capture.
//!
//! Each program is one C file, `programs/<family>/<name>.c`, whose first lines say how it is built.
//! [`build`] makes one variant of it on first use, under `<target dir>/testbins/`, and costs a few
//! file reads after that. Several processes may ask for the same variant at once.
//!
//! **Ground truth by twin.** Steps such as `strip` run on a copy of the linked file. The file as
//! it was linked stays beside it as [`Testbin::twin`], so a test can read the true addresses from
//! the twin's symbol table and demand that they are found in the copy that has none.
//!
//! **Other libraries than the system's.** [`vendored`] compiles OpenSSL and BoringSSL from sources that
//! crates carry and links the same programs against them, stripped, with their twins.
//!
//! # Directives
//!
//! A line that starts with `//#` is a directive; words are separated by spaces.
//!
//! | directive | meaning |
//! |---|---|
//! | `//#Needs: pkg-config NAME` | compile with the flags of this package; without it, [`Unbuilt::Missing`] |
//! | `//#With: FILE...` | link these C files of the same folder too; `programs/common/*.c` always are |
//! | `//#Variant: NAME FLAG...` | one way to build the program; flags go to gcc after the sources |
//! | `//#Prefix: NAME PREFIX` | variant NAME gets every global symbol of its `-l:*.a` archives renamed |
//! | `//#PrefixShared: NAME PREFIX` | the same, and the archives become one shared library beside the program |
//! | `//#Post: NAME STEP...` | for each [step](Post), a variant `NAME.STEP` made from a copy of variant NAME |
//! | `//#Expect: LIBRARY FUNCTION...` | functions a tracer must find, in the program or in the library it loads |
//!
//! A library given as `-l:FILE` must exist, or the variant is [`Unbuilt::Missing`]; so must `libc.a`
//! where the flags say `-static` or `-static-pie`. Nothing else is looked for in advance.
//!
//! [`llm`] is a server that speaks the APIs of LLM providers, for clients that are to be observed; [`replay`]
//! is one that says what was recorded of real ones.
//!
//! Go programs have modes and toolchains instead of directives: [`golang`]. Rust programs are cargo
//! packages: [`rust`].

#![forbid(unsafe_code)]

mod cache;
mod directive;
pub mod golang;
mod link;
pub mod llm;
mod post;
mod prefix;
pub mod replay;
pub mod run;
pub mod rust;
mod tool;
pub mod vendored;

pub use post::Post;

use std::fmt;
use std::path::PathBuf;

use directive::Recipe;

/// A program that was built and can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testbin {
    /// Which program: `openssl/pair`.
    pub program: String,
    /// Which variant of it: `static.strip`.
    pub variant: String,
    /// The executable to look at and to run.
    pub path: PathBuf,
    /// The same link with all its symbols; equal to `path` where no post step ran.
    pub twin: PathBuf,
    /// The folder to search instead of `/` for `usr/lib/debug/.build-id`; set by `build-id` only.
    pub debug_root: Option<PathBuf>,
    /// The shared library built for the program, whose dynamic symbols are the ground truth then;
    /// set by `PrefixShared` only.
    pub library: Option<PathBuf>,
    /// What a tracer must find, with names as the symbol table has them (so prefixed if renamed).
    pub expect: Vec<Expectation>,
}

/// Functions of one TLS library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// `openssl`, `gnutls`, `nss`, `nspr`, `go-crypto-tls` or `rustls`.
    pub library: String,
    /// Symbol names; for rustls those of discovery, each of which stands for several symbols.
    pub functions: Vec<String>,
}

/// Why there is no [`Testbin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbuilt {
    /// It went wrong; the text says where and holds what the tool printed.
    Failed(String),
    /// This tool, package or library is not installed.
    Missing(String),
}

impl Unbuilt {
    fn failed(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Failed(format!("{what}: {why}"))
    }
}

impl fmt::Display for Unbuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Missing(what) => write!(f, "{what} is not installed"),
        }
    }
}

impl std::error::Error for Unbuilt {}

/// Builds a variant of a program, or finds it built already.
///
/// ```no_run
/// let stripped = agentsight_testbins::build("openssl/pair", "static.strip")?;
/// assert_ne!(stripped.path, stripped.twin);
/// # Ok::<(), agentsight_testbins::Unbuilt>(())
/// ```
pub fn build(program: &str, variant: &str) -> Result<Testbin, Unbuilt> {
    let recipe = Recipe::load(program)?;
    let (base, step) = match variant.split_once('.') {
        Some((base, step)) => (base, Some(step)),
        None => (variant, None),
    };
    let linked = link::build(&recipe, recipe.variant(base)?)?;
    match step {
        Some(step) => post::build(&recipe, &linked, recipe.post(base, step)?),
        None => Ok(linked),
    }
}

/// Every program with every variant of it, sorted by program; needs no compiler.
pub fn list() -> Result<Vec<(String, String)>, Unbuilt> {
    let mut all = Vec::new();
    for program in directive::programs()? {
        let recipe = Recipe::load(&program)?;
        let variants = recipe.variant_names();
        all.extend(variants.map(|variant| (program.clone(), variant)));
    }
    Ok(all)
}
