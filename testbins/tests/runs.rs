//! The programs do TLS, and both ends log the same bytes.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;

use agentsight_testbins::run::{Endpoint, Running, read_logs};
use agentsight_testbins::{Testbin, list, vendored};
use support::{assert_both_ends_agree, testbin};

fn start(testbin: &Testbin, log: &Path, options: &[&str]) -> Running {
    let log = log.to_str().expect("a plain path");
    let options = [options, &["--log", log]].concat();
    Running::start(testbin, &options).expect("it starts")
}

fn finish(what: &str, running: Running) {
    if let Err(error) = running.finish() {
        panic!("{what}: {error}");
    }
}

fn pair(variant: &str, options: &[&str]) -> Vec<Endpoint> {
    let Some(pair) = testbin("openssl/pair", variant) else {
        return Vec::new();
    };
    let what = format!("pair {variant} {options:?}");
    let log = tempfile::tempdir().expect("a temporary folder");
    finish(&what, start(&pair, log.path(), options));
    let ends = read_logs(log.path()).expect("logs");
    assert!(assert_both_ends_agree(&what, &ends) > 0);
    ends
}

/// Runs a server and a client of one family; returns how many bytes the clients wrote.
fn talk(family: &str, variant: &str, connections: &str, server: &[&str], client: &[&str]) -> usize {
    let programs = ["server", "client"].map(|name| testbin(&format!("{family}/{name}"), variant));
    let [Some(server_program), Some(client_program)] = programs else {
        return 0;
    };
    let what = format!("{family} {variant} {client:?} with {server:?}");
    let log = tempfile::tempdir().expect("a temporary folder");
    let server = [server, &["--accept", connections]].concat();
    let mut server = start(&server_program, log.path(), &server);
    let port = server.port().expect("a port").to_string();
    let client = [client, &["--port", &port, "--connections", connections]].concat();
    finish(&what, start(&client_program, log.path(), &client));
    finish(&what, server);
    assert_both_ends_agree(&what, &read_logs(log.path()).expect("logs"))
}

/// Every way of calling OpenSSL must carry the bytes it claims to.
#[test]
fn pair_options() {
    for options in [
        &["--iterations", "3"][..],
        &["--ex"],
        &["--peek", "--iterations", "3", "--size", "50000"],
        &["--peek", "--ex", "--retry"],
        &["--retry", "--size", "40000", "--iterations", "3"],
        &["--partial", "--size", "100000"],
        &["--retry", "--partial", "--size", "100000"],
        &["--retry", "--partial", "--ex", "--size", "100000"],
        &["--upref"],
        &["--size", "1"],
        &["--size", "10485760", "--binary"],
    ] {
        pair("dyn-O2", options);
    }
}

/// A reused object must still be one log per connection and end.
#[test]
fn pair_reuse() {
    for more in [&[][..], &["--clear"], &["--upref"], &["--clear", "--ex"]] {
        let ends = pair("dyn-O2", &[&["--reuse", "5"], more].concat());
        assert!(ends.is_empty() || ends.len() == 10, "{more:?}");
    }
}

/// What was cut off or renamed must not be needed to run.
#[test]
fn every_variant_runs() {
    for (program, variant) in list().expect("the programs are readable") {
        match program.as_str() {
            "openssl/pair" => drop(pair(&variant, &["--iterations", "2", "--size", "20000"])),
            "standin/openssl" => {
                let Some(standin) = testbin(&program, &variant) else {
                    continue;
                };
                finish(&variant, Running::start(&standin, &[]).expect("it starts"));
            }
            _ => {
                let Some((family, "client")) = program.split_once('/') else {
                    continue;
                };
                talk(family, &variant, "2", &[], &["--messages", "2"]);
            }
        }
    }
}

/// A library that was compiled here must work, or live tests on it would show nothing.
#[test]
fn vendored_libraries_run() {
    for combination in vendored::wanted() {
        let Some(built) = support::vendored("openssl/pair", combination) else {
            continue;
        };
        let options = ["--iterations", "2", "--size", "20000", "--peek"];
        let log = tempfile::tempdir().expect("a temporary folder");
        finish(combination.name, start(&built, log.path(), &options));
        let ends = read_logs(log.path()).expect("logs");
        assert!(assert_both_ends_agree(combination.name, &ends) > 0);
    }
}

