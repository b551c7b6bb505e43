//! What is masked is masked wherever it is cut, and no more than that.

use super::*;
use crate::event::{Comm, ProcessId};
use crate::stream::{ConnName, Origin, Payload};
use proptest::prelude::*;
use std::sync::OnceLock;

/// The rules are made ready once.
fn redactor() -> Redactor {
    static SCANNER: OnceLock<Arc<Scanner>> = OnceLock::new();
    let make = || Arc::new(Scanner::new(Rules::new(Level::Default).unwrap()).unwrap());
    Redactor::with_scanner(Arc::clone(SCANNER.get_or_init(make)), [7; 32])
}

fn redact(chunks: &[&[u8]]) -> Vec<u8> {
    let mut redactor = redactor();
    let mut offset = 0;
    let mut out = Vec::new();
    for chunk in chunks {
        let mut message = Message::Data {
            origin: Origin {
                ts_ns: 0,
                process: ProcessId {
                    pid: 1,
                    start_ns: 1,
                },
                tid: 1,
                comm: Comm::default(),
                function: Default::default(),
                conn: ConnName(1),
                fd: None,
            },
            payload: Payload {
                direction: Direction::Write,
                seq: 0,
                offset,
                call_len: 0,
                early: false,
                goroutine: None,
                bytes: (*chunk).into(),
            },
        };
        offset += chunk.len() as u64;
        redactor.apply(&mut message);
        if let Message::Data { payload, .. } = message {
            assert_eq!(payload.bytes.len(), chunk.len(), "length must not change");
            out.extend(payload.bytes.iter());
        }
    }
    out
}

const REQUEST: &[u8] = b"POST /v1/messages?key=AbCdEf0123456789 HTTP/1.1\r\nHost: api.example\r\n\
    Authorization: Bearer s3cr3t-t0ken-of-some-length\r\nx-api-key: k-1234567890abcdef\r\n\
    Cookie: session=abcdef; other=1\r\n\r\n{\"model\":\"m\",\"password\":\"hunter2hunter2\",\
    \"text\":\"my key is sk-ant-REDACTME0123456789 ok\"}";
const SECRETS: [&str; 6] = [
    "AbCdEf0123456789",
    "s3cr3t-t0ken-of-some-length",
    "k-1234567890abcdef",
    "session=abcdef",
    "hunter2hunter2",
    "sk-ant-REDACTME0123456789",
];

/// What secrets are made of, whole and in parts.
const WORDS: &[&str] = &[
    "authorization",
    "AUTHORIZATION",
    "Cookie",
    "x-api-key",
    "X-Csrf-Token",
    ": ",
    ":",
    "=",
    "\r\n",
    "Bearer ",
    "digest ",
    "\"",
    "\\\"",
    "apiKey",
    "ACCESS_TOKEN",
    "id_token",
    "password",
    "passwd",
    "?key=",
    "&api_key=",
    "&Sig=",
    "?x-amz-signature=",
    "secretkey",
    "client_secret=",
    "sk-",
    "AIza",
    "ghp_",
    "AKIA",
    "xoxb-",
    "hf_",
    "eyJ",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "ABCDEFGHIJ012345",
    ".",
    " ",
    "a",
    "some text",
];

/// No secret is left, everything else is.
#[test]
fn masks_secrets_and_nothing_else() {
    let text = String::from_utf8(redact(&[REQUEST])).unwrap();
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is left in {text}");
    }
    for kept in [
        "POST /v1/messages?key=",
        " HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer <redacted:",
        "\r\n\r\n{\"model\":\"m\",\"password\":\"",
        "\",\"text\":\"my key is <redacted:",
        " ok\"}",
    ] {
        assert!(text.contains(kept), "{kept:?} is not in {text:?}");
    }
}

