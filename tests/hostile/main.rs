//! A target chooses its own bytes, so examining it must neither panic, nor place a probe outside of
//! code, nor take more time or memory than the file's size justifies.
//!
//! Here: what is cut off, impossible or no program at all, and what people are told about it. `damage`
//! has wrong values in good files, `bombs` what is made to eat time or memory, `fuzzed` runs what the
//! fuzzer runs.

#![allow(
    clippy::duplicate_mod,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod bombs;
mod damage;
mod fuzzed;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use agentsight::discover::{Method, Report, examine};
use agentsight::error::{ErrorKind, Result};
use agentsight::image::ImageFile;
use agentsight::image::debug_file::DebugDirs;
use agentsight::symdb::SymbolDb;
use goblin::container::Ctx;
use goblin::elf::program_header::ProgramHeader;
use goblin::elf::{Elf, Header};
use support::elf::{self, Builder, Out, Table};
use support::truth::code_offset;
use support::{require, sample, skip, testbin};

/// Far more than any case takes, on a slow machine too; a case that hangs takes for ever.
const CASE_LIMIT: Duration = Duration::from_secs(10);

static DATABASE: LazyLock<SymbolDb> = LazyLock::new(|| SymbolDb::load().unwrap());

/// Examines files without the help of the system's debug files.
fn look(path: &Path) -> Result<Report> {
    let dirs = DebugDirs { global: Vec::new() };
    examine(&ImageFile::open(path)?, &DATABASE, &dirs)
}

