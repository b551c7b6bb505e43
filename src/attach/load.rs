//! Loads the object: what is fixed from then on, and what this kernel does without.

use std::mem::MaybeUninit;

use libbpf_rs::ProgramAttachType;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use super::libbpf::Blame;
use super::skel::{AgentsightSkel, AgentsightSkelBuilder};
use super::{Features, Scope, Settings};
use crate::error::Result;

/// Most that waits in the ring until its reader is woken (`WAKEUP_BYTES` in `bpf/limits.h`): small enough
/// to be in the CPU's cache still. A small ring wakes earlier.
const WAKEUP_BYTES: u64 = 1 << 20;

/// Everybody's acts would be more than anybody reads.
pub(super) fn tells_acts(settings: &Settings) -> bool {
    settings.tells_acts && matches!(settings.scope, Scope::Selected { .. })
}

/// All of it, or all but the programs that look at system calls; then also why.
pub(super) fn load_what_loads(
    settings: &Settings,
    features: &mut Features,
) -> Result<(AgentsightSkel<'static>, Option<String>)> {
    let why = match load(settings, features) {
        Ok(skel) if features.system_calls => return Ok((skel, None)),
        Ok(skel) => {
            let why = "this kernel takes no programs for the return of system calls".to_owned();
            return Ok((skel, Some(why)));
        }
        Err(error) if !features.system_calls => return Err(error),
        Err(error) => error,
    };
    // They are the largest ones, and the verifier of another kernel may see them otherwise.
    features.system_calls = false;
    Ok((load(settings, features)?, Some(format!("{why:#}"))))
}

fn load(settings: &Settings, features: &Features) -> Result<AgentsightSkel<'static>> {
    // A session lives as long as the process in all uses of it; the storage is a few hundred bytes.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let ring_bytes = settings.ring_bytes.max(4096).next_power_of_two();
    let mut open = AgentsightSkelBuilder::default()
        .open(storage)
        .blame(|| "failed to open the BPF object")?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.tell_users = settings.scope == Scope::Everybody;
        if let Scope::Selected { asked, follow } = settings.scope {
            rodata.only_tracked = true;
            rodata.asked = asked;
            rodata.follow = follow;
        }
        rodata.tells_acts = tells_acts(settings);
        rodata.lacks_calls = !features.system_calls;
        rodata.watches_all = settings.watches_all;
        rodata.max_bytes = settings.max_bytes;
        rodata.wakeup_bytes = u64::from(ring_bytes / 16).min(WAKEUP_BYTES);
        rodata.use_bpf_loop = features.bpf_loop;
    }
    open.maps
        .ring
        .set_max_entries(ring_bytes)
        .blame(|| "failed to size the ring buffer")?;
    if features.uprobe_multi {
        for program in [
            &mut open.progs.bench_hit,
            &mut open.progs.loader_changed,
            &mut open.progs.go_enter,
            &mut open.progs.go_leave,
            &mut open.progs.record_exit,
            &mut open.progs.record_open,
            &mut open.progs.record_opened,
            &mut open.progs.record_seal,
            &mut open.progs.tls_enter,
            &mut open.progs.tls_exit,
            &mut open.progs.tls_leave,
        ] {
            program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
        }
    }
    for program in [
        &mut open.progs.bench_session,
        &mut open.progs.record_session,
        &mut open.progs.tls_session,
    ] {
        program.set_autoload(features.uprobe_session);
    }
    for program in [
        &mut open.progs.call_of_other_kind,
        &mut open.progs.call_on_file,
        &mut open.progs.call_on_socket,
        &mut open.progs.call_returned,
        &mut open.progs.call_that_closes,
        &mut open.progs.call_that_opens,
        &mut open.progs.call_that_receives,
        &mut open.progs.call_that_sends,
        &mut open.progs.call_with_path,
        &mut open.progs.sweep_descriptors,
    ] {
        program.set_autoload(features.system_calls);
    }
    open.load().blame(|| "failed to load the BPF programs")
}
