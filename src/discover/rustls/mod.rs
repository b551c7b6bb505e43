//! rustls, by the AEAD functions of its cryptographic provider. The same functions serve other libraries, whose
//! own functions could not be found: s2n-tls, and BoringSSL where its `SSL_write` is out of reach.
//!
//! AEAD functions encrypt more than connections. They are reported only where TLS is inside that has no other
//! function to watch: plaintext is never taken at two levels.

mod join;
mod locations;
mod methods;
mod paths;
mod symbols;
mod traces;
mod traits;
mod vtables;

use std::cell::OnceCell;

use super::aead::{self, Kind, Provider};
use super::by_name::Found;
use super::evidence::{Confidence, Method, Rung};
use super::finding::{Finding, Function, Refusal, Report};
use super::{Case, Finder};
use crate::error::Result;
use crate::image::VirtAddr;

use locations::Locations;
use traces::Traces;
use traits::{RUSTLS, Traits};

/// Most bytes of a path before the folder of its crate.
const PATH_MAX: u64 = 256;

pub(super) struct Rustls;

impl Finder for Rustls {
    fn library(&self) -> &'static str {
        RUSTLS
    }

    fn find(&self, _: &Case<'_>) -> Result<Option<Found>> {
        Ok(None)
    }

    fn find_after(&self, case: &Case<'_>, before: &Report) -> Result<Option<Found>> {
        let mut providers = aead::providers(case, is_watched(before));
        let locations = Locations::gather(case);
        let traits = traits::find(case, &locations)?;
        let traces = OnceCell::new();
        let owners = Owners {
            before,
            traits: traits.as_ref(),
            traces: || traces.get_or_init(|| Traces::of(case)),
            has_boringssl: providers.iter().any(|one| one.kind == Kind::BoringSsl),
        };
        let mut found = Found::default();
        for provider in &mut providers {
            if let Some(library) = owners.library(provider) {
                found.add(library, provider, (owners.traces)());
            }
        }
        if let Some(traits) = traits {
            join::join(&mut found, traits);
        } else if locations.is_empty() && found.is_empty() && before.findings.is_empty() {
            found.refused.extend(unread(case, (owners.traces)()));
        }
        Ok((!found.is_empty()).then_some(found))
    }
}

/// rustls is inside by all signs, but nothing in this file is laid out as is known here. Its paths are this
/// program's own only if some word points to them: to those of a payload none does.
fn unread(case: &Case<'_>, traces: &Traces) -> Option<Refusal> {
    // Other texts may stand before it without a zero between.
    let is_text = |word: u64, size: u64| {
        let text = case.image.bytes_at(VirtAddr(word));
        let text = text.and_then(|text| text.get(..usize::try_from(size).ok()?));
        text.is_some_and(|text| text.iter().all(|byte| (b' '..0x7f).contains(byte)))
    };
    let is_path = |word: u64| {
        let paths = traces.rustls_paths.iter();
        let mut sizes = paths.filter_map(|path| path.0.checked_sub(word));
        sizes.any(|size| size < PATH_MAX && is_text(word, size))
    };
    let pointers = case.pointers();
    let is_inside = traces.key_log
        && match pointers.is_relocated() {
            true => pointers.relocated().iter().any(|one| is_path(one.target.0)),
            false => !pointers.words(is_path).is_empty(),
        };
    is_inside.then(|| Refusal {
        library: RUSTLS.to_owned(),
        reason: "its source paths are inside, but neither AEAD functions nor methods of its own were found"
            .to_owned(),
    })
}

/// Tells whose the functions are.
struct Owners<'r, T> {
    before: &'r Report,
    traits: Option<&'r Traits>,
    traces: T,
    /// There are tables in BoringSSL's form.
    has_boringssl: bool,
}

