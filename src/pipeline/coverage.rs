//! Which files are probed. A program's TLS may live in its own file, in a library that it needs, or
//! in one that it loads later; each file is examined once, whoever uses it.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Progress;
use crate::attach::Session;
use crate::cache::Examiner;
use crate::discover::{Finding, Report};
use crate::doctor::{self, Launcher, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::event::ProcessId;
use crate::event::wire::{ConnState, Counter};
use crate::host::{libraries, processes};
use crate::image::{FileIdentity, Image, ImageFile};
use crate::plan::{Choice, ProbePlan, Skipped, choose_all};

/// Between two looks for processes whose end was not told: a full ring may have lost it.
const ALIVE_CHECK: Duration = Duration::from_secs(10);

/// An executable, not a library: `ET_EXEC`, marked as PIE, or with a loader and no library name.
pub fn is_program(image: &Image<'_>) -> bool {
    image.file_type == object::elf::ET_EXEC.0
        || image.is_pie()
        || (image.interpreter.is_some() && image.soname().is_none())
}

/// What one file brought.
#[derive(Clone, Copy, Debug, Default)]
struct Covered {
    /// Plaintext will be seen in it.
    captures: bool,
    /// It holds a TLS library that cannot be used.
    refused: bool,
}

/// The probes of a run.
pub struct Coverage<'c> {
    session: Session,
    examiner: &'c Examiner,
    choice: &'c Choice,
    progress: &'c mut dyn Progress,
    /// Inodes that need no second look.
    seen: HashSet<processes::Inode>,
    /// Whether return probes are safe for sandboxed programs, once tried.
    return_probes: Option<bool>,
    /// When the table of connections was last compared with the processes that run.
    checked_alive: Instant,
    /// Files that were examined, by what they are and not by where they are mapped.
    covered: HashSet<FileIdentity>,
    /// Processes that ended since the last sweep.
    ended: HashSet<ProcessId>,
    /// Processes whose loader announced something.
    loading: BTreeSet<u32>,
    /// The executable whose processes are covered; `None` for a library.
    program: Option<FileIdentity>,
}

impl<'c> Coverage<'c> {
    /// Nothing is covered yet.
    pub fn new(
        session: Session,
        examiner: &'c Examiner,
        choice: &'c Choice,
        progress: &'c mut dyn Progress,
    ) -> Self {
        Self {
            session,
            examiner,
            choice,
            progress,
            seen: HashSet::new(),
            return_probes: None,
            checked_alive: Instant::now(),
            covered: HashSet::new(),
            ended: HashSet::new(),
            loading: BTreeSet::new(),
            program: None,
        }
    }

    /// On kernels that do not let return probes through seccomp they would kill programs behind a filter, whomever the
    /// user asked for, and even those that start later: there, only sites without them. Tried once.
    fn are_return_probes_safe(&mut self) -> bool {
        let session = &self.session;
        let tried = || {
            if !session.features().return_probes {
                return Err("left out at the user's wish".to_owned());
            }
            let check = doctor::sandboxed_targets(&Launcher::this_program(), session);
            match check.status {
                Status::Ok => Ok(()),
                _ => Err(check.detail),
            }
        };
        if self.return_probes.is_none() {
            let safe = tried();
            if let Err(why) = &safe {
                self.progress.notice(&format!(
                    "no return probes: {why}; functions that cannot be watched otherwise are left out"
                ));
            }
            self.return_probes = Some(safe.is_ok());
        }
        self.return_probes == Some(true)
    }

    fn plan(&mut self, file: &ImageFile, report: &Report) -> Result<ProbePlan> {
        let image = file.image()?;
        let plan = |choice: &Choice| {
            let mut chosen = report.clone();
            choose_all(&mut chosen, choice);
            ProbePlan::new(&chosen, image.arch, image.is_64, file.identity())
        };
        let wanted = plan(self.choice)?;
        if !wanted.has_return_probes() || self.are_return_probes_safe() {
            return Ok(wanted);
        }
        let plan = plan(&Choice {
            return_probes: false,
            ..self.choice.clone()
        })?;
        let known = |skipped: &&Skipped| {
            wanted
                .skipped
                .iter()
                .all(|other| other.function != skipped.function)
        };
        for skipped in plan.skipped.iter().filter(known) {
            let (function, path) = (&skipped.function, file.path().display());
            let reason = &skipped.reason;
            self.progress
                .notice(&format!("not attached: {function} in {path}: {reason}"));
        }
        Ok(plan)
    }

