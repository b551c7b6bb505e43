//! What both test files need: a testbin or a named skip.

use agentsight_testbins::{Testbin, Unbuilt, build};

/// Builds; prints and returns `None` if something is not installed, unless that is required.
pub fn testbin(program: &str, variant: &str) -> Option<Testbin> {
    match build(program, variant) {
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
