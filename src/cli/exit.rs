//! Exit codes, the same for every subcommand; `--help` lists them.

use std::process::ExitCode;

use crate::error::{Error, ErrorKind};

/// The reader hung up, or all went well.
pub const OK: u8 = 0;
/// Something failed on the way.
pub const FAILURE: u8 = 1;
/// A rule found something that `--fail-on` asks for.
pub const FOUND: u8 = 3;
/// Target not found, or nothing attachable in it.
pub const NOTHING: u8 = 4;
/// Ended before the command began (as shells tell a SIGINT).
#[cfg(feature = "bpf")]
pub const INTERRUPTED: u8 = 130;
/// A privilege is missing (sysexits.h: EX_NOPERM).
#[cfg(feature = "bpf")]
pub const NOT_PERMITTED: u8 = 77;
/// This kernel cannot do it.
#[cfg(feature = "bpf")]
pub const UNSUPPORTED: u8 = 78;

/// Shown by `--help`.
pub const HELP: &str = "\
Exit status:
  0   all went well
  1   something failed on the way, or one of several files could not be examined
  2   wrong usage
  3   all went well, and a rule found something as bad as --fail-on says
  4   target not found, or nothing to attach to in it
  77  a privilege is missing
  78  this kernel cannot do it
  Of `record` and `attach … -- COMMAND`: that of COMMAND; 127 if it is not found, 126 if it cannot be run";

/// For an error that ends the program.
pub fn from_error(error: &Error) -> ExitCode {
    ExitCode::from(match error.kind() {
        ErrorKind::NotFound => NOTHING,
        #[cfg(feature = "bpf")]
        ErrorKind::PermissionDenied => NOT_PERMITTED,
        #[cfg(feature = "bpf")]
        ErrorKind::UnsupportedKernel => UNSUPPORTED,
        ErrorKind::CommandMissing => 127,
        ErrorKind::CommandUnusable => 126,
        ErrorKind::Usage => 2,
        _ => FAILURE,
    })
}

/// For what clap says: help is success, anything else wrong usage.
pub fn from_clap(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        ExitCode::from(2)
    } else {
        ExitCode::from(OK)
    }
}
