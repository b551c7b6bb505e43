//! What the decoder of WebSockets tells is what real peers say: tungstenite at both ends, and the `websockets` package of
//! Python, at both ends too, for compression.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use agentsight::proto::fuzz::Sense;
use agentsight::proto::item::WebSocketKind;
use agentsight::proto::{Connection, Decoder, Item, Limits, Party};
use support::{Random, require, skip};
use tungstenite::{Message, WebSocket};

/// What passed, in order. The client is the observed process.
type Passed = Arc<Mutex<Vec<(Party, Vec<u8>)>>>;

/// A message, as a peer or the decoder says it.
type Said = (Party, WebSocketKind, Vec<u8>);

fn pump(from: Party, mut read: TcpStream, mut write: TcpStream, passed: &Passed) {
    let mut room = vec![0; 64 << 10];
    while let Ok(count @ 1..) = read.read(&mut room) {
        passed.lock().unwrap().push((from, room[..count].to_vec()));
        if write.write_all(&room[..count]).is_err() {
            break;
        }
    }
    let _ = write.shutdown(Shutdown::Write);
}

/// Takes one connection, hands it on to `port`, and keeps all that passes.
fn tap(listener: &TcpListener, port: u16) -> Passed {
    let (near, _) = listener.accept().unwrap();
    let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let passed = Passed::default();
    let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| pump(Party::Local, near, far, &passed));
        scope.spawn(|| pump(Party::Peer, far_too, near_too, &passed));
    });
    passed
}

fn local() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// What the decoder tells, of one cut into pieces of at most `max` bytes.
fn decode(passed: &[(Party, Vec<u8>)], max: usize) -> Vec<Said> {
    let mut connection = Connection::new(Limits::default(), true);
    let mut sense = Sense::default();
    let mut said = Vec::new();
    let mut random = Random(max as u64);
    let mut out = |item: Item<'_>| {
        sense.check(&item);
        match item {
            Item::WebSocket { from, message, .. } => {
                assert_eq!(message.missing, None);
                said.push((from, message.kind, message.bytes.to_vec()));
            }
            Item::Unrecognised { .. } | Item::Gap { .. } => panic!("{item:?}"),
            _ => {}
        }
    };
    for (party, bytes) in passed {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(max)).min(rest.len()));
            connection.data(*party, 0, piece, &mut out);
            rest = behind;
        }
    }
    for party in [Party::Local, Party::Peer] {
        connection.end(party, 0, &mut out);
    }
    sense.finish();
    said
}

fn of(party: Party, said: &[Said]) -> Vec<Said> {
    let of = said.iter().filter(|(from, _, _)| *from == party);
    of.cloned().collect()
}

fn kind(message: &Message) -> Option<(WebSocketKind, Vec<u8>)> {
    let bytes = message.clone().into_data().to_vec();
    match message {
        Message::Text(_) => Some((WebSocketKind::Text, bytes)),
        Message::Binary(_) => Some((WebSocketKind::Binary, bytes)),
        Message::Ping(_) => Some((WebSocketKind::Ping, bytes)),
        Message::Pong(_) => Some((WebSocketKind::Pong, bytes)),
        Message::Close(frame) => {
            let code = frame.as_ref().map(|frame| u16::from(frame.code));
            let reason = frame.as_ref().map(|frame| frame.reason.as_bytes().to_vec());
            Some((WebSocketKind::Close(code), reason.unwrap_or_default()))
        }
        Message::Frame(_) => None,
    }
}

/// Sends messages, and reads until the end. Gives what was read.
fn chat(socket: &mut WebSocket<TcpStream>, random: &mut Random, is_client: bool) -> Vec<Message> {
    let mut read = Vec::new();
    for number in 0..60 {
        let len = *random.pick(&[0, 5, 125, 126, 700, 65_535, 65_536, 70_000]);
        let message = match random.below(4) {
            0 => Message::Binary((0..len).map(|n| (n * 7) as u8).collect::<Vec<_>>().into()),
            1 => Message::Ping(vec![b'p'; len.min(125)].into()),
            _ => Message::text(format!("{number} {}", "é".repeat(len / 2))),
        };
        socket.send(message).unwrap();
        // The other side does the same: reading in turn keeps buffers from filling.
        read.push(socket.read().unwrap());
    }
    if is_client {
        socket.close(None).unwrap();
    }
    while let Ok(message) = socket.read() {
        read.push(message);
    }
    read
}

