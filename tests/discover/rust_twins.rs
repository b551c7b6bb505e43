//! Stripped copies of Rust programs with rustls inside, against the twins that kept their symbols: is
//! what discovery says right, and how much of it does it see?
//!
//! The combinations of version, provider and options are testbins' matrix; `AGENTSIGHT_EXTENDED=1` adds
//! the slow ones. No answer is accepted that the twin calls something else, and each AEAD function that
//! rustls can use must be among the answers. `AGENTSIGHT_RUST_TWINS_TABLE=FILE` writes the table as
//! Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use agentsight::discover::Report;
use agentsight_testbins::rust::{self, Combination};
use agentsight_testbins::{Testbin, Unbuilt};

use super::support::truth::{self, Tables};
use super::{look_at, support};

/// A function by discovery's name for it, with its virtual address and its place in the file.
type Place = (String, u64, u64);

const RING_SEAL: &str = "ring::seal";
const RING_OPEN: &str = "ring::open";
const AWS_LC_SEAL: &str = "aws-lc::seal_scatter";
const AWS_LC_OPEN: &str = "aws-lc::open_gather";
const ENCRYPT: &str = "rustls::encrypt";
const DECRYPT: &str = "rustls::decrypt";

/// All of them that the twin has must be found; a column of the table each.
const MUST: &[&str] = &[RING_SEAL, RING_OPEN, AWS_LC_SEAL, AWS_LC_OPEN];

/// rustls's own methods, a column each. They must be found as well, except where a build is [`is_hard`].
const METHODS: &[&str] = &[ENCRYPT, DECRYPT];

/// Too much stays on the stack without optimisation; rustls 0.21 optimised for size does not tell its methods for TLS 1.3.
fn is_hard(name: &str) -> bool {
    name.contains(".debug.") || name.starts_with("0.21") && name.contains(".size.")
}

/// What rustls calls through ring's tables, by the ends of their paths, which had other middles once.
const RING: &[(&str, &str)] = &[
    ("::aes_gcm_open", RING_OPEN),
    ("::aes_gcm_seal", RING_SEAL),
    ("::chacha20_poly1305_open", RING_OPEN),
    ("::chacha20_poly1305_seal", RING_SEAL),
];

/// What it calls through those of aws-lc. Others there are for other uses: GCM-SIV, longer nonces.
const AWS_LC: &[(&str, &str)] = &[
    ("aead_aes_gcm_open_gather", AWS_LC_OPEN),
    ("aead_aes_gcm_seal_scatter", AWS_LC_SEAL),
    ("aead_aes_gcm_tls12_seal_scatter", AWS_LC_SEAL),
    ("aead_aes_gcm_tls13_seal_scatter", AWS_LC_SEAL),
    ("aead_chacha20_poly1305_open_gather", AWS_LC_OPEN),
    ("aead_chacha20_poly1305_seal_scatter", AWS_LC_SEAL),
];

/// A stripped program would be probed at a wrong address, or one direction of it not be captured.
#[test]
fn stripped_rust_programs_are_found_where_their_twins_say() {
    let rows: Vec<Row> = rust::wanted().filter_map(Row::of).collect();
    let table = table(&rows);
    eprintln!("{table}");
    if let Some(file) = std::env::var_os("AGENTSIGHT_RUST_TWINS_TABLE") {
        fs::write(file, &table).unwrap();
    }
    let faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
    assert!(faults.is_empty(), "{}\n{table}", faults.join("\n"));
}

/// Two combinations of one name would be one test.
#[test]
fn rust_combinations_have_names_of_their_own() {
    let names: BTreeSet<String> = rust::MATRIX.iter().map(Combination::name).collect();
    assert_eq!(names.len(), rust::MATRIX.len());
}

