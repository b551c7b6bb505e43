//! Good files with wrong values in them: every field of every header, then anything that discovery
//! reads, at random from fixed seeds.

use std::fs;

use agentsight::discover::Report;
use agentsight::error::Result;
use goblin::elf::{Elf, Header};

use crate::support::{Random, require, testbin};
use crate::{Bench, libssl};

/// Values that are right, nearly right, or as wrong as can be.
fn awkward(len: usize) -> [u64; 14] {
    let len = len as u64;
    [
        0,
        1,
        2,
        3,
        0x7f,
        len - 1,
        len,
        len / 2,
        0xffff,
        0x7fff_ffff,
        0xffff_ffff,
        i64::MAX as u64,
        u64::MAX - 7,
        u64::MAX,
    ]
}

/// Offsets and sizes of the fields of 64-bit headers: System V ABI, "ELF Header" and following.
const FILE_FIELDS: [(usize, usize); 19] = [
    (4, 1),
    (5, 1),
    (6, 1),
    (7, 1),
    (8, 8),
    (16, 2),
    (18, 2),
    (20, 4),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 4),
    (52, 2),
    (54, 2),
    (56, 2),
    (58, 2),
    (60, 2),
    (62, 2),
    (0, 4),
];
const PROGRAM_FIELDS: [(usize, usize); 8] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 8),
];
const SECTION_FIELDS: [(usize, usize); 10] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 4),
    (44, 4),
    (48, 8),
    (56, 8),
];

/// Offset and size of every field of the file header and the program headers.
fn loader_fields(header: &Header) -> Vec<(usize, usize)> {
    let programs = table(header.e_phoff, header.e_phnum, &PROGRAM_FIELDS);
    FILE_FIELDS.into_iter().chain(programs).collect()
}

/// Offset and size of every field of the section headers.
fn section_fields(header: &Header) -> Vec<(usize, usize)> {
    table(header.e_shoff, header.e_shnum, &SECTION_FIELDS).collect()
}

fn table(
    start: u64,
    count: u16,
    fields: &'static [(usize, usize)],
) -> impl Iterator<Item = (usize, usize)> {
    let entry: usize = fields.iter().map(|(_, size)| size).sum();
    let start = usize::try_from(start).unwrap();
    (0..usize::from(count)).flat_map(move |n| {
        fields
            .iter()
            .map(move |(inside, size)| (start + n * entry + inside, *size))
    })
}

/// How many cases found functions, and how many found none or failed.
#[derive(Debug, Default)]
struct Tally {
    found: usize,
    empty: usize,
    failed: usize,
}

