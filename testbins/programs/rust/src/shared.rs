//! The agent as a C library: `int agent(const char *line)` does what the program does with these words.

#[cfg(feature = "http")]
mod http;
mod log;
mod message;
mod options;
mod pair;
mod run;
mod tls;
mod tokio_pair;

use std::ffi::{CStr, c_char, c_int};

/// Returns 0, or 1 after a message on stderr.
///
/// # Safety
///
/// `line` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agent(line: *const c_char) -> c_int {
    // SAFETY: the caller's word.
    let line = unsafe { CStr::from_ptr(line) }.to_string_lossy();
    match run::run(line.split_whitespace().map(str::to_owned)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}
