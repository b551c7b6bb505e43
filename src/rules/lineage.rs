//! Which process comes from which, and what each runs: from forks, execs and ends. Those that have ended are remembered for a
//! while, since their children go on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::deeds::deed::{Exec, Fork, Identity};
use crate::event::ProcessId;
use crate::event::process::ProcessInfo;

/// As many as the kernel side follows (`TRACKED_MAX`).
const PROCESSES_MAX: usize = 65536;
/// That have ended.
const ENDED_MAX: usize = 16384;
/// Generations that are looked back: a chain of processes can be made as long as one likes.
const GENERATIONS_MAX: usize = 256;
/// Bytes that are kept of a command line.
const COMMAND_MAX: usize = 4096;

/// What a process runs.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The executable's path.
    pub exe: String,
    /// The script that an interpreter was given, by `#!` or as an argument.
    pub script: Option<String>,
    /// The last parts of the executable's, the script's and the first argument's path.
    pub names: Vec<String>,
    /// Arguments, cut to 4096 bytes in all.
    pub args: Vec<String>,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Who made it.
    pub parent: Option<ProcessId>,
    /// The first of all those that it comes from.
    pub root: ProcessId,
    /// When it was made, on the boot clock in nanoseconds.
    pub born_ns: u64,
    /// What it runs.
    pub program: Arc<Program>,
    /// Real and effective user, if they are known.
    pub user: Option<(u32, u32)>,
}

/// The processes of a run.
#[derive(Default)]
pub struct Processes {
    known: HashMap<ProcessId, Process>,
    /// By pid, those that have not ended.
    running: HashMap<u32, ProcessId>,
    ended: VecDeque<ProcessId>,
    /// Processes for which there was no room.
    pub dropped: u64,
}

impl Processes {
    /// The kernel side's word of a process that is followed from now on.
    pub fn learn(&mut self, info: &ProcessInfo) {
        if self.known.contains_key(&info.process) {
            return;
        }
        let parent = self.known.contains_key(&info.parent).then_some(info.parent);
        let exe = info.exe.clone().unwrap_or_default();
        let program = Program {
            names: names([exe.as_str(), info.comm.as_str()]),
            exe,
            ..Program::default()
        };
        self.insert(
            info.process,
            parent,
            info.process.start_ns,
            Arc::new(program),
        );
    }

    /// One was made, by `parent`.
    pub fn fork(&mut self, parent: ProcessId, fork: &Fork, ts_ns: u64) {
        let program = self
            .known
            .get(&parent)
            .map(|parent| Arc::clone(&parent.program));
        let user = self.known.get(&parent).and_then(|parent| parent.user);
        if program.is_none() {
            self.insert(parent, None, parent.start_ns, Arc::default());
        }
        self.insert(fork.child, Some(parent), ts_ns, program.unwrap_or_default());
        if let Some(child) = self.known.get_mut(&fork.child) {
            child.user = user;
        }
    }

    /// It runs another program.
    pub fn exec(&mut self, process: ProcessId, exec: &Exec) {
        if exec.error.is_some() {
            return;
        }
        if !self.known.contains_key(&process) {
            self.insert(process, None, process.start_ns, Arc::default());
        }
        if let Some(known) = self.known.get_mut(&process) {
            known.program = Arc::new(program(exec));
            known.user = exec
                .identity
                .map(|user| (user.uid, user.euid))
                .or(known.user);
        }
    }

    /// It is another user.
    pub fn identify(&mut self, process: ProcessId, identity: &Identity) {
        if let Some(known) = self.known.get_mut(&process)
            && identity.error.is_none()
        {
            known.user = Some((identity.uid, identity.euid));
        }
    }

    /// It has ended.
    pub fn end(&mut self, process: ProcessId) {
        if self.running.get(&process.pid) != Some(&process) {
            return;
        }
        self.running.remove(&process.pid);
        self.ended.push_back(process);
        if self.ended.len() > ENDED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What is known of a process.
    pub fn process(&self, process: ProcessId) -> Option<&Process> {
        self.known.get(&process)
    }

    /// The one that has this pid now.
    pub fn running(&self, pid: u32) -> Option<ProcessId> {
        self.running.get(&pid).copied()
    }

    /// It, its parent, and so on.
    pub fn line(&self, process: ProcessId) -> impl Iterator<Item = ProcessId> + '_ {
        let parent = |process: &ProcessId| self.known.get(process)?.parent;
        std::iter::successors(Some(process), parent).take(GENERATIONS_MAX)
    }

