//! What both test files need: a testbin or a named skip.

#![allow(dead_code, reason = "each test file uses its own part")]

use agentsight_testbins::vendored::{self, Combination};
use agentsight_testbins::{Testbin, Unbuilt, build};

/// Builds; prints and returns `None` if something is not installed, unless that is required.
pub fn testbin(program: &str, variant: &str) -> Option<Testbin> {
    or_skip(program, variant, build(program, variant))
}

/// The same for a program with a library that is compiled here.
pub fn vendored(program: &str, combination: &Combination) -> Option<Testbin> {
    let built = vendored::build(program, combination);
    or_skip(program, combination.name, built)
}

fn or_skip(program: &str, variant: &str, built: Result<Testbin, Unbuilt>) -> Option<Testbin> {
    match built {
        Ok(testbin) => Some(testbin),
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