/// A judge who calls everything right, or nothing, would be no judge: what the twin says is right, it is
/// wrong one byte further on or under another name, and to say less is not enough.
#[test]
fn the_judge_of_rust_twins_tells_right_from_wrong() {
    let Some(mut row) = Row::of(&rust::MATRIX[0]) else {
        return;
    };
    row.others.clear();
    row.found = row.truth.iter().cloned().collect();
    assert_eq!(row.faults(), Vec::<String>::new());
    assert_eq!(row.cell(RING_SEAL), "2 of 2");
    let all = row.found.clone();
    let is_needed = |(name, ..): &Place| MUST.contains(&name.as_str());
    row.found.retain(|place| !is_needed(place));
    assert_eq!(row.faults().len(), 4);
    row.name = row.name.replace(".debug.", ".lto.");
    row.found.retain(|(name, ..)| name != ENCRYPT);
    assert_eq!(row.faults().len(), 4 + row.true_ones(ENCRYPT).count());
    for place in &all {
        let (name, vaddr, offset) = place.clone();
        let lies = [
            (name.clone(), vaddr + 1, offset + 1),
            (name, vaddr, offset + 1),
            ("rustls::something".to_owned(), vaddr, offset),
        ];
        for lie in lies {
            row.found = [all.as_slice(), &[lie]].concat();
            assert_eq!(row.faults().len(), 1, "{place:?}");
        }
    }
    row.others.push("openssl".to_owned());
    row.found = all;
    assert_eq!(row.faults().len(), 1);
}

/// What a symbol's function is called if it is found.
#[test]
fn symbols_have_discovery_names() {
    for (symbol, name) in [
        (
            "_ZN4ring4aead9algorithm12aes_gcm_seal17h0123456789abcdefE",
            Some(RING_SEAL),
        ),
        (
            "_ZN4ring4aead17chacha20_poly130522chacha20_poly1305_open17h0123456789abcdefE",
            Some(RING_OPEN),
        ),
        ("_ZN4ring4aead7aes_gcm4seal17h0123456789abcdefE", None),
        ("ring_core_0_17_14__chacha20_poly1305_seal_avx2", None),
        ("aead_aes_gcm_tls13_seal_scatter", Some(AWS_LC_SEAL)),
        ("aead_aes_gcm_open_gather.llvm.17", Some(AWS_LC_OPEN)),
        ("aead_aes_gcm_open_gather.cold", None),
        ("aead_aes_gcm_siv_seal_scatter", None),
        ("aead_aes_gcm_seal_scatter_impl", None),
    ] {
        assert_eq!(discovery_name(symbol), name, "{symbol}");
    }
}

/// One stripped copy and what was said about it.
struct Row {
    name: String,
    truth: BTreeSet<Place>,
    /// True as well, and nobody misses them: what rustls has before there is a key.
    spare: BTreeSet<Place>,
    found: Vec<Place>,
    /// Libraries that were seen in it and are not rustls.
    others: Vec<String>,
}

impl Row {
    fn of(combination: &Combination) -> Option<Self> {
        let name = combination.name();
        let testbin = match rust::build(combination) {
            Ok(testbin) => testbin,
            Err(Unbuilt::Missing(what)) => return support::skip(&format!("{name}: {what}")),
            Err(error) => panic!("{name}: {error}"),
        };
        let report = look_at(&testbin);
        let row = Self {
            truth: twin_functions(&testbin, &|path| !is_spare(path)),
            spare: twin_functions(&testbin, &is_spare),
            found: found(&report),
            others: others(&report),
            name,
        };
        // One for AES and one for ChaCha20, or the twin is no ground truth.
        for name in &testbin.expect[0].functions {
            let count = row.true_ones(name).count();
            assert!(count >= 2, "{}: {count} of {name} in the twin", row.name);
        }
        Some(row)
    }

    fn true_ones<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Place> {
        self.truth.iter().filter(move |(own, ..)| own == name)
    }

    fn is_right(&self, place: &Place) -> bool {
        self.truth.contains(place) || self.spare.contains(place)
    }

    fn faults(&self) -> Vec<String> {
        let wrong = self.found.iter().filter(|place| !self.is_right(place));
        let wrong = wrong.map(|(name, vaddr, _)| format!("{}: no {name} at {vaddr:#x}", self.name));
        let others = self.others.iter();
        let others = others.map(|library| format!("{}: taken for {library}", self.name));
        let unseen = self.unseen();
        let unseen = unseen
            .map(|(name, vaddr, _)| format!("{}: {name} at {vaddr:#x} was missed", self.name));
        wrong.chain(others).chain(unseen).collect()
    }

