/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * AEAD functions: one call encrypts or decrypts one TLS record, in one piece of memory or a few. TLS hands
 * the record's header over as additional data, so each call proves by itself what it is; QUIC, files and
 * tickets are told apart and left out.
 *
 * Encryption is watched at its entry, where the plaintext is still there, decryption at its return.
 */
#pragma once

#define NONCE_LEN 12
#define TLS13_AAD_LEN 5
#define TLS12_AAD_LEN 13

/* What a call's registers and stack say, in the order of C's arguments. */
struct arguments {
	__u64 in[16];
	__u64 result; /* where a result goes that is returned in memory */
};

#if defined(__TARGET_ARCH_x86)
#define REGISTER_ARGUMENTS 6
#define STACK_ARGUMENTS_AT 8 /* behind the return address */
#else
#define REGISTER_ARGUMENTS 8
#define STACK_ARGUMENTS_AT 0
#endif
#define STACK_ARGUMENTS 7

static __always_inline void read_arguments(struct pt_regs *ctx, struct arguments *arguments)
{
	__u64 *in = arguments->in;

	in[0] = PT_REGS_PARM1(ctx);
	in[1] = PT_REGS_PARM2(ctx);
	in[2] = PT_REGS_PARM3(ctx);
	in[3] = PT_REGS_PARM4(ctx);
	in[4] = PT_REGS_PARM5(ctx);
#if defined(__TARGET_ARCH_x86)
	in[5] = ctx->r9;
	arguments->result = in[0];
#else
	in[5] = ctx->regs[5];
	in[6] = ctx->regs[6];
	in[7] = ctx->regs[7];
	arguments->result = ctx->regs[8];
#endif
	bpf_probe_read_user(
		in + REGISTER_ARGUMENTS, STACK_ARGUMENTS * sizeof(__u64),
		(void *)(entry_sp(ctx, bpf_get_attach_cookie(ctx)) + STACK_ARGUMENTS_AT));
}

/* What all forms of calls have, besides what is kept. */
struct cipher_input {
	__u64 nonce;
	__u64 aad;
	__u64 aad_len;
	__u64 len; /* of the whole inner plaintext */
	__u64 at;  /* where the encrypted bytes lie or will lie */
};

static __always_inline __u64 be16(const __u8 *bytes)
{
	return (__u64)bytes[0] << 8 | bytes[1];
}

/* TLS 1.2 with AES-GCM carries part of the nonce in front of the text (RFC 5288, section 3). */
static __always_inline bool has_explicit_nonce(__u64 at, __u64 nonce)
{
	__u64 before = 0;

	return !bpf_probe_read_user(&before, sizeof(before), (void *)(at - EXPLICIT_NONCE_LEN)) &&
	       __builtin_bswap64(before) == nonce;
}

/* RFC 8446, section 5.2: the record's header. */
static __always_inline bool is_tls13(const __u8 *aad, __u64 len)
{
	return aad[0] == TYPE_APPLICATION_DATA && aad[1] == 3 && aad[2] == 3 &&
	       be16(aad + 3) == len + TAG_LEN;
}

/* RFC 5246, section 6.2.3.3: number, content type, version, length. */
static __always_inline bool is_tls12(const __u8 *aad, __u64 len)
{
	return aad[8] >= TYPE_CHANGE_CIPHER_SPEC && aad[8] <= TYPE_APPLICATION_DATA &&
	       aad[9] == 3 && aad[10] == 3 && be16(aad + 11) == len;
}

/* Do the additional data make this a TLS record? Fills in what that tells. */
static __noinline bool judge_record(const struct cipher_input *input, struct cipher_call *call)
{
	__u8 aad[TLS12_AAD_LEN] = {}, nonce[NONCE_LEN] = {};

	if (!input || !call || input->len > RECORD_MAX ||
	    bpf_probe_read_user(nonce, sizeof(nonce), (void *)input->nonce))
		return false;
	__builtin_memcpy(&call->half.prefix, nonce, sizeof(call->half.prefix));
	for (int at = sizeof(call->half.prefix); at < NONCE_LEN; at++)
		call->nonce = call->nonce << 8 | nonce[at];
	call->wire = HEADER_LEN + input->len + TAG_LEN;
	if (input->aad_len == TLS13_AAD_LEN)
		return !bpf_probe_read_user(aad, TLS13_AAD_LEN, (void *)input->aad) &&
		       is_tls13(aad, input->len);
	if (input->aad_len != TLS12_AAD_LEN ||
	    bpf_probe_read_user(aad, TLS12_AAD_LEN, (void *)input->aad))
		return false;
	call->type = aad[8];
	if (has_explicit_nonce(input->at, call->nonce))
		call->wire += EXPLICIT_NONCE_LEN;
	return is_tls12(aad, input->len);
}

