//! The Rust programs are what their names say, do TLS, and both ends log the same bytes.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentsight_testbins::Testbin;
use agentsight_testbins::run::{Running, read_logs};
use agentsight_testbins::rust::{self, After, Combination, Provider, Shape};
use object::elf::{ET_DYN, ET_EXEC, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object};
use support::{assert_both_ends_agree, or_skip};

/// A folder with a certificate, and a log beside it.
struct Place {
    folder: tempfile::TempDir,
    cert: String,
    key: String,
}

impl Place {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = rust::certificate(folder.path());
        let [cert, key] = or_skip("rust/agent", "certificate", files)?;
        let text = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
        Some(Self {
            cert: text(cert),
            key: text(key),
            folder,
        })
    }

    /// An empty folder for logs.
    fn log(&self) -> PathBuf {
        let log = self.folder.path().join("log");
        let _ = fs::remove_dir_all(&log);
        fs::create_dir(&log).expect("room");
        log
    }

    /// What a server needs beside these options.
    fn server<'a>(&'a self, log: &'a Path, options: &[&'a str]) -> Vec<&'a str> {
        let log = log.to_str().expect("a plain path");
        let own = ["--cert", &self.cert, "--key", &self.key, "--log", log];
        [options, &own].concat()
    }
}

/// Everything this run wants, or has tools for, that can be run.
fn programs() -> impl Iterator<Item = (&'static Combination, Testbin)> {
    let all = rust::wanted();
    let programs = all.filter(|one| !matches!(one.shape, Shape::Arm64 | Shape::Shared));
    programs.filter_map(|combination| Some((combination, support::rust(combination)?)))
}

fn finish(what: &str, running: Running) {
    if let Err(error) = running.finish() {
        panic!("{what}: {error}");
    }
}

/// Both TLS versions, all AEADs, from one byte to a megabyte, by threads and by tasks that wander.
#[test]
fn both_ends_agree() {
    let Some(place) = Place::new() else {
        return;
    };
    for (combination, agent) in programs() {
        for provider in combination.stack.providers {
            let provider = match provider {
                Provider::AwsLc => "aws-lc",
                Provider::Ring => "ring",
            };
            for (part, tls, suite) in [
                ("pair", "1.2", "aes128"),
                ("pair", "1.2", "chacha20"),
                ("pair", "1.3", "aes256"),
                ("tokio", "1.2", "aes256"),
                ("tokio", "1.3", "aes128"),
                ("tokio", "1.3", "chacha20"),
            ] {
                let what = [part, "--provider", provider, "--tls", tls, "--suite", suite];
                talk(&place, &agent, &what);
            }
        }
    }
}

fn talk(place: &Place, agent: &Testbin, what: &[&str]) {
    let log = place.log();
    let sizes = ["--sizes", "1,3000,1000000", "--answers", "1000000,1"];
    let number = ["--messages", "4", "--connections", "3"];
    let options = [what, &["--ca", &place.cert], &sizes, &number].concat();
    let what = format!("{} {what:?}", agent.variant);
    let running = Running::start(agent, &place.server(&log, &options));
    finish(&what, running.expect("it starts"));
    let ends = read_logs(&log).expect("logs");
    assert_eq!(ends.len(), 6, "{what}");
    let sent = assert_both_ends_agree(&what, &ends);
    assert!(sent > 3 * 1_003_002, "{what}: {sent}");
}

/// Each client gets from the server what it expects, and the server sees all of it.
#[test]
fn http_clients_and_server() {
    let Some(place) = Place::new() else {
        return;
    };
    let with_http = programs().filter(|(combination, _)| combination.stack.has_http());
    for (combination, agent) in with_http {
        for client in [
            &["ureq"][..],
            &["reqwest", "--http", "1"],
            &["reqwest", "--http", "2"],
            &["reqwest", "--tls", "1.2", "--suite", "chacha20"],
        ] {
            let what = format!("{} {client:?}", combination.name());
            let log = place.log();
            let options = place.server(&log, &["server", "--accept", "3"]);
            let mut server = Running::start(&agent, &options).expect("it starts");
            let port = server.port().expect("a port").to_string();
            let to = ["--ca", &place.cert, "--port", &port, "--connections", "3"];
            let sizes = ["--messages", "4", "--sizes", "100000,1"];
            let options = [client, &to, &sizes].concat();
            finish(&what, Running::start(&agent, &options).expect("it starts"));
            finish(&what, server);
            let ends = read_logs(&log).expect("logs");
            assert_eq!(ends.len(), 3, "{what}");
            assert!(ends.iter().all(|end| end.read.len() > 200_002), "{what}");
        }
    }
}

