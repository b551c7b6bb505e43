//! The files of a run: each is examined once, whoever uses it, and probed if there is something to probe.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Progress;
use crate::attach::{ProbesId, Session, boot_time_ns};
use crate::cache::Examiner;
use crate::discover::{Finding, Report};
use crate::doctor::{self, Launcher, Status};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::event::process::FileId;
use crate::host::inodes::{CodeInode, CodeInodes};
use crate::host::processes::{Inode, MappedFile};
use crate::host::roots::Root;
use crate::image::{FileIdentity, ImageFile};
use crate::plan::{Choice, ProbePlan, Skipped, choose_all};

/// What came of one file.
#[derive(Debug)]
pub struct Covered {
    /// As whoever used it first calls it.
    pub path: String,
    /// The libraries that are probed in it.
    pub libraries: Vec<String>,
    /// When its probes were in place, on the boot clock.
    pub attached_ns: u64,
    /// Plaintext will be seen in it.
    pub captures: bool,
    /// It holds a TLS library that cannot be used.
    pub refused: bool,
    identity: FileIdentity,
    /// Held while it is probed: tells whether it was deleted or rewritten.
    probed: Option<(ProbesId, File)>,
}

impl Covered {
    /// Nothing is probed in it yet.
    fn new(path: String, identity: FileIdentity) -> Self {
        Self {
            path,
            libraries: Vec::new(),
            attached_ns: 0,
            captures: false,
            refused: false,
            identity,
            probed: None,
        }
    }

    /// Whether its probes are in this file, whatever was done to its attributes since: a hard link changes the ctime.
    fn is_probed_in(&self, code: &CodeInode) -> bool {
        let probed = self.probed.as_ref();
        let held = probed.and_then(|(_, file)| CodeInode::of(file).ok());
        held.is_some_and(|held| held.is_same(code))
    }
}

/// A file that somebody has mapped.
struct Mapping {
    number: usize,
    /// The kernel side knows it by this, and does not tell of those who load nothing else.
    id: Option<FileId>,
}

/// All files that were looked at.
pub struct Files<'c> {
    pub session: Session,
    pub progress: &'c mut dyn Progress,
    examiner: &'c Examiner,
    choice: &'c Choice,
    /// Whether return probes are safe for sandboxed programs, once tried.
    return_probes: Option<bool>,
    covered: BTreeMap<usize, Covered>,
    by_identity: HashMap<FileIdentity, usize>,
    /// Across mounts: two containers of one image must not get two probes on one inode.
    by_code: CodeInodes,
    /// As /proc/PID/maps names them, which need not be what `stat` says.
    by_mapping: HashMap<Inode, Mapping>,
    /// Dynamic loaders, and whether they tell of new libraries.
    loaders: Vec<(CodeInode, bool)>,
    /// Our own program: children of ours are nobody's agents.
    own: Option<FileIdentity>,
    /// Nothing but these.
    only: Option<Vec<FileIdentity>>,
    next: usize,
}

impl<'c> Files<'c> {
    pub fn new(
        session: Session,
        examiner: &'c Examiner,
        choice: &'c Choice,
        progress: &'c mut dyn Progress,
    ) -> Self {
        Self {
            session,
            progress,
            examiner,
            choice,
            return_probes: None,
            covered: BTreeMap::new(),
            by_identity: HashMap::new(),
            by_code: CodeInodes::default(),
            by_mapping: HashMap::new(),
            loaders: Vec::new(),
            own: File::open("/proc/self/exe")
                .and_then(|own| FileIdentity::of(&own))
                .ok(),
            only: None,
            next: 0,
        }
    }

    /// From now on, nothing but this file and others that are named so is probed.
    pub fn cover_only(&mut self, file: FileIdentity) {
        self.only.get_or_insert_default().push(file);
    }

    /// The file with this number.
    pub fn get(&self, number: usize) -> Option<&Covered> {
        self.covered.get(&number)
    }

    /// The names under which libraries are known to dynamic loaders.
    pub fn sonames(&self) -> impl Iterator<Item = &'c str> + use<'c> {
        let libraries = self.examiner.db().libraries().iter();
        libraries.flat_map(|library| library.sonames.iter().map(String::as_str))
    }

    pub fn notice(&mut self, line: &str) {
        self.progress.notice(line);
    }

