//! `agentsight doctor` for real: this machine passes, and the self test captures a TLS exchange. Needs
//! root; the children that the checks start are this test binary, in the part of [`doctor_child`].
#![cfg(feature = "bpf")]
// A test speaks on its own output.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

use agentsight::doctor::{self, Launcher, Part, Status};
use agentsight::host::privileges;

/// Not a test of its own: what the others start as their child, with the part to play as the last
/// argument.
#[test]
fn doctor_child() {
    let last = std::env::args().next_back().unwrap_or_default();
    if Part::ALL.iter().any(|part| part.as_str() == last) {
        // The harness has begun a line with the test's name.
        println!();
        doctor::selftest_peer(&last).unwrap();
    }
}

fn launcher() -> Launcher {
    let args = ["--exact", "doctor_child", "--nocapture", "--test-threads=1"];
    Launcher::new("/proc/self/exe", args)
}

/// Without privileges the live tests are skipped, aloud, unless skips are forbidden.
fn may_attach() -> bool {
    let refusal = privileges::require_for_attach();
    let Err(error) = refusal else {
        return true;
    };
    assert!(
        std::env::var_os("AGENTSIGHT_TEST_REQUIRE").is_none(),
        "{error}"
    );
    eprintln!("skipped: {error}");
    false
}

/// A false alarm on a machine that can capture, or a check that does not end.
#[test]
fn root_this_machine_passes() {
    if !may_attach() {
        return;
    }
    let checks = doctor::examine(&launcher());
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The way from a library to its plaintext is broken somewhere.
#[test]
fn root_self_test_captures() {
    if !may_attach() {
        return;
    }
    let check = doctor::selftest(&launcher());
    assert_eq!(check.status, Status::Ok, "{check:#?}");
}

/// Whatever is wrong, there is something to do about it.
#[test]
fn every_complaint_has_a_fix() {
    for check in doctor::examine(&launcher()) {
        assert_eq!(
            check.fix.is_none(),
            check.status == Status::Ok,
            "{check:#?}"
        );
    }
}

/// A child that dies or is no child of ours is told as the stage that failed, at once.
#[test]
fn root_broken_child_is_named() {
    if !may_attach() {
        return;
    }
    let check = doctor::selftest(&Launcher::new("/bin/true", ["x"]));
    assert_eq!(check.status, Status::Fail);
    assert_eq!(check.detail, "start: the peer ended early");
}
