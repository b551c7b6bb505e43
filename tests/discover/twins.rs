//! Stripped copies of programs with OpenSSL or BoringSSL inside, against the twins that kept
//! their symbols: is what discovery says right, and how much of it does it see?
//!
//! The combinations of library, compiler and options are testbins' matrix; `AGENTSIGHT_EXTENDED=1`
//! adds the slow ones. A function at an address that the twin gives another name is wrong, and no
//! such answer is accepted. `AGENTSIGHT_TWINS_TABLE=FILE` writes the tables as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use agentsight::discover::{Function, Report};
use agentsight_testbins::vendored::{self, Combination};
use agentsight_testbins::{Testbin, Unbuilt};

use super::support::truth::{self, Place, Tables};
use super::{look_at, support};

/// Combinations whose library may be refused by name, with nothing found: link-time optimisation of a whole
/// program can take its functions, or the error calls in them, apart.
const REFUSAL_PASSES: &str = "lto";

/// What a finder has to see: a family, and names of which one is enough. `SSL_read` runs through
/// `ssl_read_internal`, so a probe on either sees its bytes.
const MUST: &[(&str, &[&str])] = &[
    ("openssl", &["SSL_read", "ssl_read_internal"]),
    ("openssl", &["SSL_write", "ssl_write_internal"]),
    ("openssl", &["SSL_do_handshake"]),
    ("boringssl", &["SSL_read"]),
    ("boringssl", &["SSL_write"]),
    ("boringssl", &["SSL_do_handshake"]),
];

/// What it may see beyond that; a column of the table each.
const MAY: &[&str] = &[
    "SSL_peek",
    "SSL_read_ex",
    "SSL_write_ex",
    "SSL_free",
    "SSL_clear",
    "SSL_shutdown",
    "SSL_set_fd",
];

/// What a reported name may stand for: the inner function does the same work for each caller.
const STAND_INS: &[(&str, &str)] = &[
    ("SSL_free", "ossl_ssl_connection_free"),
    ("SSL_free", "tls1_free"),
    ("SSL_free", "tls_free"),
];

/// Endings of copies that take the arguments where the function takes them.
const SAME_FUNCTION: &[&str] = &["llvm", "localalias", "lto_priv"];

/// Endings of copies whose later arguments may have moved up, because one before them is constant:
/// `ssl_write_internal.constprop.0` has no flags. They may be found, and need not be. What is left of
/// other endings (`cold`, `part`, `isra`) is not the function.
const CLONES: &[&str] = &["constprop"];

/// A stripped copy would be probed at a wrong address, or not be captured at all.
#[test]
fn stripped_copies_are_found_where_their_twins_say() {
    let rows: Vec<Row> = vendored::wanted()
        .flat_map(|combination| programs(combination).map(move |program| (program, combination)))
        .filter_map(|(program, combination)| Row::of(program, combination))
        .collect();
    let tables = format!("{}\n{}", by_function(&rows), by_method(&rows));
    eprintln!("{tables}");
    if let Some(file) = std::env::var_os("AGENTSIGHT_TWINS_TABLE") {
        fs::write(file, &tables).unwrap();
    }
    let faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
    assert!(faults.is_empty(), "{}\n{tables}", faults.join("\n"));
}

/// Two combinations of one name would be one test.
#[test]
fn combinations_have_names_of_their_own() {
    let names: BTreeSet<&str> = vendored::MATRIX.iter().map(|one| one.name).collect();
    assert_eq!(names.len(), vendored::MATRIX.len());
}

/// A judge who calls everything right, or nothing, would be no judge: the twin's own symbols are
/// right, and each of them is wrong one byte further on.
#[test]
fn the_judge_tells_right_from_wrong() {
    let combination = &vendored::MATRIX[0];
    let Some(mut row) = Row::of("openssl/pair", combination) else {
        return;
    };
    let mut twin = vendored::build("openssl/pair", combination).unwrap();
    twin.path = twin.twin.clone();
    row.report = look_at(&twin);
    assert_eq!(row.faults(), Vec::<String>::new());
    assert_eq!(row.cell("SSL_read"), "right");
    let functions = row.report.findings[0].functions.len();
    for function in &mut row.report.findings[0].functions {
        function.vaddr.0 += 1;
    }
    assert_eq!(row.faults().len(), functions);
    assert_eq!(row.cell("SSL_read"), "WRONG");
    assert!(!names("SSL_read.cold", "SSL_read", CLONES));
}