/// A folder with one file, which is written anew for each case.
struct Bench {
    folder: tempfile::TempDir,
    name: String,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            name: "program".to_owned(),
        }
    }

    /// Beside a copy of what the program's folder has: its debug file.
    fn beside_the_files_of(program: &Path) -> Self {
        let bench = Self {
            name: program.file_name().unwrap().to_str().unwrap().to_owned(),
            ..Self::new()
        };
        for file in fs::read_dir(program.parent().unwrap()).unwrap().flatten() {
            if file.path().extension().is_some_and(|end| end == "debug") {
                fs::copy(file.path(), bench.folder.path().join(file.file_name())).unwrap();
            }
        }
        bench
    }

    fn put(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(&self.name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Examines `bytes`, and checks what must hold for any of them.
    fn look(&self, bytes: &[u8], about: &str) -> Result<Report> {
        let path = self.put(bytes);
        let began = Instant::now();
        let report = look(&path);
        let took = began.elapsed();
        assert!(took < CASE_LIMIT, "{about}: took {took:?}");
        if let Ok(report) = &report {
            assert_only_code(report, bytes, about);
        }
        report
    }
}

/// Every function must lie in an executable segment, by goblin's reading of the same headers.
fn assert_only_code(report: &Report, bytes: &[u8], about: &str) {
    let functions = report
        .findings
        .iter()
        .flat_map(|finding| &finding.functions);
    let mut functions = functions.peekable();
    if functions.peek().is_none() {
        return;
    }
    let header = Elf::parse_header(bytes).unwrap_or_else(|error| panic!("{about}: {error}"));
    let segments = segments(&header, bytes);
    for function in functions {
        let (vaddr, offset) = (function.vaddr.0, function.file_offset.0);
        assert!(
            offset < bytes.len() as u64,
            "{about}: {} is outside",
            function.name
        );
        assert_eq!(
            code_offset(&segments, vaddr),
            Some(offset),
            "{about}: {} at {vaddr:#x}",
            function.name
        );
    }
}

fn segments(header: &Header, bytes: &[u8]) -> Vec<ProgramHeader> {
    let class = header.container().unwrap();
    let context = Ctx::new(class, header.endianness().unwrap());
    let start = usize::try_from(header.e_phoff).unwrap();
    ProgramHeader::parse(bytes, start, usize::from(header.e_phnum), context).unwrap()
}

/// Debian's OpenSSL: versions, both kinds of notes, no `.symtab`.
fn libssl() -> Option<Vec<u8>> {
    Some(fs::read(sample("deb-libssl3")?.path).unwrap())
}

/// A file that was cut off would be read past its end, or its remains be probed.
#[test]
fn truncated_files_are_told() {
    let standin = require!(testbin("standin/openssl", "dwarf5"));
    for bytes in [fs::read(standin.path).unwrap(), require!(libssl())] {
        let segments = segments(&Elf::parse_header(&bytes).unwrap(), &bytes);
        let loads = segments
            .iter()
            .filter(|segment| segment.p_type == elf::PT_LOAD);
        let loaded = loads
            .map(|load| load.p_offset + load.p_filesz)
            .max()
            .unwrap();
        let mut cut = 0;
        for part in 0..64 {
            let len = bytes.len() * part / 64;
            let report = Bench::new().look(&bytes[..len], &format!("{len} bytes"));
            // What the kernel maps must be complete; section headers, at the very end, need not be.
            match report {
                Ok(_) => assert!(len as u64 >= loaded, "{len} of {loaded} bytes were enough"),
                Err(error) => {
                    cut += 1;
                    assert!((len as u64) < loaded, "{len} of {loaded} bytes: {error:#}");
                    let message = format!("{error:#}");
                    let expected = if len == 0 { "it is empty" } else { "truncated" };
                    assert!(message.contains(expected), "{len} bytes: {message}");
                    assert_eq!(error.kind(), ErrorKind::InvalidData);
                }
            }
        }
        assert!(cut > 8);
    }
}

fn message(path: &Path) -> String {
    match look(path) {
        Ok(_) => panic!("{} was examined", path.display()),
        Err(error) => format!("{error:#}"),
    }
}

/// People would not learn what is wrong with what they named.
#[test]
fn messages_name_the_file_and_the_reason() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    for (bytes, reason) in [
        (b"".as_slice(), "not an ELF file: it is empty"),
        (
            b"#!/usr/bin/env node\nx()",
            "a script run by /usr/bin/env node; name that",
        ),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "a Mach-O binary"),
        (b"MZ\x90\0", "a Windows executable"),
        (b"!<arch>\n/", "a static library"),
        (b"\x7fEL", "truncated in its first four bytes"),
        (b"\x7fELF", "truncated: the ELF header is not complete"),
        (b"\x7fELF\x07", "class 7 is neither 32 nor 64 bit"),
        (b"hello", "not an ELF file"),
    ] {
        let path = bench.put(bytes);
        let message = message(&path);
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(message.contains(reason), "{message}");
    }
    assert!(message(folder).ends_with("is not a regular file"));
    assert!(message(Path::new("/dev/zero")).ends_with("is not a regular file"));
    let missing = folder.join("missing");
    let text = message(&missing);
    assert!(
        text.starts_with(&format!("failed to open {}: ", missing.display())),
        "{text}"
    );
    assert_eq!(look(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    let circle = folder.join("circle");
    symlink(&circle, &circle).unwrap();
    assert!(message(&circle).starts_with("failed to open"));
}

/// Opening a FIFO waits for a writer, for ever if we let it.
#[test]
fn a_fifo_does_not_make_us_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let Ok(status) = Command::new("mkfifo").arg(&path).status() else {
        return require!(skip("mkfifo"));
    };
    assert!(status.success());
    assert!(message(&path).ends_with("is not a regular file"));
}

/// 100 MB of nothing would be searched or copied.
#[test]
fn zeros_are_refused_at_once() {
    let bench = Bench::new();
    let path = bench.put(b"");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    assert!(message(&path).ends_with("not an ELF file"));
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all(b"\x7fELF")
        .unwrap();
    assert!(message(&path).contains("class 0 is neither"));
}

/// The functions of a complete OpenSSL.
const COMPLETE: [&str; 5] = [
    "SSL_CTX_new",
    "SSL_free",
    "SSL_new",
    "SSL_read",
    "SSL_write",
];

fn program() -> Builder {
    Builder::new(elf::X86_64).functions(COMPLETE)
}

