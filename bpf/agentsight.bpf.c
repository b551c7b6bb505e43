// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The one BPF object of agentsight. Where to start reading: README.md, then tls.h. */
#include "vmlinux_min.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "event.h"
#include "limits.h"
#include "sequence.h"
#include "maps.h"

#include "count.h"
#include "process.h"
#include "known.h"
#include "emit.h"
#include "act.h"
#include "sock.h"
#include "descriptor.h"
#include "act_process.h"
#include "act_other.h"
#include "track.h"
#include "conn.h"
#include "nspr.h"
#include "guard.h"
#include "endpoint.h"
#include "tls.h"
#include "go_socket.h"
#include "go.h"
#include "half.h"
#include "inbound.h"
#include "hello.h"
#include "socket.h"
#include "message.h"
#include "aead.h"
#include "act_file.h"
#include "act_network.h"
#include "syscalls.h"
#include "lifecycle.h"

/* The helpers for tracing are open to GPL-compatible programs only. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
