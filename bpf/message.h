/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * rustls one level above AEAD: the methods that each cryptographic provider has for records, where the
 * provider's own functions are not known. They take a message and its number. Layouts and their sources:
 * symbol-db/rustls; what a compiler may order otherwise is checked here call by call.
 */
#pragma once

/* enum ContentType by its place in the source, not by its number on the wire. */
#define CONTENT_TYPE_MAX 3
/* What TLS 1.3 adds to a record's content on the wire: header, content type, tag. */
#define TLS13_OVERHEAD (HEADER_LEN + 1 + TAG_LEN)
/* Longest content, with what encryption adds in TLS 1.2 (RFC 5246, section 6.2.3). */
#define CIPHERTEXT_MAX (16384 + 2048)

/* rustls 0.20 to 0.22: BorrowedPlainMessage. */
struct plain_message {
	__u64 buf;
	__u64 len;
	__u8 type;
	__u8 rest[7];
};

/* rustls 0.23: OutboundPlainMessage. `chunks` is 0 for one piece, whose place and length follow. */
struct outbound_message {
	__u64 chunks;
	__u64 count; /* or the piece's place */
	__u64 start; /* or its length */
	__u64 end;
	__u8 type;
	__u8 rest[7];
};

/* What decrypting gives: Result<PlainMessage> before 0.23, Result<InboundPlainMessage> since. */
struct opened_message {
	__u64 tag;
	__u64 words[3]; /* a Vec in any order; or the payload's place and length, and its type */
	__u32 version;
	__u8 type;
	__u8 rest[3];
};

static __always_inline bool set_type(struct cipher_call *call, __u8 type)
{
	call->type = TYPE_CHANGE_CIPHER_SPEC + type;
	return type <= CONTENT_TYPE_MAX && call->len <= RECORD_MAX;
}

static __always_inline bool read_outbound(__u64 at, struct cipher_call *call)
{
	struct outbound_message message = {};
	struct plain_message plain = {};

	if (COOKIE_RESULT(call->cookie) == FORM_OPAQUE) {
		if (bpf_probe_read_user(&plain, sizeof(plain), (void *)at))
			return false;
		call->buf = plain.buf;
		call->len = plain.len;
		return set_type(call, plain.type);
	}
	if (bpf_probe_read_user(&message, sizeof(message), (void *)at))
		return false;
	call->buf = message.count;
	call->len = message.start;
	if (message.chunks) {
		if (message.end < message.start || message.count > ~0U)
			return false;
		call->pieces = message.chunks;
		call->count = message.count;
		call->extra = message.start;
		call->len = message.end - message.start;
	}
	return set_type(call, message.type);
}

/* The encrypted payload: a Vec before 0.23, whose words may be in any order; its place and length since. */
static __always_inline bool read_inbound(__u64 at, struct cipher_call *call)
{
	__u64 words[3] = {};
	__u64 low, high;

	if (bpf_probe_read_user(words, sizeof(words), (void *)at))
		return false;
	call->buf = words[0];
	call->len = words[1];
	if (COOKIE_RESULT(call->cookie) == FORM_OPAQUE) {
		/* The place is larger than any length; of the others, the capacity is not less than the length. */
		call->buf = words[0] > words[1] ? words[0] : words[1];
		call->buf = words[2] > call->buf ? words[2] : call->buf;
		low = call->buf == words[0] ? words[1] : words[0];
		high = call->buf == words[2] ? words[1] : words[2];
		call->len = low < high ? low : high;
	}
	call->wire = HEADER_LEN + call->len;
	call->end = call->buf + call->len;
	return call->len <= CIPHERTEXT_MAX;
}

/* encrypt(self, message, number) and decrypt(self, message, number); the result's place is one more in
 * front on x86-64 and apart on aarch64. */
static __always_inline bool read_message_call(struct pt_regs *ctx, struct cipher_call *call)
{
#if defined(__TARGET_ARCH_x86)
	__u64 self = PT_REGS_PARM2(ctx), message = PT_REGS_PARM3(ctx);

	call->result = PT_REGS_PARM1(ctx);
	call->nonce = PT_REGS_PARM4(ctx);
#else
	__u64 self = PT_REGS_PARM1(ctx), message = PT_REGS_PARM2(ctx);

	call->result = ctx->regs[8];
	call->nonce = PT_REGS_PARM3(ctx);
#endif
	call->half.context = self;
	call->numbered = 1;
	if (call->half.direction == DIR_READ)
		return read_inbound(message, call);
	if (!read_outbound(message, call))
		return false;
	call->wire = call->len + TLS13_OVERHEAD;
	return true;
}

/*
 * What was decrypted: the same memory as before, and less of it. That tells success as well, for which the
 * compiler has a number of its own in each version.
 */
static __always_inline bool read_opened(struct cipher_call *call)
{
	struct opened_message message = {};
	__u64 *words = message.words;
	__u64 len = ~0ULL;
	__u8 type;

	if (bpf_probe_read_user(&message, sizeof(message), (void *)call->result))
		return false;
	if (COOKIE_RESULT(call->cookie) == FORM_OPAQUE) {
		type = message.type;
		for (int n = 0; n < 3; n++)
			if (words[n] != call->buf && words[n] < len)
				len = words[n];
		if (words[0] != call->buf && words[1] != call->buf && words[2] != call->buf)
			return false;
	} else {
		type = words[2];
		len = words[1];
		if (words[0] < call->buf || words[0] > call->end)
			return false;
		call->buf = words[0];
	}
	if (len > call->len)
		return false;
	call->len = len;
	return set_type(call, type);
}

/* Chunks on their way out. */
struct chunks {
	struct record *record;
	struct half *half;
	__u64 cookie;
	__u64 at;   /* the next chunk */
	__u64 skip; /* bytes of it, and of those behind, that do not belong to the record */
};

struct chunk {
	__u64 buf;
	__u64 len;
};

/* One chunk: 1 ends it. */
static long tell_chunk(__u32 round, struct chunks *chunks)
{
	struct record *record = chunks->record;
	struct chunk chunk = {};

	if (!record->rest || bpf_probe_read_user(&chunk, sizeof(chunk), (void *)chunks->at))
		return 1;
	chunks->at += sizeof(chunk);
	if (chunk.len <= chunks->skip) {
		chunks->skip -= chunk.len;
		return 0;
	}
	record->buf = chunk.buf + chunks->skip;
	record->len = chunk.len - chunks->skip;
	chunks->skip = 0;
	if (record->len > record->rest)
		record->len = record->rest;
	record->rest -= record->len;
	tell_piece(record, chunks->half, chunks->cookie);
	return 0;
}

/* Tells a record that is gathered from chunks; what cannot be reached is told as missing. */
__noinline int tell_chunks(const struct cipher_call *call, struct record *record, struct half *half)
{
	struct chunks chunks = { .record = record, .half = half };
	__u32 count;

	if (!call || !record || !half)
		return 0;
	count = call->count < PIECES_MAX ? call->count : PIECES_MAX;
	chunks.cookie = call->cookie;
	chunks.at = call->pieces;
	chunks.skip = call->extra;
	if (use_bpf_loop) {
		bpf_loop(count, tell_chunk, &chunks, 0);
	} else {
		for (__u32 round = 0; round < PIECES_MAX_UNROLLED && round < count; round++)
			if (tell_chunk(round, &chunks))
				break;
	}
	if (record->rest)
		tell_missing(record, half, call->cookie);
	return 0;
}
