//! TLS libraries that are compiled here, from sources that crates carry, and put inside the test
//! programs: OpenSSL 1.1.1 to 4.0 and BoringSSL, by gcc and clang, at several levels.
//!
//! This is the matrix on which finders of stripped libraries are judged: [`build`] links a program
//! with the library of one [`Combination`] and strips a copy. Libraries are made once per recipe,
//! like everything under `<target dir>/testbins/`. What only an extended run wants is marked so.

mod boringssl;
mod make;
mod matrix;
mod openssl;
mod source;

use crate::directive::{Recipe, Variant};
use crate::{Expectation, Post, Testbin, Unbuilt, link, post};

pub use matrix::MATRIX;

/// Set to anything, it asks for the combinations that take long, too.
pub const EXTENDED: &str = "AGENTSIGHT_EXTENDED";

/// A library, how it is compiled, and how a program takes it in.
#[derive(Clone, Copy, Debug)]
pub struct Combination {
    /// The name of the program's variant: `openssl-3.6-clang-Os`.
    pub name: &'static str,
    /// Where the library comes from.
    pub library: Library,
    /// `gcc` or `clang`, for the library and the program.
    pub compiler: &'static str,
    /// How the part of the library is compiled that the finders look at.
    pub library_flags: &'static str,
    /// How the program is compiled and linked.
    pub program_flags: &'static str,
    /// Whether only an extended run builds it.
    pub extended: bool,
}

/// Where a library comes from.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Library {
    /// BoringSSL in this crate and version, below this folder of the crate.
    BoringSsl(&'static str, &'static str, &'static str),
    /// `libssl.a` of the system.
    System,
    /// OpenSSL in this version of the crate `openssl-src`.
    OpenSsl(&'static str),
}

impl Library {
    /// Its name in symbol-db.
    pub fn family(self) -> &'static str {
        match self {
            Self::BoringSsl(..) => "boringssl",
            Self::OpenSsl(_) | Self::System => "openssl",
        }
    }
}

/// What this run should build: everything if [`EXTENDED`] is set, else what takes little time.
pub fn wanted() -> impl Iterator<Item = &'static Combination> {
    let extended = std::env::var_os(EXTENDED).is_some();
    MATRIX
        .iter()
        .filter(move |combination| extended || !combination.extended)
}

/// Links a program (`openssl/pair`) with the library of a combination; the copy is stripped.
pub fn build(program: &str, combination: &Combination) -> Result<Testbin, Unbuilt> {
    let mut recipe = Recipe::load(program)?;
    // The headers are the library's own.
    recipe.packages.clear();
    for expect in &mut recipe.expect {
        *expect = expectation(expect, combination.library);
    }
    let variant = Variant {
        name: combination.name.to_owned(),
        compiler: combination.compiler.to_owned(),
        flags: flags(combination)?,
        prefix: None,
    };
    let linked = link::build(&recipe, &variant)?;
    post::build(&recipe, &linked, Post::Strip)
}

/// BoringSSL shares most names, but not these.
fn expectation(openssl: &Expectation, library: Library) -> Expectation {
    let is_boring = library.family() == "boringssl";
    let functions = openssl.functions.iter();
    let shared = functions.filter(|name| !(is_boring && name.ends_with("_ex")));
    Expectation {
        library: library.family().to_owned(),
        functions: shared.cloned().collect(),
    }
}

fn flags(combination: &Combination) -> Result<Vec<String>, Unbuilt> {
    let mut flags = words(combination.program_flags);
    match combination.library {
        Library::System => flags.extend(words("-l:libssl.a -l:libcrypto.a")),
        Library::OpenSsl(_) => flags.extend(openssl::build(combination)?),
        Library::BoringSsl(..) => flags.extend(boringssl::build(combination)?),
    }
    Ok(flags)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