impl<'t, T: Fn() -> &'t Traces> Owners<'_, T> {
    /// The library that these functions would be watched for. `None`: none, or one that is watched already.
    fn library(&self, provider: &mut Provider) -> Option<&'static str> {
        match provider.kind {
            Kind::Ring => {
                let is_named = |function: &Function| {
                    let mut methods = function.evidence.iter().map(|evidence| evidence.method);
                    methods.any(|method| method <= Method::Dwarf)
                };
                let is_sure = !provider.is_weak
                    || provider.functions.iter().any(is_named)
                    || (self.traces)().ring.is_some();
                (is_sure && self.is_rustls_inside()).then_some(RUSTLS)
            }
            Kind::AwsLc => self.of_aws_lc(),
            Kind::BoringSsl if is_watched(self.before) => None,
            Kind::BoringSsl => {
                let traces = (self.traces)();
                let is_aws_lc = traces.aws_lc.is_some() && !self.is_inside();
                if is_aws_lc {
                    provider.rename(Kind::AwsLc);
                    return self.of_aws_lc();
                }
                match traces.rustls {
                    _ if self.is_inside() => Some("boringssl"),
                    Some(_) => self.may_use_boringssl().then_some(RUSTLS),
                    None if traces.key_log && self.before.findings.is_empty() => Some("boringssl"),
                    None => None,
                }
            }
        }
    }

    /// ring alone encrypts files and signs tokens.
    fn is_rustls_inside(&self) -> bool {
        let has_methods = self.traits.is_some_and(|all| !all.providers.is_empty());
        let is_traced = || {
            let traces = (self.traces)();
            traces.rustls.is_some() || traces.key_log
        };
        has_methods || is_traced()
    }

    /// Nothing says that rustls has another provider.
    fn may_use_boringssl(&self) -> bool {
        let only = self.traits.and_then(Traits::only_provider);
        let name = only.and_then(|only| only.name.as_deref());
        name.is_none_or(|name| name == join::BORINGSSL)
    }

    fn of_aws_lc(&self) -> Option<&'static str> {
        let traces = (self.traces)();
        // With its own TLS library found, the tables are that one's, unless there are others.
        let is_taken = is_watched(self.before) && !self.has_boringssl;
        match traces.rustls {
            Some(_) => Some(RUSTLS),
            None if traces.s2n => Some("s2n"),
            None if is_taken => None,
            None if self.is_inside() => Some("aws-lc"),
            None if traces.key_log && self.before.findings.is_empty() => Some("aws-lc"),
            None => None,
        }
    }

    /// It is there, found or not.
    fn is_inside(&self) -> bool {
        let findings = self.before.findings.iter().map(|finding| &finding.library);
        let refused = self.before.refused.iter().map(|refusal| &refusal.library);
        findings
            .chain(refused)
            .any(|library| library == "boringssl")
    }
}

/// BoringSSL's TLS, or AWS-LC's, which is like it, was found with all that moves data.
fn is_watched(before: &Report) -> bool {
    let findings = before.findings.iter();
    let mut own = findings.filter(|finding| finding.library == "boringssl");
    own.any(|finding| {
        let has = |name: &str| finding.functions.iter().any(|one| one.name.ends_with(name));
        has("SSL_read") && has("SSL_write")
    })
}

impl Found {
    fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.refused.is_empty()
    }

    fn add(&mut self, library: &str, provider: &mut Provider, traces: &Traces) {
        let name = provider.kind.as_str();
        let refused = provider.refused.drain(..);
        self.refused.extend(refused.map(|reason| Refusal {
            library: library.to_owned(),
            reason,
        }));
        let mut functions = std::mem::take(&mut provider.functions);
        if functions.is_empty() {
            return;
        }
        if library == "boringssl" {
            // The functions are what they seem to be, but what they serve is told by other signs.
            for function in &mut functions {
                function.confidence = Confidence::Medium;
            }
        }
        let told = match provider.kind {
            Kind::Ring => traces.ring.clone().flatten(),
            Kind::AwsLc => traces.aws_lc.clone().flatten(),
            Kind::BoringSsl => None,
        };
        self.rungs.push(Rung {
            method: Method::AeadTable,
            outcome: format!("{} AEAD functions of {name}", functions.len()),
            found: functions.len(),
        });
        self.findings.push(Finding {
            library: library.to_owned(),
            version: match library {
                RUSTLS => traces.rustls.clone().flatten(),
                _ => None,
            },
            provider: Some(told.unwrap_or_else(|| name.to_owned())),
            compiler: None,
            functions,
            guard: None,
            go: None,
        });
    }
}
