//! What this process may do: the capabilities that attaching takes, those that only widen what is
//! seen, and what keeps a capability from counting.
//!
//! Measured on Linux 6.18 (perf_event_paranoid 2, unprivileged_bpf_disabled 2), `setpriv` to user 65534
//! with nothing but these, and the self test of `agentsight doctor`, which probes libssl.so.3:
//!
//! | effective capabilities    | outcome                                                          |
//! |---------------------------|------------------------------------------------------------------|
//! | none, or PERFMON alone    | EPERM on any program                                             |
//! | BPF alone                 | a socket filter loads, EPERM on the first uprobe program         |
//! | BPF + PERFMON             | loads, attaches with uprobe_multi, captures all bytes            |
//! | BPF + PERFMON, no multi   | EACCES from perf_event_open(2) on the uprobe PMU: takes SYS_ADMIN |
//! | SYS_ADMIN alone           | everything: it stands for both (capabilities(7))                 |
//! | user 0 without BPF        | EPERM: being root is no capability                               |
//! | all, in a user namespace  | EPERM: the kernel asks for them in the initial one               |
//!
//! So BPF and PERFMON are required. SYS_PTRACE is asked for by /proc/PID/{exe,maps,root} of other users'
//! processes, DAC_READ_SEARCH by files that this user may not read; without them less is found.

use std::fs;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use procfs::process::Process;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// Namespaces that exist since boot have fixed numbers (include/linux/proc_ns.h, `PROC_*_INIT_INO`).
const INIT_USER_NAMESPACE: &str = "user:[4026531837]";
const INIT_PID_NAMESPACE: &str = "pid:[4026531836]";

/// What `setcap` should give to the program.
const SETCAP: &str = "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep";

/// What a process may do and what surrounds it, as far as observing others depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Privileges {
    /// `CAP_BPF` is effective.
    pub bpf: bool,
    /// `CAP_PERFMON` is effective.
    pub perfmon: bool,
    /// `CAP_SYS_ADMIN` is effective: stands for the two above.
    pub sys_admin: bool,
    /// `CAP_SYS_PTRACE` is effective.
    pub sys_ptrace: bool,
    /// `CAP_DAC_READ_SEARCH` (or `CAP_DAC_OVERRIDE`) is effective.
    pub dac_read_search: bool,
    /// `CAP_SYS_RESOURCE` is effective: may raise its own limits.
    pub sys_resource: bool,
    /// In a user namespace of its own, where the kernel does not count capabilities for BPF.
    pub in_user_namespace: bool,
    /// In a pid namespace of its own: process ids differ from those that the kernel side reports.
    pub in_pid_namespace: bool,
    /// A seccomp filter is in force, as in most containers.
    pub is_filtered: bool,
}

impl Privileges {
    /// Of this thread. What cannot be found out counts as not there.
    pub fn of_self() -> Self {
        let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
        let status = Process::myself().and_then(|process| process.status()).ok();
        Self {
            in_user_namespace: is_namespace_other("user", INIT_USER_NAMESPACE),
            in_pid_namespace: is_namespace_other("pid", INIT_PID_NAMESPACE),
            is_filtered: status.and_then(|status| status.seccomp)
                == Some(libc::SECCOMP_MODE_FILTER),
            ..Self::with(|capability| effective.contains(&capability))
        }
    }

    fn with(has: impl Fn(Capability) -> bool) -> Self {
        Self {
            bpf: has(Capability::CAP_BPF),
            perfmon: has(Capability::CAP_PERFMON),
            sys_admin: has(Capability::CAP_SYS_ADMIN),
            sys_ptrace: has(Capability::CAP_SYS_PTRACE),
            dac_read_search: has(Capability::CAP_DAC_READ_SEARCH)
                || has(Capability::CAP_DAC_OVERRIDE),
            sys_resource: has(Capability::CAP_SYS_RESOURCE),
            ..Self::default()
        }
    }

