//! `agentsight discover` for processes: what it says about programs that these tests start, which say themselves what
//! they have loaded.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{require, skip};

/// Tells what of TLS it has mapped, then does what its input says.
const PYTHON: &str = "\
import sys
def told(): print(*{l.split()[-1] for l in open('/proc/self/maps') if 'libssl' in l and 'r-xp' in l} or {'nothing'}, flush=True)
if 'tls' in sys.argv: import ssl
told()
for line in sys.stdin:
    exec(line)
    told()
";

/// A program of ours, which ends with the test.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Reads until a line begins like this.
    fn wait_for(&mut self, start: &str) {
        while !self.line().starts_with(start) {}
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid()])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python(word: &str) -> Running {
    Running::start(Command::new("/usr/bin/env").args(["python3", "-c", PYTHON, word]))
}

/// A server that waits for nobody, from this copy of the openssl program.
fn server(program: &Path) -> Running {
    let mut server = Running::start(&mut server_command(program));
    server.wait_for("ACCEPT");
    server
}

fn server_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["s_server", "-nocert", "-accept", "127.0.0.1:0"]);
    command
}

fn openssl() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/openssl");
    if path.exists() {
        Some(path)
    } else {
        skip("openssl")
    }
}

fn is_root() -> bool {
    // SAFETY: no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    is_root || skip::<()>("root").is_some()
}

fn agentsight(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentsight"));
    command.args(arguments).env("AGENTSIGHT_CACHE", "/dev/null");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_schema(value: &Value) {
    let schema: Value =
        serde_json::from_slice(&agentsight(&["schema", "processes"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}: {value}");
}

/// What is said about processes, by the schema.
fn discover(arguments: &[&str]) -> (Vec<Value>, Output) {
    let output = agentsight(&[&["discover", "--json"], arguments].concat());
    let value: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Value::Array(Vec::new()));
    assert_schema(&value);
    (value.as_array().unwrap().clone(), output)
}

fn of<'v>(all: &'v [Value], process: &Running) -> &'v Value {
    let pid = process.child.id();
    all.iter()
        .find(|one| one["pid"] == pid)
        .unwrap_or_else(|| panic!("{pid}: {all:?}"))
}

/// A user would be told that an agent is visible when it is not, or the other way round.
#[test]
fn tells_what_is_loaded() {
    let (mut with, mut without) = (python("tls"), python("plain"));
    let library = with.line();
    assert_eq!(without.line(), "nothing");
    let pids = format!("{},{}", with.pid(), without.pid());
    let (all, output) = discover(&["--pid", &pids]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(all.len(), 2);
    let told = of(&all, &with);
    assert_eq!(told["visibility"], "attachable");
    assert_eq!(told["libraries"][0]["file"], library.as_str());
    assert_eq!(told["libraries"][0]["library"], "openssl");
    let stat = fs::read_to_string(format!("/proc/{}/stat", with.pid())).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split(' ').nth(20).unwrap();
    assert_eq!(told["process"], format!("p{}.{start}", with.pid()));
    let told = of(&all, &without);
    assert_eq!(told["visibility"], "waiting");
    assert!(told["libraries"].as_array().unwrap().is_empty());

    let output = agentsight(&["discover", "--pid", &without.pid()]);
    assert_eq!(output.status.code(), Some(4), "nothing to attach to");
    assert!(
        stdout(&output).contains("attach would wait for it"),
        "{}",
        stdout(&output)
    );
    assert!(
        stderr(&output).contains("1 process: 0 attachable"),
        "{}",
        stderr(&output)
    );
}

/// A program that was updated, one in another mount namespace or one without any name would be missed or mistaken.
#[test]
fn files_without_their_names() {
    let openssl = require!(openssl());
    let dir = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let path = dir.path().join(name);
        fs::copy(&openssl, &path).unwrap();
        path
    };
    let (gone, replaced, named) = (copy("gone"), copy("replaced"), copy("new (deleted)"));
    let servers = [server(&gone), server(&replaced), server(&named)];
    fs::remove_file(&gone).unwrap();
    fs::remove_file(&replaced).unwrap();
    fs::copy("/bin/true", &replaced).unwrap();
    let glob = format!("{}/*", dir.path().display());
    let (all, _) = discover(&["--exe", &glob]);
    assert_eq!(all.len(), servers.len());
    for (server, path, deleted) in [
        (&servers[0], &gone, true),
        (&servers[1], &replaced, true),
        (&servers[2], &named, false),
    ] {
        let told = of(&all, server);
        assert_eq!(told["exe"], path.to_str().unwrap());
        assert_eq!(told["exe_deleted"], deleted, "{told}");
        assert_eq!(told["visibility"], "attachable");
    }
    let (all, _) = discover(&["--binary", replaced.to_str().unwrap()]);
    assert!(all.is_empty(), "its name is another file's now: {all:?}");
    let (all, _) = discover(&["--binary", named.to_str().unwrap()]);
    assert_eq!(all.len(), 1);
}