/// What is looked for first to save time is in every name, whatever its case.
#[test]
fn no_name_is_passed_over() {
    let names = "Authorization Proxy-Authorization x-api-key API-Key X-Goog-Api-Key X-Auth-Token \
        X-Amz-Security-Token OpenAI-API-Key Anthropic-Api-Key X-CSRF-Token Cookie SET-COOKIE";
    for name in names.split(' ') {
        for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
            let text = redact(&[format!("A: b\r\n{name}: s3cr3t\r\n").as_bytes()]);
            let text = String::from_utf8(text).unwrap();
            assert!(!text.contains("s3cr3t"), "{text}");
        }
    }
}

/// Requests carry JSON in strings of JSON, and commands with headers: no secret is left in them, and
/// the masking ends with it.
#[test]
fn secrets_in_nested_text_are_found() {
    for text in [
        r#"{"arguments":"{\"password\": \"s3cr3t-s3cr3t\", \"n\": 1}","kept":1}"#,
        r#"{"arguments":"{\"Authorization\": \"Bearer s3cr3t-s3cr3t\"}","kept":1}"#,
        r#"{"headers":{"x-api-key":"s3cr3t-s3cr3t"},"kept":1}"#,
        r#"{"command":"curl -H 'x-api-key: s3cr3t-s3cr3t' https://a","kept":1}"#,
        r#"{"command":"curl -H \"Authorization: Bearer s3cr3t-s3cr3t\" x","kept":1}"#,
        "Cookie: a=\"s3cr3t-s3cr3t\"\r\n\"kept\":1",
    ] {
        for border in 0..text.len() {
            let (a, b) = text.as_bytes().split_at(border);
            let masked = String::from_utf8(redact(&[a, b])).unwrap();
            assert!(!masked.contains("t-s3cr3t"), "{border}: {masked}");
            assert!(masked.contains("\"kept\":1"), "{border}: {masked}");
        }
    }
}

/// The same secret has the same tag, another one another.
#[test]
fn equality_stays_visible() {
    let text = redact(&[b"x-api-key: aaaaaaaaaaaaaaaaaaaaaaaa\r\nx-api-key: aaaaaaaaaaaaaaaaaaaaaaaa\r\nx-api-key: bbbbbbbbbbbbbbbbbbbbbbbb\r\n"]);
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], lines[1]);
    assert_ne!(lines[0], lines[2]);
}

/// Wherever a chunk border falls, at most the first bytes of a key that has no name before it can
/// be seen, and never half of a secret.
#[test]
fn chunk_borders_hide_nothing() {
    for border in 1..REQUEST.len() {
        let (a, b) = REQUEST.split_at(border);
        let text = redact(&[a, b]);
        let text = String::from_utf8_lossy(&text);
        for secret in SECRETS {
            let half = &secret[secret.len().saturating_sub(8)..];
            assert!(
                !text.contains(half),
                "border {border}: {half} is left in {text}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Masking what is masked would change it: a replay of a masked recording would not say what the run said.
    #[test]
    fn masking_twice_changes_nothing(words in proptest::collection::vec(0..WORDS.len(), 0..30),
                                     borders in proptest::collection::vec(0usize..300, 0..4)) {
        let text: String = words.iter().map(|word| WORDS[*word]).collect();
        let whole = text_masked(&text);
        prop_assert_eq!(text_masked(&whole), whole.as_str());
        let once = redact(&cut(&text, &borders));
        let again = redact(&cut(std::str::from_utf8(&once).unwrap(), &borders));
        prop_assert_eq!(String::from_utf8(again), String::from_utf8(once));
    }

    /// What comes in pieces would show what the whole text hides, or lose some of it.
    #[test]
    fn pieces_show_what_the_whole_does(words in proptest::collection::vec(0..WORDS.len(), 0..30),
                                       borders in proptest::collection::vec(0usize..300, 0..9)) {
        let text: String = words.iter().map(|word| WORDS[*word]).collect();
        let pieces = cut(&text, &borders);
        let pieces = pieces.iter().map(|piece| std::str::from_utf8(piece).unwrap());
        prop_assert_eq!(streamed(pieces), text_masked(&text));
    }

    /// Bytes from the network would stop the run, or change their length.
    #[test]
    fn any_bytes_are_taken(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5)) {
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        redact(&chunks);
        let mut redactor = redactor();
        let mut text = String::from_utf8_lossy(&chunks.concat()).into_owned();
        let length = text.len();
        redactor.text(&mut text);
        prop_assert_eq!(text.len(), length);
    }
}

/// At these places.
fn cut<'t>(text: &'t str, borders: &[usize]) -> Vec<&'t [u8]> {
    let mut borders: Vec<_> = borders.iter().map(|at| at % (text.len() + 1)).collect();
    borders.extend([0, text.len()]);
    borders.sort_unstable();
    borders
        .windows(2)
        .map(|of| &text.as_bytes()[of[0]..of[1]])
        .collect()
}

