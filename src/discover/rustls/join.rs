//! Two levels of one thing: the AEAD functions of a provider, and rustls's methods that call them. Both are
//! reported; where both are known the AEAD functions are watched, because they have one calling convention
//! in all versions of rustls and prove by themselves what they handle.

use super::super::by_name::Found;
use super::super::evidence::{Evidence, Method, Rung};
use super::super::finding::{Abi, Finding, Function, Refusal};
use super::traits::{Provider, RUSTLS, Traits};
use crate::symdb::Role;

/// The crate by which rustls reaches BoringSSL.
pub(super) const BORINGSSL: &str = "boring-rustls-provider";
/// Why AEAD functions are left alone.
const INCOMPLETE: &str =
    "not all AEAD functions of its provider were found: rustls's own methods are watched instead";

/// Adds what is known of rustls's methods, crates and compiler to the AEAD functions that were found.
pub(super) fn join(found: &mut Found, mut traits: Traits) {
    for finding in of_rustls(found) {
        describe(finding, &traits);
    }
    leave_others_alone(found, &traits);
    let has_tables = of_rustls(found).next().is_some();
    let mut count = 0;
    let mut alone = Vec::new();
    for mut provider in std::mem::take(&mut traits.providers) {
        count += provider.functions.len();
        provider.version = provider.version.or_else(|| traits.version.clone());
        let left = attach(found, provider);
        alone.extend(left.map(|left| finding(left, &traits.paths.compiler, has_tables)));
    }
    found.findings.extend(alone);
    for finding in of_rustls(found) {
        let functions = &mut finding.functions;
        functions.sort_by(|a, b| (&a.name, a.vaddr).cmp(&(&b.name, b.vaddr)));
    }
    tell(found, count, traits.refused);
}

/// Versions, as paths of this very program tell them.
fn describe(finding: &mut Finding, traits: &Traits) {
    if traits.paths.versions(RUSTLS).is_some() {
        finding.version = traits.version.clone();
    }
    finding.compiler = traits.paths.compiler.clone();
    if let Some(name) = finding.provider.as_deref().and_then(package)
        && traits.paths.versions(name).is_some()
    {
        finding.provider = Some(traits.paths.describe(name));
    }
}

/// With one provider known for sure, AEAD functions of others serve something else.
fn leave_others_alone(found: &mut Found, traits: &Traits) {
    let Some(only) = traits.only_provider() else {
        return;
    };
    let name = only.described.as_deref().unwrap_or("another provider");
    let others = of_rustls(found).filter(|finding| !is_of(finding, only.name.as_deref()));
    for function in others.flat_map(|finding| &mut finding.functions) {
        let reason = || format!("rustls uses {name} in this file: this serves something else");
        function.unprobed.get_or_insert_with(reason);
    }
}

/// Gives methods to the copy of their provider whose AEAD functions are known. They come back if there is none.
fn attach(found: &mut Found, provider: Provider) -> Option<Provider> {
    let same = of_rustls(found).filter(|finding| is_of(finding, provider.name.as_deref()));
    let mut same: Vec<_> = same.collect();
    if let Some(finding) = same.iter_mut().find(|finding| is_complete(finding)) {
        add_methods(finding, provider);
        return None;
    }
    // The methods call one of the copies, and nobody knows which: the same bytes would be told twice.
    for function in same.iter_mut().flat_map(|finding| &mut finding.functions) {
        let reason = || INCOMPLETE.to_owned();
        function.unprobed.get_or_insert_with(reason);
    }
    let Some(first) = same.into_iter().next() else {
        return Some(provider);
    };
    first.version = provider.version.or(first.version.take());
    first.functions.extend(provider.functions);
    None
}

/// What is missing on the level of methods matters only where they are watched, or where there is nothing else.
fn tell(found: &mut Found, count: usize, reasons: Vec<String>) {
    let is_watched = |function: &Function| {
        let is_method = matches!(function.call.abi, Abi::RustlsOpaque | Abi::RustlsBorrowed);
        is_method && function.covered_by.is_none() && function.unprobed.is_none()
    };
    let all: Vec<_> = of_rustls(found).collect();
    let mut functions = all.iter().flat_map(|finding| &finding.functions);
    let matters = all.is_empty() || functions.any(is_watched);
    if count > 0 || !reasons.is_empty() {
        let parts = [format!("{count} methods of rustls")].into_iter();
        let parts: Vec<_> = parts.chain(reasons.iter().cloned()).collect();
        found.rungs.push(Rung {
            method: Method::TraitVtable,
            outcome: parts.join("; "),
            found: count,
        });
    }
    let reasons = reasons.into_iter().filter(|_| matters);
    found.refused.extend(reasons.map(|reason| Refusal {
        library: RUSTLS.to_owned(),
        reason,
    }));
}

fn of_rustls(found: &mut Found) -> impl Iterator<Item = &mut Finding> {
    let findings = found.findings.iter_mut();
    findings.filter(|finding| finding.library == RUSTLS)
}

/// The crate by which rustls reaches a provider that was found by its tables.
fn package(provider: &str) -> Option<&'static str> {
    match provider.split_whitespace().next()? {
        "ring" => Some("ring"),
        "aws-lc" | "aws-lc-rs" | "aws-lc-sys" => Some("aws-lc-rs"),
        "boringssl" => Some(BORINGSSL),
        _ => None,
    }
}

