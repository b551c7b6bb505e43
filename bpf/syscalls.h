/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * System calls that have returned: whose they are, and what they are. Every process of the machine comes by here while
 * acts are told, so whoever is not followed is gone after one look.
 */
#pragma once

/* arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h */
#if defined(__TARGET_ARCH_x86)
#define NR_OPEN 2
#define NR_CLOSE 3
#define NR_MMAP 9
#define NR_PWRITE64 18
#define NR_DUP2 33
#define NR_SENDFILE 40
#define NR_CONNECT 42
#define NR_ACCEPT 43
#define NR_BIND 49
#define NR_LISTEN 50
#define NR_EXECVE 59
#define NR_KILL 62
#define NR_TRUNCATE 76
#define NR_FTRUNCATE 77
#define NR_RENAME 82
#define NR_MKDIR 83
#define NR_RMDIR 84
#define NR_CREAT 85
#define NR_LINK 86
#define NR_UNLINK 87
#define NR_SYMLINK 88
#define NR_CHMOD 90
#define NR_FCHMOD 91
#define NR_CHOWN 92
#define NR_FCHOWN 93
#define NR_LCHOWN 94
#define NR_PTRACE 101
#define NR_SETUID 105
#define NR_SETGID 106
#define NR_SETREUID 113
#define NR_SETREGID 114
#define NR_SETRESUID 117
#define NR_SETRESGID 119
#define NR_RT_SIGQUEUEINFO 129
#define NR_MKNOD 133
#define NR_TKILL 200
#define NR_TGKILL 234
#define NR_OPENAT 257
#define NR_MKDIRAT 258
#define NR_MKNODAT 259
#define NR_FCHOWNAT 260
#define NR_UNLINKAT 263
#define NR_RENAMEAT 264
#define NR_LINKAT 265
#define NR_SYMLINKAT 266
#define NR_FCHMODAT 268
#define NR_SPLICE 275
#define NR_ACCEPT4 288
#define NR_DUP3 292
#define NR_PWRITEV 296
#define NR_RECVMMSG 299
#define NR_SENDMMSG 307
#define NR_PROCESS_VM_READV 310
#define NR_PROCESS_VM_WRITEV 311
#define NR_RENAMEAT2 316
#define NR_MEMFD_CREATE 319
#define NR_EXECVEAT 322
#define NR_COPY_FILE_RANGE 326
#define NR_PWRITEV2 328
#define NR_PIDFD_SEND_SIGNAL 424
#define NR_IO_URING_SETUP 425
#define NR_IO_URING_ENTER 426
#define NR_CLOSE_RANGE 436
#define NR_OPENAT2 437
#define NR_FCHMODAT2 452
#else
#define NR_CLOSE 57
#define NR_MMAP 222
#define NR_PWRITE64 68
#define NR_SENDFILE 71
#define NR_CONNECT 203
#define NR_ACCEPT 202
#define NR_BIND 200
#define NR_LISTEN 201
#define NR_EXECVE 221
#define NR_KILL 129
#define NR_TRUNCATE 45
#define NR_FTRUNCATE 46
#define NR_FCHMOD 52
#define NR_FCHOWN 55
#define NR_PTRACE 117
#define NR_SETUID 146
#define NR_SETGID 144
#define NR_SETREUID 145
#define NR_SETREGID 143
#define NR_SETRESUID 147
#define NR_SETRESGID 149
#define NR_RT_SIGQUEUEINFO 138
#define NR_TKILL 130
#define NR_TGKILL 131
#define NR_OPENAT 56
#define NR_MKDIRAT 34
#define NR_MKNODAT 33
#define NR_FCHOWNAT 54
#define NR_UNLINKAT 35
#define NR_RENAMEAT 38
#define NR_LINKAT 37
#define NR_SYMLINKAT 36
#define NR_FCHMODAT 53
#define NR_SPLICE 76
#define NR_ACCEPT4 242
#define NR_DUP3 24
#define NR_PWRITEV 70
#define NR_RECVMMSG 243
#define NR_SENDMMSG 269
#define NR_PROCESS_VM_READV 270
#define NR_PROCESS_VM_WRITEV 271
#define NR_RENAMEAT2 276
#define NR_MEMFD_CREATE 279
#define NR_EXECVEAT 281
#define NR_COPY_FILE_RANGE 285
#define NR_PWRITEV2 287
#define NR_PIDFD_SEND_SIGNAL 424
#define NR_IO_URING_SETUP 425
#define NR_IO_URING_ENTER 426
#define NR_CLOSE_RANGE 436
#define NR_OPENAT2 437
#define NR_FCHMODAT2 452
#endif

