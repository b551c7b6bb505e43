//! `record`: the command runs as without us, on a real terminal, and all that it starts is recorded from its first byte.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rexpect::session::{PtySession, spawn_command};

use crate::capture::{Captured, read, signal, wait_for};
use crate::peer::Peer;
use crate::support::sample;
use crate::testbins::testbin;
use crate::{is_root, program};

const AGENTSIGHT: &str = env!("CARGO_BIN_EXE_agentsight");
const NOBODY: u32 = 65534;

/// A place for a recording.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        let dir = is_root().then(|| tempfile::tempdir().unwrap())?;
        Some(Self { dir })
    }

    fn recording(&self) -> PathBuf {
        self.dir.path().join("run.rec")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `agentsight record … -- COMMAND`.
    fn record(&self, options: &[&str], command: &[&str]) -> Command {
        let mut record = Command::new(AGENTSIGHT);
        record.arg("record").arg("-o").arg(self.recording());
        record.args(options).arg("--").args(command);
        record.env_remove("SUDO_UID");
        record
    }

    fn run(&self, command: &[&str]) -> Output {
        self.record(&[], command)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn replay(&self) -> Captured {
        replay(&self.recording())
    }

    /// On a terminal of its own.
    fn on_terminal(&self, options: &[&str], command: &[&str]) -> PtySession {
        let record = self.record(options, command);
        spawn_command(record, Some(30_000)).unwrap()
    }
}

fn replay(recording: &Path) -> Captured {
    let lines = recording.with_extension("lines");
    let replayed = Command::new(AGENTSIGHT)
        .args(["replay", "--json", "-o"])
        .args([&lines, recording])
        .output()
        .unwrap();
    let said = String::from_utf8(replayed.stderr).unwrap();
    assert!(replayed.status.success(), "{said}");
    read(&lines, said)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Scripts go by the command's status: it must be what it would have been without us, or with env(1).
#[test]
fn root_record_returns_the_commands_status() {
    let Some(place) = Place::new() else { return };
    let commands: &[&[&str]] = &[
        &["true"],
        &["sh", "-c", "exit 3"],
        &["sh", "-c", "kill -KILL $$"],
        &["sh", "-c", "kill -HUP $$"],
        &["/nonexistent"],
        &["/etc/passwd"],
        &["/etc/passwd/x"],
    ];
    for command in commands {
        let alone = Command::new("sh")
            .args(["-c", "env \"$@\"", "sh"])
            .args(*command)
            .output();
        let recorded = place.run(command);
        let status = recorded.status.code();
        assert_eq!(
            status,
            alone.unwrap().status.code(),
            "{command:?}: {}",
            said(&recorded)
        );
    }
}

/// What a command finds must be what it finds without us: a changed limit, descriptor or signal breaks programs in ways
/// that nobody ascribes to an observer.
#[test]
fn root_record_changes_nothing_for_the_command() {
    let Some(place) = Place::new() else { return };
    let look = "ls /proc/self/fd | tr '\\n' ' '; grep -E 'Sig(Blk|Ign|Cgt)|NoNewPrivs|Seccomp|CapEff|Groups' \
                /proc/self/status; nice; cat /proc/self/oom_score_adj /proc/self/limits; umask; env | sort; \
                id; pwd; cut -d' ' -f5-8,18-20,40,41 /proc/self/stat | cut -d' ' -f2,5-";
    for prefix in [
        "",
        "trap '' HUP INT QUIT USR1 CHLD TSTP; ",
        "nice -n 5 ",
        "ulimit -Sn 77; ulimit -c 1; ",
    ] {
        let seen = |observer: &[&str]| {
            let script = format!("{prefix}\"$@\"");
            let mut shell = Command::new("bash");
            shell
                .args(["-c", &script, "bash"])
                .args(observer)
                .args(["bash", "-c", look]);
            shell.stdin(Stdio::null()).env_remove("SUDO_UID");
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{}", said(&output));
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().map(without_libcs_own).collect::<Vec<_>>()
        };
        let recording = place.recording();
        let alone = seen(&[]);
        let recorded = seen(&[
            AGENTSIGHT,
            "record",
            "-qo",
            recording.to_str().unwrap(),
            "--",
        ]);
        assert!(alone.iter().any(|line| line.starts_with("Max open files")));
        assert_eq!(alone, recorded, "{prefix}");
    }
}

/// Signals 32 and 33 are libc's own, which sets them in every program with threads.
fn without_libcs_own(line: &str) -> String {
    match line.strip_prefix("SigIgn:\t") {
        Some(ignored) => {
            let ignored = u64::from_str_radix(ignored, 16).unwrap();
            format!("SigIgn: {:x}", ignored & !(0b11 << 31))
        }
        None => line.to_owned(),
    }
}

/// What runs under sudo would run as root, and leave files that the user cannot read.
#[test]
fn root_record_runs_as_the_invoking_user() {
    let Some(place) = Place::new() else { return };
    fs::set_permissions(place.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let look =
        "id -u; id -G; echo $HOME $USER $LOGNAME; cat /proc/self/loginuid >/dev/null; id -ru";
    let command = ["sh", "-c", look];
    let run = || {
        let mut record = place.record(&[], &command);
        record.env("SUDO_UID", NOBODY.to_string()).output().unwrap()
    };
    let output = run();
    let groups = Command::new("id").args(["-G", "nobody"]).output().unwrap();
    let groups = String::from_utf8(groups.stdout).unwrap();
    let home = Command::new("sh").args(["-c", "echo ~nobody"]).output();
    let home = String::from_utf8(home.unwrap().stdout).unwrap();
    let expected = format!(
        "{NOBODY}\n{groups}{} nobody nobody\n{NOBODY}\n",
        home.trim()
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        said(&output)
    );
    let metadata = fs::metadata(place.recording()).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (NOBODY, 0o600));
    // The user's earlier recording is no obstacle, and not lost.
    let first = fs::read(place.recording()).unwrap();
    assert!(run().status.success());
    assert_eq!(fs::read(place.file("run.rec.old")).unwrap(), first);
    assert_eq!(fs::metadata(place.recording()).unwrap().uid(), NOBODY);
    // Somebody else's is.
    std::os::unix::fs::chown(place.recording(), Some(12345), None).unwrap();
    let refused = run();
    assert!(
        said(&refused).contains("belongs to another user"),
        "{}",
        said(&refused)
    );
    assert_eq!(fs::metadata(place.recording()).unwrap().uid(), 12345);
}

/// If we are killed before the command began, its process must not wait for ever, nor run.
#[test]
fn root_record_killed_before_the_command() {
    let Some(place) = Place::new() else { return };
    let ran = place.file("ran");
    let mut record = place.record(&["-q"], &["touch", ran.to_str().unwrap()]);
    let mut child = record.stdout(Stdio::piped()).spawn().unwrap();
    let all_children = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", child.id()));
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
        let tasks = tasks.into_iter().flatten().flatten();
        tasks.filter_map(of).collect::<String>()
    };
    wait_for("a process that stands by", || {
        !all_children().trim().is_empty()
    });
    child.kill().unwrap();
    // Whoever is left has the pipe open.
    let mut rest = Vec::new();
    std::io::Read::read_to_end(child.stdout.as_mut().unwrap(), &mut rest).unwrap();
    child.wait().unwrap();
    assert!(!ran.exists());
}

/// A command that cannot run would cost the user an earlier recording, or leave rubbish.
#[test]
fn root_record_that_never_began_changes_no_file() {
    let Some(place) = Place::new() else { return };
    fs::write(place.recording(), "earlier").unwrap();
    for command in ["/nonexistent", "/etc/passwd"] {
        assert!(!place.run(&[command]).status.success());
        assert_eq!(fs::read(place.recording()).unwrap(), b"earlier");
        assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 1);
    }
}

