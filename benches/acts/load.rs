//! Work as agents have it done.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Result;

/// Files that the build compiles: for each the driver, the compiler and the assembler run.
const SOURCES: usize = 666;
/// Directories of the tree that is cloned, and files in each.
const TREE: (usize, usize) = (80, 50);

/// Some work.
pub struct Load {
    pub name: &'static str,
    /// For the reader of the table.
    pub what: &'static str,
    /// A shell's command.
    pub work: &'static str,
    /// A little of the same.
    pub warm_up: &'static str,
    prepare: fn(&Path) -> Result<()>,
}

impl Load {
    pub const ALL: [Self; 3] = [
        Self {
            name: "build",
            what: "`make -j2` of 666 small C files, some 2,000 programs",
            work: "make -s -B -j2 -C build all",
            warm_up: "make -s -B -C build 1.o 2.o",
            prepare: sources,
        },
        Self {
            name: "processes",
            what: "`/bin/true`, 2,000 times",
            work: "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done",
            warm_up: "/bin/true; /bin/true",
            prepare: |_| Ok(()),
        },
        Self {
            name: "files",
            what: "`git clone` of 4,000 files, `grep -r`, `rm -r`",
            work: "git clone -q --no-hardlinks tree copy && grep -rc struct copy > found; rm -r copy",
            warm_up: "git -C tree status > status; grep -c struct tree/0/0.c > found; rm -f none",
            prepare: tree,
        },
    ];

    /// Makes what it works on.
    pub fn prepare(&self, folder: &Path) -> Result<()> {
        (self.prepare)(folder)
    }
}

fn sources(folder: &Path) -> Result<()> {
    let folder = folder.join("build");
    fs::create_dir(&folder)?;
    let mut objects = String::new();
    for number in 0..SOURCES {
        fs::write(folder.join(format!("{number}.c")), source(number)?)?;
        write!(objects, " {number}.o")?;
    }
    let rules = format!("all:{objects}\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n");
    fs::write(folder.join("Makefile"), rules)?;
    Ok(())
}

fn source(number: usize) -> Result<String> {
    let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for function in 0..8 {
        writeln!(
            text,
            "struct pair_{function} {{ long first; char name[{number} + 1]; }};\n\
             int f_{number}_{function}(struct pair_{function} *of, int n)\n\
             {{ for (int i = 0; i < n; i++) of->name[i % ({number} + 1)] ^= (char)i; return (int)strlen(of->name); }}"
        )?;
    }
    Ok(text)
}

fn tree(folder: &Path) -> Result<()> {
    let folder = folder.join("tree");
    let (dirs, files) = TREE;
    for dir in 0..dirs {
        let inner = folder.join(dir.to_string());
        fs::create_dir_all(&inner)?;
        for file in 0..files {
            let text = source(dir * files + file)?.repeat(4);
            fs::write(inner.join(format!("{file}.c")), text)?;
        }
    }
    git(&folder, &["init", "-q"])?;
    git(&folder, &["add", "."])?;
    let who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
    git(&folder, &[&who[..], &["commit", "-qm", "tree"]].concat())
}

fn git(folder: &Path, words: &[&str]) -> Result<()> {
    let status = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(words)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("git {} failed", words.join(" ")).into())
    }
}