#define SYSCALLS_MAX 512
#define TS_COMPAT 2
/* Results that no program sees: the call is made once more (include/linux/errno.h). */
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516
#define MESSAGES_MAX 4     /* of sendmmsg and recvmmsg that are looked at */
#define PIECES_TOLD_MAX 16 /* of writev */

/* Mirrored in src/attach/acts.rs. */
enum call_sort {
	CALL_NONE = 0,
	CALL_PATH = 1,
	CALL_OPEN = 2,
	CALL_FILE = 3,
	CALL_OUT = 4,
	CALL_IN = 5,
	CALL_CLOSE = 6,
	CALL_SOCKET = 7,
	CALL_OTHER = 8,
	CALL_MAX = 9,
};

static const __u8 call_sorts[SYSCALLS_MAX] = {
	[NR_EXECVE] = CALL_PATH,
	[NR_TRUNCATE] = CALL_PATH,
	[NR_MKDIRAT] = CALL_PATH,
	[NR_MKNODAT] = CALL_PATH,
	[NR_FCHOWNAT] = CALL_PATH,
	[NR_UNLINKAT] = CALL_PATH,
	[NR_RENAMEAT] = CALL_PATH,
	[NR_LINKAT] = CALL_PATH,
	[NR_SYMLINKAT] = CALL_PATH,
	[NR_FCHMODAT] = CALL_PATH,
	[NR_RENAMEAT2] = CALL_PATH,
	[NR_EXECVEAT] = CALL_PATH,
	[NR_FCHMODAT2] = CALL_PATH,
	[NR_OPENAT] = CALL_OPEN,
	[NR_OPENAT2] = CALL_OPEN,
	[NR_FTRUNCATE] = CALL_FILE,
	[NR_FCHMOD] = CALL_FILE,
	[NR_FCHOWN] = CALL_FILE,
	[NR_MMAP] = CALL_FILE,
	[NR_WRITE] = CALL_OUT,
	[NR_WRITEV] = CALL_OUT,
	[NR_PWRITE64] = CALL_OUT,
	[NR_PWRITEV] = CALL_OUT,
	[NR_PWRITEV2] = CALL_OUT,
	[NR_SENDFILE] = CALL_OUT,
	[NR_SPLICE] = CALL_OUT,
	[NR_COPY_FILE_RANGE] = CALL_OUT,
	[NR_SENDTO] = CALL_OUT,
	[NR_SENDMSG] = CALL_OUT,
	[NR_SENDMMSG] = CALL_OUT,
	[NR_READ] = CALL_IN,
	[NR_READV] = CALL_IN,
	[NR_RECVFROM] = CALL_IN,
	[NR_RECVMSG] = CALL_IN,
	[NR_RECVMMSG] = CALL_IN,
	[NR_CLOSE] = CALL_CLOSE,
	[NR_DUP3] = CALL_CLOSE,
	[NR_CLOSE_RANGE] = CALL_CLOSE,
	[NR_CONNECT] = CALL_SOCKET,
	[NR_ACCEPT] = CALL_SOCKET,
	[NR_ACCEPT4] = CALL_SOCKET,
	[NR_BIND] = CALL_SOCKET,
	[NR_LISTEN] = CALL_SOCKET,
	[NR_KILL] = CALL_OTHER,
	[NR_TKILL] = CALL_OTHER,
	[NR_TGKILL] = CALL_OTHER,
	[NR_RT_SIGQUEUEINFO] = CALL_OTHER,
	[NR_PIDFD_SEND_SIGNAL] = CALL_OTHER,
	[NR_PTRACE] = CALL_OTHER,
	[NR_PROCESS_VM_READV] = CALL_OTHER,
	[NR_PROCESS_VM_WRITEV] = CALL_OTHER,
	[NR_SETUID] = CALL_OTHER,
	[NR_SETGID] = CALL_OTHER,
	[NR_SETREUID] = CALL_OTHER,
	[NR_SETREGID] = CALL_OTHER,
	[NR_SETRESUID] = CALL_OTHER,
	[NR_SETRESGID] = CALL_OTHER,
	[NR_MEMFD_CREATE] = CALL_OTHER,
	[NR_IO_URING_SETUP] = CALL_OTHER,
	[NR_IO_URING_ENTER] = CALL_OTHER,
#if defined(__TARGET_ARCH_x86)
	[NR_RENAME] = CALL_PATH,
	[NR_MKDIR] = CALL_PATH,
	[NR_RMDIR] = CALL_PATH,
	[NR_LINK] = CALL_PATH,
	[NR_UNLINK] = CALL_PATH,
	[NR_SYMLINK] = CALL_PATH,
	[NR_CHMOD] = CALL_PATH,
	[NR_CHOWN] = CALL_PATH,
	[NR_LCHOWN] = CALL_PATH,
	[NR_MKNOD] = CALL_PATH,
	[NR_OPEN] = CALL_OPEN,
	[NR_CREAT] = CALL_OPEN,
	[NR_DUP2] = CALL_CLOSE,
#endif
};