/// The shell of the user's session in a terminal of its own.
fn shell() -> PtySession {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-i"])
        .env("PS1", "READY> ")
        .env("TERM", "dumb")
        .env("HISTFILE", "")
        .env_remove("SUDO_UID");
    let mut shell = spawn_command(bash, Some(30_000)).unwrap();
    shell.exp_string("READY> ").unwrap();
    shell
}

/// An interactive shell takes no SIGTERM.
fn leave(mut shell: PtySession) {
    shell.send_line("exit").unwrap();
    shell.process().wait().unwrap();
}

fn status(session: &PtySession) -> i32 {
    // The crate does not export the type.
    let status = format!("{:?}", session.process().wait().unwrap());
    let code = status
        .strip_prefix("Exited(")
        .and_then(|text| text.rsplit_once(", "));
    let code = code.and_then(|(_, code)| code.trim_end_matches(')').parse().ok());
    code.unwrap_or_else(|| panic!("{status}"))
}

/// A recorded shell has its own job control: Ctrl-C ends what runs in it and neither it nor us, Ctrl-Z stops, fg goes on.
#[test]
fn root_record_of_an_interactive_shell() {
    let Some(place) = Place::new() else { return };
    let mut session = place.on_terminal(&[], &["env", "PS1=IN> ", "bash", "--norc", "-i"]);
    session.exp_string("IN> ").unwrap();
    session.send_line("sleep 1000; echo sleep=$?").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    session.send_control('c').unwrap();
    session.exp_string("IN> ").unwrap();
    session.send_line("echo interrupted=$?").unwrap();
    session.exp_string("interrupted=130").unwrap();
    session.send_line("sleep 1000").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    session.send_control('z').unwrap();
    session.exp_string("Stopped").unwrap();
    session.send_line("jobs; echo j=$?").unwrap();
    session.exp_string("j=0").unwrap();
    session.send_line("fg").unwrap();
    session.exp_string("sleep 1000").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    session.send_control('c').unwrap();
    session.exp_string("IN> ").unwrap();
    session.send_line("exit 7").unwrap();
    session.exp_string("recorded: ").unwrap();
    assert_eq!(status(&session), 7);
}

