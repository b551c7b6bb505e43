//! `agentsight discover`: examines files, prints tables or JSON. What it says about processes is made in `processes`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use serde_json::json;
use walkdir::WalkDir;

use super::args::DiscoverArgs;
use super::prices::Choices;
use super::{complain, exit, processes};
use crate::bytes::printable;
use crate::cache::{Examined, Examiner};
use crate::discover::finding::{Site, SiteKind};
use crate::discover::{Finding, Function, Report};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::ImageFile;
use crate::image::debug_file::DebugDirs;
use crate::plan::{Source, choose_all};
use crate::symdb::SymbolDb;

pub fn run(args: &DiscoverArgs) -> Result<ExitCode> {
    let of_processes = args.watch || args.verbose || args.select.is_given();
    let complaint = match (args.paths.is_empty(), of_processes) {
        (true, true) if args.explain => "--explain is about files",
        (true, true) => return processes::run(args),
        (true, false) => "of what? Name files, or processes by a selector like --pid, or say --all",
        (false, true) => {
            "files or processes? A PATH goes with no selector, and neither with --watch nor with --verbose"
        }
        (false, false) => return of_files(args),
    };
    Err(Error::new(ErrorKind::Usage, complaint))
}

fn of_files(args: &DiscoverArgs) -> Result<ExitCode> {
    let examiner = examiner(&args.debug_dir, !args.no_cache)?;
    let choices = Choices::new(args.probe_sites.sites());
    let mut outcome = Outcome::default();
    let mut objects = Vec::new();
    let mut out = AutoStream::new(io::stdout().lock(), args.color.choice());
    for path in &args.paths {
        for file in files(path) {
            let (name, report) = match file {
                Ok(found) => (found.path.clone(), examine(&found, &examiner)),
                Err(error) => (path.clone(), Err(error)),
            };
            let report = report.map(|found| found.map(|found| chosen(found, &choices)));
            outcome.count(&report);
            if args.json {
                objects.extend(object(
                    &name,
                    report.map(|found| found.map(|found| found.report)),
                    &choices,
                ));
                continue;
            }
            if let Some(examined) = shown(report)
                && !print(&mut out, &examined, args.explain, &choices)?
            {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&objects)
            .map_err(|error| Error::invalid(format!("failed to write JSON: {error}")))?;
        written(writeln!(out, "{text}"))?;
    }
    Ok(outcome.code())
}

/// With the sites that attach chooses, where return probes do not kill programs behind seccomp filters.
fn chosen(mut examined: Examined, choices: &Choices) -> Examined {
    let choice = choices.of(&examined.report.arch);
    choose_all(&mut examined.report, choice);
    examined
}

/// What all subcommands examine files with.
pub(super) fn examiner(debug_dirs: &[PathBuf], cache: bool) -> Result<Examiner> {
    let dirs = DebugDirs {
        global: debug_dirs.to_vec(),
    };
    let examiner = Examiner::new(SymbolDb::load()?, dirs);
    Ok(match cache {
        true => examiner.with_user_cache(),
        false => examiner,
    })
}

/// One file's result; `None` for a file in a directory that is not ELF at all.
pub(super) fn examine(path: &Found, examiner: &Examiner) -> Result<Option<Examined>> {
    let file = ImageFile::open(&path.path)?;
    if path.in_directory && !file.bytes().starts_with(b"\x7fELF") {
        return Ok(None);
    }
    examiner.examine(&file).map(Some)
}

/// What decides the exit status.
#[derive(Default)]
struct Outcome {
    found: bool,
    failed: bool,
}

impl Outcome {
    fn count(&mut self, result: &Result<Option<Examined>>) {
        match result {
            Ok(Some(examined)) => self.found |= !examined.report.findings.is_empty(),
            Ok(None) => {}
            Err(_) => self.failed = true,
        }
    }

    fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self { failed: true, .. } => exit::FAILURE,
            Self { found: true, .. } => exit::OK,
            _ => exit::NOTHING,
        })
    }
}

