//! The output side: frames in, messages on a sink out. No clock, no kernel, no threads: the same frames
//! give the same output, whether they come from the kernel now or from a recording.

mod findings;
mod metadata;
mod processes;
mod summary;
mod view;

use std::io;
use std::sync::Arc;

use crate::deeds::deed::Deed;
use crate::deeds::{self, Deeds, Watched};
use crate::dialog::What;
use crate::error::{Context, Result};
use crate::event::block::Block;
use crate::event::frame::{End, Frame};
use crate::event::wire::{self, ConnState, Counter};
use crate::event::{Caller, Event, ProcessId};
use crate::graph::{Causes, Edge};
use crate::redact::Redactor;
use crate::rules::Engine;
use crate::semantics::price::Prices;
use crate::sink::{Sink, View};
use crate::stream::{Cause, Functions, Joiner, Message, Tracker};

pub use summary::Summary;

use processes::Processes;
use summary::Losses;
use view::{Shown, Viewer};

/// Whether more is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// The limit is reached, or the reader is gone: what still waits is not wanted.
    Enough,
}

/// Where the messages go. Without a sink they are counted only.
pub struct Printer {
    /// Prints them.
    pub sink: Option<Box<dyn Sink + Send>>,
    /// Masks secrets before.
    pub redactor: Option<Redactor>,
    /// What was said is left out: who spoke, when and how much is told.
    pub is_discreet: bool,
    /// Judges what is done and said.
    pub rules: Option<Engine>,
    /// Enough after this many pieces of plaintext, or of what they say.
    pub max_events: Option<u64>,
    /// Tells what led to what.
    pub causes: Causes,
    viewer: Viewer,
    printed: u64,
    is_enough: bool,
}

impl Default for Printer {
    fn default() -> Self {
        Self::new(View::Raw)
    }
}

impl Printer {
    /// Without a sink yet.
    pub fn new(view: View) -> Self {
        Self {
            sink: None,
            redactor: None,
            is_discreet: false,
            rules: None,
            max_events: None,
            causes: Causes::default(),
            viewer: Viewer::new(view),
            printed: 0,
            is_enough: false,
        }
    }

    /// Costs of calls are by this table.
    pub fn set_prices(&mut self, prices: Prices) {
        self.viewer.set_prices(prices);
    }

    fn print(&mut self, messages: &mut Vec<Message<'_>>) -> Result<()> {
        let mut shown = Vec::new();
        for message in messages.drain(..) {
            if self.is_enough || self.sink.is_none() {
                continue;
            }
            self.viewer.take(message, &mut shown);
            for shown in shown.drain(..) {
                self.show(shown)?;
            }
        }
        Ok(())
    }

    /// This process, or all of them (`None`), will say nothing more.
    fn finish(&mut self, process: Option<ProcessId>) -> Result<()> {
        let mut shown = Vec::new();
        if !self.is_enough && self.sink.is_some() {
            self.viewer.finish(process, &mut shown);
        }
        shown.into_iter().try_for_each(|shown| self.show(shown))
    }

    fn show(&mut self, shown: Shown<'_>) -> Result<()> {
        match shown {
            Shown::Bytes(Message::Data { .. }) if self.is_discreet => Ok(()),
            Shown::Bytes(mut message) => {
                if let Some(redactor) = &mut self.redactor {
                    redactor.apply(&mut message);
                }
                let is_counted = matches!(message, Message::Data { .. });
                self.put(is_counted, |sink| sink.message(&message))
            }
            Shown::Said(said) => {
                let mut edges = Vec::new();
                if self.tells_edges() {
                    self.causes.hear(&said, &mut edges);
                }
                let found = self.judge_said(&said);
                let all = match &mut self.redactor {
                    Some(redactor) => redactor.said(*said),
                    None => vec![*said],
                };
                for said in all {
                    let said = match self.is_discreet {
                        true => metadata::without_content(said),
                        false => Some(said),
                    };
                    let Some(said) = said else {
                        continue;
                    };
                    let is_counted = is_whole(&said.what) && !self.viewer.shows_bytes();
                    self.put(is_counted, |sink| sink.said(&said))?;
                }
                self.edges(edges)?;
                self.put_findings(found)
            }
        }
    }

    /// What a process did, if that is to be shown.
    fn deed(&mut self, mut deed: Deed) -> Result<()> {
        if self.is_enough || !self.viewer.shows_deeds() {
            return Ok(());
        }
        let mut edges = Vec::new();
        if self.tells_edges() {
            self.causes.see(&deed, &mut edges);
        }
        let found = self.judge_deed(&deed);
        if let Some(redactor) = &mut self.redactor {
            redactor.deed(&mut deed);
        }
        if self.is_discreet {
            metadata::deed_without_content(&mut deed);
        }
        self.put(false, |sink| sink.deed(&deed))?;
        self.edges(edges)?;
        self.put_findings(found)
    }

