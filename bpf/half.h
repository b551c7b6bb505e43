/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where records are watched and not connections, each direction under each key is told by itself: a half.
 * User space puts halves together that one socket carries (socket.h says which).
 */
#pragma once

#define HEADER_LEN 5
#define TAG_LEN 16           /* of all AEAD that TLS is used with here */
#define EXPLICIT_NONCE_LEN 8 /* of AES-GCM in TLS 1.2 (RFC 5288, section 3) */

/* Content types (RFC 8446, section 5.1). */
#define TYPE_CHANGE_CIPHER_SPEC 20
#define TYPE_HANDSHAKE 22
#define TYPE_APPLICATION_DATA 23

/* Handshake messages that only a beginning connection has (RFC 8446, section 4). */
#define MESSAGE_NEW_SESSION_TICKET 4
#define MESSAGE_ENCRYPTED_EXTENSIONS 8
#define MESSAGE_CERTIFICATE 11
#define MESSAGE_FINISHED 20

/* One TLS record at the moment when its plaintext is in memory. */
struct record {
	struct half_key half;
	__u64 nonce; /* last eight bytes */
	__u64 buf;   /* the next piece of its content */
	__u64 len;   /* bytes of that piece */
	__u64 rest;  /* bytes of the pieces behind it */
	__u64 total; /* bytes of its content */
	__u64 wire;  /* its bytes on the wire */
	__u8 type;
	__u8 numbered; /* `nonce` is the record's number */
	__u8 is_tls13;
	__u8 pad[5];
};

/* The probes were there before the process, so that no record can have come before. */
static __always_inline bool is_new_process(const struct record *record,
					   const struct function *function)
{
	return function && function->attached_ns &&
	       record->half.process.start_ns > function->attached_ns;
}

static __always_inline struct half *find_half(const struct half_key *key)
{
	return bpf_map_lookup_elem(&halves, key);
}

static __noinline struct half *make_half(struct record *record, struct function *function,
					 __u64 cookie)
{
	bool is_new = is_new_process(record, function);
	struct half fresh = {
		.id = new_conn_id(),
		.fd = -1,
		.born = is_new || (record->numbered && !record->nonce),
		.function = COOKIE_FUNCTION(cookie),
	};

	if (record->numbered)
		sequence_begin(&fresh.sequence, record->nonce, record->nonce, 64);
	else
		sequence_begin(&fresh.sequence, record->nonce, 0, 0);
	note_speaker(&record->half.process);
	if (bpf_map_update_elem(&halves, &record->half, &fresh, BPF_ANY)) {
		count(COUNT_CONN_FULL_RECORDS, 1);
		count(COUNT_CONN_FULL_BYTES, record->total);
	}
	return find_half(&record->half);
}

/* The numbers have started over, and nobody knows when. */
static __always_inline struct half *remake_half(struct record *record, struct function *function,
						__u64 cookie)
{
	struct half *half = make_half(record, function, cookie);

	if (half && !record->numbered)
		half->born = 0;
	return half;
}

/*
 * The half of a record, its number noted. NULL: the record was taken already, by a function that calls
 * this one (the TLS variants of AWS-LC call the plain one), or there is no room.
 */
static __always_inline struct half *advance_half(struct record *record, struct function *function,
						 __u64 cookie)
{
	struct half *half = find_half(&record->half);
	__u64 unseen;

	if (!half)
		return make_half(record, function, cookie);
	unseen = sequence_next(&half->sequence, record->nonce);
	/* The number that a key begins with, at the place where another key was. */
	if (unseen == SEQUENCE_SAME && record->numbered)
		return make_half(record, function, cookie);
	if (unseen == SEQUENCE_SAME) {
		count(COUNT_NESTED_CALLS, 1);
		return NULL;
	}
	if (unseen > SEQUENCE_JUMP_MAX)
		return remake_half(record, function, cookie);
	half->unseen += unseen;
	return half;
}

static __always_inline void fill_half(struct event_header *header, const struct half_key *key,
				      const struct half *half, __u8 kind)
{
	fill_caller(header, &key->process);
	header->conn_id = half->id;
	header->conn_ptr = key->context;
	header->fd = half->fd;
	header->kind = kind;
	header->direction = key->direction;
	header->function = half->function;
	header->flags = FLAG_HALF;
}