impl Tally {
    fn add(&mut self, report: &Result<Report>) {
        match report {
            Ok(report) if report.findings.is_empty() => self.empty += 1,
            Ok(_) => self.found += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// Damage that never mattered, or always, would test nothing.
    fn assert_mixed(&self) {
        assert!(
            self.found > 50 && self.empty > 5 && self.failed > 20,
            "{self:?}"
        );
    }
}

/// Tries each awkward value, or only every third or so, in every field.
fn lie(fields: fn(&Header) -> Vec<(usize, usize)>, every: usize) -> Option<Tally> {
    let standin = testbin("standin/openssl", "dwarf5.dwarf-only")?;
    let good = fs::read(standin.path).unwrap();
    let bench = Bench::new();
    let mut tally = Tally::default();
    for (at, size) in fields(&Elf::parse_header(&good).unwrap()) {
        for value in awkward(good.len()).into_iter().step_by(every) {
            let mut bytes = good.clone();
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
            if bytes != good {
                let about = format!("{value:#x} in the {size} bytes at {at:#x}");
                tally.add(&bench.look(&bytes, &about));
            }
        }
    }
    Some(tally)
}

/// What the kernel loads by would crash us, or lead a probe out of the code.
#[test]
fn every_header_field_may_lie() {
    require!(lie(loader_fields, 1)).assert_mixed();
}

/// Section headers, which nothing checks before us, would crash us.
#[test]
fn every_section_field_may_lie() {
    let tally = require!(lie(section_fields, 3));
    // They are a convenience: without them there may be no names, but nothing fails.
    assert!(
        tally.found > 50 && tally.empty > 50 && tally.failed == 0,
        "{tally:?}"
    );
}

/// Where the structures are that discovery reads, by goblin.
fn structures(bytes: &[u8]) -> Vec<(usize, usize)> {
    const NAMES: [&str; 18] = [
        ".dynamic",
        ".dynstr",
        ".dynsym",
        ".gnu.hash",
        ".gnu.version",
        ".gnu.version_d",
        ".gnu.version_r",
        ".gnu_debugdata",
        ".gnu_debuglink",
        ".hash",
        ".note.gnu.build-id",
        ".shstrtab",
        ".symtab",
        ".strtab",
        ".debug_abbrev",
        ".debug_info",
        ".debug_line",
        ".debug_str_offsets",
    ];
    let elf = Elf::parse(bytes).unwrap();
    let header = elf.header;
    let programs = usize::from(header.e_phnum) * usize::from(header.e_phentsize);
    let sections = usize::from(header.e_shnum) * usize::from(header.e_shentsize);
    let mut found = vec![
        (0, 64),
        (usize::try_from(header.e_phoff).unwrap(), programs),
        (usize::try_from(header.e_shoff).unwrap(), sections),
    ];
    for section in &elf.section_headers {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap();
        if NAMES.contains(&name) && section.sh_size > 8 {
            found.push((section.sh_offset as usize, section.sh_size as usize));
        }
    }
    found
}

/// Writes one to four awkward or random values into the structures.
fn damage(bytes: &mut [u8], structures: &[(usize, usize)], random: &mut Random) {
    let len = bytes.len();
    for _ in 0..=random.below(4) {
        let &(start, length) = random.pick(structures);
        let size = *random.pick(&[1, 2, 4, 8]);
        let at = start + random.below(length - size + 1);
        let value = match random.below(4) {
            0 => random.next(),
            1 => random.next() % len as u64,
            _ => *random.pick(&awkward(len)),
        };
        bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }
}

/// How many times as much damage as usual: for a long hunt, say 100 in an optimised build.
pub fn times() -> u64 {
    std::env::var("AGENTSIGHT_HOSTILE_TIMES").map_or(1, |times| times.parse().unwrap())
}

fn damage_at_random(good: &[u8], bench: &Bench, cases: u64) -> Tally {
    let structures = structures(good);
    let mut tally = Tally::default();
    for seed in 0..cases * times() {
        let mut bytes = good.to_vec();
        damage(&mut bytes, &structures, &mut Random(seed));
        tally.add(&bench.look(&bytes, &format!("seed {seed}")));
    }
    tally
}

/// Damage in the dynamic segment, hash tables, versions and notes of a library would crash us.
#[test]
fn damaged_libraries_are_survived() {
    let good = require!(libssl());
    damage_at_random(&good, &Bench::new(), 600).assert_mixed();
}

/// Damage in DWARF, which is a small machine of its own, would crash us or make us loop.
#[test]
fn damaged_dwarf_is_survived() {
    for variant in [
        "dwarf5.dwarf-only",
        "dwarf4.dwarf-only",
        "compressed.dwarf-only",
    ] {
        let standin = require!(testbin("standin/openssl", variant));
        let good = fs::read(standin.path).unwrap();
        damage_at_random(&good, &Bench::new(), 1000).assert_mixed();
    }
}

/// Damage in what leads to the symbols of another file would crash us.
#[test]
fn damaged_links_to_symbols_are_survived() {
    for variant in ["dwarf5.debuglink", "dwarf5.debugdata"] {
        let standin = require!(testbin("standin/openssl", variant));
        let good = fs::read(&standin.path).unwrap();
        let bench = Bench::beside_the_files_of(&standin.path);
        assert!(!bench.look(&good, "undamaged").unwrap().findings.is_empty());
        damage_at_random(&good, &bench, 1000).assert_mixed();
    }
}

/// The same for the debug file: whoever wrote the link wrote that, too.
#[test]
fn damaged_debug_files_are_survived() {
    let standin = require!(testbin("standin/openssl", "dwarf5.debuglink"));
    let bench = Bench::beside_the_files_of(&standin.path);
    let program = fs::read(&standin.path).unwrap();
    let debug = bench.folder.path().join(format!("{}.debug", bench.name));
    let good = fs::read(&debug).unwrap();
    let structures = structures(&good);
    let mut tally = Tally::default();
    for seed in 0..600 {
        let mut bytes = good.clone();
        damage(&mut bytes, &structures, &mut Random(seed));
        fs::write(&debug, bytes).unwrap();
        tally.add(&bench.look(&program, &format!("seed {seed}")));
    }
    // The program itself is whole, so nothing fails.
    assert!(
        tally.found > 50 && tally.empty > 50 && tally.failed == 0,
        "{tally:?}"
    );
}
