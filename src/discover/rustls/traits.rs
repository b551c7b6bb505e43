//! rustls by its own trait methods, whoever the provider is: second evidence where the provider's AEAD functions are
//! known, and the way to capture where they are not.

use std::collections::{BTreeMap, BTreeSet};

use super::locations::{Location, Locations};
use super::methods::Way;
use super::paths::{Paths, SourceFile};
use super::symbols::{self, Named};
use super::vtables::{Method as Found, Origin, Search};
use crate::discover::finding::{Abi, Call, Function, Sites};
use crate::discover::{Case, Confidence, Evidence, Method};
use crate::error::Result;
use crate::image::VirtAddr;
use crate::image::unwind::UnwindTable;
use crate::symdb::Role;
use crate::symdb::rustls::{Convention, RecordLayout, RecordLayouts};

/// The crate.
pub(super) const RUSTLS: &str = "rustls";
/// Most functions of one provider.
const FUNCTIONS_MAX: usize = 64;

/// What is known of rustls in one file.
#[derive(Default)]
pub(super) struct Traits {
    /// Its version, if there is one.
    pub version: Option<String>,
    /// Crates and compiler.
    pub paths: Paths,
    /// Its methods, one entry per provider, sorted by the provider's name.
    pub providers: Vec<Provider>,
    /// What is there and is not used, with the reason.
    pub refused: Vec<String>,
}

/// The methods of one provider.
pub(super) struct Provider {
    /// `ring`, `aws-lc-rs`, or the name of another crate; `None` if nothing tells.
    pub name: Option<String>,
    /// The same with its version.
    pub described: Option<String>,
    /// Each of them tells the name by itself.
    pub is_named: bool,
    /// The version of rustls that they belong to, if the source paths of them all tell one.
    pub version: Option<String>,
    /// `rustls::encrypt` and `rustls::decrypt`, each name at several addresses.
    pub functions: Vec<Function>,
}

impl Provider {
    fn new(name: Option<String>, paths: &Paths) -> Self {
        Self {
            described: name.as_deref().map(|name| paths.describe(name)),
            name,
            is_named: true,
            version: None,
            functions: Vec::new(),
        }
    }

    fn count(&self, role: Role) -> usize {
        let functions = self.functions.iter();
        functions.filter(|function| function.role == role).count()
    }

    fn has_both(&self) -> bool {
        let sent = self.count(Role::Write);
        sent > 0 && sent == self.count(Role::Read)
    }
}

impl Traits {
    /// The one provider that rustls uses here, if nothing leaves room for another.
    pub fn only_provider(&self) -> Option<&Provider> {
        let [provider] = self.providers.as_slice() else {
            return None;
        };
        let is_whole = self.refused.is_empty() && provider.has_both();
        (is_whole && provider.is_named && provider.name.is_some()).then_some(provider)
    }
}

/// All of one file. `Ok(None)`: no rustls here.
///
/// # Errors
/// The database is damaged.
pub(super) fn find<'a>(case: &Case<'a>, locations: &Locations<'a>) -> Result<Option<Traits>> {
    let paths = Paths::of(case.image, locations);
    let named = symbols::methods(case);
    let versions = paths.versions(RUSTLS).cloned();
    if versions.is_none() && named.is_empty() {
        return Ok(None);
    }
    let versions = versions.unwrap_or_default();
    let mut traits = Traits {
        version: versions.first().filter(|_| versions.len() == 1).cloned(),
        paths,
        ..Traits::default()
    };
    let layouts = RecordLayouts::load()?;
    let mut known = Vec::new();
    for version in &versions {
        match layouts
            .of(version)
            .filter(|layout| layout.convention.is_some())
        {
            Some(layout) => known.push(layout),
            None => traits.refused.push(format!(
                "rustls {version}: how it hands records to its methods is not known"
            )),
        }
    }
    if versions.is_empty() {
        traits.refused.push(
            "rustls is inside, but no source path tells its version, on which the layout of records depends"
                .to_owned(),
        );
    }
    known.dedup_by_key(|layout| layout.since.clone());
    let gathered = Gather {
        case,
        locations,
        named: &named,
        layouts: &layouts,
        unwind: UnwindTable::new(case.image),
        found: BTreeMap::new(),
    };
    gathered.run(&known, &mut traits);
    Ok(Some(traits))
}

/// One method, with all that speaks for it.
struct Candidate<'a> {
    convention: Convention,
    way: Way,
    vtables: Vec<(Found<'a>, String)>,
    /// It was taken for another method as well: nothing makes up for that.
    is_contradicted: bool,
}

struct Gather<'c, 'a> {
    case: &'c Case<'a>,
    locations: &'c Locations<'a>,
    named: &'c BTreeMap<VirtAddr, Named>,
    layouts: &'c RecordLayouts,
    unwind: Option<UnwindTable<'a>>,
    found: BTreeMap<VirtAddr, Candidate<'a>>,
}

