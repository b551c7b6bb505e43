//! Two levels of one thing: the AEAD functions of a provider, and rustls's methods that call them. Both are
//! reported; where both are known the AEAD functions are watched, because they have one calling convention
//! in all versions of rustls and prove by themselves what they handle.

use super::super::by_name::Found;
use super::super::evidence::{Evidence, Method};
use super::super::finding::{Finding, Function, Refusal};
use super::traits::{Provider, Traits};
use crate::symdb::Role;

/// Why AEAD functions are left alone.
const INCOMPLETE: &str =
    "not all AEAD functions of its provider were found: rustls's own methods are watched instead";

/// Adds what is known of rustls's methods, crates and compiler to the AEAD functions that were found.
pub(super) fn join(found: &mut Found, traits: Traits) {
    for finding in of_rustls(found) {
        finding.version = traits.version.clone().or(finding.version.take());
        finding.compiler = traits.paths.compiler.clone();
        if let Some(name) = finding.provider.as_deref().and_then(package)
            && traits.paths.versions(name).is_some()
        {
            finding.provider = Some(traits.paths.describe(name));
        }
    }
    let has_tables = of_rustls(found).next().is_some();
    let mut alone = Vec::new();
    for provider in traits.providers {
        let name = provider.name.as_deref().unwrap_or_default();
        let mut same = of_rustls(found);
        match same.find(|finding| finding.provider.as_deref().and_then(package) == Some(name)) {
            Some(finding) => add_methods(finding, provider),
            None => alone.push(finding(
                provider,
                &traits.version,
                &traits.paths.compiler,
                has_tables,
            )),
        }
    }
    found.findings.extend(alone);
    for finding in of_rustls(found) {
        let functions = &mut finding.functions;
        functions.sort_by(|a, b| (&a.name, a.vaddr).cmp(&(&b.name, b.vaddr)));
    }
    if of_rustls(found).next().is_none() {
        let refused = traits.refused.into_iter();
        found.refused.extend(refused.map(|reason| Refusal {
            library: "rustls".to_owned(),
            reason,
        }));
    }
}

fn of_rustls(found: &mut Found) -> impl Iterator<Item = &mut Finding> {
    let findings = found.findings.iter_mut();
    findings.filter(|finding| finding.library == "rustls")
}

/// The crate by which rustls reaches a provider that was found by its tables.
fn package(provider: &str) -> Option<&'static str> {
    match provider.split_whitespace().next()? {
        "ring" => Some("ring"),
        "aws-lc" | "aws-lc-rs" | "aws-lc-sys" => Some("aws-lc-rs"),
        "boringssl" => Some("boring-rustls-provider"),
        _ => None,
    }
}

/// AEAD functions that would be watched.
fn aead(finding: &Finding, role: Role) -> impl Iterator<Item = &Function> {
    let functions = finding.functions.iter();
    functions.filter(move |function| function.role == role && function.unprobed.is_none())
}

/// AES-GCM and ChaCha20-Poly1305 have functions of their own: with less, some connections would not be seen.
fn is_complete(finding: &Finding) -> bool {
    let mut roles = [Role::Read, Role::Write].into_iter();
    roles.all(|role| aead(finding, role).count() >= 2)
}

/// The same provider on both levels: each is evidence for the other.
fn add_methods(finding: &mut Finding, provider: Provider) {
    if !is_complete(finding) {
        for function in &mut finding.functions {
            function
                .unprobed
                .get_or_insert_with(|| INCOMPLETE.to_owned());
        }
        finding.functions.extend(provider.functions);
        return;
    }
    let detail = format!(
        "{} methods of rustls for this provider were found by their vtables",
        provider.functions.len()
    );
    let functions = finding.functions.iter_mut();
    for function in functions.filter(|function| function.unprobed.is_none()) {
        function.evidence.push(Evidence {
            method: Method::TraitVtable,
            detail: detail.clone(),
        });
    }
    let covers = |role: Role| aead(finding, role).next().map(|one| one.name.clone());
    let (seal, open) = (covers(Role::Write), covers(Role::Read));
    let methods = provider.functions.into_iter().map(|method| Function {
        covered_by: match method.role {
            Role::Write => seal.clone(),
            _ => open.clone(),
        },
        ..method
    });
    finding.functions.extend(methods);
}

/// A provider whose AEAD functions are not known. If it cannot be named and there are some, they may be its own:
/// the same bytes would be told twice.
fn finding(
    provider: Provider,
    version: &Option<String>,
    compiler: &Option<String>,
    has_tables: bool,
) -> Finding {
    let mut functions = provider.functions;
    if provider.name.is_none() && has_tables {
        for function in &mut functions {
            function.unprobed =
                Some("its provider has no name here, and may be the one whose AEAD functions are watched".to_owned());
        }
    }
    Finding {
        library: "rustls".to_owned(),
        version: version.clone(),
        provider: provider.described.or(provider.name),
        compiler: compiler.clone(),
        functions,
        guard: None,
        go: None,
    }
}
