//! What the tests of dialects share: answers cut into streams at random places, and what must hold for every stream.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::dialect::{Delta, DeltaKind, Dialect, Piece, RequestView, Target};
use super::model::{Part, Response};
use crate::proto::{Field, Fields};

/// A piece of a stream that owns what it says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Aws(String, Value),
    Json(Value),
    Sse(Value),
}

impl Said {
    fn borrow<'s>(&'s self, text: &'s str) -> Piece<'s> {
        match self {
            Self::Aws(kind, _) => Piece::Aws {
                kind,
                class: if kind.ends_with("Exception") {
                    "exception"
                } else {
                    "event"
                },
                payload: text.as_bytes(),
            },
            Self::Json(_) => Piece::Json(text.as_bytes()),
            Self::Sse(_) => Piece::Sse {
                event: None,
                data: text,
            },
        }
    }
}

/// What came of a stream.
pub(super) fn merged(
    dialect: &dyn Dialect,
    target: &Target,
    said: &[Said],
) -> (Response, Vec<Delta>) {
    let mut merge = dialect.merge(target);
    let mut deltas = Vec::new();
    for one in said {
        let (Said::Aws(_, value) | Said::Json(value) | Said::Sse(value)) = one;
        let text = value.to_string();
        let piece = one.borrow(&text);
        assert!(
            merge.piece(&piece, &mut |delta| deltas.push(delta)),
            "not known: {text}"
        );
    }
    (merge.finish(), deltas)
}

/// A stream gives what the whole answer gives; the deltas add up to it; and each beginning of it gives what had come.
pub(super) fn same(dialect: &dyn Dialect, target: &Target, body: &Value, said: &[Said]) {
    let whole = dialect.response(target, 200, body);
    let (response, deltas) = merged(dialect, target, said);
    assert_eq!(response, whole, "\n{body}\n{said:#?}");
    adds_up(&response, &deltas);
    bears(dialect, target, body, said);
    for length in 0..said.len() {
        let (cut, deltas) = merged(dialect, target, &said[..length]);
        adds_up(&cut, &deltas);
        assert!(
            !cut.is_complete || length + 2 >= said.len(),
            "{length} of {}",
            said.len()
        );
    }
}

/// Whatever a server says in place of what it should: nothing panics, and what came before is not forgotten.
fn bears(dialect: &dyn Dialect, target: &Target, body: &Value, said: &[Said]) {
    let wrongs = [
        json!(null),
        json!(-1),
        json!(1e19),
        json!("x"),
        json!([]),
        json!({}),
        json!([{}]),
        json!(u64::MAX),
    ];
    for (at, wrong) in (0..40).zip(wrongs.iter().cycle()) {
        let mut body = body.clone();
        spoil(&mut body, &mut (at * 5), wrong);
        dialect.response(target, 200, &body);
        dialect.request(target, &body);
        let mut merge = dialect.merge(target);
        for (number, one) in said.iter().enumerate() {
            let mut one = one.clone();
            let (Said::Aws(_, value) | Said::Json(value) | Said::Sse(value)) = &mut one;
            if number % 7 == at % 7 {
                spoil(value, &mut at.clone(), wrong);
            }
            let (Said::Aws(_, value) | Said::Json(value) | Said::Sse(value)) = &one;
            let text = value.to_string();
            merge.piece(&one.borrow(&text), &mut drop);
        }
        merge.finish();
    }
}

/// Puts something else in the place of one value, counted from the top.
fn spoil(value: &mut Value, left: &mut usize, wrong: &Value) {
    if *left == 0 {
        *value = wrong.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|one| spoil(one, left, wrong)),
        Value::Object(fields) => fields.values_mut().for_each(|one| spoil(one, left, wrong)),
        _ => {}
    }
}

/// All text, thoughts and arguments were told as they came.
pub(super) fn adds_up(response: &Response, deltas: &[Delta]) {
    let mut told: BTreeMap<(u64, u64), (String, String, String)> = BTreeMap::new();
    for delta in deltas {
        let place = told.entry((delta.choice, delta.part)).or_default();
        match &delta.kind {
            DeltaKind::Reasoning(more) => place.0.push_str(more),
            DeltaKind::Text(more) => place.1.push_str(more),
            DeltaKind::ToolArguments(more) => place.2.push_str(more),
            DeltaKind::Finish(_) | DeltaKind::ToolCall { .. } => {}
        }
    }
    for choice in &response.choices {
        for (at, part) in choice.message.parts.iter().enumerate() {
            let told = told.remove(&(choice.index, at as u64)).unwrap_or_default();
            match part {
                Part::Reasoning { content, .. } => assert_eq!(content, &told.0),
                Part::Text { content, .. } => assert_eq!(content, &told.1),
                Part::ServerToolCall { arguments, .. } | Part::ToolCall { arguments, .. } => {
                    let said =
                        serde_json::from_str(&told.2).unwrap_or(Value::String(told.2.clone()));
                    let nothing = told.2.is_empty();
                    assert!(nothing || &said == arguments, "{said} is not {arguments}");
                }
                _ => {}
            }
        }
    }
    for (place, told) in told {
        assert!(
            told.0.is_empty() && told.1.is_empty(),
            "{place:?} is told, but not there: {told:?}"
        );
    }
}

/// A request as it is seen.
pub(super) fn claimed(
    dialect: &dyn Dialect,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Option<Target> {
    let fields = headers.iter().map(|(name, value)| Field {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    dialect.claims(&RequestView {
        method: "POST",
        path,
        query: "",
        host,
        fields: &Fields(fields.collect()),
        body: Some(body),
    })
}

/// Cuts a text at random places, also into empty pieces.
pub(super) fn cut(text: &str, cuts: &mut dyn Iterator<Item = usize>) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut left = cuts.next().unwrap_or(3);
    for char in text.chars() {
        while left == 0 {
            pieces.push(String::new());
            left = cuts.next().unwrap_or(3);
        }
        left -= 1;
        pieces.last_mut().unwrap().push(char);
    }
    pieces
}

/// Where to cut.
pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..9usize, 1..40).prop_map(|mut cuts| {
        // Taken in a circle, they must get on.
        cuts.push(1);
        cuts
    })
}

/// What a model may say: not empty.
pub(super) fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 ,.\n\"\\\\{}<>]{1,40}", "\\PC{1,20}",]
}

/// Arguments of a tool call.
pub(super) fn input() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    prop::collection::btree_map("[a-z_]{1,8}", leaf, 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}
