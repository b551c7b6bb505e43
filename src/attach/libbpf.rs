//! libbpf's words: caught instead of printed, and put into the error of the call that failed.

use std::sync::Mutex;

use libbpf_rs::{ErrorKind as BpfErrorKind, PrintLevel};

use crate::error::{Error, ErrorKind, Result};

/// The last lines that libbpf wanted to print; enough for the end of a verifier log.
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());
const MESSAGES_MAX: usize = 8;
/// Lines shown of one message.
const LINES_MAX: usize = 5;

/// Keeps libbpf from writing to stderr.
pub fn catch_messages() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, line| {
        let Ok(mut messages) = MESSAGES.lock() else {
            return;
        };
        if messages.len() == MESSAGES_MAX {
            messages.remove(0);
        }
        messages.push(line);
    })));
}

fn take_messages() -> String {
    let Ok(mut messages) = MESSAGES.lock() else {
        return String::new();
    };
    let lines: Vec<_> = messages
        .drain(..)
        .map(|message| shorten(&message))
        .collect();
    lines.join("; ")
}

/// A verifier log is thousands of lines: the reason stands near its end.
fn shorten(message: &str) -> String {
    let lines: Vec<_> = message
        .trim()
        .trim_start_matches("libbpf: ")
        .lines()
        .collect();
    let skipped = lines.len().saturating_sub(LINES_MAX);
    let shown = lines.get(skipped..).unwrap_or_default().join(" | ");
    if skipped > 0 {
        format!("… {shown}")
    } else {
        shown
    }
}

/// Turns libbpf's results into ours.
pub trait Blame<T> {
    /// What failed, with what libbpf had to say about it.
    fn blame<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> Blame<T> for libbpf_rs::Result<T> {
    fn blame<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        let said = take_messages();
        self.map_err(|error| {
            let kind = match error.kind() {
                BpfErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                BpfErrorKind::InvalidInput
                | BpfErrorKind::InvalidData
                | BpfErrorKind::NotFound
                | BpfErrorKind::Unsupported => ErrorKind::UnsupportedKernel,
                _ => ErrorKind::Io,
            };
            let message = message().into();
            Error::new(
                kind,
                if said.is_empty() {
                    format!("{message}: {error}")
                } else {
                    format!("{message}: {error} ({said})")
                },
            )
        })
    }
}
