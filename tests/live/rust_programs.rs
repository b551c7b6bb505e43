//! Programs that others wrote in Rust, with rustls inside and stripped as they are shipped: all bytes that they exchange
//! over TLS are those that the other end read and wrote.
//!
//! Each runs in a network of its own, so that nothing can reach further than this machine. CI takes uv; the others
//! are large, and for `scripts/test --extended`.

use std::path::Path;
use std::process::Command;

use crate::capture::{Capture, Captured};
use crate::peer::{Peer, assert_crosswise, noise};
use crate::support::{require, sample};
use crate::{is_extended, is_root, program};

/// A prompt of 120 kB, an answer in pieces.
const FETCH: &str = r#"
const messages = [{ role: "user", content: "why? ☀ ".repeat(13000) }];
const response = await fetch(Deno.args[0] + "/v1/messages", {
  method: "POST",
  body: JSON.stringify({ model: "m", stream: true, messages }),
  headers: { "content-type": "application/json" },
});
const text = await response.text();
if (!text.includes("message_stop")) throw new Error(text);
"#;

/// A wheel with one big file, in a folder that pip and its like take for an index.
const WHEEL: &str = r#"
import sys, zipfile
folder, data = sys.argv[1:]
name = "demo_package-1.0.0"
with zipfile.ZipFile(f"{folder}/{name}-py3-none-any.whl", "w") as wheel:
    wheel.write(data, "demo_package/data.txt")
    info = f"{name}.dist-info"
    wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo-package\nVersion: 1.0.0\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

fn wheel(peer: &Peer, folder: &str) {
    peer.file(&format!("{folder}/data.txt"), &noise(300_000));
    let folder = peer.dir().join("files").join(folder);
    let mut python = Command::new(program("python3").unwrap());
    python.args(["-c", WHEEL]).arg(&folder);
    assert!(
        python
            .arg(folder.join("data.txt"))
            .status()
            .unwrap()
            .success()
    );
    std::fs::remove_file(folder.join("data.txt")).unwrap();
}

/// The connections are rustls's, and each is one by its socket.
fn assert_joined(what: &str, captured: &Captured) {
    for conn in captured.conns.values() {
        assert_eq!(
            (conn.library.as_str(), conn.joined_by.as_str()),
            ("rustls", "bytes"),
            "{what}"
        );
        assert_eq!(conn.role.as_deref(), Some("client"), "{what}");
        assert!(
            conn.from_start && conn.fd.is_some() && conn.peer.is_some(),
            "{what}"
        );
    }
}

/// Runs one program to its end and compares what was captured of it with what the peer logged.
fn compare(what: &str, peer: Peer, file: &Path, command: &mut Command) -> Captured {
    let capture = Capture::start(file, &[]);
    let (pid, _) = peer.run(command);
    let captured = capture.stop_of(pid);
    assert_crosswise(what, &captured, &peer.finish());
    assert_joined(what, &captured);
    captured
}

fn assert_said(captured: &Captured, text: &[u8]) {
    let said = captured.all_bytes();
    assert!(memchr::memmem::find(&said, text).is_some());
}

/// uv installs a package from an index.
#[test]
fn root_uv() {
    if !is_root() {
        return;
    }
    let uv = require!(sample("uv")).path;
    let python = require!(program("python3"));
    let peer = require!(Peer::start("files"));
    wheel(&peer, "simple/demo-package");
    let mut command = peer.command(&uv);
    command
        .args([
            "pip",
            "install",
            "--no-config",
            "--target",
            "installed",
            "--python",
        ])
        .arg(python)
        .arg("--index-url")
        .arg(format!("{}/simple", peer.url()))
        .arg("demo-package")
        .env("SSL_CERT_FILE", peer.cert())
        .env("UV_CACHE_DIR", peer.dir().join("cache"));
    let data = peer.dir().join("installed/demo_package/data.txt");
    let capture = Capture::start(&uv, &[]);
    let (pid, _) = peer.run(&mut command);
    assert!(std::fs::read(data).unwrap() == noise(300_000));
    let captured = capture.stop_of(pid);
    assert_crosswise("uv", &captured, &peer.finish());
    assert_joined("uv", &captured);
    assert_said(&captured, b"GET /simple/demo-package/ HTTP/1.1");
}

/// deno, which has no unwind tables, posts and reads a streamed answer.
#[test]
fn root_deno() {
    if !is_root() || !is_extended() {
        return;
    }
    let deno = require!(sample("deno-x64")).path;
    let peer = require!(Peer::start("llm"));
    std::fs::write(peer.dir().join("client.mjs"), FETCH).unwrap();
    let mut command = peer.command(&deno);
    command
        .args(["run", "--allow-net", "--no-config", "--cert"])
        .arg(peer.cert())
        .arg("client.mjs")
        .arg(peer.url())
        .env("DENO_DIR", peer.dir().join("deno"))
        .env("DENO_NO_UPDATE_CHECK", "1");
    let captured = compare("deno", peer, &deno, &mut command);
    assert_said(&captured, "why? ☀ ".as_bytes());
}

/// maturin uploads a wheel.
#[test]
fn root_maturin() {
    if !is_root() || !is_extended() {
        return;
    }
    let maturin = require!(sample("maturin")).path;
    let peer = require!(Peer::start("files"));
    wheel(&peer, "wheels");
    let mut command = peer.command(&maturin);
    command
        .args([
            "upload",
            "--non-interactive",
            "--username",
            "u",
            "--password",
            "p",
        ])
        .args(["--repository-url", &format!("{}/legacy/", peer.url())])
        .arg("files/wheels/demo_package-1.0.0-py3-none-any.whl")
        .env("MATURIN_CA_BUNDLE", peer.cert())
        .env("REQUESTS_CA_BUNDLE", peer.cert());
    let captured = compare("maturin", peer, &maturin, &mut command);
    assert_said(&captured, b"POST /legacy/ HTTP/1.1");
}

/// codex asks a model and prints its streamed answer.
#[test]
fn root_codex() {
    if !is_root() || !is_extended() {
        return;
    }
    let codex = require!(sample("codex-x64-new")).path;
    let peer = require!(Peer::start("llm"));
    let home = peer.dir().join("codex");
    std::fs::create_dir(&home).unwrap();
    let config = format!(
        "model = \"demo-model-1\"\nmodel_provider = \"local\"\n[model_providers.local]\nname = \"local\"\n\
         base_url = \"{}/v1\"\nwire_api = \"responses\"\nenv_key = \"DEMO_KEY\"\n",
        peer.url()
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
    let capture = Capture::start(&codex, &[]);
    let mut command = peer.command(&codex);
    command
        .args(["exec", "--skip-git-repo-check", "why does it fail?"])
        .env("CODEX_HOME", &home)
        .env("CODEX_CA_CERTIFICATE", peer.cert())
        .env("SSL_CERT_FILE", peer.cert())
        .env("DEMO_KEY", "not-a-real-key");
    let (pid, out) = peer.run(&mut command);
    let answer = String::from_utf8(out.stdout).unwrap();
    assert!(answer.contains("`parse_port`"), "{answer}");
    let captured = capture.stop_of(pid);
    let mut served = peer.finish();
    for (written, _) in &mut served {
        // With the answer complete, codex does not read on to the end of the body.
        let end = written.strip_suffix(b"0\r\n\r\n");
        *written = end.unwrap_or(written).to_vec();
    }
    assert_crosswise("codex", &captured, &served);
    assert_joined("codex", &captured);
    assert_said(&captured, b"why does it fail?");
    assert_said(&captured, b"response.completed");
}
