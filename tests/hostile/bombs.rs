//! Files that are made to eat time or memory. Each is examined in a process of its own, with a limit on
//! its address space, which reports its peak.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agentsight::image::Image;
use agentsight::image::unwind::UnwindTable;
use goblin::elf::Elf;

use crate::support::elf::{self, Builder, Load, Out, Table};
use crate::support::{require, skip};
use crate::{Bench, CASE_LIMIT, COMPLETE, look, program};

/// Set for the process that examines one file: which.
const FILE: &str = "AGENTSIGHT_HOSTILE_FILE";

/// What examining a file cost and gave.
struct Weighed {
    /// Peak of resident memory.
    peak_mb: u64,
    took: Duration,
    /// The report, or the error, as text.
    outcome: String,
}

impl Weighed {
    /// One file has `size` bytes: both limits leave room for an unoptimised build.
    fn assert_light(&self, about: &str, size: usize) {
        let mb = size as u64 / (1 << 20);
        assert!(
            self.peak_mb < 64 + 6 * mb,
            "{about}: {} MB for {mb} MB",
            self.peak_mb
        );
        assert!(
            self.took < CASE_LIMIT,
            "{about}: {:?} for {mb} MB",
            self.took
        );
    }
}

/// Examines `bytes` in a process of its own, which runs this same test and ends in [`is_weighed`].
fn weigh(test: &str, bytes: &[u8]) -> Weighed {
    let bench = Bench::new();
    let path = bench.put(bytes);
    let output = bench.folder.path().join("output");
    let into = fs::File::create(&output).unwrap();
    // Whoever eats memory fails here, instead of taking the machine down.
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v 4000000 && exec \"$0\" \"$@\" 2>&1"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FILE, &path)
        .stdout(into)
        .spawn()
        .unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > 3 * CASE_LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{test}: not done after {:?}", began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let printed = fs::read_to_string(&output).unwrap();
    assert!(status.success(), "{test}: {status}\n{printed}");
    let mut lines = printed.lines();
    let line = lines.find_map(|line| Some(line.split_once("weighed ")?.1));
    let mut words = line.unwrap_or_else(|| panic!("{printed}")).splitn(3, ' ');
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    Weighed {
        peak_mb: number() >> 10,
        took: Duration::from_micros(number()),
        outcome: words.next().unwrap().to_owned(),
    }
}