/// Messages of a real WebSocket are told otherwise than they were read by the other side.
#[test]
fn tungstenite_reads_the_same() {
    let (server_listener, server_port) = local();
    let (tap_listener, tap_port) = local();
    let (passed, by_client, by_server) = thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (stream, _) = server_listener.accept().unwrap();
            let mut socket = tungstenite::accept(stream).unwrap();
            chat(&mut socket, &mut Random(1), false)
        });
        let client = scope.spawn(|| {
            let stream = TcpStream::connect(("127.0.0.1", tap_port)).unwrap();
            let url = format!("ws://127.0.0.1:{tap_port}/chat");
            let (mut socket, _) = tungstenite::client(url, stream).unwrap();
            chat(&mut socket, &mut Random(2), true)
        });
        let passed = tap(&tap_listener, server_port);
        (passed, client.join().unwrap(), server.join().unwrap())
    });
    let passed = passed.lock().unwrap();
    for max in [1 << 20, 1, 5000] {
        let said = decode(&passed, max);
        for (from, read) in [(Party::Local, &by_server), (Party::Peer, &by_client)] {
            let read = read.iter().filter_map(kind);
            let read: Vec<_> = read.map(|(kind, bytes)| (from, kind, bytes)).collect();
            assert!(read.len() > 60, "{}", read.len());
            // What is sent behind the other's close is not read any more.
            let said = of(from, &said);
            assert!(said.len() <= read.len() + 1);
            assert_eq!(said[..read.len()], read, "{from:?}, pieces of {max}");
        }
    }
}

/// The `websockets` package, in a place of its own.
fn python() -> Option<std::path::PathBuf> {
    let folder = support::sample_cache()?.with_file_name("python-websockets");
    let python = folder.join("bin/python");
    let works = |python: &std::path::Path| {
        let mut import = Command::new(python);
        let output = import.args(["-c", "import websockets"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    if works(&python) {
        return Some(python);
    }
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&folder)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        return skip("python3 with venv");
    }
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "-q", "websockets"])
        .output();
    match pip {
        Ok(output) if output.status.success() && works(&python) => Some(python),
        _ => skip("the Python package websockets (from PyPI)"),
    }
}

/// Compressed messages of a real client and server are told otherwise than these read them, with and without windows that
/// are kept, and with small windows.
#[test]
fn websockets_of_python_reads_the_same() {
    let python = require!(python());
    let script = support::repository().join("tests/websocket_peer.py");
    for options in [
        "",
        "server_no client_no",
        "bits=9",
        "client_no bits=12",
        "off",
    ] {
        let (tap_listener, tap_port) = local();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ready = folder.path().join("port");
        let mut peer = Command::new(&python)
            .arg(&script)
            .args([&ready, &log])
            .args([tap_port.to_string(), options.to_owned()])
            .spawn()
            .unwrap();
        let port = loop {
            let text = std::fs::read_to_string(&ready).unwrap_or_default();
            if let Some(port) = text.strip_suffix('\n') {
                break port.parse().unwrap();
            }
            assert_eq!(peer.try_wait().unwrap(), None, "{options}");
            thread::sleep(std::time::Duration::from_millis(20));
        };
        let passed = tap(&tap_listener, port);
        assert!(peer.wait().unwrap().success(), "{options}");
        let passed = passed.lock().unwrap();
        let wire: Vec<u8> = passed.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let agreed = memchr::memmem::find(&wire, b"permessage-deflate").is_some();
        assert_eq!(agreed, options != "off");
        let read = read_log(&log);
        for max in [1 << 20, 1, 700] {
            let said = decode(&passed, max);
            for from in [Party::Local, Party::Peer] {
                let read = of(from, &read);
                assert!(read.len() >= 40, "{}", read.len());
                let mut said = of(from, &said);
                said.retain(|(_, kind, _)| {
                    matches!(kind, WebSocketKind::Text | WebSocketKind::Binary)
                });
                assert_eq!(said, read, "{options}, {from:?}, pieces of {max}");
            }
        }
    }
}

/// What the script writes: a line for each message that was read, with its sender, kind and bytes in hexadecimal.
fn read_log(path: &std::path::Path) -> Vec<Said> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let mut words = line.split(' ');
        let from = match words.next().unwrap() {
            "client" => Party::Local,
            _ => Party::Peer,
        };
        let kind = match words.next().unwrap() {
            "text" => WebSocketKind::Text,
            _ => WebSocketKind::Binary,
        };
        let digits = words.next().unwrap().as_bytes();
        let bytes = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        (from, kind, bytes.collect())
    });
    lines.collect()
}
