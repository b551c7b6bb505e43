//! From an image to findings: which TLS libraries a file holds and where their functions are.
//!
//! Evidence comes in rungs, strongest first ([`Method::LADDER`]); each is asked at most once and all
//! are kept for `--explain`. An address is unique or refused with the reason: a probe on a wrong one
//! can crash the process.

mod aead;
mod boringssl;
mod by_name;
pub mod evidence;
pub mod finding;
mod gnutls;
mod go;
pub mod names;
mod nss;
mod openssl;
mod packed;
mod rustls;
pub mod sites;
mod sources;
mod stripped;
mod structure;
mod version;

use std::cell::OnceCell;

use crate::error::Result;
use crate::image::debug_file::DebugDirs;
use crate::image::pointers::Pointers;
use crate::image::{Image, ImageFile};
use crate::symdb::SymbolDb;

pub use by_name::Found;
pub use evidence::{Confidence, Evidence, Method, Rung};
pub use finding::{Finding, Function, Import, Refusal, Report};
pub use names::Names;

use sources::Sources;

/// All that a finder may look at.
pub struct Case<'a> {
    /// The file's headers and bytes.
    pub image: &'a Image<'a>,
    /// Known facts.
    pub db: &'a SymbolDb,
    /// Names of interest in the file.
    pub names: &'a Names,
    /// What error calls tell, once some finder has asked.
    sources: OnceCell<Option<Sources<'a>>>,
    /// Words that hold addresses.
    pointers: Pointers<'a, 'a>,
}

impl<'a> Case<'a> {
    /// What error calls tell of the libraries inside; `None` if there are none.
    fn sources(&self) -> Option<&Sources<'a>> {
        self.sources
            .get_or_init(|| Sources::gather(self.image))
            .as_ref()
    }

    /// Words that hold addresses.
    fn pointers(&self) -> &Pointers<'a, 'a> {
        &self.pointers
    }
}

/// Recognises one TLS library in one image.
///
/// * `Ok(None)`: this image is not ours (the normal case; costs a look at the names or one scan)
/// * `Ok(Some(found))`: functions found, each with [`Evidence`]; partial results are fine, and what
///   was there and cannot be used is refused with its reason
/// * `Err(error)`: the image is ours but broken or beyond a limit; other finders still run
///
/// A finder reads only its [`Case`]; it never opens files and never looks at processes.
trait Finder: Sync {
    fn library(&self) -> &'static str;
    fn find(&self, case: &Case<'_>) -> Result<Option<Found>>;

    /// The same for one that must know what the finders before it have said.
    fn find_after(&self, case: &Case<'_>, _before: &Report) -> Result<Option<Found>> {
        self.find(case)
    }
}

/// In the order of reports.
const FINDERS: &[&dyn Finder] = &[
    &openssl::OpenSsl,
    &boringssl::BoringSsl,
    &gnutls::GnuTls,
    &nss::Nspr,
    &nss::Nss,
    &go::Go,
    &rustls::Rustls,
];

/// Examines one file.
///
/// # Errors
/// It is no ELF file, or damaged beyond use. A finder that fails is a refusal, not an error.
pub fn examine(file: &ImageFile, db: &SymbolDb, dirs: &DebugDirs) -> Result<Report> {
    let image = file.image()?;
    let names = Names::collect(file, &image, db, dirs);
    let case = Case {
        image: &image,
        db,
        names: &names,
        sources: OnceCell::new(),
        pointers: Pointers::new(&image),
    };
    let mut report = Report {
        path: file.path().display().to_string(),
        arch: image.arch.to_string(),
        build_id: image.build_id.as_ref().map(ToString::to_string),
        size: file.identity().size,
        findings: Vec::new(),
        refused: Vec::new(),
        warnings: image
            .section_damage
            .iter()
            .map(|damage| format!("section headers unreadable ({damage}): is the file whole?"))
            .chain(packed::warning(&image))
            .collect(),
        imports: imports(db, &names),
        ladder: Vec::new(),
    };
    for finder in FINDERS {
        match finder.find_after(&case, &report) {
            Ok(None) => {}
            Ok(Some(found)) => {
                report.findings.extend(found.findings);
                report.refused.extend(found.refused);
                report.ladder.extend(found.rungs);
            }
            Err(error) => report.refused.push(Refusal {
                library: finder.library().to_owned(),
                reason: format!("{error:#}"),
            }),
        }
    }
    report.ladder.extend(names.rungs);
    report.ladder.sort_by_key(|rung| rung.method);
    sites::examine(&image, &mut report);
    Ok(report)
}

/// OpenSSL and BoringSSL share most names, and an import does not say which one will answer: it is
/// told once, under the first library that has it.
fn imports(db: &SymbolDb, names: &Names) -> Vec<Import> {
    let mut left = names.imported.clone();
    let mut imports = Vec::new();
    for library in FINDERS
        .iter()
        .filter_map(|finder| db.library(finder.library()))
    {
        let functions: Vec<String> = library
            .functions
            .iter()
            .filter(|function| left.remove(&function.name))
            .map(|function| function.name.clone())
            .collect();
        if !functions.is_empty() {
            imports.push(Import {
                library: library.library.clone(),
                functions,
            });
        }
    }
    imports
}
