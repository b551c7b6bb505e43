/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What passes through sockets and says which connection it belongs to: hellos, the only messages of TLS that are
 * readable, and records that are sent inside of a call (endpoint.h says what for). ClientHellos go to user space as
 * well, which reads the host's name in them.
 */
#pragma once

#define MESSAGE_CLIENT_HELLO 1
#define MESSAGE_SERVER_HELLO 2
/* Record header, message type and length, version, random. */
#define RANDOM_AT 11
#define RANDOM_LEN 32
#define HELLO_LEN_MIN (RANDOM_AT + RANDOM_LEN)

/* Lengths of a record beyond its plaintext: TLS 1.3 has the content type inside; AES-GCM in TLS 1.2 carries part of
 * the nonce. */
#define RECORD_ADDS_CHACHA TAG_LEN
#define RECORD_ADDS_TLS13 (TAG_LEN + 1)
#define RECORD_ADDS_GCM (TAG_LEN + EXPLICIT_NONCE_LEN)
/* A record can be so long and still hold another one with all that it adds: longer calls are cut up anyway. */
#define PROVING_LEN_MAX 16000

/* The random of a HelloRetryRequest, its beginning: the same in all of them (RFC 8446, section 4.1.3). */
#define RETRY_RANDOM 0x11619ae574ad21cfULL /* cf 21 ad 74 e5 9a 61 11 */

/* What a socket has moved. */
struct moved {
	struct sock *sock;
	__u64 buf;
	__u64 len;
	__s32 fd;
	__u32 tgid;
};

/* A hello's beginning. */
struct hello_head {
	__u8 bytes[HELLO_LEN_MIN];
	__u8 pad[5];
};

static __always_inline bool is_hello(const __u8 *head)
{
	return head[0] == TYPE_HANDSHAKE && head[1] == 3 && head[2] <= 4 &&
	       (head[5] == MESSAGE_CLIENT_HELLO || head[5] == MESSAGE_SERVER_HELLO) && head[9] == 3;
}

static __always_inline void fill_socket(struct socket_names *names, struct sock *sock)
{
	names->inode = inode_of(sock);
	fill_addresses(names, sock);
}

/* Tells a ClientHello, as far as it has come. */
static __noinline int emit_hello(const struct moved *moved, __u32 direction)
{
	struct process_key process = {};
	struct event_header *record;
	__u32 len = moved->len < HELLO_BYTES_MAX ? moved->len : HELLO_BYTES_MAX;

	current_process(&process);
	record = bpf_ringbuf_reserve(&ring, sizeof(*record) + HELLO_BYTES_MAX, 0);
	if (!record) {
		count(COUNT_RING_FULL_RECORDS, 1);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	fill_caller(record, &process);
	record->kind = KIND_HELLO;
	record->direction = direction;
	record->fd = moved->fd;
	record->offset = inode_of(moved->sock);
	record->len = len;
	if (bpf_probe_read_user(record + 1, len, (void *)moved->buf))
		record->len = 0;
	bpf_ringbuf_submit(record, wakeup(sizeof(*record) + HELLO_BYTES_MAX));
	return 0;
}

/* This process has sent a hello through this socket. */
static __noinline int keep_hello(const struct moved *moved, const struct hello_head *head)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct hello_key key = { .tgid = thread >> 32 };
	struct last_call *call = bpf_map_lookup_elem(&last_calls, &thread);
	__u32 *known, one = 1;
	struct hello hello = {
		.fd = moved->fd,
		.names = { .trust = TRUST_EXACT },
	};

	__builtin_memcpy(key.random, head->bytes + RANDOM_AT, sizeof(key.random));
	if (key.random[0] == RETRY_RANDOM)
		return 0;
	fill_socket(&hello.names, moved->sock);
	hello.names.role = head->bytes[5] == MESSAGE_CLIENT_HELLO ? ROLE_CLIENT : ROLE_SERVER;
	if (call) {
		hello.near = call->conn_id;
		hello.inside = call->runs;
	}
	if (!hello.names.inode)
		return 0;
	/* After a HelloRetryRequest it comes once more. */
	if (bpf_map_update_elem(&hellos, &key, &hello, BPF_NOEXIST))
		return 0;
	known = bpf_map_lookup_elem(&hello_counts, &key.tgid);
	if (known)
		(*known)++;
	else
		bpf_map_update_elem(&hello_counts, &key.tgid, &one, BPF_ANY);
	return 0;
}

