/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Functions that were found without names are watched under a condition: the first word of their
 * connection object is the address of a table that discovery knows. What fails is left out and
 * counted; user space takes away a probe that never passes.
 */
#pragma once

static __always_inline struct function *find_function(__u64 cookie)
{
	__u32 index = COOKIE_FUNCTION(cookie);

	return bpf_map_lookup_elem(&functions, &index);
}

/* How far from its link-time place the file is loaded, told by where the probe was hit. */
static __always_inline __u64 load_bias(struct pt_regs *ctx, const struct function *function)
{
	return PT_REGS_IP(ctx) - function->vaddr;
}

static __always_inline bool starts_with(__u64 object, __u64 first_word)
{
	__u64 word = 0;

	return !bpf_probe_read_user(&word, sizeof(word), (void *)object) && word == first_word;
}

static __always_inline bool judge_object(struct function *function, __u64 object, __u64 first_word)
{
	if (starts_with(object, first_word)) {
		/* Looked at first: the line is shared by all CPUs. */
		if (!function->passed)
			function->passed = 1;
		return true;
	}
	__sync_fetch_and_add(&function->failed, 1);
	count(COUNT_WRONG_OBJECT, 1);
	return false;
}

/* At entry. The maker's object is its result, and what cannot be read now may be later: judged at return. */
static __always_inline bool is_right_object(struct pt_regs *ctx, struct call *call)
{
	struct function *function = find_function(call->cookie);
	__u64 word = 0;

	if (!function)
		return false;
	call->first_word = function->first_word + load_bias(ctx, function);
	return COOKIE_OP(call->cookie) == OP_NEW ||
	       bpf_probe_read_user(&word, sizeof(word), (void *)call->conn.ptr) ||
	       judge_object(function, call->conn.ptr, call->first_word);
}

/* At return, of an object that is guarded. */
static __always_inline bool is_still_right(const struct call *call, __u64 object)
{
	struct function *function;

	if (!call->first_word)
		return true;
	function = find_function(call->cookie);
	return function && judge_object(function, object, call->first_word);
}