/// In the process that [`weigh`] started: examines the file, prints the cost, and is true.
fn is_weighed() -> bool {
    let Some(path) = std::env::var_os(FILE) else {
        return false;
    };
    let began = Instant::now();
    let report = look(Path::new(&path));
    let took = began.elapsed().as_micros();
    let outcome = match report {
        Ok(report) => serde_json::to_string(&report).unwrap(),
        Err(error) => format!("{error:#}"),
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("weighed {peak} {took} {outcome}");
    true
}

/// A few kilobytes of `.gnu_debugdata` would unpack until memory is full.
#[test]
fn an_xz_bomb_is_refused() {
    if is_weighed() {
        return;
    }
    let zeros = vec![0; (256 << 20) + 1];
    let bomb = require!(xz(&zeros));
    assert!(bomb.len() < 1 << 20);
    let bytes = program_without_names(".gnu_debugdata", 0, bomb);
    let weighed = weigh("bombs::an_xz_bomb_is_refused", &bytes);
    assert!(
        weighed.outcome.contains("more than 256 MiB"),
        "{}",
        weighed.outcome
    );
    // The limit itself, once.
    assert!(weighed.peak_mb < 256 + 64, "{} MB", weighed.peak_mb);
    assert!(weighed.took < 3 * CASE_LIMIT, "{:?}", weighed.took);
}

/// A dictionary of 4 GB, which any xz file may ask for, would be allocated.
#[test]
fn an_xz_dictionary_is_bounded() {
    if is_weighed() {
        return;
    }
    let mut packed = require!(xz(&vec![7; 100_000]));
    // The xz file format 1.1.0, 3.1 and 5.3.1: behind the 12 bytes of the stream header, size and
    // flags; the filter's ID 0x21, the length 1, and the dictionary's size; zeros and a CRC-32.
    let header = 12;
    let length = (usize::from(packed[header]) + 1) * 4;
    let filter = packed[header..header + length]
        .windows(2)
        .position(|ids| ids == [0x21, 1]);
    packed[header + filter.unwrap() + 2] = 40;
    let end = header + length - 4;
    let crc = crc32fast::hash(&packed[header..end]);
    packed[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    let bytes = program_without_names(".gnu_debugdata", 0, packed);
    let weighed = weigh("bombs::an_xz_dictionary_is_bounded", &bytes);
    weighed.assert_light("dictionary", bytes.len());
    assert!(weighed.outcome.contains("memory"), "{}", weighed.outcome);
}

fn xz(data: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new("xz")
        .args(["--stdout", "-0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        return skip("xz");
    };
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(data).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        Some(output.stdout)
    })
}

/// A program without functions of its own, so that all rungs are climbed.
fn program_without_names(section: &str, flags: u64, data: Vec<u8>) -> Vec<u8> {
    Builder::new(elf::X86_64)
        .functions(["main"])
        .section(section, elf::SHT_PROGBITS, flags, data)
        .build()
}

/// An `Elf64_Chdr` (type, reserved, size, alignment), then the data.
fn compressed(kind: u32, size: u64, data: &[u8]) -> Vec<u8> {
    let mut out = Out::new(elf::X86_64);
    out.u32(kind).u32(0).u64(size).u64(1).text(data);
    out.bytes
}

const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;

/// The size that a compressed section claims would be allocated.
#[test]
fn a_claimed_size_is_not_allocated() {
    if is_weighed() {
        return;
    }
    for (kind, size) in [
        (ELFCOMPRESS_ZLIB, 1 << 60),
        (ELFCOMPRESS_ZSTD, u64::MAX),
        (ELFCOMPRESS_ZSTD, (4 << 30) - 1),
    ] {
        let data = compressed(kind, size, b"x");
        let bytes = program_without_names(".debug_info", elf::SHF_COMPRESSED, data);
        let weighed = weigh("bombs::a_claimed_size_is_not_allocated", &bytes);
        weighed.assert_light("claimed size", bytes.len());
        assert!(
            weighed.outcome.contains("more than the limit"),
            "{}",
            weighed.outcome
        );
    }
}

/// Debug sections of a few kilobytes would each unpack to gigabytes.
#[test]
fn a_zstd_bomb_is_refused() {
    const BLOCK: u32 = 128 << 10;
    if is_weighed() {
        return;
    }
    // RFC 8878, 3.1.1: magic, a frame header with a window of 128 KiB, blocks of one repeated byte.
    let blocks = 4096;
    let mut frame = Out::new(elf::X86_64);
    frame.u32(0xfd2f_b528).u8(0).u8(7 << 3);
    for n in 1..=blocks {
        let block = BLOCK << 3 | 1 << 1 | u32::from(n == blocks);
        frame.text(&block.to_le_bytes()[..3]).u8(b'x');
    }
    let bomb = compressed(ELFCOMPRESS_ZSTD, u64::from(blocks * BLOCK), &frame.bytes);
    let mut builder = Builder::new(elf::X86_64).functions(["main"]);
    for name in [
        "info",
        "abbrev",
        "str",
        "line",
        "line_str",
        "str_offsets",
        "addr",
        "ranges",
    ] {
        let name = format!(".debug_{name}");
        builder = builder.section(&name, elf::SHT_PROGBITS, elf::SHF_COMPRESSED, bomb.clone());
    }
    let bytes = builder.build();
    let weighed = weigh("bombs::a_zstd_bomb_is_refused", &bytes);
    assert!(
        weighed.outcome.contains("more than the limit"),
        "{}",
        weighed.outcome
    );
    weighed.assert_light("zstd", bytes.len());
}

/// `b"AAAA…\0"`: what ends only after megabytes, and may be named again and again.
fn endless() -> String {
    "A".repeat(4 << 20)
}

/// Reading the same endless name for every symbol takes the square of the file's size.
#[test]
fn symbols_may_share_an_endless_name() {
    if is_weighed() {
        return;
    }
    let builder = || {
        let names = vec!["x"; 50_000].into_iter().map(str::to_owned);
        Builder::new(elf::X86_64)
            .functions([endless()].into_iter().chain(names))
            .names_at(1)
    };
    for bytes in [builder().build(), builder().dynamic(Vec::new()).build()] {
        let weighed = weigh("bombs::symbols_may_share_an_endless_name", &bytes);
        weighed.assert_light("symbol names", bytes.len());
        assert!(
            weighed.outcome.contains("50002 symbols"),
            "{}",
            weighed.outcome
        );
    }
}

/// The same for names of sections.
#[test]
fn sections_may_share_an_endless_name() {
    if is_weighed() {
        return;
    }
    let mut builder = program().section(&endless(), elf::SHT_PROGBITS, 0, Vec::new());
    for _ in 0..50_000 {
        builder = builder.section("", elf::SHT_PROGBITS, 0, Vec::new());
    }
    let mut bytes = builder.build();
    let header = Elf::parse_header(&bytes).unwrap();
    // Behind the null section and the three that the builder makes stands the one with the name.
    let at = |n: usize| header.e_shoff as usize + n * 64;
    let name: [u8; 4] = bytes[at(4)..at(4) + 4].try_into().unwrap();
    for n in 5..usize::from(header.e_shnum) {
        bytes[at(n)..at(n) + 4].copy_from_slice(&name);
    }
    let weighed = weigh("bombs::sections_may_share_an_endless_name", &bytes);
    weighed.assert_light("section names", bytes.len());
    assert!(weighed.outcome.contains("SSL_read"), "{}", weighed.outcome);
}

/// The same for strings of the dynamic segment.
#[test]
fn needed_libraries_may_share_an_endless_name() {
    const DT_NEEDED: u64 = 1;
    if is_weighed() {
        return;
    }
    let more = vec![(DT_NEEDED, Table::Value(1)); 50_000];
    let builder = Builder::new(elf::X86_64).functions([endless()]);
    let bytes = builder.functions(COMPLETE).dynamic(more).build();
    let weighed = weigh("bombs::needed_libraries_may_share_an_endless_name", &bytes);
    weighed.assert_light("needed", bytes.len());
    assert!(weighed.outcome.contains("SSL_read"), "{}", weighed.outcome);
}

/// Looking through each segment's bytes takes the square of the file's size if all cover the file.
#[test]
fn segments_may_all_cover_the_file() {
    if is_weighed() {
        return;
    }
    for kind in [elf::PT_LOAD, elf::PT_NOTE] {
        let whole = Load {
            kind,
            offset: 0,
            vaddr: 0x7000_0000,
            size: 4 << 20,
            executable: false,
        };
        // Notes without a build ID: name and description of four bytes each.
        let note: &[u8] = b"\x04\0\0\0\x04\0\0\0\x01\0\0\0abc\0defg";
        let mut builder = Builder::new(elf::X86_64).functions(["main"]);
        builder = builder.section(
            ".data",
            elf::SHT_PROGBITS,
            0,
            note.repeat((4 << 20) / note.len()),
        );
        for _ in 0..60_000 {
            builder = builder.load(whole);
        }
        let mut bytes = builder.build();
        if kind == elf::PT_NOTE {
            // The segments begin where the notes do.
            let start = bytes
                .windows(note.len())
                .position(|window| window == note)
                .unwrap();
            let header = Elf::parse_header(&bytes).unwrap();
            let first = header.e_phoff as usize;
            for n in 2..2 + 60_000 {
                let field = first + n * 56 + 8;
                bytes[field..field + 8].copy_from_slice(&(start as u64).to_le_bytes());
                bytes[field + 24..field + 32].copy_from_slice(&(3u64 << 20).to_le_bytes());
            }
        }
        let weighed = weigh("bombs::segments_may_all_cover_the_file", &bytes);
        weighed.assert_light(&format!("segments of type {kind}"), bytes.len());
        let answer = if kind == elf::PT_LOAD {
            "loadable segments"
        } else {
            "x86-64"
        };
        assert!(weighed.outcome.contains(answer), "{}", weighed.outcome);
    }
}

/// Thousands of renamed copies of OpenSSL take the square of their number.
#[test]
fn thousands_of_copies_are_too_many() {
    if is_weighed() {
        return;
    }
    let renamed = (0..20_000).flat_map(|n| COMPLETE.map(|name| format!("x{n}_{name}")));
    let wrappers = (0..100_000).map(|n| format!("x{n}_SSL_read"));
    let repeated = (0..20_000).flat_map(|_| COMPLETE.map(str::to_owned));
    let cases: [Vec<String>; 3] = [renamed.collect(), wrappers.collect(), repeated.collect()];
    for names in cases {
        let bytes = Builder::new(elf::X86_64).functions(names).build();
        let weighed = weigh("bombs::thousands_of_copies_are_too_many", &bytes);
        weighed.assert_light("copies", bytes.len());
        assert!(
            weighed.outcome.contains("too many"),
            "{:.300}",
            weighed.outcome
        );
    }
    // Hundreds are believed, as long as that stays cheap.
    let renamed = (0..800).flat_map(|n| COMPLETE.map(|name| format!("x{n}_{name}")));
    let payload = vec![0; 8 << 20];
    let bytes = Builder::new(elf::X86_64)
        .functions(renamed)
        .section(".data", elf::SHT_PROGBITS, 0, payload)
        .build();
    let weighed = weigh("bombs::thousands_of_copies_are_too_many", &bytes);
    weighed.assert_light("hundreds of copies", bytes.len());
    assert!(weighed.outcome.contains("x799_SSL_read"));
}

/// Version definitions that share an endless name take the square of the file's size, too.
#[test]
fn versions_may_share_an_endless_name() {
    if is_weighed() {
        return;
    }
    let mut definitions = Out::new(elf::X86_64);
    for n in 0..60_000 {
        definitions
            .u16(1)
            .u16(0)
            .u16(n)
            .u16(1)
            .u32(0)
            .u32(20)
            .u32(28);
        definitions.u32(1).u32(0);
    }
    let more = vec![
        (elf::DT_VERDEF, Table::At(definitions.bytes)),
        (elf::DT_VERDEFNUM, Table::Value(60_000)),
        (elf::DT_VERSYM, Table::At(vec![0xff; 64])),
    ];
    let builder = Builder::new(elf::X86_64).functions([endless()]);
    let bytes = builder.functions(COMPLETE).dynamic(more).build();
    let weighed = weigh("bombs::versions_may_share_an_endless_name", &bytes);
    weighed.assert_light("versions", bytes.len());
    assert!(weighed.outcome.contains("SSL_read"), "{}", weighed.outcome);
}

/// Units of DWARF that share one big abbreviation table take the square of the file's size.
#[test]
fn dwarf_units_may_share_abbreviations() {
    if is_weighed() {
        return;
    }
    let mut abbreviations = Vec::new();
    for code in 1..200_000u32 {
        // Code as LEB128 in three bytes, DW_TAG_base_type, no children, no attributes.
        let code = [code | 0x80, code >> 7 | 0x80, code >> 14 & 0x7f].map(|byte| byte as u8);
        abbreviations.extend(code);
        abbreviations.extend([0x24, 0, 0, 0]);
    }
    abbreviations.push(0);
    // A version 4 unit: length, version, offset of the abbreviations, address size; one entry.
    let mut units = Out::new(elf::X86_64);
    for _ in 0..50_000 {
        units.u32(8).u16(4).u32(0).u8(8).u8(1);
    }
    let bytes = Builder::new(elf::X86_64)
        .functions(["main"])
        .section(".debug_info", elf::SHT_PROGBITS, 0, units.bytes)
        .section(".debug_abbrev", elf::SHT_PROGBITS, 0, abbreviations)
        .section(".debug_str", elf::SHT_PROGBITS, 0, b"SSL_read\0".to_vec())
        .build();
    let weighed = weigh("bombs::dwarf_units_may_share_abbreviations", &bytes);
    assert!(weighed.outcome.contains("gave up"), "{}", weighed.outcome);
    assert!(weighed.took < 2 * CASE_LIMIT, "{:?}", weighed.took);
}

/// Where [`loaded`] puts its code.
const LOADED_AT: u64 = 0x40_0000;

/// An executable with one segment for all: code, then a source path to which it may refer.
fn loaded(code: &[u8], path: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 0x1000;
    let size = (code.len() + 1 + path.len()) as u64;
    let mut out = Out::new(elf::X86_64);
    out.text(b"\x7fELF\x02\x01\x01").text(&[0; 9]);
    out.u16(2).u16(elf::X86_64.machine).u32(1);
    out.word(LOADED_AT).word(64).word(0).u32(0);
    out.u16(64).u16(56).u16(1).u16(64).u16(0).u16(0);
    out.u32(elf::PT_LOAD).u32(5);
    out.word(HEADERS).word(LOADED_AT).word(LOADED_AT);
    out.word(size).word(size).word(HEADERS);
    out.bytes.resize(HEADERS as usize, 0);
    out.text(code).u8(0).text(path);
    out.bytes
}

/// Pieces of code that each refer to the path behind all of them by `lea rdi, [rip + …]`, which stands at `lea` of
/// the piece.
fn referring(piece: &[u8], lea: usize, count: usize) -> Vec<u8> {
    let mut code = piece.repeat(count);
    let path = code.len() + 1;
    for n in 0..count {
        let at = n * piece.len() + lea;
        code[at..at + 3].copy_from_slice(b"\x48\x8d\x3d");
        let distance = i32::try_from(path - (at + 7)).unwrap();
        code[at + 3..at + 7].copy_from_slice(&distance.to_le_bytes());
    }
    code
}

/// For each of many paths that no code refers to, all code would be searched again and again.
#[test]
fn unused_source_paths_are_not_searched_for_ever() {
    if is_weighed() {
        return;
    }
    let path = [&[b'A'; 1000], b"ssl/ssl_lib.c\0".as_slice()].concat();
    let bytes = loaded(&vec![0x90; 1 << 20], &path.repeat(4000));
    let weighed = weigh(
        "bombs::unused_source_paths_are_not_searched_for_ever",
        &bytes,
    );
    weighed.assert_light("unused paths", bytes.len());
    assert!(weighed.outcome.contains("refused"), "{}", weighed.outcome);
}

/// For each of many references to a source path, thousands of places before it would be tried as the start of
/// its function, and each be followed to its end.
#[test]
fn references_without_a_function_end_the_search() {
    if is_weighed() {
        return;
    }
    // Each piece jumps over its reference. Padding before all of them, then calls of all of them.
    let padded = *b"\xeb\x0dlea....\x90\x90\x90\x90\x90\x90\xcc";
    let mut called = [0x90; 32];
    called[..2].copy_from_slice(b"\xeb\x1e");
    called[9..14].copy_from_slice(b"\xe8\x12\0\0\0");
    called[31] = 0xcc;
    for (piece, count) in [(padded.as_slice(), 60_000), (called.as_slice(), 60_000)] {
        let bytes = loaded(&referring(piece, 2, count), b"ssl/ssl_lib.c\0");
        let weighed = weigh(
            "bombs::references_without_a_function_end_the_search",
            &bytes,
        );
        assert!(weighed.took < 3 * CASE_LIMIT, "{:?}", weighed.took);
        assert!(weighed.peak_mb < 128, "{} MB", weighed.peak_mb);
        assert!(weighed.outcome.contains("refused"), "{}", weighed.outcome);
    }
}

/// A million references, or functions that are all of one size, would be kept and compared with each other.
#[test]
fn references_are_not_compared_with_each_other() {
    if is_weighed() {
        return;
    }
    let bare = b"lea....";
    let function = *b"lea....\xc3\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc";
    for (piece, count) in [(bare.as_slice(), 1_000_000), (function.as_slice(), 60_000)] {
        let bytes = loaded(&referring(piece, 0, count), b"ssl/ssl_lib.c\0");
        let weighed = weigh("bombs::references_are_not_compared_with_each_other", &bytes);
        weighed.assert_light("references", bytes.len());
        assert!(weighed.outcome.contains("refused"), "{}", weighed.outcome);
    }
}

/// Entries of unwind tables that share one endless text would each read it.
#[test]
fn unwind_entries_may_share_an_endless_text() {
    // LSB Core 5.0, 10.6.1: length, 0, version 1, the augmentation, then factors and a register.
    let text = [b"z".as_slice(), &vec![b'S'; 8 << 20]].concat();
    let mut frames = Out::new(elf::X86_64);
    frames
        .u32(text.len() as u32 + 12)
        .u32(0)
        .u8(1)
        .text(&text)
        .text(&[0, 1, 0x78, 16, 0, 0, 0]);
    for _ in 0..200_000u32 {
        // Length, how far before this word the shared entry is, start and size of a function, no more.
        let back = frames.bytes.len() as u32 + 4;
        frames.u32(24).u32(back).u64(0x1000).u64(16).u32(0);
    }
    let whole = Load {
        kind: elf::PT_LOAD,
        offset: 0,
        vaddr: 0x7000_0000,
        size: frames.bytes.len() as u64,
        executable: false,
    };
    let bytes = Builder::new(elf::X86_64)
        .functions(["main"])
        .section(".eh_frame", elf::SHT_PROGBITS, 0, frames.bytes)
        .load(whole)
        .build();
    let image = Image::parse(&bytes).unwrap();
    assert!(image.section(".eh_frame").is_some());
    let began = Instant::now();
    let _ = UnwindTable::new(&image);
    assert!(began.elapsed() < CASE_LIMIT, "{:?}", began.elapsed());
}
