/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections: a library's object (SSL*, gnutls_session_t, PRFileDesc*) in one process, from its
 * first use to its free. The same address handed out again is another connection with another id.
 */
#pragma once

/* Unique on this machine since boot: no two records of one CPU share a nanosecond, and the CPU is in
 * the low bits. */
static __always_inline __u64 new_conn_id(void)
{
	return (bpf_ktime_get_boot_ns() << 10) | (bpf_get_smp_processor_id() & 1023);
}

/* Where nobody asked for processes, they are told of when they first speak. */
static __noinline int tell_user(const struct process_key *process)
{
	struct process_facts *facts;
	__u8 yes = 1;

	if (!process || bpf_map_update_elem(&told, process, &yes, BPF_NOEXIST))
		return 0;
	facts = new_facts((void *)bpf_get_current_task(), SCRATCH_PROBE);
	if (facts)
		tell_process((void *)bpf_get_current_task(), facts, KIND_SEEN, NULL);
	return 0;
}

static __always_inline void note_user(const struct process_key *process)
{
	if (tell_users)
		tell_user(process);
}

static __always_inline struct conn *find_conn(const struct conn_key *key)
{
	return bpf_map_lookup_elem(&conns, key);
}

static __always_inline struct conn *find_or_make_conn(const struct conn_key *key)
{
	struct conn *known = find_conn(key);
	struct conn fresh = { .id = new_conn_id(), .fd = -1 };

	if (known)
		return known;
	note_user(&key->process);
	note_speaker(&key->process);
	bpf_map_update_elem(&conns, key, &fresh, BPF_NOEXIST);
	return find_conn(key);
}

static __always_inline void fill_conn(struct event_header *header, const struct conn_key *key,
				      const struct conn *conn, __u8 kind, __u16 function)
{
	fill_caller(header, &key->process);
	header->conn_id = conn->id;
	header->conn_ptr = key->ptr;
	header->fd = conn->fd;
	header->kind = kind;
	header->function = function;
	if (conn->born)
		header->flags |= FLAG_BORN;
}

static __always_inline void bear_conn(const struct conn_key *key, __s32 fd)
{
	struct conn *conn = find_or_make_conn(key);

	if (!conn)
		return;
	conn->born = 1;
	conn->fd = fd;
}

/* The final word on a connection: how many bytes moved each way, whoever lost them. */
static __always_inline void close_conn(const struct conn_key *key, __u16 function, __u8 flags)
{
	struct conn *conn = find_conn(key);
	struct event_header header = {};

	if (!conn)
		return;
	fill_conn(&header, key, conn, KIND_CLOSE, function);
	header.flags |= flags;
	header.offset = conn->offset[DIR_WRITE];
	header.call_len = conn->offset[DIR_READ];
	/* Told by whoever removes it: two may come at once. */
	if (!bpf_map_delete_elem(&conns, key))
		emit_mark(&header);
}

static __always_inline void fill_data(struct event_header *header, const struct conn_key *key,
				      const struct conn *conn, __u64 cookie, __u64 n)
{
	__u8 dir = COOKIE_DIRECTION(cookie) & 1;

	fill_conn(header, key, conn, KIND_DATA, COOKIE_FUNCTION(cookie));
	header->direction = dir;
	if (COOKIE_FLAGS(cookie) & PROBE_EARLY)
		header->flags |= FLAG_EARLY;
	header->offset = conn->offset[dir];
	header->seq = conn->seq[dir];
	header->call_len = n;
}

/* Tells `n` bytes at `buf`. `left` is where the count of what is still to be sent lives: no other
 * emission may use it at the same time. */
static __always_inline void emit_plaintext(struct outgoing *out, struct conn *conn, __u64 buf,
					   __u64 n, __u64 *left)
{
	__u8 dir = out->header.direction & 1;

	out->buf = buf;
	out->left = left;
	*left = n;
	emit_call(out);
	conn->offset[dir] += n;
	conn->seq[dir] = out->header.seq;
}
