//! The coverage table: one row for each process and library, or for processes that are alike.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{View, plain};
use crate::cli::discover::{indent, plain_table};
use crate::survey::{Library, Process, Round, Visibility};

/// So many pids are listed; of more, their number.
const PIDS_MAX: usize = 3;

const COLUMNS: [&str; 8] = [
    "PID",
    "command",
    "user",
    "container",
    "library",
    "file",
    "found by",
    "attach",
];
const CONTAINER: usize = 3;

type Cells = [String; 7];

/// What has TLS first, then by name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    visibility: Visibility,
    comm: String,
    rows: Vec<Cells>,
    /// Where each is shown apart.
    pid: Option<i32>,
}

/// The table with its head; nothing if there is nothing to show.
pub fn text(round: &Round, view: &View) -> String {
    let mut groups: BTreeMap<Order, Vec<&Process>> = BTreeMap::new();
    for process in round.processes.iter().map(Rc::as_ref) {
        if !view.shows(process) {
            continue;
        }
        let order = Order {
            visibility: process.visibility,
            comm: plain(&process.comm),
            rows: rows(process),
            pid: (!view.grouped).then_some(process.pid),
        };
        groups.entry(order).or_default().push(process);
    }
    if groups.is_empty() {
        return String::new();
    }
    let mut lines: Vec<Vec<String>> = vec![COLUMNS.map(str::to_owned).to_vec()];
    for (order, processes) in &groups {
        let mut pids = pids(processes);
        for row in &order.rows {
            lines.push(
                [std::mem::take(&mut pids)]
                    .iter()
                    .chain(row)
                    .cloned()
                    .collect(),
            );
        }
    }
    drop_empty(&mut lines, CONTAINER);
    let mut table = plain_table();
    for line in lines {
        table.add_row(line);
    }
    let mut text = String::new();
    indent(&table, &mut text);
    text
}

/// On most machines, that column has nothing to say.
fn drop_empty(lines: &mut [Vec<String>], column: usize) {
    let is_empty = |line: &Vec<String>| line.get(column).is_none_or(String::is_empty);
    if lines.iter().skip(1).all(is_empty) {
        for line in lines {
            line.remove(column);
        }
    }
}

/// With the pid that the process itself knows, if that is another one.
fn pids(processes: &[&Process]) -> String {
    if processes.len() > PIDS_MAX {
        return format!("{} processes", processes.len());
    }
    let pids = processes
        .iter()
        .map(|process| match process.ns_pids.last() {
            Some(own) if *own != process.pid => format!("{} ({own})", process.pid),
            _ => process.pid.to_string(),
        });
    pids.collect::<Vec<_>>().join(", ")
}

/// Who it is stands in the first row.
fn rows(process: &Process) -> Vec<Cells> {
    let container = process.container.as_ref();
    let container = container.map(|container| {
        let short: String = container.id.chars().take(12).collect();
        plain(container.name.as_ref().unwrap_or(&short))
    });
    let uid = process.uid.map(|uid| uid.to_string());
    let user = process.user.as_deref().map(plain).or(uid);
    let mut who = Some([
        plain(&process.comm),
        user.unwrap_or_default(),
        container.unwrap_or_default(),
    ]);
    let mut row = |what: [String; 4]| -> Cells {
        let [comm, user, container] = who.take().unwrap_or_default();
        let [library, file, found, attach] = what;
        [comm, user, container, library, file, found, attach]
    };
    let mut rows: Vec<Cells> = process
        .libraries
        .iter()
        .map(|found| row(library(found)))
        .collect();
    rows.extend(process.refused.iter().map(|refused| {
        let attach = format!("no: {}", plain(&refused.reason));
        row([
            plain(&refused.library),
            plain(&refused.file),
            String::new(),
            attach,
        ])
    }));
    if rows.is_empty() {
        let exe = process
            .exe
            .as_deref()
            .map(|exe| file(exe, process.exe_deleted));
        let reason = process.reason.as_deref().map(plain).unwrap_or_default();
        let attach = match process.visibility {
            Visibility::Unreadable => format!("not known: {reason}"),
            _ => reason,
        };
        rows.push(row([
            "-".to_owned(),
            exe.unwrap_or_default(),
            String::new(),
            attach,
        ]));
    }
    rows
}

fn library(library: &Library) -> [String; 4] {
    let method = library.methods.first().map(|method| method.as_str());
    let found = format!(
        "{}, {}",
        method.unwrap_or_default(),
        library.confidence.as_str()
    );
    let attach = match &library.reason {
        None => "yes".to_owned(),
        Some(reason) => format!("no: {}", plain(reason)),
    };
    [
        plain(&library.title()),
        file(&library.file, library.deleted),
        found,
        attach,
    ]
}

/// As the kernel marks names that are gone.
fn file(path: &str, deleted: bool) -> String {
    let mark = if deleted { " (deleted)" } else { "" };
    format!("{}{mark}", plain(path))
}
