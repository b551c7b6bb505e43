/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is lost or left out, counted by cause. And how a program in two parts learns which one runs. */
#pragma once

static __always_inline void count(__u32 counter, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += n;
}

/* For probes that run at entry and at return (6.13): which of the two this is. */
extern bool bpf_session_is_return(void) __ksym __weak;
