//! The only user of libbpf: loads the object, places the probes of a plan, hands out records.
//!
//! Everything that is attached is a BPF link owned by this process: whatever ends it, SIGKILL
//! included, leaves no probe behind. Probes go to an inode (opened file), never to a name.

mod features;
#[cfg(test)]
mod layout;
mod libbpf;
mod ring;
mod skel;

use std::collections::HashSet;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{
    Link, MapCore, MapFlags, ProgramAttachType, ProgramInput, ProgramMut, UprobeMultiOpts,
    UprobeOpts,
};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::event::wire::{self, ConnState, Counter};
use crate::event::{ProcessId, Thread};
use crate::image::{FileIdentity, FileOff};
use crate::plan::{FUNCTIONS_MAX, Probe, ProbePlan};

pub use features::Features;
pub use ring::{RingReader, RunningRing};

use libbpf::Blame;
use skel::{AgentsightSkel, AgentsightSkelBuilder};

/// Most that waits in the ring until its reader is woken (`WAKEUP_BYTES` in `bpf/limits.h`): small enough
/// to be in the CPU's cache still. A small ring wakes earlier.
const WAKEUP_BYTES: u64 = 1 << 20;

/// What is fixed when the object is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Report only processes that run a file named with [`Session::add_target`].
    pub only_targets: bool,
    /// Size of the ring buffer in bytes; rounded up to a power of two.
    pub ring_bytes: u32,
    /// Payload bytes to keep of each call.
    pub max_bytes: u64,
}

/// A probed function, as the `function` index of events names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedFunction {
    /// Which library.
    pub library: String,
    /// Which function.
    pub name: String,
}

/// What came of attaching one plan.
#[derive(Debug, Default)]
pub struct Attached {
    /// Probed functions.
    pub functions: usize,
    /// Functions that the kernel refused a probe for, with its reason.
    pub failed: Vec<(String, String)>,
}

/// The loaded object and everything that is attached with it.
pub struct Session {
    // Before the skeleton, so that it is dropped first.
    links: Vec<Link>,
    skel: AgentsightSkel<'static>,
    features: Features,
    functions: Vec<ProbedFunction>,
}

impl Session {
    /// Loads the object into the kernel. Nothing is probed yet.
    ///
    /// # Errors
    /// A privilege is missing, or the kernel cannot do it.
    pub fn open(settings: &Settings) -> Result<Self> {
        libbpf::catch_messages();
        let features = Features::probe();
        let skel = load(settings, &features)?;
        let mut session = Self {
            links: Vec::new(),
            skel,
            features,
            functions: Vec::new(),
        };
        // Also tells the kernel side who we are, so that nothing of us is ever reported.
        session.identify(None)?;
        Ok(session)
    }

