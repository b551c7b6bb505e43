//! Which container a process is in, and which containers there are: from its cgroups, from its mount namespace, and
//! from the files that engines keep. No engine is asked, none needs to run.
//!
//! Who makes a cgroup or a program called conmon can pretend to be in a container, and so be observed more than
//! others, but not less: what is claimed that way and known nowhere else has no name of an engine's file.

mod cgroup;
mod conmon;
mod docker;
mod oci;
mod podman;
mod processes;
mod runtimes;
mod state;
mod stores;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::host::roots::Root;
use crate::select::{Container, Place};
use processes::Processes;
use state::StateFiles;
use stores::Store;

/// Engines' own settings have a few hundred bytes.
const CONF_BYTES_MAX: u64 = 1 << 20;
/// An engine may be installed, or a container be made, while we run.
const FRESH: Duration = Duration::from_secs(2);
/// Of containers that are listed in an error.
const LISTED_MAX: usize = 10;

/// The containers of a machine.
pub struct Containers {
    files: StateFiles,
    processes: Processes,
    stores: Mutex<Option<(Instant, Vec<Store>)>>,
    /// Ids by mount namespace, for those without a cgroup.
    mounts: Mutex<HashMap<PathBuf, (Instant, Option<String>)>>,
}

/// All that is known, and where it was looked for.
#[derive(Default)]
struct Inventory {
    /// By id.
    known: BTreeMap<String, Container>,
    /// Places with how many containers each has.
    looked: Vec<(String, usize)>,
    absent: Vec<String>,
    broken: Vec<String>,
}

impl Containers {
    /// Of the machine whose `/` is at `root`, its /proc included: `/`, or where a host is mounted for an observer in a
    /// container.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn new(root: &Path) -> Result<Self> {
        Ok(Self {
            files: StateFiles::new(Root::at(root)?),
            processes: Processes::new(root),
            stores: Mutex::default(),
            mounts: Mutex::default(),
        })
    }

    /// The container that a process is in: of nested ones, the innermost that an engine of this machine knows. With
    /// its id alone if none does.
    pub fn of_process(&self, pid: i32) -> Option<Container> {
        let text = self.processes.cgroup(pid)?;
        self.by_cgroup(pid, &text).or_else(|| self.by_mounts(pid))
    }

    /// Where a process runs; `None` if it has ended.
    pub fn place_of(&self, pid: i32) -> Option<Place> {
        let text = self.processes.cgroup(pid)?;
        Some(Place {
            cgroup: cgroup::unified(&text).unwrap_or_else(|| "/".into()),
            container: self.by_cgroup(pid, &text).or_else(|| self.by_mounts(pid)),
        })
    }

    /// Containers of this id or name, running or not; or the one whose id begins so. Several engines or pods may
    /// have containers of one name.
    ///
    /// # Errors
    /// There is none: the message says where it was looked for. Or several ids begin so.
    pub fn find(&self, wanted: &str) -> Result<Vec<Container>> {
        let inventory = self.inventory();
        if let Some(container) = inventory.known.get(wanted) {
            return Ok(vec![container.clone()]);
        }
        let all = || inventory.known.values();
        let named = all().filter(|known| known.is_named(wanted));
        let named: Vec<_> = named.cloned().collect();
        if !named.is_empty() {
            return Ok(named);
        }
        let found: Vec<_> = all().filter(|known| known.is_called(wanted)).collect();
        match found.as_slice() {
            [] => Err(inventory.nothing(wanted)),
            [one] => Ok(vec![(*one).clone()]),
            many => Err(ambiguous(wanted, many)),
        }
    }

    /// All processes in a container now, in no order.
    pub fn processes_of(&self, container: &Container) -> Vec<i32> {
        let pids = self.processes.pids().into_iter();
        pids.filter(|pid| {
            let its = self.of_process(*pid);
            its.is_some_and(|its| its.id == container.id)
        })
        .collect()
    }

    fn by_cgroup(&self, pid: i32, text: &str) -> Option<Container> {
        let named = cgroup::containers(text);
        let known = named.iter().find_map(|named| self.by_id(named.id));
        if known.is_some() {
            return known;
        }
        let innermost = named.first()?;
        let supervised = conmon::above(&self.files, &self.processes, pid);
        let supervised = supervised
            .filter(|supervised| supervised.id == innermost.id)
            .map(|supervised| self.by_supervisor(supervised));
        Some(supervised.unwrap_or_else(|| Container {
            engine: innermost.engine.map(str::to_owned),
            id: innermost.id.to_owned(),
            ..Container::default()
        }))
    }

    /// Not for processes with the mounts of the machine's first one, as most outside of containers have.
    fn by_mounts(&self, pid: i32) -> Option<Container> {
        let mounts = self.processes.mounts(pid)?;
        if self.processes.mounts(1).as_deref() == Some(&mounts) {
            return None;
        }
        let id = self.id_by_mounts(mounts)?;
        Some(self.by_id(&id).unwrap_or_else(|| Container {
            id,
            ..Container::default()
        }))
    }

    /// Services, too, have mounts of their own: runtimes' files are not read again for each of their processes.
    fn id_by_mounts(&self, mounts: PathBuf) -> Option<String> {
        let mut known = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (when, _)| when.elapsed() < FRESH);
        let entry = known.entry(mounts).or_insert_with_key(|mounts| {
            let id = runtimes::of_mounts(&self.files, &self.processes, mounts);
            (Instant::now(), id)
        });
        entry.1.clone()
    }

    /// What an engine's files say. Broken ones say nothing here.
    fn by_id(&self, id: &str) -> Option<Container> {
        let stores = self.stores();
        let mut known = stores.iter().map(|store| store.of_id(&self.files, id));
        known.find_map(|known| known.ok().flatten())
    }

    fn by_supervisor(&self, supervised: conmon::Supervised) -> Container {
        let stored = supervised.store.as_ref();
        let stored = stored.and_then(|store| store.of_id(&self.files, &supervised.id).ok()?);
        let container = stored.unwrap_or_else(|| Container {
            id: supervised.id,
            ..Container::default()
        });
        Container {
            name: container.name.or(supervised.name),
            ..container
        }
    }

    fn stores(&self) -> Vec<Store> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stores {
            Some((when, stores)) if when.elapsed() < FRESH => stores.clone(),
            _ => {
                let found = stores::all(&self.files);
                *stores = Some((Instant::now(), found.clone()));
                found
            }
        }
    }

    fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::default();
        for store in stores::all(&self.files) {
            inventory.add_store(&self.files, &store);
        }
        for supervised in conmon::all(&self.files, &self.processes) {
            if !inventory.known.contains_key(&supervised.id) {
                inventory.add(self.by_supervisor(supervised));
            }
        }
        let running = self.processes.pids().into_iter();
        let running: Vec<_> = running.filter_map(|pid| self.of_process(pid)).collect();
        for container in running {
            inventory.add(container);
        }
        inventory
    }
}