/// What the command makes of Ctrl-C is its own affair, as often as it comes.
#[test]
fn root_record_leaves_ctrl_c_to_the_command() {
    let Some(place) = Place::new() else { return };
    let script = "trap 'echo caught' INT; echo up; for i in 1 2 3 4 5 6; do sleep 1; done; echo over; exit 5";
    let mut session = place.on_terminal(&["-q"], &["bash", "-c", script]);
    session.exp_string("up").unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(200));
        session.send_control('c').unwrap();
        session.exp_string("caught").unwrap();
    }
    session.exp_string("over").unwrap();
    assert_eq!(status(&session), 5);

    let mut session = place.on_terminal(&["-q"], &["sh", "-c", "echo up; exec sleep 1000"]);
    session.exp_string("up").unwrap();
    session.send_control('c').unwrap();
    assert_eq!(status(&session), 130);
}

/// The user's shell could not stop a recorded command, or not wake it up again.
#[test]
fn root_record_stops_and_goes_on_with_its_command() {
    let Some(place) = Place::new() else { return };
    let recording = place.recording();
    let recording = recording.to_str().unwrap();
    // As it is, in a group of its own, and one that stops itself in a way that nobody can catch.
    for (script, stops_itself) in [
        ("echo u''p; read x; echo got=$x; exit 4", false),
        (
            "echo u''p; kill -STOP $$; read x; echo got=$x; exit 4",
            true,
        ),
    ] {
        let mut shell = shell();
        let line = format!("{AGENTSIGHT} record -qo {recording} -- bash -c '{script}'");
        shell.send_line(&line.replace("u''p", "u\"\"p")).unwrap();
        shell.exp_string("up").unwrap();
        if !stops_itself {
            shell.send_control('z').unwrap();
        }
        shell.exp_string("Stopped").unwrap();
        shell.exp_string("READY> ").unwrap();
        shell.send_line("jobs -l; echo jobs=$?").unwrap();
        shell.exp_string("jobs=0").unwrap();
        shell.send_line("fg").unwrap();
        shell.exp_string("record").unwrap();
        std::thread::sleep(Duration::from_millis(200));
        shell.send_line("hello").unwrap();
        shell.exp_string("got=hello").unwrap();
        shell.exp_string("READY> ").unwrap();
        shell.send_line("echo status=$?").unwrap();
        shell.exp_string("status=4").unwrap();
        leave(shell);
    }
}

