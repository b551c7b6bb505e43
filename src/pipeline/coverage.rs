//! Which processes are followed, and what of theirs is probed: what they run, what they have loaded, and what they load
//! later. What may have been said before probes were in place is told.

mod again;
mod begun;
mod look;
mod sweep;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::Progress;
use super::census::Census;
use super::files::Files;
use super::judge::Judge;
use crate::attach::{Followed, Scope, Session, boot_time_ns};
use crate::cache::{Companions, Examiner};
use crate::error::{Error, ErrorKind, Result};
use crate::event::ProcessId;
use crate::event::frame::Frame;
use crate::event::process::{Missed, ProcessInfo, Sighted, Sighting};
use crate::event::queue::Queue;
use crate::event::wire::{ConnState, Counter};
use crate::host::places::Places;
use crate::host::roots::Root;
use crate::host::selected::Executable;
use crate::host::{libraries, processes, programs};
use crate::image::{FileIdentity, ImageFile};
use crate::plan::Choice;
use again::Met;

/// Roots that are remembered; each keeps a directory open.
const ROOTS_MAX: usize = 64;

/// An executable and a mount namespace; 0: wherever its path leads.
pub type ProgramKey = (FileIdentity, u32);

/// What covering one program brought.
#[derive(Clone, Debug, Default)]
struct Brought {
    /// The files that its processes use from their first instruction on.
    files: Vec<usize>,
    /// Plaintext will be seen.
    captures: bool,
    /// It holds a TLS library that cannot be used.
    refused: bool,
    /// It loads libraries by itself, and may load TLS later.
    is_dynamic: bool,
    /// Its loader tells of libraries that come later.
    tells: bool,
    /// Files that capture, and that one of its processes was seen to load.
    loads: BTreeSet<usize>,
    /// One of its processes was seen with code of files that it does not need.
    loads_others: bool,
}

/// The probes of a run.
pub struct Coverage<'c> {
    files: Files<'c>,
    /// What covering executables brought.
    programs: HashMap<ProgramKey, Brought>,
    /// By mount namespace, for processes that end before they can be looked at.
    roots: HashMap<u32, Root>,
    judge: Judge,
    places: Places,
    /// For processes that are like others before.
    met: Met,
    census: Census,
    queue: Arc<Queue>,
    /// Processes are told of when they start, not only when they speak.
    follows: bool,
    /// All of them.
    is_machine: bool,
    /// When the table of connections was last compared with the processes that run.
    checked_alive: Instant,
    /// Processes that ended since the last sweep.
    ended: HashSet<ProcessId>,
    /// Something was answered: all processes are to be looked at again.
    is_scan_due: bool,
    /// Some file captures plaintext.
    captures: bool,
    /// The command's process until it runs its program: so long it is a copy of our own.
    standing_by: Option<u32>,
    /// Files that capture, and that a process has used.
    used: BTreeSet<usize>,
}

impl<'c> Coverage<'c> {
    /// Nothing is covered yet.
    pub fn new(
        session: Session,
        (examiner, choice): (&'c Examiner, &'c Choice),
        judge: Judge,
        queue: Arc<Queue>,
        progress: &'c mut dyn Progress,
    ) -> Self {
        Self {
            files: Files::new(session, examiner, choice, progress),
            programs: HashMap::new(),
            roots: HashMap::new(),
            judge,
            places: Places::new(),
            met: Met::default(),
            census: Census::default(),
            queue,
            follows: true,
            is_machine: false,
            checked_alive: Instant::now(),
            ended: HashSet::new(),
            is_scan_due: true,
            captures: false,
            standing_by: None,
            used: BTreeSet::new(),
        }
    }