/// A lean link of a program that calls only `_ex` functions has no `SSL_read`.
fn programs(combination: &Combination) -> impl Iterator<Item = &'static str> + use<> {
    let is_openssl = combination.library.family() == "openssl";
    let has_ex = is_openssl && combination.name.ends_with("lean");
    ["openssl/pair"]
        .into_iter()
        .chain(has_ex.then_some("openssl/ex"))
}

/// One stripped copy and what was said about it.
struct Row {
    name: String,
    family: &'static str,
    truth: BTreeSet<Place>,
    report: Report,
}

impl Row {
    fn of(program: &str, combination: &Combination) -> Option<Self> {
        let name = format!(
            "{} {}",
            program.trim_start_matches("openssl/"),
            combination.name
        );
        let testbin = match vendored::build(program, combination) {
            Ok(testbin) => testbin,
            Err(Unbuilt::Missing(what)) => return support::skip(&format!("{name}: {what}")),
            Err(error) => panic!("{name}: {error}"),
        };
        let row = Self {
            name,
            family: combination.library.family(),
            truth: twin_functions(&testbin),
            report: look_at(&testbin),
        };
        // Reading and writing are what a twin cannot lack: without them it is no ground truth.
        for group in [
            &["SSL_read", "ssl_read_internal"],
            &["SSL_write", "ssl_write_internal"],
        ] {
            let clones = |name: &str| {
                row.truth
                    .iter()
                    .any(|(symbol, ..)| names(symbol, name, CLONES))
            };
            let exists = group.iter().any(|name| row.exists(name) || clones(name));
            assert!(exists, "{}: the twin has none of {group:?}", row.name);
        }
        Some(row)
    }

    fn found(&self) -> impl Iterator<Item = &Function> {
        self.report
            .findings
            .iter()
            .flat_map(|finding| &finding.functions)
    }

    /// Does the twin have this function, under its own name or as a clone?
    fn exists(&self, name: &str) -> bool {
        self.truth
            .iter()
            .any(|(symbol, ..)| names(symbol, name, SAME_FUNCTION))
    }

    fn is_right(&self, function: &Function) -> bool {
        let place = (function.vaddr.0, function.file_offset.0);
        let endings = [SAME_FUNCTION, CLONES].concat();
        let mut here = self
            .truth
            .iter()
            .filter(|(_, vaddr, offset)| (*vaddr, *offset) == place);
        here.any(|(symbol, ..)| names(symbol, &function.name, &endings))
    }

    fn faults(&self) -> Vec<String> {
        let wrong = self.found().filter(|function| !self.is_right(function));
        let wrong = wrong.map(|function| {
            let here = self
                .truth
                .iter()
                .filter(|(_, vaddr, _)| *vaddr == function.vaddr.0);
            let here: Vec<&str> = here.map(|(symbol, ..)| symbol.as_str()).collect();
            format!(
                "{}: {} at {:#x} is {here:?}",
                self.name, function.name, function.vaddr.0
            )
        });
        let others = self
            .report
            .findings
            .iter()
            .filter(|finding| finding.library != self.family);
        let others = others.map(|finding| format!("{}: taken for {}", self.name, finding.library));
        let unseen = self.unseen();
        let unseen = unseen
            .iter()
            .map(|names| format!("{}: none of {names:?}", self.name));
        wrong.chain(others).chain(unseen).collect()
    }

