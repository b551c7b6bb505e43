//! What rules say of a recording that was just made.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::process::ExitCode;

use anstream::AutoStream;

use super::output::DiscretionArgs;
use super::replay;
use super::rules::RuleArgs;
use crate::error::{Context, Result};
use crate::output::{Output, Printer};
use crate::record::Recording;
use crate::sink::{Clock, FindingsOnly, Human, Style, View};

impl RuleArgs {
    /// Judges what was recorded, once it is there: nothing waits for that while it is recorded. Findings go to stderr.
    pub fn judge_recording(
        &self,
        path: &Path,
        discretion: &DiscretionArgs,
        status: ExitCode,
    ) -> Result<ExitCode> {
        if self.fail_on.is_none() {
            return Ok(status);
        }
        let name = || format!("failed to judge {}", path.display());
        let file = File::open(path).context(name)?;
        let mut recording = Recording::open(BufReader::new(file)).context(name)?;
        let header = *recording.header();
        let clock = Clock::fixed(header.boot_to_unix_ns);
        let mut printer = Printer::new(View::Llm);
        printer.redactor = discretion.redactor(header.tag_key)?;
        printer.rules = self.engine(View::Llm)?;
        let out = AutoStream::auto(io::stderr());
        let people = Human::new(out, clock, Style::Auto, View::Llm);
        printer.sink = Some(Box::new(FindingsOnly(Box::new(people))));
        let mut output = Output::new(printer);
        replay::replay(&mut recording, &mut output).context(name)?;
        output.flush()?;
        Ok(self.judged(status, &output.summary()))
    }
}
