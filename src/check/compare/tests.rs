use super::super::{Manifest, Tally};
use super::*;
use crate::discover::finding::{Call, Refusal, Sites};
use crate::discover::{Confidence, Evidence, Import, Method};
use crate::image::FileOff;
use crate::symdb::Role;

fn function(name: &str, vaddr: u64) -> Function {
    Function {
        name: name.to_owned(),
        role: Role::Read,
        vaddr: VirtAddr(vaddr),
        file_offset: FileOff(vaddr),
        size: 1,
        confidence: Confidence::High,
        evidence: vec![Evidence {
            method: Method::Symtab,
            detail: String::new(),
        }],
        sites: Sites::classic(VirtAddr(vaddr), FileOff(vaddr), false),
        call: Call::default(),
        legal: None,
        covered_by: None,
        unprobed: None,
    }
}

fn report(findings: &[(&str, &[(&str, u64)])], refused: &[(&str, &str)]) -> Report {
    Report {
        path: "x".into(),
        arch: "x86-64".into(),
        build_id: None,
        size: 1,
        findings: findings
            .iter()
            .map(|(library, functions)| Finding {
                library: (*library).to_owned(),
                version: None,
                provider: None,
                compiler: None,
                functions: functions.iter().map(|(n, a)| function(n, *a)).collect(),
                guard: None,
                go: None,
            })
            .collect(),
        refused: refused
            .iter()
            .map(|(library, reason)| Refusal {
                library: (*library).to_owned(),
                reason: (*reason).to_owned(),
            })
            .collect(),
        warnings: Vec::new(),
        imports: Vec::new(),
        ladder: Vec::new(),
    }
}