    fn tells_edges(&self) -> bool {
        let sink = self.sink.as_ref();
        sink.is_some_and(|sink| sink.tells_edges())
    }

    /// Behind what proves them.
    fn edges(&mut self, edges: Vec<Edge>) -> Result<()> {
        for mut edge in edges {
            if let Some(redactor) = &mut self.redactor {
                redactor.edge(&mut edge);
            }
            if self.is_discreet {
                metadata::edge_without_content(&mut edge);
            }
            self.put(false, |sink| sink.edge(&edge))?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        is_counted: bool,
        put: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<()> {
        let Some(sink) = self.sink.as_mut().filter(|_| !self.is_enough) else {
            return Ok(());
        };
        let result = put(sink.as_mut());
        self.note(result)?;
        self.printed += u64::from(is_counted);
        if self.max_events.is_some_and(|limit| self.printed >= limit) {
            self.is_enough = true;
            return self.close();
        }
        Ok(())
    }

    /// Nothing more comes, or is wanted.
    fn close(&mut self) -> Result<()> {
        let closed = self.sink.as_mut().map_or(Ok(()), |sink| sink.finish());
        self.note(closed)
    }

    fn flush(&mut self) -> Result<()> {
        let flushed = self.sink.as_mut().map_or(Ok(()), |sink| sink.flush());
        self.note(flushed)
    }

    /// A reader that hangs up (`| head`) has seen enough; that is no failure.
    fn note(&mut self, result: io::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_enough = true;
                Ok(())
            }
            result => result.context(|| "failed to write the output"),
        }
    }
}

/// Something that has ended, not news of it.
fn is_whole(what: &What) -> bool {
    !matches!(what, What::Asked(_) | What::Delta { .. } | What::Event(_))
}

/// Follows one run.
#[derive(Default)]
pub struct Output {
    functions: Functions,
    joiner: Joiner,
    tracker: Tracker,
    printer: Printer,
    deeds: Deeds,
    losses: Losses,
    processes: Processes,
    /// Records that were not what the header file says.
    undecodable: u64,
    /// Secrets that were masked before the frames came here.
    masked: u64,
    /// The same as in [`End`].
    left_out: u64,
    /// The same as in [`End`].
    unread: u64,
    /// Processes and files whose probes came late.
    missed: u64,
}