/// A program without a file, as sealed launchers start it.
#[test]
fn memory_files() {
    let openssl = require!(openssl());
    let code = "import os, sys
fd = os.memfd_create('agent', 0)
os.write(fd, open(sys.argv[1], 'rb').read())
os.execv('/proc/self/fd/%d' % fd, ['openssl', 's_server', '-nocert', '-accept', '127.0.0.1:0'])";
    let mut python = Command::new("/usr/bin/env");
    let mut server = Running::start(python.args(["python3", "-c", code]).arg(openssl));
    server.wait_for("ACCEPT");
    let (all, _) = discover(&["--pid", &server.pid()]);
    assert_eq!(all[0]["exe"], "/memfd:agent");
    assert_eq!(all[0]["exe_deleted"], true);
    assert_eq!(all[0]["visibility"], "attachable");
}

/// A library that only the process itself can reach by its name is read all the same, and pids inside are told.
#[test]
fn other_namespaces() {
    let openssl = require!(openssl());
    if !is_root() {
        return;
    }
    let mut python = python("tls");
    let library = PathBuf::from(python.line());
    let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = library.file_name().unwrap();
    fs::copy(&library, outside.path().join(name)).unwrap();
    let script = "mount --bind \"$0\" \"$1\" && LD_LIBRARY_PATH=\"$1\" exec unshare -pf --kill-child \"$2\" s_server \
                  -nocert -accept 127.0.0.1:0";
    let mut command = Command::new("unshare");
    let command = command
        .args(["-m", "sh", "-c", script])
        .args([outside.path(), inside.path()]);
    let mut server = Running::start(command.arg(openssl));
    server.wait_for("ACCEPT");
    assert!(!inside.path().join(name).exists());
    let (all, _) = discover(&["--pid", &server.pid()]);
    let told = all.iter().find(|told| told["comm"] == "openssl").unwrap();
    let own = told["ns_pids"].as_array().unwrap();
    assert_eq!((own.len(), &own[1]), (2, &1.into()), "{told}");
    assert_eq!(
        told["libraries"][0]["file"],
        inside.path().join(name).to_str().unwrap()
    );
    assert_eq!(told["libraries"][0]["deleted"], false);
    assert_eq!(told["visibility"], "attachable");
    let table = agentsight(&["discover", "--pid", &told["pid"].to_string()]);
    assert!(
        stdout(&table).contains(&format!("{} (1)", told["pid"])),
        "{}",
        stdout(&table)
    );
}

/// A program that can never show anything is not one that may still.
#[test]
fn static_programs_load_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("wait.c"), dir.path().join("wait"));
    fs::write(&source, "#include <unistd.h>\nint main(void) { puts: write(1, \"up\\n\", 3); pause(); return 0; }\n").unwrap();
    let built = Command::new("cc")
        .arg("-static")
        .arg("-o")
        .args([&program, &source])
        .stderr(Stdio::null())
        .status();
    if !built.is_ok_and(|status| status.success()) {
        skip::<()>("cc with a static libc");
        return;
    }
    let mut running = Running::start(&mut Command::new(&program));
    running.wait_for("up");
    let (all, output) = discover(&["--exe", program.to_str().unwrap()]);
    assert_eq!(of(&all, &running)["visibility"], "none");
    assert_eq!(output.status.code(), Some(4));
}

