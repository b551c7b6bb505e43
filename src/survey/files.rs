//! What one file brings to the processes that have it mapped, each file looked at once.
//!
//! A file is known by what it is (device, inode, size, time of change), which is asked again for each process that maps it:
//! an inode number alone may be another file's by now.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use crate::cache::Examiner;
use crate::discover::{Confidence, Finding, Function, Method, Report};
use crate::error::Result;
use crate::image::{FileIdentity, ImageFile};
use crate::plan::{Choice, ProbePlan, choose_all};

/// Files that nobody uses any more are forgotten when there are more than this.
const FILES_MAX: usize = 4096;

/// What a file holds, for whoever maps it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) findings: Vec<Found>,
    /// Library and reason.
    pub(super) refused: Vec<(String, String)>,
    /// It asks for a loader, which may load more later.
    pub(super) is_dynamic: bool,
    /// Not for this kind of processor: which one.
    pub(super) foreign: Option<String>,
    /// It could not be examined, and why.
    pub(super) failure: Option<String>,
}

/// One library in a file.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) library: String,
    pub(super) version: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) confidence: Confidence,
    /// Strongest first.
    pub(super) methods: Vec<Method>,
    /// Why attach would see nothing of it, if that is so.
    pub(super) obstacle: Option<String>,
}

/// Verdicts on all files that were seen.
pub(super) struct Files<'e> {
    examiner: &'e Examiner,
    choice: &'e Choice,
    known: HashMap<FileIdentity, Rc<Verdict>>,
}

impl<'e> Files<'e> {
    pub(super) fn new(examiner: &'e Examiner, choice: &'e Choice) -> Self {
        Self {
            examiner,
            choice,
            known: HashMap::new(),
        }
    }

    /// The verdict on an open file, and which file it is.
    pub(super) fn verdict(
        &mut self,
        path: &Path,
        file: File,
    ) -> Result<(FileIdentity, Rc<Verdict>)> {
        let file = match FileIdentity::of(&file) {
            Ok(identity) if self.known.contains_key(&identity) => {
                let known = self.known.get(&identity).cloned().unwrap_or_default();
                return Ok((identity, known));
            }
            _ => ImageFile::from_file(path, file)?,
        };
        if self.known.len() >= FILES_MAX {
            self.known
                .retain(|_, verdict| Rc::strong_count(verdict) > 1);
        }
        let verdict = Rc::new(self.judge(&file));
        self.known.insert(file.identity(), Rc::clone(&verdict));
        Ok((file.identity(), verdict))
    }

    fn judge(&self, file: &ImageFile) -> Verdict {
        if !file.bytes().starts_with(b"\x7fELF") {
            return Verdict::default();
        }
        self.try_judge(file).unwrap_or_else(|error| Verdict {
            failure: Some(format!("{error:#}")),
            ..Verdict::default()
        })
    }

    fn try_judge(&self, file: &ImageFile) -> Result<Verdict> {
        let image = file.image()?;
        let is_dynamic = image.interpreter.is_some();
        let is_foreign = Some(image.arch) != crate::image::Arch::HOST || !image.is_64;
        let mut report = self.examiner.examine(file)?.report;
        choose_all(&mut report, self.choice);
        let plan = |finding: &Finding| {
            let alone = Report {
                findings: vec![finding.clone()],
                ..report.clone()
            };
            ProbePlan::new(&alone, image.arch, image.is_64, file.identity())
        };
        let foreign = is_foreign.then(|| {
            let bits = if image.is_64 { "64" } else { "32" };
            format!("{bits}-bit {}", report.arch)
        });
        let found = |finding: &Finding| Found {
            library: finding.library.clone(),
            version: finding.version.clone(),
            provider: finding.provider.clone(),
            confidence: confidence(finding),
            methods: methods(finding),
            obstacle: match &foreign {
                Some(what) => Some(format!(
                    "{what}: only 64-bit {} is probed",
                    std::env::consts::ARCH
                )),
                None => obstacle(plan(finding)),
            },
        };
        Ok(Verdict {
            findings: report.findings.iter().map(found).collect(),
            refused: report
                .refused
                .iter()
                .map(|refusal| (refusal.library.clone(), refusal.reason.clone()))
                .collect(),
            is_dynamic,
            foreign: foreign.clone(),
            failure: None,
        })
    }
}

/// Why nothing would be seen with this plan.
fn obstacle(plan: Result<ProbePlan>) -> Option<String> {
    match plan {
        // NSS itself only tells which descriptors are TLS; NSPR, which comes with it, moves the bytes.
        Ok(plan) if plan.captures() || plan.is_nss => None,
        Ok(plan) => Some(match plan.skipped.first() {
            Some(skipped) => format!("{}: {}", skipped.function, skipped.reason),
            None => "no function of it moves plaintext".to_owned(),
        }),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// As sure as the least sure of the functions that are watched.
fn confidence(finding: &Finding) -> Confidence {
    let watched =
        |function: &&Function| function.covered_by.is_none() && function.unprobed.is_none();
    let sure = finding.functions.iter().filter(watched);
    sure.map(|function| function.confidence)
        .min()
        .unwrap_or(Confidence::Medium)
}

fn methods(finding: &Finding) -> Vec<Method> {
    let evidence = finding
        .functions
        .iter()
        .flat_map(|function| &function.evidence);
    let mut methods: Vec<Method> = evidence.map(|evidence| evidence.method).collect();
    methods.sort_unstable();
    methods.dedup();
    methods
}