/// Two segments that map the same code from different places: any choice may be the wrong one.
#[test]
fn code_that_is_claimed_twice_is_refused() {
    let builder = program();
    let mut second = builder.code_load();
    second.offset -= 0x800;
    let bytes = builder.load(second).build();
    let report = Bench::new().look(&bytes, "two segments").unwrap();
    assert!(report.findings.is_empty());
    assert_eq!(
        report.refused.len(),
        COMPLETE.len() - 1,
        "{:?}",
        report.refused
    );

    let builder = program();
    let same = builder.code_load();
    let report = Bench::new()
        .look(&builder.load(same).build(), "the same twice")
        .unwrap();
    assert_eq!(
        report.findings.len(),
        1,
        "two claims that agree are no doubt"
    );
}

/// A name outside of the string table would be read from elsewhere.
#[test]
fn names_outside_of_their_table_are_no_names() {
    for at in [u32::MAX, 1 << 31, 1 << 16] {
        let report = Bench::new()
            .look(&program().names_at(at).build(), "names")
            .unwrap();
        assert!(report.findings.is_empty());
        let bytes = program().names_at(at).dynamic(Vec::new()).build();
        let report = Bench::new().look(&bytes, "dynamic names").unwrap();
        assert!(report.findings.is_empty());
    }
}

/// Counts in section headers that no file has room for would be believed.
#[test]
fn impossible_section_counts_are_damage() {
    let good = program().build();
    let header = Elf::parse_header(&good).unwrap();
    let mut many = good.clone();
    many[60..62].copy_from_slice(&u16::MAX.to_le_bytes());
    // With e_shnum 0, the number is the size of section 0: System V ABI, "ELF Header".
    let mut huge = good.clone();
    huge[60..62].fill(0);
    let size_of_first = header.e_shoff as usize + 32;
    huge[size_of_first..size_of_first + 8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    for bytes in [many, huge] {
        let report = Bench::new().look(&bytes, "section count").unwrap();
        assert!(report.findings.is_empty());
        let symtab = report
            .ladder
            .iter()
            .find(|rung| rung.method == Method::Symtab)
            .unwrap();
        assert!(
            symtab.outcome.contains("section headers damaged"),
            "{symtab:?}"
        );
    }
}

/// A hash table that promises more symbols than the file has room for would be believed.
#[test]
fn huge_hash_counts_are_bounded() {
    for counts in [[1, u32::MAX], [u32::MAX, u32::MAX], [0, 0], [1, 1 << 20]] {
        let mut hash = Out::new(elf::X86_64);
        hash.u32(counts[0]).u32(counts[1]).text(&[0; 64]);
        let more = vec![(elf::DT_HASH, Table::At(hash.bytes))];
        let bytes = program().dynamic(more).build();
        let report = Bench::new().look(&bytes, "hash").unwrap();
        assert_eq!(
            report.findings.len(),
            1,
            "{counts:?}: the string table bounds the symbols"
        );
    }
}

/// Version definitions that lead to themselves, or nowhere, would keep us busy for ever.
#[test]
fn version_definitions_end() {
    for (next, count) in [
        (0, u64::MAX),
        (1, u64::MAX),
        (20, 1 << 40),
        (u32::MAX, u64::MAX),
    ] {
        let mut definition = Out::new(elf::X86_64);
        definition
            .u16(1)
            .u16(0)
            .u16(2)
            .u16(1)
            .u32(0)
            .u32(20)
            .u32(next);
        definition.u32(1).u32(0).text(&[0; 64]);
        let mut indices = Out::new(elf::X86_64);
        for _ in 0..=COMPLETE.len() {
            indices.u16(2);
        }
        let more = vec![
            (elf::DT_VERDEF, Table::At(definition.bytes)),
            (elf::DT_VERDEFNUM, Table::Value(count)),
            (elf::DT_VERSYM, Table::At(indices.bytes)),
        ];
        let report = Bench::new()
            .look(&program().dynamic(more).build(), "versions")
            .unwrap();
        assert_eq!(report.findings.len(), 1);
        let evidence = &report.findings[0].functions[0].evidence[0].detail;
        assert!(
            evidence.contains('@'),
            "the version was not read: {evidence}"
        );
    }
}