    /// Groups of [`MUST`] that the twin has and nobody found.
    fn unseen(&self) -> Vec<&'static [&'static str]> {
        let is_refused = self.report.findings.is_empty()
            && self.name.contains(REFUSAL_PASSES)
            && self
                .report
                .refused
                .iter()
                .any(|refusal| refusal.library == self.family);
        let groups = MUST
            .iter()
            .filter(|(family, _)| *family == self.family && !is_refused);
        groups
            .map(|(_, group)| *group)
            .filter(|group| group.iter().any(|name| self.exists(name)))
            .filter(|group| {
                !self
                    .found()
                    .any(|function| group.contains(&function.name.as_str()))
            })
            .collect()
    }

    /// A cell of the table.
    fn cell(&self, name: &str) -> &'static str {
        let found = self.found().filter(|function| function.name == name);
        let right: Vec<bool> = found.map(|function| self.is_right(function)).collect();
        match right.is_empty() {
            false if right.iter().all(|right| *right) => "right",
            false => "WRONG",
            true if self.exists(name) => "missed",
            true => "",
        }
    }
}

/// Does this symbol of a twin carry the function that is reported under `name`?
fn names(symbol: &str, name: &str, endings: &[&str]) -> bool {
    let (base, ending) = symbol.split_once('.').unwrap_or((symbol, ""));
    let kind = ending.split('.').next().unwrap_or_default();
    let is_named = |own: &str| base == own || is_mangled(base, own);
    let mut stand_ins = STAND_INS.iter();
    let is_stand_in = stand_ins.any(|(reported, inner)| *reported == name && is_named(inner));
    (kind.is_empty() || endings.contains(&kind)) && (is_named(name) || is_stand_in)
}

/// Is this the C++ symbol of a function of that name, in whatever namespace?
fn is_mangled(symbol: &str, name: &str) -> bool {
    symbol.starts_with("_Z") && symbol.contains(&format!("{}{name}E", name.len()))
}

/// Every function of the TLS library whose name could be reported.
fn twin_functions(testbin: &Testbin) -> BTreeSet<Place> {
    let mut wanted: BTreeSet<&str> = columns().into_iter().collect();
    wanted.extend(STAND_INS.iter().map(|(_, inner)| *inner));
    let known = super::known_if(&["openssl", "boringssl"], |_| true);
    let is_wanted = |symbol: &str| {
        let base = symbol.split('.').next().unwrap_or(symbol);
        known(base)
            || wanted
                .iter()
                .any(|name| base == *name || is_mangled(base, name))
    };
    truth::functions(&testbin.twin, Tables::All, &is_wanted)
}

fn columns() -> Vec<&'static str> {
    let must = MUST.iter().flat_map(|(_, group)| group.iter().copied());
    let mut columns = Vec::new();
    for name in must.chain(MAY.iter().copied()) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    columns
}

fn by_function(rows: &[Row]) -> String {
    let columns = columns();
    let mut text = format!("| program, variant | {} |\n", columns.join(" | "));
    writeln!(text, "|---|{}", "---|".repeat(columns.len())).unwrap();
    for row in rows {
        let cells: Vec<&str> = columns.iter().map(|name| row.cell(name)).collect();
        writeln!(text, "| {} | {} |", row.name, cells.join(" | ")).unwrap();
    }
    text
}

/// Per method: how much of what the twins have it told, and how much of what it told is right.
fn by_method(rows: &[Row]) -> String {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for row in rows {
        for function in row.found() {
            let methods: BTreeSet<_> = function.evidence.iter().map(|one| one.method).collect();
            for method in methods {
                let (right, wrong) = counts.entry(method.as_str()).or_default();
                *if row.is_right(function) { right } else { wrong } += 1;
            }
        }
    }
    let columns = columns();
    let cells = || {
        rows.iter()
            .flat_map(|row| columns.iter().map(|name| row.cell(name)))
    };
    let all = cells().filter(|cell| !cell.is_empty()).count();
    let right = cells().filter(|cell| *cell == "right").count();
    let wrong = cells().filter(|cell| *cell == "WRONG").count();
    let mut text =
        String::from("| method | right | wrong | recall | precision |\n|---|---|---|---|---|\n");
    counts.insert("any", (right, wrong));
    for (method, (right, wrong)) in counts {
        let (recall, precision) = (percent(right, all), percent(right, right + wrong));
        writeln!(
            text,
            "| {method} | {right} | {wrong} | {recall} | {precision} |"
        )
        .unwrap();
    }
    text
}

fn percent(part: usize, whole: usize) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    }
}
