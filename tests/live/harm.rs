//! Do no harm: nothing is left behind, nobody else reads along, nobody is crashed.

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Command, Stdio};

use agentsight_testbins::Testbin;
use agentsight_testbins::run::Running;
use goblin::elf::Elf;

use crate::capture::{Capture, wait_for};
use crate::is_root;
use crate::testbins::testbin;

const INT3: u8 = 0xcc;

/// The first byte of a function in a running, statically linked, non-PIE process.
fn code_byte(process: &Running, testbin: &Testbin, function: &str) -> u8 {
    let bytes = std::fs::read(&testbin.path).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let symbol = elf
        .syms
        .iter()
        .find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(function))
        .unwrap();
    let memory = File::open(format!("/proc/{}/mem", process.pid())).unwrap();
    let mut byte = [0];
    memory.read_exact_at(&mut byte, symbol.st_value).unwrap();
    byte[0]
}

/// Probes go away with the observer, however it ends, and the program goes on.
#[test]
fn root_nothing_is_left_behind() {
    let Some(pair) = testbin("openssl/pair", "static") else {
        return;
    };
    for is_killed in [false, true] {
        let mut running = Running::start(&pair, &["--wait", "--iterations", "10"]).unwrap();
        running.wait_ready().unwrap();
        let before = code_byte(&running, &pair, "ssl_write_internal");
        assert_ne!(before, INT3);
        let capture = Capture::start_alone(&pair.path, &[]);
        wait_for("a breakpoint", || {
            code_byte(&running, &pair, "ssl_write_internal") == INT3
        });
        if is_killed {
            capture.kill();
        } else {
            capture.stop();
        }
        wait_for("its removal", || {
            code_byte(&running, &pair, "ssl_write_internal") == before
        });
        running.go().unwrap();
        running.finish().unwrap();
    }
}

/// An observer that goes away in the middle of the traffic does not disturb it.
#[test]
fn root_coming_and_going_under_load() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let running = Running::start(&pair, &["--iterations", "150000", "--size", "64"]).unwrap();
    for is_killed in [false, true, false, true] {
        let capture = Capture::start_alone(&pair.path, &[]);
        if is_killed {
            capture.kill();
        } else {
            capture.stop();
        }
    }
    running.finish().unwrap();
}

/// Captured plaintext is readable for its owner only, even in a file that others could read before.
#[test]
fn root_output_is_private() {
    let Some(pair) = testbin("openssl/pair", "static") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::write(&out, "old").unwrap();
    std::fs::set_permissions(&out, PermissionsExt::from_mode(0o644)).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["attach", "-q", "--duration", "100ms", "--binary"])
        .arg(&pair.path)
        .arg("-o")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success());
    let mode = std::fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Without privileges: one clear message, its own exit code, no noise of libbpf.
#[test]
fn root_unprivileged_users_are_told_what_is_missing() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("agentsight");
    std::fs::copy(env!("CARGO_BIN_EXE_agentsight"), &copy).unwrap();
    let out = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["attach", "--binary", "/bin/sh"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(77), "{text}");
    assert!(text.contains("CAP_BPF") && text.contains("sudo"), "{text}");
    assert!(!text.contains("libbpf") && out.stdout.is_empty(), "{text}");
}

/// What cannot be attached to is named, with the exit code for it.
#[test]
fn root_hopeless_targets_are_refused() {
    let Some(stripped) = testbin("gnutls/client", "embedded.strip") else {
        return;
    };
    let attach = |path: &std::path::Path| {
        let out = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--duration", "5s", "--binary"])
            .arg(path)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, text) = attach(&stripped.path);
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("stripped") && text.contains("nothing to attach to"),
        "{text}"
    );
    let (code, text) = attach(std::path::Path::new("/nonexistent"));
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("/nonexistent"), "{text}");
    let (code, text) = attach(std::path::Path::new("/etc/passwd"));
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("not an ELF file"), "{text}");
}
