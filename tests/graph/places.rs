//! Tool call → file and host, and files that are run or read later.

use agentsight::deeds::deed::{Exec, File, FileKind, What};
use agentsight::dialog::said::Body;
use agentsight::dialog::{HttpRequest, What as Words};
use agentsight::graph::{Confidence, Kind};
use agentsight::proto::{Fields, Outcome};
use serde_json::{Value, json};

use crate::scene::{AGENT, Scene, exact, inode, likely, path, process};

fn touched(arguments: Value, at: &str) -> Option<Confidence> {
    let mut scene = Scene::default();
    scene.want(&[("t1", "anything", arguments)]);
    scene.write(AGENT, at, 5);
    let told = scene.told(Kind::Touches);
    assert!(told.len() <= 1, "one edge for one file");
    let (from, to, confidence) = told.into_iter().next()?;
    assert_eq!((from.as_str(), to.as_str()), ("tool:k1/t1", "file:8:1:5"));
    Some(confidence)
}

/// Paths as agents give them.
#[test]
fn files_are_known_by_their_paths() {
    let patch = "*** Begin Patch\n*** Update File: src/a.rs\n@@\n-x\n+y\n*** End Patch";
    for (arguments, at) in [
        (
            json!({"file_path": "/etc/motd", "content": "x"}),
            "/etc/motd",
        ),
        (json!({"path": "notes.txt"}), "/home/me/notes.txt"),
        (json!({"path": "../you/./notes.txt"}), "/home/you/notes.txt"),
        (
            json!({"edits": [{"target_file": "src//a.rs"}]}),
            "/home/me/src/a.rs",
        ),
        (json!({"input": patch}), "/home/me/src/a.rs"),
        (json!(patch), "/home/me/src/a.rs"),
        (json!({"uri": "file:///etc/motd"}), "/etc/motd"),
    ] {
        assert_eq!(
            touched(arguments.clone(), at),
            Some(Confidence::Exact),
            "{arguments} {at}"
        );
    }
    // /var/run is a link on most machines.
    let linked = touched(
        json!({"path": "/var/run/app/state/x.pid"}),
        "/run/app/state/x.pid",
    );
    assert_eq!(linked, Some(Confidence::Likely));
}

/// The same name elsewhere is another file.
#[test]
fn other_files_are_not_taken_for_it() {
    for (arguments, at) in [
        (json!({"path": "notes.txt"}), "/home/you/notes.txt"),
        (json!({"path": "src/a.rs"}), "/home/you/src/a.rs"),
        (json!({"file_path": "/etc/motd"}), "/etc/motd.bak"),
        (json!({"file_path": "/etc/motd"}), "/x/etc/motd"),
        (json!({"content": "notes.txt"}), "/home/me/notes.txt"),
        (json!({"content": "see /etc/motd"}), "/etc/motd"),
    ] {
        assert_eq!(touched(arguments.clone(), at), None, "{arguments} {at}");
    }
}

/// Before the answer, after the result, or by somebody else: not the tool call's.
#[test]
fn files_have_their_time_and_lineage() {
    let mut scene = Scene::default();
    scene.write(AGENT, "/etc/motd", 5);
    scene.want(&[("t1", "Write", json!({"file_path": "/etc/motd"}))]);
    scene.write(process(7), "/etc/motd", 5);
    scene.ask(AGENT, &[("t1", "ok")]);
    scene.write(AGENT, "/etc/motd", 5);
    assert_eq!(scene.told(Kind::Touches), []);
}

/// Agents write beside a file, and rename then: the file is the one that was written.
#[test]
fn a_rename_takes_the_file_with_it() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Write", json!({"file_path": "/etc/motd"}))]);
    scene.write(AGENT, "/etc/motd.tmp.1", 5);
    let rename = File {
        path: Some(path("/etc/motd.tmp.1")),
        to: Some(path("/etc/motd")),
        ..File::default()
    };
    scene.file(AGENT, FileKind::Rename, rename);
    assert_eq!(
        scene.told(Kind::Touches),
        [exact("tool:k1/t1", "file:8:1:5")]
    );
    let file = scene.graph().node("file:8:1:5").unwrap().thing.name();
    assert_eq!(file, "/etc/motd");
}

