/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the kernel knows of sockets, descriptors and the system call that runs. Nothing is kept here, and nothing is
 * concluded.
 */
#pragma once

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFIFO 0010000
#define S_IFCHR 0020000
#define SOCK_STREAM 1

/* The socket's number, as in /proc/PID/fd; 0: it is no file's any more. */
static __always_inline __u64 inode_of(struct sock *sock)
{
	return BPF_CORE_READ(sock, sk_socket, file, f_inode, i_ino);
}

static __always_inline void fill_addresses(struct socket_names *names, struct sock *sock)
{
	__u16 family = BPF_CORE_READ(sock, __sk_common.skc_family);
	__u32 v4;

	if (family == AF_INET) {
		v4 = BPF_CORE_READ(sock, __sk_common.skc_rcv_saddr);
		__builtin_memcpy(names->local, &v4, sizeof(v4));
		v4 = BPF_CORE_READ(sock, __sk_common.skc_daddr);
		__builtin_memcpy(names->peer, &v4, sizeof(v4));
		names->local_len = names->peer_len = sizeof(v4);
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&names->local, sock, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&names->peer, sock, __sk_common.skc_v6_daddr);
		names->local_len = names->peer_len = sizeof(names->local);
	} else {
		return;
	}
	names->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	names->peer_port = __builtin_bswap16(BPF_CORE_READ(sock, __sk_common.skc_dport));
}

static __always_inline struct file *file_of(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **slots, *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	slots = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]))
		return NULL;
	return file;
}

/* A system call's number and first arguments, as they are until it returns. */
#if defined(__TARGET_ARCH_x86)
#define SYSCALL_NUMBER(regs) ((__u32)BPF_CORE_READ(regs, orig_ax))
#define SYSCALL_FIRST(regs) BPF_CORE_READ(regs, di)
#define SYSCALL_SECOND(regs) BPF_CORE_READ(regs, si)
#define SYSCALL_FOURTH(regs) BPF_CORE_READ(regs, r10)
#define NR_READ 0
#define NR_WRITE 1
#define NR_READV 19
#define NR_WRITEV 20
#define NR_SENDTO 44
#define NR_RECVFROM 45
#define NR_SENDMSG 46
#define NR_RECVMSG 47
#else
#define SYSCALL_NUMBER(regs) ((__u32)BPF_CORE_READ(regs, syscallno))
#define SYSCALL_FIRST(regs) BPF_CORE_READ(regs, orig_x0)
#define SYSCALL_SECOND(regs) BPF_CORE_READ(regs, regs[1])
#define SYSCALL_FOURTH(regs) BPF_CORE_READ(regs, regs[3])
#define NR_READ 63
#define NR_WRITE 64
#define NR_READV 65
#define NR_WRITEV 66
#define NR_SENDTO 206
#define NR_RECVFROM 207
#define NR_SENDMSG 211
#define NR_RECVMSG 212
#endif

/* An argument of a system call, counted from 1; 0 is none. */
static __noinline __u64 syscall_argument(struct pt_regs *regs, __u32 number)
{
	if (!regs)
		return 0;
#if defined(__TARGET_ARCH_x86)
	switch (number) {
	case 1:
		return BPF_CORE_READ(regs, di);
	case 2:
		return BPF_CORE_READ(regs, si);
	case 3:
		return BPF_CORE_READ(regs, dx);
	case 4:
		return BPF_CORE_READ(regs, r10);
	case 5:
		return BPF_CORE_READ(regs, r8);
	case 6:
		return BPF_CORE_READ(regs, r9);
	}
#else
	switch (number) {
	case 1:
		return BPF_CORE_READ(regs, orig_x0);
	case 2:
		return BPF_CORE_READ(regs, regs[1]);
	case 3:
		return BPF_CORE_READ(regs, regs[2]);
	case 4:
		return BPF_CORE_READ(regs, regs[3]);
	case 5:
		return BPF_CORE_READ(regs, regs[4]);
	case 6:
		return BPF_CORE_READ(regs, regs[5]);
	}
#endif
	return 0;
}

/* The descriptor, if it is this socket's: io_uring has another one there. */
static __always_inline __s32 fd_of(struct pt_regs *regs, struct socket *socket)
{
	__u32 fd = SYSCALL_FIRST(regs);
	struct file *file = file_of(fd);

	return file && BPF_CORE_READ(file, private_data) == socket ? (__s32)fd : -1;
}

/* The socket of a descriptor of the caller; NULL: it is none. */
static __always_inline struct sock *sock_of(__u32 fd)
{
	struct file *file = file_of(fd);
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* Does it carry a stream over IP? */
static __always_inline bool is_stream(struct sock *sock)
{
	struct socket *socket = BPF_CORE_READ(sock, sk_socket);
	__u16 family = BPF_CORE_READ(sock, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(socket, type) == SOCK_STREAM;
}

struct iovec {
	__u64 base;
	__u64 len;
};

static __always_inline struct pt_regs *syscall_regs(void)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return NULL;
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

/* struct user_msghdr (include/linux/socket.h), its beginning. */
struct message_head {
	__u64 name;
	__u32 name_len;
	__u32 pad;
	__u64 pieces;
};

/* The first piece of memory that a system call moves bytes from or to, and how many of its `n` bytes are there.
 * Tells 0 if that is not known: io_uring, sendfile. */
static __always_inline __u64 first_piece(struct pt_regs *regs, __u64 *n)
{
	__u32 number = SYSCALL_NUMBER(regs);
	__u64 at = SYSCALL_SECOND(regs);
	struct message_head message = {};
	struct iovec first = {};

	if (number == NR_READ || number == NR_RECVFROM || number == NR_WRITE || number == NR_SENDTO)
		return at;
	if (number == NR_SENDMSG || number == NR_RECVMSG) {
		if (bpf_probe_read_user(&message, sizeof(message), (void *)at))
			return 0;
		at = message.pieces;
	} else if (number != NR_READV && number != NR_WRITEV) {
		return 0;
	}
	if (bpf_probe_read_user(&first, sizeof(first), (void *)at))
		return 0;
	if (first.len < *n)
		*n = first.len;
	return first.base;
}