static __always_inline bool can_be_record_of(__u64 plaintext, __u64 record)
{
	return plaintext && plaintext <= PROVING_LEN_MAX &&
	       (record == plaintext + RECORD_ADDS_CHACHA ||
		record == plaintext + RECORD_ADDS_TLS13 || record == plaintext + RECORD_ADDS_GCM);
}

/* A record of application data was sent: is it that of the call that runs on this thread? */
static __always_inline void look_at_record(const struct moved *moved, struct pt_regs *regs,
					   __u32 record)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct last_call *call = bpf_map_lookup_elem(&last_calls, &thread);
	struct socket_names names = { .trust = TRUST_EXACT };
	struct sock *sock = moved->sock;
	struct conn_key key;
	struct conn *conn;

	if (!call || !call->runs || !can_be_record_of(call->len, record))
		return;
	key = call->conn;
	conn = find_conn(&key);
	if (!conn || conn->id != call->conn_id || conn->endpoint == ENDPOINT_FINAL)
		return;
	fill_socket(&names, sock);
	if (names.inode)
		settle(&key, conn, &names, fd_of(regs, BPF_CORE_READ(sock, sk_socket)),
		       call->function);
}

static __always_inline bool is_followed_here(void)
{
	struct process_key process = {};

	current_process(&process);
	return is_followed(&process);
}

static __always_inline void look_at_sent(struct sock *sock, struct pt_regs *regs, __u64 n)
{
	struct moved moved = { .sock = sock, .len = n, .fd = -1 };
	struct hello_head head = {};

	if (!regs || n < HELLO_LEN_MIN || !is_stream(sock) || !is_followed_here())
		return;
	moved.buf = first_piece(regs, &moved.len);
	if (!moved.buf || moved.len < HELLO_LEN_MIN ||
	    bpf_probe_read_user(head.bytes, sizeof(head.bytes), (void *)moved.buf))
		return;
	if (head.bytes[0] == TYPE_APPLICATION_DATA && head.bytes[1] == 3 && head.bytes[2] == 3) {
		look_at_record(&moved, regs, (__u32)head.bytes[3] << 8 | head.bytes[4]);
		return;
	}
	if (!is_hello(head.bytes))
		return;
	moved.fd = fd_of(regs, BPF_CORE_READ(sock, sk_socket));
	keep_hello(&moved, &head);
	if (head.bytes[5] == MESSAGE_CLIENT_HELLO)
		emit_hello(&moved, DIR_WRITE);
}

/* A ClientHello has come. Some libraries receive a record's header apart. */
static __always_inline void look_at_received(struct sock *sock, struct pt_regs *regs, __u64 n)
{
	struct moved moved = { .sock = sock, .len = n, .fd = -1 };
	struct hello_key key = {};
	struct hello_head head = {};
	__u32 *hello_count;
	__u8 *bytes = head.bytes;

	if (!regs || n < HELLO_LEN_MIN || !is_stream(sock) || !is_followed_here())
		return;
	moved.buf = first_piece(regs, &moved.len);
	if (!moved.buf || moved.len < HELLO_LEN_MIN ||
	    bpf_probe_read_user(bytes, sizeof(head.bytes), (void *)moved.buf))
		return;
	if (is_hello(bytes) && bytes[5] == MESSAGE_CLIENT_HELLO)
		__builtin_memcpy(key.random, bytes + RANDOM_AT, sizeof(key.random));
	else if (bytes[0] == MESSAGE_CLIENT_HELLO && !bytes[1] && bytes[4] == 3 && bytes[5] == 3)
		__builtin_memcpy(key.random, bytes + RANDOM_AT - HEADER_LEN, sizeof(key.random));
	else
		return;
	key.tgid = bpf_get_current_pid_tgid() >> 32;
	hello_count = bpf_map_lookup_elem(&hello_counts, &key.tgid);
	if (hello_count && bpf_map_lookup_elem(&hellos, &key))
		*hello_count |= BOTH_ENDS;
	moved.fd = fd_of(regs, BPF_CORE_READ(sock, sk_socket));
	emit_hello(&moved, DIR_READ);
}
