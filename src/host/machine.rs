//! Which machine this is, as far as it decides what things cost: its kernel and its processor.

use std::fs;

use procfs::{CpuInfo, Current};

/// No processor's description is longer; what /proc says ends up in a file.
const WORDS_MAX: usize = 200;

/// Lines of /proc/cpuinfo that name a processor: x86 has the first one, aarch64 the others.
const PROCESSOR: [&str; 4] = ["model name", "CPU implementer", "CPU part", "CPU variant"];

/// What prices hold for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// As `uname -rv` says it.
    pub kernel: String,
    /// The first processor's model.
    pub processor: String,
}

impl Machine {
    /// The one that we run on. `None` where /proc does not tell.
    pub fn here() -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
        let (release, version) = (read("osrelease")?, read("version")?);
        Some(Self {
            kernel: bounded(&[release.trim(), version.trim()]),
            processor: processor(&CpuInfo::current().ok()?)?,
        })
    }
}

/// Of the first processor in the list.
fn processor(cpus: &CpuInfo) -> Option<String> {
    let first = cpus.get_info(0)?;
    let words: Vec<&str> = PROCESSOR
        .iter()
        .filter_map(|name| first.get(name).copied())
        .collect();
    (!words.is_empty()).then(|| bounded(&words))
}

fn bounded(words: &[&str]) -> String {
    words.join(" ").chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::*;

    /// Both ways that processors are described.
    #[test]
    fn names_processors() {
        let processor = |text: &str| processor(&CpuInfo::from_read(text.as_bytes()).ok()?);
        let x86 = "processor\t: 0\nmodel name\t: A B @ 2\n\nmodel name\t: other\n";
        assert_eq!(processor(x86).as_deref(), Some("A B @ 2"));
        let arm = "processor\t: 0\nBogoMIPS\t: 50\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n";
        assert_eq!(processor(arm).as_deref(), Some("0x41 0xd0c 0x3"));
        assert_eq!(processor("nothing here"), None);
        assert!(Machine::here().is_some());
    }
}