/// Whether these AEAD functions are those of a provider that goes by this name.
fn is_of(finding: &Finding, name: Option<&str>) -> bool {
    let own = finding.provider.as_deref().and_then(package);
    own.is_some() && own == name
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
    finding.version = provider.version.or(finding.version.take());
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
fn finding(provider: Provider, compiler: &Option<String>, has_tables: bool) -> Finding {
    let mut functions = provider.functions;
    if provider.name.is_none() && has_tables {
        for function in &mut functions {
            function.unprobed =
                Some("its provider has no name here, and may be the one whose AEAD functions are watched".to_owned());
        }
    }
    Finding {
        library: RUSTLS.to_owned(),
        version: provider.version,
        provider: provider.described.or(provider.name),
        compiler: compiler.clone(),
        functions,
        guard: None,
        go: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::Confidence;
    use crate::discover::finding::{Call, Sites};
    use crate::image::{FileOff, VirtAddr};

    fn functions(abi: Abi, places: impl IntoIterator<Item = u64>) -> Vec<Function> {
        let pair = |at: u64| [(Role::Write, at), (Role::Read, at + 8)];
        let function = |(role, at)| Function {
            name: format!("{role:?}"),
            role,
            vaddr: VirtAddr(at),
            file_offset: FileOff(at),
            size: 0,
            confidence: Confidence::High,
            evidence: Vec::new(),
            sites: Sites::classic(VirtAddr(at), FileOff(at), false),
            call: Call {
                abi,
                ..Call::default()
            },
            legal: None,
            covered_by: None,
            unprobed: None,
        };
        places.into_iter().flat_map(pair).map(function).collect()
    }

    fn of_tables(provider: &str, places: &[u64]) -> Finding {
        Finding {
            library: RUSTLS.to_owned(),
            version: None,
            provider: Some(provider.to_owned()),
            compiler: None,
            functions: functions(Abi::Ring, places.iter().copied()),
            guard: None,
            go: None,
        }
    }

    fn of_methods(name: &str) -> Provider {
        Provider {
            name: Some(name.to_owned()),
            described: Some(name.to_owned()),
            is_named: true,
            version: Some("0.23.46".to_owned()),
            functions: functions(Abi::RustlsBorrowed, [0x900]),
        }
    }

    fn joined(findings: Vec<Finding>, traits: Traits) -> Found {
        let mut found = Found {
            findings,
            ..Found::default()
        };
        join(&mut found, traits);
        found
    }

    /// Whether AEAD functions and methods would be probed.
    fn levels(finding: &Finding) -> (bool, bool) {
        let probed = |abi: Abi| {
            let mut functions = finding.functions.iter().filter(|f| f.call.abi == abi);
            functions.any(|f| f.covered_by.is_none() && f.unprobed.is_none())
        };
        (probed(Abi::Ring), probed(Abi::RustlsBorrowed))
    }

    /// Each record would be told twice, or not at all.
    #[test]
    fn copies_of_a_provider_are_watched_at_one_level() {
        let (whole, part) = ([0x100, 0x200], [0x300]);
        for (copies, expected) in [
            ([&part[..], &whole], [(true, false), (true, false)]),
            ([&whole, &whole], [(true, false), (true, false)]),
            ([&part, &part], [(false, true), (false, false)]),
        ] {
            let findings = copies.map(|places| of_tables("ring 0.17.14", places));
            let traits = Traits {
                providers: vec![of_methods("ring")],
                ..Traits::default()
            };
            let found = joined(findings.into(), traits);
            let all: Vec<_> = found.findings.iter().map(levels).collect();
            assert_eq!(all, expected, "{copies:x?}");
        }
    }

    /// A library that encrypts files would be taken for the one that encrypts connections; but a missing method
    /// may as well be one of another provider.
    #[test]
    fn what_rustls_does_not_use_is_left_alone() {
        for (refused, others_are_watched) in [(None, false), (Some("a reason".to_owned()), true)] {
            let findings = vec![
                of_tables("ring 0.17.14", &[0x100, 0x200]),
                of_tables("aws-lc-rs 1.18.1", &[0x300, 0x400]),
            ];
            let traits = Traits {
                providers: vec![of_methods("aws-lc-rs")],
                refused: Vec::from_iter(refused),
                ..Traits::default()
            };
            let found = joined(findings, traits);
            let all: Vec<_> = found.findings.iter().map(levels).collect();
            assert_eq!(all, [(others_are_watched, false), (true, false)]);
            assert!(
                found.refused.is_empty(),
                "nothing that is watched depends on it"
            );
        }
    }

    /// A direction would be missing without a word.
    #[test]
    fn reasons_are_told_where_methods_are_watched() {
        for (places, is_told) in [(&[0x100, 0x200][..], false), (&[0x100], true), (&[], true)] {
            let tables = (!places.is_empty()).then(|| of_tables("ring", places));
            let traits = Traits {
                providers: vec![of_methods("ring")],
                refused: vec!["a reason".to_owned()],
                ..Traits::default()
            };
            let found = joined(Vec::from_iter(tables), traits);
            assert_eq!(!found.refused.is_empty(), is_told, "{places:x?}");
            assert!(found.rungs[0].outcome.contains("a reason"));
        }
    }
}