    /// From now on, the end of a process is told.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn follow_processes(&mut self) -> Result<()> {
        let program = &self.skel.progs.process_exit;
        let link = program
            .attach_raw_tracepoint("sched_process_exit")
            .blame(|| "failed to attach to tracepoint sched_process_exit")?;
        self.links.push(link);
        Ok(())
    }

    /// Whether /proc names processes as the kernel side does: not so in a pid namespace of our own.
    pub fn shares_pids(&self) -> bool {
        let bss = self.skel.maps.bss_data.as_deref();
        bss.is_some_and(|bss| bss.self_tgid == std::process::id())
    }

    /// What this kernel can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The function behind an event's index.
    pub fn function(&self, index: u16) -> Option<&ProbedFunction> {
        self.functions.get(usize::from(index))
    }

    /// A reader for the records of this session.
    ///
    /// # Errors
    /// The ring buffer's map cannot be opened again.
    pub fn ring(&self) -> Result<RingReader> {
        RingReader::new(&self.skel.maps.ring)
    }

    /// From now on, processes that run this executable are reported.
    ///
    /// # Errors
    /// The kernel refuses; or more than 1024 files are named.
    pub fn add_target(&mut self, executable: &File) -> Result<()> {
        let id = self.identify(Some(executable))?;
        self.skel
            .maps
            .targets
            .update(&id, &[1], MapFlags::ANY)
            .blame(|| "failed to set the target")
    }

    /// Descriptors whose code lies in this file are TLS.
    fn add_nss_file(&mut self, file: &File) -> Result<()> {
        let id = self.identify(Some(file))?;
        self.skel
            .maps
            .nss_files
            .update(&id, &[1], MapFlags::ANY)
            .blame(|| "failed to name NSS's library")?;
        // Code that was judged before this file was known may be judged otherwise now.
        let judged = &self.skel.maps.nss_code;
        for key in judged.keys().collect::<Vec<_>>() {
            let _ = judged.delete(&key);
        }
        Ok(())
    }

    /// What the kernel itself calls a file: on overlay and btrfs file systems `stat` tells another
    /// device than the one that programs see in the kernel.
    fn identify(&mut self, file: Option<&File>) -> Result<[u8; wire::FILE_ID_LEN]> {
        let bss = self
            .skel
            .maps
            .bss_data
            .as_deref_mut()
            .ok_or_else(|| Error::invalid("the BPF object has no .bss"))?;
        bss.identity.fd = file.map_or(-1, AsRawFd::as_raw_fd);
        self.skel
            .progs
            .identify
            .test_run(ProgramInput::default())
            .blame(|| "failed to run a BPF program")?;
        let id = self
            .skel
            .maps
            .bss_data
            .as_deref()
            .map(|bss| bss.identity.file);
        match (id, file) {
            (Some(id), Some(_)) if id.ino == 0 => Err(Error::new(
                ErrorKind::UnsupportedKernel,
                "the kernel did not tell the identity of a file",
            )),
            (Some(id), _) => Ok(wire::file_id(id.dev, id.ino)),
            (None, _) => Err(Error::invalid("the BPF object has no .bss")),
        }
    }

    /// Attaches the probes of one file. One function that is refused does not stop the others.
    ///
    /// # Errors
    /// The file is not in the state any more that the plan was made for; or this kernel cannot tell
    /// NSS's descriptors apart.
    pub fn attach(&mut self, plan: &ProbePlan, file: &File) -> Result<Attached> {
        check_unchanged(plan, file)?;
        if plan.is_nss {
            self.add_nss_file(file)?;
        }
        if plan.probes.iter().any(|probe| probe.cookie.is_nspr()) && !self.features.find_vma {
            return Err(Error::new(
                ErrorKind::UnsupportedKernel,
                "this kernel lacks bpf_find_vma (5.17), without which NSS's TLS connections cannot \
                 be told from plain files",
            ));
        }
        let sites = self.sites(plan)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        if self.features.uprobe_multi
            && let Ok(links) = self.attach_multi(&sites, &path)
        {
            self.links.extend(links);
            return Ok(Attached {
                functions: sites.len(),
                failed: Vec::new(),
            });
        }
        Ok(self.attach_single(&sites, &path))
    }

    /// Gives every function its index.
    fn sites<'p>(&mut self, plan: &'p ProbePlan) -> Result<Vec<SiteOf<'p>>> {
        let mut sites = Vec::with_capacity(plan.probes.len());
        for probe in &plan.probes {
            let index = self.functions.len();
            if index >= FUNCTIONS_MAX {
                return Err(Error::invalid(format!(
                    "more than {FUNCTIONS_MAX} functions in one run"
                )));
            }
            self.functions.push(ProbedFunction {
                library: probe.library.clone(),
                name: probe.function.clone(),
            });
            sites.push(SiteOf {
                probe,
                cookie: probe.cookie.bits(index as u16),
            });
        }
        Ok(sites)
    }

    /// One link for all entries and one for all returns.
    fn attach_multi(&self, sites: &[SiteOf<'_>], path: &Path) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for (retprobe, program) in self.programs() {
            let sites = || {
                sites
                    .iter()
                    .filter(|site| !retprobe || site.probe.with_return)
            };
            if sites().next().is_none() {
                continue;
            }
            let opts = UprobeMultiOpts {
                offsets: sites().map(|site| site.probe.entry.0 as usize).collect(),
                cookies: sites().map(|site| site.cookie).collect(),
                retprobe,
                ..Default::default()
            };
            links.push(
                program
                    .attach_uprobe_multi_with_opts(-1, path, "", opts)
                    .blame(|| "failed to attach uprobes")?,
            );
        }
        Ok(links)
    }

    /// A link for each probe: older kernels, and to find out which one was refused.
    fn attach_single(&mut self, sites: &[SiteOf<'_>], path: &Path) -> Attached {
        let mut attached = Attached::default();
        for site in sites {
            match self.attach_one(site, path) {
                Ok(links) => {
                    self.links.extend(links);
                    attached.functions += 1;
                }
                Err(error) => attached
                    .failed
                    .push((site.probe.function.clone(), format!("{error:#}"))),
            }
        }
        attached
    }

    fn attach_one(&self, site: &SiteOf<'_>, path: &Path) -> Result<Vec<Link>> {
        self.programs()
            .into_iter()
            .filter(|(retprobe, _)| !retprobe || site.probe.with_return)
            .map(|(retprobe, program)| {
                let entry = site.probe.entry;
                uprobe(program, path, entry, site.cookie, retprobe, &self.features)
            })
            .collect()
    }

    /// Returns first: a call seen at entry must not be missed at its end.
    fn programs(&self) -> [(bool, &ProgramMut<'static>); 2] {
        let progs = &self.skel.progs;
        [(true, &progs.tls_leave), (false, &progs.tls_enter)]
    }

    /// Watches a dynamic loader's `_dl_debug_state` for libraries that come later.
    ///
    /// # Errors
    /// The kernel refuses the probe.
    pub fn attach_loader(&mut self, offset: FileOff, file: &File) -> Result<()> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let program = &self.skel.progs.loader_changed;
        let link = uprobe(program, &path, offset, 0, false, &self.features)?;
        self.links.push(link);
        Ok(())
    }

    /// Takes all probes away; records that are in the ring buffer stay.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// The sum over all CPUs of what was counted since the start.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        let map = &self.skel.maps.counters;
        let mut counters = Vec::with_capacity(Counter::ALL.len());
        for counter in Counter::ALL {
            let per_cpu = map
                .lookup_percpu(&(counter as u32).to_ne_bytes(), MapFlags::ANY)
                .blame(|| "failed to read the counters")?
                .unwrap_or_default();
            let sum = per_cpu
                .iter()
                .filter_map(|value| value.as_slice().try_into().ok().map(u64::from_ne_bytes))
                .sum();
            counters.push((counter, sum));
        }
        Ok(counters)
    }

    /// The connections that are open now.
    pub fn connections(&self) -> Vec<ConnState> {
        let conns = &self.skel.maps.conns;
        conns
            .keys()
            .filter_map(|key| {
                let value = conns.lookup(&key, MapFlags::ANY).ok()??;
                wire::decode_conn(&key, &value)
            })
            .collect()
    }

    /// The processes that the kernel's table of connections knows.
    pub fn processes(&self) -> HashSet<ProcessId> {
        let keys = self.skel.maps.conns.keys();
        keys.filter_map(|key| wire::conn_key_process(&key))
            .collect()
    }

    /// Clears the kernel's table of calls of those whose thread ended in the middle.
    pub fn forget_calls(&mut self, is_alive: impl Fn(Thread) -> bool) {
        let calls = &self.skel.maps.calls;
        let is_over =
            |key: &Vec<u8>| wire::call_key_thread(key).is_some_and(|thread| !is_alive(thread));
        for key in calls.keys().filter(is_over).collect::<Vec<_>>() {
            // It may have been deleted meanwhile.
            let _ = calls.delete(&key);
        }
    }

    /// Clears the kernel's table of the connections of processes that ended.
    pub fn forget(&mut self, ended: &HashSet<ProcessId>) {
        let conns = &self.skel.maps.conns;
        let gone: Vec<_> = conns
            .keys()
            .filter(|key| {
                wire::conn_key_process(key).is_some_and(|process| ended.contains(&process))
            })
            .collect();
        for key in gone {
            // Already gone is as good as deleted.
            let _ = conns.delete(&key);
        }
    }
}

