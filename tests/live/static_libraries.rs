//! Python packages with OpenSSL or BoringSSL inside of a stripped shared object: all bytes that pass are
//! those that the other end, or the script itself, wrote and read.
//!
//! Large, and for `scripts/test --extended`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::capture::{Capture, Captured};
use crate::peer::{Peer, assert_crosswise, noise};
use crate::support::require;
use crate::{assert_nameless, is_extended, is_root, program, wheels};

/// A Python script of ours with packages of others, in the peer's folder.
fn python(peer: &Peer, wheels: &Path, script: &str, arguments: &[&str]) -> Option<Command> {
    std::fs::write(peer.dir().join("script.py"), script).unwrap();
    let mut command = peer.command(&program("python3")?);
    command
        .arg("script.py")
        .args(arguments)
        .env("PYTHONPATH", wheels);
    Some(command)
}

const PYOPENSSL_PAIR: &str = r#"
import socket, threading
from OpenSSL import SSL

def connection(side, end):
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_file("cert.pem")
    context.use_privatekey_file("key.pem")
    return SSL.Connection(context, end)

ends = socket.socketpair()
server, client = (connection(*pair) for pair in zip(("server", "client"), ends))
server.set_accept_state()
client.set_connect_state()
question = b"".join(b"question %d, " % n for n in range(20000))
answer = b"".join(b"answer %d, " % n for n in range(100000))

def read(connection, length, log):
    data = b""
    while len(data) < length:
        data += connection.recv(70000)
    open(log, "wb").write(data)
    return data

def serve():
    read(server, len(question), "0.read")
    server.sendall(answer)

thread = threading.Thread(target=serve)
thread.start()
client.sendall(question)
assert read(client, len(answer), "0.written") == answer
thread.join()
"#;

/// OpenSSL in the shared object of Python's `cryptography`: both ends in one process.
#[test]
fn root_cryptography() {
    if !is_root() || !is_extended() {
        return;
    }
    let wheels = require!(wheels::installed());
    let peer = require!(Peer::start("files"));
    let library = wheels::library(&wheels, "cryptography/hazmat/bindings", "_rust.");
    assert_nameless(&library);
    let capture = Capture::start(&library, &[]);
    let mut command = python(&peer, &wheels, PYOPENSSL_PAIR, &[]).unwrap();
    let (pid, _) = peer.run(&mut command);
    let captured = capture.stop_of(pid);
    // The server's log; the client's is the same crosswise.
    let served = peer.finish();
    let both: Vec<_> = served
        .iter()
        .flat_map(|(written, read)| {
            [
                (written.clone(), read.clone()),
                (read.clone(), written.clone()),
            ]
        })
        .collect();
    assert_crosswise("pyOpenSSL, both ends", &captured, &both);
}

const CURL_CFFI_CLIENT: &str = r#"
import sys, curl_cffi
answer = curl_cffi.post(sys.argv[1], verify="cert.pem", http_version="v1",
                        headers={"expect": ""}, data=b"0123456789" * 30000)
assert answer.status_code == 204, answer.status_code
answer = curl_cffi.get(sys.argv[1], verify="cert.pem", http_version="v1")
assert len(answer.content) >= 2000000, len(answer.content)
"#;

/// BoringSSL in the shared object of curl_cffi, which imitates a browser.
#[test]
fn root_curl_cffi() {
    if !is_root() || !is_extended() {
        return;
    }
    let wheels = require!(wheels::installed());
    let peer = require!(Peer::start("files"));
    peer.file("body", &noise(2_000_000));
    let library = wheels::library(&wheels, "curl_cffi", "_wrapper.");
    assert_nameless(&library);
    let capture = Capture::start(&library, &[]);
    let url = format!("{}/body", peer.url());
    let mut command = python(&peer, &wheels, CURL_CFFI_CLIENT, &[&url]).unwrap();
    let (pid, _) = peer.run(&mut command);
    let captured = capture.stop_of(pid);
    assert_crosswise("curl_cffi", &captured, &peer.finish());
}

/// The same library with its error calls telling other files and reasons, so that `SSL_write` cannot be
/// found: its records are watched instead, at medium confidence, and tell the same bytes.
#[test]
fn root_curl_cffi_record_by_record() {
    if !is_root() || !is_extended() {
        return;
    }
    let wheels = require!(wheels::installed());
    let folder = unrecognisable(&wheels);
    let library = wheels::library(folder.path(), "curl_cffi", "_wrapper.");
    let peer = require!(Peer::start("files"));
    peer.file("body", &noise(2_000_000));
    let capture = Capture::start(&library, &[]);
    let url = format!("{}/body", peer.url());
    let mut command = python(&peer, folder.path(), CURL_CFFI_CLIENT, &[&url]).unwrap();
    let (pid, _) = peer.run(&mut command);
    let captured = capture.stop_of(pid);
    for conn in captured.conns.values() {
        let functions = ["boringssl::seal_scatter", "boringssl::open_gather"];
        assert_eq!(conn.functions, functions);
        assert_eq!(conn.joined_by, "bytes");
    }
    assert_crosswise("curl_cffi, its records", &captured, &peer.finish());
}

