/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is calling, and is it somebody that the user asked for. */
#pragma once

static __always_inline void process_of(struct task_struct *task, struct process_key *key)
{
	key->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	key->tgid = BPF_CORE_READ(task, tgid);
	key->exec_id = BPF_CORE_READ(task, self_exec_id);
}

static __always_inline void current_process(struct process_key *key)
{
	process_of((void *)bpf_get_current_task(), key);
}

static __always_inline void identify_file(struct file *file, struct file_id *id)
{
	id->dev = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
	id->generation = BPF_CORE_READ(file, f_inode, i_generation);
	id->ino = BPF_CORE_READ(file, f_inode, i_ino);
}

/* Its id in its own PID namespace. */
static __always_inline __u32 own_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *numbers = (void *)pid + bpf_core_field_offset(pid->numbers);
	struct upid own = {};

	/* PID namespaces nest no deeper: MAX_PID_NS_LEVEL. */
	if (level > 32)
		return 0;
	bpf_core_read(&own.nr, sizeof(own.nr),
		      (void *)numbers + level * bpf_core_type_size(struct upid));
	return own.nr;
}

/* Why a process is followed: enum agentsight_track; NULL: it is not. Whatever programs it runs. */
static __always_inline __u8 *find_tracked(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };

	return bpf_map_lookup_elem(&tracked, &who);
}

/*
 * Who is followed, by the lower bits of its id: system calls ask this first, and whoever is not followed is told so by
 * one look at memory. Two that share a slot are both looked up in `tracked`.
 */
#define SLOT_OF_MANY ~0U
__u32 tracked_slots[TRACKED_MAX];

static __always_inline void mark_tracked(__u32 tgid)
{
	__u32 *slot = &tracked_slots[tgid & (TRACKED_MAX - 1)];

	*slot = *slot && *slot != tgid ? SLOT_OF_MANY : tgid;
}

static __always_inline void unmark_tracked(__u32 tgid)
{
	__u32 *slot = &tracked_slots[tgid & (TRACKED_MAX - 1)];

	if (*slot == tgid)
		*slot = 0;
}

static __always_inline bool may_be_tracked(__u32 tgid)
{
	__u32 slot = tracked_slots[tgid & (TRACKED_MAX - 1)];

	return slot == tgid || slot == SLOT_OF_MANY;
}

static __always_inline bool is_followed(const struct process_key *process)
{
	if (process->tgid == self_tgid)
		return false;
	return !only_tracked || find_tracked(process);
}

/* It has a connection now. */
static __always_inline void note_speaker(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };
	__u8 yes = 1;

	if (!bpf_map_lookup_elem(&speakers, &who) &&
	    bpf_map_update_elem(&speakers, &who, &yes, BPF_ANY))
		more_speakers = 1;
}

/* It ends: has it had a connection, as far as we know? */
static __always_inline bool end_speaker(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };

	return !bpf_map_delete_elem(&speakers, &who) || more_speakers;
}
