//! From a thing back to the words that caused it.

use std::collections::HashSet;

use serde::Serialize;

use super::node::{Kind, Node, Thing};
use super::store::{Graph, Link};

/// Steps of a chain.
const STEPS_MAX: usize = 1024;
/// Chains that lead to one thing.
const CHAINS_MAX: usize = 8;
/// Things that one question may mean.
const FOUND_MAX: usize = 64;

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// What was asked.
    pub what: String,
    /// What that may mean; nothing: nobody did anything with it.
    pub found: Vec<Found>,
    /// So many more things may be meant, and are not told.
    pub left_out: usize,
}

/// A thing, and what led to it.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// It.
    pub node: Node,
    /// One for each way, the last of them first.
    pub chains: Vec<Chain>,
}

/// What led to a thing, the first cause first.
#[derive(Clone, Debug, Serialize)]
pub struct Chain {
    /// It begins with the call of a model.
    pub is_explained: bool,
    /// An agent is on the way.
    pub has_agent: bool,
    /// Each with what led to it from the one before.
    pub steps: Vec<Step>,
    /// Results of tools that the call was told last: they may have the words that caused it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Node>,
}

/// A thing on the way.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// It.
    #[serde(flatten)]
    pub node: Node,
    /// How the one before led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Link>,
}

impl Why {
    /// Asks for a pid, a path, a host, or the name of an event, a call or a node.
    pub fn ask(graph: &Graph, what: &str) -> Self {
        let mut ids = meant(graph, what);
        let left_out = ids.len().saturating_sub(FOUND_MAX);
        ids.truncate(FOUND_MAX);
        let agents = agents(graph);
        let found = ids.iter().filter_map(|id| {
            Some(Found {
                node: graph.node(id)?.clone(),
                chains: chains(graph, id, &agents),
            })
        });
        Self {
            what: what.to_owned(),
            found: found.collect(),
            left_out,
        }
    }

    /// Programs that descendants of agents ran, and that no tool call explains.
    pub fn unexplained(graph: &Graph) -> Vec<Chain> {
        let agents = agents(graph);
        let execs = graph.nodes.iter();
        let execs = execs.filter(|node| match &node.thing {
            // What an agent itself runs as is nobody's tool.
            Thing::Exec { process, .. } => !agents.contains(process.as_str()),
            _ => false,
        });
        let chains = execs.filter_map(|node| {
            let chain = climb(graph, &node.id, None, &agents);
            (!chain.is_explained && chain.has_agent).then_some(chain)
        });
        chains.collect()
    }

    /// Shows every text that somebody else wrote, for masking.
    pub fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        for found in &mut self.found {
            found.node.each_text(change);
            found
                .chains
                .iter_mut()
                .for_each(|chain| chain.each_text(change));
        }
    }
}

impl Chain {
    /// The same.
    pub fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        self.told.iter_mut().for_each(|node| node.each_text(change));
        for step in &mut self.steps {
            step.node.each_text(change);
            if let Some(link) = &mut step.by {
                change(&mut link.from);
                change(&mut link.to);
            }
        }
    }
}

/// Processes that asked models.
fn agents(graph: &Graph) -> HashSet<&str> {
    let calls = graph.nodes.iter().filter_map(|node| match &node.thing {
        Thing::Call { process, .. } => Some(process.as_str()),
        _ => None,
    });
    calls.collect()
}

/// What a question may mean, the surest first.
fn meant(graph: &Graph, what: &str) -> Vec<String> {
    if graph.node(what).is_some() {
        return vec![what.to_owned()];
    }
    let what = what.strip_prefix("./").unwrap_or(what);
    let end = format!("/{}", what.trim_start_matches('/'));
    let is_meant = |node: &&Node| match &node.thing {
        Thing::Process { pid, .. } => pid.to_string() == what,
        Thing::File { path: Some(path) } => {
            path == what || (!what.starts_with('/') && !what.is_empty() && path.ends_with(&end))
        }
        Thing::Host { name, address } => {
            let of_address = address
                .as_deref()
                .and_then(|address| address.rsplit_once(':'));
            name.eq_ignore_ascii_case(what)
                || address.as_deref() == Some(what)
                || of_address.is_some_and(|(ip, _)| ip.trim_matches(['[', ']']) == what)
        }
        Thing::ToolCall { id, .. } => id.as_deref() == Some(what),
        _ => false,
    };
    let found = graph.nodes.iter().filter(is_meant);
    let mut found: Vec<String> = found.map(|node| node.id.clone()).collect();
    if found.is_empty() {
        found.extend(graph.of_event(what).map(str::to_owned));
    }
    found
}

