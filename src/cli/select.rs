//! Which processes: the arguments that all subcommands share, and what is checked of them before anything starts.

use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::containers::Containers;
use crate::host::{cgroups, selected, table};
use crate::select::{Pattern, Selection};

/// Bytes of a process's name that the kernel keeps (`TASK_COMM_LEN`, less one).
const COMM_LEN: usize = 15;
/// The kernel gives no higher pids (`PID_MAX_LIMIT`).
const PID_MAX: i64 = 1 << 22;

/// Kinds are joined with "and", values of one kind with "or".
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(
    next_help_heading = "Which processes (all kinds that are given must fit, and of a kind any one value)"
)]
pub struct SelectArgs {
    /// Those that run this executable or use this shared library, now or later; with --container,
    /// an executable's path inside of that; may be given several times
    #[arg(long, alias = "binary-path", value_name = "PATH")]
    pub binary: Vec<PathBuf>,
    /// Those with these process ids
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=PID_MAX))]
    pub pid: Vec<u32>,
    /// Those of this name, or of names like this ('node*'), as in /proc/PID/comm; may be given several times
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Those whose executable's path, as they see it, is like this ('/opt/**/node'); counts as one kind
    /// with --binary; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub exe: Vec<String>,
    /// Those of this user; may be given several times
    #[arg(long, value_name = "NAME|UID")]
    pub user: Vec<String>,
    /// Those in this cgroup (v2), or below it: a path in /sys/fs/cgroup, or as in /proc/PID/cgroup; may be
    /// given several times
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<PathBuf>,
    /// Those in this container, by its name, its id, or the first four or more digits of that; may be given
    /// several times
    #[arg(long, value_name = "NAME|ID")]
    pub container: Vec<String>,
    /// All that fit the other selectors; without any, all that run here
    #[arg(long, conflicts_with = "pid")]
    pub all: bool,
    /// Descendants of these processes as well, whatever they are [default with --pid, --comm and record]
    #[arg(long, overrides_with = "no_follow")]
    pub follow: bool,
    /// These processes alone [default otherwise]
    #[arg(long, overrides_with = "follow")]
    pub no_follow: bool,
    /// What is not there yet is waited for, instead of being an error (not a --pid)
    #[arg(long)]
    pub wait: bool,
}

impl SelectArgs {
    /// Whether any of them was given.
    pub fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// Whether any of them says who, and not only how.
    #[cfg(feature = "bpf")]
    pub fn names_somebody(&self) -> bool {
        let how = Self {
            follow: self.follow,
            no_follow: self.no_follow,
            wait: self.wait,
            ..Self::default()
        };
        *self != how
    }

    /// What is asked for. Descendants are followed by default if processes were named one by one.
    pub fn selection(&self) -> Result<Selection> {
        self.selection_following(!self.pid.is_empty() || !self.comm.is_empty())
    }

    /// As above, with another default for descendants.
    pub fn selection_following(&self, default: bool) -> Result<Selection> {
        let follow = match (self.follow, self.no_follow) {
            (true, _) => true,
            (_, true) => false,
            _ => default,
        };
        let selection = Selection {
            binaries: self.binaries()?,
            cgroups: each(&self.cgroup, |path| self.cgroup(path))?,
            comms: each(&self.comm, |name| comm(name))?,
            containers: self.containers()?,
            exes: each(&self.exe, |glob| exe(glob))?,
            pids: each(&self.pid, |pid| self.pid(*pid))?,
            users: each(&self.user, |name| user(name))?,
            follow,
        };
        if !selection.has_rules() && selection.pids.is_empty() && !self.all {
            return Err(usage(
                "which processes? Name them with --binary, --pid, --comm, --exe, --user, --cgroup or --container, \
                 or say --all",
            ));
        }
        Ok(selection)
    }

    /// Names inside of a container are not ours to look up.
    fn binaries(&self) -> Result<Vec<PathBuf>> {
        for path in &self.binary {
            if self.container.is_empty() {
                let metadata = std::fs::metadata(path);
                let failed = || format!("failed to open {} (--binary)", path.display());
                match metadata {
                    Err(error) if !self.wait => return Err(error).context(failed),
                    Ok(metadata) if metadata.is_dir() => {
                        let what = path.display();
                        return Err(usage(format!("--binary {what} is a directory")));
                    }
                    _ => {}
                }
            } else if path.to_string_lossy().contains(".so") {
                let what = path.display();
                return Err(usage(format!(
                    "--binary {what}: with --container it is an executable; what that loads is found by itself"
                )));
            } else if !path.is_absolute() {
                let what = path.display();
                return Err(usage(format!(
                    "--binary {what}: with --container it is a path inside of that, and begins with /"
                )));
            }
        }
        Ok(self.binary.clone())
    }

