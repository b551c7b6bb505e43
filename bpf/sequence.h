/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Record numbers from nonces. TLS makes each record's nonce from the key's IV, which we do not know, and
 * the record's number: nonce = iv ^ number (RFC 8446, section 5.3; RFC 7905, section 2). The explicit nonces of RFC 5288
 * are the sender's choice: most do the same, OpenSSL counts from a random number on. Two nonces tell how two numbers differ, and
 * the differences tell the numbers' lower bits, as long as nothing is lost: from n to n + 1 a run of ones
 * becomes zeros.
 *
 * Arithmetic only, for the kernel and for tests.
 */
#pragma once

/* The same record once more. */
#define SEQUENCE_SAME (~0ULL)
/* Farther ahead than any connection gets: the numbers have started over, under another key. */
#define SEQUENCE_JUMP_MAX (1ULL << 40)

static inline __attribute__((always_inline)) __u64 low_bits(__u32 bits)
{
	return bits >= 64 ? ~0ULL : (1ULL << (bits & 63)) - 1;
}

static inline __attribute__((always_inline)) __u32 count_ones(__u64 run)
{
	__u32 ones = 0;

	for (__u32 step = 32; step; step >>= 1) {
		if (run >> (step - 1) & 1) {
			ones += step;
			run >>= step;
		}
	}
	return ones + (run & 1);
}

/* The first record; `bits` of its number are those of `number`. */
static inline __attribute__((always_inline)) void sequence_begin(struct sequence *sequence,
								 __u64 nonce, __u64 number,
								 __u32 bits)
{
	sequence->last = nonce;
	sequence->number = number;
	sequence->bits = bits;
}

/*
 * Takes the next record. Tells how many were not seen since the last answer, at least: all of them where the
 * library tells the numbers. Else one that is told may have been lost some records ago, since not
 * every loss shows at once.
 */
static inline __attribute__((always_inline)) __u64 sequence_next(struct sequence *sequence,
								 __u64 nonce)
{
	__u64 change = sequence->last ^ nonce, mask = low_bits(sequence->bits), number, missing;
	__u32 ones;

	if (!change)
		return SEQUENCE_SAME;
	sequence->last = nonce;
	number = (sequence->number ^ change) & mask;
	missing = (number - sequence->number - 1) & mask;
	sequence->number = number;
	if (sequence->bits == 64)
		return missing;
	if (change & (change + 1) || missing) {
		/* How far it has gone is not known, so neither is the number. */
		sequence->number = sequence->bits = 0;
		return 1;
	}
	ones = count_ones(change);
	if (ones > sequence->bits) {
		sequence->bits = ones < 64 ? ones : 63;
		sequence->number = 1ULL << (sequence->bits - 1);
	}
	return 0;
}
