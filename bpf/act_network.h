/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What processes do with sockets: whom they connect to, who comes to them, how much went, and what names they ask for. */
#pragma once

#define SOCK_DGRAM 2
#define PORT_DNS 53
#define EINPROGRESS 115
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define SOCKADDR_MAX 128

/* Connections under way, by struct sock: who wanted them. Deleted when they are made, or not. */
struct connecting {
	struct process_key process;
	__u64 inode;
	__s32 fd;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64);
	__type(value, struct connecting);
	__uint(max_entries, SOCKETS_MAX);
} connecting SEC(".maps");

static __always_inline struct sock *sock_of_file(struct file *file)
{
	struct socket *socket;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __noinline int add_socket(struct act_record *record, __u32 index, struct sock *sock)
{
	struct socket_names names = {};
	char *to;

	if (!record || !sock)
		return 0;
	to = next_text(record);
	if (!to)
		return 0;
	fill_addresses(&names, sock);
	names.inode = inode_of(sock);
	bpf_probe_read_kernel(to, sizeof(names), &names);
	end_text(record, index, sizeof(names), TEXT_PLAIN);
	return 1;
}

static __always_inline void fill_type(struct act *act, struct sock *sock)
{
	act->value[0] = pair(BPF_CORE_READ(sock, sk_type),
			     BPF_CORE_READ(sock, sk_protocol) |
				     (__u32)BPF_CORE_READ(sock, __sk_common.skc_family) << 16);
	act->value[1] = inode_of(sock);
}

static __always_inline void add_address(struct act_record *record, __u32 index,
					const struct packet *packet)
{
	__u64 len = packet->address_len;

	add_user_bytes(record, index, packet->address, len < SOCKADDR_MAX ? len : SOCKADDR_MAX);
}

static __noinline int tell_socket_call(const struct process_key *process, __u16 act, __s32 fd,
				       __s64 result, const struct packet *packet)
{
	struct file *file = file_of(fd);
	struct sock *sock = file ? sock_of_file(file) : NULL;
	struct act_record *record;

	if (!process || !sock || !packet)
		return 0;
	record = own_act(process, act);
	if (!record)
		return 0;
	record->header.fd = fd;
	record->act.result = result;
	fill_type(&record->act, sock);
	add_address(record, 0, packet);
	add_socket(record, 1, sock);
	return tell_act(record);
}

/* The connection was made, or failed. */
static __noinline int tell_connected(__u32 user, const struct connecting *who, struct sock *sock,
				     __u32 state)
{
	struct act_record *record;

	if (!who || !sock)
		return 0;
	record = new_act(user, ACT_CONNECTED);
	if (!record)
		return 0;
	record->header.ts_ns = bpf_ktime_get_boot_ns();
	record->header.process_start = who->process.start_ns;
	record->header.pid = record->header.tid = who->process.tgid;
	record->header.fd = who->fd;
	if (state != TCP_ESTABLISHED)
		record->act.result = -BPF_CORE_READ(sock, sk_err);
	fill_type(&record->act, sock);
	record->act.value[1] = who->inode;
	add_socket(record, 1, sock);
	return tell_act(record);
}

static __noinline int socket_connects(const struct process_key *process, __s32 fd, __s64 result)
{
	struct connecting who = { .fd = fd };
	struct file *file = file_of(fd);
	struct sock *sock = file ? sock_of_file(file) : NULL;
	__u64 key = (__u64)sock;
	struct descriptor *known;
	__u32 state;

	if (!process || !sock)
		return 0;
	if (result && result != -EINPROGRESS)
		return 0;
	known = find_descriptor(process->tgid, fd, file);
	if (known)
		fill_addresses(&known->names, sock);
	else
		new_descriptor(process, fd, file, 0);
	if (!result)
		return 0;
	who.process = *process;
	who.inode = inode_of(sock);
	bpf_map_update_elem(&connecting, &key, &who, BPF_ANY);
	/* On this machine it is made before the call returns. */
	state = BPF_CORE_READ(sock, __sk_common.skc_state);
	if (state != TCP_SYN_SENT && !bpf_map_delete_elem(&connecting, &key))
		tell_connected(ACT_USER_PROCESS, &who, sock, state);
	return 0;
}

/* In whatever process the packet finds. */
SEC("raw_tp/inet_sock_set_state")
int connection_made(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sock = (void *)ctx->args[0];
	__u64 key = (__u64)sock;
	struct connecting *known, who;

	if ((__s32)ctx->args[1] != TCP_SYN_SENT)
		return 0;
	known = bpf_map_lookup_elem(&connecting, &key);
	if (!known)
		return 0;
	who = *known;
	if (bpf_map_delete_elem(&connecting, &key))
		return 0;
	tell_connected(ACT_USER_INTERRUPT, &who, sock, ctx->args[2]);
	return 0;
}

static __always_inline __u16 port_of(const struct socket_names *names, const struct packet *packet)
{
	__u8 start[4] = {};

	if (names->peer_port)
		return names->peer_port;
	if (!packet->address || bpf_probe_read_user(start, sizeof(start), (void *)packet->address))
		return 0;
	return start[2] << 8 | start[3];
}

static __noinline int tell_dns(const struct process_key *process, __s32 fd, struct sock *sock,
			       const struct packet *packet, __u32 direction)
{
	struct act_record *record;

	if (!process || !packet || !sock)
		return 0;
	record = own_act(process, ACT_DNS);
	if (!record)
		return 0;
	record->header.fd = fd;
	record->header.direction = direction;
	record->act.result = packet->n;
	record->act.value[0] = direction;
	record->act.value[1] = inode_of(sock);
	add_user_bytes(record, 0, packet->buf, packet->n);
	add_socket(record, 1, sock);
	add_address(record, 2, packet);
	return tell_act(record);
}

/* The address as a number, to see when it is another one. */
static __always_inline __u64 address_number(const struct packet *packet)
{
	__u64 words[3] = {};

	if (!packet->address ||
	    bpf_probe_read_user(words, packet->address_len < 24 ? 8 : 24, (void *)packet->address))
		return 0;
	return words[0] ^ words[1] * 31 ^ words[2] * 961;
}

/* Bytes went through a socket. */
static __noinline int socket_moved(const struct process_key *process, __s32 fd, struct file *file,
				   const struct packet *packet, __u32 direction)
{
	struct descriptor *known;
	struct sock *sock;
	__u64 peer;

	if (!process || !packet)
		return 0;
	known = find_descriptor(process->tgid, fd, file);
	if (!known)
		known = new_descriptor(process, fd, file, ACT_FLAG_INHERITED);
	if (!known || known->sort != DESCRIPTOR_SOCKET)
		return 0;
	__sync_fetch_and_add(&known->bytes[direction & 1], packet->n);
	if ((known->type & 15) != SOCK_DGRAM)
		return 0;
	sock = sock_of_file(file);
	if (!sock)
		return 0;
	peer = direction == DIR_WRITE ? address_number(packet) : 0;
	if (peer && peer != known->peer) {
		known->peer = peer;
		tell_socket_call(process, ACT_SEND_TO, fd, packet->n, packet);
	}
	if (port_of(&known->names, packet) == PORT_DNS)
		tell_dns(process, fd, sock, packet, direction);
	return 0;
}