    fn containers(&self) -> Result<Vec<String>> {
        let named = each(&self.container, |name| container(name))?;
        if !self.wait && !named.is_empty() {
            let known = Containers::new(Path::new("/"))?;
            for name in &named {
                known.find(name)?;
            }
        }
        Ok(named)
    }

    fn pid(&self, pid: u32) -> Result<u32> {
        let number = pid.cast_signed();
        let complaint = match table::Process::read(number) {
            _ if pid == std::process::id() => format!("process {pid} is agentsight itself"),
            None => {
                let why = format!("no process {pid} in /proc");
                return Err(Error::new(ErrorKind::NotFound, why));
            }
            Some(found) if found.is_zombie => {
                let why = format!("process {pid} ({}) has ended", found.comm);
                return Err(Error::new(ErrorKind::NotFound, why));
            }
            Some(found) if found.is_kernel => {
                let name = found.comm;
                format!("process {pid} ({name}) is the kernel's own: it has no program")
            }
            Some(_) => match selected::process_of(number) {
                Some(process) if process != number => {
                    format!("{pid} is a thread of process {process}: name that one")
                }
                _ => return Ok(pid),
            },
        };
        Err(usage(format!("--pid {pid}: {complaint}")))
    }

    fn cgroup(&self, path: &Path) -> Result<PathBuf> {
        let found = cgroups::Mounts::here()?.find(path)?;
        if !found.is_there && !self.wait {
            let (path, mount) = (path.display(), found.mount.display());
            let why = format!("no cgroup {path} below {mount} (--wait waits for it)");
            return Err(Error::new(ErrorKind::NotFound, why));
        }
        Ok(found.cgroup)
    }
}

fn each<T, U>(values: &[T], check: impl FnMut(&T) -> Result<U>) -> Result<Vec<U>> {
    values.iter().map(check).collect()
}

/// A longer name is what the kernel has cut off.
fn comm(name: &str) -> Result<Pattern> {
    let literal = name
        .split(['*', '?', '[', '{', '\\'])
        .next()
        .unwrap_or_default();
    if literal.len() != name.len() && literal.len() > COMM_LEN {
        return Err(usage(format!(
            "--comm {name}: names are cut to {COMM_LEN} bytes, and would never fit"
        )));
    }
    if literal.len() != name.len() || name.len() <= COMM_LEN {
        return pattern("--comm", name, name);
    }
    let ends = (0..=COMM_LEN).rev();
    let kept = ends.into_iter().find_map(|end| name.get(..end));
    let kept = kept.unwrap_or_default();
    // Half a character cannot be told.
    let rest = if kept.len() < COMM_LEN { "*" } else { "" };
    pattern("--comm", name, &format!("{kept}{rest}"))
}

fn exe(glob: &str) -> Result<Pattern> {
    if !glob.starts_with(['/', '*', '{', '[', '?']) {
        return Err(usage(format!(
            "--exe {glob}: it is compared with whole paths, and would never fit: '**/{glob}'?"
        )));
    }
    pattern("--exe", glob, glob)
}

fn pattern(argument: &str, given: &str, text: &str) -> Result<Pattern> {
    if given.is_empty() {
        return Err(usage(format!("{argument}: an empty name fits nothing")));
    }
    let pattern = match argument {
        "--comm" => Pattern::name(text),
        _ => Pattern::new(text),
    };
    pattern.context(|| format!("{argument} {given}"))
}

fn container(name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(usage("--container: an empty name fits nothing"));
    }
    Ok(name.to_owned())
}

/// As for pgrep(1), digits are an id.
fn user(name: &str) -> Result<u32> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    let found = nix::unistd::User::from_name(name);
    let found = found
        .map_err(std::io::Error::from)
        .context(|| format!("failed to look up user {name:?}"))?;
    found.map(|user| user.uid.as_raw()).ok_or_else(|| {
        let why = format!("no user {name:?} in the system's user database (getent passwd)");
        Error::new(ErrorKind::NotFound, why)
    })
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}
