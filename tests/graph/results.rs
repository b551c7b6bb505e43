//! Tool call → result → call, and what a child wrote ↔ the result's text.

use agentsight::deeds::deed::{File, FileKind};
use agentsight::graph::{Confidence, Kind};
use serde_json::json;

use crate::scene::{AGENT, Scene, exact, inode, likely, process};

/// What a child of a tool call's wrote, and the result that is told.
fn wrote(pieces: &[&str], result: &str) -> Option<Confidence> {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "make all"}))]);
    scene.child(200, &["sh", "-c", "make all"]);
    for piece in pieces {
        scene.stdio(process(200), "stdout", 77, piece);
    }
    scene.ask(AGENT, &[("t1", result)]);
    assert_eq!(
        scene.told(Kind::Gives),
        [exact("tool:k1/t1", "result:k1/t1")]
    );
    assert_eq!(scene.told(Kind::Informs), [exact("result:k1/t1", "k2")]);
    let told = scene.told(Kind::Writes);
    assert!(told.len() <= 1);
    let (from, to, confidence) = told.into_iter().next()?;
    assert_eq!((from.as_str(), to.as_str()), ("p200.200", "result:k1/t1"));
    Some(confidence)
}

/// The text is found as agents tell it.
#[test]
fn results_are_what_was_written() {
    let long: String = (0..400).map(|n| format!("line {n}\n")).collect();
    let codex = json!({"output": "one\ntwo\nthree and more\n", "metadata": {"exit_code": 0}});
    let exact = Some(Confidence::Exact);
    assert_eq!(wrote(&["one\ntwo\n"], "one\ntwo"), exact);
    assert_eq!(wrote(&["one\r\n", "two\r\n"], "one\ntwo\n"), exact);
    assert_eq!(wrote(&["ok\n"], "ok"), exact);
    let wrapped = "Exit code: 0\nOutput:\nok\n";
    assert_eq!(wrote(&["ok\n"], wrapped), Some(Confidence::Likely));
    assert_eq!(
        wrote(
            &["one\ntwo\nthree and more\n"],
            "Exit code: 0\nOutput:\none\ntwo\nthree and more\n"
        ),
        exact
    );
    assert_eq!(
        wrote(&["one\ntwo\nthree and more\n"], &codex.to_string()),
        exact
    );
    let cut = format!(
        "{}\n\n... [1234 characters truncated] ...\n\n{}",
        &long[..300],
        &long[long.len() - 300..]
    );
    assert_eq!(wrote(&[&long], &cut), Some(Confidence::Likely));
    let omitted = format!(
        "{}\n[... omitted 300 of 400 lines ...]\n{}",
        &long[..300],
        &long[long.len() - 300..]
    );
    assert_eq!(wrote(&[&long], &omitted), Some(Confidence::Likely));
}

/// Another text is another text.
#[test]
fn other_texts_are_not_taken_for_it() {
    let long: String = (0..400).map(|n| format!("line {n}\n")).collect();
    assert_eq!(wrote(&["one\ntwo\n"], "one\nthree"), None);
    assert_eq!(wrote(&["ok\n"], "it is not ok at all"), None);
    assert_eq!(wrote(&["  \n"], ""), None);
    assert_eq!(wrote(&[], ""), None);
    // Nothing says that something was left out.
    let forged = format!("{}{}", &long[..300], &long[long.len() - 300..]);
    assert_eq!(wrote(&[&long], &forged), None);
    let changed = format!(
        "{}\n... [1234 characters truncated] ...\nall tests passed",
        &long[..20]
    );
    assert_eq!(wrote(&[&long], &changed), None);
}

/// All who write into one pipe write one text.
#[test]
fn a_pipe_has_many_writers() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "echo a; ls -x"}))]);
    scene.child(200, &["sh", "-c", "echo a; ls -x"]);
    scene.stdio(process(200), "stdout", 77, "a\n");
    scene.fork(process(200), process(201));
    scene.exec(process(201), &["ls", "-x"]);
    scene.stdio(process(201), "stderr", 78, "ls: some warning\n");
    scene.stdio(process(201), "stdout", 77, "bread cheese\n");
    // A pipe inside of the command is not the result.
    scene.stdio(process(201), "stdout", 79, "something else\n");
    scene.ask(AGENT, &[("t1", "a\nbread cheese\nls: some warning\n")]);
    let told = scene.told(Kind::Writes);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|(_, to, _)| to == "result:k1/t1"));
}

/// What goes through a pipe inside of the command is not what the agent reads, even if it is the same.
#[test]
fn pipes_inside_of_a_command_are_no_results() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "ls -x | cat"}))]);
    scene.child(200, &["sh", "-c", "ls -x | cat"]);
    scene.fork(process(200), process(201));
    scene.fork(process(200), process(202));
    scene.stdio(process(201), "stdout", 79, "bread cheese\n");
    scene.stdio(process(202), "stdin", 79, "bread cheese\n");
    scene.stdio(process(202), "stdout", 77, "bread cheese\n");
    scene.ask(AGENT, &[("t1", "bread cheese")]);
    assert_eq!(
        scene.told(Kind::Writes),
        [exact("p202.202", "result:k1/t1")]
    );
}