impl<'a> Gather<'_, 'a> {
    fn run(mut self, layouts: &[&RecordLayout], traits: &mut Traits) {
        if let Some(search) = Search::new(self.case, self.locations) {
            for layout in layouts {
                self.search(&search, layout, traits);
            }
        }
        self.by_names(layouts);
        let mut providers: BTreeMap<Option<String>, Provider> = BTreeMap::new();
        let mut versions: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
        let only = self.only_provider();
        // Those that contradict each other have been refused.
        let sound = |(_, candidate): &(&VirtAddr, &Candidate<'a>)| !candidate.is_contradicted;
        for (addr, candidate) in self.found.iter().filter(sound) {
            let own = self.provider(*addr, candidate);
            let name = own.clone().or_else(|| only.clone());
            match self.function(*addr, candidate) {
                Ok(function) => {
                    let new = || Provider::new(name.clone(), &traits.paths);
                    let provider = providers.entry(name.clone()).or_insert_with(new);
                    provider.is_named &= own.is_some();
                    provider.functions.push(function);
                    versions.entry(name).or_default().extend({
                        let methods = candidate.vtables.iter();
                        methods.flat_map(|(method, _)| versions_told(&method.places))
                    });
                }
                Err(reason) => traits.refused.push(reason),
            }
        }
        for (name, mut provider) in providers {
            let (sent, received) = (provider.count(Role::Write), provider.count(Role::Read));
            if sent + received > FUNCTIONS_MAX {
                traits.refused.push(format!(
                    "{} trait methods of {}: more than any provider has",
                    sent + received,
                    name.as_deref().unwrap_or("one provider")
                ));
                continue;
            }
            if sent != received {
                traits.refused.push(format!(
                    "{sent} methods that encrypt and {received} that decrypt: some were not found"
                ));
            }
            let functions = &mut provider.functions;
            functions.sort_by(|a, b| (&a.name, a.vaddr).cmp(&(&b.name, b.vaddr)));
            let versions = versions.remove(&name).unwrap_or_default();
            provider.version = versions.first().filter(|_| versions.len() == 1).cloned();
            traits.providers.push(provider);
        }
        let is_empty = traits.providers.is_empty() && !layouts.is_empty();
        if is_empty {
            traits.refused.push(
                "no vtable was found through which rustls calls whoever encrypts its records"
                    .to_owned(),
            );
        }
    }

    fn search(&mut self, search: &Search<'_, 'a>, layout: &RecordLayout, traits: &mut Traits) {
        let Some(convention) = layout.convention else {
            return;
        };
        let mut methods = search.by_algorithms(layout);
        // TLS 1.3 had no algorithm of its own then.
        let is_old = layout.makers.methods < 4;
        if is_old {
            let more = search.by_places(layout, &self.own_places());
            if more.is_empty() {
                let reason = "the methods for TLS 1.3 were not found: no vtable of theirs is known";
                traits.refused.push(reason.to_owned());
            }
            methods.extend(more);
        }
        // With two versions inside, each method is judged by the layout of its own.
        let is_own = |method: &Found<'_>| {
            let told = versions_told(&method.places);
            let mut layouts = told.iter().filter_map(|version| self.layouts.of(version));
            told.is_empty() || layouts.any(|own| own.since == layout.since)
        };
        methods.retain(is_own);
        for method in methods {
            let addr = method.vtable.method;
            let candidate = self.found.entry(addr).or_insert_with(|| Candidate {
                convention,
                way: method.way,
                vtables: Vec::new(),
                is_contradicted: false,
            });
            if candidate.is_contradicted {
                continue;
            }
            if candidate.convention != convention || candidate.way != method.way {
                traits
                    .refused
                    .push(format!("{addr}: may be more than one method"));
                candidate.is_contradicted = true;
                continue;
            }
            let known = candidate.vtables.iter();
            if !known
                .map(|(known, _)| known.vtable)
                .any(|vtable| vtable == method.vtable)
            {
                let version = layout.since.clone();
                candidate.vtables.push((method, version));
            }
        }
    }

    /// Places in rustls itself.
    fn own_places(&self) -> Vec<VirtAddr> {
        let is_own = |location: &&Location<'_>| {
            SourceFile::parse(location.path).is_some_and(|source| source.package == RUSTLS)
        };
        let places = self.locations.iter().filter(is_own);
        places.map(|location| location.addr).collect()
    }

    /// Methods that only symbols tell; all versions in the file must agree on their layout.
    fn by_names(&mut self, layouts: &[&RecordLayout]) {
        let mut conventions: Vec<_> = layouts.iter().filter_map(|l| l.convention).collect();
        conventions.dedup();
        let &[convention] = conventions.as_slice() else {
            return;
        };
        for (addr, named) in self.named {
            self.found.entry(*addr).or_insert_with(|| Candidate {
                convention,
                way: named.way,
                vtables: Vec::new(),
                is_contradicted: false,
            });
        }
    }

    /// The provider of them all, if no other one is named: not every method can panic in its own source.
    fn only_provider(&self) -> Option<String> {
        let all = self.found.iter();
        let named: BTreeSet<_> = all
            .filter_map(|(addr, candidate)| self.provider(*addr, candidate))
            .collect();
        let mut named = named.into_iter();
        named.next().filter(|_| named.next().is_none())
    }

    fn provider(&self, addr: VirtAddr, candidate: &Candidate<'a>) -> Option<String> {
        let named = self.named.get(&addr).and_then(|named| by_type(&named.of));
        named.or_else(|| {
            let vtables = candidate.vtables.iter();
            let mut places = vtables.flat_map(|(method, _)| &method.places);
            places.find_map(|location| by_place(location))
        })
    }

    fn function(&self, addr: VirtAddr, candidate: &Candidate<'a>) -> Result<Function, String> {
        let segments = &self.case.image.segments;
        let file_offset = segments
            .code_offset(addr)
            .ok_or_else(|| format!("{addr} is not in an executable segment"))?;
        let covering = self
            .unwind
            .as_ref()
            .and_then(|unwind| unwind.covering(addr));
        if covering.is_some_and(|range| range.start != addr) {
            return Err(format!(
                "{addr} is inside of another function by the unwind table"
            ));
        }
        let named = self
            .named
            .get(&addr)
            .filter(|named| named.way == candidate.way);
        let vtables = candidate.vtables.iter();
        let mut evidence: Vec<_> = vtables.map(|(method, _)| vtable_evidence(method)).collect();
        evidence.extend(named.map(|named| named.evidence.clone()));
        evidence.sort_by_key(|evidence| evidence.method);
        if evidence.is_empty() {
            return Err(format!("{addr}: a symbol says that it is the other method"));
        }
        let methods: BTreeSet<_> = evidence.iter().map(|e| e.method).collect();
        let (name, role) = match candidate.way {
            Way::Encrypt => ("rustls::encrypt", Role::Write),
            Way::Decrypt => ("rustls::decrypt", Role::Read),
        };
        let code_size = candidate
            .vtables
            .first()
            .map(|(method, _)| method.code_size);
        Ok(Function {
            name: name.to_owned(),
            role,
            vaddr: addr,
            file_offset,
            size: named.map(|named| named.size).or(code_size).unwrap_or(0),
            confidence: if methods.contains(&Method::Symtab) {
                Confidence::High
            } else {
                Confidence::Medium
            },
            evidence,
            sites: Sites::classic(addr, file_offset, candidate.way == Way::Decrypt),
            call: Call {
                abi: match candidate.convention {
                    Convention::Opaque => Abi::RustlsOpaque,
                    Convention::Borrowed => Abi::RustlsBorrowed,
                },
                ..Call::default()
            },
            legal: None,
            covered_by: None,
            unprobed: None,
        })
    }
}