/// Descendants are what an agent's tools are.
#[test]
fn follows_descendants() {
    let script = "sleep 600 & echo $!; (sleep 601 & echo $!; wait) & wait";
    let mut shell = Running::start(Command::new("sh").args(["-c", script]));
    let mut expected = vec![shell.line(), shell.line()];
    expected.push(shell.pid());
    let listed = |arguments: &[&str]| {
        let (all, _) = discover(&[&["--pid", &shell.pid()], arguments].concat());
        let pids = all.iter().map(|told| told["pid"].to_string());
        pids.collect::<Vec<_>>()
    };
    let all = listed(&[]);
    assert!(
        expected.iter().all(|pid| all.contains(pid)),
        "{expected:?} {all:?}"
    );
    assert_eq!(all.len(), 4, "the second shell is in between");
    assert_eq!(listed(&["--no-follow"]), [shell.pid()]);
    assert_eq!(listed(&["--no-follow", "--follow"]), all);
    assert_eq!(
        listed(&["--user", "4000000"]),
        [""; 0],
        "kinds are joined with and"
    );
    for pid in &expected[..2] {
        let _ = Command::new("kill").arg(pid).status();
    }
}

/// Many processes of one program are one row, unless each is asked for.
#[test]
fn alike_processes_share_a_row() {
    let openssl = require!(openssl());
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("many");
    fs::copy(openssl, &program).unwrap();
    let servers: Vec<Running> = (0..5).map(|_| server(&program)).collect();
    let exe = program.to_str().unwrap();
    let grouped = stdout(&agentsight(&["discover", "--exe", exe]));
    assert_eq!(grouped.matches("5 processes").count(), 1, "{grouped}");
    let verbose = stdout(&agentsight(&["discover", "-v", "--exe", exe]));
    for server in &servers {
        assert!(!grouped.contains(&server.pid()), "{grouped}");
        assert!(verbose.contains(&server.pid()), "{verbose}");
    }
}

/// Version 2 cgroups are how services and containers are named.
#[test]
fn cgroups_are_found() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" cgroup2 "));
    let mount = require!(mount.or_else(|| skip("cgroup2")));
    if !is_root() {
        return;
    }
    let name = format!("agentsight-test-{}", std::process::id());
    let cgroup = Path::new(mount.split(' ').nth(1).unwrap()).join(&name);
    if let Err(error) = fs::create_dir(&cgroup) {
        skip::<()>(&format!("a cgroup of our own ({error})"));
        return;
    }
    let mut python = python("tls");
    python.line();
    fs::write(cgroup.join("cgroup.procs"), python.pid()).unwrap();
    for path in [cgroup.to_str().unwrap(), &name, &format!("/{name}")] {
        let (all, _) = discover(&["--cgroup", path]);
        assert_eq!(all.len(), 1, "{path}");
        assert_eq!(of(&all, &python)["cgroup"], format!("/{name}"));
    }
    drop(python);
    fs::remove_dir(&cgroup).unwrap();
}

/// Without root, one's own processes are told, and what could not be looked into is counted.
#[test]
fn works_without_root() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("agentsight");
    fs::copy(env!("CARGO_BIN_EXE_agentsight"), &program).unwrap();
    let openssl = require!(openssl());
    let mut server = Running::start(server_command(&openssl).uid(65534).gid(65534));
    server.wait_for("ACCEPT");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .uid(65534)
            .gid(65534)
            .env("AGENTSIGHT_CACHE", "/dev/null");
        command.arg("discover").args(arguments).output().unwrap()
    };
    let output = run(&["--json", "--pid", &server.pid()]);
    let own: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(own[0]["visibility"], "attachable", "{own}");
    let all = run(&["--all"]);
    assert!(stdout(&all).contains("openssl"), "{}", stdout(&all));
    assert!(!stdout(&all).contains("ermission"), "{}", stdout(&all));
    let summary = stderr(&all);
    assert!(
        summary.contains("not readable (missing CAP_SYS_PTRACE"),
        "{summary}"
    );
}

