//! Whole runs: frames that somebody made up go the way of those from the kernel, to everybody who prints them, to the
//! rules and to the graph.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use agentsight::deeds::deed::Deed;
use agentsight::dialog::Said;
use agentsight::event::frame::{End, Frame};
use agentsight::graph::why::Why;
use agentsight::graph::{Causes, Edge, Graph};
use agentsight::output::{Output, Printer};
use agentsight::record::{Header, Recorder, Recording, fuzz_mask};
use agentsight::redact::Redactor;
use agentsight::rules::{Engine, Finding, Rules};
use agentsight::semantics::price::Prices;
use agentsight::sink::{
    Clock, Collector, Eunomia, Filter, Filtered, Human, JsonLines, Sink, Style, Tree, View,
};
use agentsight::stream::Message;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::{secret, steps};

/// Things of a graph that are asked for.
const ASKED: usize = 8;

/// Steps of a run ([`steps`]): what is printed makes sense, and a secret is in none of it.
pub fn acts(data: &[u8]) {
    let mut run = Run::new(Some(redactor()));
    run.take_all(steps::frames(data));
    run.check();
    for line in run.lines.take().split(|byte| *byte == b'\n') {
        secret::assert_hidden(line);
        if let Ok(value) = serde_json::from_slice(line) {
            each_coded(&value, &mut secret::assert_hidden);
        }
    }
    secret::assert_hidden(&run.text.take());
}

/// The first line is an expression, the rest are steps: whatever the lines have, it is true of them or is not.
pub fn filter(data: &[u8]) {
    let (expression, rest) = split(data, b'\n');
    let Ok(filter) = Filter::new(&String::from_utf8_lossy(expression)) else {
        return;
    };
    let lines = Lines::default();
    let sink = Box::new(JsonLines::new(lines.clone(), clock()));
    let mut printer = Printer::new(View::Llm);
    printer.sink = Some(Box::new(Filtered::new(filter, clock(), sink)));
    let mut output = Output::new(printer);
    for frame in steps::frames(rest) {
        output.take(&frame).expect("memory can be written to");
    }
    assert_json(&lines.take());
}

/// Rules up to a zero, then steps: they are refused in words, or judge the run.
pub fn rules(data: &[u8]) {
    let (text, rest) = split(data, 0);
    let mut rules = Rules::default();
    if rules
        .add("rules.yml", &String::from_utf8_lossy(text))
        .is_err()
    {
        return;
    }
    let mut printer = Printer::new(View::Llm);
    let lines = Lines::default();
    printer.sink = Some(Box::new(JsonLines::new(lines.clone(), clock())));
    printer.rules = Some(Engine::new(rules));
    let mut output = Output::new(printer);
    for frame in steps::frames(rest) {
        output.take(&frame).expect("memory can be written to");
    }
    assert_json(&lines.take());
}

/// Steps whose records are masked before they are written: a secret that stands in one record as text is in none of them.
pub fn mask(data: &[u8]) {
    let frames = steps::frames(data).into_iter();
    let mut blocks: Vec<_> = frames
        .filter_map(|frame| match frame {
            Frame::Records(block) => Some(block),
            _ => None,
        })
        .collect();
    fuzz_mask(&redactor(), &mut blocks);
    for block in &blocks {
        block.records().for_each(secret::assert_hidden);
    }
}

/// A recording: with a first byte of 0 the rest as it is; else frames, each with its kind and its length in three bytes,
/// which get the checksums that they need. What is read is printed, and is the same when it is written and read again.
pub fn recording(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    let file = match how {
        0 => rest.to_vec(),
        _ => framed(rest),
    };
    let Ok(mut recording) = Recording::open(file.as_slice()) else {
        return;
    };
    let header = *recording.header();
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = recording.next_frame() {
        frames.push(frame);
    }
    assert!(read_again(&header, &frames) == frames, "another recording");
    frames.push(Frame::End(End::default()));
    let mut run = Run::new(None);
    run.take_all(frames);
    run.check();
}

/// A recording of these frames, whatever they are.
fn framed(mut rest: &[u8]) -> Vec<u8> {
    let header = Header {
        boot_to_unix_ns: 0,
        tag_key: [1; 32],
        is_masked: false,
    };
    let mut file = header.encode();
    while let [kind, a, b, behind @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*a, *b]));
        let (content, behind) = behind.split_at_checked(len).unwrap_or((behind, &[]));
        rest = behind;
        let kind = u32::from(*kind).to_le_bytes();
        let len = (content.len() as u64).to_le_bytes();
        let sum = crc32fast::hash(&[kind.as_slice(), &len, content].concat());
        file.extend(kind);
        file.extend(sum.to_le_bytes());
        file.extend(len);
        file.extend_from_slice(content);
    }
    file
}

