/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which socket carries a half: the one whose system calls, on the same thread, move exactly the bytes of
 * its records. A program encrypts and then sends; it receives and then decrypts. What does not add up is
 * no socket; what was found holds until the socket is closed.
 *
 * The kernel's own places where sockets move bytes are watched (sock_send_length and sock_recv_length,
 * Linux 6.3), so that io_uring counts like any system call, as long as the thread itself does the work. On
 * older kernels, returns of system calls.
 */
#pragma once

#define TCP_FIN_WAIT1 4
#define TCP_LAST_ACK 9
#define SHUTDOWN_BOTH 3

/* TLS 1.3 puts an empty change_cipher_spec in front for the sake of middleboxes (RFC 8446, appendix D.4). */
#define CHANGE_CIPHER_SPEC_LEN 6
/* Sums of so many bytes that go together, but for the part of a record, are no chance. */
#define LIKELY_BYTES (64 * 1024)

static __always_inline struct wire *find_wire(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&wires, &thread);
}

static __noinline struct wire *find_or_make_wire(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct wire *known = bpf_map_lookup_elem(&wires, &thread);
	struct wire fresh = { .fd = -1 };
	__u32 tgid = thread >> 32;
	__u8 yes = 1;

	if (known)
		return known;
	bpf_map_update_elem(&wire_processes, &tgid, &yes, BPF_ANY);
	bpf_map_update_elem(&wires, &thread, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&wires, &thread);
}

static __always_inline bool is_wire_process(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&wire_processes, &tgid) != NULL;
}

/* Keeps who carries what, for the socket's end. */
static __noinline struct carrier *find_or_make_carrier(__u64 sock, __u64 inode)
{
	struct carrier *known = bpf_map_lookup_elem(&carriers, &sock);
	struct carrier fresh = { .inode = inode };

	/* Its end can have been missed: another socket at the same place. */
	if (known && known->inode == inode)
		return known;
	bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
	bpf_map_update_elem(&carriers, &sock, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&carriers, &sock);
}

/* The final word on a half. Whoever closes a socket need not be its program: a timer may. */
static __always_inline void close_half(const struct half_key *key, __u64 sock, const char *comm,
				       __u16 flags)
{
	struct half *half = find_half(key);
	struct event_header header = {};

	/* Another connection may have the same context by now. */
	if (!half || half->sock != sock)
		return;
	fill_half(&header, key, half, KIND_CLOSE);
	header.flags |= flags;
	header.pid = header.tid = key->process.tgid;
	__builtin_memcpy(header.comm, comm, sizeof(header.comm));
	if (key->direction == DIR_WRITE)
		header.offset = half->offset;
	else
		header.call_len = half->offset;
	emit_mark(&header);
	bpf_map_delete_elem(&halves, key);
}

static __always_inline bool is_same_half(const struct half_key *one, const struct half_key *other)
{
	return one->context == other->context && one->prefix == other->prefix &&
	       one->direction == other->direction && one->process.tgid == other->process.tgid &&
	       one->process.start_ns == other->process.start_ns;
}

/* The same direction goes on under another key: after the handshake, or a KeyUpdate. */
static __always_inline void replace_half(struct half_key *known, const struct half_key *key,
					 __u64 sock, const char *comm)
{
	struct half_key old = *known;

	*known = *key;
	if (old.context && !is_same_half(&old, key))
		close_half(&old, sock, comm, FLAG_REUSED);
}

/* What is told with a half's socket. */
struct binding {
	__u64 sock;
	__u64 inode; /* when the bytes moved */
	__s32 fd;
	__u32 trust;
};

/* From now on this socket carries the half. */
static __noinline int bind_half(const struct half_key *key, struct half *half,
				const struct binding *binding)
{
	struct carrier *carrier;
	struct event_header *record;
	struct socket_names *names;
	__u64 inode;

	if (!key || !half || !binding)
		return 0;
	/* What was received can be decrypted after its socket was closed. */
	inode = inode_of((struct sock *)binding->sock);
	if (!inode || inode != binding->inode)
		return 0;
	carrier = find_or_make_carrier(binding->sock, inode);
	if (!carrier)
		return 0;
	if (half->handshake)
		carrier->handshake = 1;
	if (half->role)
		carrier->role = half->role;
	replace_half(&carrier->halves[key->direction & 1], key, binding->sock, carrier->comm);
	half->sock = binding->sock;
	half->fd = binding->fd;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record) + sizeof(*names), 0);
	if (!record) {
		count(COUNT_RING_FULL_RECORDS, 1);
		return 0;
	}
	names = (struct socket_names *)(record + 1);
	__builtin_memset(record, 0, sizeof(*record) + sizeof(*names));
	fill_half(record, key, half, KIND_SOCKET);
	fill_addresses(names, (struct sock *)binding->sock);
	names->role = carrier->role;
	names->trust = binding->trust;
	names->inode = carrier->inode;
	if (carrier->handshake)
		record->flags |= FLAG_BORN;
	record->len = sizeof(*names);
	bpf_ringbuf_submit(record, wakeup(sizeof(*record) + sizeof(*names)));
	return 0;
}

