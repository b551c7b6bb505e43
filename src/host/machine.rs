//! Which machine this is, as far as it decides what things cost: its kernel and its processor.

use std::fs;

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
        let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).ok();
        let release = read("sys/kernel/osrelease")?;
        let version = read("sys/kernel/version")?;
        let kernel = format!("{} {}", release.trim(), version.trim());
        Some(Self {
            kernel: kernel.chars().take(WORDS_MAX).collect(),
            processor: processor(&read("cpuinfo")?)?,
        })
    }
}

/// Of the first processor in the list.
fn processor(cpuinfo: &str) -> Option<String> {
    let value = |name: &&str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| key.trim() == *name)?;
        Some(value.trim())
    };
    let words: Vec<_> = PROCESSOR.iter().filter_map(value).collect();
    let words = words.join(" ");
    (!words.is_empty()).then(|| words.chars().take(WORDS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways that processors are described.
    #[test]
    fn names_processors() {
        let x86 = "processor\t: 0\nmodel name\t: A B: 2\n\nmodel name\t: other\n";
        assert_eq!(processor(x86).as_deref(), Some("A B: 2"));
        let arm =
            "BogoMIPS\t: 50\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n";
        assert_eq!(processor(arm).as_deref(), Some("0x41 0xd0c 0x3"));
        assert_eq!(processor("nothing here"), None);
        assert!(Machine::here().is_some());
    }
}