struct SiteOf<'p> {
    probe: &'p Probe,
    cookie: u64,
}

/// The program updates itself in place, and offsets are true for one state of a file only.
fn check_unchanged(plan: &ProbePlan, file: &File) -> Result<()> {
    let now =
        FileIdentity::of(file).context(|| format!("failed to look at {}", plan.path.display()))?;
    if now == plan.identity {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} changed while it was being analysed",
        plan.path.display()
    )))
}

fn load(settings: &Settings, features: &Features) -> Result<AgentsightSkel<'static>> {
    // A session lives as long as the process in all uses of it; the storage is a few hundred bytes.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let ring_bytes = settings.ring_bytes.max(4096).next_power_of_two();
    let mut open = AgentsightSkelBuilder::default()
        .open(storage)
        .blame(|| "failed to open the BPF object")?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.only_targets = settings.only_targets;
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
            &mut open.progs.loader_changed,
            &mut open.progs.tls_enter,
            &mut open.progs.tls_leave,
        ] {
            program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
        }
    }
    open.load().blame(|| "failed to load the BPF programs")
}

fn uprobe(
    program: &ProgramMut<'_>,
    path: &Path,
    offset: FileOff,
    cookie: u64,
    retprobe: bool,
    features: &Features,
) -> Result<Link> {
    let failed = || format!("no uprobe at offset {offset}");
    let offset = offset.0 as usize;
    if features.uprobe_multi {
        // A program loaded for uprobe_multi takes no other link.
        let opts = UprobeMultiOpts {
            offsets: vec![offset],
            cookies: vec![cookie],
            retprobe,
            ..Default::default()
        };
        return program
            .attach_uprobe_multi_with_opts(-1, path, "", opts)
            .blame(failed);
    }
    let opts = UprobeOpts {
        cookie,
        retprobe,
        ..Default::default()
    };
    program
        .attach_uprobe_with_opts(-1, path, offset, opts)
        .blame(failed)
}
