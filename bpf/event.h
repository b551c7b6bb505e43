/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the BPF object and user space say to each other: the layout of every record, the meaning
 * of an attach cookie and the names of the counters. This header is the truth; the Rust mirror
 * is src/event/wire.rs, and src/attach/layout.rs holds the two against each other.
 *
 * Fixed-width types, explicit padding, payload last (see README.md).
 */
#pragma once

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

enum agentsight_kind {
	KIND_DATA = 1,      /* plaintext of one call, or a part of it */
	KIND_HANDSHAKE = 2, /* a handshake succeeded, once per connection */
	KIND_SHUTDOWN = 3,  /* the program sends close_notify */
	KIND_CLOSE = 4,     /* the connection object is freed; offsets are final */
	KIND_EXIT = 5,      /* a process that we follow ended (its last thread) */
	KIND_LOADER = 6,    /* the dynamic loader changed its list of libraries */
	KIND_SOCKET = 7, /* what is known of a connection's socket; struct socket_names follows */
	KIND_EXEC = 8,   /* a process that we follow runs another program; so for the next two: */
	KIND_SEEN = 9,   /* a process that runs already is followed from now on; */
	KIND_ASK = 10,   /* is this process to be followed? struct process_facts comes behind */
	KIND_ENDPOINT = 11, /* as KIND_SOCKET, where one object of the library is the connection */
	KIND_HELLO = 12, /* a ClientHello as it passed through the socket whose inode is `offset` */
	KIND_ACT = 13, /* a process did something to the system: struct act and its texts follow */
	KIND_WORDS =
		14, /* arguments or environment of the program that the next ACT_EXEC tells of */
	KIND_STDIO =
		15, /* bytes through one of a process's first three descriptors, if it is a pipe */
};

/* What a process did. Comments tell what `value` and `texts` of struct act hold, and `fd` of the header. */
enum agentsight_act {
	ACT_FORK = 1, /* value: child's tgid, its start, its id in its own namespace */
	ACT_EXEC = 2, /* value: uid | gid << 32, euid | egid << 32, tty | session << 32, bytes of
			      arguments | bytes of environment << 32; file: the executable;
			      texts: its path, cwd, what was asked for, interpreter */
	ACT_EXEC_FAILED = 3, /* texts: what was asked for, base */
	ACT_EXIT = 4,        /* value: wait status, CPU time in ns, peak memory in pages, threads */
	ACT_OPEN =
		5, /* value: flags, mode of the open file, mode of the inode, size; file; texts: path;
				failed: texts: what was asked for, base */
	ACT_WRITTEN = 6, /* value: bytes, calls; file; OPEN_INHERITED | OPEN_CLOSED */
	ACT_TRUNCATE =
		7, /* value: length; this and the next: texts: as asked for, base; or path of `fd` */
	ACT_RENAME = 8, /* value: flags; texts: from, its base, to, its base */
	ACT_UNLINK = 9,
	ACT_RMDIR = 10,
	ACT_LINK = 11,    /* texts as ACT_RENAME */
	ACT_SYMLINK = 12, /* texts: path, base, target */
	ACT_MKDIR = 13,   /* value: mode */
	ACT_MKNOD = 14,   /* value: mode, device */
	ACT_CHMOD = 15,   /* value: mode */
	ACT_CHOWN = 16,   /* value: uid, gid */
	ACT_MMAP = 17,    /* value: length, offset; file; texts: path */
	ACT_CONNECT =
		18, /* value: type | protocol << 32, inode; texts: sockaddr asked for, socket_names */
	ACT_BIND = 19,
	ACT_LISTEN = 20,
	ACT_ACCEPT = 21,
	ACT_CONNECTED = 22, /* a connection that was under way; result */
	ACT_FLOW =
		23, /* value: type | protocol << 32, inode, bytes sent, bytes received; texts as above;
			    of a pipe: no type, result: bytes that were told */
	ACT_SEND_TO = 24, /* the first packet to another address on a socket; as ACT_CONNECT */
	ACT_DNS = 25,     /* value: direction; texts: the message, socket_names, sockaddr */
	ACT_SIGNAL = 26,  /* value: target, signal */
	ACT_PTRACE = 27,  /* value: request, target */
	ACT_SET_ID = 28,  /* value: as ACT_EXEC, now */
	ACT_MEMFD = 29,   /* texts: name */
	ACT_BLIND = 30,   /* value: enum agentsight_blind */
	ACT_MAX,
};