/// Two that name one file: none is certain.
#[test]
fn twins_are_never_exact() {
    let mut scene = Scene::default();
    let write = json!({"file_path": "/etc/motd"});
    scene.want(&[("t1", "Edit", write.clone()), ("t2", "Edit", write)]);
    scene.write(AGENT, "/etc/motd", 5);
    let told = [
        likely("tool:k1/t1", "file:8:1:5"),
        likely("tool:k1/t2", "file:8:1:5"),
    ];
    assert_eq!(scene.told(Kind::Touches), told);
}

fn reached(arguments: Value, peer: &str, host: Option<&str>) -> usize {
    let mut scene = Scene::default();
    scene.want(&[("t1", "anything", arguments)]);
    scene.connect(AGENT, peer, host);
    let told = scene.told(Kind::Reaches);
    assert!(
        told.iter()
            .all(|(.., confidence)| *confidence == Confidence::Exact)
    );
    told.len()
}

/// Hosts in URLs and fields, by name and by address; and what is another host, or another port.
#[test]
fn hosts_are_known_by_name_and_address() {
    let url = json!({"url": "https://me@Docs.Example:8443/a?b#c"});
    assert_eq!(
        reached(url.clone(), "10.0.0.1:8443", Some("docs.example")),
        1
    );
    assert_eq!(
        reached(url.clone(), "10.0.0.1:443", Some("docs.example")),
        0
    );
    assert_eq!(reached(url.clone(), "10.0.0.1:8443", Some("example")), 0);
    assert_eq!(reached(url, "10.0.0.1:8443", None), 0);
    assert_eq!(reached(json!({"host": "10.0.0.1"}), "10.0.0.1:22", None), 1);
    assert_eq!(
        reached(
            json!({"url": "http://[2001:db8::1]:80/"}),
            "[2001:db8::1]:80",
            None
        ),
        1
    );
    assert_eq!(
        reached(
            json!({"prompt": "read https://a.example/x, then stop"}),
            "10.0.0.1:443",
            Some("a.example")
        ),
        1
    );
    assert_eq!(
        reached(
            json!({"prompt": "a.example"}),
            "10.0.0.1:443",
            Some("a.example")
        ),
        0
    );
}

/// What the program of a tool call does is of that one alone, whoever else names the same.
#[test]
fn places_of_a_tool_calls_program() {
    let mut scene = Scene::default();
    let curl = "curl -s http://a.example/ -o /tmp/x";
    scene.want(&[
        (
            "t1",
            "Bash",
            json!({"command": curl, "file_path": "/tmp/x"}),
        ),
        ("t2", "Fetch", json!({"url": "http://a.example/"})),
    ]);
    scene.child(200, &["bash", "-c", curl]);
    scene.connect(process(200), "10.0.0.1:80", Some("b.example"));
    scene.connect(process(200), "10.0.0.2:80", Some("a.example"));
    scene.write(process(200), "/tmp/x", 5);
    scene.write(process(200), "/tmp/y", 6);
    assert_eq!(
        scene.told(Kind::Reaches),
        [exact("tool:k1/t1", "host:a.example")]
    );
    assert_eq!(
        scene.told(Kind::Touches),
        [exact("tool:k1/t1", "file:8:1:5")]
    );
    // Its result was told: it goes on, but in nobody's time.
    scene.ask(AGENT, &[("t1", "ok")]);
    scene.write(process(200), "/tmp/x", 7);
    assert_eq!(scene.told(Kind::Touches).len(), 1);
}

/// A name that is asked for is on the way to the host; once its result is told, that is over.
#[test]
fn names_that_are_asked_for_count() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Fetch", json!({"url": "https://a.example/"}))]);
    scene.dns(AGENT, "b.example");
    scene.dns(AGENT, "a.example");
    scene.connect(AGENT, "10.0.0.1:443", Some("a.example"));
    assert_eq!(
        scene.told(Kind::Reaches),
        [exact("tool:k1/t1", "host:a.example")]
    );
    scene.ask(AGENT, &[("t1", "ok")]);
    scene.want(&[]);
    scene.connect(AGENT, "10.0.0.1:443", Some("a.example"));
    assert_eq!(scene.told(Kind::Reaches).len(), 1);
}

fn run_file(
    scene: &mut Scene,
    process: agentsight::event::ProcessId,
    at: &str,
    ino: u64,
) -> String {
    let exec = Exec {
        args: vec![at.to_owned()],
        exe: Some(path(at)),
        exe_file: Some(inode(ino)),
        ..Exec::default()
    };
    scene.deed(process, What::Exec(Box::new(exec)))
}

