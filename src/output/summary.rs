//! The end of a run in numbers: what came, what is missing, and why.

use std::collections::BTreeMap;
use std::fmt;

use crate::dialog::Counts;
use crate::event::wire::Counter;
use crate::rules::Counts as Found;
use crate::stream::{Cause, Totals};

/// What a run captured and what it lost.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What processes did: things told.
    pub deeds: u64,
    /// What rules found.
    pub found: Found,
    /// From the streams.
    pub totals: Totals,
    /// Exchanges and calls, where they were decoded.
    pub dialogs: Counts,
    /// Lines to which the user's filter could not be applied.
    pub senseless: u64,
    /// Secrets masked.
    pub masked: u64,
    /// Compressed bodies and messages that a recording does not hold from the secret on that was found in them.
    pub left_out: u64,
    /// Pieces of coded connections in which a recorder could not look for secrets.
    pub unread: u64,
    /// Processes and files whose probes came after they could be used.
    pub missed: u64,
    /// New processes that waited for their probes (`--hold`); a recording does not tell.
    pub held: u64,
    /// Of these, those that were let go before the probes were in place.
    pub let_go: u64,
    /// Calls whose object was none of the library's, and of which nothing was reported.
    pub wrong_objects: u64,
    /// Go: writes that began before their probes came.
    pub under_way: u64,
    /// TLS records that carry no application data: handshakes, tickets, alerts.
    pub silent: u64,
    /// Calls that encrypt or decrypt what is no TLS record.
    pub not_tls: u64,
    /// Records that failed authentication.
    pub forged: u64,
    /// Connections with evidence for two sockets, which have none therefore.
    pub contested: u64,
}

impl Summary {
    /// Bytes and records lost, not counting what the user did not want; per cause.
    pub fn lost(&self) -> impl Iterator<Item = (Cause, u64, u64)> + '_ {
        let gaps = self.totals.gaps.iter();
        gaps.filter(|(cause, _)| cause.is_loss())
            .map(|(cause, (bytes, records))| (*cause, *bytes, *records))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [written, read] = self.totals.bytes;
        writeln!(
            f,
            "captured: {} events on {} connections, {written} B written, {read} B read",
            self.totals.events, self.totals.connections
        )?;
        if self.deeds > 0 {
            writeln!(f, "seen: {} things that processes did", self.deeds)?;
        }
        if self.totals.joined > 0 {
            writeln!(
                f,
                "joined: {} connections were under way when their probes came; what they said before is \
                 not counted",
                self.totals.joined
            )?;
        }
        self.fmt_found(f)?;
        if self.missed > 0 {
            writeln!(
                f,
                "late: {} times probes came after a process could have spoken (tls.missed tells when)",
                self.missed
            )?;
        }
        if self.held > 0 {
            writeln!(
                f,
                "held: {} new processes waited for their probes, {} of them in vain",
                self.held, self.let_go
            )?;
        }
        if self.under_way > 0 {
            writeln!(
                f,
                "under way: {} writes had begun when their probes came, and are not counted",
                self.under_way
            )?;
        }
        if self.wrong_objects > 0 {
            writeln!(
                f,
                "left out: {} calls on what is no connection of the library (wrong-object)",
                self.wrong_objects
            )?;
        }
        self.fmt_endpoints(f)?;
        self.fmt_dialogs(f)?;
        self.fmt_left_out(f)?;
        let mut is_whole = true;
        for (cause, bytes, records) in self.lost() {
            is_whole = false;
            writeln!(f, "lost: {} ({bytes} B, {records} records)", cause.as_str())?;
        }
        if is_whole {
            writeln!(f, "lost: nothing")?;
        }
        if let Some((truncated, _)) = self.totals.gaps.get(&Cause::MaxBytes) {
            writeln!(f, "truncated: {truncated} B by --max-bytes")?;
        }
        self.fmt_masked(f)
    }
}