/// The versions of rustls in whose source these places are.
fn versions_told(places: &[Location<'_>]) -> BTreeSet<String> {
    let sources = places
        .iter()
        .filter_map(|location| SourceFile::parse(location.path));
    let own = sources.filter(|source| source.package == RUSTLS);
    own.filter_map(|source| source.version.map(str::to_owned))
        .collect()
}

fn vtable_evidence(method: &Found<'_>) -> Evidence {
    let vtable = method.vtable;
    let origin = match method.origin {
        Origin::Algorithm(at) => {
            format!("made by a method of the algorithm whose vtable is at {at}")
        }
        Origin::Panics(at) => {
            format!("formed by the function at {at}, which can panic in the source of rustls")
        }
    };
    let mut places = method
        .places
        .iter()
        .map(|p| format!("{}:{}", short(p.path), p.line));
    let place = places
        .next()
        .map(|place| format!(", {place}"))
        .unwrap_or_default();
    Evidence {
        method: Method::TraitVtable,
        detail: format!(
            "vtable at {} of an object of {} bytes, {origin}{place}",
            vtable.addr, vtable.size
        ),
    }
}

/// The path from the package's folder on.
fn short(path: &str) -> &str {
    let folder = path
        .rfind("/src/")
        .and_then(|at| path.get(..at)?.rfind('/'));
    folder.and_then(|at| path.get(at + 1..)).unwrap_or(path)
}

/// The provider to whose source a place belongs. rustls holds two itself.
fn by_place(location: &Location<'_>) -> Option<String> {
    let source = SourceFile::parse(location.path)?;
    if source.package != RUSTLS {
        return source
            .package
            .contains(RUSTLS)
            .then(|| source.package.to_owned());
    }
    let in_crypto = source
        .file
        .strip_prefix("crypto/")
        .and_then(|file| file.split_once('/'));
    match in_crypto {
        Some(("aws_lc_rs", _)) => Some("aws-lc-rs".to_owned()),
        Some((provider, _)) => Some(provider.to_owned()),
        // Before 0.22 there was one.
        None => matches!(source.file, "tls12/cipher.rs" | "tls13/key_schedule.rs")
            .then(|| "ring".to_owned()),
    }
}

/// The provider to which a type belongs: `rustls::crypto::ring::…` or `rustls_openssl::…`.
fn by_type(path: &str) -> Option<String> {
    let mut parts = path.split("::");
    let name = match (parts.next()?, parts.next()?, parts.next()?) {
        (RUSTLS, "crypto", provider) => provider,
        (RUSTLS, ..) => "ring",
        (package, ..) => package,
    };
    Some(name.replace('_', "-"))
}