/* Openings are in it for the case that they fail. */
static const struct path_call path_calls[SYSCALLS_MAX] = {
	[NR_EXECVE] = { .act = ACT_EXEC_FAILED, .path = 1 },
	[NR_EXECVEAT] = { .act = ACT_EXEC_FAILED, .dir = 1, .path = 2 },
	[NR_TRUNCATE] = { .act = ACT_TRUNCATE, .path = 1, .value = 2 },
	[NR_RENAMEAT] = { .act = ACT_RENAME, .dir = 1, .path = 2, .dir2 = 3, .path2 = 4 },
	[NR_RENAMEAT2] = { .act = ACT_RENAME,
			   .dir = 1,
			   .path = 2,
			   .dir2 = 3,
			   .path2 = 4,
			   .value = 5 },
	[NR_MKDIRAT] = { .act = ACT_MKDIR, .dir = 1, .path = 2, .value = 3 },
	[NR_LINKAT] = { .act = ACT_LINK, .dir = 1, .path = 2, .dir2 = 3, .path2 = 4, .value = 5 },
	[NR_UNLINKAT] = { .act = ACT_UNLINK, .dir = 1, .path = 2, .value = 3 },
	[NR_SYMLINKAT] = { .act = ACT_SYMLINK, .dir = 2, .path = 3, .path2 = 1, .is_target = 1 },
	[NR_FCHMODAT] = { .act = ACT_CHMOD, .dir = 1, .path = 2, .value = 3 },
	[NR_FCHMODAT2] = { .act = ACT_CHMOD, .dir = 1, .path = 2, .value = 3 },
	[NR_FCHOWNAT] = { .act = ACT_CHOWN, .dir = 1, .path = 2, .value = 3, .value2 = 4 },
	[NR_MKNODAT] = { .act = ACT_MKNOD, .dir = 1, .path = 2, .value = 3, .value2 = 4 },
	[NR_OPENAT] = { .act = ACT_OPEN, .dir = 1, .path = 2, .value = 3 },
	[NR_OPENAT2] = { .act = ACT_OPEN, .dir = 1, .path = 2 },
#if defined(__TARGET_ARCH_x86)
	[NR_RENAME] = { .act = ACT_RENAME, .path = 1, .path2 = 2 },
	[NR_MKDIR] = { .act = ACT_MKDIR, .path = 1, .value = 2 },
	[NR_RMDIR] = { .act = ACT_RMDIR, .path = 1 },
	[NR_LINK] = { .act = ACT_LINK, .path = 1, .path2 = 2 },
	[NR_UNLINK] = { .act = ACT_UNLINK, .path = 1 },
	[NR_SYMLINK] = { .act = ACT_SYMLINK, .path = 2, .path2 = 1, .is_target = 1 },
	[NR_CHMOD] = { .act = ACT_CHMOD, .path = 1, .value = 2 },
	[NR_CHOWN] = { .act = ACT_CHOWN, .path = 1, .value = 2, .value2 = 3 },
	[NR_LCHOWN] = { .act = ACT_CHOWN, .path = 1, .value = 2, .value2 = 3 },
	[NR_MKNOD] = { .act = ACT_MKNOD, .path = 1, .value = 2, .value2 = 3 },
	[NR_OPEN] = { .act = ACT_OPEN, .path = 1, .value = 2 },
	[NR_CREAT] = { .act = ACT_OPEN, .path = 1 },
#endif
};

