//! The only user of libbpf: loads the object, places the probes of a plan, hands out records.
//!
//! Everything that is attached is a BPF link owned by this process: whatever ends it, SIGKILL
//! included, leaves no probe behind. Probes go to an inode (opened file), never to a name.

mod acts;
mod bench;
mod events;
mod features;
mod go;
#[cfg(test)]
mod layout;
mod libbpf;
mod load;
mod mapped;
mod numbers;
mod processes;
mod ring;
mod sites;
mod skel;
mod tables;
mod waiter;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use libbpf_rs::{Link, MapCore, MapFlags, ProgramInput, ProgramMut, UprobeMultiOpts, UprobeOpts};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::event::frame::Frame;
use crate::event::process::FileId;
use crate::event::queue::Queue;
use crate::event::{Function, wire};
use crate::image::{FileIdentity, FileOff};
use crate::plan::{FUNCTIONS_MAX, ProbePlan};

pub use bench::{BenchKind, BenchProbe};
pub use events::Events;
pub use features::Features;
pub use processes::Scope;
pub use ring::{Loaded, Notice, RingReader, RunningRing, go_first};
pub use tables::Followed;
pub use waiter::Waiter;

use libbpf::Blame;
use load::{load_what_loads, tells_acts};
use numbers::Numbers;
use sites::{Program, SiteOf, SitesOf, When};
use skel::AgentsightSkel;

/// Calls with a wrong object, and none with a right one, that it takes to give up on a function.
const GUARD_FAILURES_MAX: u64 = 64;

/// What is fixed when the object is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whom to report.
    pub scope: Scope,
    /// Size of the ring buffer in bytes; rounded up to a power of two.
    pub ring_bytes: u32,
    /// Payload bytes to keep of each call.
    pub max_bytes: u64,
    /// What selected processes do is told, beside what they say. Without a selection it is not.
    pub tells_acts: bool,
    /// All files that are read are told of.
    pub watches_all: bool,
}

/// The probes of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbesId(u32);

/// What came of attaching one plan.
#[derive(Debug, Default)]
pub struct Attached {
    /// The name of these probes, for [`Session::release`].
    pub probes: ProbesId,
    /// Probed functions.
    pub functions: usize,
    /// Functions that the kernel refused a probe for, with its reason.
    pub failed: Vec<(String, String)>,
}

impl Attached {
    fn refuse(&mut self, of: &SitesOf<'_>, error: &Error) {
        self.failed.push((of.name.clone(), format!("{error:#}")));
    }
}

/// A function whose probes were taken away: its guard never passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which.
    pub function: String,
    /// Calls that were looked at.
    pub calls: u64,
}

/// The loaded object and everything that is attached with it.
pub struct Session {
    // Before the skeleton, so that they are dropped first.
    links: Vec<Link>,
    /// Those on files.
    probes: BTreeMap<ProbesId, Probes>,
    last_probes: u32,
    /// Those that may have to go earlier, by their function's index.
    guarded: BTreeMap<u16, Guarded>,
    skel: AgentsightSkel<'static>,
    features: Features,
    /// Of functions: events name them so.
    functions: Numbers,
    /// Those that have one.
    named: BTreeMap<u16, Arc<Function>>,
    /// Of programs' Go types.
    go_facts: Numbers,
    /// What sockets do is told.
    watches_sockets: bool,
    scope: Scope,
    tells_acts: bool,
    /// Acts are to be told, but those that are system calls cannot be: why.
    unseen_calls: Option<String>,
    /// Who is told the functions' names.
    names: Option<Arc<Queue>>,
}

/// What one file's probes hold.
#[derive(Default)]
struct Probes {
    links: Vec<Link>,
    /// Numbers of its functions.
    functions: Vec<u16>,
    /// Numbers of its Go types.
    go_facts: Vec<u32>,
}

struct Guarded {
    probes: ProbesId,
    /// Held: dropping them takes the probes away.
    _links: Vec<Link>,
    name: String,
}