/* By what a process does things that are not seen. */
enum agentsight_blind {
	BLIND_IO_URING = 1,
	BLIND_COMPAT = 2, /* 32-bit system calls, which have other numbers */
	BLIND_CALLS = 3,  /* any system call: this kernel shows us none of them */
};

/* Flags of ACT_WRITTEN and ACT_FLOW in struct act, `flags`. */
enum agentsight_act_flag {
	ACT_FLAG_CLOSED = 1,    /* the last word on the descriptor */
	ACT_FLAG_INHERITED = 2, /* opened before we watched, or by another process */
	ACT_FLAG_WATCHED = 4,   /* opened for reading only; its name may be one that is watched */
	ACT_FLAG_WRITTEN =
		8, /* opened for reading only; a process that we follow wrote it before */
	ACT_FLAG_SECURE = 16, /* set-user-ID and the like: libraries are not preloaded */
	ACT_FLAG_LATE = 32,   /* set by user space, which found the program in /proc */
	ACT_FLAG_UNSEEN = 64, /* the same: it was not there any more, so only its name is known */
};

/* How a text of an act is to be read. */
enum agentsight_text {
	TEXT_NONE = 0,
	TEXT_PLAIN = 1, /* bytes as the program gave them */
	TEXT_WALKED =
		2, /* names from the file up to the process's root, each with a zero behind it */
	TEXT_OUTSIDE =
		3,    /* the same, but never came to the root: what was detached, or has no place */
	TEXT_CUT = 4, /* the same, too deep or too long to come to the root */
	TEXT_FORM = 15,
	TEXT_DELETED = 16,  /* the file has no name any more; this was its last */
	TEXT_TOO_LONG = 32, /* not all of it */
};

enum agentsight_direction {
	DIR_WRITE = 0, /* plaintext that the program sends */
	DIR_READ = 1,  /* plaintext that the program receives */
};

enum agentsight_flag {
	FLAG_MORE = 1,      /* more chunks of the same call follow */
	FLAG_FAULT = 2,     /* payload not readable in memory: `missing` bytes are lost */
	FLAG_SENDFILE = 4,  /* payload never was in user memory: `missing` bytes went by sendfile */
	FLAG_TRUNCATED = 8, /* the user's --max-bytes cut `missing` bytes off */
	FLAG_EARLY = 16,    /* TLS 1.3 early data (0-RTT) */
	FLAG_REUSED = 32,   /* closed: its address was handed out anew, or another key follows */
	FLAG_BORN = 64,     /* we saw the connection object being made: nothing came before */
	FLAG_TOO_LONG = 128, /* `missing` bytes are beyond what one call may loop (no bpf_loop) */
	FLAG_SPOKE = 512,    /* ended: it has had connections */
	FLAG_HALF = 256,     /* `conn_id` names one direction of a connection, under one key */
	FLAG_QUEUE_FULL = 32768, /* set by user space: it had no room for the `len` bytes */
};

