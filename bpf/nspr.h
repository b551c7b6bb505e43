/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * PR_Read and its kin serve files, pipes, sockets and TLS alike. A descriptor is a stack of layers
 * (nspr/pr/include/prio.h: struct PRFileDesc); it speaks TLS if one of them is a layer
 * (PR_DESC_LAYERED) whose `read` lies in NSS's ssl library. Where code lies is asked of the kernel
 * with bpf_find_vma, so that connections older than us are told apart as well.
 */
#pragma once

#define PR_MSG_PEEK 2     /* prio.h: flag of PR_Recv */
#define PR_DESC_LAYERED 4 /* prio.h: enum PRDescType */

/* prio.h, unchanged since NSPR 4.0; only what we read. */
struct pr_file_desc {
	__u64 methods;
	__u64 secret;
	__u64 lower;
};

struct pr_io_methods {
	__u32 file_type;
	__u32 pad;
	__u64 close;
	__u64 read;
};

enum nspr_kind {
	NSPR_PLAIN = 1,
	NSPR_TLS = 2,
	NSPR_UNKNOWN = 3, /* the address space was locked: ask again */
};

struct code_question {
	__u8 kind;
};

static long judge_vma(struct task_struct *task, struct vm_area_struct *vma,
		      struct code_question *question)
{
	struct file *file = BPF_CORE_READ(vma, vm_file);
	struct file_id id = {};

	question->kind = NSPR_PLAIN;
	if (!file)
		return 0;
	identify_file(file, &id);
	if (bpf_map_lookup_elem(&nss_files, &id))
		question->kind = NSPR_TLS;
	return 0;
}

static __always_inline __u8 judge_code(const struct process_key *process, __u64 address)
{
	struct code_key key = { .process = *process, .address = address };
	struct code_question question = { .kind = NSPR_UNKNOWN };
	__u8 *known = bpf_map_lookup_elem(&nss_code, &key);

	if (known)
		return *known;
	bpf_find_vma(bpf_get_current_task_btf(), address, judge_vma, &question, 0);
	if (question.kind != NSPR_UNKNOWN)
		bpf_map_update_elem(&nss_code, &key, &question.kind, BPF_ANY);
	return question.kind;
}

static __always_inline __u8 judge_descriptor(const struct process_key *process, __u64 address)
{
	struct pr_io_methods methods = {};
	struct pr_file_desc desc = {};
	__u8 kind, worst = NSPR_PLAIN;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_find_vma))
		return NSPR_UNKNOWN;
	for (int layer = 0; layer < NSPR_LAYERS_MAX && address; layer++) {
		if (bpf_probe_read_user(&desc, sizeof(desc), (void *)address) ||
		    bpf_probe_read_user(&methods, sizeof(methods), (void *)desc.methods))
			return NSPR_UNKNOWN;
		if (methods.file_type == PR_DESC_LAYERED) {
			kind = judge_code(process, methods.read);
			if (kind == NSPR_TLS)
				return kind;
			if (kind == NSPR_UNKNOWN)
				worst = kind;
		}
		address = desc.lower;
	}
	return worst;
}