impl Output {
    /// Prints with this.
    pub fn new(printer: Printer) -> Self {
        Self {
            printer,
            ..Self::default()
        }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// The output fails.
    pub fn take(&mut self, frame: &Frame) -> Result<Flow> {
        match frame {
            Frame::Counters(counters) => self.tell_losses(counters)?,
            Frame::End(end) => self.end(end)?,
            Frame::Exited { caller, open } => self.exit(caller, open)?,
            Frame::Function { index, function } => self.functions.set(*index, function.clone()),
            Frame::Missed(missed) => {
                self.missed += 1;
                self.print(&mut vec![Message::Missed(Arc::clone(missed))])?;
            }
            Frame::Process(info) => {
                self.printer.causes.introduce(info.process, info.parent);
                self.printer.learn(info);
                let mut told = self.processes.learn(info).into_iter().collect();
                self.print(&mut told)?;
            }
            Frame::Records(block) => self.records(block)?,
            Frame::Tick(now_ns) => self.tick(*now_ns)?,
            // They were tried before the run began.
            Frame::Watched(patterns) => match Watched::of(patterns.clone()) {
                Ok(watched) => self.deeds.watch(watched),
                Err(_) => self.undecodable += 1,
            },
        }
        Ok(self.flow())
    }

    /// Writes out what is buffered: to be called whenever no frame waits.
    ///
    /// # Errors
    /// The output fails.
    pub fn flush(&mut self) -> Result<Flow> {
        self.printer.flush()?;
        Ok(self.flow())
    }

    fn print(&mut self, messages: &mut Vec<Message<'_>>) -> Result<()> {
        self.processes.introduce(messages);
        self.printer.print(messages)?;
        for (conn, name) in self.printer.viewer.take_authorities() {
            let mut news = self.tracker.hear_authority(conn, &name);
            self.printer.print(&mut news)?;
        }
        Ok(())
    }

    fn flow(&self) -> Flow {
        if self.printer.is_enough {
            Flow::Enough
        } else {
            Flow::More
        }
    }

    fn records(&mut self, block: &Block) -> Result<()> {
        let mut out = Vec::new();
        let mut heard_ns = 0;
        for record in block.records() {
            let Ok(event) = wire::decode(record) else {
                self.undecodable += 1;
                continue;
            };
            heard_ns = event.ts_ns();
            if Deeds::concerns(&event) {
                self.deed(&event)?;
                continue;
            }
            if Joiner::concerns(&event) {
                for event in self.joiner.push(event) {
                    self.tracker.push(event, &self.functions, &mut out);
                }
            } else {
                self.tracker.push(event, &self.functions, &mut out);
            }
            self.print(&mut out)?;
        }
        self.tick(heard_ns)
    }

    fn deed(&mut self, event: &Event<'_>) -> Result<()> {
        let Some(deed) = self.deeds.push(event) else {
            return Ok(());
        };
        let begins = matches!(deed.what, deeds::deed::What::Exec(_));
        if let Some(info) = self.processes.introduce_to(deed.process, begins) {
            self.printer.print(&mut vec![info])?;
        }
        self.printer.deed(deed)
    }

    /// Data that have waited for their connection's socket long enough.
    fn tick(&mut self, now_ns: u64) -> Result<()> {
        let events = self.joiner.tick(now_ns);
        self.tell(events)?;
        self.printer.tick_rules(now_ns)
    }

    fn tell(&mut self, events: Vec<Event<'static>>) -> Result<()> {
        let mut out = Vec::new();
        for event in events {
            self.tracker.push(event, &self.functions, &mut out);
        }
        self.print(&mut out)
    }

    /// What a process lost at its very end shows in the kernel's table only.
    fn exit(&mut self, caller: &Caller, open: &[ConnState]) -> Result<()> {
        let told = self.exit_told(caller, open);
        let told = told.and_then(|()| self.printer.finish(Some(caller.process)));
        self.processes.forget(caller.process);
        self.deeds.forget(caller.process);
        self.printer.causes.forget(caller.process);
        self.tracker.forget_process(caller.process);
        told
    }

    fn exit_told(&mut self, caller: &Caller, open: &[ConnState]) -> Result<()> {
        let waiting = self.joiner.push(Event::Exit(*caller));
        let waiting = waiting.into_iter();
        self.tell(
            waiting
                .filter(|event| !matches!(event, Event::Exit(_)))
                .collect(),
        )?;
        if !self.tracker.knows(caller.process) {
            self.joiner.forget_process(caller.process);
            return Ok(());
        }
        let open = self.joiner.states(open.to_vec());
        self.joiner.forget_process(caller.process);
        let mut messages = self.tracker.exit(caller, &open);
        self.printer.print(&mut messages)
    }

    fn end(&mut self, end: &End) -> Result<()> {
        self.masked = self.masked.saturating_add(end.masked);
        self.left_out = self.left_out.saturating_add(end.left_out);
        self.unread = self.unread.saturating_add(end.unread);
        if !self.printer.is_enough {
            let waiting = self.joiner.finish();
            self.tell(waiting)?;
            let open = self.joiner.states(end.open.clone());
            let mut messages = self.tracker.finish(&open);
            self.printer.print(&mut messages)?;
            self.printer.finish(None)?;
            self.printer.finish_rules()?;
        }
        self.tell_losses(&end.counters)?;
        self.tell_unseen_losses()?;
        if !self.printer.is_enough {
            self.printer.close()?;
        }
        self.printer.flush()
    }

    /// Losses that belong to no connection are told as soon as they are noticed.
    fn tell_losses(&mut self, counters: &[(Counter, u64)]) -> Result<()> {
        for (cause, bytes, records) in self.losses.since(counters, self.undecodable) {
            let mut messages = self.tracker.lost(cause, bytes, records);
            self.printer.print(&mut messages)?;
        }
        Ok(())
    }

    /// A connection of which nothing arrived, or whose last word was lost, has no gap of its own: what
    /// the kernel side counted and no connection has told is told here.
    fn tell_unseen_losses(&mut self) -> Result<()> {
        let told = self.tracker.totals().gaps.get(&Cause::RingFull);
        let (bytes, records) = told.copied().unwrap_or_default();
        let bytes = self
            .losses
            .count(Counter::RingFullBytes)
            .saturating_sub(bytes);
        let records = self
            .losses
            .count(Counter::RingFullRecords)
            .saturating_sub(records);
        if bytes == 0 && records == 0 {
            return Ok(());
        }
        let mut messages = self.tracker.lost(Cause::RingFull, bytes, records);
        self.printer.print(&mut messages)
    }

    /// The counts.
    pub fn summary(&self) -> Summary {
        let masked = self.printer.redactor.as_ref().map_or(0, Redactor::masked);
        let found = self.printer.rules.as_ref().map(Engine::counts);
        Summary {
            deeds: self.deeds.count(),
            found: found.unwrap_or_default(),
            totals: self.tracker.totals().clone(),
            dialogs: self.printer.viewer.dialogs().counts(),
            senseless: self
                .printer
                .sink
                .as_ref()
                .map_or(0, |sink| sink.senseless()),
            masked: self.masked.saturating_add(masked),
            left_out: self.left_out,
            unread: self.unread,
            missed: self.missed,
            held: 0,
            let_go: 0,
            wrong_objects: self.losses.count(Counter::WrongObject),
            under_way: self.losses.count(Counter::UnderWayCalls),
            silent: self.losses.count(Counter::SilentRecords),
            not_tls: self.losses.count(Counter::NotTls),
            forged: self.losses.count(Counter::ForgedRecords),
            contested: self.losses.count(Counter::ContestedEndpoints),
        }
    }
}
