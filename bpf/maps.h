/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every map: key, value, who writes, who deletes. And the settings fixed at load time. */
#pragma once

/* All records to user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} ring SEC(".maps");

/* Losses per cause, per CPU; user space sums them up. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, COUNT_MAX);
} counters SEC(".maps");

/* Connection objects in use. Made at first sight, deleted at free; user space deletes those of
 * processes that ended. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct conn_key);
	__type(value, struct conn);
	__uint(max_entries, CONNS_MAX);
} conns SEC(".maps");

/*
 * Calls that are running, by thread and stack pointer: nested calls and coroutines on stacks of
 * their own never mix. Made at entry, deleted at return; user space deletes what a thread leaves
 * behind that ended in the middle.
 */
struct call_key {
	__u64 pid_tgid;
	__u64 sp;
};

struct call {
	struct conn_key conn;
	__u64 cookie;
	__u64 buf;
	__u64 len;
	__u64 out;
	__u64 first_word; /* of the object, if it is guarded; else 0 */
	__u8 guard;       /* enum nspr_kind */
	__u8 pad[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct call_key);
	__type(value, struct call);
	__uint(max_entries, CALLS_MAX);
} calls SEC(".maps");

/*
 * One direction of a connection under one key, where a library's records are watched and not its
 * connections: by whom, which context encrypts, and the part of the nonce that stays. Contexts are freed
 * and made anew at the same place, with another nonce.
 */
struct half_key {
	struct process_key process;
	__u64 context;
	__u32 prefix;
	__u32 direction;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct half_key);
	__type(value, struct half);
	__uint(max_entries, HALVES_MAX);
} halves SEC(".maps");

/* What one thread has encrypted and not sent yet, and received and not decrypted yet. */
struct wire {
	struct half_key sealed; /* whose record was encrypted last */
	__u64 unsent;           /* bytes of all records since the last sending */
	__u64 loose;            /* how many of these are estimated */
	__u64 sock;             /* struct sock that received last, */
	__u64 inode;            /* and its inode then: the address is used again */
	__u64 unopened;         /* bytes that came from it and were not decrypted */
	__u64 unopened_now;     /* of these, those of the last system call */
	__u64 buf;              /* where that put them */
	__u64 len;
	__s32 fd;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64);
	__type(value, struct wire);
	__uint(max_entries, WIRES_MAX);
} wires SEC(".maps");

/* Processes that encrypt records: nobody else's sockets are of interest. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, __u8);
	__uint(max_entries, PROCESSES_MAX);
} wire_processes SEC(".maps");

/* Which connections a socket carries, by the address of its struct sock. Deleted when it is closed. */
struct carrier {
	struct half_key halves[2]; /* by direction; no context: none */
	__u64 inode;
	__u32 handshake; /* we saw it negotiate: nothing of the connection came before */
	__u32 role;      /* enum agentsight_role */
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64);
	__type(value, struct carrier);
	__uint(max_entries, SOCKETS_MAX);
} carriers SEC(".maps");

/* The records that a socket has brought (inbound.h). */
struct inbound {
	__u64 inode;    /* of the socket: its address is used again */
	__u64 rest;     /* bytes of the record under way that are still to come */
	__u64 len;      /* of that record, its header included */
	__u64 count;    /* records that have come */
	__u64 opened;   /* of these, those that were opened, or passed over */
	__u32 lens[16]; /* of the last ones */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64);
	__type(value, struct inbound);
	__uint(max_entries, SOCKETS_MAX);
} inbounds SEC(".maps");

/* A hello: the first message of one end, sent in the open with 32 random bytes, the first 16 of which name it. */
struct hello_key {
	__u64 random[2];
	__u32 tgid;
	__u32 pad;
};

struct hello {
	struct socket_names names; /* of the socket that sent it, then */
	__u64 owner;               /* the connection that has these bytes; 0: none yet */
	__u64 owner_ptr;
	__u64 near; /* the connection whose call ran last on the thread that sent it; 0: none */
	__s32 fd;
	__u32 inside; /* that call was still running */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct hello_key);
	__type(value, struct hello);
	__uint(max_entries, HELLOS_MAX);
} hellos SEC(".maps");

/* Processes that have sent hellos: how many, and BOTH_ENDS if one has come back to the same process. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, PROCESSES_MAX);
} hello_counts SEC(".maps");

/* Where the objects of one library in one file keep the random bytes of their hello: places that were seen, and how
 * much speaks for each. */
struct place_key {
	__u32 kin;  /* struct function */
	__u32 role; /* enum agentsight_role */
};

struct places {
	__u64 place[4]; /* 0: unused */
	__u32 votes[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct place_key);
	__type(value, struct places);
	__uint(max_entries, 4096);
} random_places SEC(".maps");

/* The last call on a thread of a connection whose socket is looked for. */
struct last_call {
	struct conn_key conn;
	__u64 conn_id;
	__u64 len; /* bytes to be written, if it writes */
	__u32 runs;
	__u32 function;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64);
	__type(value, struct last_call);
	__uint(max_entries, WIRES_MAX);
} last_calls SEC(".maps");

