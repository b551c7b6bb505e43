//! The edges of a graph against a script: how many of those that must come of it are there, and which are there that must
//! not. What steps an agent took, the servers of the models tell; which process descends from which, the deeds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use super::script::Script;

/// Edges of one kind.
#[derive(Debug, Default)]
pub struct Score {
    pub wanted: usize,
    /// What is there for certain, and what only likely.
    pub exact: BTreeSet<String>,
    pub likely: BTreeSet<String>,
    pub missing: BTreeSet<String>,
    pub wrong_exact: Vec<String>,
    pub wrong_likely: Vec<String>,
}

impl Score {
    /// Of these edges, each with its confidence.
    pub fn of(wanted: &BTreeSet<String>, told: impl Iterator<Item = (String, bool)>) -> Self {
        let mut score = Self {
            wanted: wanted.len(),
            ..Self::default()
        };
        for (what, is_exact) in told {
            match (wanted.contains(&what), is_exact) {
                (true, true) => drop(score.exact.insert(what)),
                (true, false) => drop(score.likely.insert(what)),
                (false, true) => score.wrong_exact.push(what),
                (false, false) => score.wrong_likely.push(what),
            }
        }
        score.likely.retain(|what| !score.exact.contains(what));
        let found = |what: &&String| score.exact.contains(*what) || score.likely.contains(*what);
        score.missing = wanted.iter().filter(|what| !found(what)).cloned().collect();
        score
    }

    /// All is there, and nothing else.
    pub fn is_right(&self) -> bool {
        self.missing.is_empty() && self.wrong_exact.is_empty() && self.wrong_likely.is_empty()
    }

    /// A row of the table in `docs/graph.md`.
    pub fn row(&self, agent: &str, kind: &str) -> String {
        format!(
            "| {agent} | {kind} | {} | {} | {} | {} | {} |",
            self.wanted,
            self.exact.len(),
            self.wrong_exact.len(),
            self.likely.len(),
            self.wrong_likely.len()
        )
    }
}

/// A run, with what is known of it from elsewhere than the graph.
pub struct Run<'r> {
    pub lines: &'r [Value],
    folder: &'r Path,
    /// The step of a tool call, by the number that the server gave it.
    steps: HashMap<String, String>,
    /// What the servers say of an exchange, by their number of it.
    truth: HashMap<&'r str, &'r Value>,
    /// The step of a request of MCP, by its number.
    requests: HashMap<String, String>,
    parents: HashMap<&'r str, &'r str>,
    /// Programs that have a step's word in their arguments, and the server of MCP.
    named: HashMap<&'r str, String>,
}

