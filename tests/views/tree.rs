//! The story of `--view tree`, from deeds that are made for it.

use std::collections::BTreeMap;

use agentsight::deeds::deed::{Deed, Exec, Failure, File, FileKind, Inode, Net, NetKind, What};
use agentsight::sink::{Clock, Sink, Tree};

use crate::made::{self, deed, exec, exit, fork, path};
use crate::spoken;

/// What is printed, without colours.
fn story(deeds: &[Deed]) -> (String, String) {
    let mut out = Vec::new();
    let mut tree = Tree::new(&mut out, Clock::fixed(0));
    for deed in deeds {
        tree.deed(deed).unwrap();
    }
    tree.finish().unwrap();
    tree.flush().unwrap();
    drop(tree);
    let text = String::from_utf8(out).unwrap();
    let text = anstream::adapter::strip_str(&text).to_string();
    let (live, sums) = text.split_once("\n\n").expect("no sums");
    (live.to_owned(), sums.to_owned())
}

/// Lines without their time.
fn untimed(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| line.get(13..).unwrap_or(line))
        .collect()
}

fn opened(name: &str, created: bool) -> What {
    let file = File {
        path: Some(path(name)),
        created,
        ..File::default()
    };
    What::File(FileKind::Open, Box::new(file))
}

fn written(name: &str, bytes: u64, closed: bool) -> What {
    let file = File {
        path: Some(path(name)),
        bytes: Some(bytes),
        calls: Some(1),
        closed,
        ..File::default()
    };
    What::File(FileKind::Write, Box::new(file))
}

fn not_found(name: &str) -> What {
    What::Exec(Box::new(Exec {
        filename: name.to_owned(),
        error: Some(Failure("ENOENT")),
        ..Exec::default()
    }))
}

fn net(kind: NetKind, sent: Option<u64>) -> What {
    let net = Net {
        protocol: "tcp".to_owned(),
        peer: Some("192.0.2.1:443".to_owned()),
        host: Some("example.org".to_owned()),
        sent,
        received: sent.map(|sent| sent * 10_000),
        ..Net::default()
    };
    What::Net(kind, Box::new(net))
}

/// A process stands at the wrong place, or something that it did is missing, told twice, or out of order.
#[test]
fn a_story_is_told_in_order() {
    let deeds = [
        deed(10, 20, not_found("/usr/local/bin/agent")),
        deed(10, 21, exec(&["agent", "do it"])),
        deed(10, 22, fork(11)),
        deed(11, 23, exec(&["sh", "-c", "make > log"])),
        deed(11, 24, opened("/w/log", true)),
        deed(11, 25, fork(12)),
        deed(11, 26, fork(13)),
        deed(13, 27, not_found("/bin/nothing")),
        deed(12, 28, written("/w/log", 5, false)),
        deed(12, 29, written("/w/log", 7, true)),
        deed(12, 30, written("/w/log", 100, true)),
        deed(12, 31, exit(0)),
        deed(13, 32, exit(127)),
        deed(11, 33, net(NetKind::Connect, None)),
        deed(11, 34, net(NetKind::Close, Some(3))),
        deed(11, 35, exit(2)),
    ];
    let (live, sums) = story(&deeds);
    let expected = [
        "10 $ agent 'do it'",
        "├─ 11 $ sh -c 'make > log'",
        "│  ├─ 12 (sh)",
        "│  │  │  writes /w/log (12 B)",
        "│  │  │  writes /w/log (another 100 B)",
        "│  │  │  ended with 0 after 0.031 s",
        "│  ├─ 13 (sh)",
        "│  │  │  could not run /bin/nothing: ENOENT",
        "│  │  │  ended with 127 after 0.032 s",
        "│  │  11: connects to 192.0.2.1:443 (example.org)",
        "│  │  ends with example.org (192.0.2.1:443): 3 B sent, 30.0 KB received",
        "│  │  creates /w/log",
        "│  │  ended with 2 after 0.035 s",
    ];
    assert_eq!(untimed(&live), expected);
    let expected = "\
10 $ agent 'do it'  has not ended
└─ 11 $ sh -c 'make > log'  ended with 2 after 0.035 s: 1 file created, 1 connection, 3 B sent, 30.0 KB received
   ├─ 12 (sh)  ended with 0 after 0.031 s: 112 B written to files
   └─ 13 (sh)  ended with 127 after 0.032 s
";
    assert_eq!(sums, expected);
}

/// A name forges a line, moves the cursor, or turns text around.
#[test]
fn names_are_shown_and_not_obeyed() {
    let evil = "x\u{1b}[2J\u{202e}\n10 $ forged";
    let deeds = [
        deed(10, 20, exec(&["sh", evil])),
        deed(10, 21, opened(evil, true)),
        deed(10, 22, written(evil, 1, true)),
        deed(10, 23, not_found(evil)),
        deed(10, 24, exit(1)),
    ];
    let mut out = Vec::new();
    let mut tree = Tree::new(&mut out, Clock::fixed(0));
    for deed in &deeds {
        tree.deed(deed).unwrap();
    }
    tree.finish().unwrap();
    drop(tree);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("\u{1b}[2J"), "{text:?}");
    assert!(!text.contains('\u{202e}'));
    let (live, sums) = story(&deeds);
    assert_eq!(live.lines().count(), 4, "{live}");
    assert_eq!(sums.lines().count(), 1, "{sums}");
    for line in live.lines().chain(sums.lines()) {
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
}

/// Every kind of deed, with all and with nothing, is taken.
#[test]
fn nothing_is_too_odd() {
    let (live, sums) = story(&made::all());
    assert!(
        live.contains("NOT SEEN: what it does by io_uring"),
        "{live}"
    );
    assert!(sums.starts_with("7 "), "{sums}");
}

