//! Whom `attach` follows is whom its selectors mean, and nobody else: by what the processes are that this test starts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::capture::Capture;
use crate::is_root;
use crate::support::{require, skip, testbin};

const NOBODY: u32 = 65534;

/// What one process is.
#[derive(Clone, Copy)]
struct Sort {
    key: char,
    name: &'static str,
    as_nobody: bool,
    in_cgroup: bool,
    /// Started by a shell of the name `agentshell`.
    by_shell: bool,
}

const ONE: Sort = Sort {
    key: 'A',
    name: "agentone",
    as_nobody: false,
    in_cgroup: false,
    by_shell: false,
};
const SORTS: [Sort; 5] = [
    ONE,
    Sort {
        key: 'B',
        name: "agenttwo",
        ..ONE
    },
    Sort {
        key: 'C',
        as_nobody: true,
        ..ONE
    },
    Sort {
        key: 'D',
        name: "agenttwo",
        in_cgroup: true,
        ..ONE
    },
    Sort {
        key: 'E',
        name: "agenttwo",
        by_shell: true,
        ..ONE
    },
];

/// A directory with programs that nobody else runs, and a cgroup.
struct Scene {
    dir: tempfile::TempDir,
    cgroup: PathBuf,
}

impl Scene {
    fn new() -> Option<Self> {
        let pair = testbin("openssl/pair", "dyn-O2")?;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["agentone", "agenttwo"] {
            fs::copy(&pair.path, dir.path().join(name)).unwrap();
        }
        fs::copy("/bin/sh", dir.path().join("agentshell")).unwrap();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" cgroup2 "));
        let mount = mount.or_else(|| skip("cgroup2"))?;
        let name = format!("agentsight-test-{}", std::process::id());
        let cgroup = Path::new(mount.split(' ').nth(1).unwrap()).join(name);
        if let Err(error) = fs::create_dir(&cgroup) {
            return skip(&format!("a cgroup of our own ({error})"));
        }
        Some(Self { dir, cgroup })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The process waits before it speaks.
    fn start(&self, sort: &Sort) -> Agent {
        let (path, options) = (self.path(sort.name), "--wait --iterations 3 --size 100");
        let mut command = Command::new("/bin/sh");
        // Not the last command, so that the shell does not become it.
        let script = format!("{path} {options}; exit $?");
        match sort.by_shell {
            true => command = Command::new(self.path("agentshell")),
            false => _ = command.arg0("sh"),
        }
        let script = match (sort.by_shell, sort.in_cgroup) {
            (true, _) => script,
            (_, true) => {
                let procs = self.cgroup.join("cgroup.procs");
                format!("echo $$ > {}; exec {path} {options}", procs.display())
            }
            _ => format!("exec {path} {options}"),
        };
        command.args(["-c", &script]);
        if sort.as_nobody {
            command.uid(NOBODY);
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut ready = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "{}", sort.key);
        let key = sort.key;
        Agent { child, key }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.cgroup);
    }
}

struct Agent {
    child: Child,
    key: char,
}

impl Agent {
    /// The pid of the one that speaks.
    fn speaker(&self, by_shell: bool) -> u64 {
        let pid = self.child.id();
        if !by_shell {
            return pid.into();
        }
        let children = format!("/proc/{pid}/task/{pid}/children");
        fs::read_to_string(children)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    fn speak(mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.key);
    }
}

/// Which of the processes are told, if they start while attach runs with these selectors.
fn seen(scene: &Scene, selectors: &[&str]) -> String {
    let capture = Capture::select(selectors);
    let agents: Vec<_> = SORTS.iter().map(|sort| scene.start(sort)).collect();
    let speakers = agents.iter().zip(&SORTS);
    let speakers: Vec<_> = speakers
        .map(|(agent, sort)| (agent.speaker(sort.by_shell), sort.key))
        .collect();
    // All that is new is asked about and examined meanwhile.
    std::thread::sleep(Duration::from_millis(1500));
    agents.into_iter().for_each(Agent::speak);
    let captured = capture.stop();
    let pids: BTreeSet<u64> = captured.conns.values().map(|conn| conn.pid).collect();
    let told = speakers.iter().filter(|(pid, _)| pids.contains(pid));
    told.map(|(_, key)| *key).collect()
}

/// A selector would mean others than it says, alone or beside another one.
#[test]
fn root_selectors_mean_what_they_say() {
    if !is_root() {
        return;
    }
    let scene = require!(Scene::new());
    let (one, any) = (scene.path("agentone"), scene.path("agent*"));
    let cgroup = scene.cgroup.to_str().unwrap().to_owned();
    let cases: &[(&[&str], &str)] = &[
        (&["--comm", "agentone"], "AC"),
        (&["--comm", "agent*", "--no-follow"], "ABCDE"),
        (&["--comm", "agentone", "--user", "nobody"], "C"),
        (&["--comm", "agentshell"], "E"),
        (&["--comm", "agentshell", "--no-follow"], ""),
        (&["--binary", &one], "AC"),
        (&["--binary", &one, "--user", "0"], "A"),
        (&["--exe", &any, "--cgroup", &cgroup], "D"),
        (&["--exe", &any, "--user", "65534"], "C"),
    ];
    for (selectors, expected) in cases {
        assert_eq!(seen(&scene, selectors), *expected, "{selectors:?}");
    }
}

/// What is not there yet would be an error, or not be found when it comes.
#[test]
fn root_what_is_not_there_yet_is_waited_for() {
    if !is_root() {
        return;
    }
    let scene = require!(Scene::new());
    let (one, late) = (scene.path("agentone"), scene.path("agentlate"));
    let cgroup = scene.cgroup.to_str().unwrap().to_owned();
    fs::remove_dir(&scene.cgroup).unwrap();
    for selectors in [["--binary", &late], ["--cgroup", &cgroup]] {
        let refused = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .arg("attach")
            .args(selectors)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(4), "{selectors:?}");
        let capture = Capture::select(&[&["--wait"][..], &selectors].concat());
        let sort = match selectors[0] {
            "--binary" => {
                fs::copy(&one, &late).unwrap();
                Sort {
                    name: "agentlate",
                    ..ONE
                }
            }
            _ => {
                fs::create_dir(&scene.cgroup).unwrap();
                Sort {
                    in_cgroup: true,
                    ..ONE
                }
            }
        };
        let agent = scene.start(&sort);
        let pid = agent.speaker(false);
        std::thread::sleep(Duration::from_millis(1500));
        agent.speak();
        let captured = capture.stop();
        let pids: Vec<_> = captured.conns.values().map(|conn| conn.pid).collect();
        assert!(pids.contains(&pid), "{selectors:?}: {}", captured.stderr);
    }
}
