/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The TLS records that a socket has brought, by their headers in the memory that a system call filled: a
 * record that is opened right after must be one of them. Lengths only; nothing is decoded.
 */
#pragma once

/* Records that are remembered of one socket: those of one system call, or a few. */
#define ARRIVALS 16
/* Headers that are looked at in what one system call brought. */
#define ARRIVALS_MAX 64
#define ARRIVALS_MAX_UNROLLED 8

/* One pass over what has come. */
struct arrival {
	struct inbound *inbound;
	__u64 buf;
	__u64 left;
};

/* RFC 8446, section 5.1: content type, version, length. 0: no header. */
static __always_inline __u64 record_length(__u64 at)
{
	__u8 header[HEADER_LEN] = {};
	__u64 len;

	if (bpf_probe_read_user(header, sizeof(header), (void *)at))
		return 0;
	len = (__u64)header[3] << 8 | header[4];
	if (header[0] < TYPE_CHANGE_CIPHER_SPEC || header[0] > TYPE_APPLICATION_DATA ||
	    header[1] != 3 || header[2] > 4 || !len || len > RECORD_MAX + TAG_LEN)
		return 0;
	return HEADER_LEN + len;
}

/* One record, or the part of it that has come: 1 ends the pass. */
static long take_arrival(__u32 round, struct arrival *arrival)
{
	struct inbound *inbound = arrival->inbound;
	__u64 take;

	if (!arrival->left)
		return 1;
	if (!inbound->rest) {
		/* A header in two parts is not put together: the next one will be seen again. */
		if (arrival->left < HEADER_LEN)
			return 1;
		inbound->len = inbound->rest = record_length(arrival->buf);
		if (!inbound->rest)
			return 1;
	}
	take = arrival->left < inbound->rest ? arrival->left : inbound->rest;
	inbound->rest -= take;
	arrival->buf += take;
	arrival->left -= take;
	if (!inbound->rest)
		inbound->lens[inbound->count++ % ARRIVALS] = inbound->len;
	return 0;
}

static __always_inline struct inbound *find_or_make_inbound(__u64 sock, __u64 inode)
{
	struct inbound *known = bpf_map_lookup_elem(&inbounds, &sock);
	struct inbound fresh = { .inode = inode };

	if (known && known->inode == inode)
		return known;
	bpf_map_update_elem(&inbounds, &sock, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&inbounds, &sock);
}

/* `n` bytes have come to `buf`. */
__noinline int note_arrivals(__u64 sock, __u64 inode, __u64 buf, __u64 n)
{
	struct inbound *inbound = find_or_make_inbound(sock, inode);
	struct arrival arrival = { .inbound = inbound, .buf = buf, .left = n };

	if (!inbound)
		return 0;
	if (use_bpf_loop) {
		bpf_loop(ARRIVALS_MAX, take_arrival, &arrival, 0);
	} else {
		for (__u32 round = 0; round < ARRIVALS_MAX_UNROLLED; round++)
			if (take_arrival(round, &arrival))
				break;
	}
	/* What was not understood is no beginning of a record that we could go on from. */
	if (arrival.left)
		inbound->rest = 0;
	return 0;
}

/* Has a record of this length come through the socket, and was none of those behind it opened yet? */
__noinline bool has_arrived(__u64 sock, __u64 inode, __u64 len)
{
	struct inbound *inbound = bpf_map_lookup_elem(&inbounds, &sock);
	__u64 next;

	if (!inbound || inbound->inode != inode)
		return false;
	next = inbound->opened;
	if (inbound->count - next > ARRIVALS)
		next = inbound->count - ARRIVALS;
	for (int n = 0; n < ARRIVALS && next < inbound->count; n++, next++) {
		if (inbound->lens[next % ARRIVALS] == len) {
			inbound->opened = next + 1;
			return true;
		}
	}
	return false;
}