fn text_masked(text: &str) -> String {
    let mut text = text.to_owned();
    redactor().text(&mut text);
    text
}

fn streamed<'t>(pieces: impl Iterator<Item = &'t str>) -> String {
    let mut redactor = redactor();
    let key = TextKey::default();
    let mut all = String::new();
    for piece in pieces {
        let mut piece = piece.to_owned();
        redactor.stream_text(key, &mut piece);
        all += &piece;
    }
    all + &redactor.flush(key)
}

/// A rule would not find what it is for, or find what it is not for; reviewers and diffs rely on the order.
#[test]
fn rules_are_well_formed() {
    let rules = Rules::new(Level::Strict).unwrap();
    let ids: Vec<_> = rules.all().iter().map(|rule| rule.id.as_str()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "sorted and unique");
    for rule in rules.all() {
        rule.check()
            .unwrap_or_else(|error| panic!("{}: {error:#}", rule.id));
        assert!(rule.source.starts_with("https://"), "{}", rule.id);
        assert!(
            !rule.what.is_empty() && !rule.examples.is_empty(),
            "{}",
            rule.id
        );
        assert!(!rule.counterexamples.is_empty(), "{}", rule.id);
    }
}

/// A user's rule that is wrong would silently find nothing.
#[test]
fn wrong_rules_are_refused_with_their_place() {
    for (rules, error) in [
        (
            "{\"rules\":\n [{\"id\":\"x\"}]}",
            "missing field `what` at line 2 column 12",
        ),
        (
            "{\"rules\":[{\"id\":\"x\",\"what\":\"\",\"regexp\":\"\"}]}",
            "unknown field `regexp`",
        ),
        (
            "{\"rules\":[{\"id\":\"X Y\",\"what\":\"\"}]}",
            "rule 1 (\"X Y\"): its id must be",
        ),
        (
            r#"{"rules":[{"id":"x","what":"","text":[{"regex":"x-(","hints":["x--"],"ends":"word"}]}]}"#,
            "rule 1 (\"x\"): its text 1: regex parse error:\n    x-(\n      ^\nerror: unclosed group",
        ),
        (
            r#"{"rules":[{"id":"x","what":"","text":[{"regex":"x-1","hints":["x-"],"ends":"word"}]}]}"#,
            "rule 1 (\"x\"): its text 1: it needs hints",
        ),
        (
            r#"{"rules":[{"id":"x","what":"","text":[{"regex":"abc[0-9]+","hints":["abd"],"ends":"word"}],"examples":["⟨abc1⟩"]}]}"#,
            "rule 1 (\"x\"): in its example 1, it finds []",
        ),
        (
            r#"{"rules":[{"id":"x","what":"","header":["x-a"],"counterexamples":["X-A: 1"]}]}"#,
            "rule 1 (\"x\"): in its counterexample 1, it finds Some(\"1\")",
        ),
    ] {
        let mut known = Rules::new(Level::Default).unwrap();
        let told = format!("{:#}", known.add(rules).unwrap_err());
        assert!(told.contains(error), "{told}");
    }
}

