//! From the boot clock, which events carry, to the time of day.

use jiff::Timestamp;

/// The distance of two clocks, taken once so that times keep their order.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot_to_unix_ns: i128,
}

impl Clock {
    /// The clocks of this machine, now.
    pub fn now() -> Self {
        let boot = read(libc::CLOCK_BOOTTIME);
        let unix = read(libc::CLOCK_REALTIME);
        Self {
            boot_to_unix_ns: unix - boot,
        }
    }

    /// A clock that started at 1970, for tests and recordings.
    pub fn fixed(boot_to_unix_ns: i128) -> Self {
        Self { boot_to_unix_ns }
    }

    /// The time of day of an event. Times beyond what a calendar holds become 1970.
    pub fn time(&self, ts_ns: u64) -> Timestamp {
        Timestamp::from_nanosecond(self.boot_to_unix_ns.saturating_add(ts_ns.into()))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The distance of the clocks.
    pub fn boot_to_unix_ns(&self) -> i128 {
        self.boot_to_unix_ns
    }

    /// Seconds since 1970 and nanoseconds, for times that are after 1970 and not too far in the future.
    pub(super) fn split(&self, ts_ns: u64) -> Option<(u64, u32)> {
        let time = i64::try_from(self.boot_to_unix_ns.saturating_add(ts_ns.into())).ok()?;
        let time = u64::try_from(time).ok()?;
        Some((time / 1_000_000_000, (time % 1_000_000_000) as u32))
    }
}

fn read(clock: libc::clockid_t) -> i128 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a valid timespec; both clocks exist on every supported kernel.
    unsafe { libc::clock_gettime(clock, &mut time) };
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}