/// A copy of the packages in which curl_cffi's error calls say nothing that is known.
fn unrecognisable(wheels: &Path) -> tempfile::TempDir {
    const REASONS: [u8; 4] = [66, 134, 194, 215];
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(wheels).unwrap().flatten() {
        let name = entry.file_name();
        if name != "curl_cffi" {
            std::os::unix::fs::symlink(entry.path(), folder.path().join(name)).unwrap();
        }
    }
    let from = wheels.join("curl_cffi");
    let mut copy = Command::new("cp");
    let copied = copy.arg("-r").arg(from).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    let path = wheels::library(folder.path(), "curl_cffi", "_wrapper.");
    let mut bytes = std::fs::read(&path).unwrap();
    let mut replace = |from: &[u8], to: &[u8]| {
        let places: Vec<_> = memchr::memmem::find_iter(&bytes, from).collect();
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    };
    replace(b"ssl_lib.cc", b"xxx_lib.cc");
    replace(b"s3_pkt.cc", b"xx_pkt.cc");
    // `mov r32, imm32` into the registers of arguments.
    for register in [0xb9, 0xba, 0xbe, 0xbf] {
        for reason in REASONS {
            let load = |low: u8| [register, low, 0, 0, 0];
            replace(&load(reason), &load(reason + 7));
        }
        replace(&[register, 226, 0, 0, 0], &[register, 233, 0, 0, 0]);
        replace(&[register, 35, 1, 0, 0], &[register, 42, 1, 0, 0]);
    }
    std::fs::write(&path, bytes).unwrap();
    folder
}

const GRPC_PAIR: &str = r#"
import grpc
from concurrent import futures

cert, key = (open(name, "rb").read() for name in ("cert.pem", "key.pem"))

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda question, context: question[::-1] * 2)

server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Handler()])
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
server.start()
with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(cert)) as channel:
    call = channel.unary_unary("/demo.Demo/Reverse")
    for n in range(5):
        question = b"%d question " % n * 5000
        answer = call(question)
        assert answer == question[::-1] * 2
        for stream, message in ("written", question), ("read", answer):
            # gRPC's own head of a message: not compressed, and its length.
            with open(stream, "ab") as log:
                log.write(b"\0" + len(message).to_bytes(4, "big") + message)
server.stop(0).wait()
"#;

/// BoringSSL, built with gcc, in the shared object of gRPC for Python: both ends in one process agree,
/// and HTTP/2's data frames hold what the client sent and got.
#[test]
fn root_grpcio() {
    if !is_root() || !is_extended() {
        return;
    }
    let wheels = require!(wheels::installed());
    let peer = require!(Peer::start("files"));
    let library = wheels::library(&wheels, "grpc/_cython", "cygrpc.");
    assert_nameless(&library);
    let capture = Capture::start(&library, &[]);
    let mut command = python(&peer, &wheels, GRPC_PAIR, &[]).unwrap();
    let (pid, _) = peer.run(&mut command);
    let captured = capture.stop_of(pid);
    captured.assert_whole();
    let streams = captured.streams();
    let sizes: Vec<_> = streams.iter().map(|(w, r)| (w.len(), r.len())).collect();
    eprintln!("grpcio: (written, read) seen {sizes:?}");
    assert_eq!(streams.len(), 2, "{sizes:?}: {}", captured.stderr);
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let client = streams
        .iter()
        .find(|(written, _)| written.starts_with(PREFACE));
    let server = streams.iter().find(|(_, read)| read.starts_with(PREFACE));
    let (client, server) = (client.unwrap(), server.unwrap());
    let log = |name: &str| std::fs::read(peer.dir().join(name)).unwrap();
    assert!(http2_data(&client.0[PREFACE.len()..]) == log("written"));
    assert!(http2_data(&client.1) == log("read"));
    assert_calls(&captured, messages(&log("written")));
    // When the process ends, one end may not read the other's last words any more.
    assert!(client.0.starts_with(&server.1), "{sizes:?}");
    assert!(server.0.starts_with(&client.1), "{sizes:?}");
}

/// Both ends of each call, with one message each way and gRPC's own word that it went well.
fn assert_calls(captured: &Captured, count: usize) {
    assert!(count > 0);
    for role in ["client", "server"] {
        let halves = |kind: &str| -> Vec<&Value> {
            let lines = captured.lines.iter();
            let halves = lines.filter(|line| line["type"] == kind && line["role"] == role);
            halves.collect()
        };
        let (requests, responses) = (halves("http.request"), halves("http.response"));
        assert_eq!((requests.len(), responses.len()), (count, count), "{role}");
        for half in requests.iter().chain(&responses) {
            assert_eq!(half["grpc_messages"], 1, "{half}");
            assert_eq!(half["outcome"], "complete", "{half}");
            assert!(half["incomplete"].is_null(), "{half}");
        }
        for request in requests {
            assert_eq!(request["target"], "/demo.Demo/Reverse");
        }
        for response in responses {
            let mut trailers = response["trailers"].as_array().unwrap().iter();
            assert!(trailers.any(|field| field["name"] == "grpc-status" && field["value"] == "0"));
        }
    }
}

/// How many messages the script wrote.
fn messages(mut log: &[u8]) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = log.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        log = &rest[length as usize..];
        count += 1;
    }
    count
}

/// What the DATA frames of one direction carry (RFC 9113, sections 4.1 and 6.1; no padding).
fn http2_data(stream: &[u8]) -> Vec<u8> {
    let (mut data, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        let (kind, flags) = (rest[3], rest[4]);
        if kind == 0 {
            assert_eq!(flags & 8, 0, "padded");
            data.extend(&rest[9..9 + length]);
        }
        rest = &rest[9 + length..];
    }
    data
}