/// Frames after they were written.
fn read_again(header: &Header, frames: &[Frame]) -> Vec<Frame> {
    let header = Header {
        is_masked: false,
        ..*header
    };
    let lines = Lines::default();
    let mut recorder = Recorder::new(Box::new(lines.clone()), &header).expect("memory");
    for frame in frames {
        recorder.take(&mut frame.clone()).expect("memory");
    }
    let file = lines.take();
    let mut again = Recording::open(file.as_slice()).expect("what was just written");
    let mut all = Vec::new();
    while all.len() < frames.len() {
        let frame = again.next_frame().expect("what was just written");
        all.push(frame.expect("as many as were written"));
    }
    all
}

/// Somebody who reads along in every way.
struct Run {
    output: Output,
    lines: Lines,
    text: Lines,
    graph: Arc<Mutex<Graph>>,
}

impl Run {
    fn new(redactor: Option<Redactor>) -> Self {
        let (lines, text) = (Lines::default(), Lines::default());
        let graph = Arc::default();
        let sinks: Vec<Box<dyn Sink + Send>> = vec![
            Box::new(JsonLines::new(lines.clone(), clock())),
            Box::new(Tree::new(text.clone(), clock())),
            Box::new(Human::new(text.clone(), clock(), Style::Auto, View::All)),
            Box::new(Eunomia::new(text.clone(), clock())),
            Box::new(Collector(Arc::clone(&graph))),
        ];
        let mut printer = Printer::new(View::All);
        printer.sink = Some(Box::new(All(sinks)));
        printer.redactor = redactor;
        printer.rules = Some(Engine::new(built_in()));
        printer.causes = Causes::for_graph();
        // To read the built-in table takes longer than most runs, and `prices` tries tables.
        printer.set_prices(Prices::default());
        Self {
            output: Output::new(printer),
            lines,
            text,
            graph,
        }
    }

    fn take_all(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.output.take(&frame).expect("memory can be written to");
        }
    }

    /// Lines are JSON, and the graph holds together.
    fn check(&self) {
        assert_json(&self.lines.all());
        let graph = self.graph.lock().expect("nobody else");
        for link in &graph.edges {
            for end in [&link.from, &link.to] {
                assert!(graph.node(end).is_some(), "an edge without {end}");
            }
        }
        let text = serde_json::to_string(&*graph).expect("a graph can be written");
        let again: Graph = serde_json::from_str(&text).expect("and read");
        assert!(again.nodes == graph.nodes && again.edges == graph.edges);
        Why::unexplained(&graph);
        for node in graph.nodes.iter().rev().take(ASKED) {
            let why = Why::ask(&graph, &node.id);
            assert!(why.found.iter().any(|found| found.node.id == node.id));
        }
    }
}

/// Shows everything to all of them.
struct All(Vec<Box<dyn Sink + Send>>);

impl Sink for All {
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.message(message))
    }

    fn said(&mut self, said: &Said) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.said(said))
    }

    fn deed(&mut self, deed: &Deed) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.deed(deed))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.finish())
    }

    fn tells_edges(&self) -> bool {
        true
    }

    fn edge(&mut self, edge: &Edge) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.edge(edge))
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.finding(finding))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|sink| sink.flush())
    }
}

/// A file in memory that stays in reach.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn all(&self) -> Vec<u8> {
        self.0.lock().expect("nobody else").clone()
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().expect("nobody else"))
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody else").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn assert_json(lines: &[u8]) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let value: Value = serde_json::from_slice(line).expect("a line is JSON");
        assert!(value.get("type").is_some_and(Value::is_string));
    }
}

/// Shows what is coded because it is no text.
fn each_coded(value: &Value, show: &mut dyn FnMut(&[u8])) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| each_coded(value, show)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name.ends_with("_b64") => {
                        show(&BASE64_STANDARD.decode(text).expect("base64"));
                    }
                    value => each_coded(value, show),
                }
            }
        }
        _ => {}
    }
}

/// What is before the first of these, and behind it.
fn split(data: &[u8], by: u8) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == by);
    let first = parts.next().unwrap_or_default();
    (first, parts.next().unwrap_or_default())
}

fn clock() -> Clock {
    Clock::fixed(1_700_000_000_000_000_000)
}

/// Making rules ready takes longer than most inputs.
fn redactor() -> Redactor {
    thread_local! {
        static REDACTOR: RefCell<Redactor> =
            RefCell::new(Redactor::new([1; 32]).expect("our rules are right"));
    }
    REDACTOR.with_borrow(Redactor::anew)
}

/// The same.
fn built_in() -> Rules {
    thread_local! {
        static RULES: Rules = Rules::built_in().expect("our rules are right");
    }
    RULES.with(Rules::clone)
}