impl Session {
    /// Loads the object into the kernel. Nothing is probed yet.
    ///
    /// # Errors
    /// A privilege is missing, or the kernel cannot do it.
    pub fn open(settings: &Settings) -> Result<Self> {
        libbpf::catch_messages();
        let mut features = Features::probe();
        let (skel, unseen_calls) = load_what_loads(settings, &mut features)?;
        let go_facts = Numbers::new(skel.maps.go_facts.max_entries());
        let mut session = Self {
            links: Vec::new(),
            probes: BTreeMap::new(),
            last_probes: 0,
            guarded: BTreeMap::new(),
            skel,
            features,
            functions: Numbers::new(FUNCTIONS_MAX as u32),
            named: BTreeMap::new(),
            go_facts,
            watches_sockets: false,
            scope: settings.scope,
            tells_acts: tells_acts(settings),
            unseen_calls: unseen_calls.filter(|_| tells_acts(settings)),
            names: None,
        };
        // Also tells the kernel side who we are, so that nothing of us is ever reported.
        session.identify(None)?;
        Ok(session)
    }

    /// From now on, `queue` is told of each function before any record can name it.
    pub fn tell_functions(&mut self, queue: Arc<Queue>) {
        self.names = Some(queue);
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
    pub fn function(&self, index: u16) -> Option<&Function> {
        self.named.get(&index).map(Arc::as_ref)
    }

    /// A reader for the records of this session.
    ///
    /// # Errors
    /// The ring buffer's map cannot be opened again.
    pub fn ring(&self) -> Result<RingReader> {
        let sleeps_at = std::mem::offset_of!(skel::types::bss, reader_sleeps);
        RingReader::new(&self.skel.maps.ring, &self.skel.maps.bss, sleeps_at)
    }

    /// Descriptors whose code lies in this file are TLS.
    fn add_nss_file(&mut self, file: &File) -> Result<()> {
        let id = self.identify(Some(file))?;
        self.skel
            .maps
            .nss_files
            .update(&id.0, &[1], MapFlags::ANY)
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
    pub fn file_id(&mut self, file: &File) -> Result<FileId> {
        self.identify(Some(file))
    }

    fn identify(&mut self, file: Option<&File>) -> Result<FileId> {
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
            (Some(id), _) => Ok(wire::file_id(id.dev, id.generation, id.ino)),
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
        if !plan.probes.is_empty() {
            self.watch_sockets()?;
        }
        let mut attached = Attached {
            probes: self.new_probes(),
            ..Attached::default()
        };
        let go = self.add_go_facts(plan, &mut attached);
        let sites = self.sites(plan, &go, attached.probes)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let (guarded, trusted): (Vec<_>, Vec<_>) =
            sites.iter().partition(|of| of.first_word.is_some());
        self.attach_together(&trusted, &path, &mut attached);
        for of in guarded {
            // Apart from each other: one may have to go.
            match self.attach_one(of, &path) {
                Ok(links) => {
                    attached.functions += 1;
                    let name = of.name.clone();
                    self.guarded.insert(
                        of.index,
                        Guarded {
                            probes: attached.probes,
                            _links: links,
                            name,
                        },
                    );
                }
                Err(error) => attached.refuse(of, &error),
            }
        }
        self.set_attached(&sites)?;
        Ok(attached)
    }

    /// From now on, sockets tell what belongs together, and when it ends.
    fn watch_sockets(&mut self) -> Result<()> {
        if self.watches_sockets {
            return Ok(());
        }
        let progs = &self.skel.progs;
        let attach = |program: &ProgramMut<'static>, name: &str| {
            program
                .attach_raw_tracepoint(name)
                .blame(|| format!("failed to attach to tracepoint {name}"))
        };
        let mut links = vec![
            attach(&progs.socket_state, "inet_sock_set_state")?,
            attach(&progs.socket_destroyed, "tcp_destroy_sock")?,
        ];
        if self.features.socket_lengths {
            links.push(attach(&progs.socket_sent, "sock_send_length")?);
            links.push(attach(&progs.socket_received, "sock_recv_length")?);
        } else {
            links.push(attach(&progs.syscall_returned, "sys_exit")?);
        }
        self.links.extend(links);
        self.watches_sockets = true;
        Ok(())
    }

    /// Gives every function its indices, and tells the kernel side what cookies cannot hold.
    fn sites<'p>(
        &mut self,
        plan: &'p ProbePlan,
        go: &[Option<u32>],
        probes: ProbesId,
    ) -> Result<Vec<SitesOf<'p>>> {
        let mut all = Vec::with_capacity(plan.probes.len());
        let mut kin: BTreeMap<&str, u16> = BTreeMap::new();
        for probe in &plan.probes {
            let mut sites = SitesOf::of(probe, self.features.uprobe_session);
            let mut last = 0;
            for site in &mut sites.sites {
                if site.shares_index() {
                    // Its entry came just before.
                    site.index = last;
                    continue;
                }
                last = self.number(probes)?;
                site.index = last;
                self.tell_function(site.index, &probe.library, &probe.function);
                site.facts.kin = *kin.entry(&probe.library).or_insert(last);
                site.facts.go = sites.go.and_then(|at| go.get(at).copied().flatten());
                self.set_function(site)?;
            }
            sites.index = sites.sites.first().map_or(0, |site| site.index);
            all.push(sites);
        }
        Ok(all)
    }

    /// A number for one more function.
    fn number(&mut self, probes: ProbesId) -> Result<u16> {
        let number = self.functions.take(Instant::now());
        let number = number.and_then(|number| u16::try_from(number).ok());
        let number = number.ok_or_else(|| {
            Error::invalid(format!(
                "more than {FUNCTIONS_MAX} probed functions at once"
            ))
        })?;
        self.probes
            .entry(probes)
            .or_default()
            .functions
            .push(number);
        Ok(number)
    }

    fn tell_function(&mut self, index: u16, library: &str, name: &str) {
        let function = Arc::new(Function {
            library: library.to_owned(),
            name: name.to_owned(),
        });
        self.named.insert(index, Arc::clone(&function));
        if let Some(queue) = &self.names {
            let _ = queue.push(Frame::Function { index, function });
        }
    }

    fn set_function(&self, site: &SiteOf) -> Result<()> {
        self.skel
            .maps
            .functions
            .update(
                &u32::from(site.index).to_ne_bytes(),
                &site.facts.encode(),
                MapFlags::ANY,
            )
            .blame(|| "failed to tell the BPF programs of a function")
    }

    /// Now that all is in place: what starts later is seen from its start. Guards keep their counts.
    fn set_attached(&self, sites: &[SitesOf<'_>]) -> Result<()> {
        let now = boot_time_ns();
        let sites = sites.iter().filter(|of| of.first_word.is_none());
        let sites = sites.flat_map(|of| &of.sites);
        for site in sites.filter(|site| !site.shares_index()) {
            let mut site = *site;
            site.facts.attached_ns = now;
            self.set_function(&site)?;
        }
        Ok(())
    }

    /// Tells the kernel side of Go's types. Without them plaintext is captured all the same, but not
    /// what socket it went through.
    fn add_go_facts(&mut self, plan: &ProbePlan, attached: &mut Attached) -> Vec<Option<u32>> {
        let mut indices = Vec::with_capacity(plan.go.len());
        for facts in &plan.go {
            let Some(index) = self.go_facts.take(Instant::now()) else {
                let what = "the types that name sockets".to_owned();
                let why = "too many Go programs at once".to_owned();
                attached.failed.push((what, why));
                indices.push(None);
                continue;
            };
            let probes = self.probes.entry(attached.probes).or_default();
            probes.go_facts.push(index);
            let added = go::add(
                &self.skel.maps.go_facts,
                &self.skel.maps.go_types,
                index,
                facts,
            );
            if let Err(error) = &added {
                let what = "the types that name sockets".to_owned();
                attached.failed.push((what, format!("{error:#}")));
            }
            indices.push(added.is_ok().then_some(index));
        }
        indices
    }

    fn attach_together(&mut self, of: &[&SitesOf<'_>], path: &Path, attached: &mut Attached) {
        if self.features.uprobe_multi
            && let Ok(links) = self.attach_multi(of, path)
        {
            self.keep(attached.probes, links);
            attached.functions += of.len();
            return;
        }
        // A link for each probe: older kernels, and to find out which one was refused.
        for of in of {
            match self.attach_one(of, path) {
                Ok(links) => {
                    self.keep(attached.probes, links);
                    attached.functions += 1;
                }
                Err(error) => attached.refuse(of, &error),
            }
        }
    }

    /// One link for each program.
    fn attach_multi(&self, of: &[&SitesOf<'_>], path: &Path) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for program in Program::ALL {
            let sites: Vec<_> = of.iter().flat_map(|of| of.sites_for(program)).collect();
            if sites.is_empty() {
                continue;
            }
            let opts = UprobeMultiOpts {
                offsets: sites.iter().map(|site| site.offset.0 as usize).collect(),
                cookies: sites.iter().map(|site| site.cookie()).collect(),
                retprobe: program.when() == When::Return,
                session: program.when() == When::Both,
                ..Default::default()
            };
            links.push(
                self.program(program)
                    .attach_uprobe_multi_with_opts(-1, path, "", opts)
                    .blame(|| "failed to attach uprobes")?,
            );
        }
        Ok(links)
    }

    /// All or nothing: dropping some of the links takes their probes away.
    fn attach_one(&self, of: &SitesOf<'_>, path: &Path) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for kind in Program::ALL {
            let program = self.program(kind);
            for site in of.sites_for(kind) {
                let at = (path, site.offset);
                links.push(uprobe(
                    program,
                    at,
                    site.cookie(),
                    kind.when(),
                    &self.features,
                )?);
            }
        }
        Ok(links)
    }

    fn program(&self, program: Program) -> &ProgramMut<'static> {
        let progs = &self.skel.progs;
        match program {
            Program::GoEnter => &progs.go_enter,
            Program::GoLeave => &progs.go_leave,
            Program::RecordExit => &progs.record_exit,
            Program::RecordOpen => &progs.record_open,
            Program::RecordOpened => &progs.record_opened,
            Program::RecordSeal => &progs.record_seal,
            Program::RecordSession => &progs.record_session,
            Program::TlsEnter => &progs.tls_enter,
            Program::TlsExit => &progs.tls_exit,
            Program::TlsLeave => &progs.tls_leave,
            Program::TlsSession => &progs.tls_session,
        }
    }

    /// Takes away the probes of functions whose guard has failed often and never passed: their places
    /// were misjudged.
    pub fn remove_misfits(&mut self) -> Vec<Misfit> {
        let functions = &self.skel.maps.functions;
        let failures = |index: u16| {
            let key = u32::from(index).to_ne_bytes();
            let value = functions.lookup(&key, MapFlags::ANY).ok()??;
            let (passed, failed) = wire::guard_answers(&value)?;
            (passed == 0 && failed >= GUARD_FAILURES_MAX).then_some(failed)
        };
        let mut misfits = Vec::new();
        self.guarded.retain(|index, guarded| {
            let failures = failures(*index);
            if let Some(calls) = failures {
                let function = guarded.name.clone();
                misfits.push(Misfit { function, calls });
            }
            failures.is_none()
        });
        misfits
    }

    /// Watches a dynamic loader's `_dl_debug_state` for libraries that come later.
    ///
    /// # Errors
    /// The kernel refuses the probe.
    pub fn attach_loader(&mut self, offset: FileOff, file: &File) -> Result<ProbesId> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let program = &self.skel.progs.loader_changed;
        let link = uprobe(program, (&path, offset), 0, When::Here, &self.features)?;
        let id = self.new_probes();
        self.keep(id, vec![link]);
        Ok(id)
    }

    fn new_probes(&mut self) -> ProbesId {
        self.last_probes += 1;
        ProbesId(self.last_probes)
    }

    fn keep(&mut self, id: ProbesId, links: Vec<Link>) {
        self.probes.entry(id).or_default().links.extend(links);
    }

    /// Takes the probes of one file away. Until then the kernel keeps the file, even if it is deleted.
    pub fn release(&mut self, id: ProbesId) {
        self.guarded.retain(|_, guarded| guarded.probes != id);
        let Some(probes) = self.probes.remove(&id) else {
            return;
        };
        drop(probes.links);
        let now = Instant::now();
        for number in probes.functions {
            // What was learnt of its library's objects is not true of another one's.
            for role in [0_u32, 1, 2] {
                let key = [u32::from(number).to_ne_bytes(), role.to_ne_bytes()].concat();
                let _ = self.skel.maps.random_places.delete(&key);
            }
            self.named.remove(&number);
            self.functions.give_back(number.into(), now);
        }
        for number in probes.go_facts {
            go::remove(&self.skel.maps.go_facts, &self.skel.maps.go_types, number);
            self.go_facts.give_back(number, now);
        }
    }

    /// Takes all probes away; records that are in the ring buffer stay.
    pub fn detach(&mut self) {
        self.guarded.clear();
        self.probes.clear();
        self.links.clear();
    }
}

/// The clock of events and process starts, in nanoseconds.
pub fn boot_time_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a valid timespec; the clock exists on every supported kernel.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
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

fn uprobe(
    program: &ProgramMut<'_>,
    (path, offset): (&Path, FileOff),
    cookie: u64,
    when: When,
    features: &Features,
) -> Result<Link> {
    let failed = || format!("no uprobe at offset {offset}");
    let offset = offset.0 as usize;
    let retprobe = when == When::Return;
    if features.uprobe_multi {
        // A program loaded for uprobe_multi takes no other link.
        let opts = UprobeMultiOpts {
            offsets: vec![offset],
            cookies: vec![cookie],
            retprobe,
            session: when == When::Both,
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
