/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records into the ring buffer. A call of any size goes out in chunks, each in the smallest
 * reservation that holds it. What finds no room still moves the stream's offset and sequence
 * number, so that user space sees a gap where the loss was.
 */
#pragma once

/*
 * Wakes the reader when this record of `size` bytes fills a batch. Once only: each wake-up is an
 * interrupt, which costs more than the record, and a reader that is behind needs none. Should two
 * CPUs both take the other for the one that fills the batch: while records come, it looks by itself
 * every few milliseconds. When none have come for a while it does not, and says so: src/attach/ring.rs
 * tells why no record is forgotten between the two. Called with the record's room reserved.
 */
static __always_inline __u64 wakeup(__u64 size)
{
	volatile const __u32 *sleeps = &reader_sleeps;
	__u64 waiting;

	if (*sleeps)
		return BPF_RB_FORCE_WAKEUP;
	waiting = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	size += 8; /* BPF_RINGBUF_HDR_SZ, which the kernel puts before each record */
	return waiting >= size && waiting / wakeup_bytes != (waiting - size) / wakeup_bytes ?
		       BPF_RB_FORCE_WAKEUP :
		       BPF_RB_NO_WAKEUP;
}

/* One call's plaintext on its way out. */
struct outgoing {
	struct event_header header; /* as for the next chunk */
	__u64 buf;                  /* user address of the next byte */
	__u64 *left; /* bytes still to send: in the map, since the verifier would follow
				       a value on the stack through every round */
	__u64 cut;   /* bytes that --max-bytes leaves out, told with the last chunk */
};

/* Memory that could not be read. What is not plaintext says so in its record alone. */
static __always_inline void count_fault(const struct event_header *header, __u64 len)
{
	if (header->kind != KIND_DATA)
		return;
	count(COUNT_FAULT_RECORDS, 1);
	count(COUNT_FAULT_BYTES, len);
}

/* A record of `len` bytes found no room. */
static __always_inline void count_lost(const struct event_header *header, __u64 len)
{
	if (header->kind == KIND_STDIO) {
		count(COUNT_LOST_STDIO_BYTES, len);
	} else if (header->kind == KIND_WORDS) {
		count(COUNT_LOST_PROCESS_ACTS, 1);
	} else {
		count(COUNT_RING_FULL_RECORDS, 1);
		count(COUNT_RING_FULL_BYTES, len);
	}
}

/* Copies `len` bytes (at most `tier`) behind the header; a page that is not there is a fault. */
#define EMIT_TIER(tier)                                                                      \
	static __always_inline int emit_##tier(const struct event_header *header, __u64 buf) \
	{                                                                                    \
		struct event_header *record =                                                \
			bpf_ringbuf_reserve(&ring, sizeof(*header) + tier, 0);               \
		__u32 len = header->len;                                                     \
                                                                                             \
		if (!record)                                                                 \
			return -1;                                                           \
		*record = *header;                                                           \
		if (len > tier) /* never: tells the verifier */                              \
			len = tier;                                                          \
		if (bpf_probe_read_user(record + 1, len, (void *)buf)) {                     \
			record->flags |= FLAG_FAULT;                                         \
			record->missing += len;                                              \
			record->len = 0;                                                     \
			count_fault(header, len);                                            \
		}                                                                            \
		bpf_ringbuf_submit(record, wakeup(sizeof(*header) + tier));                  \
		return 0;                                                                    \
	}

EMIT_TIER(TIER_TINY)
EMIT_TIER(TIER_SMALL)
EMIT_TIER(TIER_MEDIUM)
EMIT_TIER(TIER_LARGE)

static __always_inline int emit_record(const struct event_header *header, __u64 buf)
{
	if (header->len <= TIER_TINY)
		return emit_TIER_TINY(header, buf);
	if (header->len <= TIER_SMALL)
		return emit_TIER_SMALL(header, buf);
	if (header->len <= TIER_MEDIUM)
		return emit_TIER_MEDIUM(header, buf);
	return emit_TIER_LARGE(header, buf);
}

/* One round of the chunk loop: 1 ends it. */
static long emit_chunk(__u32 round, struct outgoing *out)
{
	__u64 left = *out->left;
	__u64 len = left < TIER_LARGE ? left : TIER_LARGE;
	bool last = len == left;

	out->header.len = len;
	out->header.flags &= ~(FLAG_MORE | FLAG_TRUNCATED);
	out->header.missing = 0;
	if (!last)
		out->header.flags |= FLAG_MORE;
	if (last && out->cut) {
		out->header.flags |= FLAG_TRUNCATED;
		out->header.missing = out->cut;
		if (out->header.kind == KIND_DATA)
			count(COUNT_TRUNCATED_BYTES, out->cut);
	}
	if (emit_record(&out->header, out->buf))
		count_lost(&out->header, len);
	out->header.seq++;
	out->header.offset += len;
	out->buf += len;
	*out->left = left - len;
	return last;
}

/* A record without payload. `now`: user space is to act on it at once. */
static __always_inline void emit_mark_with(const struct event_header *header, bool now)
{
	struct event_header *record = bpf_ringbuf_reserve(&ring, sizeof(*header), 0);

	if (!record) {
		count(COUNT_RING_FULL_RECORDS, 1);
		return;
	}
	*record = *header;
	bpf_ringbuf_submit(record, now ? BPF_RB_FORCE_WAKEUP : wakeup(sizeof(*header)));
}

static __always_inline void emit_mark(const struct event_header *header)
{
	emit_mark_with(header, false);
}

/* A library just loaded wants its probes. */
static __always_inline void emit_mark_now(const struct event_header *header)
{
	emit_mark_with(header, true);
}

/* What the loop could not take is a gap with its cause, never silence. */
static __always_inline void emit_rest(struct outgoing *out)
{
	out->header.len = 0;
	out->header.missing = *out->left;
	out->header.flags &= ~FLAG_MORE;
	out->header.flags |= FLAG_TOO_LONG;
	emit_mark(&out->header);
	out->header.seq++;
}

static __always_inline void emit_call(struct outgoing *out)
{
	if (*out->left > max_bytes) {
		out->cut = *out->left - max_bytes;
		*out->left = max_bytes;
	}
	if (use_bpf_loop) {
		bpf_loop(CHUNKS_MAX, emit_chunk, out, 0);
	} else {
		for (__u32 round = 0; round < CHUNKS_MAX_UNROLLED; round++)
			if (emit_chunk(round, out))
				break;
	}
	if (*out->left)
		emit_rest(out);
}

static __always_inline void fill_caller(struct event_header *header,
					const struct process_key *process)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	header->ts_ns = bpf_ktime_get_boot_ns();
	header->process_start = process->start_ns;
	header->pid = pid_tgid >> 32;
	header->tid = (__u32)pid_tgid;
	header->fd = -1;
	bpf_get_current_comm(header->comm, sizeof(header->comm));
}
