//! Processes that begin, run programs and end. Arguments and environment come before the program they belong to, in
//! pieces; of the environment only a few variables are told, since secrets are kept there.

use std::collections::{BTreeMap, HashMap};

use super::deed::{Device, Exec, Exit, Fork};
use super::path::Path;
use super::{identity, keep, numbers};
use crate::event::ProcessId;
use crate::event::act::{Act, Words};

/// Variables whose values change what a program loads or runs, or where it sends things.
const TOLD: [&str; 22] = [
    "BASH_ENV",
    "DYLD_INSERT_LIBRARIES",
    "ENV",
    "GIT_EXTERNAL_DIFF",
    "GIT_SSH_COMMAND",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYOPT",
    "SSH_ORIGINAL_COMMAND",
    "SUDO_USER",
    "ZDOTDIR",
];

/// Whether a variable's value is told.
pub fn is_told(name: &[u8]) -> bool {
    TOLD.binary_search_by(|told| told.as_bytes().cmp(name))
        .is_ok()
}

/// What has come of the words of a program that has not begun yet.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    total: u64,
}

impl Waiting {
    fn hear(&mut self, words: &Words<'_>) {
        if words.offset == 0 {
            self.bytes.clear();
        }
        self.total = words.total;
        // What is missing in between would make one word of two.
        if words.offset == self.bytes.len() as u64 {
            self.bytes.extend_from_slice(&words.bytes);
        }
    }

    /// The words, and how many bytes of them are missing.
    fn take(self, total: u64) -> (Vec<Vec<u8>>, u64) {
        let missing = total.saturating_sub(self.bytes.len() as u64);
        let bytes = match missing {
            0 => self.bytes.strip_suffix(b"\0").unwrap_or(&self.bytes),
            _ => &self.bytes,
        };
        let words = match bytes.is_empty() && total == 0 {
            true => Vec::new(),
            false => bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect(),
        };
        (words, missing)
    }
}

/// Programs that are about to begin.
#[derive(Default)]
pub struct Programs {
    waiting: HashMap<ProcessId, [Waiting; 2]>,
}

impl Programs {
    pub fn hear(&mut self, process: ProcessId, words: &Words<'_>) {
        if !self.waiting.contains_key(&process) {
            keep(&mut self.waiting, process, Default::default());
        }
        if let Some([arguments, environment]) = self.waiting.get_mut(&process) {
            match words.is_environment {
                true => environment.hear(words),
                false => arguments.hear(words),
            }
        }
    }

    pub fn forget(&mut self, process: ProcessId) {
        self.waiting.remove(&process);
    }

    pub fn exec(&mut self, process: ProcessId, act: &Act<'_>) -> Exec {
        let [arguments, environment] = self.waiting.remove(&process).unwrap_or_default();
        let [of_arguments, of_environment] = act.pair(3);
        let (args, args_missing) = arguments.take(of_arguments.into());
        let (variables, env_missing) = environment.take(of_environment.into());
        let filename = act.text(2);
        let cwd = act.text(1);
        let interpreter = act.text(3);
        let given = filename
            .as_ref()
            .map(|name| Path::given(name, cwd.as_ref()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Exec {
            filename: filename.map(|name| text(name.raw())).unwrap_or_default(),
            exe: act.text(0).map(|text| Path::walked(&text)),
            exe_file: super::files::inode(act),
            script: given.filter(|_| interpreter.is_some()),
            interpreter: interpreter.map(|name| text(name.raw())),
            args: args.iter().map(|word| text(word)).collect(),
            args_missing,
            cwd: cwd.map(|text| Path::walked(&text)),
            identity: Some(identity(act)).filter(|_| !act.flags.is_unseen()),
            tty: Some(act.pair(2)[0]).filter(|tty| *tty > 0).map(Device),
            env: variables.iter().filter_map(|word| variable(word)).collect(),
            env_missing,
            late: act.flags.is_late(),
            secure: act.flags.is_secure(),
            was_written: act.flags.was_written(),
            error: None,
        }
    }
}

/// Name and value, if it is told.
fn variable(word: &[u8]) -> Option<(String, String)> {
    let equals = word.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (word.get(..equals)?, word.get(equals + 1..)?);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    is_told(name).then(|| (text(name), text(value)))
}

pub fn failed(act: &Act<'_>) -> Exec {
    let filename = act.text(0);
    Exec {
        filename: filename
            .map(|name| String::from_utf8_lossy(name.raw()).into_owned())
            .unwrap_or_default(),
        cwd: act.text(1).map(|text| Path::walked(&text)),
        error: numbers::failure(act),
        env: BTreeMap::new(),
        ..Exec::default()
    }
}

pub fn fork(act: &Act<'_>) -> Fork {
    let child = act.process();
    let ns_pid = act.pair(2)[0];
    Fork {
        child_pid: child.pid,
        child,
        child_ns_pid: (ns_pid != child.pid && ns_pid > 0).then_some(ns_pid),
    }
}

/// The page size of every machine that we run on.
const PAGE: u64 = 4096;

/// The status as wait(2) tells it.
pub fn exit(act: &Act<'_>) -> Exit {
    let [status, cpu_ns, pages, _] = act.value;
    let signal = status & 0x7f;
    Exit {
        code: (signal == 0).then_some(((status >> 8) & 0xff) as i32),
        signal: match signal {
            0 => None,
            number => Some(numbers::signal(number as i32).unwrap_or("real-time signal")),
        },
        core: status & 0x80 != 0,
        cpu_ns,
        peak_rss: pages.saturating_mul(PAGE),
    }
}
