//! Programs and libraries that others built with OpenSSL or BoringSSL inside and no names for it: all
//! bytes that they exchange over TLS are those that the other end read and wrote.
//!
//! Each runs in a network of its own, so that nothing can reach further than this machine. CI takes
//! bun and node; the others are large, and for `scripts/test --extended`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::capture::{Capture, temp_file};
use crate::peer::{Lonely, Peer, SERVER_PORT, assert_crosswise, noise};
use crate::support::{require, sample, scramble};
use crate::{assert_nameless, is_extended, is_root, program, skip, stripped};

/// A file name and what is in it.
type Script = (&'static str, &'static str);

/// A prompt of 120 kB, an answer in pieces. `tls` is for bun, which trusts no certificate of ours in
/// its early versions.
const FETCH: Script = (
    "client.mjs",
    r#"
const messages = [{ role: "user", content: "why? ☀ ".repeat(13000) }];
const response = await fetch(process.argv[2] + "/v1/messages", {
  method: "POST",
  body: JSON.stringify({ model: "m", stream: true, messages }),
  headers: { "content-type": "application/json" },
  tls: { rejectUnauthorized: false },
});
let text = "";
for await (const chunk of response.body) text += new TextDecoder().decode(chunk);
if (!text.includes("message_stop")) throw new Error(text);
"#,
);

/// The same by the module that every node has.
const HTTPS: Script = (
    "client.js",
    r#"
const body = JSON.stringify({
  model: "m",
  stream: true,
  messages: [{ role: "user", content: "why? ☀ ".repeat(13000) }],
});
const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
const url = new (require("url").URL)("/v1/messages", process.argv[2]);
const options = { hostname: url.hostname, port: url.port, path: url.pathname, method: "POST", headers };
const request = require("https").request(options, (response) => {
  let text = "";
  response.on("data", (chunk) => (text += chunk));
  response.on("end", () => {
    if (!text.includes("message_stop")) throw new Error(text);
  });
});
request.end(body);
"#,
);

/// Serves each path as itself and 400 kB more.
const BUN_SERVER: &str = r#"
const dir = process.argv[2];
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  tls: { cert: Bun.file(dir + "/cert.pem"), key: Bun.file(dir + "/key.pem") },
  fetch: (request) => new Response(new URL(request.url).pathname + "0123456789abcde\n".repeat(25000)),
});
console.log("listening " + server.port);
for await (const _ of process.stdin) {}
server.stop(true);
process.exit(0);
"#;

/// Posts and reads a streamed answer.
fn javascript_posts(what: &str, runtime: &Path, (name, text): Script) {
    let peer = require!(Peer::start("llm"));
    std::fs::write(peer.dir().join(name), text).unwrap();
    let capture = Capture::start(runtime, &[]);
    let mut command = peer.command(runtime);
    command.args([name, &peer.url()]);
    command.env("NODE_EXTRA_CA_CERTS", peer.cert());
    let (pid, _) = peer.run(&mut command);
    let captured = capture.stop_of(pid);
    assert_crosswise(what, &captured, &peer.finish());
}

/// The server runs already when probes are placed.
fn bun_serves(what: &str, bun: &Path) {
    let peer = require!(Peer::start("files"));
    std::fs::write(peer.dir().join("server.mjs"), BUN_SERVER).unwrap();
    let server = Lonely::start(peer.command(bun).arg("server.mjs").arg(peer.dir()));
    let capture = Capture::start(bun, &[]);
    let mut clients = peer.fetch(server.port, &["/one", "/two", "/three"]);
    clients.extend(peer.fetch(server.port, &["/four"]));
    let pid = server.pid();
    server.finish();
    let captured = capture.stop_of(pid);
    assert_crosswise(what, &captured, &clients);
}

fn bun_talks(name: &str) {
    let bun = require!(sample(name)).path;
    assert_nameless(&bun);
    javascript_posts(&format!("{name} as client"), &bun, FETCH);
    bun_serves(&format!("{name} as server"), &bun);
}

/// BoringSSL without names and unwind tables: a client and a server.
#[test]
fn root_bun() {
    if is_root() {
        bun_talks("bun-x64-1.4");
    }
}

/// The BoringSSL of other years, built otherwise.
#[test]
fn root_older_buns() {
    if is_root() && is_extended() {
        bun_talks("bun-x64-1.1.30");
        bun_talks("bun-x64-1.0.36");
    }
}

