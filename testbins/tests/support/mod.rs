//! What the test files share: a testbin or a named skip, and a judge of logs.

#![allow(dead_code, reason = "each test file uses its own part")]

use agentsight_testbins::run::Endpoint;
use agentsight_testbins::vendored::{self, Combination};
use agentsight_testbins::{Testbin, Unbuilt, build, rust};

/// Builds; prints and returns `None` if something is not installed, unless that is required.
pub fn testbin(program: &str, variant: &str) -> Option<Testbin> {
    or_skip(program, variant, build(program, variant))
}

/// The same for a program with a library that is compiled here.
pub fn vendored(program: &str, combination: &Combination) -> Option<Testbin> {
    let built = vendored::build(program, combination);
    or_skip(program, combination.name, built)
}

/// The same for a Rust program.
pub fn rust(combination: &rust::Combination) -> Option<Testbin> {
    let name = combination.name();
    or_skip("rust/agent", &name, rust::build(combination))
}

/// What somebody made, or a named skip.
pub fn or_skip<T>(program: &str, variant: &str, built: Result<T, Unbuilt>) -> Option<T> {
    match built {
        Ok(made) => Some(made),
        Err(Unbuilt::Missing(what)) if !everything_is_required() => {
            eprintln!("skipped: {program} {variant}: {what} is not installed");
            None
        }
        Err(error) => panic!("{program} {variant}: {error}"),
    }
}

fn everything_is_required() -> bool {
    std::env::var_os("AGENTSIGHT_TEST_REQUIRE").is_some_and(|value| value == "all")
}

/// What all processes of one end of a connection wrote, or read, in order.
fn joined(ends: &[Endpoint], role: &str, number: usize, written: bool) -> Vec<u8> {
    let parts = ends
        .iter()
        .filter(|end| end.role == role && end.number == number);
    let bytes = parts.map(|end| {
        if written {
            end.written.as_slice()
        } else {
            &end.read
        }
    });
    bytes.collect::<Vec<_>>().concat()
}

/// Fails unless each end read what the other wrote; returns how many bytes the clients wrote.
pub fn assert_both_ends_agree(what: &str, ends: &[Endpoint]) -> usize {
    let connections = ends.iter().map(|end| end.number + 1).max().unwrap_or(0);
    assert!(connections > 0, "{what}: no log");
    for n in 0..connections {
        for (writer, reader) in [("client", "server"), ("server", "client")] {
            let (sent, received) = (
                joined(ends, writer, n, true),
                joined(ends, reader, n, false),
            );
            assert!(
                sent == received,
                "{what}: connection {n}: {writer} to {reader}"
            );
        }
    }
    (0..connections)
        .map(|n| joined(ends, "client", n, true).len())
        .sum()
}
