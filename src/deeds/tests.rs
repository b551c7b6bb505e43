//! Acts become deeds as the kernel side lays them out; the live tests show that it does.

use super::*;
use crate::event::begun::{Begun, Seen};
use crate::event::process::FileId;
use crate::event::{Comm, wire};

#[test]
fn variables_are_in_order() {
    assert!(
        is_variable_told(b"LD_PRELOAD")
            && is_variable_told(b"ZDOTDIR")
            && is_variable_told(b"BASH_ENV")
    );
    assert!(!is_variable_told(b"OPENAI_API_KEY"));
}

/// The program that a process is told to run by user space.
fn told(begun: &Begun) -> deed::Exec {
    let (mut deeds, records) = (Deeds::default(), begun.records());
    let deeds = records.records().filter_map(|record| {
        let event = wire::decode(record).expect("a record of the kernel side's form");
        deeds.push(&event)
    });
    let mut deeds: Vec<_> = deeds.collect();
    assert_eq!(deeds.len(), 1);
    assert_eq!(deeds[0].process, begun.caller.process);
    match deeds.remove(0).what {
        What::Exec(exec) => *exec,
        other => panic!("{other:?}"),
    }
}

fn begun(seen: Option<Seen>) -> Begun {
    Begun {
        caller: Caller {
            ts_ns: 7,
            process: ProcessId {
                pid: 42,
                start_ns: 5,
            },
            tid: 42,
            comm: Comm(*b"name\0\0\0\0\0\0\0\0\0\0\0\0"),
        },
        exe: FileId([1; 16]),
        was_written: true,
        filename: b"./a b".to_vec(),
        seen,
    }
}

/// What user space tells of a program that had begun would be read as another one.
#[test]
fn late_programs_are_read_as_they_were_found() {
    let words = |word: &[u8], times: usize| [word, b"\0"].concat().repeat(times);
    let seen = Seen {
        exe: b"/usr/bin/x".to_vec(),
        is_deleted: true,
        cwd: b"/".to_vec(),
        interpreter: Some(b"x".to_vec()),
        // More than one record, and more than is told.
        args: words(b"argument", 20_000),
        env: [words(b"OTHER=1", 3), words(b"LD_PRELOAD=\xff", 1)].concat(),
        ids: [1, 2, 3, 4],
        tty: 5,
    };
    let exec = told(&begun(Some(seen.clone())));
    let path = |path: &Option<path::Path>| path.as_ref().map(|path| path.bytes.clone());
    assert!(exec.late && exec.was_written);
    assert_eq!(path(&exec.exe), Some(seen.exe));
    assert!(exec.exe.as_ref().is_some_and(|exe| exe.is_deleted));
    assert_eq!(path(&exec.cwd), Some(seen.cwd));
    assert_eq!(path(&exec.script), Some(b"/a b".to_vec()));
    assert_eq!(exec.interpreter.as_deref(), Some("x"));
    assert_eq!(exec.args[..3], ["argument"; 3]);
    assert_eq!(exec.args_missing, 20_000 * 9 - (128 << 10));
    assert_eq!(exec.env["LD_PRELOAD"], "\u{fffd}");
    assert_eq!(exec.env.len(), 1);
    let ids = exec.identity.map(|id| [id.uid, id.gid, id.euid, id.egid]);
    assert_eq!(ids, Some([1, 2, 3, 4]));
    assert_eq!(exec.tty, Some(deed::Device(5)));
}

/// Of a program that nobody could look at, an owner or arguments would be made up.
#[test]
fn programs_that_were_not_found_have_a_name_alone() {
    let exec = told(&begun(None));
    assert!(exec.late && exec.args.is_empty() && exec.identity.is_none());
    assert_eq!((exec.exe, exec.cwd, exec.tty), (None, None, None));
    assert_eq!(exec.filename, "./a b");
}

/// A dot inside of a label would make another host of it, and a line's end another line.
#[test]
fn names_of_hosts_are_told_apart() {
    let mut message = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(b"\x07api.x\\\n\x03com\0\0\x01\0\x01");
    let (dns, _) = dns::read(&message, false).expect("a question");
    assert_eq!(dns.questions[0].name, r"api\.x\\\010.com");
}
