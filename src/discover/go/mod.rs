//! Go's crypto/tls, and forks of it, by what Go's runtime keeps: the function table names the functions,
//! the method table of `*tls.Conn` confirms them, the types tell where a connection's socket is.
//!
//! A fork is told by the path of its package: utls is a library of its own; qtls, which QUIC alone uses
//! and which moves no plaintext through `Read` and `Write`, is named and never probed.

mod facts;
mod functions;
mod packages;

use super::by_name::Found;
use super::evidence::{Method, Rung};
use super::finding::{Finding, Refusal};
use super::{Case, Finder};
use crate::error::Result;
use crate::image::Pointers;
use crate::image::go::{self, GoProgram, buildinfo};

use facts::NetTypes;
use functions::Search;
use packages::Packages;

/// The name of the library in all output.
const CRYPTO_TLS: &str = "go-crypto-tls";

pub(super) struct Go;

impl Finder for Go {
    fn library(&self) -> &'static str {
        CRYPTO_TLS
    }

    fn find(&self, case: &Case<'_>) -> Result<Option<Found>> {
        let pointers = case.pointers();
        Ok(match GoProgram::find(pointers)? {
            Some(program) => Some(examine(pointers, &program)),
            None => go::other_toolchain(case.image).map(|toolchain| Found {
                refused: vec![refusal(
                    CRYPTO_TLS,
                    format!("a Go program of {toolchain}, which has no function table to go by"),
                )],
                ..Found::default()
            }),
        })
    }
}

fn refusal(library: &str, reason: String) -> Refusal {
    Refusal {
        library: library.to_owned(),
        reason,
    }
}

fn examine(pointers: &Pointers<'_, '_>, program: &GoProgram<'_>) -> Found {
    let version = buildinfo::version(pointers);
    let packages = Packages::of(&program.pclntab);
    let mut types = program.types(pointers);
    let net = types.as_mut().map(NetTypes::read);
    let mut found = Found::default();
    for tls in packages.with_types(net.as_ref()) {
        let search = Search {
            pointers,
            program,
            types: types.as_ref().zip(net.as_ref()),
            tls: &tls,
        };
        let functions = search.functions(&mut found.refused);
        if !functions.is_empty() {
            found.findings.push(Finding {
                library: tls.library.to_owned(),
                version: version.clone(),
                provider: None,
                compiler: None,
                functions,
                guard: None,
                go: Some(facts::facts(
                    types.as_ref().zip(net.as_ref()),
                    &tls,
                    version.as_deref(),
                )),
            });
        }
    }
    found.refused.extend(packages.refused());
    if !program.pclntab.mentions("\0runtime.") {
        found.refused.push(refusal(
            CRYPTO_TLS,
            "a Go program whose function names are obfuscated: not even the runtime's are there"
                .into(),
        ));
    }
    found.rungs.push(rung(program, &packages, &found));
    found
}

/// What the function table is worth, for `--explain`.
fn rung(program: &GoProgram<'_>, packages: &Packages, found: &Found) -> Rung {
    let table = &program.pclntab;
    let text = program.text().map_or("absolute addresses".into(), |text| {
        format!("text at {text}")
    });
    let module = program
        .module
        .as_ref()
        .map_or("no module data".into(), |module| {
            format!("module data at {}", module.addr)
        });
    let what = if packages.is_empty() && found.findings.is_empty() {
        ": Go program, no crypto/tls linked"
    } else {
        ""
    };
    Rung {
        method: Method::Pclntab,
        outcome: format!(
            "{} functions, {:?} format at {}, {module}, {text}{what}",
            table.functions, table.format, table.addr
        ),
        found: found.findings.iter().map(|f| f.functions.len()).sum(),
    }
}