    /// Covers an executable: itself, what it needs, what its processes have loaded, and what they will.
    ///
    /// # Errors
    /// There is nothing to attach to, now or later.
    pub fn cover_program(&mut self, program: ImageFile) -> Result<()> {
        self.session.add_target(program.file())?;
        self.session.follow_processes()?;
        self.program = Some(program.identity());
        let needed = libraries::needed(&program);
        let likely = libraries::likely(&program, self.sonames());
        let interpreter = interpreter(&program);
        let path = program.path().to_owned();
        let own = self.cover(program)?;
        let mut captures = own.captures;
        for library in needed {
            captures |= self.cover_gently(library).captures;
        }
        if let Some(loader) = &interpreter {
            self.watch_loader(loader);
        }
        for pid in self.running() {
            captures |= self.cover_maps(pid);
        }
        match (captures, interpreter) {
            (true, _) => Ok(()),
            (false, Some(_)) if !own.refused => {
                self.expect(&path, likely);
                Ok(())
            }
            // With a TLS library of its own inside, it will not load another one.
            (false, _) => Err(nothing(&path)),
        }
    }

    /// A program without TLS may load some later. What it would most probably load is probed before, so
    /// that not even its first bytes are missed; anything else when it comes.
    fn expect(&mut self, program: &Path, likely: Vec<ImageFile>) {
        let program = program.display();
        self.progress.notice(&format!(
            "waiting: no TLS library in {program} yet; what its processes load later is probed when it \
             comes, the system's libraries now"
        ));
        for library in likely {
            self.cover_gently(library);
        }
    }

    fn sonames(&self) -> impl Iterator<Item = &'c str> + use<'c> {
        let libraries = self.examiner.db().libraries().iter();
        libraries.flat_map(|library| library.sonames.iter().map(String::as_str))
    }

    /// Covers one library in whatever process uses it, with the other half that NSS needs.
    ///
    /// # Errors
    /// It has nothing to attach to.
    pub fn cover_library(&mut self, library: ImageFile) -> Result<()> {
        self.session.follow_processes()?;
        let path = library.path().to_owned();
        let halves = nss_halves(&library);
        let mut captures = self.cover(library)?.captures;
        for half in halves {
            captures |= self.cover_gently(half).captures;
        }
        if captures {
            Ok(())
        } else {
            Err(nothing(&path))
        }
    }

    fn running(&self) -> Vec<i32> {
        self.program.map(processes::running).unwrap_or_default()
    }

    /// A process loaded something: covers what is new, once for all its announcements in a batch.
    pub fn expect_news(&mut self, pid: u32) {
        self.loading.insert(pid);
    }

    /// Covers what was announced.
    pub fn cover_news(&mut self) {
        for pid in std::mem::take(&mut self.loading) {
            if let Ok(pid) = i32::try_from(pid) {
                self.cover_maps(pid);
            }
        }
    }

    /// Now and then: forgets processes that ended, and looks at all others again, for those that load
    /// code without telling a loader that we know.
    pub fn sweep(&mut self) {
        if self.session.shares_pids() && self.checked_alive.elapsed() >= ALIVE_CHECK {
            self.checked_alive = Instant::now();
            self.session.forget_calls(processes::has_thread);
            let known = self.session.processes().into_iter();
            self.ended
                .extend(known.filter(|process| !processes::is_alive(*process)));
        }
        if !self.ended.is_empty() {
            self.session.forget(&std::mem::take(&mut self.ended));
        }
        for misfit in self.session.remove_misfits() {
            self.progress.notice(&format!(
                "detached: {}: in none of {} calls its first argument was a connection of the library; \
                 what was taken for this function is another one, and nothing of it was reported",
                misfit.function, misfit.calls
            ));
        }
        for pid in self.running() {
            self.cover_maps(pid);
        }
    }