/// A company's own tokens would be shown; and a rule that harms could not be turned off.
#[test]
fn users_have_rules_of_their_own() {
    let mut rules = Rules::new(Level::Default).unwrap();
    rules.add(r#"{"rules":[
        {"id":"acme","what":"ours","header":["x-acme"],"json":["acme_code"],"query":["acme"],
         "text":[{"regex":"acme-[0-9]{4}","hints":["acme-"],"ends":"word"}],"examples":["a ⟨acme-{digit:4}⟩"]},
        {"id":"jwt","what":"not these","level":"off"}]}"#).unwrap();
    let mut redactor = Redactor::with_rules(rules, [1; 32]).unwrap();
    let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    let mut text = format!("X-Acme: one\r\nacme-1234 /?acme=two {{\"acmeCode\":\"three\"}} {jwt}");
    redactor.text(&mut text);
    assert_eq!(
        text,
        format!("X-Acme: ***\r\n********* /?acme=*** {{\"acmeCode\":\"*****\"}} {jwt}")
    );
}

/// Fields of HTTP/2 heads would be shown, whose HTTP/1 form is masked; and tags would differ.
#[test]
fn decoded_secrets_are_masked_as_sent_ones() {
    let mut redactor = redactor();
    let sent = String::from_utf8(redact(&[REQUEST])).unwrap();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let plain = std::str::from_utf8(REQUEST).unwrap();
    let (plain_head, plain_body) = plain.split_once("\r\n\r\n").unwrap();
    for (masked, line) in head.lines().zip(plain_head.lines()).skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        for name in [name.to_owned(), name.to_lowercase()] {
            let mut value = value.to_owned();
            redactor.field(&name, &mut value);
            assert_eq!(value, masked.split_once(": ").unwrap().1);
            let again = value.clone();
            redactor.field(&name, &mut value);
            assert_eq!(value, again);
        }
    }
    let mut target = plain_head.split(' ').nth(1).unwrap().to_owned();
    redactor.target(&mut target);
    assert_eq!(target, head.split(' ').nth(1).unwrap());
    let mut json: Value = serde_json::from_str(plain_body).unwrap();
    redactor.json(&mut json);
    assert_eq!(json, serde_json::from_str::<Value>(body).unwrap());
    let nested = serde_json::json!({"arguments": plain_body, "list": [[plain_body]], "n": 1, "password": 12345678});
    let mut masked = nested.clone();
    redactor.json(&mut masked);
    assert_eq!(masked["arguments"], body);
    assert_eq!(masked["list"][0][0], body);
    assert_eq!(masked["n"], 1);
    assert_eq!(masked["password"], "********");
    let once = masked.clone();
    redactor.json(&mut masked);
    assert_eq!(masked, once);
}

/// A secret that a model writes token by token would be shown.
#[test]
fn streamed_secrets_are_held_back() {
    let text = String::from_utf8_lossy(REQUEST);
    let whole = text_masked(&text);
    for size in [1, 2, 3, 5, 8, 13, 100] {
        let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
        let pieces = pieces
            .iter()
            .map(|piece| std::str::from_utf8(piece).unwrap());
        assert_eq!(streamed(pieces), whole, "{size}");
    }
    let mut redactor = redactor();
    let mut plain = "no secret is in here at all. ".to_owned();
    redactor.stream_text(TextKey::default(), &mut plain);
    assert_eq!(
        plain, "no secret is in here at all. ",
        "nothing is held back in vain"
    );
}

/// A recording would hold JSON that no decoder can read, or that says something else.
#[test]
fn masked_json_is_still_json() {
    let inner = serde_json::json!({"password": "a\"b\\c\nd\u{1}é", "kept": "x", "client_secret": "\\\\a\"b", "secret_key": "\\"});
    let middle =
        serde_json::json!({"arguments": inner.to_string(), "x-api-key": "k\"1234567", "kept": 1});
    let outer =
        serde_json::json!({"body": middle.to_string(), "password": "p\\", "kept": [2]}).to_string();
    for border in 0..outer.len() {
        let (a, b) = outer.as_bytes().split_at(border);
        let masked = String::from_utf8(redact(&[a, b])).unwrap();
        let parse = |text: &str| -> Value {
            serde_json::from_str(text)
                .unwrap_or_else(|error| panic!("{border}: {error}: {text}\n{masked}"))
        };
        let outer = parse(&masked);
        assert_eq!(outer["kept"][0], 2);
        let middle = parse(outer["body"].as_str().unwrap());
        assert_eq!(middle["kept"], 1);
        let inner = parse(middle["arguments"].as_str().unwrap());
        assert_eq!(inner["kept"], "x", "{masked}");
    }
}

