/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What else processes do that matters: signals, debugging, other identities; what they say through their standard
 * descriptors; and what they do unseen. */
#pragma once

/* Is there room for more? A program that writes byte by byte would displace what others say. What is not told shows by the
 * place of what is, and is counted at the descriptor's end. */
static __always_inline bool may_tell_stdio(struct descriptor *pipe)
{
	__u64 now = bpf_ktime_get_boot_ns();

	if (now - pipe->told_ns >= TELL_EACH_NS) {
		pipe->told_ns = now;
		pipe->calls = 0;
	}
	pipe->calls++;
	return pipe->told < STDIO_MAX && pipe->calls <= STDIO_CALLS_MAX;
}

/* Bytes through one of the standard streams, if it is a pipe or a socket of this machine. */
static __noinline int tell_stdio(const struct process_key *process, __s32 fd, struct file *file,
				 __u32 direction, const struct packet *packet)
{
	struct act_record *scratch;
	struct descriptor *known;
	struct outgoing out = {};
	__u64 before, n;

	if (!process || !file || !packet)
		return 0;
	n = packet->n;
	known = find_descriptor(process->tgid, fd, file);
	if (!known)
		known = new_descriptor(process, fd, file, 0);
	if (!known || known->sort != DESCRIPTOR_PIPE)
		return 0;
	before = known->bytes[direction & 1];
	__sync_fetch_and_add(&known->bytes[direction & 1], n);
	if (!may_tell_stdio(known))
		return 0;
	scratch = own_act(process, 0);
	if (!scratch)
		return 0;
	out.header = scratch->header;
	out.header.kind = KIND_STDIO;
	out.header.direction = direction;
	out.header.fd = known->stream;
	out.header.offset = before;
	out.header.call_len = n;
	out.header.conn_ptr = known->id.ino;
	out.buf = packet->buf;
	out.left = &scratch->left;
	scratch->left = STDIO_MAX - known->told;
	if (scratch->left > n)
		scratch->left = n; /* what is beyond is told when the descriptor is closed */
	known->told += scratch->left;
	if (use_bpf_loop) {
		bpf_loop(STDIO_MAX / TIER_LARGE + 1, emit_chunk, &out, 0);
		return 0;
	}
	/* The verifier would walk each round for each piece. */
	if (scratch->left > TIER_LARGE) {
		known->told -= scratch->left - TIER_LARGE;
		scratch->left = TIER_LARGE;
	}
	emit_chunk(0, &out);
	return 0;
}

static __noinline int tell_numbers(const struct process_key *process, __u16 act, __s64 result,
				   __u64 first, __u64 second)
{
	struct act_record *record;

	if (!process)
		return 0;
	record = own_act(process, act);
	if (!record)
		return 0;
	record->act.result = result;
	record->act.value[0] = first;
	record->act.value[1] = second;
	return tell_act(record);
}

/* Processes that do things which are not seen: told once for each way. */
struct blind_key {
	__u32 tgid;
	__u32 by; /* enum agentsight_blind */
	__u64 start_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct blind_key);
	__type(value, __u8);
	__uint(max_entries, PROCESSES_MAX);
} blind SEC(".maps");

static __always_inline bool is_new_blind(const struct process_key *process, __u32 by)
{
	struct blind_key key = { .by = by, .tgid = process->tgid, .start_ns = process->start_ns };
	__u8 yes = 1;

	if (bpf_map_lookup_elem(&blind, &key))
		return false;
	bpf_map_update_elem(&blind, &key, &yes, BPF_ANY);
	return true;
}

static __noinline int tell_blind(const struct process_key *process, __u32 by)
{
	if (!process || !is_new_blind(process, by))
		return 0;
	return tell_numbers(process, ACT_BLIND, 0, by, 0);
}

/* Of a process that is followed, where its system calls are not seen. It may be another one than the one that runs. */
static __noinline int tell_unseen_calls(struct task_struct *task, __u32 user)
{
	struct process_key process;
	struct act_record *record;

	if (!tells_acts || !lacks_calls)
		return 0;
	process_of(task, &process);
	if (!is_new_blind(&process, BLIND_CALLS))
		return 0;
	record = new_act(user, ACT_BLIND);
	if (!record)
		return 0;
	record->header.ts_ns = bpf_ktime_get_boot_ns();
	record->header.process_start = process.start_ns;
	record->header.pid = record->header.tid = process.tgid;
	record->act.value[0] = BLIND_CALLS;
	return tell_act(record);
}

static __noinline int tell_ids(const struct process_key *process, __s64 result)
{
	struct act_record *record;

	if (!process)
		return 0;
	record = own_act(process, ACT_SET_ID);
	if (!record)
		return 0;
	record->act.result = result;
	fill_ids(&record->act, (void *)bpf_get_current_task());
	return tell_act(record);
}
