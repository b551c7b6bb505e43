//! Waits for a wake-up of the kernel side, for one of our own, or for a time. Only for the event itself
//! (edge-triggered): data that are there without a wake-up are read with the next look.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// For one descriptor and our own word.
pub struct Waiter {
    epoll: OwnedFd,
    wake: OwnedFd,
}

impl Waiter {
    /// Waits for the ring buffer, or whatever else wakes those who poll it, with this descriptor.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(ring: RawFd) -> io::Result<Self> {
        // SAFETY: no preconditions; the result is checked.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        let wake = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        let waiter = Self { epoll, wake };
        waiter.add(ring)?;
        waiter.add(waiter.wake.as_raw_fd())?;
        Ok(waiter)
    }

    fn add(&self, fd: RawFd) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: 0,
        };
        // SAFETY: both descriptors are open, and the event is valid for the call.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Ends the current wait, or the next one.
    pub fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the descriptor is open, and the buffer is as long as told. A counter that is full has woken
        // already.
        unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Waits for a wake-up, at most so long. Counts in milliseconds, at least one.
    pub fn wait(&self, time: Duration) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 2];
        let time = i32::try_from(time.as_millis()).unwrap_or(i32::MAX).max(1);
        // Woken, interrupted or in time: the ring is looked at in any case.
        // SAFETY: the descriptor is open, and there is room for as many events as told.
        unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 2, time) };
    }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
