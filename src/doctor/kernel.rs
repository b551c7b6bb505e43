//! What the kernel offers and allows, asked by trying: versions stand in the advice only.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::Check;
use crate::attach::{Features, Scope, Session, Settings};
use crate::error::{ErrorKind, Result};
use crate::host::privileges::Privileges;

/// Magic number of BTF (include/uapi/linux/btf.h), in this machine's byte order.
const BTF_MAGIC: u16 = 0xeb9f;

/// More than the usual RLIMIT_MEMLOCK of 8 MiB: if the kernel charged maps to it, it would show.
const RING_BYTES: u32 = 16 << 20;

/// Where the uprobe PMU tells its number.
const UPROBE_PMU: &str = "/sys/bus/event_source/devices/uprobe/type";

/// What loading our object came to; `None` where privileges are missing and there is no point.
pub type Loaded = Option<Result<Session>>;

/// Loads the object; nothing is probed or reported.
pub fn load(privileges: &Privileges) -> Loaded {
    let settings = Settings {
        scope: Scope::NOBODY,
        ring_bytes: RING_BYTES,
        max_bytes: u64::MAX,
        tells_acts: false,
        watches_all: false,
    };
    privileges
        .missing_for_attach()
        .is_empty()
        .then(|| Session::open(&settings))
}

/// All checks of the kernel, in the order of the table.
pub fn checks(privileges: &Privileges, loaded: &Loaded) -> Vec<Check> {
    let mut checks = vec![lockdown(), btf(loaded), uprobes()];
    checks.extend(features(privileges, loaded));
    checks.extend([memlock(privileges, loaded), programs(loaded)]);
    checks
}

fn lockdown() -> Check {
    const NAME: &str = "lockdown";
    let Ok(modes) = fs::read_to_string("/sys/kernel/security/lockdown") else {
        return Check::ok(NAME, "none (or securityfs is not mounted)");
    };
    // "none [integrity] confidentiality": the one in brackets is in force.
    let mode = modes
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("none", |(mode, _)| mode);
    if mode == "confidentiality" {
        return Check::fail(
            NAME,
            "confidentiality: BPF may not read memory",
            "boot with lockdown=integrity, or switch Secure Boot's lockdown off",
        );
    }
    Check::ok(NAME, format!("{mode}: BPF may read memory"))
}

fn btf(loaded: &Loaded) -> Check {
    const NAME: &str = "kernel types (BTF)";
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    let mut magic = [0; 2];
    let read = File::open(PATH).and_then(|mut file| file.read_exact(&mut magic));
    let why = match read {
        Ok(()) if u16::from_ne_bytes(magic) == BTF_MAGIC => {
            return Check::ok(NAME, format!("{PATH} is readable"));
        }
        Ok(()) => format!("{PATH} holds something else"),
        Err(error) => format!("{PATH}: {error}"),
    };
    let fix = "use a kernel with CONFIG_DEBUG_INFO_BTF=y, and mount sysfs on /sys";
    if matches!(loaded, Some(Ok(_))) {
        return Check::warn(NAME, format!("{why}; found elsewhere"), fix);
    }
    Check::fail(NAME, why, fix)
}

fn uprobes() -> Check {
    const NAME: &str = "uprobes";
    match fs::read_to_string(UPROBE_PMU) {
        Ok(number) => Check::ok(NAME, format!("perf offers them as PMU {}", number.trim())),
        Err(_) if Path::new("/sys/bus/event_source").exists() => Check::fail(
            NAME,
            "this kernel has none",
            "use a kernel with CONFIG_UPROBES=y, CONFIG_UPROBE_EVENTS=y and CONFIG_BPF_EVENTS=y",
        ),
        Err(_) => Check::warn(
            NAME,
            "cannot tell: /sys/bus/event_source is not there",
            "mount sysfs on /sys",
        ),
    }
}

/// One thing that a kernel has or has not.
struct Feature {
    name: &'static str,
    has: fn(&Features) -> bool,
    /// First version with it, for advice.
    since: &'static str,
    /// What goes wrong without it.
    without: Without,
}

