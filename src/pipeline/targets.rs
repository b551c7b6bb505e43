//! What a selection comes to: libraries to probe in whoever uses them, programs whose processes are followed, and what the
//! kernel side must ask about.

use std::path::{Path, PathBuf};

use super::Options;
use super::judge::asked;
use crate::attach::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::host::places::Places;
use crate::host::roots::Root;
use crate::host::selected;
use crate::image::ImageFile;
use crate::select::Selection;

/// Opened and sorted.
pub struct Targets {
    pub libraries: Vec<ImageFile>,
    /// Those that we can reach already.
    pub programs: Vec<ImageFile>,
    /// What is left to decide by, its binaries being programs.
    pub rules: Selection,
    pub scope: Scope,
}

/// As the kernel names it once it is deleted. What lies in another root has its name there, which is another file's here.
fn canonical(path: &Path) -> PathBuf {
    let is_ours = Root::of_path(path).is_ok_and(|root| root.is_ours());
    let canonical = path.canonicalize().ok().filter(|_| is_ours);
    canonical.unwrap_or_else(|| path.to_owned())
}

/// Whoever runs it runs many other scripts.
fn refuse_script(file: &ImageFile) -> Result<()> {
    if !file.bytes().starts_with(b"#!") {
        return Ok(());
    }
    let path = file.path().display();
    Err(Error::new(
        ErrorKind::NotFound,
        format!(
            "{path} is a script: its processes run another program (agentsight record -- {path} observes what it \
             starts; --binary takes the program that runs it)"
        ),
    ))
}

impl Targets {
    /// Opens what is named.
    ///
    /// # Errors
    /// A binary is not there, or not ELF.
    pub fn open(options: &Options) -> Result<Self> {
        let Some(selection) = &options.selection else {
            return Ok(Self {
                libraries: Vec::new(),
                programs: Vec::new(),
                rules: Selection::default(),
                scope: Scope::Machine,
            });
        };
        let (mut libraries, mut programs) = (Vec::new(), Vec::new());
        let mut rules = selection.clone();
        if selection.containers.is_empty() {
            rules.binaries.clear();
            for path in &selection.binaries {
                if options.wait && !path.exists() {
                    rules.binaries.push(path.clone());
                    continue;
                }
                let file = ImageFile::open(path)?;
                refuse_script(&file)?;
                let image = file.image();
                let image = image.map_err(|error| error.with_kind(ErrorKind::NotFound))?;
                let is_program = image.is_program();
                drop(image);
                if is_program {
                    rules.binaries.push(canonical(path));
                    programs.push(file);
                } else {
                    libraries.push(file);
                }
            }
        }
        if !libraries.is_empty() && (!programs.is_empty() || !rules.exes.is_empty()) {
            return Err(Error::new(
                ErrorKind::Usage,
                "--binary: a library is observed in whoever uses it, a program in its own processes: name one or the other",
            ));
        }
        let is_everybody = !libraries.is_empty()
            && !rules.has_rules()
            && rules.pids.is_empty()
            && !options.observes_command;
        let scope = match is_everybody {
            true => Scope::Everybody,
            false => Scope::Selected {
                // A process that is named need not be found.
                asked: if rules.pids.is_empty() {
                    asked(&rules)
                } else {
                    0
                },
                follow: rules.follow,
            },
        };
        Ok(Self {
            libraries,
            programs,
            rules,
            scope,
        })
    }

    /// The processes that were named, as far as they fit what else is asked for.
    ///
    /// # Errors
    /// None of them does.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let rules = &self.rules;
        if rules.pids.is_empty() || !rules.has_rules() {
            return Ok(rules.pids.clone());
        }
        let alone = Selection {
            follow: false,
            ..rules.clone()
        };
        let places = Places::new();
        let fitting = selected::matching(&alone, |pid| places.of(pid.cast_unsigned()));
        if fitting.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                "--pid: none of these processes is what the other selectors ask for",
            ));
        }
        Ok(fitting.into_iter().map(i32::cast_unsigned).collect())
    }
}