fn entry(rest: &str) -> Entry {
    let text = format!(r#"[{{"name":"s","path":"s",{rest}}}]"#);
    Manifest::parse(&text).unwrap().entries.remove(0)
}

/// Verdicts of rows, with what they are about, except the fine ones.
fn differences(entry: &Entry, report: &Report, same_file: bool) -> Vec<(String, Verdict)> {
    compare(entry, report, same_file)
        .into_iter()
        .filter(|row| row.verdict != Verdict::Ok)
        .map(|row| (format!("{}/{}", row.library, row.function), row.verdict))
        .collect()
}

const OPENSSL: &str =
    r#""libraries":["openssl"],"vaddr":{"openssl":{"SSL_read":"0x10","SSL_write":"0x20"}}"#;

/// Every way in which a function may differ has its verdict, and addresses of another build have none.
#[test]
fn functions_are_compared_by_address() {
    let entry = entry(OPENSSL);
    let same = |functions: &[(&str, u64)], same_file| {
        differences(&entry, &report(&[("openssl", functions)], &[]), same_file)
    };
    let about = |verdict| vec![("openssl/SSL_write".to_owned(), verdict)];
    assert_eq!(same(&[("SSL_read", 16), ("SSL_write", 32)], true), []);
    assert_eq!(
        same(&[("SSL_read", 16), ("SSL_write", 33)], true),
        about(Verdict::Wrong)
    );
    assert_eq!(
        same(
            &[("SSL_read", 16), ("SSL_write", 32), ("SSL_write", 33)],
            true
        ),
        about(Verdict::Unexpected)
    );
    assert_eq!(same(&[("SSL_read", 16)], true), about(Verdict::Missing));
    assert_eq!(
        same(&[("SSL_read", 16)], false)[1],
        about(Verdict::Missing)[0]
    );
    let moved = same(&[("SSL_read", 1), ("SSL_write", 2)], false);
    assert!(moved.iter().all(|row| row.1 == Verdict::NotCompared));
    assert_eq!(moved.len(), 2);
}

/// A library that is absent, refused, or not wanted is told apart.
#[test]
fn libraries_are_compared() {
    let entry = entry(r#""libraries":["openssl"]"#);
    let of = |report: &Report| differences(&entry, report, true);
    let openssl = |verdict| ("openssl/".to_owned(), verdict);
    assert_eq!(of(&report(&[], &[])), [openssl(Verdict::Missing)]);
    assert_eq!(
        of(&report(&[], &[("openssl", "stripped")])),
        [openssl(Verdict::Refused)]
    );
    assert_eq!(
        of(&report(
            &[("openssl", &[]), ("gnutls", &[])],
            &[("nss", "?")]
        )),
        [
            ("gnutls/".to_owned(), Verdict::Unexpected),
            ("nss/".to_owned(), Verdict::Unexpected)
        ]
    );
}

/// Any finding, and any unexpected refusal, in a file without TLS is a false alarm.
#[test]
fn nothing_means_nothing() {
    for nothing in ["none-detected", "libcrypto-only"] {
        let entry = entry(&format!(r#""libraries":["{nothing}"]"#));
        let of = |report: &Report| compare(&entry, report, true);
        assert_eq!(of(&report(&[], &[]))[0].verdict, Verdict::Ok);
        let alarms = [
            of(&report(&[("openssl", &[])], &[])),
            of(&report(&[], &[("openssl", "?")])),
        ];
        for rows in alarms {
            assert!(rows.iter().all(|row| row.verdict == Verdict::Unexpected));
            assert_eq!(rows.len(), 1);
        }
    }
}

/// A known gap is told by name and is no regression; what is found in its place is still compared.
#[test]
fn known_gaps() {
    let entry = entry(
        r#""libraries":["rustls"],"known_gap":["rustls"],
           "vaddr":{"rustls":{"seal":["0x10","0x20"],"open":"0x30"}}"#,
    );
    let of = |functions: &[(&str, u64)]| {
        differences(&entry, &report(&[("rustls", functions)], &[]), true)
    };
    let row = |function: &str, verdict| (format!("rustls/{function}"), verdict);
    let nothing = differences(&entry, &report(&[], &[]), true);
    assert_eq!(nothing, [row("", Verdict::KnownGap)]);
    assert_eq!(
        of(&[
            ("ring::seal", 16),
            ("aws-lc::seal_scatter", 32),
            ("ring::open", 48)
        ]),
        [row("", Verdict::GapClosed)]
    );
    assert_eq!(
        of(&[("ring::seal", 16), ("ring::open", 48)]),
        [row("seal", Verdict::KnownGap)]
    );
    assert_eq!(
        of(&[("ring::seal", 16), ("ring::open", 49)]),
        [row("open", Verdict::Wrong), row("seal", Verdict::KnownGap)]
    );
}

/// An expected refusal must come, with its reason; a complete entry takes no others.
#[test]
fn refusals_are_compared() {
    let some =
        entry(r#""libraries":["openssl"],"refused":[{"library":"openssl","reason":"packed"}]"#);
    let of = |refused: &[(&str, &str)]| differences(&some, &report(&[], refused), true);
    assert_eq!(of(&[("openssl", "it is packed by UPX")]), []);
    assert!(
        of(&[("openssl", "stripped")])
            .iter()
            .all(|row| row.1.is_regression())
    );
    assert!(of(&[]).iter().any(|row| row.1 == Verdict::Missing));
    let all = entry(r#""libraries":["openssl"],"complete":true"#);
    let more = report(
        &[("openssl", &[("SSL_read", 1)])],
        &[("openssl", "SSL_peek: ambiguous")],
    );
    let verdicts = differences(&all, &more, true);
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.iter().all(|row| row.1 == Verdict::Unexpected));
}

/// What is recorded from a report is what that report fulfils.
#[test]
fn a_report_fulfils_its_own_record() {
    let mut report = report(
        &[
            ("openssl", &[("SSL_read", 16), ("LK_SSL_read", 17)]),
            ("openssl", &[("SSL_read", 32)]),
        ],
        &[("boringssl", "stripped")],
    );
    report.imports.push(Import {
        library: "gnutls".into(),
        functions: vec!["gnutls_record_send".into()],
    });
    let mut entry = Entry::record(&report);
    entry.name = "s".into();
    entry.path = Some("s".into());
    let text = serde_json::to_string(&[&entry]).unwrap();
    let entry = Manifest::parse(&text).unwrap().entries.remove(0);
    assert_eq!(differences(&entry, &report, true), []);
    report.findings[1].functions[0].vaddr = VirtAddr(33);
    assert_eq!(
        differences(&entry, &report, true),
        [("openssl/SSL_read".to_owned(), Verdict::Wrong)]
    );
}

/// Short names of a manifest reach the full ones of Go and rustls, and nothing that only looks alike.
#[test]
fn short_names() {
    assert!(is_called("crypto/tls.(*Conn).Read", "Read"));
    assert!(is_called("aws-lc::seal_scatter", "seal"));
    assert!(!is_called("SSL_read_ex", "SSL_read"));
    assert!(!is_called("LK_SSL_read", "SSL_read"));
    assert!(!is_called("crypto/tls.(*Conn).ReadFrom", "Read"));
    assert!(!is_called("ring::sealing", "seal"));
}

/// Right, wrong and unknown functions are counted for the method that gave them.
#[test]
fn methods_are_tallied() {
    let mut tally = Tally::default();
    let found = [("SSL_read", 16), ("SSL_write", 33), ("SSL_peek", 1)];
    tally.add(
        &entry(OPENSSL),
        &report(&[("openssl", &found), ("nss", &[("x", 1)])], &[]),
    );
    let symtab = tally.methods[&Method::Symtab];
    assert_eq!(tally.known, 2);
    assert_eq!(
        (symtab.found, symtab.right, symtab.wrong, symtab.unknown),
        (4, 1, 2, 1)
    );
    assert_eq!(symtab.recall(tally.known), Some(0.5));
    assert_eq!(symtab.precision(), Some(1.0 / 3.0));
}
