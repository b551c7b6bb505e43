/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Processes that end, and libraries that they load later. */
#pragma once

static __always_inline bool fill_followed(struct event_header *header, __u8 kind)
{
	struct process_key process = {};

	current_process(&process);
	if (!is_followed(&process))
		return false;
	fill_caller(header, &process);
	header->kind = kind;
	return true;
}

#define EEXIST 17

/* Processes whose end was told. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct process_key);
	__type(value, __u8);
	__uint(max_entries, PROCESSES_MAX);
} ended SEC(".maps");

/* Threads that leave together may all see that none is left. */
static __always_inline bool is_first_end(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };
	__u8 yes = 1;

	return bpf_map_update_elem(&ended, &who, &yes, BPF_NOEXIST) != -EEXIST;
}

/* Runs once per thread; the last one to leave ends the process. */
SEC("raw_tp/sched_process_exit")
int process_exit(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct process_key process = {};
	struct event_header header = {};

	if (BPF_CORE_READ(task, signal, live.counter) || !fill_followed(&header, KIND_EXIT))
		return 0;
	process.start_ns = header.process_start;
	process.tgid = header.pid;
	if (tells_acts) {
		if (!is_first_end(&process))
			return 0;
		end_descriptors(process.tgid);
		tell_end(&process, task);
	}
	if (end_speaker(&process))
		header.flags |= FLAG_SPOKE;
	emit_mark(&header);
	untrack(&process);
	return 0;
}

/*
 * On _dl_debug_state of a dynamic loader: it calls this empty function for debuggers whenever
 * its list of libraries is consistent again, before the constructors of new ones run.
 */
SEC("uprobe")
int loader_changed(struct pt_regs *ctx)
{
	struct event_header header = {};
	struct process_key process = {};

	current_process(&process);
	if (!is_followed(&process))
		return 0;
	if (!may_have_new_code()) {
		note_quiet(&process);
		return 0;
	}
	fill_caller(&header, &process);
	header.kind = KIND_LOADER;
	header.offset = quiet_until(&process);
	emit_mark_now(&header);
	return 0;
}

/* Run by user space itself: what the kernel calls one of its open files, and its own process id. */
struct identity identity = {};

SEC("raw_tp")
int identify(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	__u32 fd = identity.fd;
	struct file **slots, *file = NULL;

	identity.tgid = bpf_get_current_pid_tgid() >> 32;
	self_tgid = identity.tgid;
	__builtin_memset(&identity.file, 0, sizeof(identity.file));
	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	slots = BPF_CORE_READ(table, fd);
	if (!bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]) && file)
		identify_file(file, &identity.file);
	return 0;
}

/* How often the programs below ran. */
__u64 bench_hits = 0;

/* On functions that `doctor --bench` makes: what a hit costs is the kernel's part, not ours. */
SEC("uprobe")
int bench_hit(struct pt_regs *ctx)
{
	bench_hits++;
	return 0;
}

/* The same at entry and return; a cookie other than 0 saves the call its return probe. */
SEC("uprobe.session")
int bench_session(struct pt_regs *ctx)
{
	bench_hits++;
	return !bpf_session_is_return() && bpf_get_attach_cookie(ctx) != 0;
}