enum Without {
    /// Nothing can be captured.
    Fails(&'static str),
    /// Less is captured, or at a higher price.
    Suffers(&'static str),
    /// Nothing.
    Copes(&'static str),
}

const FEATURES: [Feature; 8] = [
    Feature {
        name: "ring buffer",
        has: |features| features.ring_buffer,
        since: "5.8",
        without: Without::Fails("no way to hand data out"),
    },
    Feature {
        name: "attach cookies",
        has: |features| features.attach_cookie,
        since: "5.15",
        without: Without::Fails("probes cannot tell functions apart"),
    },
    Feature {
        name: "uprobe_multi links",
        has: |features| features.uprobe_multi,
        since: "6.6",
        without: Without::Suffers("attaching takes one link for each probe and is slow"),
    },
    Feature {
        name: "system calls",
        has: |features| features.system_calls,
        since: "5.8",
        without: Without::Suffers(
            "of what processes do, programs are seen, but no files and sockets",
        ),
    },
    Feature {
        name: "session probes",
        has: |features| features.uprobe_session,
        since: "6.13",
        without: Without::Copes("entry and return are probed apart"),
    },
    Feature {
        name: "bpf_loop",
        has: |features| features.bpf_loop,
        since: "5.17",
        without: Without::Suffers("of a call that moves more than 16 MiB the rest is left out"),
    },
    Feature {
        name: "socket lengths",
        has: |features| features.socket_lengths,
        since: "6.3",
        without: Without::Copes("sockets of rustls are told by the returns of system calls"),
    },
    Feature {
        name: "bpf_find_vma",
        has: |features| features.find_vma,
        since: "5.17",
        without: Without::Suffers("programs that use NSS (Firefox) cannot be observed"),
    },
];

fn features(privileges: &Privileges, loaded: &Loaded) -> Vec<Check> {
    let unknown = |why, fix| vec![Check::warn("kernel features", why, fix)];
    match loaded {
        None => {
            return unknown(
                "unknown: asking takes the missing privileges",
                "see privileges",
            );
        }
        // Then a refusal is the answer to every question.
        Some(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            return unknown("unknown: asking is forbidden", "see BPF programs");
        }
        Some(_) => {}
    }
    let features = Features::probe();
    let mut checks: Vec<_> = FEATURES
        .iter()
        .map(|feature| feature.check(&features))
        .collect();
    checks.extend(single_links(privileges, &features));
    checks
}

impl Feature {
    fn check(&self, features: &Features) -> Check {
        if (self.has)(features) {
            return Check::ok(self.name, "there");
        }
        let fix = format!("use kernel {} or newer", self.since);
        match self.without {
            Without::Fails(what) => Check::fail(self.name, format!("missing: {what}"), fix),
            Without::Suffers(what) => Check::warn(self.name, format!("missing: {what}"), fix),
            Without::Copes(what) => Check::ok(self.name, format!("missing, not needed: {what}")),
        }
    }
}

/// Single probes go through perf_event_open(2), which asks for more (measured: EACCES with CAP_BPF and
/// CAP_PERFMON alone; kernel/events/core.c, perf_uprobe_event_init).
fn single_links(privileges: &Privileges, features: &Features) -> Option<Check> {
    (!features.uprobe_multi && !privileges.sys_admin).then(|| {
        Check::fail(
            "single probes",
            "without uprobe_multi links they take CAP_SYS_ADMIN, which is missing",
            "try: sudo agentsight …",
        )
    })
}

/// Whether maps are charged to RLIMIT_MEMLOCK (before 5.11) shows by whether they could be made.
fn memlock(privileges: &Privileges, loaded: &Loaded) -> Check {
    const NAME: &str = "locked memory";
    let limit = memlock_limit();
    let says = limit.map_or("no limit".into(), |bytes| {
        format!("limit {} KiB", bytes >> 10)
    });
    match loaded {
        Some(Ok(_)) => Check::ok(
            NAME,
            format!("{says}; a ring buffer of {} KiB was made", RING_BYTES >> 10),
        ),
        Some(Err(_)) if limit.is_some_and(|bytes| bytes < RING_BYTES.into()) => Check::warn(
            NAME,
            format!(
                "{says}; may be why programs do not load, if this kernel charges maps to it \
                 (before 5.11){}",
                if privileges.sys_resource {
                    ""
                } else {
                    ", and CAP_SYS_RESOURCE is missing"
                }
            ),
            "run ulimit -l unlimited, or set LimitMEMLOCK=infinity in the service's unit",
        ),
        _ => Check::ok(NAME, says),
    }
}

fn memlock_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn programs(loaded: &Loaded) -> Check {
    const NAME: &str = "BPF programs";
    match loaded {
        None => Check::fail(NAME, "not tried: privileges are missing", "see privileges"),
        Some(Ok(_)) => Check::ok(NAME, "the kernel's verifier takes them"),
        Some(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Check::fail(
            NAME,
            format!("{error:#}"),
            "something forbids what the capabilities allow: look for a denial of SELinux, AppArmor \
             or seccomp in dmesg or the audit log, or run outside of the container",
        ),
        Some(Err(error)) => Check::fail(
            NAME,
            format!("{error:#}"),
            "use kernel 5.15 or newer with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y; if it is, \
             please report this output",
        ),
    }
}