    fn cover_maps(&mut self, pid: i32) -> bool {
        let mut captures = false;
        for mapped in processes::mapped_files(pid) {
            if self.seen.contains(&mapped.inode) {
                continue;
            }
            self.seen.insert(mapped.inode);
            match mapped.open() {
                Ok(file) => captures |= self.cover_gently(file).captures,
                // It ended, or unmapped the file: nothing to cover any more.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => self.progress.notice(&format!("not examined: {error:#}")),
            }
        }
        captures
    }

    /// Covers a file that the user did not name: what is wrong with it stops nothing.
    fn cover_gently(&mut self, file: ImageFile) -> Covered {
        let path = file.path().to_owned();
        self.cover(file).unwrap_or_else(|error| {
            let path = path.display();
            self.progress
                .notice(&format!("not attached: {path}: {error:#}"));
            Covered::default()
        })
    }

    fn cover(&mut self, file: ImageFile) -> Result<Covered> {
        let identity = file.identity();
        self.seen.insert((identity.dev, identity.ino));
        if !self.covered.insert(identity) {
            return Ok(Covered::default());
        }
        let report = self.examiner.examine(&file)?.report;
        for refusal in &report.refused {
            self.progress.notice(&format!(
                "not attached: {} in {}: {}",
                refusal.library, report.path, refusal.reason
            ));
        }
        let plan = self.plan(&file, &report)?;
        let refused = !report.refused.is_empty();
        if plan.probes.is_empty() {
            return Ok(Covered {
                captures: false,
                refused,
            });
        }
        let attached = self.session.attach(&plan, file.file())?;
        for (function, reason) in &attached.failed {
            self.progress.notice(&format!(
                "not attached: {function} in {}: {reason}",
                report.path
            ));
        }
        self.tell_attached(&report, attached.functions);
        Ok(Covered {
            captures: plan.captures() && attached.functions > 0,
            refused,
        })
    }

    fn tell_attached(&mut self, report: &Report, functions: usize) {
        let names: Vec<_> = report.findings.iter().map(Finding::title).collect();
        self.progress.notice(&format!(
            "attached: {} in {}, {functions} functions",
            names.join(" and "),
            report.path
        ));
    }

    /// Without the loader's help, new libraries are found by looking now and then.
    fn watch_loader(&mut self, loader: &Path) {
        let attached = ImageFile::open(loader).and_then(|file| {
            let image = file.image()?;
            let offset = image
                .function_offset(b"_dl_debug_state")
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "it has no _dl_debug_state"))?;
            self.session.attach_loader(offset, file.file())
        });
        if let Err(error) = attached {
            let loader = loader.display();
            self.progress.notice(&format!(
                "libraries that are loaded later may be seen up to a second late: {loader}: {error:#}"
            ));
        }
    }

    /// A process ended: with the next sweep, the kernel's table forgets its connections.
    pub fn expect_no_more(&mut self, process: ProcessId) {
        self.ended.insert(process);
    }

    /// Connections that the kernel side knows to be open.
    pub fn connections(&self) -> Vec<ConnState> {
        self.session.connections()
    }

    /// The kernel side's counters.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        self.session.counters()
    }

    /// Takes all probes away.
    pub fn detach(&mut self) {
        self.session.detach();
    }
}

fn interpreter(program: &ImageFile) -> Option<std::path::PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let image = program.image().ok()?;
    let path = std::ffi::OsStr::from_bytes(image.interpreter?);
    Some(path.into())
}

/// NSPR moves the plaintext, NSS tells which descriptors are TLS: mostly two files of one directory.
fn nss_halves(library: &ImageFile) -> Vec<ImageFile> {
    let named = |name: &str| {
        let dir = library.path().parent()?;
        let half = ImageFile::open(&dir.join(name)).ok()?;
        (half.identity() != library.identity()).then_some(half)
    };
    let is_half = library.image().is_ok_and(|image| {
        image.function_offset(b"PR_Write").is_some()
            || image.function_offset(b"SSL_ImportFD").is_some()
    });
    if !is_half {
        return Vec::new();
    }
    ["libssl3.so", "libnspr4.so"]
        .into_iter()
        .filter_map(named)
        .collect()
}

fn nothing(path: &Path) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "nothing to attach to in {0}: no TLS library that can be probed (agentsight discover --explain {0} \
             tells what was tried)",
            path.display()
        ),
    )
}