/// Each wrong selector is told apart, with where it was looked for; and what makes no sense together.
#[test]
fn selector_errors() {
    let mut text = String::new();
    for arguments in [
        &["discover", "--follow"][..],
        &["discover", "--pid", "4194304"],
        &["discover", "--pid", "0"],
        &["discover", "--pid", "2"],
        &["discover", "--user", "no such user"],
        &["discover", "--cgroup", "/sys/fs/cgroup/unified/no/such"],
        &["discover", "--binary", "/no/such/file"],
        &["discover", "--binary", "/etc"],
        &["discover", "--binary", "node", "--container", "web"],
        &["discover", "--exe", "node"],
        &["discover", "--exe", "/[x"],
        &["discover", "--comm", ""],
        &["discover", "--comm", "no-such-program-at-all"],
        &["discover", "--all", "--pid", "1"],
        &["discover", "--all", "/bin/true"],
        &["discover", "--all", "--explain"],
        &["discover", "--watch"],
        &["discover", "--all", "--wait"],
        &["discover", "--watch", "/bin/true"],
    ] {
        let output = agentsight(arguments);
        assert!(output.stdout.is_empty());
        let status = output.status.code().unwrap();
        let message = stderr(&output);
        let first: Vec<&str> = message
            .lines()
            .take_while(|line| !line.is_empty())
            .collect();
        text.push_str(&format!(
            "{}: {status}\n  {}\n",
            arguments[1..].join(" "),
            first.join("\n  ")
        ));
    }
    let filters = vec![
        (r"looked at \d+ in", "looked at N in"),
        (r"below /sys/fs/cgroup\S*", "below CGROUP2"),
        (r"process 2 \(\w+\)", "process 2 (NAME)"),
    ];
    insta::with_settings!({ filters => filters }, { insta::assert_snapshot!("selector_errors", text) });
}

/// A change that is not told leaves a stale table on somebody's screen.
#[test]
fn watching_tells_changes() {
    let mut python = python("plain");
    assert_eq!(python.line(), "nothing");
    let mut watch = Running::start(&mut command(&[
        "discover",
        "--watch",
        "--json",
        "--pid",
        &python.pid(),
    ]));
    let next = |watch: &mut Running| -> (String, Value) {
        let line: Value = serde_json::from_str(&watch.line()).unwrap();
        assert_schema(&line);
        (
            line["change"].as_str().unwrap().to_owned(),
            line["process"].clone(),
        )
    };
    let (change, told) = next(&mut watch);
    assert_eq!(
        (change.as_str(), &told["visibility"]),
        ("running", &"waiting".into())
    );
    python.say("import ssl");
    let library = python.line();
    let (change, told) = next(&mut watch);
    assert_eq!(
        (change.as_str(), &told["visibility"]),
        ("changed", &"attachable".into())
    );
    assert_eq!(told["libraries"][0]["file"], library.as_str());
    python.say("import subprocess; child = subprocess.Popen(['sleep', '600'])");
    python.line();
    let (change, child) = next(&mut watch);
    assert_eq!(
        (change.as_str(), &child["comm"]),
        ("appeared", &"sleep".into())
    );
    python.say("child.kill(); child.wait()");
    let (change, ended) = next(&mut watch);
    assert_eq!(
        (change.as_str(), &ended["process"]),
        ("ended", &child["process"])
    );
    python
        .say("shell = subprocess.Popen(['sh', '-c', 'sleep 600 & read x'], stdin=subprocess.PIPE)");
    python.line();
    let mut born = [next(&mut watch).1, next(&mut watch).1];
    born.sort_by_key(|told| told["comm"].to_string());
    let [shell, orphan] = born;
    python.say("shell.stdin.close(); shell.wait()");
    python.line();
    let (change, ended) = next(&mut watch);
    assert_eq!(
        (change.as_str(), &ended["process"]),
        ("ended", &shell["process"])
    );
    let _ = Command::new("kill").arg(orphan["pid"].to_string()).status();
    let (change, ended) = next(&mut watch);
    assert_eq!(
        (change.as_str(), &ended["process"]),
        ("ended", &orphan["process"])
    );
    drop(python);
    assert_eq!(next(&mut watch).0, "ended");
    watch.signal("INT");
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}

