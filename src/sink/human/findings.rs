//! What rules found, for people: a line that stands out.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Colour};

use super::{Human, one_line};
use crate::rules::{Finding, Severity};

/// The worse, the more it stands out.
pub fn colour(severity: Severity) -> AnsiColor {
    match severity {
        Severity::Critical | Severity::High => AnsiColor::Red,
        Severity::Medium => AnsiColor::Yellow,
        Severity::Low => AnsiColor::Blue,
    }
}

impl<W: Write> Human<W> {
    pub(super) fn finding_line(&mut self, finding: &Finding) -> io::Result<()> {
        self.end_line()?;
        let time = self.clock.time(finding.ts_ns);
        let time = time.to_zoned(jiff::tz::TimeZone::system());
        let detail = &finding.detail;
        let colour = colour(detail.severity);
        let colour = Colour::new().bold().fg_color(Some(colour.into()));
        let dim = Colour::new().dimmed();
        writeln!(
            self.out,
            "{dim}{}{dim:#} {colour}{}[{}] {}: {}{colour:#} {} {dim}({}, by {}){dim:#}",
            time.strftime("%H:%M:%S%.6f"),
            one_line(&finding.comm.text()),
            finding.process.pid,
            detail.severity.as_str(),
            one_line(&detail.title),
            one_line(&detail.message),
            detail.evidence.join(", "),
            one_line(&detail.rule),
        )
    }
}
