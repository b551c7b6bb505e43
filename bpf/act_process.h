/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What becomes of processes: they are forked, run programs, and end. Told of those that are followed (track.h). */
#pragma once

#define SIGNAL_GROUP_EXIT 4

static __always_inline void fill_ids(struct act *act, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);

	act->value[0] = pair(BPF_CORE_READ(cred, uid.val), BPF_CORE_READ(cred, gid.val));
	act->value[1] = pair(BPF_CORE_READ(cred, euid.val), BPF_CORE_READ(cred, egid.val));
}

static __noinline int tell_fork(const struct process_key *parent, struct task_struct *child)
{
	struct act_record *record;
	struct process_key of_child;

	if (!tells_acts || !parent)
		return 0;
	record = own_act(parent, ACT_FORK);
	if (!record)
		return 0;
	process_of(child, &of_child);
	record->act.value[0] = of_child.tgid;
	record->act.value[1] = of_child.start_ns;
	record->act.value[2] = own_pid(child);
	return tell_act(record);
}

/* The device number of the controlling terminal; 0: there is none. */
static __always_inline __u32 terminal_of(struct task_struct *task)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);

	if (!tty)
		return 0;
	return BPF_CORE_READ(tty, driver, major) << 20 |
	       (BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index));
}

/* Arguments (DIR_WRITE) or environment (DIR_READ) of the program that is about to begin: the kernel has just put
 * them there. */
static __noinline int tell_words(struct act_record *record, __u8 direction, __u64 from, __u64 to)
{
	struct outgoing out = {};

	if (!record || to <= from)
		return 0;
	out.header = record->header;
	out.header.kind = KIND_WORDS;
	out.header.direction = direction;
	out.header.len = 0;
	out.header.call_len = to - from;
	out.buf = from;
	out.left = &record->left;
	record->left = to - from;
	if (record->left > WORDS_MAX)
		record->left = WORDS_MAX;
	if (use_bpf_loop) {
		bpf_loop(WORDS_MAX / TIER_LARGE, emit_chunk, &out, 0);
	} else {
		for (__u32 round = 0; round < WORDS_MAX / TIER_LARGE; round++)
			if (emit_chunk(round, &out))
				break;
	}
	return 0;
}

static __noinline int tell_exec(struct task_struct *task, struct linux_binprm *program)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	struct process_key process;
	struct act_record *record;
	const char *filename, *interp;
	__u64 args, args_end, env, env_end;

	if (!tells_acts)
		return 0;
	process_of(task, &process);
	args = BPF_CORE_READ(mm, arg_start);
	args_end = BPF_CORE_READ(mm, arg_end);
	env = BPF_CORE_READ(mm, env_start);
	env_end = BPF_CORE_READ(mm, env_end);
	end_closed_descriptors(process.tgid);
	note_standard_files(&process);
	record = own_act(&process, ACT_EXEC);
	if (!record)
		return 0;
	tell_words(record, DIR_WRITE, args, args_end);
	tell_words(record, DIR_READ, env, env_end);
	fill_ids(&record->act, task);
	record->act.value[2] = terminal_of(task);
	record->act.value[3] = pair(args_end - args, env_end - env);
	if (BPF_CORE_READ_BITFIELD_PROBED(program, secureexec))
		record->act.flags |= ACT_FLAG_SECURE;
	filename = BPF_CORE_READ(program, filename);
	interp = BPF_CORE_READ(program, interp);
	if (exe) {
		identify_file(exe, &record->act.file);
		if (is_written(&record->act.file))
			record->act.flags |= ACT_FLAG_WRITTEN;
		add_file_path(record, 0, exe);
	}
	add_cwd(record, 1);
	add_kernel_text(record, 2, filename);
	if (interp != filename)
		add_kernel_text(record, 3, interp);
	return tell_act(record);
}

/* Its last thread leaves. */
static __noinline int tell_end(const struct process_key *process, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct act_record *record;

	if (!tells_acts || !process)
		return 0;
	record = own_act(process, ACT_EXIT);
	if (!record)
		return 0;
	record->act.value[0] = BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT ?
				       BPF_CORE_READ(signal, group_exit_code) :
				       BPF_CORE_READ(leader, exit_code);
	record->act.value[1] =
		BPF_CORE_READ(signal, sum_sched_runtime) + BPF_CORE_READ(task, se.sum_exec_runtime);
	if (leader != task)
		record->act.value[1] += BPF_CORE_READ(leader, se.sum_exec_runtime);
	record->act.value[2] = BPF_CORE_READ(signal, maxrss);
	return tell_act(record);
}
