/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which processes are followed: those that the user named, those that are as the user asked for, and what they start.
 * Decided when a process is found, starts, runs a program, takes another name or goes to another cgroup; never when it
 * speaks, which would be late. What only user space can judge (paths, names, containers) it is asked once for each
 * value; until it has answered, the process is not followed.
 */
#pragma once

enum answer {
	ANSWER_NONE = 0,
	ANSWER_NO = 1,
	ANSWER_YES = 2,
};

static __always_inline void fill_facts(struct task_struct *task, struct process_facts *facts)
{
	struct file *exe = BPF_CORE_READ(task, mm, exe_file);
	struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);

	if (exe)
		identify_file(exe, (struct file_id *)facts->values[ASK_EXE]);
	BPF_CORE_READ_INTO((char(*)[16])facts->values[ASK_COMM], task, group_leader, comm);
	facts->values[ASK_PLACE][0] = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	facts->values[ASK_PLACE][1] = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	facts->values[ASK_USER][0] = BPF_CORE_READ(task, cred, euid.val);
	facts->parent = BPF_CORE_READ(parent, tgid);
	facts->parent_start = BPF_CORE_READ(parent, start_boottime);
	facts->ns_pid = own_pid(task);
}

/* Is the process as the user asked for? */
static __noinline int judge(const struct process_facts *facts)
{
	int result = asked ? ANSWER_YES : ANSWER_NO;

	if (!facts)
		return ANSWER_NO;
	for (__u32 kind = 0; kind < ASK_MAX; kind++) {
		struct question question = { .kind = kind };
		__u8 *answer;

		if (!(asked & (1 << kind)))
			continue;
		question.value[0] = facts->values[kind][0];
		question.value[1] = facts->values[kind][1];
		answer = bpf_map_lookup_elem(&answers, &question);
		if (answer && *answer == ANSWER_NO)
			return ANSWER_NO;
		if (!answer)
			result = ANSWER_NONE;
	}
	return result;
}

/* Whether user space is to act at once: not if the process runs another time what is known. */
static __noinline int wants_haste(const struct process_facts *facts, __u8 kind)
{
	return kind != KIND_EXEC || !bpf_map_lookup_elem(&known_files, facts->values[ASK_EXE]);
}

/* Tells user space of a process. */
static __noinline int tell_process(struct task_struct *task, const struct process_facts *facts,
				   __u8 kind, const char *path)
{
	struct event_header *record;
	struct process_facts *copy;
	struct process_key process;

	record = bpf_ringbuf_reserve(&ring, sizeof(*record) + sizeof(*copy), 0);
	if (!record) {
		count(COUNT_RING_FULL_RECORDS, 1);
		return 0;
	}
	copy = (struct process_facts *)(record + 1);
	__builtin_memset(record, 0, sizeof(*record));
	process_of(task, &process);
	record->ts_ns = bpf_ktime_get_boot_ns();
	record->process_start = process.start_ns;
	record->pid = record->tid = process.tgid;
	record->fd = -1;
	record->kind = kind;
	record->len = sizeof(*copy);
	*copy = *facts;
	__builtin_memcpy(record->comm, copy->values[ASK_COMM], sizeof(record->comm));
	if (path)
		bpf_probe_read_kernel_str(copy->path, sizeof(copy->path), path);
	bpf_ringbuf_submit(record, wants_haste(facts, kind) ?
					   BPF_RB_FORCE_WAKEUP :
					   wakeup(sizeof(*record) + sizeof(*copy)));
	return 0;
}

static __always_inline void track(const struct process_key *process, __u8 why)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };

	if (bpf_map_update_elem(&tracked, &who, &why, BPF_ANY))
		count(COUNT_PROCESS_FULL, 1);
	else
		mark_tracked(process->tgid);
}

static __always_inline void untrack(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };

	bpf_map_delete_elem(&tracked, &who);
	unmark_tracked(process->tgid);
}

/* A process has begun something: follows it from now on if it is as the user asked for. True: it is followed. */
static __always_inline bool consider(struct task_struct *task, const struct process_facts *facts,
				     const char *path)
{
	struct process_key process;
	int answer = judge(facts);

	process_of(task, &process);
	if (answer == ANSWER_YES)
		track(&process, TRACK_RULE);
	if (answer == ANSWER_NONE)
		tell_process(task, facts, KIND_ASK, path);
	return answer == ANSWER_YES;
}

/* `facts` is too large for the stack. One for each sort of caller, since one may interrupt another on its CPU. */
enum scratch_user {
	SCRATCH_TRACEPOINT = 0,
	SCRATCH_SCAN = 1,
	SCRATCH_PROBE = 2,
	SCRATCH_MAX = 3,
};

