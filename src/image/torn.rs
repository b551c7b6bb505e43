//! Files that somebody cuts short while we read them. Their pages are gone then, and the kernel raises SIGBUS for whoever
//! touches one: any user could end an observer so. A handler puts zeros there instead, and notes it: what was read is
//! refused afterwards.
//!
//! It answers for our own maps only; any other SIGBUS goes where it went before. Everything that the handler does is allowed
//! in one (signal-safety(7)): atomic loads and stores, and mmap(2), which is a system call and no more.

use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use memmap2::Mmap;

/// Maps that are watched at once; one more is read as it is. A run reads a handful at a time.
const PLACES: usize = 1024;

/// A map. Invariant: `end` and `is_torn` are its own while `start` is neither [`FREE`] nor [`TAKEN`].
struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
    is_torn: AtomicBool,
}

const FREE: usize = 0;
const TAKEN: usize = 1;

static MAPS: [Place; PLACES] = [const {
    Place {
        start: AtomicUsize::new(FREE),
        end: AtomicUsize::new(0),
        is_torn: AtomicBool::new(false),
    }
}; PLACES];

static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// What was to be done with SIGBUS before, for what is not ours. Never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// A map that is watched; not any more when dropped. To be dropped before its map.
pub struct Watch(&'static Place);

impl Watch {
    /// Watches a map. `None`: too many are.
    pub fn new(map: &Mmap) -> Option<Self> {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        let take = |place: &&Place| {
            let taken =
                place
                    .start
                    .compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed);
            taken.is_ok()
        };
        let place = MAPS.iter().find(take)?;
        let start = map.as_ptr().addr();
        place.is_torn.store(false, Ordering::Relaxed);
        place
            .end
            .store(start.saturating_add(map.len()), Ordering::Relaxed);
        place.start.store(start, Ordering::Release);
        Some(Self(place))
    }

    /// Zeros were put where its file has no bytes any more.
    pub fn is_torn(&self) -> bool {
        self.0.is_torn.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.start.store(FREE, Ordering::Release);
    }
}

fn install() {
    // SAFETY: sysconf has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if let Ok(page) = usize::try_from(page) {
        PAGE.store(page, Ordering::Relaxed);
    }
    // SAFETY: a sigaction of zeros is valid: no flags, an empty mask.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to valid structures or null.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) } != 0 {
        return;
    }
    BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
    // SAFETY: as above.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = (on_fault as extern "C" fn(_, _, _)) as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the type that SA_SIGINFO asks for, and does nothing that a handler may not do.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) };
}

extern "C" fn on_fault(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands over a valid siginfo, and SIGBUS has an address.
    let (at, code) = unsafe { ((*info).si_addr().addr(), (*info).si_code) };
    // Somebody's kill(1) has no address.
    let is_ours = code == libc::BUS_ADRERR && mend(at);
    if !is_ours {
        let before = BEFORE.load(Ordering::Acquire);
        // SAFETY: it was stored by `install` and is never freed. The instruction faults again, for the one before us.
        unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
    }
}

/// Puts a page of zeros there, if it is in a map of ours.
fn mend(at: usize) -> bool {
    let is_in = |place: &&Place| {
        let start = place.start.load(Ordering::Acquire);
        start > TAKEN && (start..place.end.load(Ordering::Relaxed)).contains(&at)
    };
    let Some(place) = MAPS.iter().find(is_in) else {
        return false;
    };
    let page = PAGE.load(Ordering::Relaxed);
    place.is_torn.store(true, Ordering::Release);
    // SAFETY: the page belongs to a map of ours, which is read-only and whose bytes nobody relies on.
    let mapped = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(at & !(page - 1)),
            page,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}
