//! nghttp2's client and server as real peers, over a TCP proxy that writes down what passes.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentsight::proto::{Fields, Outcome};
use tempfile::TempDir;

use crate::crates::Dice;
use crate::seen::{Capture, Exchange, Seen, decode, pieces};
use crate::skip::skip;
use crate::wire::proxy;

/// A running `nghttpd`, ended with its value.
struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn serve(options: &[&str]) -> Option<Server> {
    for tool in ["nghttp", "nghttpd"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(tool);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(9);
    for (name, size) in [
        ("small", 40),
        ("page", 30_000),
        ("large", 300_000),
        ("empty", 0),
    ] {
        let bytes: Vec<u8> = (0..size).map(|_| dice.below(256) as u8).collect();
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new("nghttpd")
        .args(["--no-tls", "-a", "127.0.0.1", "-d"])
        .arg(folder.path())
        .args(options)
        .arg(port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server {
        child,
        port,
        folder,
    };
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(server);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nghttpd does not listen");
}

/// Runs the client: what has passed, and what it says itself.
fn ask(server: &Server, options: &[&str], paths: &[&str]) -> (Capture, String) {
    let (port, passing) = proxy(server.port);
    let urls = paths
        .iter()
        .map(|path| format!("http://127.0.0.1:{port}/{path}"));
    let output = Command::new("nghttp")
        .arg("-nv")
        .args(options)
        .args(urls)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    (passing.join().unwrap(), said)
}

/// The fields of the streams that the client has opened, as it has received them, in the order of the streams.
fn received(said: &str) -> BTreeMap<u32, Vec<(String, String)>> {
    let mut streams = BTreeMap::<u32, Vec<(String, String)>>::new();
    for line in said.lines() {
        let Some((_, rest)) = line.split_once("recv (stream_id=") else {
            continue;
        };
        let (stream, field) = rest.split_once(") ").unwrap();
        let stream: u32 = stream.split(',').next().unwrap().parse().unwrap();
        let field = field.strip_prefix("sensitive ").unwrap_or(field);
        let colon = 1 + field[1..].find(": ").unwrap();
        if stream % 2 == 1 {
            let field = (field[..colon].to_owned(), field[colon + 2..].to_owned());
            streams.entry(stream).or_default().push(field);
        }
    }
    // What the server promises comes on the stream of the request, too.
    for fields in streams.values_mut() {
        let answer = fields.iter().position(|(name, _)| name == ":status");
        fields.drain(..answer.unwrap());
    }
    streams
}

/// The same as the decoder says it: interim responses, the response, and trailers.
fn answered(exchange: &Exchange) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for response in &exchange.responses {
        all.push((":status".to_owned(), response.status.unwrap().to_string()));
        all.extend(known(&response.fields));
    }
    all.extend(exchange.received.trailers.iter().flat_map(known));
    all
}

fn known(fields: &Fields) -> Vec<(String, String)> {
    let all = fields.0.iter().cloned();
    all.map(|field| (field.name, field.value.unwrap()))
        .collect()
}

fn check(server: &Server, seen: &Seen, said: &str) {
    let received = received(said);
    assert_eq!(seen.exchanges.len(), received.len(), "{said}");
    for (exchange, fields) in seen.exchanges.values().zip(received.values()) {
        assert_eq!(&answered(exchange), fields);
        let request = exchange.request.as_ref().unwrap();
        let file = server
            .folder
            .path()
            .join(&request.target.as_ref().unwrap()[1..]);
        let file = fs::read(file).unwrap();
        let expected = if request.method.as_deref() == Some("POST") {
            &exchange.sent.body
        } else {
            &file
        };
        assert!(&exchange.received.body == expected);
        for half in [&exchange.sent, &exchange.received] {
            assert_eq!((half.end, half.gaps), (Some(Outcome::Complete), 0));
        }
    }
}

/// Clients and servers with padding, small and changing header tables, and many streams, would not be understood.
#[test]
fn downloads_are_seen_as_they_were() {
    let options = [
        "--padding=100",
        "--header-table-size=64",
        "--encoder-header-table-size=300",
    ];
    let Some(server) = serve(&options) else {
        return;
    };
    let changing = [
        "-m",
        "30",
        "--padding=77",
        "--header-table-size=0",
        "--header-table-size=9000",
    ];
    let small = [
        "-m",
        "5",
        "--header-table-size=100",
        "--encoder-header-table-size=70",
        "-H",
        "x-long: yes it is",
    ];
    for options in [&changing[..], &small] {
        let (capture, said) = ask(&server, options, &["small", "page", "large", "empty"]);
        for piece in [usize::MAX, 11] {
            let seen = decode(pieces(&capture), true, piece);
            assert_eq!(seen.unrecognised, []);
            check(&server, &seen, &said);
        }
    }
}

/// Uploads with interim responses, header blocks in several frames, and trailers.
#[test]
fn uploads_are_seen_as_they_were() {
    let Some(server) = serve(&["--echo-upload", "--trailer", "x-check: 42"]) else {
        return;
    };
    let file = server.folder.path().join("large");
    let data = format!("--data={}", file.display());
    let options = [
        &data,
        "--expect-continue",
        "--continuation",
        "--trailer",
        "x-sum: 7",
        "-m",
        "3",
    ];
    let (capture, said) = ask(&server, &options, &["small"]);
    let seen = decode(pieces(&capture), true, usize::MAX);
    assert_eq!(seen.unrecognised, []);
    check(&server, &seen, &said);
    let uploaded = fs::read(&file).unwrap();
    for exchange in seen.exchanges.values() {
        assert!(exchange.sent.body == uploaded);
        assert_eq!(
            exchange.sent.trailers.as_ref().unwrap().get("x-sum"),
            Some("7")
        );
        assert!(
            exchange
                .request
                .as_ref()
                .unwrap()
                .fields
                .0
                .iter()
                .any(|field| field.name.starts_with("continuation"))
        );
    }
}

/// What a server pushes would be taken for the answer to a request, or break the headers of the next one.
#[test]
fn pushes_are_told_and_nothing_else() {
    let Some(server) = serve(&["--push", "/small=/page,/large"]) else {
        return;
    };
    let (capture, said) = ask(&server, &["-m", "4"], &["small", "empty"]);
    let seen = decode(pieces(&capture), true, usize::MAX);
    assert!(
        seen.unrecognised
            .iter()
            .all(|(_, why)| *why == "server push is not followed")
    );
    let pushed: u64 = seen
        .unrecognised
        .iter()
        .map(|(bytes, _)| bytes.unwrap())
        .sum();
    assert!(pushed > 330_000, "{pushed}");
    check(&server, &seen, &said);
}