/// A copy that kept its names, or was linked in another way, would prove nothing.
#[test]
fn copies_are_what_their_names_say() {
    for combination in rust::wanted() {
        let Some(agent) = support::rust(combination) else {
            continue;
        };
        let name = combination.name();
        let bytes = fs::read(&agent.path).expect("the file is there");
        let file = ElfFile64::<Endianness>::parse(&*bytes).expect("it is ELF");
        assert_eq!(file.symbols().count(), 0, "{name}");
        let kind = file.elf_header().e_type(file.endian());
        let wanted = match combination.shape {
            Shape::Arm64 | Shape::Fixed => ET_EXEC,
            _ => ET_DYN,
        };
        assert_eq!(kind, wanted, "{name}");
        let mut headers = file.elf_program_headers().iter();
        let is_loaded = headers.any(|header| header.p_type(file.endian()) == PT_INTERP);
        let is_dynamic = matches!(combination.shape, Shape::Fixed | Shape::Pie | Shape::Relr);
        assert_eq!(is_loaded, is_dynamic, "{name}");
        let is_whole = combination.after != After::NoSections;
        assert_eq!(file.sections().next().is_some(), is_whole, "{name}");
        let can_unwind = file.section_by_name(".eh_frame").is_some();
        assert_eq!(can_unwind, combination.after == After::Strip, "{name}");
        let twin = fs::read(&agent.twin).expect("the file is there");
        let twin = object::File::parse(&*twin).expect("it is ELF");
        assert!(twin.symbols().count() > 1000, "{name}");
    }
}

/// A program that knows nothing of Rust must be able to speak TLS through the library.
#[test]
fn the_library_runs_in_python() {
    let Some(place) = Place::new() else {
        return;
    };
    let shared = rust::wanted().filter(|combination| combination.shape == Shape::Shared);
    for combination in shared {
        let Some(library) = support::rust(combination) else {
            continue;
        };
        let log = place.log();
        let line = place.server(&log, &["pair", "--ca", &place.cert, "--connections", "2"]);
        let script =
            "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).agent(sys.argv[2].encode()))";
        let mut python = Command::new("python3");
        python
            .args(["-c", script])
            .arg(&library.path)
            .arg(line.join(" "));
        let status = python.status().expect("python3 is there");
        assert!(status.success(), "{}", combination.name());
        let ends = read_logs(&log).expect("logs");
        assert!(assert_both_ends_agree(&combination.name(), &ends) > 0);
    }
}

/// An observer needs the program to stand still, and an error must be heard of.
#[test]
fn waits_and_complains() {
    let Some(place) = Place::new() else {
        return;
    };
    let Some((_, agent)) = programs().next() else {
        return;
    };
    for (part, option) in [
        ("pair", "--wait"),
        ("pair", "--wait-late"),
        ("tokio", "--wait-late"),
    ] {
        let log = place.log();
        let options = place.server(&log, &[part, option]);
        let mut running = Running::start(&agent, &options).expect("it starts");
        running.wait_ready().expect("it stops");
        assert!(read_logs(&log).expect("logs").is_empty());
        running.go().expect("it reads");
        finish(option, running);
        assert_eq!(read_logs(&log).expect("logs").len(), 2);
    }
    for (options, message) in [
        (&["pair", "--prot", "1"][..], "unknown option --prot"),
        (&["pair", "--role", "server"], "a server needs --cert"),
        (&["pear"], "no part 'pear'"),
        (&["pair", "--wait", "--timeout", "1"], "the time limit"),
    ] {
        let running = Running::start(&agent, options).expect("it starts");
        let error = running.finish().expect_err("it fails").to_string();
        assert!(error.contains(message), "{options:?}: {error}");
    }
}
