//! What this process may do and what it is shut into.

use std::fs;

use super::Check;
use super::kernel::Loaded;
use crate::host::privileges::{Privileges, this_program};

/// In the order of the table.
pub fn checks(privileges: &Privileges, loaded: &Loaded) -> Vec<Check> {
    vec![
        attaching(privileges),
        others(privileges),
        sysctl(
            privileges,
            "perf_event_paranoid",
            "/proc/sys/kernel/perf_event_paranoid",
            "CAP_PERFMON",
        ),
        sysctl(
            privileges,
            "unprivileged_bpf_disabled",
            "/proc/sys/kernel/unprivileged_bpf_disabled",
            "CAP_BPF",
        ),
        pid_namespace(privileges),
        own_filter(privileges, loaded),
    ]
}

fn attaching(privileges: &Privileges) -> Check {
    const NAME: &str = "privileges";
    let missing = privileges.missing_for_attach();
    if missing.is_empty() {
        let by = if privileges.bpf && privileges.perfmon {
            "CAP_BPF and CAP_PERFMON"
        } else {
            "CAP_SYS_ADMIN, which stands for CAP_BPF and CAP_PERFMON"
        };
        return Check::ok(NAME, format!("{by}: probes may be attached"));
    }
    let why = if privileges.in_user_namespace {
        " (what is held in a user namespace does not count)"
    } else {
        ""
    };
    Check::fail(
        NAME,
        format!(
            "missing {}{why}: nothing can be attached",
            missing.join(" and ")
        ),
        privileges.remedy(&this_program()),
    )
}

fn others(privileges: &Privileges) -> Check {
    const NAME: &str = "other users' programs";
    let missing = privileges.missing_for_others();
    if missing.is_empty() {
        return Check::ok(NAME, "may be looked at");
    }
    Check::warn(
        NAME,
        format!(
            "missing {}: processes of other users and files that this user may not read stay unseen",
            missing.join(" and ")
        ),
        privileges.remedy(&this_program()),
    )
}

/// These two bind only who lacks the capability (measured at 2, with nothing but the capability), and
/// none of their values frees tracing programs for the others.
fn sysctl(privileges: &Privileges, name: &'static str, path: &str, lifted_by: &str) -> Check {
    let Ok(value) = fs::read_to_string(path) else {
        return Check::ok(name, "not there");
    };
    let value = value.trim();
    if privileges.missing_for_attach().contains(&lifted_by) {
        return Check::ok(
            name,
            format!("{value}; no value of it stands in for {lifted_by}"),
        );
    }
    Check::ok(name, format!("{value}, lifted by {lifted_by}"))
}

fn pid_namespace(privileges: &Privileges) -> Check {
    const NAME: &str = "pid namespace";
    if !privileges.in_pid_namespace {
        return Check::ok(NAME, "the host's");
    }
    Check::warn(
        NAME,
        "one of its own (a container): process ids in events are the host's, and programs outside of \
         it are not found",
        "start the container with --pid=host (Kubernetes: hostPID: true), or run on the host",
    )
}

fn own_filter(privileges: &Privileges, loaded: &Loaded) -> Check {
    const NAME: &str = "seccomp filter on us";
    match loaded {
        _ if !privileges.is_filtered => Check::ok(NAME, "none"),
        Some(Ok(_)) => Check::ok(NAME, "there is one, and it lets BPF through"),
        _ => Check::warn(
            NAME,
            "there is one, which may forbid bpf(2) and perf_event_open(2) (containers' default does)",
            "start the container with --privileged or --security-opt seccomp=unconfined",
        ),
    }
}