    fn unseen(&self) -> impl Iterator<Item = &Place> {
        let methods = if is_hard(&self.name) { &[] } else { METHODS };
        let is_must = |(name, ..): &&Place| [MUST, methods].concat().contains(&name.as_str());
        let must = self.truth.iter().filter(is_must);
        must.filter(|place| !self.found.contains(place))
    }

    /// A cell of the table.
    fn cell(&self, name: &str) -> String {
        let (found, all) = self.counts(name);
        let wrong = self.wrong(name);
        match (all, wrong) {
            (0, 0) => String::new(),
            (_, 0) => format!("{found} of {all}"),
            _ => format!("{found} of {all}, {wrong} WRONG"),
        }
    }

    /// Found, and all.
    fn counts(&self, name: &str) -> (usize, usize) {
        let found = self
            .true_ones(name)
            .filter(|place| self.found.contains(place));
        (found.count(), self.true_ones(name).count())
    }

    fn wrong(&self, name: &str) -> usize {
        let named = self.found.iter().filter(|(own, ..)| own == name);
        named.filter(|place| !self.is_right(place)).count()
    }
}

fn found(report: &Report) -> Vec<Place> {
    let ours = report
        .findings
        .iter()
        .filter(|finding| finding.library == "rustls");
    let functions = ours.flat_map(|finding| &finding.functions);
    functions
        .map(|function| {
            (
                function.name.clone(),
                function.vaddr.0,
                function.file_offset.0,
            )
        })
        .collect()
}

fn others(report: &Report) -> Vec<String> {
    let libraries = report.findings.iter().map(|finding| &finding.library);
    libraries
        .filter(|library| *library != "rustls")
        .cloned()
        .collect()
}

/// What the twin's symbols say, at the places that the stripped copy's own segments give their addresses.
fn twin_functions(testbin: &Testbin, wanted: &dyn Fn(&str) -> bool) -> BTreeSet<Place> {
    let bytes = fs::read(&testbin.path).unwrap();
    let copy = goblin::elf::Elf::parse(&bytes).unwrap();
    let is_wanted = |symbol: &str| discovery_name(symbol).is_some() && wanted(&path_of(symbol));
    let known = truth::functions(&testbin.twin, Tables::All, &is_wanted);
    let named = known.into_iter().filter_map(|(symbol, vaddr, _)| {
        let offset = truth::code_offset(&copy.program_headers, vaddr)?;
        Some((discovery_name(&symbol)?.to_owned(), vaddr, offset))
    });
    named.collect()
}

fn is_spare(path: &str) -> bool {
    path.contains("::InvalidMessage")
}

/// Without the hash.
fn path_of(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

fn discovery_name(symbol: &str) -> Option<&'static str> {
    let path = path_of(symbol);
    if path.ends_with("MessageEncrypter>::encrypt") {
        return Some(ENCRYPT);
    }
    if path.ends_with("MessageDecrypter>::decrypt") {
        return Some(DECRYPT);
    }
    let mut ring = RING.iter().filter(|_| path.starts_with("ring::aead::"));
    let ring = ring.find(|(end, _)| path.ends_with(end));
    let (base, ending) = symbol.split_once('.').unwrap_or((symbol, ""));
    let is_whole = ending.is_empty() || ending.starts_with("llvm");
    let aws_lc = AWS_LC.iter().find(|(name, _)| is_whole && base == *name);
    ring.or(aws_lc).map(|(_, name)| *name)
}

fn table(rows: &[Row]) -> String {
    let columns = [MUST, METHODS].concat();
    let mut text = format!("| program | {} |\n", columns.join(" | "));
    writeln!(text, "|---|{}", "---|".repeat(columns.len())).unwrap();
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|name| row.cell(name)).collect();
        writeln!(text, "| {} | {} |", row.name, cells.join(" | ")).unwrap();
    }
    let totals = columns.iter().map(|name| {
        let counts = rows.iter().map(|row| (row.counts(name), row.wrong(name)));
        let (found, all, wrong) = counts.fold((0, 0, 0), |sum, ((found, all), wrong)| {
            (sum.0 + found, sum.1 + all, sum.2 + wrong)
        });
        format!("{found} of {all}, {wrong} wrong")
    });
    let totals: Vec<String> = totals.collect();
    writeln!(text, "| all | {} |", totals.join(" | ")).unwrap();
    text
}