/// A part of an answer that goes on behind another one would show the rest of a secret.
#[test]
fn what_goes_on_after_all_is_masked() {
    let secret = "sk-ant-api03-Zq8xK2vB7nM4wE9rT1yU6iO3pA5sD0fGhJkLzXcVbNm0";
    for cut in 4..secret.len() {
        let mut redactor = redactor();
        let key = TextKey::default();
        let (first, second) = secret.split_at(cut);
        let (mut first, mut second) = (format!("it is {first}"), format!("{second}, ok"));
        redactor.stream_text(key, &mut first);
        let held = redactor.let_go(key);
        redactor.stream_text(key, &mut second);
        let rest = redactor.flush(key);
        let shown = format!("{second}{rest}");
        assert!(
            first.starts_with("it is") && shown.ends_with(", ok"),
            "{first}{held}{shown}"
        );
        let told = secret.get(cut..).unwrap();
        assert!(
            told.len() < 12 || !shown.contains(told),
            "{cut}: {first}{held} {shown}"
        );
        assert!(!format!("{first}{held}{shown}").contains(secret));
    }
}

/// A long secret over many chunks stays masked to its end and not beyond.
#[test]
fn long_secrets_run_on() {
    let cookie = vec![b'c'; 1000];
    let mut chunks: Vec<&[u8]> = vec![b"Cookie: a"];
    chunks.extend(cookie.chunks(100));
    chunks.push(b"\r\nHost: x\r\n");
    let text = redact(&chunks);
    assert!(!text.contains(&b'c'), "{}", String::from_utf8_lossy(&text));
    assert!(text.ends_with(b"*\r\nHost: x\r\n"));
}

/// Text that is made to be searched again and again would stop the run.
#[test]
fn hostile_text_takes_no_longer() {
    let begun = std::time::Instant::now();
    for piece in [
        "sk-",
        "sk-a ",
        "eyJ",
        "eyJaaaaaaaaa.",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----\n",
        "token=",
        "://a:",
        "@a",
        "%20eyJa",
        "password\":\"",
        "\"password\":",
        "\\",
        "\\\"",
        "cookie: ",
        "authorization: bearer ",
        "?key=",
        "secret ",
        "a.b-c_",
        "discord",
        "AccountKey=",
        "key-0",
    ] {
        let mut text = piece.repeat((1 << 15) / piece.len());
        let before = text.len();
        let chunks: Vec<_> = text.as_bytes().chunks(7).collect();
        redact(&chunks);
        streamed(
            text.as_bytes()
                .chunks(16)
                .map(|chunk| std::str::from_utf8(chunk).unwrap()),
        );
        redactor().text(&mut text);
        assert_eq!(text.len(), before);
    }
    assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
}

/// Escapes that a border cuts would show what they stand for.
#[test]
fn escaped_secrets_are_held_back() {
    let letters = |text: &str| -> String {
        let letters = text.bytes();
        letters.map(|byte| format!("\\u{byte:04x}")).collect()
    };
    let secret = "q7VL9cso0O6gazxpjWuihsIf";
    let texts = [
        format!("x{{\"api_key\":\"{}\"}} kept", letters(secret)),
        format!("x{{\"{}\":\"{secret}\"}} kept", letters("api_key")),
        format!("x\"{{\\u0022password\\u0022:\\u0022{secret}\\u0022}}\" kept"),
    ];
    for text in texts {
        let whole = text_masked(&text);
        assert!(
            !whole.contains("jWuihsIf") && whole.ends_with(" kept"),
            "{whole}"
        );
        for size in [1, 2, 3, 5, 7, 13, 100] {
            let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
            let pieces = pieces
                .iter()
                .map(|piece| std::str::from_utf8(piece).unwrap());
            assert_eq!(streamed(pieces), whole, "{size}");
        }
    }
}