static __always_inline const struct path_call *path_call_of(__u32 number)
{
	return &path_calls[number & (SYSCALLS_MAX - 1)];
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_with_path, struct pt_regs *regs, long result)
{
	const struct path_call *call = path_call_of(SYSCALL_NUMBER(regs));
	struct process_key process;

	current_process(&process);
	if (call->act)
		tell_path_call(&process, call, regs, result);
	return 0;
}

/* The flags of an opening that failed: openat2 has them in memory. */
static __always_inline __u64 wanted_flags(struct pt_regs *regs, __u32 number)
{
	__u64 flags = 0;

	if (number == NR_OPENAT2)
		bpf_probe_read_user(&flags, sizeof(flags), (void *)syscall_argument(regs, 3));
	else if (number == NR_OPENAT)
		flags = syscall_argument(regs, 3);
#if defined(__TARGET_ARCH_x86)
	else if (number == NR_OPEN)
		flags = syscall_argument(regs, 2);
	else
		flags = O_CREAT | 1;
#endif
	return flags;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_that_opens, struct pt_regs *regs, long result)
{
	__u32 number = SYSCALL_NUMBER(regs);
	const struct path_call *call = path_call_of(number);
	struct process_key process;
	struct file *file;
	__u64 flags;

	current_process(&process);
	if (result >= 0) {
		file = file_of(result);
		if (file)
			file_opened(&process, file, result);
		return 0;
	}
	flags = wanted_flags(regs, number);
	if ((flags & O_ACCMODE || flags & O_CREAT))
		tell_path_call(&process, call, regs, result);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_on_file, struct pt_regs *regs, long result)
{
	__u32 number = SYSCALL_NUMBER(regs);
	struct process_key process;
	struct act_record *record;
	struct file *file;
	__u64 kind;

	current_process(&process);
	if (number != NR_MMAP) {
		tell_file_call(&process,
			       number == NR_FCHMOD ? ACT_CHMOD :
			       number == NR_FCHOWN ? ACT_CHOWN :
						     ACT_TRUNCATE,
			       regs, result);
		return 0;
	}
	kind = syscall_argument(regs, 4);
	if (!(syscall_argument(regs, 3) & PROT_WRITE) || kind & MAP_ANONYMOUS ||
	    ((kind & MAP_TYPE) != MAP_SHARED && (kind & MAP_TYPE) != MAP_SHARED_VALIDATE))
		return 0;
	file = file_of(syscall_argument(regs, 5));
	if (!file)
		return 0;
	record = own_act(&process, ACT_MMAP);
	if (!record)
		return 0;
	record->header.fd = syscall_argument(regs, 5);
	record->act.result = result < 0 && result >= -4095 ? result : 0;
	record->act.value[0] = syscall_argument(regs, 2);
	record->act.value[1] = syscall_argument(regs, 6);
	identify_file(file, &record->act.file);
	if (!record->act.result)
		note_written(&record->act.file);
	add_file_path(record, 0, file);
	tell_act(record);
	return 0;
}

/* Whether the bytes of these calls are in one place, or in pieces at the place. */
static __always_inline bool is_gathered(__u32 number)
{
	return number == NR_WRITEV || number == NR_READV;
}

static __always_inline void stdio_moved(const struct process_key *process, struct pt_regs *regs,
					struct file *file, __u32 direction, __u64 n)
{
	__u32 number = SYSCALL_NUMBER(regs);
	__u64 at = syscall_argument(regs, 2);
	__s32 fd = syscall_argument(regs, 1);
	struct message_head message = {};
	struct packet packet = {};
	struct iovec piece;

	if (number == NR_WRITE || number == NR_READ || number == NR_SENDTO ||
	    number == NR_RECVFROM) {
		packet.buf = at;
		packet.n = n;
		tell_stdio(process, fd, file, direction, &packet);
		return;
	}
	if (number == NR_SENDMSG || number == NR_RECVMSG) {
		if (bpf_probe_read_user(&message, sizeof(message), (void *)at))
			return;
		at = message.pieces;
	} else if (!is_gathered(number)) {
		return;
	}
	for (__u32 i = 0; i < PIECES_TOLD_MAX && n; i++) {
		if (bpf_probe_read_user(&piece, sizeof(piece), (void *)(at + i * sizeof(piece))))
			return;
		if (piece.len > n)
			piece.len = n;
		packet.buf = piece.base;
		packet.n = piece.len;
		if (piece.len)
			tell_stdio(process, fd, file, direction, &packet);
		n -= piece.len;
	}
}