/* Tells one piece of a record's content. Not static: the verifier looks at it once, and not for each caller. */
__noinline int tell_piece(struct record *record, struct half *half, __u64 cookie)
{
	struct outgoing out = {};

	if (!record || !half || !record->len)
		return 0;
	fill_half(&out.header, &record->half, half, KIND_DATA);
	out.header.function = COOKIE_FUNCTION(cookie);
	if (half->born)
		out.header.flags |= FLAG_BORN;
	out.header.offset = half->offset;
	out.header.seq = half->seq;
	out.header.call_len = record->total;
	out.header.unseen = half->unseen;
	out.buf = record->buf;
	out.left = &half->left;
	half->left = record->len;
	emit_call(&out);
	half->offset += record->len;
	half->seq = out.header.seq;
	half->unseen = 0;
	return 0;
}

/* Tells that the rest of a record's content is not to be had. */
__noinline int tell_missing(struct record *record, struct half *half, __u64 cookie)
{
	struct event_header header = {};

	if (!record || !half)
		return 0;
	fill_half(&header, &record->half, half, KIND_DATA);
	header.function = COOKIE_FUNCTION(cookie);
	header.offset = half->offset;
	header.seq = half->seq;
	header.call_len = record->total;
	header.missing = record->rest;
	header.flags |= FLAG_TOO_LONG;
	emit_mark(&header);
	half->offset += record->rest;
	half->seq++;
	return 0;
}

/*
 * What a handshake message tells of its connection. In TLS 1.3 only servers send tickets and encrypted
 * extensions, which are their first message; a client's first one is its certificate, or it has finished.
 */
static __always_inline void hear_handshake(const struct record *record, struct half *half)
{
	bool is_writer = record->half.direction == DIR_WRITE;
	__u8 message = 0;
	__u32 role = 0;

	if (record->type != TYPE_HANDSHAKE || !record->total ||
	    bpf_probe_read_user(&message, sizeof(message), (void *)record->buf))
		return;
	switch (message) {
	case MESSAGE_ENCRYPTED_EXTENSIONS:
		half->handshake = 1;
		/* fallthrough */
	case MESSAGE_NEW_SESSION_TICKET:
		role = is_writer ? ROLE_SERVER : ROLE_CLIENT;
		break;
	case MESSAGE_CERTIFICATE:
	case MESSAGE_FINISHED:
		half->handshake = 1;
		/* Whoever joins in the middle may have missed the one that comes first. */
		if (half->born)
			role = is_writer ? ROLE_CLIENT : ROLE_SERVER;
		break;
	}
	if (record->is_tls13 && !half->role)
		half->role = role;
}

static __always_inline bool is_application_data(const struct record *record)
{
	if (record->type == TYPE_APPLICATION_DATA)
		return true;
	count(COUNT_SILENT_RECORDS, 1);
	return false;
}

struct padding {
	__u64 buf;
	__u64 *len; /* up to where */
	__u64 word; /* the last bytes that are not all zero */
};

/* One round of the search for a record's content type, from its end on: 1 ends it. */
static long skip_padding(__u32 round, struct padding *padding)
{
	__u64 len = *padding->len, word = 0;
	__u32 n = len < sizeof(word) ? len : sizeof(word);

	if (!n || bpf_probe_read_user(&word, n, (void *)(padding->buf + len - n)))
		return 1;
	word <<= 8 * (sizeof(word) - n) & 63;
	if (word) {
		padding->word = word;
		return 1;
	}
	*padding->len = len - n;
	return 0;
}

/* The highest byte of a word that is not zero; `len` bytes end with that word. */
static __always_inline __u8 highest_byte(__u64 word, __u64 *len)
{
	__u64 from_end = 1;

	if (!(word >> 32)) {
		from_end += 4;
		word <<= 32;
	}
	if (!(word >> 48)) {
		from_end += 2;
		word <<= 16;
	}
	if (!(word >> 56)) {
		from_end += 1;
		word <<= 8;
	}
	*len -= from_end;
	return word >> 56;
}

/*
 * TLS 1.3: the content type is the last byte that is not zero (RFC 8446, section 5.4). Tells it, and makes
 * `len` the content's length; 0 if there is none, which is no TLS record.
 */
__noinline __u8 find_type(__u64 buf, __u64 *len)
{
	struct padding padding = { .buf = buf, .len = len };

	if (!len || !*len || *len > RECORD_MAX)
		return 0;
	if (use_bpf_loop) {
		bpf_loop(PADDING_STEPS_MAX, skip_padding, &padding, 0);
	} else {
		for (__u32 round = 0; round < PADDING_STEPS_MAX_UNROLLED; round++)
			if (skip_padding(round, &padding))
				break;
	}
	return padding.word ? highest_byte(padding.word, len) : 0;
}