    /// Covers a file that a process has mapped. `None`: it cannot be reached any more.
    pub fn cover_mapped(&mut self, mapped: &MappedFile) -> Option<usize> {
        if let Some(known) = self.by_mapping.get(&mapped.inode) {
            return Some(known.number);
        }
        let file = match mapped.open() {
            Ok(file) => file,
            // It ended, or unmapped the file: nothing to cover any more.
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                self.notice(&format!("not examined: {error:#}"));
                return None;
            }
        };
        let id = self.session.file_id(file.file()).ok();
        let number = self.cover_gently(file);
        // Only now: its probes are in place.
        if let Some(id) = id {
            self.session.know_file(id);
        }
        self.by_mapping.insert(mapped.inode, Mapping { number, id });
        Some(number)
    }

    /// Forgets the other mappings, and has the kernel side tell again of who loads these files.
    fn retain_mappings(&mut self, is_kept: impl Fn(&Inode, usize) -> bool) {
        let session = &self.session;
        self.by_mapping.retain(|inode, known| {
            let stays = is_kept(inode, known.number);
            if let Some(id) = known.id.filter(|_| !stays) {
                session.forget_file(id);
            }
            stays
        });
    }

    /// Covers a file that the user did not name: what is wrong with it stops nothing.
    pub fn cover_gently(&mut self, file: ImageFile) -> usize {
        let (path, identity) = (file.path().to_owned(), file.identity());
        self.cover(file).unwrap_or_else(|error| {
            let path = path.display();
            self.notice(&format!("not attached: {path}: {error:#}"));
            self.remember(Covered::new(path.to_string(), identity))
        })
    }

    /// Covers a file.
    ///
    /// # Errors
    /// It cannot be examined or probed.
    pub fn cover(&mut self, file: ImageFile) -> Result<usize> {
        let identity = file.identity();
        if let Some(number) = self.by_identity.get(&identity) {
            return Ok(*number);
        }
        let code = CodeInode::of(file.file())
            .context(|| format!("failed to look at {}", file.path().display()))?;
        let probed = || {
            self.covered
                .iter()
                .find(|(_, known)| known.is_probed_in(&code))
        };
        let number = self.by_code.find(&code);
        if let Some(number) = number.or_else(|| probed().map(|(number, _)| *number)) {
            self.by_identity.insert(identity, number);
            return Ok(number);
        }
        self.release_older(identity);
        let mut covered = Covered::new(file.path().display().to_string(), identity);
        let is_wanted = self.only.as_ref();
        let is_wanted = is_wanted.is_none_or(|only| only.contains(&identity));
        if is_wanted && self.own != Some(identity) {
            self.probe(&file, &mut covered)?;
        }
        let number = self.remember(covered);
        self.by_code.insert(&code, number);
        Ok(number)
    }

    fn remember(&mut self, covered: Covered) -> usize {
        let number = self.next;
        self.next += 1;
        self.by_identity.insert(covered.identity, number);
        self.covered.insert(number, covered);
        number
    }

    fn probe(&mut self, file: &ImageFile, covered: &mut Covered) -> Result<()> {
        let report = self.examiner.examine(file)?.report;
        for refusal in &report.refused {
            self.notice(&format!(
                "not attached: {} in {}: {}",
                refusal.library, report.path, refusal.reason
            ));
        }
        covered.refused = !report.refused.is_empty();
        let plan = self.plan(file, &report)?;
        if plan.probes.is_empty() {
            return Ok(());
        }
        let attached = self.session.attach(&plan, file.file())?;
        covered.attached_ns = boot_time_ns();
        for (function, reason) in &attached.failed {
            self.notice(&format!(
                "not attached: {function} in {}: {reason}",
                report.path
            ));
        }
        covered.captures = plan.captures() && attached.functions > 0;
        let names = plan.probes.iter().map(|probe| probe.library.clone());
        covered.libraries = names.collect::<BTreeSet<_>>().into_iter().collect();
        let held = file.file().try_clone();
        covered.probed = held.ok().map(|held| (attached.probes, held));
        self.tell_attached(&report, attached.functions);
        Ok(())
    }

    fn tell_attached(&mut self, report: &Report, functions: usize) {
        let names: Vec<_> = report.findings.iter().map(Finding::title).collect();
        self.notice(&format!(
            "attached: {} in {}, {functions} functions",
            names.join(" and "),
            report.path
        ));
    }

    /// On kernels that do not let return probes through seccomp they would kill programs behind a filter, whomever the
    /// user asked for, and even those that start later: there, only sites without them. Tried once.
    pub fn are_return_probes_safe(&mut self) -> bool {
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
                self.notice(&format!(
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
            self.notice(&format!("not attached: {function} in {path}: {reason}"));
        }
        Ok(plan)
    }

    /// Watches a dynamic loader for libraries that come later. False: they are found by looking now and then.
    pub fn watch_loader(&mut self, root: &Root, loader: &Path) -> bool {
        let Ok(file) = root.open_image(loader) else {
            return false;
        };
        let Ok(code) = CodeInode::of(file.file()) else {
            return false;
        };
        let mut known = self.loaders.iter();
        if let Some((_, tells)) = known.find(|(known, _)| known.is_same(&code)) {
            return *tells;
        }
        let attached = file.image().and_then(|image| {
            let offset = image
                .function_offset(b"_dl_debug_state")
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "it has no _dl_debug_state"))?;
            self.session.attach_loader(offset, file.file())
        });
        if let Err(error) = &attached {
            let loader = file.path().display();
            self.notice(&format!(
                "libraries that are loaded later may be seen up to a second late: {loader}: {error:#}"
            ));
        }
        self.loaders.push((code, attached.is_ok()));
        attached.is_ok()
    }

    /// The same inode was covered in another state: its probes may stand anywhere by now.
    fn release_older(&mut self, identity: FileIdentity) {
        let is_older = |known: &&Covered| {
            (known.identity.dev, known.identity.ino) == (identity.dev, identity.ino)
        };
        let older = self.covered.iter().find(|(_, known)| is_older(known));
        if let Some(number) = older.map(|(number, _)| *number) {
            self.release(number);
        }
    }

    /// Takes its probes away, and forgets it.
    fn release(&mut self, number: usize) {
        let Some(covered) = self.covered.remove(&number) else {
            return;
        };
        self.by_identity.retain(|_, known| *known != number);
        self.by_code.remove(number);
        self.retain_mappings(|_, known| known != number);
        if let Some((probes, _)) = covered.probed {
            self.session.release(probes);
        }
    }

    /// Takes the probes off files that were rewritten in place, and off deleted ones that nobody uses: a probe holds its
    /// file, and the room that it takes on the disk.
    /// `None`: who uses what is not known.
    pub fn release_stale(&mut self, used: Option<&HashSet<Inode>>) {
        let mut stale = Vec::new();
        for (number, covered) in &self.covered {
            let Some((_, file)) = &covered.probed else {
                continue;
            };
            let is_rewritten = FileIdentity::of(file).is_ok_and(|now| now != covered.identity);
            let is_deleted = file.metadata().is_ok_and(|data| data.nlink() == 0);
            let mappings = self.by_mapping.iter();
            let mut names = mappings.filter(|(_, known)| known.number == *number);
            let is_unused = used.is_some_and(|used| !names.any(|(inode, _)| used.contains(inode)));
            if is_rewritten || (is_deleted && is_unused) {
                stale.push((*number, is_rewritten));
            }
        }
        for (number, is_rewritten) in stale {
            if let Some(covered) = self.covered.get(&number) {
                let path = covered.path.clone();
                self.notice(&match is_rewritten {
                    true => format!("detached: {path} was rewritten in place; it is examined anew"),
                    false => format!("detached: {path} was deleted, and nobody uses it any more"),
                });
            }
            self.release(number);
        }
        if let Some(used) = used {
            self.forget_unused(used);
        }
    }

    /// Files without probes that nobody has mapped: nothing holds them, and their inode numbers are used again.
    fn forget_unused(&mut self, used: &HashSet<Inode>) {
        let covered = self.covered.iter();
        let probed = covered.filter(|(_, covered)| covered.probed.is_some());
        let probed: HashSet<usize> = probed.map(|(number, _)| *number).collect();
        self.retain_mappings(|inode, number| used.contains(inode) || probed.contains(&number));
        let mapped: HashSet<usize> = self.by_mapping.values().map(|known| known.number).collect();
        let covered = self.covered.iter();
        let unused = covered
            .filter(|(number, covered)| covered.probed.is_none() && !mapped.contains(number));
        let unused: HashSet<usize> = unused.map(|(number, _)| *number).collect();
        self.covered.retain(|number, _| !unused.contains(number));
        self.by_identity
            .retain(|_, number| !unused.contains(number));
        self.by_code.remove_all(&unused);
    }

    /// Takes away the probes of functions that were misjudged.
    pub fn remove_misfits(&mut self) {
        for misfit in self.session.remove_misfits() {
            self.notice(&format!(
                "detached: {}: in none of {} calls its first argument was a connection of the library; \
                 what was taken for this function is another one, and nothing of it was reported",
                misfit.function, misfit.calls
            ));
        }
    }
}
