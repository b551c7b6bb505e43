//! What runs here, with which TLS libraries, and whether attach would see their plaintext: told before anything is
//! attached, without root for one's own processes. Only what is mapped counts, not what might be loaded some day.
//!
//! A survey can be repeated: a process in which nothing has changed costs one read of its /proc/PID/stat, and one whose
//! mappings have changed is looked at again only if there are other files among them.

mod files;
mod process;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use crate::cache::Examiner;
use crate::host::processes::{self, Inode, MappedFile};
use crate::host::selected::{self, Executable, Selected};
use crate::host::table::{self, Memory};
use crate::plan::Choice;
use crate::select::{Place, Selection};

use files::{Files, Verdict};

pub use process::{Library, Process, Refused, Visibility};

/// The JSON Schema of what `agentsight discover --json` prints about processes.
pub const PROCESSES_SCHEMA: &str = include_str!("processes.schema.json");

/// Finds out where a process runs.
pub type Places<'p> = Box<dyn Fn(i32) -> Option<Place> + 'p>;

/// Looks at processes, again and again.
pub struct Survey<'s> {
    selected: Selected<'s>,
    places: Places<'s>,
    files: Files<'s>,
    seen: Memory<Seen>,
    users: HashMap<u32, Option<String>>,
}

/// What one round saw.
#[derive(Debug, Default)]
pub struct Round {
    /// Those that were asked for, in the order of their pids.
    pub processes: Vec<Rc<Process>>,
    /// All that run, the kernel's own left out.
    pub running: usize,
}

/// What is known about a process.
struct Seen {
    process: Rc<Process>,
    basis: Basis,
    /// Not to be examined again as long as somebody uses them.
    verdicts: Vec<Rc<Verdict>>,
}

/// What it is known from: if it is the same, so is all else.
#[derive(PartialEq)]
struct Basis {
    comm: String,
    exe: Option<Inode>,
    mapped: Vec<Inode>,
    uid: Option<u32>,
    place: Option<Place>,
}

impl<'s> Survey<'s> {
    /// Of processes that a selection means.
    pub fn new(
        selection: &'s Selection,
        places: Places<'s>,
        examiner: &'s Examiner,
        choice: &'s Choice,
    ) -> Self {
        Self {
            selected: Selected::new(selection),
            places,
            files: Files::new(examiner, choice),
            seen: Memory::default(),
            users: HashMap::new(),
        }
    }

    /// Looks at all of them. Those that end meanwhile may be missing.
    pub fn look(&mut self) -> Round {
        let table = table::all();
        self.seen.begin(&table);
        let chosen = self.selected.among(&table, &self.places);
        let mut round = Round {
            running: table.iter().filter(|process| !process.is_kernel).count(),
            ..Round::default()
        };
        for process in chosen {
            if let Some(seen) = self.seen.fresh(process) {
                round.processes.push(Rc::clone(&seen.process));
                continue;
            }
            let Some(seen) = self.see(process) else {
                continue;
            };
            round.processes.push(Rc::clone(&seen.process));
            self.seen.keep(process, seen);
        }
        round
    }

    /// `None`: it has ended.
    fn see(&mut self, process: &table::Process) -> Option<Seen> {
        let pid = process.pid;
        let (ns_pids, uid) = selected::names(pid).unzip();
        let place = (self.places)(pid);
        let exe = Executable::read(pid);
        let maps = processes::readable_files(pid);
        if !table::Process::read(pid)?.is_same(process) {
            return None;
        }
        let mapped = maps.as_deref().unwrap_or_default();
        let basis = Basis {
            comm: process.comm.clone(),
            exe: exe.as_ref().ok().map(|exe| exe.inode),
            mapped: mapped.iter().map(|file| file.inode).collect(),
            uid,
            place,
        };
        if let Some(last) = self.seen.last(process).filter(|last| last.basis == basis) {
            return Some(Seen {
                process: Rc::clone(&last.process),
                basis,
                verdicts: last.verdicts.clone(),
            });
        }
        let mut told = Process {
            process: format!("p{pid}.{}", process.start),
            pid,
            ns_pids: ns_pids.unwrap_or_else(|| vec![pid]),
            comm: process.comm.clone(),
            exe: exe.as_ref().ok().map(|exe| text(&exe.path)),
            exe_deleted: exe.as_ref().is_ok_and(|exe| exe.is_deleted),
            uid,
            user: uid.and_then(|uid| self.user(uid)),
            cgroup: basis.place.as_ref().map(|place| text(&place.cgroup)),
            container: basis
                .place
                .as_ref()
                .and_then(|place| place.container.clone()),
            visibility: Visibility::None,
            reason: None,
            libraries: Vec::new(),
            refused: Vec::new(),
            unreadable: Vec::new(),
        };
        let verdicts = match (&exe, &maps) {
            (Ok(exe), Ok(mapped)) => self.examine(pid, exe, mapped, &mut told),
            (Err(error), _) => {
                told.unreadable.push(format!("/proc/{pid}/exe: {error}"));
                Vec::new()
            }
            (_, Err(error)) => {
                told.unreadable.push(format!("{error:#}"));
                Vec::new()
            }
        };
        conclude(&mut told, verdicts.first().map(|first| &**first));
        Some(Seen {
            process: Rc::new(told),
            basis,
            verdicts,
        })
    }

