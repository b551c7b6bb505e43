//! Recorded exchanges with real providers, and answers made by chance, are told as what they are: what our code says of
//! each is compared with what a few paths into the recorded JSON say, which are written here without any of our code.
//!
//! `scripts/fetch-corpus` gets recordings; `AGENTSIGHT_LLM_CORPUS` names others, separated by colons: JSON lines, perhaps
//! in gzip, an exchange in each. Each family of APIs has a file here, and one line in [`FAMILIES`].

#![allow(
    clippy::duplicate_mod,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod anthropic;
mod bedrock;
mod cohere;
mod exchange;
mod facts;
mod gemini;
mod generation;
mod made;
mod ollama;
mod openai;
mod plain;
mod restream;
mod shapes;
#[path = "../support/mod.rs"]
mod support;
mod vanished;

use std::collections::BTreeMap;

use agentsight::semantics::{Call, Delta, RequestView, recognise};
use serde_json::Value;

use exchange::{Exchange, OwnedPiece};
use facts::Facts;
use support::require;

/// APIs of one kind.
pub struct Family {
    /// For people.
    name: &'static str,
    /// Whether the exchange is one of them, by address and body; must not ask the code under test.
    has: fn(&Exchange) -> bool,
    /// What the recorded JSON says.
    expected: fn(&Exchange) -> Facts,
    /// The answer in pieces; `None`: it came whole.
    pieces: fn(&Exchange) -> Option<Vec<OwnedPiece>>,
    /// Strings and numbers of an unstreamed answer that our model has no place for on purpose.
    left_out: fn(path: &str) -> bool,
}

const FAMILIES: &[Family] = &[
    anthropic::COMPLETE,
    anthropic::MESSAGES,
    bedrock::CONVERSE,
    bedrock::INVOKE,
    cohere::CHAT,
    cohere::CHAT_V1,
    cohere::EMBED,
    cohere::RERANK,
    gemini::EMBED,
    gemini::GENERATE,
    gemini::INTERACTIONS,
    generation::GENERATION,
    ollama::CHAT,
    ollama::EMBED,
    ollama::GENERATE,
    openai::CHAT,
    openai::COMPLETIONS,
    openai::EMBEDDINGS,
    openai::IMAGES,
    openai::RESPONSES,
    openai::RUNS,
];

/// One line of the table.
#[derive(Default)]
struct Row {
    seen: usize,
    recognised: usize,
    complete: usize,
    equal: usize,
    differing: Vec<String>,
}

/// Real conversations are shown wrong, or not at all.
#[test]
fn recorded_exchanges_are_told_as_recorded() {
    let exchanges = require!(exchange::corpus());
    let mut table: BTreeMap<(String, String), Row> = BTreeMap::new();
    for exchange in &exchanges {
        let family = FAMILIES.iter().find(|family| (family.has)(exchange));
        let name = family.map_or("(none: HTTP)", |family| family.name);
        let row = table
            .entry((name.to_owned(), exchange.host.clone()))
            .or_default();
        row.seen += 1;
        match (family, told(exchange, family)) {
            (Some(family), Some(told)) => judge(exchange, family, &told, row),
            (Some(_), None) => row
                .differing
                .push(format!("{}: not recognised", exchange.id)),
            (None, Some(told)) => {
                let what = format!("{}: taken for {}", exchange.id, told.dialect);
                row.differing.push(what);
            }
            (None, None) => {}
        }
    }
    print(&table);
    let differing: Vec<_> = table.values().flat_map(|row| &row.differing).collect();
    assert!(differing.is_empty(), "{} differ", differing.len());
}

fn print(table: &BTreeMap<(String, String), Row>) {
    println!(
        "{:24} {:44} {:>5} {:>10} {:>8} {:>5} {:>9}",
        "API", "host", "seen", "recognised", "complete", "equal", "differing"
    );
    for ((family, host), row) in table {
        println!(
            "{family:24} {host:44} {:>5} {:>10} {:>8} {:>5} {:>9}",
            row.seen,
            row.recognised,
            row.complete,
            row.equal,
            row.differing.len()
        );
    }
    for (family, row) in table {
        for what in &row.differing {
            println!("{}: {what}", family.0);
        }
    }
}

/// What our code says of an exchange.
pub struct Told {
    dialect: &'static str,
    call: Call,
    deltas: Vec<Delta>,
    refused: usize,
}

fn told(exchange: &Exchange, family: Option<&Family>) -> Option<Told> {
    let body = exchange.request_json();
    let view = RequestView {
        method: &exchange.method,
        path: &exchange.path,
        query: &exchange.query,
        host: &exchange.host,
        fields: &exchange.fields,
        body: body.as_ref(),
    };
    let (dialect, target) = recognise(&view)?;
    let request = dialect.request(&target, body.as_ref().unwrap_or(&Value::Null));
    let mut deltas = Vec::new();
    let mut refused = 0;
    let pieces = family.and_then(|family| (family.pieces)(exchange));
    let response = match pieces {
        Some(pieces) => {
            let mut merge = dialect.merge(&target);
            for piece in &pieces {
                let fits = merge.piece(&piece.borrow(), &mut |delta| deltas.push(delta));
                refused += usize::from(!fits);
            }
            Some(merge.finish())
        }
        None => exchange
            .response_json()
            .map(|body| dialect.response(&target, exchange.status, &body)),
    };
    Some(Told {
        dialect: dialect.name(),
        call: Call {
            provider: target.provider,
            operation: target.operation,
            request,
            response,
        },
        deltas,
        refused,
    })
}

fn judge(exchange: &Exchange, family: &Family, told: &Told, row: &mut Row) {
    row.recognised += 1;
    let response = told.call.response.as_ref();
    row.complete += usize::from(response.is_some_and(|response| response.is_complete));
    let mut wrong = (family.expected)(exchange).differences(&Facts::of(&told.call));
    wrong.extend(facts::of_deltas(told));
    if told.refused > 0 {
        wrong.push(format!("{} pieces refused", told.refused));
    }
    if !response.is_some_and(|response| response.is_complete) {
        wrong.push("not complete".to_owned());
    }
    wrong.extend(vanished::from(
        exchange,
        &told.call,
        family.left_out,
        (family.pieces)(exchange).is_some(),
    ));
    if wrong.is_empty() {
        row.equal += 1;
    } else {
        row.differing.push(format!(
            "{} ({}): {}",
            exchange.id,
            exchange.from,
            wrong.join("; ")
        ));
    }
}