/// node stripped, which keeps what it exports, and then without those names too: only the structure of
/// its OpenSSL is left to find it by.
#[test]
fn root_node_without_names() {
    if is_root() {
        let node = require!(sample("node-x64-20")).path;
        let dir = tempfile::tempdir().unwrap();
        let stripped = require!(stripped(&node, dir.path()));
        javascript_posts("node 20, stripped", &stripped, FETCH);
        let nameless = without_names(&stripped, &dir);
        javascript_posts("node 20 without names", &nameless, FETCH);
    }
}

/// The same with OpenSSL 1.0.2, 1.1.1 and the 3.x that came last.
#[test]
fn root_other_nodes_without_names() {
    if !is_root() || !is_extended() {
        return;
    }
    for name in ["node-x64-8", "node-x64-12", "node-x64-16", "node-x64-26"] {
        let node = require!(sample(name)).path;
        let dir = tempfile::tempdir().unwrap();
        let stripped = require!(stripped(&node, dir.path()));
        let nameless = without_names(&stripped, &dir);
        javascript_posts(&format!("{name} without names"), &nameless, HTTPS);
    }
}

/// A copy whose symbols can't be told from any others.
fn without_names(file: &Path, dir: &tempfile::TempDir) -> PathBuf {
    let mut bytes = std::fs::read(file).unwrap();
    let is_ssl = |name: &[u8]| {
        let found = |part| memchr::memmem::find(name, part).is_some();
        found(b"SSL_") || found(b"ssl_")
    };
    assert!(scramble::names(&mut bytes, &is_ssl) > 100);
    let copy = temp_file(dir, "nameless", &bytes);
    std::fs::set_permissions(&copy, std::fs::metadata(file).unwrap().permissions()).unwrap();
    assert_nameless(&copy);
    copy
}

/// The agent itself asks a local server, and prints its answer.
#[test]
fn root_claude_code() {
    if !is_root() || !is_extended() {
        return;
    }
    let claude = require!(sample("claude-code-x64"));
    let peer = require!(Peer::start("llm"));
    assert_nameless(&claude.path);
    let capture = Capture::start(&claude.path, &[]);
    let mut command = peer.command(&claude.path);
    command
        .args(["-p", "hi"])
        .env("ANTHROPIC_API_KEY", "not-a-real-key")
        .env("ANTHROPIC_BASE_URL", peer.url())
        .env("NODE_EXTRA_CA_CERTS", peer.cert())
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_TMPDIR", peer.dir())
        .env("DISABLE_AUTOUPDATER", "1")
        .env("DISABLE_TELEMETRY", "1");
    let (_, out) = peer.run(&mut command);
    let answer = String::from_utf8(out.stdout).unwrap();
    assert!(answer.contains("`parse_port`"), "{answer}");
    let captured = capture.stop();
    assert_crosswise("Claude Code", &captured, &peer.finish());
    let sent = captured.all_bytes();
    assert!(memchr::memmem::find(&sent, b"POST /v1/messages").is_some());
}

/// A browser reads a page, in a process that its first one starts.
#[test]
fn root_chromium() {
    if !is_root() || !is_extended() {
        return;
    }
    // Debian's; what is in PATH is a script.
    let chromium = PathBuf::from("/usr/lib/chromium/chromium");
    if !chromium.exists() {
        return skip("chromium");
    }
    let peer = require!(Peer::start("files"));
    let page = [
        b"<title>page</title><script src=script.js></script><pre>",
        &noise(500_000)[..],
    ];
    peer.file("page.html", &page.concat());
    peer.file("script.js", b"document.title = 'it ran';");
    let capture = Capture::start(&chromium, &[]);
    let mut command = peer.command(&chromium);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--ignore-certificate-errors", "--user-data-dir=profile"])
        .arg(format!("{}/page.html", peer.url()));
    let (_, out) = peer.run(&mut command);
    assert!(memchr::memmem::find(&out.stdout, b"<title>it ran</title>").is_some());
    let captured = capture.stop();
    assert_crosswise("Chromium", &captured, &peer.finish());
}

