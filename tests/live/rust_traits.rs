//! rustls's own methods for records, which are watched where its cryptographic provider has no tables. All providers of
//! the testbins have some, so the tables are left out of the report.

use std::path::Path;
use std::thread;

use agentsight::discover;
use agentsight::discover::finding::{Abi, Report};
use agentsight::image::ImageFile;
use agentsight::image::debug_file::DebugDirs;
use agentsight::symdb::SymbolDb;

use crate::direct::Direct;
use crate::rust_agent::{Agent, Done, named};

/// The methods alone: what discovery finds, without what it prefers.
fn methods(file: &ImageFile, abi: Abi) -> Report {
    let db = SymbolDb::load().unwrap();
    let mut report = discover::examine(file, &db, &DebugDirs::default()).unwrap();
    for finding in &mut report.findings {
        finding
            .functions
            .retain(|function| function.call.abi == abi);
        for function in &mut finding.functions {
            (function.unprobed, function.covered_by) = (None, None);
        }
    }
    let functions = report.findings.iter().flat_map(|of| &of.functions);
    let count = functions.count();
    assert!(count >= 6, "{count} methods");
    report
}

fn watch(path: &Path, abi: Abi) -> Direct {
    let file = ImageFile::open(path).unwrap();
    let report = methods(&file, abi);
    let mut direct = Direct::open();
    direct.attach(&file, &report);
    direct
}

fn sizes(streams: &[(Vec<u8>, Vec<u8>)]) -> Vec<(usize, usize)> {
    streams.iter().map(|(w, r)| (w.len(), r.len())).collect()
}

fn assert_same(what: &str, direct: &Direct, done: &Done) {
    let ours = direct.streams_of(done.pid);
    let mut theirs: Vec<_> = done
        .ends
        .iter()
        .map(|end| (end.written.clone(), end.read.clone()))
        .collect();
    theirs.sort();
    assert!(!theirs.is_empty(), "{what}: it did nothing");
    assert_eq!(sizes(&ours), sizes(&theirs), "{what}");
    assert!(ours == theirs, "{what}: other bytes");
}

/// Every form of the methods, as it was in 0.20 to 0.22 and is since.
#[test]
fn root_rustls_methods() {
    for (name, abi) in [
        ("0.21-ring.lto.pie.strip", Abi::RustlsOpaque),
        ("0.22-ring.lto.pie.strip", Abi::RustlsOpaque),
        ("0.23-ring.release.pie.strip", Abi::RustlsBorrowed),
        ("0.23-ring.size.pie.strip", Abi::RustlsBorrowed),
        ("0.23-aws-lc-http.lto.pie.strip", Abi::RustlsBorrowed),
    ] {
        let Some(agent) = named(name) else {
            return;
        };
        for (part, tls, suite) in [
            ("pair", "1.3", "aes256"),
            ("tokio", "1.2", "aes128"),
            ("tokio", "1.3", "chacha20"),
            ("pair", "1.2", "chacha20"),
        ] {
            let sizes = ["--sizes", "1,3000,1000000", "--answers", "1000000,1"];
            let number = ["--connections", "4", "--messages", "3"];
            let talk = [part, "--tls", tls, "--suite", suite];
            let mut direct = watch(agent.path(), abi);
            let done = run(&mut direct, &agent, &[&talk[..], &sizes, &number].concat());
            assert_same(&format!("{name} {talk:?}"), &direct, &done);
        }
    }
}

/// Runs the agent to its end and takes what comes meanwhile.
fn run(direct: &mut Direct, agent: &Agent, options: &[&str]) -> Done {
    thread::scope(|scope| {
        let done = scope.spawn(|| agent.run(options));
        direct.listen_while(|| !done.is_finished());
        done.join().unwrap()
    })
}

/// rustls 0.23 encrypts what lies in several pieces of memory, where programs write so: HTTP clients do.
#[test]
fn root_rustls_methods_on_scattered_plaintext() {
    for name in [
        "0.23-ring-http.lto.pie.strip",
        "0.23-aws-lc-http.lto.pie.strip",
    ] {
        let Some(agent) = named(name) else {
            return;
        };
        for http in ["1", "2"] {
            let what = format!("{name} HTTP/{http}");
            let mut server = agent.start(&["server", "--accept", "2"]);
            let port = server.running.port().unwrap().to_string();
            let mut direct = watch(agent.path(), Abi::RustlsBorrowed);
            let to = [
                "reqwest",
                "--http",
                http,
                "--port",
                &port,
                "--connections",
                "2",
            ];
            let messages = ["--messages", "3", "--sizes", "1,3000,200000"];
            let client = run(&mut direct, &agent, &[&to[..], &messages].concat());
            let server = server.finish();
            direct.listen();
            assert_same(&what, &direct, &server);
            // The client may have said more than the server wanted to hear.
            let said = direct.streams_of(client.pid);
            assert_eq!(said.len(), 2, "{what}");
            for end in &server.ends {
                let is_other = |(written, read): &&(Vec<u8>, Vec<u8>)| {
                    written.starts_with(&end.read) && end.written.starts_with(read)
                };
                assert!(
                    said.iter().any(|one| is_other(&one)),
                    "{what}: {:?}",
                    sizes(&said)
                );
            }
        }
    }
}