/* The packet of sendto, recvfrom, sendmsg, recvmsg, and of read and write. */
static __always_inline void one_packet(struct pt_regs *regs, __u64 n, struct packet *packet)
{
	__u32 number = SYSCALL_NUMBER(regs);
	__u64 at = syscall_argument(regs, 2);
	struct message_head message = {};
	struct iovec first = {};

	packet->n = n;
	if (number == NR_SENDTO || number == NR_RECVFROM) {
		packet->buf = at;
		packet->address = syscall_argument(regs, 5);
		packet->address_len = 16;
	} else if (number == NR_WRITE || number == NR_READ) {
		packet->buf = at;
	} else if (number == NR_SENDMSG || number == NR_RECVMSG) {
		if (bpf_probe_read_user(&message, sizeof(message), (void *)at) ||
		    bpf_probe_read_user(&first, sizeof(first), (void *)message.pieces))
			return;
		packet->buf = first.base;
		packet->address = message.name;
		packet->address_len = message.name_len;
		if (first.len < n)
			packet->n = first.len;
	}
}

/* struct mmsghdr: struct user_msghdr and the bytes that were moved. */
#define MMSG_SIZE 64
#define MMSG_LEN_AT 56

static __always_inline void many_packets(const struct process_key *process, struct pt_regs *regs,
					 struct file *file, __u32 direction, __u64 n)
{
	__u64 at = syscall_argument(regs, 2);
	__s32 fd = syscall_argument(regs, 1);
	struct message_head message;
	struct iovec first;
	__u32 len;

	for (__u32 i = 0; i < MESSAGES_MAX && i < n; i++, at += MMSG_SIZE) {
		struct packet packet = {};

		if (bpf_probe_read_user(&message, sizeof(message), (void *)at) ||
		    bpf_probe_read_user(&first, sizeof(first), (void *)message.pieces) ||
		    bpf_probe_read_user(&len, sizeof(len), (void *)(at + MMSG_LEN_AT)))
			return;
		packet.buf = first.base;
		packet.n = len;
		packet.address = message.name;
		packet.address_len = message.name_len;
		socket_moved(process, fd, file, &packet, direction);
	}
}

