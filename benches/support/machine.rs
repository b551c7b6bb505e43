//! What the figures were taken on.

use std::fs;
use std::process::Command;

use procfs::Current;
use serde::{Deserialize, Serialize};

/// Enough to tell whether two runs may be compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub is_virtual: bool,
    pub kernel: String,
    pub system: String,
    pub openssl: String,
    pub bpftrace: String,
    /// Of the last minute, when the bench began: what else ran.
    pub load: f32,
    /// An optimised build, or not: then the figures say little.
    pub is_optimised: bool,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let cpus = procfs::CpuInfo::current().ok();
        let processor = cpus
            .as_ref()
            .and_then(|cpus| cpus.model_name(0))
            .unwrap_or("unknown");
        let flags = cpus.as_ref().and_then(|cpus| cpus.flags(0));
        let memory = procfs::Meminfo::current().map_or(0, |memory| memory.mem_total);
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let system = read("/etc/os-release");
        let mut lines = system.lines();
        let system = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            processor: processor.to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gb: (memory as f64 / 1e8).round() / 10.0,
            is_virtual: flags.is_some_and(|flags| flags.contains(&"hypervisor")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: system.unwrap_or("unknown").trim_matches('"').to_owned(),
            openssl: version("openssl", "version"),
            bpftrace: version("bpftrace", "--version"),
            load: procfs::LoadAverage::current().map_or(f32::NAN, |load| load.one),
            is_optimised: !cfg!(debug_assertions),
        }
    }

    /// For people.
    pub fn line(&self) -> String {
        let kind = if self.is_virtual {
            "virtual machine"
        } else {
            "machine"
        };
        let build = if self.is_optimised {
            ""
        } else {
            ", **not optimised**"
        };
        format!(
            "{kind} with {} cores of {}, {} GB, Linux {}, {}, {}, {}; load at the start {:.2}{build}",
            self.cores,
            self.processor,
            self.memory_gb,
            self.kernel,
            self.system,
            self.openssl,
            self.bpftrace,
            self.load
        )
    }
}

fn version(tool: &str, option: &str) -> String {
    let output = Command::new(tool).arg(option).output();
    let printed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let printed = printed.unwrap_or_default();
    let words: Vec<&str> = printed.split_whitespace().take(2).collect();
    if words.is_empty() {
        format!("no {tool}")
    } else {
        words.join(" ")
    }
}
