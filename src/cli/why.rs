//! `agentsight why`: what led to a process, a file or a connection of a recording, back to the words that caused it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anstyle::{AnsiColor, Style};

use super::args::WhyArgs;
use super::replay;
use crate::bytes::printable;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::why::{Chain, Found, Step, Why};
use crate::graph::{Causes, Graph, Kind, Node, Thing};
use crate::output::{Output, Printer};
use crate::redact::Redactor;
use crate::sink::{Clock, Collector, View};

/// Characters of a text that are shown.
const TEXT_SHOWN: usize = 300;

pub fn run(args: &WhyArgs) -> Result<ExitCode> {
    let name = || format!("failed to read {}", args.recording.display());
    let mut recording = replay::open(&args.recording).context(name)?;
    let header = *recording.header();
    let clock = Clock::fixed(header.boot_to_unix_ns);
    let redactor = args.discretion.redactor(header.tag_key)?;
    let graph = Arc::new(Mutex::new(Graph::default()));
    let mut printer = Printer::new(View::Llm);
    printer.causes = Causes::for_graph();
    printer.sink = Some(Box::new(Collector(Arc::clone(&graph))));
    let mut output = Output::new(printer);
    let replayed = replay::replay(&mut recording, &mut output);
    drop(output);
    let graph = std::mem::take(&mut *graph.lock().unwrap_or_else(PoisonError::into_inner));
    let out = anstream::AutoStream::new(io::stdout(), args.color.choice());
    let told = tell(args, graph, redactor, clock, out);
    replayed.context(name)?;
    told
}

