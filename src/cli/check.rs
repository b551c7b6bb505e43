//! `agentsight check`: discovery against a manifest of samples, as a table of differences; or the
//! manifest itself, written from what discovery says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use comfy_table::CellAlignment;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::args::CheckArgs;
use super::discover::{examine, examiner, files, indent, plain_table, written};
use super::{complain, exit};
use crate::bytes::{hex, printable};
use crate::cache::Examiner;
use crate::check::{Entry, Manifest, MethodTally, Row, Tally, Verdict, compare};
use crate::discover::Report;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::ImageFile;

pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let examiner = examiner(&args.debug_dir, !args.no_cache)?;
    if args.record {
        return record(args, &examiner);
    }
    let [path] = args.paths.as_slice() else {
        return Err(usage("one manifest at a time (or --record, to write one)"));
    };
    let manifest = read(path)?;
    let entries = choose(&manifest, args)?;
    let place = Place {
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        cache: args.samples.clone().or_else(sample_cache),
    };
    let mut outcome = Outcome::default();
    for entry in entries {
        outcome.check(entry, &place, &examiner);
    }
    let mut out = AutoStream::new(io::stdout().lock(), args.color.choice());
    let text = match args.json {
        true => outcome.json()?,
        false => outcome.text(args.verbose),
    };
    written(out.write_all(text.as_bytes()))?;
    Ok(outcome.code(args.allow_missing))
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}

fn read(path: &Path) -> Result<Manifest> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).context(|| format!("failed to read {}", name()))?;
    let manifest = Manifest::parse(&text).context(name);
    manifest.map_err(|error| error.with_kind(ErrorKind::Usage))
}

/// The entries that were asked for; a name that leads to none is an error, since it would pass unseen.
fn choose<'m>(manifest: &'m Manifest, args: &CheckArgs) -> Result<Vec<&'m Entry>> {
    let is_named = |entry: &&Entry| {
        let of_group = entry.groups.iter().any(|group| args.group.contains(group));
        let all = args.group.is_empty() && args.sample.is_empty();
        all || of_group || args.sample.contains(&entry.name)
    };
    let chosen: Vec<_> = manifest.entries.iter().filter(is_named).collect();
    for name in &args.sample {
        if !chosen.iter().any(|entry| entry.name == *name) {
            return Err(usage(format!("the manifest has no sample {name}")));
        }
    }
    for group in &args.group {
        if !chosen.iter().any(|entry| entry.groups.contains(group)) {
            return Err(usage(format!("the manifest has no group {group}")));
        }
    }
    if chosen.is_empty() {
        return Err(usage("the manifest has no samples"));
    }
    Ok(chosen)
}

/// As scripts/fetch-samples has it.
fn sample_cache() -> Option<PathBuf> {
    let set = |name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("AGENTSIGHT_SAMPLES").or_else(|| Some(cache()?.join("agentsight/samples")))
}

/// Where the files of a manifest are.
struct Place {
    folder: PathBuf,
    cache: Option<PathBuf>,
}

impl Place {
    fn of(&self, entry: &Entry) -> Option<PathBuf> {
        if let Some(path) = &entry.path {
            return Some(self.folder.join(path));
        }
        let name = entry.source.as_ref()?.inner_path.file_name()?;
        Some(self.cache.as_ref()?.join(&entry.name).join(name))
    }
}

/// One sample.
#[derive(Serialize)]
struct Checked {
    name: String,
    path: Option<PathBuf>,
    /// It is the build that the manifest has the addresses of; unknown if there is no file.
    same_file: Option<bool>,
    rows: Vec<Row>,
}

/// All samples.
#[derive(Default)]
struct Outcome {
    checked: Vec<Checked>,
    tally: Tally,
}

