//! What processes do, against what they have written down themselves: nothing is missing, nothing is made up, and no path
//! is another file's.

mod acts;
mod agents;
mod begun;
mod cases;
mod crowds;
mod files;
mod mounts;
mod names;
mod score;
mod script;
mod unseen;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agentsight::event::frame::Frame;
use agentsight::record::Recording;
use serde_json::Value;

use crate::is_root;
use crate::llm::clients::Scene;

const AGENTSIGHT: &str = env!("CARGO_BIN_EXE_agentsight");

/// A run of `record`, and what a replay of it says.
struct Recorded {
    dir: tempfile::TempDir,
}

impl Recorded {
    /// `None`: that needs root.
    fn place() -> Option<Self> {
        let dir = is_root().then(|| tempfile::tempdir().unwrap())?;
        Some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Records a command to its end; what was said on the way.
    fn run(&self, command: &[&str]) -> String {
        self.run_with(&[], command)
    }

    /// The same with these variables.
    fn run_with(&self, variables: &[(&str, &str)], command: &[&str]) -> String {
        let output = Command::new(AGENTSIGHT)
            .arg("record")
            .arg("-o")
            .arg(self.path("run.rec"))
            .arg("--")
            .args(command)
            .envs(variables.iter().copied())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// All bytes of the kernel's records, as they are kept.
    fn kept(&self) -> Vec<u8> {
        let file = File::open(self.path("run.rec")).unwrap();
        let mut recording = Recording::open(file).unwrap();
        let mut kept = Vec::new();
        while let Some(frame) = recording.next_frame().unwrap() {
            if let Frame::Records(block) = frame {
                kept.extend_from_slice(block.as_bytes());
            }
        }
        kept
    }

    /// All lines.
    fn lines(&self) -> Vec<Value> {
        let output = Command::new(AGENTSIGHT)
            .args(["replay", "--json", "--redact", "off", "--quiet"])
            .arg(self.path("run.rec"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

/// Runs an agent under `record`; the lines of its replay.
fn observe(scene: &Scene, agent: &Command) -> Vec<Value> {
    let recording = scene.dir.path().join("run.rec");
    let mut record = scene.command(Path::new(AGENTSIGHT));
    record
        .args(["record", "-q", "-o"])
        .arg(&recording)
        .arg("--");
    record.arg(agent.get_program()).args(agent.get_args());
    let variables = agent.get_envs();
    record.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let answer = scene.run(&mut record);
    assert!(answer.contains("All done."), "{answer}");
    let replayed = Command::new(AGENTSIGHT)
        .args(["replay", "--json", "--view", "llm", "-q"])
        .arg(&recording)
        .output()
        .unwrap();
    let lines = replayed.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Compiles a program of this folder.
fn compile(name: &str, dir: &Path) -> PathBuf {
    compile_with(name, dir, &["-pthread"])
}

/// The same with these options.
fn compile_with(name: &str, dir: &Path, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/deeds");
    let program = dir.join(name);
    let compiled = Command::new("gcc")
        .args(["-O2", "-Wall"])
        .args(options)
        .arg("-o")
        .arg(&program)
        .arg(source.join(format!("{name}.c")))
        .status()
        .unwrap();
    assert!(compiled.success());
    program
}
