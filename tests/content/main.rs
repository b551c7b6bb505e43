//! What bodies hold, read as other people's programs wrote it: `peers` has node, gzip and zstd as encoders and a browser's
//! reader of events as a judge, `damaged` what strangers may send.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod damaged;
mod peers;
#[path = "../support/random.rs"]
mod random;

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

/// Says what could not be tested; a failure where everything must be.
pub fn skip<T>(what: &str) -> Option<T> {
    let all = std::env::var_os("AGENTSIGHT_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(
        !all,
        "{what} is missing, and AGENTSIGHT_TEST_REQUIRE=all is set"
    );
    eprintln!("skipped: {what} missing");
    None
}

/// What a program makes of `input`.
pub fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return skip(program);
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // It may end before it has read everything.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program}: {}", output.status);
    Some(output.stdout)
}