/* A record was made: its thread will send it. */
static __always_inline void note_sealed(const struct record *record, struct half *half)
{
	struct wire *wire = find_or_make_wire();

	half->wire += record->wire;
	half->loose += record->numbered;
	if (!wire)
		return;
	wire->sealed = record->half;
	wire->unsent += record->wire;
	wire->loose += record->numbered;
}

/* Of records whose bytes on the wire are not known yet, how many there may be more, or less, each: TLS 1.2
 * has no content type inside, and with AES-GCM a part of the nonce. */
#define LOOSE_LESS 1
#define LOOSE_MORE 7

/* Have the bytes that the socket moved been those of these records? `loose` of them are estimated. */
static __always_inline bool adds_up(__u64 moved, __u64 records, __u64 loose)
{
	if (!records)
		return false;
	return moved == records || moved == records + CHANGE_CIPHER_SPEC_LEN ||
	       (loose &&
		(moved == records - loose * LOOSE_LESS || moved == records + loose * LOOSE_MORE));
}

/* The thread has sent `n` bytes. */
static __always_inline void note_sent(__u64 sock, __s32 fd, __u64 n)
{
	struct binding binding = { .sock = sock, .fd = fd, .trust = TRUST_EXACT };
	struct wire *wire = find_wire();
	struct half_key key;
	struct half *half;
	bool agrees;

	if (!wire || !wire->sealed.context)
		return;
	key = wire->sealed;
	half = find_half(&key);
	if (!half || (half->sock && half->sock != sock))
		return;
	if (half->candidate != sock) {
		half->candidate = sock;
		half->moved = 0;
	}
	half->moved += n;
	agrees = adds_up(n, wire->unsent, wire->loose) ||
		 adds_up(half->moved, half->wire, half->loose);
	if (!half->sock && agrees) {
		binding.inode = inode_of((struct sock *)sock);
		bind_half(&key, half, &binding);
	}
	wire->unsent = wire->loose = 0;
	if (agrees || half->moved > half->wire + half->loose * LOOSE_MORE)
		half->moved = half->wire = half->loose = 0;
}

/* The thread has received `n` bytes, and put them at `buf` if that is known. */
static __always_inline void note_received(__u64 sock, __s32 fd, __u64 n, __u64 buf)
{
	struct wire *wire = find_or_make_wire();
	__u64 inode = inode_of((struct sock *)sock);

	if (!wire)
		return;
	if (wire->sock != sock || wire->inode != inode)
		wire->unopened = 0;
	wire->sock = sock;
	wire->inode = inode;
	wire->fd = fd;
	wire->unopened += n;
	wire->unopened_now = n;
	wire->buf = buf;
	wire->len = n;
	if (buf)
		note_arrivals(sock, inode, buf, n);
}

/* Whether the record's last byte is one of those that came last. */
static __always_inline bool came_last(const struct wire *wire, __u64 end)
{
	return wire->buf && end > wire->buf && end - wire->buf <= wire->len;
}

/* Is nothing that the program receives known to come through this socket? What is weak displaces nothing. */
static __always_inline bool is_free(const struct carrier *carrier)
{
	struct half *known = carrier ? find_half(&carrier->halves[DIR_READ]) : NULL;

	return !known || !known->seq;
}

/* Has the record, or a flight of them, used up what came? A handshake leaves what stood there in the open. */
static __always_inline bool is_used_up(const struct record *record, __u64 left)
{
	return !left || (record->type == TYPE_HANDSHAKE && left == CHANGE_CIPHER_SPEC_LEN);
}

/* How sure it is that a record that was opened came through its thread's socket; negative: it is not. */
static __always_inline __s32 judge_opened(const struct record *record, const struct half *half,
					  struct wire *wire, __u64 end)
{
	struct carrier *carrier = bpf_map_lookup_elem(&carriers, &wire->sock);
	bool has_come = has_arrived(wire->sock, wire->inode, record->wire);
	bool fits = wire->unopened >= record->wire;

	wire->unopened = fits ? wire->unopened - record->wire : 0;
	wire->unopened_now -= record->wire;
	if (has_come || came_last(wire, end))
		return TRUST_EXACT;
	if (!fits)
		return -1;
	if (is_used_up(record, wire->unopened) || is_used_up(record, wire->unopened_now))
		return TRUST_EXACT;
	if (!is_free(carrier))
		return -1;
	if (half->moved >= LIKELY_BYTES && wire->unopened < RECORD_MAX + HEADER_LEN + TAG_LEN)
		return TRUST_LIKELY;
	/* The same program sends through it. */
	return carrier && carrier->halves[DIR_WRITE].context ? TRUST_GUESSED : -1;
}