/// In the background it reads nothing, and in the foreground again it does.
#[test]
fn root_record_in_the_background() {
    let Some(place) = Place::new() else { return };
    let recording = place.recording();
    let recording = recording.to_str().unwrap();
    let mut shell = shell();
    let line = format!("{AGENTSIGHT} record -qo {recording} -- bash -c 'read x; echo got=$x' &");
    shell.send_line(&line).unwrap();
    shell.exp_string("READY> ").unwrap();
    wait_for("a job that wants to read", || {
        shell.send_line("jobs; echo told=1").unwrap();
        shell.exp_string("told=1").unwrap().contains("Stopped")
    });
    shell.send_line("fg").unwrap();
    shell.exp_string("record").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    shell.send_line("hello").unwrap();
    shell.exp_string("got=hello").unwrap();
    shell.exp_string("READY> ").unwrap();
    leave(shell);
}

/// A full-screen program would keep the old size.
#[test]
fn root_record_passes_the_terminals_size() {
    let Some(place) = Place::new() else { return };
    let script = "trap 'stty size' WINCH; echo up; while :; do sleep 0.1; done";
    let mut session = place.on_terminal(&["-q"], &["bash", "-c", script]);
    session.exp_string("up").unwrap();
    let size = libc::winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let tty = session.process().get_file_handle().unwrap();
    // SAFETY: the descriptor is open, and the pointer leads to what the request wants.
    let set = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&tty),
            libc::TIOCSWINSZ,
            &size,
        )
    };
    assert_eq!(set, 0);
    session.exp_string("33 77").unwrap();
    session.send_control('c').unwrap();
}

/// Nothing of ours may appear on the screen of a program that runs, not even about what it starts meanwhile.
#[test]
fn root_record_keeps_the_terminal_clean() {
    let Some(place) = Place::new() else { return };
    let Some(curl) = program("curl") else { return };
    let copy = place.file("curl");
    fs::copy(curl, &copy).unwrap();
    let script = format!(
        "echo begin; {} --version >/dev/null; sleep 1.2; echo end",
        copy.display()
    );
    let mut session = place.on_terminal(&["--no-cache"], &["bash", "-c", &script]);
    session.exp_string("begin").unwrap();
    let between = session.exp_string("end").unwrap();
    assert_eq!(between.trim(), "");
    session.exp_string("captured: ").unwrap();
    assert_eq!(status(&session), 0);
}

/// A service manager that ends us means the command.
#[test]
fn root_record_passes_signals_on() {
    let Some(place) = Place::new() else { return };
    for (name, code) in [
        ("TERM", 21),
        ("HUP", 22),
        ("INT", 23),
        ("USR1", 24),
        ("QUIT", 25),
    ] {
        let script = format!("trap 'exit {code}' {name}; echo up; while :; do sleep 0.05; done");
        let mut record = place.record(&["-q"], &["bash", "-c", &script]);
        let mut child = record.stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        signal(child.id(), name);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
    }
}

/// What a command leaves behind is part of what it does: a daemon that speaks after the command's end.
#[test]
fn root_record_waits_for_daemons() {
    let Some(place) = Place::new() else { return };
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let path = pair.path.to_str().unwrap();
    let daemon = format!(
        "(setsid bash -c 'sleep 1.5; exec {path} --iterations 5' >/dev/null 2>&1 &); exit 6"
    );
    let started = Instant::now();
    let output = place.run(&["bash", "-c", &daemon]);
    assert!(started.elapsed() > Duration::from_millis(1500));
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(
        said(&output).contains("the command has ended, and"),
        "{}",
        said(&output)
    );
    let captured = place.replay();
    captured.assert_whole();
    assert_eq!(captured.conns.len(), 2);
    assert!(captured.conns.values().all(|conn| conn.from_start));
    let missed = captured
        .lines
        .iter()
        .filter(|line| line["type"] == "tls.missed");
    assert_eq!(missed.count(), 0);

    // And whoever does not want to wait for it does not.
    let mut session = place.on_terminal(&[], &["bash", "-c", "(setsid sleep 30 &); exit 8"]);
    session.exp_string("the command has ended").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("recorded: ").unwrap();
    assert_eq!(status(&session), 8);
}