    /// Its program first, then what it has mapped.
    fn examine(
        &mut self,
        pid: i32,
        exe: &Executable,
        mapped: &[MappedFile],
        told: &mut Process,
    ) -> Vec<Rc<Verdict>> {
        let mut known = HashSet::new();
        let mut verdicts = Vec::new();
        let program = Executable::open(pid).map_err(|error| error.to_string());
        let program = [(exe.path.as_path(), exe.is_deleted, program)].into_iter();
        let others = mapped
            .iter()
            .filter(|file| file.inode != exe.inode)
            .map(|file| {
                let name = file.path.to_str().and_then(processes::without_deleted);
                let path = name.map_or(file.path.as_path(), Path::new);
                let opened = file.open_file().map_err(|error| error.to_string());
                (path, name.is_some(), opened)
            });
        for (path, is_deleted, opened) in program.chain(others) {
            let verdict = opened.and_then(|file| {
                let verdict = self.files.verdict(path, file);
                verdict.map_err(|error| format!("{error:#}"))
            });
            match verdict {
                // On some file systems maps and stat call the same file by different devices.
                Ok((identity, _)) if !known.insert(identity) => {}
                Ok((_, verdict)) => {
                    tell(&verdict, path, is_deleted, told);
                    verdicts.push(verdict);
                }
                Err(why) => told.unreadable.push(format!("{}: {why}", text(path))),
            }
        }
        verdicts
    }

    fn user(&mut self, uid: u32) -> Option<String> {
        let find = |uid: &u32| {
            let user = nix::unistd::User::from_uid((*uid).into());
            user.ok().flatten().map(|user| user.name)
        };
        self.users.entry(uid).or_insert_with_key(find).clone()
    }
}

/// What a file brings to a process that has it mapped.
fn tell(verdict: &Verdict, path: &Path, deleted: bool, told: &mut Process) {
    for found in &verdict.findings {
        told.libraries.push(Library {
            library: found.library.clone(),
            version: found.version.clone(),
            provider: found.provider.clone(),
            file: text(path),
            deleted,
            confidence: found.confidence,
            methods: found.methods.clone(),
            attachable: found.obstacle.is_none(),
            reason: found.obstacle.clone(),
        });
    }
    for (library, reason) in &verdict.refused {
        told.refused.push(Refused {
            library: library.clone(),
            file: text(path),
            reason: reason.clone(),
        });
    }
    let failure = verdict.failure.iter();
    told.unreadable
        .extend(failure.map(|why| format!("{}: {why}", text(path))));
}

/// What all that was found comes to. NSS and NSPR are two halves: either alone shows nothing.
fn conclude(told: &mut Process, program: Option<&Verdict>) {
    let has = |name: &str| told.libraries.iter().any(|library| library.library == name);
    let halves = [("nspr", has("nss")), ("nss", has("nspr"))];
    for (half, is_whole) in halves {
        for library in told
            .libraries
            .iter_mut()
            .filter(|library| library.library == half)
        {
            if !is_whole && library.attachable {
                library.attachable = false;
                library.reason = Some("needs its other half, nss or nspr".to_owned());
            }
        }
    }
    let obstacles = told
        .libraries
        .iter()
        .filter_map(|library| library.reason.clone());
    let refusals = told
        .refused
        .iter()
        .map(|refused| format!("{}: {}", refused.library, refused.reason));
    let why = obstacles.chain(refusals).next();
    (told.visibility, told.reason) = match (program, why) {
        _ if told.libraries.iter().any(|library| library.attachable) => {
            (Visibility::Attachable, None)
        }
        (_, Some(why)) => (Visibility::Refused, Some(why)),
        (None, None) => (Visibility::Unreadable, told.unreadable.first().cloned()),
        (Some(program), None) => without_tls(program),
    };
}

fn without_tls(program: &Verdict) -> (Visibility, Option<String>) {
    match (&program.failure, &program.foreign) {
        (Some(why), _) => (Visibility::Unreadable, Some(why.clone())),
        (None, Some(what)) => (
            Visibility::None,
            Some(format!(
                "no TLS library loaded; {what}, which is not probed"
            )),
        ),
        (None, None) if program.is_dynamic => (
            Visibility::Waiting,
            Some("no TLS library loaded yet (dynamic: attach would wait for it)".to_owned()),
        ),
        (None, None) => (
            Visibility::None,
            Some("no TLS library, and statically linked: it loads none".to_owned()),
        ),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
