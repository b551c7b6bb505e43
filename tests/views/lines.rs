//! Lines of deeds and their schema: neither says what the other does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use agentsight::sink::{Clock, JsonLines, LINES_SCHEMA, Sink};
use serde_json::Value;

use crate::made;

fn lines() -> Vec<Value> {
    let mut text = Vec::new();
    let mut sink = JsonLines::new(&mut text, Clock::fixed(0));
    for deed in made::all() {
        sink.deed(&deed).unwrap();
    }
    sink.flush().unwrap();
    drop(sink);
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// By type: the properties that are documented.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let schema: Value = serde_json::from_str(LINES_SCHEMA).unwrap();
    let types = schema["oneOf"].as_array().unwrap().iter().map(|line| {
        let properties = line["properties"].as_object().unwrap();
        let name = properties["type"]["const"].as_str().unwrap().to_owned();
        let title = line["title"].as_str().unwrap();
        assert!(title.starts_with(&format!("{name}: ")), "{title}");
        (name, properties.keys().cloned().collect())
    });
    types.collect()
}

/// A reader that trusts the schema would refuse a line.
#[test]
fn lines_are_as_the_schema_says() {
    let schema: Value = serde_json::from_str(LINES_SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for line in lines() {
        // The message of the whole says nothing: the alternative of this type says what is wrong.
        let alternatives = schema["oneOf"].as_array().unwrap();
        let own = alternatives
            .iter()
            .find(|own| own["properties"]["type"]["const"] == line["type"])
            .unwrap_or_else(|| panic!("no such type: {line}"));
        let mut own = own.clone();
        own["$defs"] = schema["$defs"].clone();
        let own = jsonschema::validator_for(&own).unwrap();
        if let Err(error) = own.validate(&line) {
            panic!("{error}: {line}");
        }
        assert!(validator.is_valid(&line), "{line}");
    }
}

/// The schema takes lines that miss what is always there, or have what is never there.
#[test]
fn the_schema_refuses_what_is_no_line() {
    let schema: Value = serde_json::from_str(LINES_SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for line in lines() {
        for field in ["type", "ts", "pid", "process", "tid", "comm", "event"] {
            let mut line = line.clone();
            line.as_object_mut().unwrap().remove(field);
            assert!(!validator.is_valid(&line), "without {field}: {line}");
        }
        let mut line = line.clone();
        line["colour"] = "red".into();
        assert!(!validator.is_valid(&line), "{line}");
    }
}

/// A field is documented that no line has, or the other way round.
#[test]
fn every_field_of_a_deed_is_documented_and_told() {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines() {
        let fields = line.as_object().unwrap().keys().cloned();
        let name = line["type"].as_str().unwrap().to_owned();
        told.entry(name).or_default().extend(fields);
    }
    let mut documented = documented();
    let is_deed = |name: &String| {
        ["file.", "net.", "process."]
            .iter()
            .any(|start| name.starts_with(start))
    };
    documented.retain(|name, _| is_deed(name));
    assert_eq!(documented, told);
}

/// Words in quotes in a source file.
fn quoted(path: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let words = text
        .lines()
        .flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned));
    words.collect()
}

/// A type of line is documented that the code does not have, or the other way round.
#[test]
fn types_of_the_code_and_of_the_schema_are_the_same() {
    let words: BTreeSet<_> = ["src/deeds/deed.rs", "src/sink/jsonl.rs", "src/sink/said.rs"]
        .into_iter()
        .flat_map(quoted)
        .collect();
    let groups = [
        "file", "graph", "http", "llm", "mcp", "net", "process", "sse", "tls", "ws",
    ];
    let is_type = |word: &&String| {
        let lower = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
        match word.split_once('.') {
            Some((group, name)) => groups.contains(&group) && lower(name),
            None => ["finding", "process"].contains(&word.as_str()),
        }
    };
    let in_code: BTreeSet<_> = words.iter().filter(is_type).cloned().collect();
    let in_schema: BTreeSet<_> = documented().into_keys().collect();
    assert_eq!(in_code, in_schema);
}