/*
 * ring's seal(key, nonce, aad, in_out) and open(key, nonce, aad, in_out, src); before 0.17
 * open(key, nonce, aad, in_prefix_len, in_out). Slices are two arguments; the result's place is one more
 * in front on x86-64 and apart on aarch64 (x8). Source: ring src/aead/algorithm.rs, src/aead.rs.
 */
static __always_inline bool read_ring(const struct arguments *arguments, struct cipher_call *call,
				      struct cipher_input *input)
{
#if defined(__TARGET_ARCH_x86)
	const __u64 *in = arguments->in + 1;
#else
	const __u64 *in = arguments->in;
#endif
	__u64 start = 0, len = in[5];

	call->result = arguments->result;
	call->half.context = in[0];
	call->buf = in[4];
	if (call->half.direction == DIR_READ) {
		start = in[6];
		/* An address is no length, and no record begins that far in its buffer. */
		if (in[4] < RECORD_MAX) {
			start = in[4];
			call->buf = in[5];
			len = in[6];
		}
	}
	if (start > len || len > RECORD_MAX + RECORD_MAX)
		return false;
	call->len = len - start;
	input->nonce = in[1];
	input->aad = in[2];
	input->aad_len = in[3];
	input->len = call->len;
	input->at = call->buf + start;
	return judge_record(input, call);
}

/* struct evp_aead_st (AWS-LC and BoringSSL, crypto/fipsmodule/cipher/internal.h): seal_scatter(ctx, out,
 * out_tag, out_tag_len, max_out_tag_len, nonce, nonce_len, in, in_len, extra_in, extra_in_len, ad, ad_len) */
static __always_inline bool read_seal_scatter(const __u64 *in, struct cipher_call *call,
					      struct cipher_input *input)
{
	call->buf = in[7];
	call->len = in[8];
	if (in[10])
		call->extra = in[9];
	input->nonce = in[5];
	input->aad = in[11];
	input->aad_len = in[12];
	input->len = in[8] + in[10];
	input->at = in[1];
	return in[10] <= 1 && judge_record(input, call);
}

/* open_gather(ctx, out, nonce, nonce_len, in, in_len, in_tag, in_tag_len, ad, ad_len) */
static __always_inline bool read_open_gather(const __u64 *in, struct cipher_call *call,
					     struct cipher_input *input)
{
	call->buf = in[1];
	call->len = in[5];
	input->nonce = in[2];
	input->aad = in[8];
	input->aad_len = in[9];
	input->len = in[5];
	input->at = in[4];
	return judge_record(input, call);
}

/* BoringSSL since 2025: struct CRYPTO_IOVEC and struct CRYPTO_IVEC (include/openssl/aead.h). */
struct crypto_iovec {
	__u64 out;
	__u64 in;
	__u64 len;
};

struct crypto_ivec {
	__u64 in;
	__u64 len;
};

/* BoringSSL writes a record from its text and the content type; it opens one in one piece. */
#define VECTORS_MAX 4

/* Adds the vectors' lengths up. False: more of them than a record has. */
static __always_inline bool read_vectors(struct cipher_call *call, struct cipher_input *input)
{
	struct crypto_iovec vector = {};

	if (!call->count || call->count > VECTORS_MAX)
		return false;
	for (__u32 n = 0; n < VECTORS_MAX && n < call->count; n++) {
		if (bpf_probe_read_user(&vector, sizeof(vector),
					(void *)(call->pieces + n * sizeof(vector))) ||
		    vector.len > RECORD_MAX)
			return false;
		if (!n)
			input->at = vector.in;
		input->len += vector.len;
	}
	call->len = input->len;
	return true;
}

/* sealv(ctx, iovecs, out_tag, out_tag_len, nonce, aadvecs) and openv(ctx, iovecs, nonce, in_tag, aadvecs);
 * spans are two arguments. */
static __always_inline bool read_vector_call(const __u64 *in, struct cipher_call *call,
					     struct cipher_input *input)
{
	struct crypto_ivec aad = {};