/// A tree that is deeper than our own stack, or wider than is remembered: a wrong parent, or memory and time without end.
#[test]
fn deep_and_wide_trees_keep_their_shape() {
    const DEPTH: u32 = 1000;
    const CHILDREN: u32 = 30_000;
    let mut deeds = vec![deed(1, 1, exec(&["root"]))];
    for pid in 1..DEPTH {
        deeds.push(deed(pid, 2, fork(pid + 1)));
    }
    for child in (DEPTH + 1)..=(DEPTH + CHILDREN) {
        deeds.push(deed(DEPTH, 3, fork(child)));
        deeds.push(deed(child, 4, written("/tmp/x", 1, true)));
        deeds.push(deed(child, 5, exit(i32::from(child % 10 == 0))));
    }
    let (live, sums) = story(&deeds);
    let last = live.lines().last().unwrap();
    assert!(last.contains(&format!("({})", DEPTH + 1)), "{last}");
    assert!(live.lines().all(|line| line.len() < 400));
    // Those that are not remembered one by one are remembered in sum.
    let own = |pid: u32| {
        let start = format!("{pid} (sh)");
        let line = sums.lines().find(|line| line.contains(&start));
        line.unwrap_or_else(|| panic!("no {pid}"))
    };
    let parent = own(DEPTH);
    let folded: u32 = parent
        .split_once("and ")
        .and_then(|(_, rest)| rest.split_once(" more processes"))
        .map(|(number, _)| number.parse().unwrap())
        .unwrap();
    let listed = sums.lines().count() as u32;
    assert_eq!(folded + listed, DEPTH + CHILDREN, "{parent}");
    assert!(listed <= 20_001);
    let failed: u32 = parent
        .split(", ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let failed_and_listed = sums
        .lines()
        .filter(|line| line.contains("ended with 1"))
        .count() as u32;
    assert_eq!(failed + failed_and_listed, CHILDREN / 10, "{parent}");
}

/// A process is below one that did not start it, since the pid was used before; or it is above itself.
#[test]
fn parents_are_by_start_and_not_by_pid() {
    let mut again = deed(11, 40, exec(&["again"]));
    again.process.start_ns += 1;
    let mut circle = deed(12, 50, fork(10));
    circle.number = 99;
    let deeds = [
        deed(10, 20, exec(&["first"])),
        deed(10, 21, fork(11)),
        deed(11, 22, exec(&["second"])),
        deed(11, 23, exit(0)),
        again,
        deed(11, 45, fork(12)),
        circle,
        deed(12, 51, exec(&["third"])),
    ];
    let (_, sums) = story(&deeds);
    let places: BTreeMap<_, _> = sums
        .lines()
        .map(|line| {
            let (branches, name) = line.split_once(" $ ").unwrap();
            let name = name.split(' ').next().unwrap();
            (
                name,
                branches.chars().take_while(|c| !c.is_ascii_digit()).count(),
            )
        })
        .collect();
    let expected = BTreeMap::from([("first", 0), ("second", 3), ("again", 0), ("third", 6)]);
    assert_eq!(places, expected, "{sums}");
}

/// What a file of unknown name got is told nevertheless, when nothing more comes.
#[test]
fn what_waits_is_told_at_the_end() {
    let file = File {
        inode: Some(Inode {
            dev: agentsight::deeds::deed::Device(1),
            ino: 42,
            generation: 0,
        }),
        bytes: Some(9),
        calls: Some(1),
        ..File::default()
    };
    let deeds = [
        deed(10, 20, exec(&["sh"])),
        deed(10, 21, What::File(FileKind::Write, Box::new(file))),
    ];
    let mut out = Vec::new();
    let mut tree = Tree::new(&mut out, Clock::fixed(0));
    for deed in &deeds {
        tree.deed(deed).unwrap();
    }
    tree.finish().unwrap();
    // Twice says it once.
    tree.finish().unwrap();
    drop(tree);
    let text = anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string();
    let told = "writes a file that was open before (inode 42) (9 B)";
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert_eq!(text.matches("has not ended").count(), 1, "{text}");
}

/// The conversation is not where the process is that held it, or its sums are not those of the answer.
#[test]
fn calls_stand_below_their_process() {
    let mut out = Vec::new();
    let mut tree = Tree::new(&mut out, Clock::fixed(0));
    tree.deed(&deed(10, 20, exec(&["agent"]))).unwrap();
    tree.deed(&deed(10, 21, fork(11))).unwrap();
    tree.deed(&deed(11, 22, exec(&["helper"]))).unwrap();
    let (_, said) = spoken::call(11);
    assert!(!said.is_empty());
    for said in &said {
        tree.said(said).unwrap();
    }
    tree.deed(&deed(11, 99, exit(0))).unwrap();
    tree.finish().unwrap();
    drop(tree);
    let text = anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string();
    let (live, sums) = text.split_once("\n\n").unwrap();
    let lines = untimed(live);
    let at = |words: &str| {
        let found = lines.iter().position(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("no {words} in\n{live}"))
    };
    let order = [
        at("├─ 11 $ helper"),
        at("│  │  k1 asks openai gpt-4o-mini"),
        at("│  │    user: what is in\\u{1b}[2J a.txt?"),
        at("│  │  k1 answered: tool_calls, 11 tokens in, 7 out"),
        at("│  │    assistant: wants run {\"command\":\"cat a.txt\"}"),
        at("ended with 0"),
    ];
    assert!(order.is_sorted(), "{live}");
    assert!(live.lines().all(|line| !line.contains('\u{1b}')), "{live}");
    assert!(
        sums.contains("└─ 11 $ helper  ended with 0 after 0.099 s: 1 call (11 tokens in, 7 out"),
        "{sums}"
    );
}
