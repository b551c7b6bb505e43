/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Files whose code user space knows. A build runs the same few programs thousands of times: their loaders
 * load nothing that is not known, and user space need not look at each.
 */
#pragma once

/* An open-coded iterator over a process's mappings (6.7); without it, user space is told of everything. */
struct bpf_iter_task_vma {
	__u64 opaque[1];
} __attribute__((aligned(8)));

extern int bpf_iter_task_vma_new(struct bpf_iter_task_vma *iterator, struct task_struct *task,
				 __u64 address) __ksym __weak;
extern struct vm_area_struct *bpf_iter_task_vma_next(
	struct bpf_iter_task_vma *iterator) __ksym __weak;
extern void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *iterator) __ksym __weak;

#define VM_EXEC 4 /* include/linux/mm.h */

static __always_inline bool is_known_file(struct file *file)
{
	struct file_id id = {};

	identify_file(file, &id);
	return bpf_map_lookup_elem(&known_files, &id);
}

/* Does the calling process have code that user space does not know? If it cannot be told, it may. */
static __always_inline bool may_have_new_code(void)
{
	struct bpf_iter_task_vma mappings;
	struct vm_area_struct *vma;
	bool found = false;

	if (!bpf_ksym_exists(bpf_iter_task_vma_new))
		return true;
	found = bpf_iter_task_vma_new(&mappings, bpf_get_current_task_btf(), 0);
	while (!found && (vma = bpf_iter_task_vma_next(&mappings))) {
		struct file *file = vma->vm_file;

		if (file && vma->vm_flags & VM_EXEC)
			found = !is_known_file(file);
	}
	bpf_iter_task_vma_destroy(&mappings);
	return found;
}

/* Its loader has loaded nothing new until now. */
static __always_inline void note_quiet(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };
	__u64 now = bpf_ktime_get_boot_ns();

	bpf_map_update_elem(&quiet_loaders, &who, &now, BPF_ANY);
}

/* Until when that was so, on the boot clock; 0: not known. */
static __always_inline __u64 quiet_until(const struct process_key *process)
{
	struct process_key who = { .start_ns = process->start_ns, .tgid = process->tgid };
	__u64 *then = bpf_map_lookup_elem(&quiet_loaders, &who);

	return then ? *then : 0;
}