impl<'r> Run<'r> {
    /// `truth`: the logs of the model's servers; `asked`: that of the server of MCP.
    pub fn new(
        lines: &'r [Value],
        (folder, scripts): (&'r Path, &[&Script]),
        (truth, asked): (&'r [Value], &[Value]),
    ) -> Self {
        let mut run = Self {
            lines,
            folder,
            steps: HashMap::new(),
            truth: HashMap::new(),
            requests: HashMap::new(),
            parents: HashMap::new(),
            named: HashMap::new(),
        };
        let calls: Vec<(&String, &Value)> =
            scripts.iter().flat_map(|script| &script.steps).collect();
        for line in truth {
            run.exchange(line, &calls);
        }
        for request in asked {
            let is_asked = |call: &Value| {
                let arguments = &call["arguments"];
                let same = |name: &str| arguments[name] == request[name];
                call["name"]
                    .as_str()
                    .unwrap()
                    .ends_with(request["tool"].as_str().unwrap())
                    && same("command")
                    && same("path")
            };
            let (word, _) = calls.iter().find(|(_, call)| is_asked(call)).unwrap();
            let id = request["id"].as_str().unwrap();
            run.requests.insert(id.to_owned(), (*word).clone());
        }
        let words: Vec<_> = calls.iter().map(|(word, _)| word.as_str()).collect();
        lines.iter().for_each(|line| run.deed(line, &words));
        run
    }

    fn exchange(&mut self, line: &'r Value, calls: &[(&String, &Value)]) {
        let Some(id) = line["response"]["id"].as_str() else {
            return;
        };
        self.truth.insert(id, line);
        for made in tool_calls(line) {
            let is_same = |call: &Value| {
                call["name"] == made["name"] && call["arguments"] == made["arguments"]
            };
            let step = calls.iter().find(|(_, call)| is_same(call));
            let (word, _) = step.unwrap_or_else(|| panic!("not of the script: {made}"));
            let id = made["id"].as_str().unwrap();
            self.steps.insert(id.to_owned(), (*word).clone());
        }
    }

    fn deed(&mut self, line: &'r Value, words: &[&str]) {
        let process = line["process"].as_str().unwrap_or_default();
        match line["type"].as_str().unwrap() {
            "process.fork" => {
                self.parents
                    .insert(line["child"].as_str().unwrap(), process);
            }
            "process.exec" if line["error"].is_null() => {
                let program = line["args"][1].as_str().unwrap_or_default();
                let is_server = program.ends_with("/mcp_server.py");
                let name = is_server
                    .then_some("server")
                    .or_else(|| word_of(line, words));
                if let Some(name) = name {
                    self.named.entry(process).or_insert_with(|| name.to_owned());
                }
            }
            _ => {}
        }
    }

    /// The step that a process belongs to, else what it is.
    fn place(&self, process: &str) -> &str {
        let mut at = process;
        loop {
            if let Some(name) = self.named.get(at) {
                return name;
            }
            match self.parents.get(at) {
                Some(parent) => at = parent,
                None => return "agent",
            }
        }
    }

    fn step<'s>(&'s self, node: &'s str) -> &'s str {
        let (_, id) = node.split_once('/').unwrap_or_default();
        self.steps.get(id).map_or(node, String::as_str)
    }

    /// What the server of a model says of a call.
    fn truth_of(&self, call: &str) -> &Value {
        let is_it = |line: &&Value| line["type"] == "llm.call" && line["call"] == call;
        let line = self.lines.iter().find(is_it).unwrap();
        let id = line["response"]["id"].as_str().unwrap_or_default();
        self.truth.get(id).copied().unwrap_or(&Value::Null)
    }

    /// The line of an event.
    fn event(&self, event: &str) -> &'r Value {
        let is_it = |line: &&Value| line["event"] == event && line["type"] != "graph.edge";
        self.lines.iter().find(is_it).unwrap_or(&Value::Null)
    }

    fn request(&self, node: &str) -> String {
        let (server, id) = node["mcp:".len()..].rsplit_once('/').unwrap();
        match self.requests.get(id) {
            Some(step) if self.place(server) == "server" => format!("request for {step}"),
            _ => node.to_owned(),
        }
    }

    /// From what to what an edge leads; `None`: that is not in the script's hands.
    fn told(&self, edge: &Value) -> Option<String> {
        let text = |name: &str| edge[name].as_str().unwrap_or_default();
        let (from, to) = (text("from"), text("to"));
        let is_in_folder = Path::new(text("from_name")).starts_with(self.folder);
        let (from, to) = match text("kind") {
            "wants" => {
                let mut made = tool_calls(self.truth_of(from));
                let is_there =
                    made.any(|call| to.ends_with(&format!("/{}", call["id"].as_str().unwrap())));
                return Some(if is_there {
                    self.step(to).to_owned()
                } else {
                    to.to_owned()
                });
            }
            "gives" if self.step(from) == self.step(to) => return Some(self.step(to).to_owned()),
            "informs" if self.is_carried(from, to) => return Some(self.step(from).to_owned()),
            "runs" => (self.step(from).to_owned(), self.program(to)),
            "touches" => (self.step(from).to_owned(), text("to_name").to_owned()),
            "reaches" => (self.step(from).to_owned(), self.peer(edge)),
            "requests" if from.starts_with("tool:") => {
                (self.step(from).to_owned(), self.request(to))
            }
            "requests" if text("from_name").starts_with("tools/call") => {
                (self.request(from), self.place(to).to_owned())
            }
            "writes" => (self.place(from).to_owned(), self.step(to).to_owned()),
            "run_by" if is_in_folder => (text("from_name").to_owned(), self.program(to)),
            "read_by" if is_in_folder => (text("from_name").to_owned(), self.place(to).to_owned()),
            "subagent" => (self.place(from).to_owned(), self.place(to).to_owned()),
            "requests" | "run_by" | "read_by" => return None,
            _ => (from.to_owned(), to.to_owned()),
        };
        Some(format!("{from} > {to}"))
    }

    /// Whether a question is the one that tells a result first: at its end.
    fn is_carried(&self, result: &str, call: &str) -> bool {
        let messages = self.truth_of(call)["request"]["messages"].as_array();
        let messages = messages.into_iter().flatten().rev();
        let results = messages.map_while(|message| {
            let results = message["tool_results"].as_array()?;
            (!results.is_empty()).then_some(results)
        });
        let mut ids = results.flatten().filter_map(|result| result["id"].as_str());
        ids.any(|id| result.ends_with(&format!("/{id}")))
    }

    /// The step whose word a program has among its arguments, else these.
    fn program(&self, event: &str) -> String {
        let exec = self.event(event);
        let process = exec["process"].as_str().unwrap_or_default();
        match self.named.get(process) {
            Some(word) if exec["args"].to_string().contains(word) => word.clone(),
            _ => exec["args"].to_string(),
        }
    }

    /// Where a connection went, with the port, where the proof is one.
    fn peer(&self, edge: &Value) -> String {
        let event = self.event(edge["event"].as_str().unwrap_or_default());
        let peer = event["peer"].as_str().or(edge["to_name"].as_str());
        peer.unwrap_or_default().to_owned()
    }

    /// The edges of one kind.
    pub fn score(&self, kind: &str, wanted: &BTreeSet<String>) -> Score {
        let edges = self.lines.iter();
        let edges = edges.filter(|line| line["type"] == "graph.edge" && line["kind"] == kind);
        let told = edges.filter_map(|edge| Some((self.told(edge)?, edge["confidence"] == "exact")));
        Score::of(wanted, told)
    }

    /// What `why` says first of each step's last program, and of each host: the tool call nearest to it.
    pub fn why(&self, wanted: &BTreeSet<String>, ask: impl Fn(&str) -> Value) -> Score {
        let told = wanted.iter().filter_map(|wanted| {
            let (_, what) = wanted.split_once(" > ").unwrap();
            let is_host = what.parse::<IpAddr>().is_ok();
            let is_it = |line: &&Value| {
                let is_exec = line["type"] == "process.exec" && !is_host;
                is_exec && word_of(line, &[what]).is_some()
            };
            let exec = self.lines.iter().rfind(is_it);
            let asked = exec.map_or(what, |exec| exec["event"].as_str().unwrap());
            let said = ask(asked);
            let steps = said["found"][0]["chains"][0]["steps"].as_array()?;
            let tool = steps.iter().rfind(|step| step["is"] == "tool_call")?;
            let is_exact = steps
                .iter()
                .all(|step| step["by"]["confidence"] != "likely");
            let step = self.step(tool["node"].as_str().unwrap());
            Some((format!("{step} > {what}"), is_exact))
        });
        Score::of(wanted, told)
    }
}

fn word_of<'w>(exec: &Value, words: &[&'w str]) -> Option<&'w str> {
    let args = exec["args"].to_string();
    words.iter().copied().find(|word| args.contains(word))
}

fn tool_calls(truth: &Value) -> impl Iterator<Item = &Value> {
    let choices = truth["response"]["choices"].as_array();
    let choices = choices.into_iter().flatten();
    choices.flat_map(|choice| choice["tool_calls"].as_array().into_iter().flatten())
}

/// What several scripts want together.
pub fn wanted(scripts: &[&Script]) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut all: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for (kind, wanted) in scripts.iter().flat_map(|script| &script.wanted) {
        all.entry(kind).or_default().extend(wanted.iter().cloned());
    }
    all
}