    /// Capabilities without which nothing can be attached.
    pub fn missing_for_attach(&self) -> Vec<&'static str> {
        let counts = |held: bool| (held || self.sys_admin) && !self.in_user_namespace;
        names([
            ("CAP_BPF", counts(self.bpf)),
            ("CAP_PERFMON", counts(self.perfmon)),
        ])
    }

    /// Capabilities without which other users' processes and unreadable files stay unseen.
    pub fn missing_for_others(&self) -> Vec<&'static str> {
        names([
            ("CAP_SYS_PTRACE", self.sys_ptrace),
            ("CAP_DAC_READ_SEARCH", self.dac_read_search),
        ])
    }

    /// How to get what is missing, for this program.
    pub fn remedy(&self, program: &Path) -> String {
        if self.in_user_namespace {
            return "run agentsight on the host, outside of the user namespace (rootless container)"
                .into();
        }
        format!(
            "try: sudo agentsight …, or once: sudo setcap {SETCAP} {}",
            program.display()
        )
    }

    fn check(&self, program: &Path) -> Result<()> {
        let missing = self.missing_for_attach();
        if missing.is_empty() {
            return Ok(());
        }
        let what = if self.in_user_namespace {
            "capabilities held in a user namespace do not count for BPF: effectively missing"
        } else {
            "missing"
        };
        Err(Error::new(
            ErrorKind::PermissionDenied,
            format!(
                "attaching probes needs privileges ({what} {}); {}",
                missing.join(" and "),
                self.remedy(program)
            ),
        ))
    }
}

/// Refuses early and in words what the kernel would refuse with EPERM.
///
/// # Errors
/// A capability is missing without which nothing can be attached; the message names it and says how
/// to give it.
pub fn require_for_attach() -> Result<()> {
    Privileges::of_self().check(&this_program())
}

/// This program's file, for advice to people.
pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "agentsight".into())
}

fn names<const N: usize>(held: [(&'static str, bool); N]) -> Vec<&'static str> {
    held.into_iter()
        .filter(|(_, held)| !held)
        .map(|(name, _)| name)
        .collect()
}

/// Whether this process is in another namespace than the one since boot. Without /proc: no.
fn is_namespace_other(kind: &str, init: &str) -> bool {
    fs::read_link(format!("/proc/self/ns/{kind}")).is_ok_and(|link| link != Path::new(init))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(held: &[Capability]) -> String {
        let privileges = Privileges::with(|capability| held.contains(&capability));
        match privileges.check(Path::new("/opt/agentsight")) {
            Ok(()) => String::new(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                error.to_string()
            }
        }
    }

    /// A user is told exactly what is missing, no more and no less, and how to give it.
    #[test]
    fn refusal_names_what_is_missing() {
        use Capability::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE};
        assert_eq!(
            refusal(&[]),
            "attaching probes needs privileges (missing CAP_BPF and CAP_PERFMON); \
             try: sudo agentsight …, or once: sudo setcap \
             cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep /opt/agentsight"
        );
        assert!(refusal(&[CAP_BPF, CAP_SYS_PTRACE]).contains("(missing CAP_PERFMON);"));
        assert!(refusal(&[CAP_PERFMON]).contains("(missing CAP_BPF);"));
        assert_eq!(refusal(&[CAP_BPF, CAP_PERFMON]), "");
        assert_eq!(refusal(&[CAP_SYS_ADMIN]), "");
    }

    /// Capabilities in a rootless container look complete and are worth nothing; `setcap` would not
    /// help there.
    #[test]
    fn user_namespace_is_told_apart() {
        let privileges = Privileges {
            in_user_namespace: true,
            ..Privileges::with(|_| true)
        };
        let message = privileges.check(Path::new("a")).unwrap_err().to_string();
        assert!(message.contains("user namespace"), "{message}");
        assert!(!message.contains("setcap"), "{message}");
    }

    /// What only narrows the view is never a reason to refuse.
    #[test]
    fn others_are_optional() {
        let privileges =
            Privileges::with(|c| matches!(c, Capability::CAP_BPF | Capability::CAP_PERFMON));
        assert!(privileges.missing_for_attach().is_empty());
        assert_eq!(
            privileges.missing_for_others(),
            ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]
        );
    }
}