impl Inventory {
    fn add(&mut self, container: Container) {
        self.known.entry(container.id.clone()).or_insert(container);
    }

    fn add_store(&mut self, files: &StateFiles, store: &Store) {
        let dir = files.root.outside(&store.dir).display().to_string();
        match store.ids(files) {
            Ok(None) => self.absent.push(dir),
            Err(error) => self.broken.push(format!("{error:#}")),
            Ok(Some(ids)) => {
                self.looked.push((dir, ids.len()));
                for id in ids {
                    match store.of_id(files, &id) {
                        Ok(Some(container)) => self.add(container),
                        Ok(None) => {}
                        Err(error) => self.broken.push(format!("{error:#}")),
                    }
                }
            }
        }
    }

    fn nothing(&self, wanted: &str) -> Error {
        let mut message = format!("no container {wanted}: looked in");
        for (dir, count) in &self.looked {
            let _ = write!(message, " {dir} ({count}),");
        }
        let _ = write!(message, " cgroups of running processes");
        let lists = [("not there", &self.absent), ("not usable", &self.broken)];
        for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            let listed: Vec<_> = list.iter().take(LISTED_MAX).map(String::as_str).collect();
            let _ = write!(message, "; {what}: {}", listed.join(", "));
        }
        let known: Vec<_> = self.known.values().take(LISTED_MAX).map(title).collect();
        if !known.is_empty() {
            let _ = write!(message, "; known: {}", known.join(", "));
        }
        Error::new(ErrorKind::NotFound, message)
    }
}

fn ambiguous(wanted: &str, found: &[&Container]) -> Error {
    let listed = found.iter().take(LISTED_MAX);
    let listed: Vec<_> = listed.map(|one| title(one)).collect();
    Error::new(
        ErrorKind::Usage,
        format!(
            "{} containers have ids that begin with {wanted}: {}",
            found.len(),
            listed.join(", ")
        ),
    )
}

/// For people: enough to tell it from others.
fn title(container: &Container) -> String {
    let short: String = container.id.chars().take(12).collect();
    match (&container.name, &container.pod) {
        (Some(name), Some(pod)) => format!("{pod}/{name} ({short})"),
        (Some(name), None) => format!("{name} ({short})"),
        (None, _) => short,
    }
}

#[cfg(test)]
mod tests;
