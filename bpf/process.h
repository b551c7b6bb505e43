/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is calling, and is it somebody that the user asked for. */
#pragma once

enum verdict {
	VERDICT_IGNORED = 1,
	VERDICT_FOLLOWED = 2,
};

static __always_inline void current_process(struct process_key *key)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	key->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	key->tgid = bpf_get_current_pid_tgid() >> 32;
	key->exec_id = BPF_CORE_READ(task, self_exec_id);
}

static __always_inline void identify_file(struct file *file, struct file_id *id)
{
	id->dev = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
	id->ino = BPF_CORE_READ(file, f_inode, i_ino);
}

/* The executable is asked for once per process and exec; threads and forks keep it. */
static __always_inline bool runs_target(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *exe = BPF_CORE_READ(task, mm, exe_file);
	struct file_id id = {};

	if (!exe)
		return false;
	identify_file(exe, &id);
	return bpf_map_lookup_elem(&targets, &id) != NULL;
}

/* `remember` is for callers that come often: all processes of the machine would fill the table. */
static __always_inline bool is_followed(const struct process_key *process, bool remember)
{
	__u8 *known, verdict;

	if (process->tgid == self_tgid)
		return false;
	if (!only_targets)
		return true;
	known = bpf_map_lookup_elem(&verdicts, process);
	if (known)
		return *known == VERDICT_FOLLOWED;
	verdict = runs_target() ? VERDICT_FOLLOWED : VERDICT_IGNORED;
	if (remember)
		bpf_map_update_elem(&verdicts, process, &verdict, BPF_ANY);
	return verdict == VERDICT_FOLLOWED;
}