/* Precedes every payload in the ring buffer. Times are CLOCK_BOOTTIME. */
struct event_header {
	__u64 ts_ns;         /* when the call returned */
	__u64 process_start; /* start of the process: with pid it names a process for good */
	__u64 conn_id;       /* unique per connection object and its generation */
	__u64 conn_ptr;      /* SSL*, gnutls_session_t, PRFileDesc*: for people who debug */
	__u64 offset;        /* place of the first payload byte in this direction's stream;
				KIND_CLOSE: bytes written over the whole life;
				KIND_LOADER: when it last had loaded nothing new, or 0 */
	__u64 call_len;      /* bytes that the whole call moved;
				KIND_CLOSE: bytes read over the whole life */
	__u64 seq;           /* counts this direction's records, lost ones included */
	__u64 missing;       /* bytes that belong after the payload and are not there */
	__u64 goroutine;     /* Go: the goroutine's number, 0 if unknown */
	__u64 unseen; /* TLS records before this one that no probe saw: their nonces are missing */
	__u32 pid;    /* thread group id, init namespace */
	__u32 tid;
	__u32 len;      /* payload bytes that follow */
	__s32 fd;       /* socket told to the library, -1 if unknown */
	__u16 function; /* index handed in by the cookie */
	__u8 kind;
	__u8 direction;
	__u16 flags;
	__u8 pad[2];
	char comm[16];
};
_Static_assert(sizeof(struct event_header) == 120, "mirrored in src/event/wire.rs");

