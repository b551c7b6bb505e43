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

/* Why a process is followed: enum agentsight_track; NULL: it is not. Whatever programs it runs. */
static __always_inline __u8 *find_tracked(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };

	return bpf_map_lookup_elem(&tracked, &who);
}

static __always_inline bool is_followed(const struct process_key *process)
{
	if (process->tgid == self_tgid)
		return false;
	return !only_tracked || find_tracked(process);
}