/// All ways to a thing; if it was changed, the last first.
fn chains(graph: &Graph, id: &str, agents: &HashSet<&str>) -> Vec<Chain> {
    let is_place = |thing: &Thing| matches!(thing, Thing::File { .. } | Thing::Host { .. });
    let mut chains: Vec<Chain> = match graph.node(id).is_some_and(|node| is_place(&node.thing)) {
        true => ways(graph, id, agents),
        false => vec![climb(graph, id, None, agents)],
    };
    // What is run or read was made by somebody, too.
    let steps = chains.iter().flat_map(|chain| &chain.steps);
    let made = steps.flat_map(|step| {
        let causes = graph.causes(&step.node.id);
        causes.filter(|link| matches!(link.kind, Kind::ReadBy | Kind::RunBy))
    });
    // A script is run and read: once is enough, and by what is surer.
    let mut made: Vec<&Link> = made.collect();
    made.sort_by_key(|link| (&link.from, std::cmp::Reverse(link.confidence), link.ts_ns));
    made.dedup_by_key(|link| &link.from);
    made.retain(|link| link.from != id);
    for link in made.into_iter().take(CHAINS_MAX) {
        for mut chain in ways(graph, &link.from, agents).into_iter().take(2) {
            chain.steps.extend(graph.node(&link.to).map(|node| Step {
                node: node.clone(),
                by: Some(link.clone()),
            }));
            chains.push(chain);
        }
    }
    chains
}

/// Ways to a file or host: tool calls that name it, and processes that did something with it.
fn ways(graph: &Graph, id: &str, agents: &HashSet<&str>) -> Vec<Chain> {
    let changes = |link: &&Link| {
        let kinds = [Kind::Touches, Kind::Reaches, Kind::Changes, Kind::Contacts];
        kinds.contains(&link.kind)
    };
    let mut links: Vec<&Link> = graph.causes(id).rev().filter(changes).collect();
    if links.is_empty() {
        links = graph
            .causes(id)
            .rev()
            .filter(|link| link.kind == Kind::Reads)
            .collect();
    }
    let mut climbed = climbed(graph, id, &links, agents);
    // What a process did that is begun for the tool call is told with that process.
    let plain = climbed.iter().filter(|(link, _)| !is_named(link));
    let on_the_way = plain.flat_map(|(_, chain)| &chain.steps);
    let on_the_way: HashSet<String> = on_the_way.map(|step| step.node.id.clone()).collect();
    climbed.retain(|(link, _)| !is_named(link) || !on_the_way.contains(&link.from));
    let mut chains: Vec<_> = climbed.into_iter().map(|(_, chain)| chain).collect();
    // An agent that writes what a tool call names does so in several steps: the first of them explains all.
    if chains.iter().any(|chain| chain.is_explained) {
        chains.retain(|chain| chain.is_explained || !is_of_agent(chain, agents));
    }
    chains
}

/// The chain of each link. What an agent did itself is told with the tool call that names it, and not again.
fn climbed<'l>(
    graph: &Graph,
    id: &str,
    links: &[&'l Link],
    agents: &HashSet<&str>,
) -> Vec<(&'l Link, Chain)> {
    let named = links.iter().filter(|link| is_named(link));
    let named: HashSet<&str> = named.filter_map(|link| link.event.as_deref()).collect();
    let is_again = |link: &Link, chain: &Chain| {
        let event = link.event.as_deref();
        !is_named(link)
            && event.is_some_and(|event| named.contains(event))
            && (!chain.is_explained || is_of_agent(chain, agents))
    };
    let climbed = links
        .iter()
        .map(|link| (*link, climb(graph, id, Some(link), agents)));
    let climbed = climbed.filter(|(link, chain)| !is_again(link, chain));
    climbed.take(CHAINS_MAX).collect()
}