/// The ways past `SSL_read` and `SSL_write` must carry the bytes that they log.
#[test]
fn other_ways_in() {
    for (program, variant) in [
        ("openssl/ex", "dyn-O2"),
        ("openssl/ex", "static.strip"),
        ("openssl/bio", "dyn-O2"),
        ("openssl/bio", "embedded.strip"),
    ] {
        let Some(testbin) = testbin(program, variant) else {
            continue;
        };
        let what = format!("{program} {variant}");
        let log = tempfile::tempdir().expect("a temporary folder");
        let options = ["--size", "50000", "--reuse", "3"];
        finish(&what, start(&testbin, log.path(), &options));
        let ends = read_logs(log.path()).expect("logs");
        assert!(assert_both_ends_agree(&what, &ends) > 0);
        assert_eq!(ends.len(), 6, "{what}");
    }
}

/// What every family can do: threads, one call with 10 MiB, a shared connection, one direction.
#[test]
fn client_and_server() {
    for family in ["openssl", "gnutls", "nss"] {
        for (server, client) in [
            (&[][..], &["--threads", "3", "--messages", "5"][..]),
            (&[], &["--big", "10485760", "--binary"]),
            (&[], &["--shared", "--threads", "4", "--messages", "12"]),
            (
                &["--sink"],
                &["--sink", "--big", "1000000", "--threads", "2"],
            ),
        ] {
            talk(family, "dyn-O2", "4", server, client);
        }
    }
}

/// Each message is logged once, however many processes had a hand in it.
#[test]
fn forks() {
    for family in ["openssl", "gnutls"] {
        let sent = talk(family, "dyn-O2", "2", &[], &["--fork", "--messages", "2"]);
        assert!(sent == 0 || sent == 2 * 3 * 1024, "{family}: {sent}");
        talk(family, "dyn-O2", "2", &[], &["--fork-split"]);
        talk(family, "dyn-O2", "2", &["--fork"], &[]);
        talk(
            family,
            "dyn-O2",
            "2",
            &["--sink"],
            &["--sink", "--fork", "--big", "100000"],
        );
    }
}

/// A refused call that is repeated must not be logged twice.
#[test]
fn retries() {
    let retry = ["--retry", "--messages", "5", "--big", "1000000"];
    for (family, more) in [
        ("openssl", &[][..]),
        ("openssl", &["--ex"]),
        ("openssl", &["--partial"]),
        ("gnutls", &[]),
        ("gnutls", &["--send2"]),
        ("gnutls", &["--cork"]),
    ] {
        talk(
            family,
            "dyn-O2",
            "2",
            &["--retry"],
            &[&retry, more].concat(),
        );
    }
}

/// The other ways to send, to receive and to set the socket.
#[test]
fn other_calls() {
    talk("openssl", "dyn-O2", "2", &["--ex"], &["--ex"]);
    talk("openssl", "dyn-O2", "2", &["--bio"], &["--bio"]);
    let packet = ["--recv-packet", "--send2"];
    talk(
        "gnutls",
        "dyn-O2",
        "2",
        &packet,
        &["--recv-packet", "--cork", "--big", "70000"],
    );
    talk("nss", "dyn-O2", "2", &["--send-recv"], &["--send-recv"]);
}

/// A tracer needs the process to stand still until it has attached.
#[test]
fn waits_for_the_tracer() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    for option in ["--wait", "--wait-late"] {
        let log = tempfile::tempdir().expect("a temporary folder");
        let mut running = start(&pair, log.path(), &[option]);
        running.wait_ready().expect("it stops");
        assert!(running.pid() > 0);
        let before = read_logs(log.path()).expect("logs");
        assert!(before.iter().all(|end| end.written.is_empty()));
        running.go().expect("it reads");
        finish(option, running);
    }
}

/// An error must be an exit status and a message, not silence.
#[test]
fn failures_are_loud() {
    let Some(client) = testbin("openssl/client", "dyn-O2") else {
        return;
    };
    for (options, message) in [
        (&["--prot", "1"][..], "unknown option --prot"),
        (&["--port", "1"], "failed to connect to port 1"),
        (&["--messages", "many"], "--messages needs a number"),
        (
            &["--wait", "--port", "1", "--timeout", "1"],
            "the time limit",
        ),
    ] {
        let running = Running::start(&client, options).expect("it starts");
        let error = running.finish().expect_err("it fails").to_string();
        assert!(error.contains(message), "{options:?}: {error}");
    }
}
