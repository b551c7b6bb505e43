//! What is tried with hostile input, once for each target: the fuzzer in `fuzz_targets` and the
//! deterministic test in `tests/hostile/fuzzed.rs` run the same bodies and the same damage.
//!
//! A body takes any bytes. It fails by a panic: of the code under test, or because what that said about
//! the bytes cannot be. It never writes files and never looks at the clock.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "a body fails by panicking; this is no library for others"
)]

mod code;
mod files;
mod go;
mod image;
mod masked;
pub mod mutate;
#[allow(
    clippy::duplicate_mod,
    reason = "the tests, which include this file, have it too"
)]
#[path = "../../../tests/support/random.rs"]
mod random;
mod runs;
mod secret;
mod steps;
mod talk;
mod texts;

use agentsight::{deeds, dialog, proto, semantics};

/// One target.
pub struct Body {
    /// As the file in `fuzz_targets`.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Folders of seeds, as `fuzz/seed` makes them.
    pub seeds: &'static [&'static str],
}

const fn body(name: &'static str, run: fn(&[u8]), seeds: &'static [&'static str]) -> Body {
    Body { name, run, seeds }
}

/// All targets.
pub const BODIES: &[Body] = &[
    body("image", image::views, &["elf", "names", "debug"]),
    body("relocations", image::relocations, &["elf"]),
    body("unwind", image::unwind, &["elf"]),
    body("instructions", code::instructions, &["code"]),
    body(
        "functions",
        code::functions,
        &["elf", "openssl", "boringssl"],
    ),
    body("names", files::examine, &["names", "elf"]),
    body("openssl", files::examine, &["openssl"]),
    body("boringssl", files::examine, &["boringssl"]),
    body("debug", files::examine, &["debug"]),
    body("pclntab", go::pclntab, &["go"]),
    body("rtype", go::rtype, &["go"]),
    body("go", go::examine, &["go"]),
    body("cache", texts::cache, &["cache"]),
    body("manifest", texts::manifest, &["manifest"]),
    body("http1", proto::http1::fuzz_http1, &["http1"]),
    body("http2", proto::http2::fuzz_http2, &["http2"]),
    body("hpack", proto::http2::fuzz_hpack, &["hpack"]),
    body(
        "websocket",
        proto::websocket::fuzz_websocket,
        &["websocket"],
    ),
    body(
        "connection",
        proto::connection::fuzz_connection,
        &["connection", "http1"],
    ),
    body("coding", proto::coding::fuzz_coding, &["coding"]),
    body("content", proto::content::fuzz_content, &["content"]),
    body("sse", proto::sse::fuzz_sse, &["sse"]),
    body("lines", proto::lines::fuzz_lines, &["lines"]),
    body(
        "json_array",
        proto::json_array::fuzz_json_array,
        &["json_array"],
    ),
    body(
        "eventstream",
        proto::eventstream::fuzz_eventstream,
        &["eventstream"],
    ),
    body("grpc", proto::grpc::fuzz_grpc, &["grpc"]),
    body(
        "dialects",
        semantics::recognise::fuzz_dialects,
        &["dialects"],
    ),
    body(
        "anthropic",
        semantics::anthropic::fuzz_anthropic,
        &["anthropic"],
    ),
    body("gemini", semantics::gemini::fuzz_gemini, &["gemini"]),
    body("bedrock", semantics::bedrock::fuzz_bedrock, &["bedrock"]),
    body("cohere", semantics::cohere::fuzz_cohere, &["cohere"]),
    body("ollama", semantics::ollama::fuzz_ollama, &["ollama"]),
    body("mcp", semantics::mcp::fuzz_mcp, &["mcp"]),
    body("dialog", dialog::fuzz::fuzz_dialog, &["dialog"]),
    body(
        "guess",
        dialog::fuzz_guess,
        &["guess", "anthropic", "gemini"],
    ),
    body("redact", talk::redact, &["redact"]),
    body("prices", semantics::price::fuzz_prices, &["prices"]),
    body("dns", deeds::fuzz_dns, &["dns"]),
    body("acts", runs::acts, &["acts"]),
    body("rules", runs::rules, &["rules"]),
    body("filter", runs::filter, &["filter"]),
    body("recording", runs::recording, &["recording"]),
    body("mask", runs::mask, &["mask", "acts"]),
    body("literals", masked::literals, &["literals"]),
    body("payload", masked::payload, &["payload"]),
];

/// The programs that the bodies for Go damage: none of them works before. They are too large for seeds, so an input
/// says what to change in which.
pub fn set_go_programs(programs: Vec<Vec<u8>>) {
    go::set_programs(programs);
}

/// The body of that name.
pub fn find(name: &str) -> &'static Body {
    let found = BODIES.iter().find(|body| body.name == name);
    found.unwrap_or_else(|| panic!("no target {name}"))
}