/// Whether an agent did the last of it itself.
fn is_of_agent(chain: &Chain, agents: &HashSet<&str>) -> bool {
    let before = chain.steps.iter().rev().nth(1);
    before.is_some_and(|step| agents.contains(step.node.id.as_str()))
}

fn is_named(link: &Link) -> bool {
    matches!(link.kind, Kind::Touches | Kind::Reaches)
}

/// From a thing up to the first cause that is known; `by` is the way to begin with.
fn climb(graph: &Graph, id: &str, by: Option<&Link>, agents: &HashSet<&str>) -> Chain {
    let mut steps = Vec::new();
    let mut at = id.to_owned();
    let mut link = by.cloned();
    let mut until_ns = u64::MAX;
    let mut seen = HashSet::new();
    while steps.len() < STEPS_MAX {
        let Some(node) = graph.node(&at) else {
            break;
        };
        let cause = link.take().or_else(|| cause(graph, node, &mut until_ns));
        let is_again = cause
            .as_ref()
            .is_some_and(|cause| !seen.insert((cause.from.clone(), at.clone())));
        let cause = cause.filter(|_| !is_again);
        steps.push(Step {
            node: node.clone(),
            by: cause.clone(),
        });
        let Some(cause) = cause else {
            break;
        };
        if matches!(
            cause.kind,
            Kind::Changes | Kind::Contacts | Kind::Forks | Kind::Reads
        ) {
            until_ns = until_ns.min(cause.ts_ns);
        }
        at = cause.from;
    }
    steps.reverse();
    let first = steps.first().map(|step| step.node.clone());
    let is_explained = matches!(
        first.as_ref().map(|node| &node.thing),
        Some(Thing::Call { .. })
    );
    let told = first
        .iter()
        .filter(|_| is_explained)
        .flat_map(|call| graph.causes(&call.id));
    let told = told.filter(|link| link.kind == Kind::Informs);
    let told = told
        .filter_map(|link| graph.node(&link.from))
        .take(CHAINS_MAX);
    Chain {
        is_explained,
        has_agent: is_explained
            || steps
                .iter()
                .any(|step| agents.contains(step.node.id.as_str())),
        told: told.cloned().collect(),
        steps,
    }
}

/// What led to a thing, before a time: the surest, and of these the last.
fn cause(graph: &Graph, node: &Node, until_ns: &mut u64) -> Option<Link> {
    let best = |kinds: &[Kind], until_ns: u64| {
        let links = graph.causes(&node.id);
        let links = links.filter(|link| kinds.contains(&link.kind) && link.ts_ns <= until_ns);
        links
            .max_by_key(|link| (link.confidence, link.ts_ns))
            .cloned()
    };
    match &node.thing {
        Thing::Call { .. } => None,
        Thing::Exec { ts_ns, .. } => {
            *until_ns = (*until_ns).min(ts_ns.saturating_sub(1));
            best(&[Kind::Runs], u64::MAX).or_else(|| best(&[Kind::Executes], u64::MAX))
        }
        Thing::Process { .. } => {
            let asked = best(&[Kind::Requests], *until_ns);
            asked
                .or_else(|| ran_before(graph, &node.id, *until_ns))
                .or_else(|| best(&[Kind::Forks], u64::MAX))
        }
        Thing::ToolCall { .. } => best(&[Kind::Wants], u64::MAX),
        Thing::ToolResult { .. } => best(&[Kind::Gives], u64::MAX),
        Thing::Mcp { .. } => best(&[Kind::Requests], u64::MAX),
        Thing::File { .. } | Thing::Host { .. } => None,
    }
}

/// The program that a process ran last before a time: what it does, that does.
fn ran_before(graph: &Graph, process: &str, until_ns: u64) -> Option<Link> {
    let ran = graph.effects(process);
    let ran = ran.filter(|link| link.kind == Kind::Executes && link.ts_ns <= until_ns);
    let ran = ran.max_by_key(|link| link.ts_ns)?;
    Some(Link {
        from: ran.to.clone(),
        to: ran.from.clone(),
        ..ran.clone()
    })
}