struct scratch {
	struct process_facts facts;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct scratch);
	__uint(max_entries, SCRATCH_MAX);
} scratches SEC(".maps");

static __always_inline struct process_facts *new_facts(struct task_struct *task, __u32 user)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &user);

	if (!scratch)
		return NULL;
	__builtin_memset(&scratch->facts, 0, sizeof(scratch->facts));
	fill_facts(task, &scratch->facts);
	return &scratch->facts;
}

SEC("raw_tp/sched_process_fork")
int process_forked(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	struct process_key of_parent, of_child;
	__u8 *why, inherited;

	process_of(child, &of_child);
	process_of(parent, &of_parent);
	if (of_child.tgid == of_parent.tgid)
		return 0; /* a thread */
	why = find_tracked(&of_parent);
	if (!why)
		return 0;
	/* It has the properties of its parent, but for clone flags that no agent is known to use; its exec is judged anew. */
	inherited = follow ? TRACK_CHILD : *why & TRACK_RULE;
	if (inherited)
		track(&of_child, inherited | TRACK_BORN);
	tell_fork(&of_parent, child);
	return 0;
}

/* Whatever program such a process runs, it is followed. */
static __always_inline bool is_kept(const __u8 *why)
{
	return why && (follow || *why & (TRACK_ROOT | TRACK_CHILD));
}

SEC("raw_tp/sched_process_exec")
int process_execed(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct linux_binprm *program = (void *)ctx->args[2];
	const char *path = BPF_CORE_READ(program, filename);
	struct process_facts *facts;
	struct process_key process;

	process_of(task, &process);
	if (process.tgid == self_tgid)
		return 0;
	facts = new_facts(task, SCRATCH_TRACEPOINT);
	if (!facts)
		return 0;
	if (only_tracked && !is_kept(find_tracked(&process)) && !consider(task, facts, path)) {
		untrack(&process);
		if (tells_acts)
			end_descriptors(process.tgid);
		return 0;
	}
	tell_process(task, facts, KIND_EXEC, path);
	tell_exec(task, program);
	tell_unseen_calls(task, ACT_USER_PROCESS);
	return 0;
}

/* Something about a running process is another one now. */
static __always_inline void reconsider(struct task_struct *task, const struct process_facts *facts)
{
	struct process_key process;

	process_of(task, &process);
	if (process.tgid == self_tgid || find_tracked(&process))
		return;
	if (!consider(task, facts, NULL))
		return;
	tell_process(task, facts, KIND_SEEN, NULL);
	tell_unseen_calls(task, ACT_USER_PROCESS);
}

/* Before the new name is in place. Programs choose their own (node's process.title). */
SEC("raw_tp/task_rename")
int process_renamed(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	const char *name = (void *)ctx->args[1];
	struct process_facts *facts;

	if (BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0; /* a thread's name is its own */
	facts = new_facts(task, SCRATCH_TRACEPOINT);
	if (!facts)
		return 0;
	facts->values[ASK_COMM][0] = facts->values[ASK_COMM][1] = 0;
	bpf_probe_read_kernel_str(facts->values[ASK_COMM], sizeof(facts->values[ASK_COMM]), name);
	reconsider(task, facts);
	return 0;
}

SEC("raw_tp/cgroup_attach_task")
int process_moved(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[2];
	struct process_facts *facts;

	if (BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	facts = new_facts(task, SCRATCH_TRACEPOINT);
	if (!facts)
		return 0;
	reconsider(task, facts);
	return 0;
}

static __always_inline bool has_tracked_parent(struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct process_key process;

	process_of(parent, &process);
	return find_tracked(&process);
}

/* Run by user space over all processes there are: at the start, and after it has answered. */
SEC("iter/task")
int scan(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_facts *facts;
	struct process_key process;
	__u32 tgid;

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid) ||
	    !BPF_CORE_READ(task, mm))
		return 0; /* a thread, or the kernel's own */
	process_of(task, &process);
	tgid = process.tgid;
	if (tgid == self_tgid || find_tracked(&process))
		return 0;
	facts = new_facts(task, SCRATCH_SCAN);
	if (!facts)
		return 0;
	if (bpf_map_lookup_elem(&roots, &tgid))
		track(&process, TRACK_ROOT);
	else if (follow && has_tracked_parent(task))
		track(&process, TRACK_CHILD);
	else if (only_tracked && !consider(task, facts, NULL))
		return 0;
	tell_process(task, facts, KIND_SEEN, NULL);
	tell_unseen_calls(task, ACT_USER_SWEEP);
	return 0;
}
