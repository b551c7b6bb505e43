//! Programs behind seccomp filters that kill them for any system call they do not know: they survive being
//! watched, and nothing of them is missed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use procfs::process::all_processes;

use crate::capture::Capture;
use crate::peer::{Peer, assert_crosswise, noise};
use crate::testbins::{compare_pair_under, testbin};
use crate::{is_root, program, skip};

/// Both ends in one process, which enters its sandbox before the first connection.
const PAIR: [&str; 5] = ["--sandbox", "--iterations", "50", "--size", "5000"];

/// A strict filter, return probes or none.
#[test]
fn root_strict_filter() {
    let Some(pair) = testbin("openssl/ex", "dyn-O2") else {
        return;
    };
    for without in ["", "uprobe_session", "uprobe_multi", "return_probes"] {
        let start = || Capture::without(without, &pair.path);
        let captured = compare_pair_under(start, &pair, &PAIR);
        assert_eq!(captured.conns.len(), 2, "without {without:?}");
        let told = captured.stderr.contains("no return probes: ");
        assert_eq!(told, without == "return_probes", "{}", captured.stderr);
    }
}

/// A browser in its own sandbox, which only people without root's rights get.
#[test]
fn root_chromium_in_its_sandbox() {
    if !is_root() {
        return;
    }
    // What is in PATH is a script.
    let chromium = PathBuf::from("/usr/lib/chromium/chromium");
    if !chromium.exists() {
        return skip("chromium");
    }
    let Some(setpriv) = program("setpriv") else {
        return;
    };
    let Some(peer) = Peer::start("files") else {
        return;
    };
    let page = [b"<title>page</title><pre>", &noise(500_000)[..]];
    peer.file("page.html", &page.concat());
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let capture = Capture::start(&chromium, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = sandboxed_users(&chromium, &stop);
    let mut command = peer.command(&setpriv);
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
        .arg(&chromium)
        .args(["--headless", "--disable-gpu", "--dump-dom"])
        .args(["--ignore-certificate-errors", "--user-data-dir=profile"])
        .arg(format!("{}/page.html", peer.url()))
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("TMPDIR", home.path());
    let (_, out) = peer.run(&mut command);
    stop.store(true, Ordering::Release);
    assert!(memchr::memmem::find(&out.stdout, b"<title>page</title>").is_some());
    let sandboxed = watcher.join().unwrap();
    assert!(!sandboxed.is_empty(), "the browser had no sandbox");
    let captured = capture.stop();
    assert_crosswise("Chromium", &captured, &peer.finish());
}

/// Notes processes of this program that run behind a filter, until it is stopped.
fn sandboxed_users(program: &Path, stop: &Arc<AtomicBool>) -> thread::JoinHandle<BTreeSet<i32>> {
    let (program, stop) = (program.to_owned(), Arc::clone(stop));
    thread::spawn(move || {
        let mut found = BTreeSet::new();
        while !stop.load(Ordering::Acquire) {
            let processes = all_processes().unwrap().flatten();
            let ours = processes.filter(|process| process.exe().is_ok_and(|exe| exe == program));
            let behind_filter = |process: &procfs::process::Process| {
                let status = process.status();
                status.is_ok_and(|status| status.seccomp == Some(libc::SECCOMP_MODE_FILTER))
            };
            found.extend(ours.filter(behind_filter).map(|process| process.pid));
            thread::sleep(Duration::from_millis(5));
        }
        found
    })
}