/// A file to examine.
pub(super) struct Found {
    pub(super) path: PathBuf,
    in_directory: bool,
}

/// The file itself, or all regular files of a directory in the order of their names. Links inside of
/// it are not followed: each file is told once.
pub(super) fn files(path: &Path) -> Box<dyn Iterator<Item = Result<Found>>> {
    if !path.is_dir() {
        return Box::new(std::iter::once(Ok(Found {
            path: path.to_owned(),
            in_directory: false,
        })));
    }
    let walk = WalkDir::new(path).sort_by_file_name().into_iter();
    Box::new(walk.filter_map(|entry| match entry {
        Ok(entry) => entry.file_type().is_file().then(|| {
            Ok(Found {
                path: entry.into_path(),
                in_directory: true,
            })
        }),
        Err(error) => Some(Err(Error::new(ErrorKind::Io, error.to_string()))),
    }))
}

/// A file's object; a broken file has one as well, so that nothing that was named is missing.
fn object(
    path: &Path,
    result: Result<Option<Report>>,
    choices: &Choices,
) -> Option<serde_json::Value> {
    match result {
        Ok(report) => report.map(|report| {
            let source = &choices.of(&report.arch).prices.source;
            let mut object = json!(report);
            if let Some(object) = object.as_object_mut() {
                object.insert("prices".to_owned(), json!(source));
            }
            object
        }),
        Err(error) => {
            complain(&error);
            Some(json!({ "path": path, "error": format!("{error:#}") }))
        }
    }
}

fn shown(result: Result<Option<Examined>>) -> Option<Examined> {
    result.unwrap_or_else(|error| {
        complain(&error);
        None
    })
}

/// `false`: the reader hung up.
fn print(
    out: &mut impl Write,
    examined: &Examined,
    explain: bool,
    choices: &Choices,
) -> Result<bool> {
    let mut text = String::new();
    let prices = &choices.of(&examined.report.arch).prices.source;
    describe(&plain(&examined.report), explain, prices, &mut text);
    if explain {
        let origin = printable(&examined.origin.to_string());
        text.push_str(&format!("  cache: {origin}\n"));
    }
    written(out.write_all(text.as_bytes()))
}

pub(super) fn written(result: io::Result<()>) -> Result<bool> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result
            .context(|| "failed to write to stdout")
            .map(|()| true),
    }
}

/// Names and versions come from the file and from whoever named it: none of them may act on a terminal.
fn plain(report: &Report) -> Report {
    let mut report = report.clone();
    report.path = printable(&report.path);
    for finding in &mut report.findings {
        for text in [
            &mut finding.version,
            &mut finding.provider,
            &mut finding.compiler,
        ] {
            *text = text.as_deref().map(printable);
        }
        for function in &mut finding.functions {
            function.name = printable(&function.name);
            for evidence in &mut function.evidence {
                evidence.detail = printable(&evidence.detail);
            }
        }
    }
    for refusal in &mut report.refused {
        refusal.reason = printable(&refusal.reason);
    }
    for rung in &mut report.ladder {
        rung.outcome = printable(&rung.outcome);
    }
    report
}

fn describe(report: &Report, explain: bool, prices: &Source, text: &mut String) {
    let bold = Style::new().bold();
    let id = report.build_id.as_deref();
    text.push_str(&format!(
        "{bold}{}{bold:#}: {}, {} bytes, {}\n",
        report.path,
        report.arch,
        report.size,
        id.map_or("no build ID".to_owned(), |id| format!("build ID {id}")),
    ));
    for finding in &report.findings {
        describe_finding(finding, explain, text);
    }
    let red = Style::new().fg_color(Some(AnsiColor::Red.into()));
    for refusal in &report.refused {
        text.push_str(&format!(
            "  {red}{} refused{red:#}: {}\n",
            refusal.library, refusal.reason
        ));
    }
    for warning in &report.warnings {
        text.push_str(&format!("  {red}warning{red:#}: {warning}\n"));
    }
    for import in &report.imports {
        text.push_str(&format!(
            "  calls {} in another file: {}\n",
            import.library,
            import.functions.join(", ")
        ));
    }
    if report.findings.is_empty() && report.refused.is_empty() {
        text.push_str("  no TLS library found\n");
    }
    if explain {
        text.push_str(&format!("  prices: {prices}\n"));
        describe_ladder(report, text);
    }
}

