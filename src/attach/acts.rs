//! What followed processes do to the system, beside what they say: system calls that return, and connections that are made.

use std::os::fd::AsFd;

use libbpf_rs::{Iter, IterOpts, MapIterOpts};

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
