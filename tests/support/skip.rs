//! A named skip: it says what is missing, and is a failure where `AGENTSIGHT_TEST_REQUIRE=all` is set.

/// Says that `what` is missing, and fails if nothing may be.
pub fn skip<T>(what: &str) -> Option<T> {
    let all = std::env::var_os("AGENTSIGHT_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(
        !all,
        "{what} is missing, and AGENTSIGHT_TEST_REQUIRE=all is set"
    );
    eprintln!("skipped: {what} missing");
    None
}