/* On which side of a connection the program is. */
enum agentsight_role {
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* How well we know that a socket carries a connection. */
enum agentsight_trust {
	TRUST_TOLD = 0,    /* the program's own memory says so */
	TRUST_LIKELY = 1,  /* the sums of many records and of what the socket moved go together */
	TRUST_EXACT = 2,   /* system calls moved exactly the bytes of our records */
	TRUST_GUESSED = 3, /* nothing but neighbourhood says so */
	TRUST_NONE = 4,    /* what was told is withdrawn: two sockets have the same right */
};

/* The payload of KIND_SOCKET. Addresses as on the wire: 4 or 16 bytes, or none if unknown. */
struct socket_names {
	__u8 role; /* 0 if unknown */
	__u8 local_len;
	__u8 peer_len;
	__u8 trust; /* enum agentsight_trust */
	__u16 local_port;
	__u16 peer_port;
	__u8 local[16];
	__u8 peer[16];
	__u64 inode; /* of the socket, as in /proc/PID/fd; 0 if unknown */
};
_Static_assert(sizeof(struct socket_names) == 48, "mirrored in src/event/wire.rs");

/*
 * What a probe does, packed into the 64 bits of its attach cookie, so that one program serves
 * every function of every library with one calling convention. Arguments are numbered from 0; NO_ARG means none.
 *
 *   bits 0-15  function index     bits 16-23 operation        bits 24-31 how the result reads
 *   bits 32-35 buffer argument    bits 36-39 length argument  bits 40-43 out argument
 *   bits 44-47 direction          bits 48-55 flags            bits 56-63 depth at the site
 */
enum agentsight_op {
	OP_DATA = 1,      /* moves plaintext; needs entry and return */
	OP_HANDSHAKE = 2, /* needs entry and return */
	OP_NEW = 3,       /* makes a connection object; needs entry and return */
	OP_FREE = 4,
	OP_SHUTDOWN = 5,
	OP_CLEAR = 6, /* the object starts over as another connection */
	OP_UP_REF = 7,
	OP_SET_FD = 8,   /* the buffer argument is the descriptor */
	OP_SENDFILE = 9, /* bytes move that no argument points to in one piece; entry and return */
	OP_FLUSH = 10,   /* sends once more what was told already; needs entry and return */
	OP_SEAL = 11,    /* encrypts one record; the result byte is an agentsight_form */
	OP_OPEN = 12,    /* decrypts one record; needs entry and return */
};

/* Where a function that encrypts or decrypts a record has its arguments. */
enum agentsight_form {
	FORM_RING = 1, /* ring's aead::Algorithm */
	FORM_EVP = 2, /* struct evp_aead_st of AWS-LC and BoringSSL, with buffers or with vectors */
	FORM_OPAQUE = 3,   /* rustls 0.20 to 0.22: MessageEncrypter, MessageDecrypter */
	FORM_BORROWED = 4, /* the same of rustls 0.23 */
};

enum agentsight_result {
	RESULT_I32 = 1,         /* int: bytes when > 0 */
	RESULT_I64 = 2,         /* ssize_t: bytes when > 0 */
	RESULT_OUT = 3,         /* int > 0 is success; bytes in *out (size_t) */
	RESULT_ONE = 4,         /* 1 is success */
	RESULT_ZERO = 5,        /* 0 is success */
	RESULT_POINTER = 6,     /* the new object */
	RESULT_OUT_POINTER = 7, /* 0 or more is success, the new object in *out */
	RESULT_PACKET = 8,      /* ssize_t; the bytes are in the gnutls_packet_t at *out */
	RESULT_ALL = 9,         /* 0 or more is success: all bytes of the buffer */
};

enum agentsight_probe_flag {
	PROBE_NSPR = 1,      /* the object is a PRFileDesc: only TLS ones count */
	PROBE_EARLY = 2,     /* moves early data */
	PROBE_RESUMES = 4,   /* NULL buffer: goes on with what had to wait (GnuTLS) */
	PROBE_PEEKS = 8,     /* PR_MSG_PEEK in argument 3: the bytes will be read once more */
	PROBE_GUARDED = 16,  /* `functions` knows what the object's first word must be */
	PROBE_GO_STACK = 32, /* Go before 1.17: arguments and results are on the stack */
};

#define NO_ARG 15

/* How far the stack pointer is below where it was at the function's start comes in these. */
enum agentsight_depth {
	DEPTH_UNIT = 8,
};

#define COOKIE_FUNCTION(c) ((__u16)(c))
#define COOKIE_OP(c) ((__u8)((c) >> 16))
#define COOKIE_RESULT(c) ((__u8)((c) >> 24))
#define COOKIE_BUF(c) ((__u8)((c) >> 32) & 15)
#define COOKIE_LEN(c) ((__u8)((c) >> 36) & 15)
#define COOKIE_OUT(c) ((__u8)((c) >> 40) & 15)
#define COOKIE_DIRECTION(c) ((__u8)((c) >> 44) & 15)
#define COOKIE_FLAGS(c) ((__u8)((c) >> 48))
#define COOKIE_DEPTH(c) (((c) >> 56) * DEPTH_UNIT) /* bytes */

/* Everything that can be lost or left out, counted per CPU. Order is ABI. */
enum agentsight_counter {
	COUNT_RING_FULL_RECORDS, /* no room in the ring buffer */
	COUNT_RING_FULL_BYTES,
	COUNT_FAULT_RECORDS, /* payload could not be read */
	COUNT_FAULT_BYTES,
	COUNT_CONN_FULL_RECORDS, /* no room in the table of connections */
	COUNT_CONN_FULL_BYTES,
	COUNT_CALL_FULL,           /* no room in the table of running calls: its data is lost */
	COUNT_GUARD_UNKNOWN_BYTES, /* an NSPR descriptor that could not be told TLS from plain */
	COUNT_BAD_RESULT,      /* a function returned more than it was asked for: not reported */
	COUNT_SENDFILE_BYTES,  /* moved by sendfile: never seen in memory */
	COUNT_TRUNCATED_BYTES, /* cut off by --max-bytes */
	COUNT_NESTED_CALLS,    /* calls inside a call that reports the same bytes */
	COUNT_PLAIN_CALLS,     /* NSPR calls on plain files and sockets */
	COUNT_WRONG_OBJECT,    /* calls whose object is none of the library's: left out */
	COUNT_UNDER_WAY_CALLS, /* Go: writes that began before their probes came: left out */
	COUNT_SILENT_RECORDS,  /* TLS records that are no application data: left out */
	COUNT_NOT_TLS, /* AEAD calls that make or open no TLS record (QUIC, files): left out */
	COUNT_FORGED_RECORDS,      /* records that failed authentication: left out */
	COUNT_PROCESS_FULL,        /* no room in the table of processes: not followed */
	COUNT_CONTESTED_ENDPOINTS, /* connections with evidence for two sockets: they have none */
	COUNT_LOST_PROCESS_ACTS,   /* no room in the ring buffer; so for the next three */
	COUNT_LOST_FILE_ACTS,
	COUNT_LOST_NETWORK_ACTS,
	COUNT_LOST_STDIO_BYTES,
	COUNT_DESCRIPTORS_FULL, /* no room in the table of descriptors: told one by one */
	COUNT_MAX,
};

/* A file as the kernel knows it. Inode numbers are used again, generations are not. */
struct file_id {
	__u32 dev; /* s_dev: major << 20 | minor */
	__u32 generation;
	__u64 ino;
};
_Static_assert(sizeof(struct file_id) == 16, "mirrored in src/event/wire.rs");

/* One process for good: a pid alone is used again, and exec makes another program of it. */
struct process_key {
	__u64 start_ns;
	__u32 tgid;
	__u32 exec_id;
};
_Static_assert(sizeof(struct process_key) == 16, "mirrored in src/event/wire.rs");

/* What decides whether a process is followed, asked of user space once for each value. */
enum agentsight_question {
	ASK_EXE = 0,   /* struct file_id of its executable */
	ASK_COMM = 1,  /* its name: 16 bytes */
	ASK_PLACE = 2, /* cgroup (v2) and mount namespace */
	ASK_USER = 3,  /* effective user id */
	ASK_MAX = 4,
};

struct question {
	__u64 value[2];
	__u32 kind; /* enum agentsight_question */
	__u32 pad;
};
_Static_assert(sizeof(struct question) == 24, "mirrored in src/event/wire.rs");

/* The payload of KIND_EXEC, KIND_SEEN and KIND_ASK, of the process that the header names. */
struct process_facts {
	__u64 values[ASK_MAX][2]; /* answers to enum agentsight_question */
	__u64 parent_start;
	__u32 parent;   /* thread group id, init namespace */
	__u32 ns_pid;   /* as the process itself knows its id */
	char path[256]; /* KIND_EXEC, KIND_ASK of an exec: what was asked to be run; else empty */
};
_Static_assert(sizeof(struct process_facts) == 336, "mirrored in src/event/wire.rs");

#define ACT_TEXTS 4

/* The payload of KIND_ACT; texts come behind, one after the other. */
struct act {
	__s64 result; /* of the system call: negative is -errno */
	__u64 value[4];
	struct file_id file;
	__u16 lens[ACT_TEXTS];
	__u8 forms[ACT_TEXTS]; /* enum agentsight_text */
	__u16 flags;           /* enum agentsight_act_flag */
	__u16 pad;
};
_Static_assert(sizeof(struct act) == 72, "mirrored in src/event/act.rs");

/* Why a process is followed. */
enum agentsight_track {
	TRACK_ROOT = 1,  /* the user named this very process */
	TRACK_RULE = 2,  /* it is as the user asked for */
	TRACK_CHILD = 4, /* a process that is followed started it */
	TRACK_BORN = 8,  /* and has been since its first instruction */
};

struct conn_key {
	struct process_key process;
	__u64 ptr;
};
_Static_assert(sizeof(struct conn_key) == 24, "mirrored in src/event/wire.rs");

struct conn {
	__u64 id;
	__u64 offset[2];     /* by direction: bytes moved so far */
	__u64 seq[2];        /* by direction: records emitted or lost so far */
	__u64 left[2];       /* by direction: bytes that the running emission still has to send */
	__u64 active_sp[2];  /* by direction: stack pointer of the outermost running call */
	__u64 active_buf[2]; /* and its buffer: tells calls inside that call */
	__u64 active_len[2];
	__u64 waiting_buf; /* data of a write that had to wait (PROBE_RESUMES) */
	__u32 active_tid[2];
	__s32 fd;
	__u32 refs; /* extra references taken while we watched */
	__u32 handshake_seen;
	__u32 born;         /* we saw the object being made */
	__u32 socket_told;  /* KIND_SOCKET was sent, with the descriptor */
	__u32 socket_tries; /* Go: how often the descriptor was looked for */
	__u64 inner;        /* Go: the net.Conn below, which stays the same */
	__u32 running;      /* Go: calls that have not returned yet */
	__u32 closing;      /* Go: closed by the function with this index minus one */
	__u64 inode;        /* of the socket that the program named; 0: none */
	__u32 endpoint;     /* enum endpoint_state (endpoint.h) */
	__u32 endpoint_tries;
};
_Static_assert(sizeof(struct conn) == 176, "mirrored in src/event/wire.rs");

/* What the nonces of one key's records have told so far: sequence.h. */
struct sequence {
	__u64 last;   /* nonce of the last record, its last eight bytes */
	__u64 number; /* the record's number, as far as `bits` go */
	__u32 bits;   /* how many of the lower bits are known, at most 64 */
	__u32 pad;
};

/* One direction of a connection under one key. */
struct half {
	__u64 id;
	__u64 offset; /* application bytes moved so far */
	__u64 seq;    /* events emitted or lost so far */
	__u64 left;   /* bytes that the running emission still has to send */
	struct sequence sequence;
	__u64 unseen;    /* records that passed unseen and are not told yet */
	__u64 wire;      /* bytes of its records that no system call has explained yet */
	__u64 loose;     /* of these, records whose length on the wire is estimated */
	__u64 sock;      /* struct sock that carries it; 0: not known */
	__u64 candidate; /* the one that may */
	__u64 moved;     /* bytes that went through that one meanwhile */
	__s32 fd;
	__u32 handshake; /* carried a message of a handshake's end: the connection is new */
	__u32 born;      /* we saw its first record */
	__u32 role;      /* enum agentsight_role, once a handshake message tells */
	__u32 function;  /* that was called first */
	__u32 pad;
};
_Static_assert(sizeof(struct half) == 128, "mirrored in src/event/wire.rs");

/* What the programs must know of a function beyond its cookie, by the cookie's index. */
struct function {
	__u64 vaddr;       /* of the probed instruction, before any load bias */
	__u64 first_word;  /* of the connection object, before any load bias (PROBE_GUARDED) */
	__u64 attached_ns; /* processes that started later were seen from their start; 0: not yet */
	__u64 passed;      /* kernel: guard passed at least once */
	__u64 failed;      /* kernel: how often it failed */
	__u32 go;          /* index in `go_facts` plus one; 0: none */
	__u32 kin; /* the first function that takes the same objects: of one library in one file */
};
_Static_assert(sizeof(struct function) == 48, "mirrored in src/event/wire.rs");

/* Places inside of one program's Go types, in bytes from the start of each type. */
struct go_facts {
	__u32 conn;      /* tls.Conn.conn, an interface */
	__u32 is_client; /* tls.Conn.isClient */
	__u32 sysfd;     /* net.netFD.pfd.Sysfd */
	__u32 local;     /* net.netFD.laddr, an interface */
	__u32 peer;      /* net.netFD.raddr, an interface */
	__u32 ip;        /* net.TCPAddr.IP, a slice */
	__u32 port;      /* net.TCPAddr.Port */
	__u32 goid;      /* runtime.g.goid; 0 if unknown */
};
_Static_assert(sizeof(struct go_facts) == 32, "mirrored in src/event/wire.rs");

enum agentsight_go_kind {
	GO_SOCKET = 1,   /* ends the chain: a *net.netFD is its first word */
	GO_WRAPPER = 2,  /* holds the next net.Conn at `offset` */
	GO_TCP_ADDR = 3, /* *net.TCPAddr */
};

struct go_type_key {
	__u64 rtype; /* before any load bias */
	__u32 facts; /* index in `go_facts` */
	__u32 pad;
};
_Static_assert(sizeof(struct go_type_key) == 16, "mirrored in src/event/wire.rs");

struct go_type {
	__u32 kind; /* enum agentsight_go_kind */
	__u32 offset;
};
_Static_assert(sizeof(struct go_type) == 8, "mirrored in src/event/wire.rs");

/* What the `identify` program tells about the caller and one of its open files. */
struct identity {
	struct file_id file;
	__u32 tgid; /* in the init namespace */
	__s32 fd;   /* in: which descriptor */
};
_Static_assert(sizeof(struct identity) == 24, "mirrored in src/event/wire.rs");

#pragma clang diagnostic pop
