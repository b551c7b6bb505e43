//! `agentsight discover` for processes: what attach would see of what runs, told before attaching.

mod table;
mod watch;

use std::io;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;

use anstream::AutoStream;

use super::args::DiscoverArgs;
use super::discover::{examiner, written};
use super::exit;
use super::prices::Choices;
use crate::error::{Error, ErrorKind, Result};
use crate::host::places::Places;
use crate::host::privileges::Privileges;
use crate::select::Selection;
use crate::survey::{Process, Round, Survey, Visibility};

pub fn run(args: &DiscoverArgs) -> Result<ExitCode> {
    let selection = args.select.selection()?;
    if args.select.wait && !args.watch {
        let why = "--wait: nothing is waited for here without --watch";
        return Err(Error::new(ErrorKind::Usage, why));
    }
    let examiner = examiner(&args.debug_dir, !args.no_cache)?;
    let choices = Choices::new(args.probe_sites.sites());
    let choice = choices.of(std::env::consts::ARCH);
    let places = Places::new();
    let places = Box::new(move |pid: i32| places.of(pid.cast_unsigned()));
    let mut survey = Survey::new(&selection, places, &examiner, choice);
    let view = View::new(args, &selection);
    if args.watch {
        return watch::run(&mut survey, &view, args);
    }
    let round = survey.look();
    if round.processes.is_empty() {
        let running = round.running;
        let why = format!("no process fits: looked at {running} in /proc");
        return Err(Error::new(ErrorKind::NotFound, why));
    }
    let mut out = AutoStream::new(io::stdout().lock(), args.color.choice());
    let text = if args.json {
        json(&round.processes.iter().map(Rc::as_ref).collect::<Vec<_>>())?
    } else {
        table::text(&round, &view)
    };
    let is_read = written(out.write_all(text.as_bytes()))?;
    if !args.json && is_read {
        anstream::eprintln!("{}", summary(&round, &view));
    }
    let is_visible = |visibility| visibility == Visibility::Attachable;
    let mut all = round.processes.iter();
    Ok(ExitCode::from(
        match all.any(|process| is_visible(process.visibility)) {
            true => exit::OK,
            false => exit::NOTHING,
        },
    ))
}

/// What of a round is shown.
struct View {
    /// Processes without TLS are left out.
    only_tls: bool,
    /// Processes that are alike share a row.
    grouped: bool,
}

impl View {
    /// Who asks for everybody wants to know who uses TLS; who asks for somebody wants to know about them.
    fn new(args: &DiscoverArgs, selection: &Selection) -> Self {
        let is_broad = !selection.has_rules() && selection.pids.is_empty();
        Self {
            only_tls: is_broad && !args.verbose,
            grouped: !args.verbose,
        }
    }

    fn shows(&self, process: &Process) -> bool {
        let has_tls = matches!(
            process.visibility,
            Visibility::Attachable | Visibility::Refused
        );
        has_tls || !self.only_tls
    }
}

/// How many there are of which kind, and what to do about those that could not be looked at.
fn summary(round: &Round, view: &View) -> String {
    let count = |visibility| {
        let mut all = round.processes.iter();
        let is = |process: &&Rc<Process>| process.visibility == visibility;
        all.by_ref().filter(is).count()
    };
    let without = count(Visibility::Waiting) + count(Visibility::None);
    let unreadable = count(Visibility::Unreadable);
    let total = round.processes.len();
    let mut text = match total {
        1 => "1 process".to_owned(),
        _ => format!("{total} processes"),
    };
    text.push_str(&format!(": {} attachable", count(Visibility::Attachable)));
    if count(Visibility::Refused) > 0 {
        text.push_str(&format!(", {} refused", count(Visibility::Refused)));
    }
    if without > 0 {
        text.push_str(&format!(", {without} without a TLS library"));
        text.push_str(if view.only_tls {
            " (-v shows them)"
        } else {
            ""
        });
    }
    if unreadable > 0 {
        text.push_str(&format!(", {unreadable} not readable"));
        let missing = Privileges::of_self().missing_for_others();
        if !missing.is_empty() {
            let missing = missing.join(" and ");
            text.push_str(&format!(
                " (missing {missing}; try: sudo agentsight discover …)"
            ));
        }
    }
    text
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Error::invalid(format!("failed to write JSON: {error}")))?;
    Ok(text + "\n")
}

/// A word from a hostile process, for one cell or line.
fn plain(text: &str) -> String {
    crate::bytes::printable(text)
        .replace('\n', "\\n")
        .replace('\t', "\\t")
}