fn tell(
    args: &WhyArgs,
    graph: Graph,
    mut redactor: Option<Redactor>,
    clock: Clock,
    mut out: anstream::AutoStream<io::Stdout>,
) -> Result<ExitCode> {
    let mut mask = |text: &mut String| {
        if let Some(redactor) = &mut redactor {
            redactor.text(text);
        }
    };
    let page = Page { clock };
    let text = match (&args.what, args.unexplained) {
        (_, true) => {
            let mut chains = Why::unexplained(&graph);
            chains
                .iter_mut()
                .for_each(|chain| chain.each_text(&mut mask));
            match args.json {
                true => json(&chains)?,
                false => page.unexplained(&chains),
            }
        }
        (None, false) => json(&graph.with_texts(&mut mask))?,
        (Some(what), false) => {
            let mut why = Why::ask(&graph, what);
            if why.found.is_empty() {
                return Err(unknown(what, &graph));
            }
            why.each_text(&mut mask);
            match args.json {
                true => json(&why)?,
                false => page.why(&why),
            }
        }
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context(|| "failed to write the output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
    Ok(text + "\n")
}

fn unknown(what: &str, graph: &Graph) -> Error {
    let count = |is: fn(&Thing) -> bool| graph.nodes.iter().filter(|node| is(&node.thing)).count();
    let processes = count(|thing| matches!(thing, Thing::Process { .. }));
    let files = count(|thing| matches!(thing, Thing::File { .. }));
    let hosts = count(|thing| matches!(thing, Thing::Host { .. }));
    let calls = count(|thing| matches!(thing, Thing::Call { .. }));
    Error::new(
        ErrorKind::NotFound,
        format!(
            "the recording has no process, file, host, event or call {what:?}: looked for it among {processes} processes, \
             {files} files, {hosts} hosts and {calls} calls of models"
        ),
    )
}

/// Text for people.
struct Page {
    clock: Clock,
}

impl Page {
    fn why(&self, why: &Why) -> String {
        let mut text = String::new();
        for (n, found) in why.found.iter().enumerate() {
            if n > 0 {
                text.push('\n');
            }
            self.found(found, &mut text);
        }
        if why.left_out > 0 {
            let _ = writeln!(
                text,
                "\nand {} more that {:?} may mean",
                why.left_out, why.what
            );
        }
        text
    }

    fn found(&self, found: &Found, text: &mut String) {
        let bold = Style::new().bold();
        let title = one_line(&label(&found.node), TEXT_SHOWN);
        let _ = writeln!(text, "{bold}{title}{bold:#}");
        if found.chains.is_empty() {
            let _ = writeln!(text, "  nothing is known of what led to it");
        }
        for (n, chain) in found.chains.iter().enumerate() {
            if n > 0 {
                let _ = writeln!(text, "  also:");
            }
            self.chain(chain, text);
        }
    }

    fn chain(&self, chain: &Chain, text: &mut String) {
        if !chain.is_explained {
            let why = match chain.has_agent {
                true => "no tool call explains it; what is known is who began it:",
                false => {
                    "nothing that was said explains it, and no agent was seen above it; it came about so:"
                }
            };
            let _ = writeln!(text, "  {why}");
        }
        for step in &chain.steps {
            if let Thing::Call { prompt, .. } = &step.node.thing {
                self.call(prompt.as_deref(), &chain.told, text);
            }
            self.step(step, text);
        }
    }

    fn call(&self, prompt: Option<&str>, told: &[Node], text: &mut String) {
        if let Some(prompt) = prompt {
            let _ = writeln!(text, "  the user said: {:?}", one_line(prompt, TEXT_SHOWN));
        }
        for result in told {
            if let Thing::ToolResult { text: said, .. } = &result.thing {
                let id = one_line(&result.id, TEXT_SHOWN);
                let said = one_line(said, TEXT_SHOWN);
                let _ = writeln!(text, "  {id} said: {said:?}");
            }
        }
    }

    fn step(&self, step: &Step, text: &mut String) {
        let dim = AnsiColor::BrightBlack.on_default();
        let how = step
            .by
            .as_ref()
            .map(|link| verb(link.kind, &step.node.thing));
        let _ = write!(
            text,
            "  {}{}",
            how.map_or(String::new(), |how| format!("{how} ")),
            one_line(&label(&step.node), TEXT_SHOWN)
        );
        let ts_ns = step
            .by
            .as_ref()
            .map(|link| link.ts_ns)
            .or(began_ns(&step.node.thing));
        if let Some(ts_ns) = ts_ns {
            let _ = write!(text, " {dim}at {:.3}{dim:#}", self.clock.time(ts_ns));
        }
        if let Some(link) = step.by.as_ref().filter(|link| !link.kind.is_plain()) {
            let _ = write!(
                text,
                " {dim}({}: {}){dim:#}",
                link.confidence.as_str(),
                link.reason
            );
        }
        text.push('\n');
    }

    fn unexplained(&self, chains: &[Chain]) -> String {
        let mut text = String::new();
        for chain in chains {
            if let Some(last) = chain.steps.last() {
                self.step(
                    &Step {
                        by: None,
                        ..last.clone()
                    },
                    &mut text,
                );
            }
        }
        if chains.is_empty() {
            text.push_str(
                "  every program below an agent is explained by a tool call, or there is none\n",
            );
        }
        text
    }
}

fn began_ns(thing: &Thing) -> Option<u64> {
    match thing {
        Thing::Call { ts_ns, .. } | Thing::Exec { ts_ns, .. } => Some(*ts_ns),
        _ => None,
    }
}

fn verb(kind: Kind, effect: &Thing) -> &'static str {
    match kind {
        Kind::Executes if matches!(effect, Thing::Process { .. }) => "as",
        Kind::Changes => "which changed",
        Kind::Contacts => "which spoke to",
        Kind::Executes => "which ran",
        Kind::Forks => "which made",
        Kind::Gives => "which gave",
        Kind::Informs => "which was told to",
        Kind::Reaches => "which names",
        Kind::ReadBy => "which was read by",
        Kind::Reads => "which read",
        Kind::Requests => "which requested",
        Kind::RunBy => "which was run as",
        Kind::Runs => "which ran",
        Kind::Subagent => "which began the agent",
        Kind::Touches => "which names",
        Kind::Wants => "which wanted",
        Kind::Writes => "which wrote",
    }
}

fn label(node: &Node) -> String {
    let id = &node.id;
    let name = node.thing.name();
    match &node.thing {
        Thing::Call { process, .. } => format!("call {id} of {name} by process {process}"),
        Thing::Exec { .. } => format!("{id} $ {name}"),
        Thing::File { path: None } => format!("a file of unknown name ({id})"),
        Thing::File { path: Some(path) } => path.clone(),
        Thing::Host { address, .. } => {
            match address.as_deref().filter(|text| !text.starts_with(&name)) {
                Some(address) => format!("{name} ({address})"),
                None => name,
            }
        }
        Thing::Mcp { .. } => format!("MCP request {name}"),
        Thing::Process { pid, .. } => format!("process {pid} ({name})"),
        Thing::ToolCall { arguments, .. } => format!("tool call {name} {arguments}"),
        Thing::ToolResult { text, .. } => format!("{id}: {text}"),
    }
}

/// Whoever wrote it forges no other line, and moves no cursor.
fn one_line(text: &str, max: usize) -> String {
    let text = printable(text).replace(['\n', '\t'], " ");
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
