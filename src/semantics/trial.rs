//! What the tests of dialects share: answers cut into streams at random places, and what must hold for every stream.

use std::collections::BTreeMap;

use base64::Engine;
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
#[derive(Debug, PartialEq)]
struct Told {
    response: Response,
    deltas: Vec<Delta>,
    /// Pieces that are none of the dialect's.
    unknown: Vec<String>,
    is_final: bool,
}

impl Told {
    /// Pieces that fit no types are told as those that do.
    fn both_ways(dialect: &dyn Dialect, target: &Target, said: &[Said]) -> Self {
        let told = Self::of(dialect, target, said, Value::to_string);
        let by_trees = Self::of(dialect, target, said, fitting_no_type);
        assert_eq!(told, by_trees, "{said:#?}");
        told
    }

    fn of(
        dialect: &dyn Dialect,
        target: &Target,
        said: &[Said],
        write: fn(&Value) -> String,
    ) -> Self {
        let mut merge = dialect.merge(target);
        let mut deltas = Vec::new();
        let mut unknown = Vec::new();
        for one in said {
            let (Said::Aws(_, value) | Said::Json(value) | Said::Sse(value)) = one;
            let text = write(value);
            if !merge.piece(&one.borrow(&text), &mut |delta| deltas.push(delta)) {
                unknown.push(value.to_string());
            }
        }
        Self {
            is_final: merge.is_final(),
            response: merge.finish(),
            deltas,
            unknown,
        }
    }
}

/// The same as JSON whose first member is there twice: a tree has the last, types refuse it.
fn fitting_no_type(value: &Value) -> String {
    let mut value = value.clone();
    let coding = base64::engine::general_purpose::STANDARD;
    let inner = value.get("bytes").and_then(Value::as_str);
    let inner = inner.and_then(|bytes| serde_json::from_slice(&coding.decode(bytes).ok()?).ok());
    if let Some(inner) = inner {
        value["bytes"] = coding.encode(fitting_no_type(&inner)).into();
    }
    let text = value.to_string();
    let first = value.as_object().and_then(|members| members.keys().next());
    match (first, text.strip_prefix('{')) {
        (Some(first), Some(rest)) => format!("{{{}:null,{rest}", Value::from(first.as_str())),
        _ => text,
    }
}

/// What came of a stream, all of which is known.
pub(super) fn merged(
    dialect: &dyn Dialect,
    target: &Target,
    said: &[Said],
) -> (Response, Vec<Delta>) {
    let told = Told::both_ways(dialect, target, said);
    assert!(told.unknown.is_empty(), "not known: {:?}", told.unknown);
    (told.response, told.deltas)
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

/// Whatever a server says in place of what it should: nothing panics, and it is told the same however it is read.
fn bears(dialect: &dyn Dialect, target: &Target, body: &Value, said: &[Said]) {
    let some = [
        json!(null),
        json!(-1),
        json!(1e19),
        json!("x"),
        json!([]),
        json!({}),
        json!([{}]),
        json!(u64::MAX),
    ];
    let wrongs: Vec<Option<Value>> = some.into_iter().map(Some).chain([None]).collect();
    // Another place for each of them in each case.
    let turn = body.to_string().len();
    for (at, wrong) in (0..40).zip(wrongs.iter().cycle().skip(turn % wrongs.len())) {
        let mut body = body.clone();
        spoil(&mut body, &mut (at * 5), wrong.as_ref());
        dialect.response(target, 200, &body);
        dialect.request(target, &body);
        let mut said = said.to_vec();
        for one in said.iter_mut().skip(at % 7).step_by(7) {
            let (Said::Aws(_, value) | Said::Json(value) | Said::Sse(value)) = one;
            spoil(value, &mut at.clone(), wrong.as_ref());
        }
        // Some begin late, and some end early.
        let cut = at % said.len();
        let (front, back) = said.split_at(cut);
        Told::both_ways(dialect, target, [&said[..], front, back][(at + turn) % 3]);
    }
}

/// Puts something else in the place of one value, counted from the top, or takes it out.
fn spoil(value: &mut Value, left: &mut usize, wrong: Option<&Value>) {
    if let (0, Some(wrong)) = (*left, wrong) {
        *value = wrong.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|one| spoil(one, left, wrong)),
        Value::Object(fields) => {
            let mut gone = None;
            for (name, value) in fields.iter_mut() {
                gone = gone.or((*left == 0 && wrong.is_none()).then(|| name.clone()));
                spoil(value, left, wrong);
            }
            gone.and_then(|name| fields.remove(&name));
        }
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
