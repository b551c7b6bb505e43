//! Memory that is shared with the kernel side: the ring buffer, and a variable of the object.
//!
//! libbpf's own reader hands out one record per call, each of which is gone when the call returns, so that
//! a record that finds no room could not stay where it is; and it writes the place of the reader after each
//! record, which takes that cache line away from the programs that fill the ring. The layout is the
//! kernel's interface (`kernel/bpf/ringbuf.c`, `BPF_RINGBUF_*` in `linux/bpf.h`): one page with the
//! reader's place, one with the writers', and the data twice in a row.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapHandle};

/// `BPF_RINGBUF_BUSY_BIT`: the record is being made.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: it was given up.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER_LEN: u64 = 8;
/// Bytes after which the kernel side is told that they are free.
const RELEASE_BYTES: u64 = 64 << 10;

/// Part of a map's memory.
struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory is shared with other CPUs anyway; all access is by atomics or to records that the kernel
// has handed over.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(map: &MapHandle, len: usize, offset: usize, is_writable: bool) -> io::Result<Self> {
        let write = if is_writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping, placed by the kernel; nothing else is changed.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | write,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            len,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// A ring buffer, for its only reader.
pub struct MappedRing {
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    size: u64,
}

impl MappedRing {
    pub fn new(map: &MapHandle) -> io::Result<Self> {
        let page = page_size();
        let size = map.max_entries() as usize;
        let all = size
            .checked_mul(2)
            .and_then(|twice| twice.checked_add(page));
        let all = all.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            consumer: Mapping::new(map, page, 0, true)?,
            producer: Mapping::new(map, all, page, false)?,
            page,
            size: size as u64,
        })
    }

    /// Bytes of its data.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are in use, those of records that are being made included.
    pub fn used(&self) -> u64 {
        let end = self.place(&self.producer).load(Ordering::Acquire);
        end.saturating_sub(self.place(&self.consumer).load(Ordering::Relaxed))
    }

    /// Shows each record that is in the ring now, until `take` wants no more: that one stays. Tells if there
    /// was anything, records included that are being made.
    pub fn consume(&mut self, mut take: impl FnMut(&[u8]) -> bool) -> bool {
        let start = self.place(&self.consumer).load(Ordering::Relaxed);
        let end = self.place(&self.producer).load(Ordering::Acquire);
        let (mut at, mut released) = (start, start);
        while at < end {
            let Some((len, is_discarded)) = self.header(at) else {
                break;
            };
            // SAFETY: the kernel has handed the record over, by the header that was read with acquire; it
            // stays until the reader's place is moved beyond it, below.
            let record = unsafe { slice::from_raw_parts(self.data(at + HEADER_LEN), len) };
            if !is_discarded && !take(record) {
                break;
            }
            at += (HEADER_LEN + len as u64).next_multiple_of(HEADER_LEN);
            if at - released >= RELEASE_BYTES.min(self.size / 16) {
                released = at;
                self.place(&self.consumer).store(at, Ordering::Release);
            }
        }
        self.place(&self.consumer).store(at, Ordering::Release);
        start != end
    }

    /// Length of the record at this place, and whether it was given up; `None`: it is being made.
    fn header(&self, at: u64) -> Option<(usize, bool)> {
        // SAFETY: aligned (records start at multiples of eight) and inside of the data.
        let header = unsafe { &*self.data(at).cast::<AtomicU32>() };
        let header = header.load(Ordering::Acquire);
        let len = (header & !(BUSY | DISCARDED)) as usize;
        // The kernel reserves no more than the ring's size: nothing leads out of the second copy.
        let is_whole = header & BUSY == 0 && len as u64 + HEADER_LEN <= self.size;
        is_whole.then_some((len, header & DISCARDED != 0))
    }

    fn data(&self, at: u64) -> *const u8 {
        let offset = (at & (self.size - 1)) as usize;
        // SAFETY: the data start one page into the mapping and are there twice, so any record that starts in
        // the first copy is in one piece.
        unsafe { self.producer.start.add(self.page + offset) }
    }

    fn place(&self, of: &Mapping) -> &AtomicU64 {
        // SAFETY: a page starts with the place, which is aligned and lives as long as the mapping.
        unsafe { &*of.start.cast::<AtomicU64>() }
    }
}

/// A variable of the BPF object.
pub struct MappedWord {
    memory: Mapping,
    at: usize,
}

impl MappedWord {
    /// The `u32` at offset `at` of an object's section.
    pub fn new(section: &MapHandle, at: usize) -> io::Result<Self> {
        let page = page_size();
        let len = (section.value_size() as usize).next_multiple_of(page);
        if !at.is_multiple_of(4) || at + 4 > len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let memory = Mapping::new(section, len, 0, true)?;
        Ok(Self { memory, at })
    }

    pub fn set(&self, value: u32) {
        // SAFETY: aligned and inside of the mapping, as `new` made sure.
        let word = unsafe { &*self.memory.start.add(self.at).cast::<AtomicU32>() };
        word.store(value, Ordering::SeqCst);
    }
}

fn page_size() -> usize {
    // SAFETY: no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