/// cargo, which has curl and OpenSSL inside, fetches a crate from a registry.
#[test]
fn root_cargo() {
    if !is_root() || !is_extended() {
        return;
    }
    // Set by cargo test: the toolchain's own file, not rustup's.
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap());
    let peer = require!(Peer::start("files"));
    let dir = tempfile::tempdir().unwrap();
    let cargo = require!(stripped(&cargo, dir.path()));
    assert_nameless(&cargo);
    publish(&peer);
    let capture = Capture::start(&cargo, &[]);
    let mut command = peer.command(&cargo);
    command
        .args(["fetch", "--manifest-path", "user/Cargo.toml"])
        .env("CARGO_HTTP_CAINFO", peer.cert())
        .env("CARGO_HTTP_MULTIPLEXING", "false")
        .env(
            "CARGO_REGISTRIES_LOCAL_INDEX",
            format!("sparse+{}/index/", peer.url()),
        )
        .env("RUSTC", rustc());
    let (pid, _) = peer.run(&mut command);
    let captured = capture.stop_of(pid);
    assert_crosswise("cargo, stripped", &captured, &peer.finish());
    let read = captured.all_bytes();
    assert!(memchr::memmem::find(&read, b"GET /demo-crate.crate HTTP/1.1").is_some());
}

/// The real one, whatever wrapper comes first in PATH.
fn rustc() -> PathBuf {
    let out = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(out.stdout).unwrap().trim()).join("bin/rustc")
}

/// A registry with one crate, and a package that needs it.
fn publish(peer: &Peer) {
    let folder = peer.dir().join("demo-crate-1.0.0");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = "[package]\nname = \"demo-crate\"\nversion = \"1.0.0\"\n";
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/lib.rs"), noise(300_000)).unwrap();
    let crate_file = peer.dir().join("files/demo-crate.crate");
    let status = Command::new("tar")
        .args(["-czf"])
        .arg(&crate_file)
        .arg("demo-crate-1.0.0")
        .current_dir(peer.dir())
        .status()
        .unwrap();
    assert!(status.success());
    let sum = Command::new("sha256sum").arg(&crate_file).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let sum = sum.split(' ').next().unwrap();
    let entry = format!(
        r#"{{"name":"demo-crate","vers":"1.0.0","deps":[],"cksum":"{sum}","features":{{}},"yanked":false}}"#
    );
    peer.file("index/de/mo/demo-crate", entry.as_bytes());
    let config = format!(r#"{{"dl":"{}/{{crate}}.crate","api":null}}"#, peer.url());
    peer.file("index/config.json", config.as_bytes());
    let user = peer.dir().join("user");
    std::fs::create_dir_all(user.join("src")).unwrap();
    let manifest = "[package]\nname = \"user\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\
        [dependencies]\ndemo-crate = { version = \"1\", registry = \"local\" }\n";
    std::fs::write(user.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(user.join("src/lib.rs"), "").unwrap();
}

/// OpenSSL's own file server reads and writes through BIO_f_ssl, which calls no exported function:
/// each byte is seen, and seen once.
#[test]
fn root_s_server_through_bio_f_ssl() {
    if !is_root() {
        return;
    }
    let openssl = require!(program("openssl"));
    let peer = require!(Peer::start("files"));
    let Some(library) = linked_library(&openssl, "libssl.so") else {
        return skip("an openssl that uses libssl.so");
    };
    std::fs::write(peer.dir().join("body.txt"), noise(300_000)).unwrap();
    let capture = Capture::start(&library, &[]);
    let address = format!("127.0.0.1:{SERVER_PORT}");
    let options = ["-key", "key.pem", "-cert", "cert.pem", "-accept", &address];
    let server = peer.serve(&openssl, &[&["s_server", "-WWW"], &options[..]].concat());
    let mut clients = peer.fetch(server.port, &["/body.txt"]);
    clients.extend(peer.fetch(server.port, &["/body.txt"]));
    let pid = server.pid();
    drop(server);
    let captured = capture.stop_of(pid);
    assert_crosswise("openssl s_server -WWW", &captured, &clients);
}

fn linked_library(program: &Path, name: &str) -> Option<PathBuf> {
    let out = Command::new("ldd").arg(program).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let line = text.lines().find(|line| line.contains(name))?;
    let path = line.split_once("=> ")?.1.split(' ').next()?;
    PathBuf::from(path).canonicalize().ok()
}
