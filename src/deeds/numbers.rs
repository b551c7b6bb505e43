//! Names of numbers: errors and signals.

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::deed::Failure;
use crate::event::act::Act;

/// The error of an act that failed.
pub fn failure(act: &Act<'_>) -> Option<Failure> {
    act.errno().map(error)
}

/// An error's name, as in errno(3).
pub fn error(number: i32) -> Failure {
    Failure(match Errno::from_raw(number) {
        Errno::UnknownErrno => "unknown",
        // Two names for one number.
        Errno::EAGAIN => "EAGAIN",
        known => name(known),
    })
}

/// nix knows the names in `Debug` alone. There are few, and they are asked for again and again.
fn name(errno: Errno) -> &'static str {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock};
    static NAMES: OnceLock<Mutex<HashMap<i32, &'static str>>> = OnceLock::new();
    let names = NAMES.get_or_init(Mutex::default);
    let Ok(mut names) = names.lock() else {
        return "unknown";
    };
    names
        .entry(errno as i32)
        .or_insert_with(|| Box::leak(format!("{errno:?}").into_boxed_str()))
}

/// A signal's name, as in signal(7).
pub fn signal(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}
