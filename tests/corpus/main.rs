//! Recorded exchanges with real providers, and answers made by chance, are told as what they are: what our code says of
//! each is compared with what a few paths into the recorded JSON say (`tests/recorded`).

#![allow(
    clippy::duplicate_mod,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod made;
mod plain;
#[path = "../recorded/mod.rs"]
mod recorded;
mod restream;
mod shapes;
#[path = "../support/mod.rs"]
mod support;

use agentsight::proto::{Field, Fields};
use agentsight::semantics::{Delta, DeltaKind, Piece, RequestView, recognise};
use serde_json::{Value, json};

use recorded::{Exchange, Family, OwnedPiece, Table};
use support::require;

/// As our code takes it.
fn borrow(piece: &OwnedPiece) -> Piece<'_> {
    match piece {
        OwnedPiece::Aws(kind, class, payload) => Piece::Aws {
            kind,
            class,
            payload,
        },
        OwnedPiece::Json(json) => Piece::Json(json),
        OwnedPiece::Sse(event, data) => Piece::Sse {
            event: event.as_deref(),
            data,
        },
    }
}

/// Real conversations are shown wrong, or not at all.
#[test]
fn recorded_exchanges_are_told_as_recorded() {
    let mut table = Table::default();
    for exchange in &require!(recorded::corpus()) {
        let family = Family::of(exchange);
        let row = table.row(exchange, family);
        match (family, told(exchange, family)) {
            (Some(family), Some(told)) => {
                let deltas: Vec<_> = told.deltas.iter().collect();
                let mut wrong = family.differences(exchange, &told.call, &deltas);
                if told.refused > 0 {
                    wrong.push(format!("{} pieces refused", told.refused));
                }
                let is_complete = told.call["response"]["is_complete"] == true;
                row.judge(exchange, is_complete, &wrong);
            }
            (Some(_), None) => row.wrong(exchange, "not recognised"),
            (None, Some(told)) => row.wrong(exchange, &format!("taken for {}", told.dialect)),
            (None, None) => {}
        }
    }
    table.print();
    assert_eq!(table.differing(), 0);
}

/// What our code says of an exchange.
struct Told {
    dialect: &'static str,
    /// As in `llm.call`.
    call: Value,
    /// As in `llm.delta`.
    deltas: Vec<Value>,
    refused: usize,
}

fn told(exchange: &Exchange, family: Option<&Family>) -> Option<Told> {
    let body = exchange.request_json();
    let headers = exchange.request_headers.iter();
    let field = |(name, value): &(String, String)| Field {
        name: name.clone(),
        value: Some(value.clone()),
    };
    let fields = Fields(headers.map(field).collect());
    let view = RequestView {
        method: &exchange.method,
        path: &exchange.path,
        query: &exchange.query,
        host: &exchange.host,
        fields: &fields,
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
                let fits = merge.piece(&borrow(piece), &mut |delta| deltas.push(line(&delta)));
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
        call: json!({
            "provider": target.provider,
            "operation": target.operation,
            "request": request,
            "response": response,
        }),
        deltas,
        refused,
    })
}

fn line(delta: &Delta) -> Value {
    let (kind, text) = match &delta.kind {
        DeltaKind::Finish(reason) => ("finish", reason),
        DeltaKind::Reasoning(text) => ("reasoning", text),
        DeltaKind::Text(text) => ("text", text),
        DeltaKind::ToolArguments(text) => ("tool_arguments", text),
        DeltaKind::ToolCall { name, .. } => ("tool_call", name),
    };
    json!({"choice": delta.choice, "kind": kind, "text": text})
}