/// What was written is run by its inode: the same path with another inode is another file.
#[test]
fn written_files_that_are_run() {
    let mut scene = Scene::default();
    scene.write(AGENT, "/tmp/x", 5);
    scene.fork(AGENT, process(200));
    run_file(&mut scene, process(200), "/tmp/x", 6);
    assert_eq!(scene.told(Kind::RunBy), []);
    let event = run_file(&mut scene, process(200), "/elsewhere", 5);
    assert_eq!(scene.told(Kind::RunBy), [exact("file:8:1:5", &event)]);
}

/// Scripts have a path and no inode: what was written there, and is there still, is likely it.
#[test]
fn written_scripts_that_are_run() {
    let script = |at: &str| {
        What::Exec(Box::new(Exec {
            args: vec![at.to_owned()],
            script: Some(path(at)),
            interpreter: Some("/bin/sh".to_owned()),
            ..Exec::default()
        }))
    };
    let mut scene = Scene::default();
    scene.write(AGENT, "/tmp/x.tmp", 5);
    // Renamed in a way that tells no path of its own, and seen there.
    let there = |ino| File {
        path: Some(path("/tmp/x")),
        inode: Some(inode(ino)),
        flags: vec!["read"],
        ..File::default()
    };
    scene.file(AGENT, FileKind::Open, there(5));
    let event = scene.deed(process(200), script("/tmp/x"));
    scene.deed(process(200), script("/tmp/y"));
    let gone = File {
        path: Some(path("/tmp/x")),
        ..File::default()
    };
    scene.file(AGENT, FileKind::Unlink, gone);
    scene.deed(process(200), script("/tmp/x"));
    assert_eq!(scene.told(Kind::RunBy), [likely("file:8:1:5", &event)]);
}

/// Reading what another process wrote, by its inode; one's own, and another inode, are nothing.
#[test]
fn written_files_that_are_read() {
    let mut scene = Scene::default();
    scene.write(AGENT, "/tmp/x", 5);
    let read = |ino| File {
        path: Some(path("/tmp/x")),
        inode: Some(inode(ino)),
        flags: vec!["read"],
        ..File::default()
    };
    scene.file(AGENT, FileKind::Open, read(5));
    scene.file(process(200), FileKind::Open, read(6));
    assert_eq!(scene.told(Kind::ReadBy), []);
    scene.file(process(200), FileKind::Open, read(5));
    // It is told once.
    scene.file(process(200), FileKind::Open, read(5));
    assert_eq!(scene.told(Kind::ReadBy), [exact("file:8:1:5", "p200.200")]);
}

/// A request on a connection that is open already has no connect: it names its host.
#[test]
fn requests_name_their_hosts() {
    let request = |authority: &str| {
        Words::Request(Box::new(HttpRequest {
            version: "HTTP/1.1",
            method: Some("GET".to_owned()),
            target: Some("/".to_owned()),
            authority: Some(authority.to_owned()),
            fields: Fields::default(),
            trailers: Fields::default(),
            body: Body::default(),
            began_ns: 0,
            outcome: Outcome::Complete,
            incomplete: Vec::new(),
        }))
    };
    let mut scene = Scene::default();
    scene.want(&[("t1", "Fetch", json!({"url": "https://a.example/x"}))]);
    scene.say(AGENT, request("api.example"));
    scene.say(process(7), request("a.example"));
    assert_eq!(scene.told(Kind::Reaches), []);
    scene.say(AGENT, request("a.example:443"));
    assert_eq!(
        scene.told(Kind::Reaches),
        [exact("tool:k1/t1", "host:a.example")]
    );
}

/// A deed that tells no inode is about the file that was written at its path.
#[test]
fn files_without_an_inode_are_those_at_their_path() {
    let mut scene = Scene::default();
    scene.write(AGENT, "/tmp/x", 5);
    scene.want(&[("t1", "Chmod", json!({"path": "/tmp/x"}))]);
    let named = File {
        path: Some(path("/tmp/x")),
        ..File::default()
    };
    scene.file(AGENT, FileKind::Chmod, named);
    assert_eq!(
        scene.told(Kind::Touches),
        [exact("tool:k1/t1", "file:8:1:5")]
    );
}
