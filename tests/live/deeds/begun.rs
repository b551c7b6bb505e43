//! A program that is run for the first time under a rule: whether its process is wanted is known a moment later, and its
//! beginning is told all the same, and said to be late.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::AGENTSIGHT;
use crate::capture::wait_for;
use crate::is_root;
use crate::support::require;

const NOBODY: u32 = 65534;

/// `attach --exe` of all that is in a folder.
struct Attached {
    dir: tempfile::TempDir,
    child: Child,
}

impl Attached {
    fn start() -> Option<Self> {
        let dir = is_root().then(|| tempfile::tempdir().unwrap())?;
        let place = |name: &str| dir.path().canonicalize().unwrap().join(name);
        fs::create_dir(place("bin")).unwrap();
        fs::create_dir(place("work")).unwrap();
        for name in ["", "bin", "work"] {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(place(name), open).unwrap();
        }
        let child = Command::new(AGENTSIGHT)
            .args(["attach", "--json", "--redact", "off", "--exe"])
            .arg(place("bin/*"))
            .arg("-o")
            .arg(place("out"))
            .stderr(fs::File::create(place("said")).unwrap())
            .spawn()
            .unwrap();
        let attached = Self { dir, child };
        wait_for("a word that it waits", || {
            attached.said().contains("waiting: ")
        });
        Some(attached)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// A program that nobody has run yet.
    fn copy(&self, of: &str, name: &str) -> PathBuf {
        let path = self.path("bin").join(name);
        fs::copy(of, &path).unwrap();
        path
    }

    /// What is told of a process so far.
    fn lines(&self, pid: u32) -> Vec<Value> {
        let told = fs::read_to_string(self.path("out")).unwrap_or_default();
        let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["pid"] == pid).collect()
    }

    /// The one program that a process ran, once that is told.
    fn exec(&self, pid: u32) -> Value {
        let execs = || -> Vec<Value> {
            let lines = self.lines(pid).into_iter();
            lines
                .filter(|line| line["type"] == "process.exec")
                .collect()
        };
        wait_for("a program", || !execs().is_empty());
        let execs = execs();
        assert_eq!(execs.len(), 1, "{execs:#?}");
        execs.into_iter().next().unwrap()
    }

    fn stop(mut self) -> String {
        // SAFETY: it changes nothing but our own child.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
        assert!(self.child.wait().unwrap().success());
        self.said()
    }
}

fn assert_fields(line: &Value, fields: &Value) {
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(line.get(name), Some(value), "{name} of {line:#}");
    }
}

/// Runs a program that waits for a word, and then makes the file `made`.
fn start(command: &mut Command, dir: &Path) -> Child {
    command
        .current_dir(dir)
        .env("PYTHONPATH", "/somewhere/else")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut child: Child) {
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
}

const SCRIPT: &str = "read word; : > made; exit 0";

/// What an agent was told to run would not be known, of all agents that come for the first time.
#[test]
fn root_programs_that_are_run_for_the_first_time_are_told() {
    let attached = require!(Attached::start());
    let shell = attached.copy("/bin/sh", "shell");
    let work = attached.path("work");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = ["-c", SCRIPT, "two words", "new\nline"];
    let child = start(Command::new(&shell).args(arguments), &work);
    let pid = child.id();
    let first = attached.exec(pid);
    finish(child);
    let args: Vec<_> = std::iter::once(text(&shell))
        .chain(arguments.map(str::to_owned))
        .collect();
    let own = json!({
        "filename": text(&shell), "exe": text(&shell), "args": args, "cwd": text(&work),
        "uid": 0, "gid": 0, "euid": 0, "egid": 0, "env": { "PYTHONPATH": "/somewhere/else" },
        "late": true,
    });
    let env = own["env"].as_object().unwrap();
    let told = first["env"].as_object().unwrap();
    assert!(
        env.iter()
            .all(|(name, value)| told.get(name) == Some(value)),
        "{first:#}"
    );
    let mut expected = own.clone();
    expected["env"] = first["env"].clone();
    assert_fields(&first, &expected);
    wait_for("its end", || {
        attached
            .lines(pid)
            .iter()
            .any(|line| line["type"] == "process.exit")
    });
    let of_first = attached.lines(pid);
    let deeds: Vec<_> = of_first
        .iter()
        .filter(|line| line.get("event").is_some())
        .collect();
    assert_eq!(deeds[0], &first, "something was told before");
    let made = json!(text(&work.join("made")));
    assert!(deeds.iter().any(|line| line["path"] == made), "{deeds:#?}");

    // The second time its program is known, and the kernel side tells it.
    let child = start(Command::new(&shell).args(arguments).uid(NOBODY), &work);
    let second = attached.exec(child.id());
    child.wait_with_output().unwrap();
    assert_eq!(second.get("late"), None, "{second:#}");
    assert_eq!(
        (&second["args"], &second["euid"]),
        (&first["args"], &json!(NOBODY))
    );
    assert_eq!(second["exe_file"], first["exe_file"]);
    let said = attached.stop();
    assert!(said.contains("lost: nothing"), "{said}");
}

/// The same of scripts, whose program is their interpreter.
#[test]
fn root_scripts_that_are_run_for_the_first_time_are_told() {
    let attached = require!(Attached::start());
    let shell = attached.copy("/bin/sh", "shell");
    let (script, work) = (attached.path("work/script"), attached.path("work"));
    fs::write(&script, format!("#! {} -e\n{SCRIPT}\n", shell.display())).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, open).unwrap();
    let child = start(Command::new("./script").arg("one"), &work);
    let told = attached.exec(child.id());
    finish(child);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let expected = json!({
        "filename": "./script", "exe": text(&shell), "interpreter": text(&shell),
        "script": text(&script), "args": [text(&shell), "-e", "./script", "one"],
        "cwd": text(&work), "late": true,
    });
    assert_fields(&told, &expected);
    attached.stop();
}

/// A program that ends before anybody can look at it would never have been there.
#[test]
fn root_programs_that_end_at_once_are_told_by_name() {
    let attached = require!(Attached::start());
    for number in 0..5 {
        let program = attached.copy("/bin/true", &format!("true-{number}"));
        let mut child = Command::new(&program).spawn().unwrap();
        let pid = child.id();
        assert!(child.wait().unwrap().success());
        let told = attached.exec(pid);
        let name = program.to_str().unwrap();
        assert_fields(&told, &json!({ "filename": name, "late": true }));
        let args = told["args"].as_array().unwrap();
        assert!(args.is_empty() || args == &[json!(name)], "{told:#}");
        assert_eq!(args.is_empty(), told.get("uid").is_none(), "{told:#}");
    }
    attached.stop();
}