	call->pieces = in[1];
	call->count = in[2] > VECTORS_MAX ? 0 : in[2];
	input->nonce = call->half.direction == DIR_READ ? in[3] : in[6];
	if (in[9] != 1 || bpf_probe_read_user(&aad, sizeof(aad), (void *)in[8]) ||
	    !read_vectors(call, input))
		return false;
	input->aad = aad.in;
	input->aad_len = aad.len;
	return judge_record(input, call);
}

static __always_inline bool read_evp(const struct arguments *arguments, struct cipher_call *call,
				     struct cipher_input *input)
{
	const __u64 *in = arguments->in;
	bool opens = call->half.direction == DIR_READ;

	call->half.context = in[0];
	if (in[opens ? 4 : 7] == NONCE_LEN && in[opens ? 3 : 6] != NONCE_LEN)
		return read_vector_call(in, call, input);
	if (in[opens ? 3 : 6] != NONCE_LEN)
		return false;
	return opens ? read_open_gather(in, call, input) : read_seal_scatter(in, call, input);
}

/* False: this call makes or opens no TLS record. */
static __noinline bool read_cipher_call(struct pt_regs *ctx, struct cipher_call *call)
{
	struct arguments arguments = {};
	struct cipher_input input = {};
	bool is_tls;

	if (!call)
		return false;
	if (COOKIE_RESULT(call->cookie) >= FORM_OPAQUE)
		return read_message_call(ctx, call);
	read_arguments(ctx, &arguments);
	if (COOKIE_RESULT(call->cookie) == FORM_RING)
		is_tls = read_ring(&arguments, call, &input);
	else
		is_tls = read_evp(&arguments, call, &input);
	call->end = input.at + input.len + TAG_LEN;
	return is_tls;
}

/* Tells the content that is spread over vectors; `record->rest` bytes of it. */
__noinline int tell_vectors(const struct cipher_call *call, struct record *record,
			    struct half *half)
{
	struct crypto_iovec vector = {};
	bool opens;

	if (!call || !record || !half)
		return 0;
	opens = record->half.direction == DIR_READ;
	for (__u32 n = 0; n < VECTORS_MAX && n < call->count; n++) {
		if (bpf_probe_read_user(&vector, sizeof(vector),
					(void *)(call->pieces + n * sizeof(vector))))
			break;
		record->buf = opens ? vector.out : vector.in;
		record->len = vector.len < record->rest ? vector.len : record->rest;
		record->rest -= record->len;
		tell_piece(record, half, call->cookie);
	}
	if (record->rest)
		tell_missing(record, half, call->cookie);
	return 0;
}

/* The last byte of the last vector, or the byte apart, is the content type; without padding. */
static __always_inline __u8 read_type_apart(const struct cipher_call *call)
{
	struct crypto_iovec last = {};
	__u64 at = call->extra;
	__u8 type = 0;

	if (call->count) {
		if (bpf_probe_read_user(&last, sizeof(last),
					(void *)(call->pieces + (call->count - 1) * sizeof(last))))
			return 0;
		at = call->half.direction == DIR_READ ? last.out : last.in;
		at += last.len - 1;
	}
	bpf_probe_read_user(&type, sizeof(type), (void *)at);
	return type;
}

/* Where the content is and of which type; false if this is no record after all. */
static __always_inline bool find_content(const struct cipher_call *call, struct record *record)
{
	record->buf = call->buf;
	record->total = call->len;
	record->type = call->type;
	if (call->type && call->count && call->numbered) {
		/* Chunks: told one by one. */
	} else if (!record->type && call->count == 1) {
		struct crypto_iovec only = {};

		if (bpf_probe_read_user(&only, sizeof(only), (void *)call->pieces))
			return false;
		record->buf = record->half.direction == DIR_READ ? only.out : only.in;
		record->type = find_type(record->buf, &record->total);
	} else if (!record->type && (call->count || call->extra)) {
		record->type = read_type_apart(call);
		if (call->count && record->total)
			record->total--;
	} else if (!record->type) {
		record->type = find_type(record->buf, &record->total);
	}
	record->rest = record->len = record->total;
	return record->type >= TYPE_CHANGE_CIPHER_SPEC && record->type <= TYPE_APPLICATION_DATA;
}

