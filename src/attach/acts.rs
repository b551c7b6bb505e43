//! What followed processes do to the system, beside what they say: system calls that return, and connections that are made.

use std::os::fd::AsFd;

use libbpf_rs::{Iter, IterOpts, MapCore, MapFlags, MapIterOpts};

use super::Session;
use super::libbpf::Blame;
use crate::error::{Context, Result};

impl Session {
    /// From now on, acts are told, if the session was opened for that.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch_acts(&mut self) -> Result<()> {
        if !self.tells_acts {
            return Ok(());
        }
        let progs = &self.skel.progs;
        let made = progs
            .connection_made
            .attach_raw_tracepoint("inet_sock_set_state")
            .blame(|| "failed to attach to tracepoint inet_sock_set_state")?;
        let returned = progs
            .call_returned
            .attach_trace()
            .blame(|| "failed to attach to tracepoint sys_exit")?;
        self.links.extend([made, returned]);
        Ok(())
    }

    /// Files whose name begins or ends so, or whose directory's name begins so, are told of when they are read.
    ///
    /// # Errors
    /// There are too many, or the kernel refuses.
    pub fn watch_names(
        &self,
        begins: &[Vec<u8>],
        ends: &[Vec<u8>],
        parents: &[Vec<u8>],
    ) -> Result<()> {
        let maps = &self.skel.maps;
        put_names(&maps.watched_begins, begins)?;
        put_names(&maps.watched_ends, ends)?;
        put_names(&maps.watched_parents, parents)
    }

    /// What went through descriptors and was not told for a second is told now.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tell_descriptors(&self) -> Result<()> {
        if !self.tells_acts {
            return Ok(());
        }
        let failed = || "failed to look at the open files";
        let map = self.skel.maps.descriptors.as_fd();
        let opts = IterOpts::Map(MapIterOpts::from_fd(map));
        let program = &self.skel.progs.sweep_descriptors;
        let link = program.attach_iter_with_opts(opts).blame(failed)?;
        let mut run = Iter::new(&link).blame(failed)?;
        std::io::copy(&mut run, &mut std::io::sink()).context(failed)?;
        Ok(())
    }
}

/// `struct watched_name`: how many bits count, and the name.
fn put_names(map: &impl MapCore, names: &[Vec<u8>]) -> Result<()> {
    const NAME_BYTES: usize = 32;
    for name in names {
        let bits = 8 * name.len().min(NAME_BYTES) as u32;
        let mut key = bits.to_ne_bytes().to_vec();
        key.extend(name.iter().take(NAME_BYTES));
        key.resize(size_of::<u32>() + NAME_BYTES, 0);
        map.update(&key, &[1], MapFlags::ANY)
            .blame(|| "failed to tell which files are watched")?;
    }
    Ok(())
}
