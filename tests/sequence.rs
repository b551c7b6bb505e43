//! Record numbers from nonces (`bpf/sequence.h`): the header is arithmetic alone, and is compiled here for
//! this machine and tried on every kind of beginning.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod support;

use std::path::Path;
use std::process::Command;

use support::{require, skip};

/// A loss would be claimed that never was, or none ever be noticed. Where the library tells numbers, each
/// loss is told at once, and exactly; where they are learnt, the sum is never too high.
const PROGRAM: &str = r#"
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdbool.h>
#include "event.h"
#include "sequence.h"

static __u64 state = 88172645463325252ULL;

static __u64 next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void fail(const char *what, __u64 number, __u64 told, __u64 lost)
{
	printf("%s: number %llu, told %llu, lost %llu\n", what, number, told, lost);
	exit(1);
}

/* Numbers from `first` on, of which now and then some are lost. Tells how many losses were not noticed. */
static unsigned follow(__u64 first, __u32 bits, unsigned records, bool losses)
{
	struct sequence sequence = {};
	__u64 iv = next(), number = first;
	__u64 all_told = 0, all_lost = 0;
	unsigned unnoticed = 0;

	sequence_begin(&sequence, iv ^ number, bits == 64 ? number : 0, bits);
	for (unsigned n = 0; n < records; n++) {
		__u64 lost = losses && next() % 8 == 0 ? 1 + next() % 40 : 0;
		__u64 told;

		if (sequence_next(&sequence, iv ^ number) != SEQUENCE_SAME)
			fail("the same record is another one", number, 0, 0);
		number += 1 + lost;
		told = sequence_next(&sequence, iv ^ number);
		all_told += told;
		all_lost += lost;
		if (all_told > all_lost)
			fail("more lost than were", number, all_told, all_lost);
		if (bits == 64 && (told != lost || sequence.number != number))
			fail("not all told", number, told, lost);
		unnoticed += lost && !told;
	}
	if (bits < 64 && losses && !all_told)
		fail("no loss noticed", number, 0, all_lost);
	return unnoticed;
}

int main(void)
{
	static const __u64 firsts[] = { 0, 1, 2, 7, 255, 65535, 1ULL << 31, (1ULL << 32) - 3, ~0ULL >> 1 };
	unsigned unnoticed = 0;
	struct sequence sequence = {};

	for (unsigned n = 0; n < sizeof(firsts) / sizeof(*firsts); n++) {
		follow(firsts[n], 64, 20000, true);
		follow(firsts[n], 0, 20000, false);
		unnoticed += follow(firsts[n], 0, 20000, true);
	}
	for (unsigned n = 0; n < 2000; n++) {
		unnoticed += follow(next() >> 20, 0, 300, true);
		follow(next() >> 20, 0, 300, false);
	}
	/* Whoever counts from a random number on, and whoever joins in the middle. */
	for (unsigned n = 0; n < 2000; n++) {
		__u64 nonce = next(), first = 1 + next() % 100000, iv = next();
		__u64 told = 0;

		sequence_begin(&sequence, nonce, 0, 0);
		for (unsigned i = 1; i < 300; i++)
			told |= sequence_next(&sequence, nonce + i);
		sequence_begin(&sequence, iv ^ first, 0, 0);
		for (unsigned i = 1; i < 300; i++)
			told |= sequence_next(&sequence, iv ^ (first + i));
		if (told)
			fail("a loss that was none", first, told, 0);
	}
	/* Numbers that start over are another key's. */
	sequence_begin(&sequence, 1000, 1000, 64);
	if (sequence_next(&sequence, 0) <= SEQUENCE_JUMP_MAX)
		fail("a step back is no jump", 0, 0, 0);
	printf("unnoticed %u\n", unnoticed);
	return 0;
}
"#;

#[test]
fn numbers_follow_from_nonces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("sequence.c");
    let program = folder.path().join("sequence");
    std::fs::write(&source, PROGRAM).unwrap();
    let compiled = Command::new("clang")
        .args(["-O1", "-Wall", "-Wextra", "-fsanitize=undefined"])
        .args(["-fsanitize-undefined-trap-on-error", "-I"])
        .arg(root.join("bpf"))
        .arg("-o")
        .args([&program, &source])
        .output();
    let compiled = require!(compiled.ok().or_else(|| skip("clang")));
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let run = Command::new(&program).output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    eprint!("{told}");
}
