use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::proto::cuts::{every_way, pieces};

fn read_up_to(limit: usize, pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, Fault>> {
    let mut all = Vec::new();
    let mut out = |said: Result<&[u8], Fault>| all.push(said.map(<[u8]>::to_vec));
    let mut elements = Elements::new(limit);
    for piece in pieces {
        elements.push(piece, &mut out);
    }
    elements.finish(&mut out);
    all
}

fn read(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, Fault>> {
    read_up_to(1 << 20, pieces)
}

/// The elements as another parser finds them.
fn expected(body: &[u8]) -> Vec<Value> {
    serde_json::from_slice(body).unwrap()
}

fn values(said: &[Result<Vec<u8>, Fault>]) -> Vec<Value> {
    let elements = said.iter().map(|element| element.as_ref().unwrap());
    elements
        .map(|element| serde_json::from_slice(element).unwrap())
        .collect()
}

const BODIES: &[&str] = &[
    "[]",
    " [ ] \n",
    r#"[{"candidates":[{"content":{"parts":[{"text":"brackets ]}, \"quotes\" and \\"}]}}]}
,
{"usageMetadata":{"totalTokenCount":12}}
]
"#,
    r#"[1,-2.5e+3 ,true,null,"a,]b","\\","\"",[[]],{"k":{}},[{"x":"}"}] ]"#,
];

/// A part of a streamed answer is missing, or divided within a text.
#[test]
fn elements_are_given_however_they_are_cut() {
    for body in BODIES {
        let said = every_way(body.as_bytes(), read);
        assert_eq!(values(&said), expected(body.as_bytes()));
    }
}

/// A part of an answer is shown only when the next one, or the end, arrives.
#[test]
fn an_element_is_given_at_its_last_byte() {
    let mut count = 0;
    let mut elements = Elements::new(100);
    elements.push(b"[{\"text\":\"a\"}", &mut |said| {
        count += usize::from(said.is_ok())
    });
    elements.push(b"\n,\n{\"text\":\"b\"}", &mut |said| {
        count += usize::from(said.is_ok())
    });
    assert_eq!(count, 2);
}

/// Something else is read as if it were an array, or elements are made of it.
#[test]
fn what_is_no_array_is_told() {
    let cases: &[(&str, Fault)] = &[
        ("{\"error\":{}}", NO_ARRAY),
        ("[1,]", NO_VALUE),
        ("[,1]", NO_VALUE),
        ("[1 2]", NO_COMMA),
        ("[{}{}]", NO_COMMA),
        ("[1}", NO_COMMA),
        ("[] x", BEHIND),
        ("[[1]]]", BEHIND),
        ("[{\"a\":1}", CUT_OFF),
        ("[{\"a\":\"", CUT_OFF),
        ("[", CUT_OFF),
    ];
    for (body, fault) in cases {
        let said = every_way(body.as_bytes(), read);
        assert_eq!(said.last(), Some(&Err(*fault)), "{body}");
        assert_eq!(said.iter().filter(|one| one.is_err()).count(), 1, "{body}");
    }
}

/// After a loss, the middle of an element is taken for an element.
#[test]
fn nothing_is_found_behind_a_gap() {
    let mut said = Vec::new();
    let mut out = |one: Result<&[u8], Fault>| said.push(one.map(<[u8]>::to_vec));
    let mut elements = Elements::new(100);
    elements.push(b"[1,{\"a\":[", &mut out);
    elements.gap(&mut out);
    elements.push(b"]},{\"b\":2},3]", &mut out);
    elements.finish(&mut out);
    assert_eq!(said, [Ok(b"1".to_vec()), Err(LOST)]);
}

/// An element without an end takes all memory.
#[test]
fn an_element_beyond_the_limit_is_told() {
    let body = format!("[1,\"{}\"]", "x".repeat(3000));
    let said = every_way(body.as_bytes(), |pieces| read_up_to(1000, pieces));
    assert_eq!(said, [Ok(b"1".to_vec()), Err(TOO_LONG)]);
    let mut elements = Elements::new(1000);
    for _ in 0..10_000 {
        elements.push(b"[[[[[[[[", &mut |_| ());
    }
    assert!(elements.held() <= 4096);
}

fn some_json() -> impl Strategy<Value = Value> {
    let text = "[a\"\\\\\\]\\[{},: é\n]{0,8}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text, inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Some array is divided otherwise than a JSON parser does.
    #[test]
    fn any_array_is_divided_as_serde_json_does(
        array in prop::collection::vec(some_json(), 0..6),
        pretty in any::<bool>(),
        sizes in prop::collection::vec(1usize..30, 1..9),
    ) {
        let array = Value::from(array);
        let body = if pretty { format!("{array:#}\n") } else { array.to_string() };
        let said = read(&pieces(body.as_bytes(), &sizes));
        prop_assert_eq!(values(&said), expected(body.as_bytes()));
    }

    /// Bytes of a stranger make the reader panic, or read otherwise in other pieces.
    #[test]
    fn any_bytes_are_read(
        body in prop::collection::vec(prop::sample::select(b"[]{}\",\\1t \xff".to_vec()), 0..100),
        sizes in prop::collection::vec(1usize..9, 1..9),
    ) {
        prop_assert_eq!(read(&pieces(&body, &sizes)), read(&[&body]));
        fuzz_json_array(&body);
    }
}
