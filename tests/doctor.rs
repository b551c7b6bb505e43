//! `agentsight doctor` for real: this machine passes, and the self test captures a TLS exchange. Needs
//! root; the children that the checks start are this test binary, in the part of [`doctor_child`].
#![cfg(feature = "bpf")]
// A test speaks on its own output.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]

use agentsight::cache::prices;
use agentsight::discover::finding::Form;
use agentsight::doctor::bench::{self, Price, Treatment};
use agentsight::doctor::{self, Launcher, Part, Status};
use agentsight::host::machine::Machine;
use agentsight::host::privileges;
use agentsight::image::Arch;
use agentsight::plan::{PriceList, Source};

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

/// A form that probes do not hit once per call, or whose price depends on luck, would mislead the planner.
/// The list that comes of it is found again, by this machine only.
#[test]
fn root_prices_are_measured() {
    if !may_attach() {
        return;
    }
    let bench = bench::bench().unwrap();
    for (what, price) in bench.hits.iter().map(|hit| (hit.instruction, &hit.price)) {
        assert!(matches!(price, Price::Measured { .. }), "{what}: {price:?}");
    }
    let both = bench.returns.iter().find(|of| of.price.ns().is_some());
    assert!(both.is_some(), "{:?}", bench.returns);
    let prices = bench.require_prices().unwrap();
    let built_in = PriceList::built_in(Arch::HOST.unwrap());
    for form in built_in.forms.keys() {
        assert!(prices.forms.contains_key(form), "{form:?}: {prices:?}");
    }
    let place = tempfile::tempdir().unwrap();
    prices::save_in(place.path(), prices).unwrap();
    let machine = Machine::here().unwrap();
    assert_eq!(prices::load_from(place.path(), &machine).unwrap(), *prices);
    let Source::Measured { kernel, processor } = &prices.source else {
        panic!("{:?}", prices.source);
    };
    let machine = Machine {
        kernel: format!("{kernel}x"),
        processor: processor.clone(),
    };
    assert!(prices::load_from(place.path(), &machine).is_err());
}

/// Linux arch/x86/kernel/uprobes.c emulates `nop`, `push` and jumps, and steps over memory accesses: a table
/// that shows no such difference does not measure what it says.
#[test]
#[cfg(target_arch = "x86_64")]
fn root_emulated_instructions_are_cheaper() {
    if !may_attach() {
        return;
    }
    let bench = bench::bench().unwrap();
    let prices = bench.require_prices().unwrap();
    let dear = prices.of(Form::Other);
    for form in [Form::Branch, Form::Call, Form::Jump, Form::Nop, Form::Push] {
        let price = prices.of(form);
        assert!(price * 3 < dear * 2, "{form:?}: {price} of {dear}");
    }
    for hit in &bench.hits {
        let wanted = match hit.form {
            Form::Other => Treatment::SingleStepped,
            Form::Branch | Form::Call | Form::Jump | Form::Nop | Form::Push => Treatment::Emulated,
            _ => continue,
        };
        assert_eq!(hit.treatment, Some(wanted), "{hit:?}");
    }
    // A return that nobody wants is not paid for.
    let [both, declined, ..] = &bench.returns[..] else {
        panic!("{:?}", bench.returns);
    };
    let (both, declined) = (both.price.ns(), declined.price.ns());
    assert!(
        declined.is_none_or(|ns| Some(ns) < both),
        "{both:?} {declined:?}"
    );
}
