//! Programs and libraries that others built: what discovery says against their own symbols, or, where those are gone,
//! against itself with less to go by.

use super::*;

/// Checks a real program against its own symbols.
fn check_sample(name: &str) -> Option<Report> {
    let sample = sample(name)?;
    let report = look(&sample.path, &[]);
    assert_eq!(report.arch, sample.arch);
    // libssl3.so of NSS is listed as a user of NSPR; what it defines is NSS.
    let library = match sample.libraries[0].as_str() {
        "user-of-nspr" => "nss",
        library => library,
    };
    let truth = agreed_truth(&sample.path, Tables::All, &known(&[library]));
    assert_eq!(found(&report.findings), truth, "{name}");
    for finding in &report.findings {
        assert_eq!(finding.library, library, "{name}");
    }
    Some(report)
}

/// Checks a real program that has names.
fn check_named_sample(name: &str) -> Option<Report> {
    let report = check_sample(name)?;
    assert_eq!(report.findings.len(), 1, "{name}: one copy");
    assert!(report.refused.is_empty(), "{name}: {:?}", report.refused);
    Some(report)
}

/// Node 18 would not be captured: an executable that exports OpenSSL 3.0.
#[test]
fn node_18_is_found() {
    let report = require!(check_named_sample("node-x64-18"));
    insta::assert_snapshot!("node", table(&report, &sample("node-x64-18").unwrap().path));
}

/// Node 20 would not be captured.
#[test]
fn node_20_is_found() {
    require!(check_named_sample("node-x64-20"));
}

/// Node 26 would not be captured.
#[test]
fn node_26_is_found() {
    require!(check_named_sample("node-x64-26"));
}

/// Node for another machine would be misread.
#[test]
fn node_for_arm64_is_found() {
    require!(check_named_sample("node-arm64-22"));
}

/// Debian's OpenSSL would not be captured, for this machine or another.
#[test]
fn libssl_is_found() {
    require!(check_named_sample("deb-libssl3-arm64"));
    let report = require!(check_named_sample("deb-libssl3"));
    insta::with_settings!({filters => FILTERS.to_vec()}, {
        insta::assert_snapshot!("libssl", table(&report, &sample("deb-libssl3").unwrap().path));
    });
}

/// The OpenSSL that Python wheels bring along, whose name is not libssl.so.3, would be missed.
#[test]
fn vendored_libssl_is_found() {
    require!(check_named_sample("psycopg2"));
}

/// GnuTLS as a library would not be captured.
#[test]
fn libgnutls_is_found() {
    let report = require!(check_named_sample("deb-libgnutls30"));
    insta::with_settings!({filters => FILTERS.to_vec()}, {
        insta::assert_snapshot!("libgnutls", table(&report, &sample("deb-libgnutls30").unwrap().path));
    });
}

/// Firefox's and Chromium's relatives use NSPR to move plaintext; it would be missed.
#[test]
fn libnspr_is_found() {
    require!(check_named_sample("deb-libnspr4"));
}

/// The TLS layer of NSS would be missed, or its use of NSPR.
#[test]
fn libssl3_of_nss_is_found_and_calls_nspr() {
    let report = require!(check_named_sample("deb-libnss3"));
    let wanted = truth::imports(Path::new(&report.path), &known(&["nspr"]));
    let import = report
        .imports
        .iter()
        .find(|import| import.library == "nspr");
    let told = import
        .unwrap()
        .functions
        .iter()
        .cloned()
        .collect::<BTreeSet<_>>();
    assert_eq!(told, wanted);
}

/// BoringSSL would be taken for OpenSSL, or be missed.
#[test]
fn boringssl_is_told_from_openssl() {
    let report = require!(check_named_sample("curl-cffi"));
    insta::assert_snapshot!("boringssl", table(&report, Path::new(&report.path)));
}

/// Wrappers that are named after OpenSSL's functions (`_cffi_f_SSL_read`) would be probed instead.
#[test]
fn cffi_wrappers_are_not_the_library() {
    let report = require!(check_sample("cryptography"));
    let functions = report
        .findings
        .iter()
        .flat_map(|finding| &finding.functions);
    let names: Vec<_> = functions.map(|function| &function.name).collect();
    assert!(names.iter().all(|name| !name.contains("cffi")), "{names:?}");
}

/// A program without names would show nothing, or an object that is no connection be taken for one.
#[test]
fn nameless_boringssl_is_found_and_guarded() {
    let bun = require!(check_sample("bun-x64-1.4"));
    assert_eq!(bun.refused, []);
    let [finding] = &bun.findings[..] else {
        panic!("{:?}", bun.findings);
    };
    assert_eq!(finding.library, "boringssl");
    assert!(finding.guard.is_some());
    for name in ["SSL_read", "SSL_write", "SSL_do_handshake", "tls_free"] {
        assert!(
            finding
                .functions
                .iter()
                .any(|function| function.name == name),
            "{name}"
        );
    }
}

/// Where file names are hidden (`__FILE__` made empty), the reasons of the errors are left, and must lead to the
/// same functions.
#[test]
fn hidden_file_names_leave_the_reasons() {
    let bun = require!(check_sample("bun-x64-1.4"));
    let hidden = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = fs::read(&bun.path).unwrap();
    let mut hide = |name: &[u8]| {
        let places: Vec<_> = memchr::memmem::find_iter(&bytes, name).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at..at + name.len()].fill(b'x');
        }
    };
    hide(b"ssl_lib.cc");
    hide(b"s3_pkt.cc");
    fs::write(&hidden, bytes).unwrap();
    let report = look(hidden.path(), &[]);
    assert_eq!(report.refused, []);
    let functions = &report.findings[0].functions;
    for name in ["SSL_read", "SSL_write", "SSL_do_handshake"] {
        let of = |functions: &[Function]| {
            let mut all = functions.iter();
            all.find(|function| function.name == name).unwrap().clone()
        };
        let (found, truth) = (of(functions), of(&bun.findings[0].functions));
        assert_eq!(found.vaddr, truth.vaddr, "{name}");
        assert_eq!(found.confidence, Confidence::Medium);
        assert!(
            found
                .evidence
                .iter()
                .any(|evidence| evidence.method == Method::Reasons)
        );
    }
}