/* A record whose plaintext is in memory now: notes its number, finds its socket, tells its content. */
static __noinline int take_record(struct cipher_call *call)
{
	struct record record = {};
	struct half *half;

	if (!call)
		return 0;
	record.half = call->half;
	record.nonce = call->nonce;
	record.wire = call->wire;
	record.numbered = call->numbered;
	record.is_tls13 = !call->type;
	if (!find_content(call, &record)) {
		count(COUNT_BAD_RESULT, 1);
		return 0;
	}
	half = advance_half(&record, find_function(call->cookie), call->cookie);
	if (!half)
		return 0;
	hear_handshake(&record, half);
	if (record.half.direction == DIR_WRITE)
		note_sealed(&record, half);
	else
		note_opened(&record, half, call->end);
	if (!is_application_data(&record))
		return 0;
	if (call->count && call->numbered)
		tell_chunks(call, &record, half);
	else if (call->count)
		tell_vectors(call, &record, half);
	else
		tell_piece(&record, half, call->cookie);
	return 0;
}

static __always_inline bool begin_cipher_call(struct pt_regs *ctx, struct cipher_call *call,
					      __u32 direction)
{
	call->cookie = bpf_get_attach_cookie(ctx);
	call->half.direction = direction;
	current_process(&call->half.process);
	if (!is_followed(&call->half.process))
		return false;
	if (read_cipher_call(ctx, call))
		return true;
	count(COUNT_NOT_TLS, 1);
	return false;
}

SEC("uprobe")
int record_seal(struct pt_regs *ctx)
{
	struct cipher_call call = {};

	if (begin_cipher_call(ctx, &call, DIR_WRITE))
		take_record(&call);
	return 0;
}

/*
 * ring computes the tag and leaves the comparison to its caller: the computed one is in the result, as it
 * is or behind a byte that says Ok; the one that came lies behind the record's text.
 */
static __always_inline bool has_right_tag(const struct cipher_call *call)
{
	__u64 came[2] = {}, made[2] = {};

	if (bpf_probe_read_user(came, sizeof(came), (void *)(call->end - TAG_LEN)))
		return false;
	for (int at = 0; at < 2; at++) {
		if (!bpf_probe_read_user(made, sizeof(made), (void *)(call->result + at)) &&
		    made[0] == came[0] && made[1] == came[1])
			return true;
	}
	return false;
}

static __always_inline bool has_opened(struct pt_regs *ctx, struct cipher_call *call)
{
	if (COOKIE_RESULT(call->cookie) >= FORM_OPAQUE)
		return read_opened(call);
	if (COOKIE_RESULT(call->cookie) == FORM_EVP)
		return (__s32)PT_REGS_RC(ctx) == 1;
	return has_right_tag(call);
}

/* True: the end of this call is to be seen. */
static __always_inline bool begin_opening(struct pt_regs *ctx)
{
	struct call_key key = { .pid_tgid = bpf_get_current_pid_tgid(),
				.sp = entry_sp(ctx, bpf_get_attach_cookie(ctx)) };
	struct cipher_call call = {};

	if (!begin_cipher_call(ctx, &call, DIR_READ))
		return false;
	if (!bpf_map_update_elem(&openings, &key, &call, BPF_ANY))
		return true;
	count(COUNT_CALL_FULL, 1);
	return false;
}

static __always_inline void end_opening(struct pt_regs *ctx, __u64 sp, __u64 cookie)
{
	struct call_key key = { .pid_tgid = bpf_get_current_pid_tgid(), .sp = sp };
	struct cipher_call *running = bpf_map_lookup_elem(&openings, &key);
	struct cipher_call call;

	if (!running || COOKIE_FUNCTION(running->cookie) != COOKIE_FUNCTION(cookie))
		return;
	call = *running;
	bpf_map_delete_elem(&openings, &key);
	if (has_opened(ctx, &call))
		take_record(&call);
	else
		count(COUNT_FORGED_RECORDS, 1);
}

SEC("uprobe")
int record_open(struct pt_regs *ctx)
{
	begin_opening(ctx);
	return 0;
}

/* At an instruction that a return passes, with the result in place. */
SEC("uprobe")
int record_exit(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);

	end_opening(ctx, entry_sp(ctx, cookie), cookie);
	return 0;
}

SEC("uretprobe")
int record_opened(struct pt_regs *ctx)
{
	end_opening(ctx, entry_sp_at_return(ctx), bpf_get_attach_cookie(ctx));
	return 0;
}

/* Entry and return in one, like tls_session. */
SEC("uprobe.session")
int record_session(struct pt_regs *ctx)
{
	if (bpf_session_is_return()) {
		end_opening(ctx, entry_sp_at_return(ctx), bpf_get_attach_cookie(ctx));
		return 0;
	}
	return !begin_opening(ctx);
}