fn describe_finding(finding: &Finding, explain: bool, text: &mut String) {
    let green = Style::new().fg_color(Some(AnsiColor::Green.into()));
    text.push_str(&format!(
        "  {green}{}{green:#} {}{}: {} functions\n",
        finding.library,
        finding.version.as_deref().unwrap_or("(version unknown)"),
        finding
            .provider
            .iter()
            .map(|name| format!(" with {name}"))
            .collect::<String>(),
        finding.functions.len()
    ));
    if explain && let Some(compiler) = &finding.compiler {
        text.push_str(&format!("    compiled by rustc {compiler}\n"));
    }
    let mut table = plain_table();
    table.set_header([
        "function",
        "role",
        "vaddr",
        "file offset",
        "confidence",
        "found in",
    ]);
    for function in &finding.functions {
        table.add_row(row(function));
    }
    indent(&table, text);
    if explain {
        for function in &finding.functions {
            explain_function(function, text);
        }
    }
}

fn row(function: &Function) -> [String; 6] {
    let methods: BTreeSet<_> = function.evidence.iter().map(|e| e.method).collect();
    let methods: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
    [
        function.name.clone(),
        function.role.as_str().to_owned(),
        function.vaddr.to_string(),
        function.file_offset.to_string(),
        function.confidence.as_str().to_owned(),
        methods.join(", "),
    ]
}

fn explain_function(function: &Function, text: &mut String) {
    text.push_str(&format!(
        "    {} at {}: {} confidence\n",
        function.name,
        function.vaddr,
        function.confidence.as_str()
    ));
    for evidence in &function.evidence {
        let method = evidence.method.as_str();
        text.push_str(&format!("      {method}: {}\n", evidence.detail));
    }
    let covered = function.covered_by.iter();
    let covered = covered.map(|other| format!("its calls are seen at {other}"));
    if let Some(reason) = function.unprobed.iter().cloned().chain(covered).next() {
        text.push_str(&format!("      no probe: {reason}\n"));
        return;
    }
    let sites = &function.sites;
    describe_site("entry", &sites.entry, function, text);
    for exit in &sites.exits {
        describe_site("exit", exit, function, text);
    }
}

/// Where it is, what it costs, and why it is as good as any other.
fn describe_site(end: &str, site: &Site, function: &Function, text: &mut String) {
    let place = match (site.kind, site.vaddr.0.checked_sub(function.vaddr.0)) {
        (SiteKind::Uretprobe, _) => "set up there".to_owned(),
        (SiteKind::Uprobe, Some(distance)) => {
            format!("at file offset {}, +{distance}", site.file_offset)
        }
        (SiteKind::Uprobe, None) => format!("at file offset {}", site.file_offset),
    };
    let price = site.price_ns.map(|price| {
        let form = site.form.map(|form| json!(form));
        let form = form.as_ref().and_then(|form| form.as_str());
        format!(
            ": {}, {}.{:02} µs",
            form.unwrap_or_default(),
            price / 1000,
            price % 1000 / 10
        )
    });
    text.push_str(&format!(
        "      {end}: {} {place}{}\n",
        site.kind.as_str(),
        price.unwrap_or_default()
    ));
    for line in &site.proof {
        text.push_str(&format!("        {line}\n"));
    }
}

fn describe_ladder(report: &Report, text: &mut String) {
    text.push_str("  evidence ladder:\n");
    let mut table = plain_table();
    for rung in &report.ladder {
        table.add_row([
            rung.method.as_str().to_owned(),
            format!("{} names", rung.found),
            rung.outcome.clone(),
        ]);
    }
    indent(&table, text);
}

pub(super) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

pub(super) fn indent(table: &Table, text: &mut String) {
    for line in table.lines() {
        text.push_str("   ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