impl Outcome {
    fn check(&mut self, entry: &Entry, place: &Place, examiner: &Examiner) {
        let path = place.of(entry);
        let existing = path.as_ref().filter(|path| path.exists());
        let result = existing.map(|path| look(entry, path, examiner));
        let (same_file, rows) = match result {
            Some(Ok((report, same_file))) => {
                if same_file {
                    self.tally.add(entry, &report);
                }
                (Some(same_file), compare(entry, &report, same_file))
            }
            Some(Err(error)) => (
                None,
                vec![whole(entry, Verdict::Failed, format!("{error:#}"))],
            ),
            None => {
                let place = path.as_ref().map(|path| path.display().to_string());
                let found = format!("no file {}", place.unwrap_or_default());
                (None, vec![whole(entry, Verdict::NoFile, found)])
            }
        };
        self.checked.push(Checked {
            name: entry.name.clone(),
            path,
            same_file,
            rows,
        });
    }

    fn code(&self, allow_missing: bool) -> ExitCode {
        let missing = self.samples_with(|verdict| verdict == Verdict::NoFile);
        ExitCode::from(if self.samples_with(Verdict::is_regression) > 0 {
            exit::FAILURE
        } else if missing == self.checked.len() || (missing > 0 && !allow_missing) {
            exit::NOTHING
        } else {
            exit::OK
        })
    }

    fn samples_with(&self, is_it: impl Fn(Verdict) -> bool) -> usize {
        let has_it = |checked: &&Checked| checked.rows.iter().any(|row| is_it(row.verdict));
        self.checked.iter().filter(has_it).count()
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.checked.iter().flat_map(|checked| &checked.rows)
    }

    fn json(&self) -> Result<String> {
        let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in self.rows() {
            *verdicts.entry(row.verdict.as_str()).or_default() += 1;
        }
        let method = |(method, tally): (&crate::discover::Method, &MethodTally)| {
            serde_json::json!({
                "method": method,
                "tally": tally,
                "precision": tally.precision(),
                "recall": tally.recall(self.tally.known),
            })
        };
        let object = serde_json::json!({
            "samples": self.checked,
            "methods": self.tally.methods.iter().map(method).collect::<Vec<_>>(),
            "known_addresses": self.tally.known,
            "verdicts": verdicts,
        });
        serde_json::to_string_pretty(&object)
            .map(|text| text + "\n")
            .map_err(|error| Error::invalid(format!("failed to write JSON: {error}")))
    }

    fn text(&self, verbose: bool) -> String {
        let mut text = String::new();
        self.add_rows(verbose, &mut text);
        self.add_methods(&mut text);
        self.add_summary(&mut text);
        text
    }

    fn add_rows(&self, verbose: bool, text: &mut String) {
        let mut table = plain_table();
        table.set_header([
            "sample", "library", "function", "expected", "found", "verdict",
        ]);
        let is_shown = |row: &&Row| verbose || row.verdict != Verdict::Ok;
        let mut is_empty = true;
        for row in self.rows().filter(is_shown) {
            is_empty = false;
            table.add_row([
                printable(&row.sample),
                printable(&row.library),
                printable(&row.function),
                short(&row.expected),
                short(&row.found),
                row.verdict.as_str().to_owned(),
            ]);
        }
        if !is_empty {
            indent(&table, text);
        }
    }