/// A program that lives for milliseconds would be missed, at the latest behind a wrapper: the second run has all of it
/// from the first byte, and says so.
#[test]
fn root_record_covers_short_lived_programs() {
    let Some(place) = Place::new() else { return };
    let (Some(curl), Some(node)) = (program("curl"), program("node")) else {
        return;
    };
    let (Some(_npx), Some(uv)) = (program("npx"), sample("uv")) else {
        return;
    };
    let uv = uv.path;
    let Some(peer) = Peer::start("files") else {
        return;
    };
    peer.file("index.html", b"hello");
    let (url, cert) = (peer.url(), peer.cert());
    let fetch = format!(
        "{} -s --cacert {} {url}/index.html",
        curl.display(),
        cert.display()
    );
    let script = |name: &str, text: String| {
        let path = place.file(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let shell_script = script("fetch.sh", format!("#!/bin/sh\n{fetch}\n"));
    let node_script = script(
        "fetch.js",
        format!(
            "#!{}\nrequire('child_process').execSync({fetch:?}, {{stdio: 'inherit'}})\n",
            node.display()
        ),
    );
    let own_script = script(
        "own.js",
        format!(
            "#!/usr/bin/env node\nrequire('https').get('{url}/index.html', {{ca: require('fs').readFileSync({cert:?})}}, \
             r => r.pipe(process.stdout))\n"
        ),
    );
    // As a package manager has it.
    let bin = place.file("node_modules/.bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(place.file("package.json"), "{}").unwrap();
    std::os::unix::fs::symlink(&own_script, bin.join("fetch")).unwrap();
    let python = format!("import os; os.execlp('sh', 'sh', '-c', {fetch:?})");
    let python_script = script("fetch.py", python.clone());
    let uv = uv.to_str().unwrap();
    let words: Vec<&str> = fetch.split(' ').collect();
    let commands: Vec<Vec<&str>> = vec![
        vec!["sh", "-c", &fetch],
        [&["env", "A=b"][..], &words].concat(),
        vec![&shell_script],
        vec![&node_script],
        vec![&own_script],
        vec!["python3", "-c", &python],
        vec!["npx", "--offline", "--no", "fetch"],
        [
            &[uv, "run", "--no-project", "--offline", "--no-cache"][..],
            &["--python", "/usr/bin/python3", &python_script],
        ]
        .concat(),
    ];
    for command in commands {
        for is_warm in [false, true] {
            let mut record = peer.command(Path::new(AGENTSIGHT));
            record
                .arg("record")
                .arg("-o")
                .arg(place.recording())
                .arg("--")
                .args(&command);
            record.env("AGENTSIGHT_CACHE", place.file("cache"));
            record.env("npm_config_cache", place.file("npm"));
            record.env("npm_config_update_notifier", "false");
            record.current_dir(place.dir.path());
            let output = record.stdin(Stdio::null()).output().unwrap();
            let said = said(&output);
            assert!(output.stdout.ends_with(b"hello"), "{command:?}: {said}");
            if !is_warm {
                continue;
            }
            let captured = place.replay();
            captured.assert_whole();
            let missed = captured
                .lines
                .iter()
                .find(|line| line["type"] == "tls.missed");
            assert_eq!(missed, None, "{command:?}: {said}");
            assert_eq!(captured.conns.len(), 1, "{command:?}: {said}");
            let conn = captured.conns.values().next().unwrap();
            assert!(conn.from_start, "{command:?}: {said}");
            assert!(conn.read.ends_with(b"hello"), "{command:?}: {said}");
        }
    }
}