impl Summary {
    /// Of how many connections the socket was known.
    fn fmt_endpoints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "endpoints: ";
        for (library, (attributed, all)) in &self.totals.endpoints {
            write!(f, "{separator}{library} {attributed} of {all}")?;
            separator = ", ";
        }
        if !self.totals.endpoints.is_empty() {
            writeln!(f)?;
        }
        if self.contested > 0 {
            writeln!(
                f,
                "contested: {} times, two sockets had the same right to a connection",
                self.contested
            )?;
        }
        Ok(())
    }

    /// What was said.
    fn fmt_dialogs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            requests,
            calls,
            mcp,
            unpaired,
            incomplete,
            unrecognised,
        } = self.dialogs;
        if requests > 0 {
            write!(
                f,
                "decoded: {requests} requests, {calls} of them calls of models"
            )?;
            for (n, what) in [
                (mcp, "messages of MCP"),
                (unpaired, "halves of exchanges without the other one"),
                (incomplete, "halves that are not whole"),
                (unrecognised, "bytes between messages"),
            ] {
                if n > 0 {
                    write!(f, "; {n} {what}")?;
                }
            }
            writeln!(f)?;
        }
        if self.senseless > 0 {
            writeln!(
                f,
                "filtered: --filter makes no sense for {} lines, which were left out",
                self.senseless
            )?;
        }
        Ok(())
    }

    /// What is not shown, or not kept, since it is secret; and where that is not known.
    fn fmt_masked(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.masked > 0 {
            writeln!(
                f,
                "masked: {} secrets (--no-redact shows them)",
                self.masked
            )?;
        }
        if self.left_out > 0 {
            writeln!(
                f,
                "not recorded: the rest of {} compressed bodies or messages with a secret in them",
                self.left_out
            )?;
        }
        if self.unread > 0 {
            writeln!(
                f,
                "recorded as sent: {} pieces of coded connections in which secrets could not be looked for",
                self.unread
            )?;
        }
        Ok(())
    }

    fn fmt_found(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        if let Some(worst) = found.worst {
            write!(
                f,
                "rules: {} findings, the worst {}",
                found.findings,
                worst.as_str()
            )?;
            match found.untold {
                0 => writeln!(f)?,
                untold => writeln!(f, "; {untold} more of rules that had a thousand")?,
            }
        }
        if found.forgotten > 0 {
            writeln!(
                f,
                "rules: {} things forgotten for lack of room: something may not have been found",
                found.forgotten
            )?;
        }
        Ok(())
    }

    /// What was seen and is none of the streams.
    fn fmt_left_out(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = [
            (
                self.silent,
                "TLS records without application data (handshakes, tickets, alerts)",
            ),
            (
                self.not_tls,
                "calls that encrypt or decrypt what is no TLS record (QUIC, files)",
            ),
            (self.forged, "records that failed authentication"),
        ];
        for (n, what) in left_out.into_iter().filter(|(n, _)| *n > 0) {
            writeln!(f, "left out: {n} {what}")?;
        }
        Ok(())
    }
}

/// Watches the loss counters that no record tells about.
#[derive(Debug, Default)]
pub struct Losses {
    counters: BTreeMap<Counter, u64>,
    undecodable: u64,
}

impl Losses {
    /// One counter when it was last read.
    pub fn count(&self, counter: Counter) -> u64 {
        self.counters.get(&counter).copied().unwrap_or(0)
    }

    /// What was lost since the last call: cause, bytes, records. Losses that show as gaps of a
    /// connection are not told again.
    pub fn since(
        &mut self,
        counters: &[(Counter, u64)],
        undecodable: u64,
    ) -> Vec<(Cause, u64, u64)> {
        let mut grown = BTreeMap::new();
        for (counter, value) in counters {
            let before = self.counters.insert(*counter, *value).unwrap_or(0);
            grown.insert(*counter, value.saturating_sub(before));
        }
        let grown = |counter| grown.get(&counter).copied().unwrap_or(0);
        let bad = undecodable.saturating_sub(self.undecodable);
        self.undecodable = undecodable;
        let losses = [
            (
                Cause::ConnectionTableFull,
                grown(Counter::ConnFullBytes),
                grown(Counter::ConnFullRecords),
            ),
            (Cause::CallTableFull, 0, grown(Counter::CallFull)),
            (Cause::GuardUnknown, grown(Counter::GuardUnknownBytes), 0),
            (Cause::BadResult, 0, grown(Counter::BadResult)),
            (Cause::ProcessTableFull, 0, grown(Counter::ProcessFull)),
            (Cause::LostFileActs, 0, grown(Counter::LostFileActs)),
            (Cause::LostNetworkActs, 0, grown(Counter::LostNetworkActs)),
            (Cause::LostProcessActs, 0, grown(Counter::LostProcessActs)),
            (Cause::LostStdio, grown(Counter::LostStdioBytes), 0),
            (
                Cause::DescriptorTableFull,
                0,
                grown(Counter::DescriptorsFull),
            ),
            (Cause::Undecodable, 0, bad),
        ];
        losses
            .into_iter()
            .filter(|(_, bytes, records)| *bytes > 0 || *records > 0)
            .collect()
    }
}
