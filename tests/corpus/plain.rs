//! Pieces that say only how a text goes on are read without making trees. Whoever reads them so tells the same as who makes
//! trees of them.

use agentsight::semantics::recognise::DIALECTS;
use agentsight::semantics::{Delta, Dialect, Operation, Response, Target, openai};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::recorded::{self, Family, OwnedPiece};
use crate::support::{Random, require};
use crate::{borrow, made, restream};

/// What came of a stream.
#[derive(Debug, PartialEq)]
struct Told {
    response: Response,
    deltas: Vec<Delta>,
    known: Vec<bool>,
    is_final: bool,
}

fn told(dialect: &dyn Dialect, pieces: &[OwnedPiece]) -> Told {
    let mut merge = dialect.merge(&Target {
        provider: "p".to_owned(),
        operation: Operation::Chat,
        model: None,
    });
    let mut deltas = Vec::new();
    let mut say = |piece: &OwnedPiece| merge.piece(&borrow(piece), &mut |delta| deltas.push(delta));
    let known = pieces.iter().map(&mut say).collect();
    Told {
        is_final: merge.is_final(),
        response: merge.finish(),
        deltas,
        known,
    }
}

/// The same piece as JSON whose first member is there twice: a tree has the last, types refuse it.
fn fitting_no_type(piece: &OwnedPiece) -> OwnedPiece {
    match piece {
        OwnedPiece::Aws(kind, class, json) => {
            OwnedPiece::Aws(kind.clone(), class.clone(), twice(json))
        }
        OwnedPiece::Json(json) => OwnedPiece::Json(twice(json)),
        OwnedPiece::Sse(event, data) => {
            let data = String::from_utf8(twice(data.as_bytes())).unwrap();
            OwnedPiece::Sse(event.clone(), data)
        }
    }
}

fn twice(json: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(json) else {
        return json.to_vec();
    };
    let inner = value["bytes"].as_str().map(|text| STANDARD.decode(text));
    if let Some(Ok(inner)) = inner {
        value["bytes"] = STANDARD.encode(twice(&inner)).into();
    }
    let first = value.as_object().and_then(|members| members.keys().next());
    match first {
        Some(first) => {
            let text = value.to_string();
            format!("{{{}:null,{}", json!(first), &text[1..]).into()
        }
        None => json.to_vec(),
    }
}

fn same(dialect: &dyn Dialect, pieces: &[OwnedPiece]) {
    // Its types are no shortcut: they take all events, and refuse what is no event.
    if dialect.name() == openai::Responses.name() {
        return;
    }
    let by_trees: Vec<_> = pieces.iter().map(fitting_no_type).collect();
    assert_eq!(
        told(dialect, pieces),
        told(dialect, &by_trees),
        "{}: {pieces:#?}",
        dialect.name()
    );
}

/// Real answers are told otherwise than they are.
#[test]
fn recorded_pieces_are_told_as_their_trees() {
    let mut streams = 0;
    for exchange in require!(recorded::corpus()) {
        let family = Family::of(&exchange);
        let Some(pieces) = family.and_then(|family| (family.pieces)(&exchange)) else {
            continue;
        };
        for dialect in DIALECTS {
            same(*dialect, &pieces);
        }
        streams += 1;
    }
    assert!(streams > 0);
}

/// Puts something else in the place of one value, counted from the top.
fn spoil(value: &mut Value, left: &mut usize, wrong: &Value) {
    if *left == 0 {
        *value = wrong.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|one| spoil(one, left, wrong)),
        Value::Object(members) => members.values_mut().for_each(|one| spoil(one, left, wrong)),
        _ => {}
    }
}

proptest! {
    /// What a server says in place of what it should is told, or passed over, by how the rest of it is read.
    #[test]
    fn spoiled_chunks_are_told_as_their_trees(
        body in made::body(), seed in any::<u64>(), keep in 1usize..60,
        places in prop::collection::vec(0usize..20, 0..6),
    ) {
        let random = &mut Random(seed);
        let mut pieces = restream::chunks(&body, random);
        let wrongs = [json!(null), json!(0), json!(1e19), json!("x"), json!(""), json!([]), json!({}), json!(false)];
        pieces.truncate(keep);
        for mut place in places {
            let at = random.below(pieces.len());
            if let (Some(mut json), OwnedPiece::Sse(_, data)) = (pieces[at].json(), &mut pieces[at]) {
                // Some servers say the role again and again.
                let delta = json.pointer_mut("/choices/0/delta");
                if let Some(delta) = delta.filter(|delta| delta.is_object() && place % 2 == 0) {
                    delta["role"] = json!(random.pick(&["assistant", "tool"]));
                }
                spoil(&mut json, &mut place, random.pick(&wrongs));
                *data = json.to_string();
            }
        }
        same(&openai::Chat, &pieces);
        same(&openai::Completions, &pieces);
    }
}