/* One call of a function that encrypts or decrypts a record. */
struct cipher_call {
	struct half_key half;
	__u64 cookie;
	__u64 nonce;
	__u64 buf;     /* the inner plaintext, now or when the call returns */
	__u64 len;     /* bytes of it, those in `extra` not counted */
	__u64 extra;   /* where the content type is, if not behind the rest */
	__u64 wire;    /* bytes of the record on the wire */
	__u64 end;     /* of the encrypted record in memory */
	__u64 result;  /* where the function leaves its result, if that is in memory */
	__u64 pieces;  /* vectors instead of `buf`: where … */
	__u32 count;   /* … and how many */
	__u8 type;     /* content type; 0: it is inside */
	__u8 numbered; /* `nonce` is the record's number */
	__u8 pad[2];
};

/* Records that are being decrypted, by thread and stack pointer like `calls`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct call_key);
	__type(value, struct cipher_call);
	__uint(max_entries, CALLS_MAX);
} openings SEC(".maps");

/* Facts beyond the cookie, by its index. User space writes before it attaches; the programs count
 * their guards' answers. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct function);
	__uint(max_entries, FUNCTIONS_MAX);
} functions SEC(".maps");

/*
 * Go calls that are running. Goroutines change threads, and their stacks move: a call is known by
 * its goroutine and its distance from the stack's upper end. Made at entry, deleted at return. A
 * goroutine that dies in the middle leaves one behind, which the next call at that place replaces;
 * user space deletes those of processes that ended.
 */
struct go_call_key {
	struct process_key process;
	__u64 g;
	__u64 depth;
};

struct go_call {
	__u64 conn;
	__u64 buf; /* if on_stack: distance from the stack's upper end */
	__u64 len;
	__u64 left;    /* bytes that the running emission still has to send */
	__u64 conn_id; /* the generation that it is counted in; 0: in none */
	__u32 on_stack;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct go_call_key);
	__type(value, struct go_call);
	__uint(max_entries, GO_READS_MAX);
} go_reads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct go_call_key);
	__type(value, struct go_call);
	__uint(max_entries, CALLS_MAX);
} go_writes SEC(".maps");

/* Where Go programs keep what names a socket. User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct go_facts);
	__uint(max_entries, GO_FACTS_MAX);
} go_facts SEC(".maps");

/* Go types on the way from a tls.Conn to its socket. User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct go_type_key);
	__type(value, struct go_type);
	__uint(max_entries, GO_TYPES_MAX);
} go_types SEC(".maps");

/* Processes that are followed, and why: enum agentsight_track. `exec_id` is 0. Made when a process is found, starts,
 * or runs a program; deleted when it ends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct process_key);
	__type(value, __u8);
	__uint(max_entries, TRACKED_MAX);
} tracked SEC(".maps");

/* Processes that have had connections: nobody looks through the tables of connections for others when they end. `exec_id`
 * is 0. Deleted when they end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct process_key);
	__type(value, __u8);
	__uint(max_entries, TRACKED_MAX);
} speakers SEC(".maps");

/* What user space has said: ANSWER_*. It alone writes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct question);
	__type(value, __u8);
	__uint(max_entries, ANSWERS_MAX);
} answers SEC(".maps");

/* Processes that the user named, until the next scan finds them. User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u8);
	__uint(max_entries, ROOTS_MAX);
} roots SEC(".maps");

/* Files that hold NSS's TLS layer: code in them makes a descriptor a TLS one. User space writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct file_id);
	__type(value, __u8);
	__uint(max_entries, FILES_MAX);
} nss_files SEC(".maps");

/* Files whose code user space knows, and has probed where there is something to probe. It alone writes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct file_id);
	__type(value, __u8);
	__uint(max_entries, KNOWN_FILES_MAX);
} known_files SEC(".maps");

/* When a process's loader last had loaded nothing but those. `exec_id` is 0. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct process_key);
	__type(value, __u64);
	__uint(max_entries, PROCESSES_MAX);
} quiet_loaders SEC(".maps");

/* Processes that were told of when they first spoke TLS. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct process_key);
	__type(value, __u8);
	__uint(max_entries, PROCESSES_MAX);
} told SEC(".maps");

/* Code addresses already judged as NSS or not, per process. */
struct code_key {
	struct process_key process;
	__u64 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct code_key);
	__type(value, __u8);
	__uint(max_entries, PROCESSES_MAX);
} nss_code SEC(".maps");

/* Settings, written before load. */
const volatile bool only_tracked = false; /* report only processes in `tracked` */
const volatile bool follow = false;       /* what a process in `tracked` starts is in it, too */
const volatile bool tells_acts =
	false; /* what followed processes do is told, beside what they say */
const volatile bool lacks_calls = false; /* the programs of syscalls.h are not there */
const volatile bool tell_users = false;  /* tell of each process when it first speaks TLS */
const volatile __u32 asked = 0;          /* which of enum agentsight_question decide, by bit */
const volatile __u64 max_bytes = ~0ULL;  /* payload kept per call */
const volatile __u64 wakeup_bytes = WAKEUP_BYTES; /* as in limits.h, by the ring's size */
const volatile bool use_bpf_loop = true;          /* false where the kernel has no bpf_loop */

/* The observer, which is never reported. Set by the `identify` program, which alone knows the id in
 * the init namespace. */
__u32 self_tgid = 0;

/* There are more speakers than the table holds: any process may be one. */
__u32 more_speakers = 0;

/* The reader sleeps, and is to be woken with the next record. User space writes. */
__u32 reader_sleeps = 0;