/* A record was opened: it has come through the socket from which its thread received last. */
static __always_inline void note_opened(const struct record *record, struct half *half, __u64 end)
{
	struct wire *wire = find_or_make_wire();
	struct binding binding = {};
	__s32 trust;

	if (!wire || !wire->sock || (half->sock && half->sock != wire->sock))
		return;
	if (half->candidate != wire->sock) {
		half->candidate = wire->sock;
		half->moved = 0;
	}
	half->moved += record->wire;
	trust = judge_opened(record, half, wire, end);
	if (half->sock || trust < 0)
		return;
	binding.trust = trust;
	binding.sock = wire->sock;
	binding.inode = wire->inode;
	binding.fd = wire->fd;
	bind_half(&record->half, half, &binding);
}

/* Where the call has put the `n` bytes that it received; 0 if that is not known, or not one place. */
static __always_inline __u64 buffer_of(struct pt_regs *regs, __u64 n)
{
	struct iovec first = {};
	__u32 number = SYSCALL_NUMBER(regs);
	__u64 buf = SYSCALL_SECOND(regs);

	if (number == NR_READ || number == NR_RECVFROM)
		return buf;
	if (number != NR_READV || bpf_probe_read_user(&first, sizeof(first), (void *)buf))
		return 0;
	/* Where there is more than one piece, what lies behind the first is something else. */
	return n <= first.len ? first.base : 0;
}

SEC("raw_tp/sock_send_length")
int socket_sent(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sock = (void *)ctx->args[0];
	__s32 n = ctx->args[1];
	struct pt_regs *regs;

	if (n <= 0)
		return 0;
	regs = syscall_regs();
	look_at_sent(sock, regs, n);
	if (!is_wire_process())
		return 0;
	note_sent((__u64)sock, regs ? fd_of(regs, BPF_CORE_READ(sock, sk_socket)) : -1, n);
	return 0;
}

SEC("raw_tp/sock_recv_length")
int socket_received(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sock = (void *)ctx->args[0];
	__s32 n = ctx->args[1];
	struct pt_regs *regs;
	__s32 fd = -1;
	__u64 buf = 0;

	if (n <= 0 || ctx->args[2] & PR_MSG_PEEK)
		return 0;
	regs = syscall_regs();
	look_at_received(sock, regs, n);
	if (!is_wire_process())
		return 0;
	if (regs) {
		fd = fd_of(regs, BPF_CORE_READ(sock, sk_socket));
		buf = fd >= 0 ? buffer_of(regs, n) : 0;
	}
	note_received((__u64)sock, fd, n, buf);
	return 0;
}

/* Where the kernel has no such tracepoints: system calls on sockets that have moved bytes. */
SEC("raw_tp/sys_exit")
int syscall_returned(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (void *)ctx->args[0];
	__s64 n = ctx->args[1];
	bool receives, sends;
	struct sock *sock;
	__u32 number;

	if (n <= 0)
		return 0;
	number = SYSCALL_NUMBER(regs);
	receives = number == NR_READ || number == NR_READV || number == NR_RECVFROM ||
		   number == NR_RECVMSG;
	sends = number == NR_WRITE || number == NR_WRITEV || number == NR_SENDTO ||
		number == NR_SENDMSG;
	if (!receives && !sends)
		return 0;
	if (number == NR_RECVFROM && SYSCALL_FOURTH(regs) & PR_MSG_PEEK)
		return 0;
	sock = sock_of(SYSCALL_FIRST(regs));
	if (!sock)
		return 0;
	if (sends)
		look_at_sent(sock, regs, n);
	else
		look_at_received(sock, regs, n);
	if (!is_wire_process())
		return 0;
	if (sends)
		note_sent((__u64)sock, SYSCALL_FIRST(regs), n);
	else
		note_received((__u64)sock, SYSCALL_FIRST(regs), n, buffer_of(regs, n));
	return 0;
}

/* The socket carries nothing any more. */
static __always_inline void end_carrier(__u64 sock)
{
	struct carrier *carrier = bpf_map_lookup_elem(&carriers, &sock);
	struct carrier gone;

	bpf_map_delete_elem(&inbounds, &sock);
	if (!carrier)
		return;
	gone = *carrier;
	if (bpf_map_delete_elem(&carriers, &sock))
		return;
	for (int direction = 0; direction < 2; direction++)
		if (gone.halves[direction].context)
			close_half(&gone.halves[direction], sock, gone.comm, 0);
}

/*
 * The program closes its end. Not when the connection itself is over: what has arrived by then can still be
 * read; nor at shutdown(2) for sending alone.
 */
SEC("raw_tp/inet_sock_set_state")
int socket_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sock = (void *)ctx->args[0];
	__s32 state = ctx->args[2];

	if ((state == TCP_FIN_WAIT1 || state == TCP_LAST_ACK) &&
	    BPF_CORE_READ(sock, sk_shutdown) == SHUTDOWN_BOTH)
		end_carrier((__u64)sock);
	return 0;
}

/* The kernel gives the socket back, at the latest when the program has closed it. */
SEC("raw_tp/tcp_destroy_sock")
int socket_destroyed(struct bpf_raw_tracepoint_args *ctx)
{
	end_carrier(ctx->args[0]);
	return 0;
}
