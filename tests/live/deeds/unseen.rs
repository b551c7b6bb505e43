//! A kernel that shows us no system calls: what can be told still is, and that the rest is not is said everywhere.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{AGENTSIGHT, Recorded};
use crate::support::require;

const WITHOUT: (&str, &str) = ("AGENTSIGHT_WITHOUT", "system_calls");

/// On an older kernel, nothing could be observed at all; or nothing would be told, and nobody would know.
#[test]
fn root_kernels_that_show_no_system_calls_show_programs() {
    let place = require!(Recorded::place());
    let command = "echo text > file; /bin/cat file; /bin/false; exit 3";
    let command = format!("/bin/sh -c '{command}'; exit 0");
    let said = place.run_with(&[WITHOUT], &["/bin/sh", "-c", &command]);
    assert!(said.contains("NOT SEEN: files and sockets"), "{said}");
    let lines = place.lines();
    let of =
        |kind: &str| -> Vec<&Value> { lines.iter().filter(|line| line["type"] == kind).collect() };
    let names = |lines: Vec<&Value>| -> BTreeSet<String> {
        let names = lines
            .iter()
            .map(|line| line["process"].as_str().unwrap().to_owned());
        names.collect()
    };
    let codes: Vec<_> = of("process.exit")
        .iter()
        .map(|line| line["code"].as_i64())
        .collect();
    assert_eq!(codes, [0, 1, 3, 0].map(Some));
    assert_eq!(of("process.fork").len(), 3);
    assert_eq!(of("process.exec").len(), 4);
    // Of each of them it is said.
    assert!(
        of("process.blind")
            .iter()
            .all(|line| line["by"] == "system_calls")
    );
    assert_eq!(names(of("process.blind")), names(of("process.exec")));
    let is_call = |line: &&Value| {
        let kind = line["type"].as_str().unwrap();
        kind.starts_with("file.") || kind.starts_with("net.")
    };
    assert_eq!(lines.iter().find(is_call), None);
}

/// `doctor` would say that all is well.
#[test]
fn root_doctor_tells_of_kernels_that_show_no_system_calls() {
    let _ = require!(Recorded::place());
    let output = Command::new(AGENTSIGHT)
        .args(["doctor", "--json"])
        .env(WITHOUT.0, WITHOUT.1)
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = told["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "system calls");
    let check = check.expect("no such check");
    assert_eq!(check["status"], "warn", "{check}");
    assert!(
        check["detail"]
            .as_str()
            .unwrap()
            .contains("no files and sockets"),
        "{check}"
    );
}
