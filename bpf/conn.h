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
	emit_mark(&header);
	bpf_map_delete_elem(&conns, key);
}