/// What is named and not there yet is waited for, a new process with its own start.
#[test]
fn watching_waits_for_programs() {
    let openssl = require!(openssl());
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("later");
    let path = program.to_str().unwrap().to_owned();
    let mut watch = Running::start(&mut command(&["discover", "--watch", "--exe", &path]));
    std::thread::sleep(Duration::from_millis(1500));
    fs::copy(openssl, &program).unwrap();
    let server = server(&program);
    let line = watch.line();
    let expected = format!("later[{}] (", server.pid());
    assert!(
        line.contains(&expected) && line.contains("appeared: attachable: openssl"),
        "{line}"
    );
    drop(server);
    let line = watch.line();
    assert!(
        line.contains(&expected) && line.ends_with("ended"),
        "{line}"
    );
    watch.signal("TERM");
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}

/// On a terminal, one table is kept true in its place.
#[test]
fn watching_on_a_terminal() {
    if !Path::new("/usr/bin/script").exists() {
        skip::<()>("script");
        return;
    }
    let mut python = python("plain");
    python.line();
    let program = env!("CARGO_BIN_EXE_agentsight");
    let watch = format!("{program} discover --watch --pid {}", python.pid());
    let mut command = Command::new("/usr/bin/script");
    command.args(["-qec", &watch, "/dev/null"]);
    let mut terminal = Running::start(
        command
            .env("TERM", "xterm")
            .env("AGENTSIGHT_CACHE", "/dev/null"),
    );
    terminal.wait_for("1 process: 0 attachable");
    python.say("import ssl");
    let library = python.line();
    let head = terminal.line();
    assert!(
        head.starts_with("\x1b[?7h\x1b[?7l\x1b[3A\x1b[J"),
        "three lines are replaced: {head:?}"
    );
    let row = terminal.line();
    assert!(row.contains(&library) && row.ends_with("yes"), "{row}");
    terminal.wait_for("1 process: 1 attachable");
}

/// What is named by its file is found when that file comes, and a library by those who have mapped it.
#[test]
fn binaries_are_programs_or_libraries() {
    let openssl = require!(openssl());
    let mut python = python("tls");
    let library = python.line();
    let server = server(&openssl);
    let (all, _) = discover(&["--binary", &library]);
    for user in [&python, &server] {
        assert_eq!(of(&all, user)["visibility"], "attachable");
    }
    let (all, _) = discover(&["--binary", openssl.to_str().unwrap()]);
    of(&all, &server);
    assert!(all.iter().all(|told| told["pid"] != python.child.id()));
    let dir = tempfile::tempdir().unwrap();
    let later = dir.path().join("later");
    let path = later.to_str().unwrap();
    let mut watch = Running::start(&mut command(&[
        "discover", "--watch", "--wait", "--binary", path,
    ]));
    std::thread::sleep(Duration::from_millis(1500));
    fs::copy(&openssl, &later).unwrap();
    let server = self::server(&later);
    let line = watch.line();
    assert!(
        line.contains(&format!("later[{}] (", server.pid())),
        "{line}"
    );
}

/// A reader that hangs up while nothing happens is noticed.
#[test]
fn watching_ends_with_its_reader() {
    let mut python = python("plain");
    python.line();
    let mut watch = command(&["discover", "--watch", "--pid", &python.pid()]);
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(watch.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    drop(output);
    let begun = Instant::now();
    let output = watch.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(
        (output.status.code(), output.status.signal()),
        (Some(0), None)
    );
    assert_eq!(stderr(&output), "");
}
