//! What followed processes do to the system, beside what they say: system calls that return, and connections that are made.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{Iter, IterOpts, MapCore, MapFlags, MapIterOpts};

use super::Session;
use super::libbpf::Blame;
use crate::error::{Context, Result};
use crate::event::process::FileId;

impl Session {
    /// From now on, acts are told, if the session was opened for that.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch_acts(&mut self) -> Result<()> {
        if !self.tells_acts || !self.features.system_calls {
            return Ok(());
        }
        let progs = &self.skel.progs;
        let made = progs
            .connection_made
            .attach_raw_tracepoint("inet_sock_set_state")
            .blame(|| "failed to attach to tracepoint inet_sock_set_state")?;
        self.links.push(made);
        self.name_call_programs()?;
        let returned = self
            .skel
            .progs
            .call_returned
            .attach_trace()
            .blame(|| "failed to attach to tracepoint sys_exit")?;
        self.links.push(returned);
        Ok(())
    }

    /// Whether acts are told.
    pub fn tells_acts(&self) -> bool {
        self.tells_acts
    }

    /// Whether a process that is followed has written this file.
    pub fn was_written(&self, file: &FileId) -> bool {
        let written = &self.skel.maps.written;
        matches!(written.lookup(&file.0, MapFlags::ANY), Ok(Some(_)))
    }

    /// Acts are to be told, but files and sockets cannot be seen: why.
    pub fn unseen_calls(&self) -> Option<&str> {
        self.unseen_calls.as_deref()
    }

    /// Which program is for which sort of system call: `enum call_sort`.
    fn name_call_programs(&self) -> Result<()> {
        let progs = &self.skel.progs;
        let programs = [
            &progs.call_with_path,
            &progs.call_that_opens,
            &progs.call_on_file,
            &progs.call_that_sends,
            &progs.call_that_receives,
            &progs.call_that_closes,
            &progs.call_on_socket,
            &progs.call_of_other_kind,
        ];
        for (sort, program) in (1_u32..).zip(programs) {
            let program = program.as_fd().as_raw_fd();
            let (sort, program) = (sort.to_ne_bytes(), program.to_ne_bytes());
            let map = &self.skel.maps.call_programs;
            map.update(&sort, &program, MapFlags::ANY)
                .blame(|| "failed to name the BPF programs for system calls")?;
        }
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
        if !self.tells_acts || !self.features.system_calls {
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
