//! What this machine can do: `agentsight doctor`. Each check is an experiment where one is possible, and
//! each that does not end well says what to do about it. Nothing is changed on the machine.

pub mod bench;
mod child;
mod hex;
mod kernel;
mod openssl;
mod peer;
mod place;
mod sandbox;
mod selftest;
mod surroundings;
mod sys;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::attach::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::host::privileges::Privileges;

pub use child::{Launcher, PEER_COMMAND, Part};

/// How a check came out, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, but less well; or could not be found out.
    Warn,
    /// Nothing can be captured like this.
    Fail,
}

impl Status {
    /// As in the table and the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    fn style(self) -> Style {
        let color = match self {
            Self::Ok => AnsiColor::Green,
            Self::Warn => AnsiColor::Yellow,
            Self::Fail => AnsiColor::Red,
        };
        color.on_default()
    }
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What to do about it; always there unless all is well.
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            detail: detail.into(),
            fix: None,
        }
    }

    fn warn(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Status::Warn,
            fix: Some(fix.into()),
            ..Self::ok(name, detail)
        }
    }

    fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, detail, fix)
        }
    }
}

/// All checks, as the JSON tells them.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// No check failed.
    pub ok: bool,
    /// The checks, the self test last.
    pub checks: Vec<Check>,
}

/// Everything: all checks and the self test.
pub fn diagnose(launcher: &Launcher) -> Diagnosis {
    let mut checks = examine(launcher);
    checks.push(selftest(launcher));
    Diagnosis {
        ok: worst(&checks) < Status::Fail,
        checks,
    }
}

/// All checks but the self test. The launcher starts a child that tries what may kill it.
pub fn examine(launcher: &Launcher) -> Vec<Check> {
    let privileges = Privileges::of_self();
    let loaded = kernel::load(&privileges);
    let mut checks = surroundings::checks(&privileges, &loaded);
    checks.extend(kernel::checks(&privileges, &loaded));
    let session = loaded.as_ref().and_then(|loaded| loaded.as_ref().ok());
    checks.push(sandbox::check(launcher, session));
    checks
}

/// Whether return probes are safe for programs behind a seccomp filter, tried on a child of our own.
pub fn sandboxed_targets(launcher: &Launcher, session: &Session) -> Check {
    sandbox::check(launcher, Some(session))
}

/// Captures a TLS exchange of a child of our own and compares every byte.
pub fn selftest(launcher: &Launcher) -> Check {
    selftest::check(launcher)
}

/// The child's side of it: what the hidden subcommand [`PEER_COMMAND`] does with its one argument.
///
/// # Errors
/// There is no such part, or no parent to talk to.
pub fn selftest_peer(part: &str) -> Result<()> {
    match Part::ALL.into_iter().find(|known| known.as_str() == part) {
        Some(Part::Sandbox) => sandbox::peer(),
        Some(Part::Tls) => peer::peer(),
        None => Err(Error::new(
            ErrorKind::Usage,
            format!("the self test has no part {part}"),
        )),
    }
}

/// The worst status: decides the exit code.
pub fn worst(checks: &[Check]) -> Status {
    let statuses = checks.iter().map(|check| check.status);
    statuses.max().unwrap_or(Status::Ok)
}

/// A table for people, `width` columns wide if possible; the fix stands below what it mends. Statuses
/// are coloured, for a stream that takes colours away where they are not wanted.
pub fn table(checks: &[Check], width: Option<u16>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width {
        table.set_width(width);
    }
    for check in checks {
        let fix = check.fix.iter().map(|fix| format!("\nfix: {fix}"));
        let detail: String = std::iter::once(check.detail.clone()).chain(fix).collect();
        table.add_row([check.status.as_str(), check.name, &detail]);
    }
    let lines = table.lines().map(|line| painted(line.trim_end()));
    lines.collect()
}

/// A row starts with its status; further lines of it start with blanks.
fn painted(line: &str) -> String {
    for status in [Status::Ok, Status::Warn, Status::Fail] {
        let word = status.as_str();
        if let Some(rest) = line.trim_start().strip_prefix(word)
            && line.len() - line.trim_start().len() <= 1
        {
            let style = status.style();
            return format!("{style}{word}{style:#}{rest}\n");
        }
    }
    format!("{}\n", line.strip_prefix(' ').unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            Check::ok("uprobes", "there"),
            Check::warn("memory", "little", "buy more"),
        ]
    }

    /// One failure makes the machine unfit, a warning does not; no checks are no failure.
    #[test]
    fn worst_decides() {
        assert_eq!(worst(&[]), Status::Ok);
        assert_eq!(worst(&checks()), Status::Warn);
        let failed = [checks(), vec![Check::fail("x", "y", "z")]].concat();
        assert_eq!(worst(&failed), Status::Fail);
    }

    /// The fix stands below its check, and without colours the table is plain text.
    #[test]
    fn table_is_readable() {
        let table = anstream::adapter::strip_str(&table(&checks(), Some(60))).to_string();
        insta::assert_snapshot!(table, @r"
        ok    uprobes  there
        warn  memory   little
                       fix: buy more
        ");
    }

    /// Scripts read this.
    #[test]
    fn json_shape() {
        let diagnosis = Diagnosis {
            ok: true,
            checks: checks(),
        };
        insta::assert_snapshot!(
            serde_json::to_string(&diagnosis).unwrap(),
            @r#"{"ok":true,"checks":[{"name":"uprobes","status":"ok","detail":"there","fix":null},{"name":"memory","status":"warn","detail":"little","fix":"buy more"}]}"#
        );
    }
}