    fn add_methods(&self, text: &mut String) {
        if self.tally.methods.is_empty() {
            return;
        }
        let percent = |ratio: Option<f64>| {
            ratio.map_or("-".to_owned(), |ratio| format!("{:.1} %", 100.0 * ratio))
        };
        let mut table = plain_table();
        table.set_header([
            "method",
            "found",
            "right",
            "wrong",
            "not known",
            "precision",
            "recall",
        ]);
        for (method, tally) in &self.tally.methods {
            table.add_row([
                method.as_str().to_owned(),
                tally.found.to_string(),
                tally.right.to_string(),
                tally.wrong.to_string(),
                tally.unknown.to_string(),
                percent(tally.precision()),
                percent(tally.recall(self.tally.known)),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text.push_str(&format!(
            "  functions by method, of {} known addresses:\n",
            self.tally.known
        ));
        indent(&table, text);
    }

    fn add_summary(&self, text: &mut String) {
        let count = |verdict| self.samples_with(|other| other == verdict);
        let wrong = self.samples_with(Verdict::is_regression);
        let colour = match wrong {
            0 => AnsiColor::Green,
            _ => AnsiColor::Red,
        };
        let style = Style::new().fg_color(Some(colour.into()));
        text.push_str(&format!(
            "  {style}{} samples: {wrong} with regressions{style:#}",
            self.checked.len()
        ));
        for (verdict, what) in [
            (Verdict::KnownGap, "with known gaps"),
            (Verdict::GapClosed, "with gaps that are closed"),
            (
                Verdict::NotCompared,
                "of another build (addresses not compared)",
            ),
            (Verdict::NoFile, "missing"),
        ] {
            if count(verdict) > 0 {
                text.push_str(&format!(", {} {what}", count(verdict)));
            }
        }
        text.push('\n');
    }
}

/// Fits beside the others; the JSON has all of it.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => printable(text.get(..end).unwrap_or(text)) + "…",
        None => printable(text),
    }
}

fn whole(entry: &Entry, verdict: Verdict, found: String) -> Row {
    Row {
        sample: entry.name.clone(),
        library: String::new(),
        function: String::new(),
        expected: entry.libraries.join(", "),
        found,
        verdict,
    }
}

fn look(entry: &Entry, path: &Path, examiner: &Examiner) -> Result<(Report, bool)> {
    let file = ImageFile::open(path)?;
    let size_fits = entry.size.is_none_or(|size| size == file.identity().size);
    let sum_fits = |sum: &String| *sum == sha256(file.bytes());
    let same_file = size_fits && entry.sha256.as_ref().is_none_or(sum_fits);
    Ok((examiner.examine(&file)?.report, same_file))
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn record(args: &CheckArgs, examiner: &Examiner) -> Result<ExitCode> {
    let folder = args.output.as_deref().and_then(|out| {
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).canonicalize().ok()
    });
    let mut manifest = Manifest::default();
    let mut names = BTreeSet::new();
    let mut failed = false;
    for path in &args.paths {
        for file in files(path) {
            let entry = file.and_then(|file| {
                let Some(examined) = examine(&file, examiner)? else {
                    return Ok(None);
                };
                recorded(&file.path, &examined.report, folder.as_deref(), &mut names).map(Some)
            });
            match entry {
                Ok(entry) => manifest.entries.extend(entry),
                Err(error) => {
                    failed = true;
                    complain(&error);
                }
            }
        }
    }
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| Error::invalid(format!("failed to write the manifest: {error}")))?;
    let text = text + "\n";
    match &args.output {
        Some(out) => fs::write(out, text)
            .context(|| format!("failed to write {}", out.display()))
            .map_err(|error| error.with_kind(ErrorKind::Io))?,
        None => {
            written(io::stdout().lock().write_all(text.as_bytes()))?;
        }
    }
    Ok(ExitCode::from(if failed {
        exit::FAILURE
    } else {
        exit::OK
    }))
}

fn recorded(
    path: &Path,
    report: &Report,
    folder: Option<&Path>,
    names: &mut BTreeSet<String>,
) -> Result<Entry> {
    let file = ImageFile::open(path)?;
    let absolute = path
        .canonicalize()
        .context(|| format!("failed to find {}", path.display()))?;
    let path = match folder.map(|folder| absolute.strip_prefix(folder)) {
        Some(Ok(inside)) => inside.to_owned(),
        _ => absolute,
    };
    Ok(Entry {
        name: unique(&path, names),
        path: Some(path),
        sha256: Some(sha256(file.bytes())),
        ..Entry::record(report)
    })
}

/// The file's name, with a number if another file has it.
fn unique(path: &Path, names: &mut BTreeSet<String>) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_start_matches('.');
    let mut unique = name.to_owned();
    let mut number = 1_u32;
    while unique.is_empty() || !names.insert(unique.clone()) {
        number += 1;
        unique = format!("{name}-{number}");
    }
    unique
}
