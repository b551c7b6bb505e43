//! Machine code of our own in memory, as a file that probes can be put on.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;

use crate::error::{Context, OrInvalid, Result};
use crate::image::FileOff;

/// Bytes from one function to the next: each has a cache line of its own.
const SLOT: usize = 64;

/// Between the functions: x86's breakpoint, and no instruction of aarch64.
const FILLING: u8 = 0xcc;

/// Functions in a file that has no name, mapped as a program's code is. Unmapped when dropped.
pub struct Mapped {
    file: File,
    start: *mut libc::c_void,
    slots: usize,
}

impl Mapped {
    /// Each of `codes` twice, one after the other: functions `2n` and `2n + 1` are the `n`th.
    ///
    /// # Errors
    /// Some security policy does not let programs run what they wrote.
    pub fn new(codes: &[&[u8]]) -> Result<Self> {
        let mut bytes = Vec::new();
        for code in codes.iter().flat_map(|code| [code, code]) {
            bytes.extend_from_slice(code);
            bytes.resize(bytes.len().next_multiple_of(SLOT), FILLING);
        }
        let mut file = unnamed_file().context(|| "failed to make a file in memory")?;
        file.write_all(&bytes)
            .context(|| "failed to write a file in memory")?;
        let start = map(&file, bytes.len()).context(|| "failed to map code of our own")?;
        Ok(Self {
            file,
            start,
            slots: bytes.len() / SLOT,
        })
    }

    /// The file that probes go to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where function `slot` begins in it.
    pub fn offset(&self, slot: usize) -> FileOff {
        FileOff((slot * SLOT) as u64)
    }

    /// Calls function `slot` so many times.
    ///
    /// # Errors
    /// There is no such function.
    pub fn call(&self, slot: usize, times: u64) -> Result<()> {
        let inside = (slot < self.slots).then_some(slot * SLOT);
        let at = inside.or_invalid(|| format!("there is no function {slot}"))?;
        // SAFETY: inside of the mapping, where a whole function was written that keeps to the platform's C
        // convention; nobody else has the file.
        let function = unsafe {
            let code = self.start.cast::<u8>().add(at);
            std::mem::transmute::<*mut u8, extern "C" fn()>(code)
        };
        for _ in 0..times {
            function();
        }
        Ok(())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length, which nothing refers to any more.
        unsafe { libc::munmap(self.start, self.slots * SLOT) };
    }
}

fn unnamed_file() -> io::Result<File> {
    let name = c"agentsight-bench".as_ptr();
    // Since 6.3 the kernel wants to be told whether it may hold code; older ones know no such flag.
    for flags in [libc::MFD_CLOEXEC | libc::MFD_EXEC, libc::MFD_CLOEXEC] {
        // SAFETY: the name is a C string that outlives the call.
        let fd = unsafe { libc::memfd_create(name, flags) };
        if fd >= 0 {
            // SAFETY: a fresh descriptor that nobody else owns.
            return Ok(unsafe { File::from_raw_fd(fd) });
        }
    }
    Err(io::Error::last_os_error())
}

/// Uprobes go to private mappings that may not be written to.
fn map(file: &File, length: usize) -> io::Result<*mut libc::c_void> {
    let access = libc::PROT_READ | libc::PROT_EXEC;
    let fd = file.as_raw_fd();
    // SAFETY: a new mapping where the kernel wants it; the file is as long and never gets shorter.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_PRIVATE, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(start)
}