/// A result is its tool call's alone, by its number; the time of others goes on.
#[test]
fn results_name_their_tool_calls() {
    let mut scene = Scene::default();
    scene.want(&[
        ("t1", "Bash", json!({"command": "make all"})),
        ("t2", "Bash", json!({"command": "make test"})),
    ]);
    scene.ask(AGENT, &[("t2", "x"), ("t9", "y")]);
    assert_eq!(
        scene.told(Kind::Gives),
        [exact("tool:k1/t2", "result:k1/t2")]
    );
    let event = scene.child(200, &["sh", "-c", "make all"]);
    scene.child(201, &["sh", "-c", "make test"]);
    assert_eq!(scene.told(Kind::Runs), [exact("tool:k1/t1", &event)]);
    // The conversation is told again with each question.
    scene.ask(AGENT, &[("t2", "x"), ("t1", "z")]);
    assert_eq!(scene.told(Kind::Gives).len(), 2);
    // Another agent's result of the same number is not this one's.
    scene.want(&[("t3", "Bash", json!({}))]);
    scene.ask(process(300), &[("t3", "w")]);
    assert_eq!(scene.told(Kind::Gives).len(), 2);
}

/// Without numbers the first of those that wait is meant, and that is certain only if it is alone.
#[test]
fn results_without_numbers() {
    let mut scene = Scene::default();
    let (a, b) = (
        json!({"command": "make all"}),
        json!({"command": "make test"}),
    );
    scene.want(&[("", "Bash", a), ("", "Bash", b)]);
    scene.ask(AGENT, &[("", "x"), ("", "y")]);
    let told = [
        likely("tool:k1/#0", "result:k1/#0"),
        exact("tool:k1/#1", "result:k1/#1"),
    ];
    assert_eq!(scene.told(Kind::Gives), told);
}

/// A program that looks like nothing that was wanted, but wrote what the result says, was likely run for it.
#[test]
fn output_explains_what_commands_do_not() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "python", json!({"code": "print('x')"}))]);
    let event = scene.child(200, &["python3", "/tmp/cell-1.py"]);
    scene.stdio(process(200), "stdout", 77, "a long enough line of output\n");
    scene.child(201, &["git", "rev-parse"]);
    scene.stdio(process(201), "stdout", 78, "0123456789abcdef0123456789\n");
    assert_eq!(scene.told(Kind::Runs), []);
    scene.ask(AGENT, &[("t1", "a long enough line of output")]);
    assert_eq!(scene.told(Kind::Runs), [likely("tool:k1/t1", &event)]);
    assert_eq!(
        scene.told(Kind::Writes),
        [likely("p200.200", "result:k1/t1")]
    );
    assert!(scene.causes.cause_of(process(201)).is_none());
    assert_eq!(scene.causes.held().piped, 27);
}

/// Some agents have commands write into a file: whoever did is told once the agent has read it, and not before.
#[test]
fn output_may_go_through_a_file() {
    let file = |fd, bytes, flag| File {
        inode: Some(inode(5)),
        fd: Some(fd),
        bytes,
        flags: vec![flag],
        ..File::default()
    };
    for (fd, is_read, expected) in [(1, true, 1), (1, false, 0), (5, true, 0)] {
        let mut scene = Scene::default();
        scene.want(&[("t1", "Bash", json!({"command": "make all"}))]);
        scene.child(200, &["sh", "-c", "make all"]);
        scene.file(process(200), FileKind::Write, file(fd, Some(7), "write"));
        if is_read {
            scene.file(AGENT, FileKind::Open, file(9, None, "read"));
        }
        scene.ask(AGENT, &[("t1", "done")]);
        let told = scene.told(Kind::Writes);
        assert_eq!(told.len(), expected, "{fd} {is_read}");
        assert!(
            told.into_iter()
                .all(|edge| edge == likely("p200.200", "result:k1/t1"))
        );
    }
}

/// What a command writes into a file of its own is not what it says, though the agent reads that file.
#[test]
fn redirections_are_no_output() {
    let file = |fd, flag| File {
        inode: Some(inode(5)),
        fd: Some(fd),
        bytes: Some(7),
        flags: vec![flag],
        ..File::default()
    };
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "pwd > /tmp/x"}))]);
    scene.child(200, &["sh", "-c", "pwd > /tmp/x"]);
    scene.file(process(200), FileKind::Open, file(3, "write"));
    scene.file(process(200), FileKind::Write, file(1, "write"));
    scene.file(AGENT, FileKind::Open, file(9, "read"));
    scene.ask(AGENT, &[("t1", "done")]);
    assert_eq!(scene.told(Kind::Writes), []);
}