    /// Covers one library in whatever process uses it, with the other half that NSS needs.
    ///
    /// # Errors
    /// It has nothing to attach to.
    pub fn cover_library(&mut self, library: ImageFile) -> Result<()> {
        let path = library.path().to_owned();
        let halves = nss_halves(&library);
        for file in halves.iter().chain([&library]) {
            self.files.cover_only(file.identity());
        }
        let number = self.files.cover(library)?;
        let mut captures = self.does_capture(number);
        for half in halves {
            let number = self.files.cover_gently(half);
            captures |= self.does_capture(number);
        }
        self.captures |= captures;
        captures.then_some(()).ok_or_else(|| nothing(&path))
    }

    /// From now on, processes are followed as the session's scope says.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn follow_processes(&mut self, scope: Scope) -> Result<()> {
        self.follows = scope != Scope::Everybody;
        self.is_machine = scope == Scope::Machine;
        self.files.session.follow_processes()
    }

    /// Covers an executable that the user named: itself, what it needs, and what its processes will probably load. Its
    /// processes are followed from now on.
    ///
    /// # Errors
    /// There is nothing to attach to, now or later.
    pub fn cover_program(&mut self, program: ImageFile) -> Result<()> {
        let id = self.files.session.file_id(program.file())?;
        self.judge.expect_exe(id, &self.files.session)?;
        let path = program.path().to_owned();
        let roots = [Some(Root::of_path(&path)?), Root::around(&program)];
        let roots: Vec<Root> = roots.into_iter().flatten().collect();
        let likely = |root| libraries::likely(&program, root, self.files.sonames());
        let likely = roots.iter().flat_map(likely).collect();
        let brought = self.cover_exe(program, 0, &roots);
        match (brought.captures, brought.is_dynamic && !brought.refused) {
            (true, _) => Ok(()),
            (false, true) => {
                self.expect(&path, likely);
                Ok(())
            }
            // With a TLS library of its own inside, it will not load another one.
            (false, false) => Err(nothing(&path)),
        }
    }

    /// An executable and what it needs in these roots.
    fn cover_exe(&mut self, program: ImageFile, namespace: u32, roots: &[Root]) -> Brought {
        let key = (program.identity(), namespace);
        if let Some(brought) = self.programs.get(&key) {
            return brought.clone();
        }
        let needed = |root| libraries::needed(&program, root);
        let needed: Vec<ImageFile> = roots.iter().flat_map(needed).collect();
        let interpreter = interpreter(&program);
        let own = self.files.cover_gently(program);
        let mut brought = Brought {
            files: vec![own],
            captures: self.does_capture(own),
            refused: self.files.get(own).is_some_and(|own| own.refused),
            is_dynamic: interpreter.is_some(),
            ..Brought::default()
        };
        for library in needed {
            let number = self.files.cover_gently(library);
            brought.captures |= self.does_capture(number);
            brought.files.push(number);
        }
        if let Some(loader) = &interpreter {
            for root in roots {
                brought.tells |= self.files.watch_loader(root, loader);
            }
        }
        self.captures |= brought.captures;
        self.programs.insert(key, brought.clone());
        brought
    }

    fn does_capture(&self, number: usize) -> bool {
        self.files.get(number).is_some_and(|file| file.captures)
    }

    /// A program without TLS may load some later. What it would most probably load is probed before, so
    /// that not even its first bytes are missed; anything else when it comes.
    fn expect(&mut self, program: &Path, likely: Vec<ImageFile>) {
        let program = program.display();
        self.files.notice(&format!(
            "waiting: no TLS library in {program} yet; what its processes load later is probed when it \
             comes, the system's libraries now"
        ));
        for library in likely {
            self.files.cover_gently(library);
        }
    }

    /// Covers what a command will run, before it does: the program that its name leads to, and the one that a script is
    /// run by. And what these and their children would most probably load, also where they bring a TLS library of
    /// their own: the children are other programs.
    pub fn expect_command(&mut self, name: &std::ffi::OsStr) {
        let ours = Root::ours();
        for program in programs::programs_of(name) {
            let likely = libraries::likely(&program, &ours, self.files.sonames());
            self.cover_exe(program, 0, std::slice::from_ref(&ours));
            for library in likely {
                self.files.cover_gently(library);
            }
        }
    }

    /// Covers an executable before somebody runs it, and lets him go on; then what its processes will probably load.
    /// `is_chosen`: it is what the user asked for.
    ///
    /// # Errors
    /// The kernel does not take an answer.
    pub fn cover_ahead(
        &mut self,
        (file, path): (File, &Path),
        pid: u32,
        is_chosen: bool,
        release: impl FnOnce(),
    ) -> Result<()> {
        let again = file.try_clone();
        let Ok(program) = ImageFile::from_file(path, file) else {
            release();
            return Ok(());
        };
        if is_chosen {
            let id = self.files.session.file_id(program.file())?;
            self.judge.expect_exe(id, &self.files.session)?;
        }
        let root = Root::of_process(pid.cast_signed()).ok();
        let namespace = programs::mount_namespace(pid).unwrap_or_default() as u32;
        let is_new = !self.programs.contains_key(&(program.identity(), namespace));
        let brought = self.cover_exe(program, namespace, root.as_slice());
        release();
        let is_open = brought.is_dynamic && !brought.refused && !brought.captures;
        if let Ok(again) = again
            && let Ok(program) = ImageFile::from_file(path, again)
            && let Some(root) = root
            && is_new
            && is_open
        {
            for library in libraries::likely(&program, &root, self.files.sonames()) {
                self.files.cover_gently(library);
            }
        }
        Ok(())
    }

    /// Whom the kernel side follows, for another thread; `None`: everybody.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn followed(&self) -> Result<Option<Followed>> {
        self.files.session.followed()
    }

    /// Finds out what needs a child of our own to be found out.
    pub fn try_return_probes(&mut self) {
        self.files.are_return_probes_safe();
    }

    /// With the next [`Coverage::scan_if_due`], this process is followed.
    ///
    /// # Errors
    /// Too many are named.
    pub fn add_root(&mut self, pid: u32) -> Result<()> {
        self.is_scan_due = true;
        self.files.session.add_root(pid)
    }

    /// Covers what the same command used when it last ran.
    pub fn expect_companions(&mut self, companions: &Companions) {
        for path in companions.files() {
            let Ok(file) = ImageFile::open(Path::new(path)) else {
                continue;
            };
            let is_program = file.image().is_ok_and(|image| image.is_program());
            if is_program {
                self.cover_exe(file, 0, &[Root::ours()]);
            } else {
                self.files.cover_gently(file);
            }
        }
    }

    /// What processes have used, by the paths under which they were first met.
    pub fn companions(&self) -> Vec<String> {
        let used = self
            .used
            .iter()
            .filter_map(|number| self.files.get(*number));
        used.map(|file| file.path.clone()).collect()
    }

    /// With the next [`Coverage::scan_if_due`], the process that will run the command is followed.
    ///
    /// # Errors
    /// Too many are named.
    pub fn add_command(&mut self, pid: u32) -> Result<()> {
        self.standing_by = Some(pid);
        self.add_root(pid)
    }

    /// A process was told of.
    ///
    /// # Errors
    /// The kernel does not take an answer.
    pub fn meet(&mut self, sighted: &Sighted) -> Result<()> {
        if sighted.why == Sighting::Asked {
            let answered = self.judge.answer(sighted, &mut self.files.session)?;
            // The kernel side may have found it out while it was asking, and have let the process go.
            self.is_scan_due |= answered.has_news || answered.fits;
            if answered.fits {
                self.meet_wanted(sighted);
            }
            return Ok(());
        }
        let caller = &sighted.caller;
        let process = caller.process;
        if sighted.why == Sighting::Seen && self.standing_by == Some(process.pid) {
            return Ok(());
        }
        if sighted.why == Sighting::Seen && self.follows && self.census.knows(process) {
            return Ok(());
        }
        if sighted.why == Sighting::Executed && self.follows && self.meet_again(sighted) {
            return Ok(());
        }
        let since_ns = match sighted.why {
            Sighting::Executed => caller.ts_ns,
            _ => process.start_ns,
        };
        // It may end any moment: first what is needed to examine it.
        let begun = self.follows.then(|| self.open(sighted));
        let comm = caller.comm.text().into_owned();
        let exe = match &begun {
            Some(Some((program, _))) => Some(program.path().to_string_lossy().into_owned()),
            _ => exe_of(process),
        };
        self.tell(sighted, since_ns, exe.clone());
        let Some(begun) = begun else {
            return Ok(());
        };
        let known = self.census.learn(process, comm, since_ns);
        if sighted.why == Sighting::Seen {
            known.followed_ns = caller.ts_ns;
        }
        if let Some((program, root)) = begun {
            let namespace = sighted.facts.mount_namespace();
            let key = (program.identity(), namespace);
            self.met.keep(&sighted.facts, program.identity(), exe);
            let brought = self.cover_exe(program, namespace, root.as_slice());
            if let Some(known) = self.census.find(process) {
                known.tells = brought.tells;
                known.program = Some(key);
            }
            self.note_use(process, brought.files);
        } else if !processes::is_alive(process) {
            self.tell_unexamined(sighted, since_ns);
        }
        self.look(process, boot_time_ns());
        if sighted.why == Sighting::Executed {
            self.census.look_soon(process, 0);
        }
        Ok(())
    }

    /// A process is what the user asked for, which nobody knew when its program began. From now on it is followed, if it
    /// is there still.
    fn meet_wanted(&mut self, sighted: &Sighted) {
        // Without a name it runs already, or has taken another name.
        if !sighted.facts.path.is_empty() && self.files.session.tells_acts() {
            self.tell_begun(sighted);
        }
        if !processes::is_alive(sighted.caller.process) {
            self.meet_too_late(sighted);
        }
    }

    /// A process that was wanted has ended before anybody could tell: the next one of its program is to find its probes in
    /// place.
    fn meet_too_late(&mut self, sighted: &Sighted) {
        let Some((program, root)) = self.open(sighted) else {
            return;
        };
        let namespace = sighted.facts.mount_namespace();
        let brought = self.cover_exe(program, namespace, root.as_slice());
        let process = sighted.caller.process;
        let comm = sighted.caller.comm.text().into_owned();
        let known = self.census.learn(process, comm, sighted.caller.ts_ns);
        known.followed_ns = boot_time_ns();
        self.note_use(process, brought.files);
        self.ended.insert(process);
    }

    /// A process has ended, and its program with it (in memory, deleted, or in a mount namespace that nobody has seen):
    /// nobody knows whether it said anything.
    fn tell_unexamined(&mut self, sighted: &Sighted, since_ns: u64) {
        let missed = Missed {
            process: sighted.caller.process,
            comm: sighted.caller.comm.text().into_owned(),
            file: String::from_utf8_lossy(&sighted.facts.path).into_owned(),
            libraries: Vec::new(),
            from_ns: since_ns,
            until_ns: boot_time_ns(),
        };
        let _ = self.queue.push(Frame::Missed(Arc::new(missed)));
    }

    /// What a process runs and the root that it sees, if they can be told for sure. Of one that has ended already, what
    /// others of its mount namespace see.
    fn open(&mut self, sighted: &Sighted) -> Option<(ImageFile, Option<Root>)> {
        let (pid, facts) = (sighted.caller.process.pid, &sighted.facts);
        let namespace = facts.mount_namespace();
        let root = Root::of_process(pid.cast_signed()).ok();
        let is_its = programs::mount_namespace(pid) == Some(namespace.into());
        let root = match root.filter(|_| is_its) {
            Some(root) => {
                self.remember_root(namespace, &root);
                Some(root)
            }
            None => self
                .roots
                .get(&namespace)
                .and_then(|root| root.try_clone().ok()),
        };
        let program = programs::executable(pid, &facts.path, root.as_ref())?;
        let id = self.files.session.file_id(program.file()).ok();
        (id == Some(facts.exe())).then_some((program, root))
    }

    fn remember_root(&mut self, namespace: u32, root: &Root) {
        if self.roots.contains_key(&namespace) {
            return;
        }
        if self.roots.len() >= ROOTS_MAX {
            self.roots.clear();
        }
        if let Ok(root) = root.try_clone() {
            self.roots.insert(namespace, root);
        }
    }

    /// `exe`: its executable, as it sees it itself.
    fn tell(&mut self, sighted: &Sighted, since_ns: u64, exe: Option<String>) {
        let (caller, facts) = (&sighted.caller, &sighted.facts);
        let place = self.place(sighted);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let info = ProcessInfo {
            process: caller.process,
            since_ns,
            comm: caller.comm.text().into_owned(),
            uid: facts.uid(),
            parent: facts.parent,
            ns_pid: (facts.ns_pid != caller.process.pid).then_some(facts.ns_pid),
            exe,
            cgroup: place.as_ref().map(|place| text(place.cgroup.clone())),
            container: place.and_then(|place| place.container),
        };
        // Without room for it, what the process says goes before.
        let _ = self.queue.push(Frame::Process(Arc::new(info)));
    }

    /// Looks at all processes again if something was answered since.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn scan_if_due(&mut self) -> Result<bool> {
        if !std::mem::take(&mut self.is_scan_due) || !self.follows {
            return Ok(false);
        }
        self.files.session.scan().map(|()| true)
    }

    /// Whether anything is there to be seen.
    pub fn captures(&self) -> bool {
        self.captures
    }

    /// Nothing can be captured yet: tells what is waited for.
    ///
    /// # Errors
    /// Only these processes are of interest, and they will never load what could be probed.
    pub fn tell_waiting(&mut self, pids: &[u32]) -> Result<()> {
        let processes = self.census.len();
        let may_load = self.programs.values().any(|program| program.is_dynamic);
        if !pids.is_empty() && processes > 0 && !may_load {
            let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "nothing to attach to in process {0}: no TLS library that can be probed, and it loads none \
                     (agentsight discover --pid {0} tells more)",
                    pids.join(",")
                ),
            ));
        }
        self.files.notice(&match processes {
            0 => "waiting: no such process runs yet; probes are placed when one starts".to_owned(),
            n => format!(
                "waiting: none of {n} processes has a TLS library that can be probed; what they load or start \
                 later is probed when it comes"
            ),
        });
        Ok(())
    }

    /// Processes that the kernel follows.
    pub fn tracked(&self) -> usize {
        self.files.session.tracked().len()
    }

    /// Who is told how the run goes.
    pub fn progress(&mut self) -> &mut dyn Progress {
        self.files.progress
    }

    /// Tells the user something.
    pub fn notice(&mut self, line: &str) {
        self.files.notice(line);
    }

    /// A process ended: with the next sweep, the kernel's table forgets its connections.
    pub fn expect_no_more(&mut self, process: ProcessId) {
        self.ended.insert(process);
    }

    /// Connections that the kernel side knows to be open.
    pub fn connections(&self) -> Vec<ConnState> {
        self.files.session.connections()
    }

    /// The kernel side's counters.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        self.files.session.counters()
    }

    /// Takes all probes away. What went into files that are open still is told before.
    pub fn detach(&mut self) {
        // What is not told now would have been told a second later.
        let _ = self.files.session.tell_descriptors();
        self.files.session.detach();
    }
}

/// What a process runs, as it sees it itself.
fn exe_of(process: ProcessId) -> Option<String> {
    let exe = Executable::of(process.pid.cast_signed());
    let exe = exe.filter(|_| processes::is_alive(process))?;
    Some(exe.path.to_string_lossy().into_owned())
}

fn interpreter(program: &ImageFile) -> Option<PathBuf> {
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

/// There is nothing that could ever be seen.
pub fn nothing(path: &Path) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "nothing to attach to in {0}: no TLS library that can be probed (agentsight discover --explain {0} \
             tells what was tried)",
            path.display()
        ),
    )
}