    /// The first of all those that it comes from.
    pub fn root(&self, process: ProcessId) -> ProcessId {
        self.known.get(&process).map_or(process, |known| known.root)
    }

    fn insert(
        &mut self,
        process: ProcessId,
        parent: Option<ProcessId>,
        born_ns: u64,
        program: Arc<Program>,
    ) {
        if self.known.len() >= PROCESSES_MAX + ENDED_MAX {
            self.dropped += 1;
            return;
        }
        let root = parent.map_or(process, |parent| self.root(parent));
        self.running.insert(process.pid, process);
        self.known.insert(
            process,
            Process {
                parent,
                root,
                born_ns,
                program,
                user: None,
            },
        );
    }
}

/// Interpreters that read the file that is their first argument.
const INTERPRETERS: [&str; 16] = [
    "sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "python", "perl", "ruby", "node", "deno",
    "bun", "php", "lua", "tclsh",
];

/// Whether a program of this name reads the file that is its first argument.
pub fn is_interpreter(name: &str) -> bool {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&name)
}

/// Shells: what they run was wanted by whoever wanted them.
pub fn is_shell(name: &str) -> bool {
    INTERPRETERS.iter().take(7).any(|shell| *shell == name)
}

fn program(exec: &Exec) -> Program {
    let exe = exec.exe.as_ref().map(|exe| exe.text().into_owned());
    let exe = exe.unwrap_or_else(|| exec.filename.clone());
    let script = exec.script.as_ref().map(|path| path.text().into_owned());
    let script = script.or_else(|| argument_script(exec, &exe));
    let first = exec.args.first().map(|name| name.trim_start_matches('-'));
    let module = module(exec, &exe);
    let names = [Some(exe.as_str()), script.as_deref(), first, module];
    let names = names.into_iter().flatten();
    let names = self::names(names);
    let mut room = COMMAND_MAX;
    let args = exec.args.iter().map_while(|word| {
        room = room.checked_sub(word.len() + 1)?;
        Some(word.clone())
    });
    Program {
        args: args.collect(),
        names,
        exe,
        script,
    }
}

/// The file that an interpreter is told to read: its first argument that is no option. After an option like `-c` or `-m`
/// there is none.
fn argument_script(exec: &Exec, exe: &str) -> Option<String> {
    if !is_interpreter(last_part(exe)) {
        return None;
    }
    let mut words = exec.args.iter().skip(1);
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            None => return Some(absolute(word, exec)),
            // Long ones have no value, or one in the same word.
            Some(option) if option.starts_with('-') => {}
            // python -W -X, bash -o -O, node -r, perl and ruby -I: the next word is the value.
            Some("W" | "X" | "o" | "O" | "r" | "I") => _ = words.next(),
            Some(option) if option.starts_with(['W', 'X', 'I']) && !is_python_isolated(option) => {}
            // -c, -e, -m, -p, -s, alone or among others: it reads no file.
            Some(option) if option.is_empty() || reads_no_file(option, exe) => return None,
            Some(_) => {}
        }
    }
    None
}

/// `-Im MODULE`: isolated, and not a directory behind `-I`.
fn is_python_isolated(option: &str) -> bool {
    option.starts_with('I') && option.chars().all(|letter| "IEsSBbudvmc".contains(letter))
}

/// A shell's -e and -p are about how it runs its script.
fn reads_no_file(option: &str, exe: &str) -> bool {
    match is_shell(last_part(exe)) {
        true => option.contains(['c', 's']),
        false => option.contains(['c', 'e', 'm', 'p', 's']),
    }
}

/// `python -m MODULE`: what runs is the module.
fn module<'e>(exec: &'e Exec, exe: &str) -> Option<&'e str> {
    if !last_part(exe).starts_with("python") {
        return None;
    }
    let mut words = exec.args.iter().skip(1);
    let is_module =
        |word: &&String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('m');
    words
        .by_ref()
        .take_while(|word| word.starts_with('-'))
        .find(is_module)?;
    let module = words.next()?;
    module.split('.').next()
}

fn absolute(word: &str, exec: &Exec) -> String {
    let word = word.strip_prefix("./").unwrap_or(word);
    match &exec.cwd {
        Some(cwd) if !word.starts_with('/') => {
            format!("{}/{word}", cwd.text().trim_end_matches('/'))
        }
        _ => word.to_owned(),
    }
}

fn names<'n>(paths: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let mut names = Vec::new();
    for path in paths {
        let name = last_part(path);
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The last part of a path.
pub fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