static __always_inline int moved(struct pt_regs *regs, __s32 fd, __u32 direction, __u64 n)
{
	struct process_key process;
	struct packet packet = {};
	struct file *file = file_of(fd);
	__u32 number = SYSCALL_NUMBER(regs);
	__s32 stream;
	__u16 mode;

	if (!file)
		return 0;
	mode = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
	if (mode != S_IFREG && mode != S_IFSOCK && mode != S_IFIFO)
		return 0;
	if (mode == S_IFREG && direction == DIR_READ)
		return 0;
	current_process(&process);
	if (mode == S_IFREG)
		return file_written(&process, fd, file, n);
	stream = stream_of(&process, file, fd);
	if (stream >= 0 && sort_of(file, stream, mode) == DESCRIPTOR_PIPE) {
		stdio_moved(&process, regs, file, direction, n);
		return 0;
	}
	if (mode == S_IFIFO)
		return 0;
	if (number == NR_SENDMMSG || number == NR_RECVMMSG) {
		many_packets(&process, regs, file, direction, n);
		return 0;
	}
	one_packet(regs, n, &packet);
	return socket_moved(&process, fd, file, &packet, direction);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_that_sends, struct pt_regs *regs, long result)
{
	__u32 number = SYSCALL_NUMBER(regs);
	__u32 which = number == NR_SPLICE || number == NR_COPY_FILE_RANGE ? 3 : 1;

	if (result > 0)
		moved(regs, syscall_argument(regs, which), DIR_WRITE, result);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_that_receives, struct pt_regs *regs, long result)
{
	if (result > 0)
		moved(regs, syscall_argument(regs, 1), DIR_READ, result);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_that_closes, struct pt_regs *regs, long result)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u32 number = SYSCALL_NUMBER(regs);
	struct descriptor_range range = { .tgid = tgid };
	__s32 fd;

	if (number == NR_CLOSE) {
		/* Closed even if that tells an error, but for a number that is none (close(2)). */
		fd = syscall_argument(regs, 1);
		end_others(tgid, fd, (__u64)file_of(fd));
	} else if (number == NR_CLOSE_RANGE) {
		range.from = syscall_argument(regs, 1);
		range.to = syscall_argument(regs, 2);
		range.only_closed = true;
		if (!result)
			end_range(&range);
	} else if (result >= 0) {
		end_others(tgid, result, (__u64)file_of(result));
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_on_socket, struct pt_regs *regs, long result)
{
	__u32 number = SYSCALL_NUMBER(regs);
	__s32 fd = syscall_argument(regs, 1);
	struct packet named = {};
	struct process_key process;
	struct file *file;

	current_process(&process);
	if (number == NR_CONNECT || number == NR_BIND) {
		named.address = syscall_argument(regs, 2);
		named.address_len = syscall_argument(regs, 3);
	}
	if (number == NR_CONNECT) {
		tell_socket_call(&process, ACT_CONNECT, fd, result, &named);
		socket_connects(&process, fd, result);
	} else if (number == NR_BIND) {
		tell_socket_call(&process, ACT_BIND, fd, result, &named);
	} else if (number == NR_LISTEN) {
		tell_socket_call(&process, ACT_LISTEN, fd, result, &named);
	} else if (result >= 0) {
		tell_socket_call(&process, ACT_ACCEPT, result, result, &named);
		file = file_of(result);
		end_others(process.tgid, result, 0);
		if (file)
			new_descriptor(&process, result, file, 0);
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_of_other_kind, struct pt_regs *regs, long result)
{
	__u32 number = SYSCALL_NUMBER(regs);
	struct process_key process;
	struct act_record *record;
	__u64 first = syscall_argument(regs, 1), second = syscall_argument(regs, 2);

	current_process(&process);
	switch (number) {
	case NR_KILL:
	case NR_TKILL:
	case NR_RT_SIGQUEUEINFO:
	case NR_PIDFD_SEND_SIGNAL:
		if (second)
			tell_numbers(&process, ACT_SIGNAL, result, first, second);
		break;
	case NR_TGKILL:
		/* A thread's word to another one of its process is its own affair. */
		if (first != process.tgid)
			tell_numbers(&process, ACT_SIGNAL, result, first,
				     syscall_argument(regs, 3));
		break;
	case NR_PTRACE:
		tell_numbers(&process, ACT_PTRACE, result, first, second);
		break;
	case NR_PROCESS_VM_READV:
	case NR_PROCESS_VM_WRITEV:
		tell_numbers(&process, ACT_PTRACE, result, ~0ULL - (number == NR_PROCESS_VM_WRITEV),
			     first);
		break;
	case NR_IO_URING_SETUP:
	case NR_IO_URING_ENTER:
		if (result >= 0)
			tell_blind(&process, BLIND_IO_URING);
		break;
	case NR_MEMFD_CREATE:
		record = own_act(&process, ACT_MEMFD);
		if (!record)
			break;
		record->header.fd = result;
		record->act.result = result;
		add_user_text(record, 0, first);
		tell_act(record);
		break;
	default:
		tell_ids(&process, result);
	}
	return 0;
}

/* By enum call_sort. User space fills it in: the object is to load where these programs do not. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, CALL_MAX);
} call_programs SEC(".maps");

SEC("tp_btf/sys_exit")
int BPF_PROG(call_returned, struct pt_regs *regs, long result)
{
	/* Read directly, without a helper: this is all that whoever is not followed pays for. */
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tgid = task->tgid, number, sort;
	struct process_key process;

	if (!may_be_tracked(tgid))
		return 0;
	current_process(&process);
	if (!find_tracked(&process) || tgid == self_tgid)
		return 0;
	number = SYSCALL_NUMBER(regs);
#if defined(__TARGET_ARCH_x86)
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) {
		tell_blind(&process, BLIND_COMPAT);
		return 0;
	}
#endif
	/* The x32 numbers have a bit above these. */
	if (number >= SYSCALLS_MAX) {
		if (number < ~0U)
			tell_blind(&process, BLIND_COMPAT);
		return 0;
	}
	if (result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK)
		return 0;
	sort = call_sorts[number];
	if (sort)
		bpf_tail_call(ctx, &call_programs, sort);
	return 0;
}
