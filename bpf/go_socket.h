/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a Go tls.Conn to its socket: through the interface that it keeps, and through wrappers around
 * a net.Conn, to a net.netFD with its descriptor and addresses. Each hop is taken only if the dynamic
 * type is one that discovery knows by its address; everything else ends the search without an answer.
 */
#pragma once

struct go_interface {
	__u64 itab;
	__u64 data;
};

struct go_slice {
	__u64 data;
	__u64 len;
};

/* One program's types, as they are loaded in one process. */
struct go_types_here {
	const struct go_facts *facts;
	__u64 bias;
	__u32 index;
};

/* runtime.itab: { inter, type, … }. The type is compared, not the itab: the runtime makes itabs of its
 * own for conversions that the linker did not foresee. */
#define GO_ITAB_TYPE 8

static __always_inline struct go_type *go_type_of(const struct go_types_here *types,
						  const struct go_interface *interface)
{
	struct go_type_key key = { .facts = types->index };
	__u64 rtype = 0;

	if (!interface->itab ||
	    bpf_probe_read_user(&rtype, sizeof(rtype), (void *)(interface->itab + GO_ITAB_TYPE)))
		return NULL;
	key.rtype = rtype - types->bias;
	return bpf_map_lookup_elem(&go_types, &key);
}

/* The address of the net.netFD; 0 if there is none. */
static __always_inline __u64 find_net_fd(const struct go_types_here *types, __u64 conn)
{
	struct go_interface interface = {};
	__u64 at = conn + types->facts->conn, net_fd = 0;
	struct go_type *type;

	for (int hop = 0; hop <= GO_HOPS_MAX; hop++) {
		if (bpf_probe_read_user(&interface, sizeof(interface), (void *)at))
			return 0;
		type = go_type_of(types, &interface);
		if (!type)
			return 0;
		if (type->kind == GO_SOCKET) {
			if (bpf_probe_read_user(&net_fd, sizeof(net_fd), (void *)interface.data))
				return 0;
			return net_fd;
		}
		if (type->kind != GO_WRAPPER)
			return 0;
		at = interface.data + type->offset;
	}
	return 0;
}

/* Reads the net.Addr at `at`; the number of address bytes, 0 if it is no TCP address. */
static __always_inline __u8 read_address(const struct go_types_here *types, __u64 at, __u8 *ip,
					 __u16 *port)
{
	struct go_interface interface = {};
	struct go_slice slice = {};
	struct go_type *type;

	if (bpf_probe_read_user(&interface, sizeof(interface), (void *)at))
		return 0;
	type = go_type_of(types, &interface);
	if (!type || type->kind != GO_TCP_ADDR)
		return 0;
	if (bpf_probe_read_user(port, sizeof(*port),
				(void *)(interface.data + types->facts->port)) ||
	    bpf_probe_read_user(&slice, sizeof(slice), (void *)(interface.data + types->facts->ip)))
		return 0;
	if (slice.len == 4 && !bpf_probe_read_user(ip, 4, (void *)slice.data))
		return 4;
	if (slice.len == 16 && !bpf_probe_read_user(ip, 16, (void *)slice.data))
		return 16;
	return 0;
}

static __always_inline __u8 read_role(const struct go_types_here *types, __u64 conn)
{
	__u8 is_client = 2; /* a Go bool is 0 or 1 */

	bpf_probe_read_user(&is_client, sizeof(is_client),
			    (void *)(conn + types->facts->is_client));
	if (is_client > 1)
		return 0;
	return is_client ? ROLE_CLIENT : ROLE_SERVER;
}

/* Not inlined, so that the object's BTF has the type of its argument for layout.rs. */
static __noinline int fill_names(const struct go_types_here *types, __u64 net_fd,
				 struct socket_names *names)
{
	names->local_len =
		read_address(types, net_fd + types->facts->local, names->local, &names->local_port);
	names->peer_len =
		read_address(types, net_fd + types->facts->peer, names->peer, &names->peer_port);
	return 0;
}

static __always_inline void find_socket(const struct go_types_here *types, struct conn *conn,
					__u64 net_fd, struct socket_names *names)
{
	struct sock *sock;
	__s32 fd = -1;

	if (!net_fd ||
	    bpf_probe_read_user(&fd, sizeof(fd), (void *)(net_fd + types->facts->sysfd)) || fd < 0)
		return;
	conn->fd = fd;
	fill_names(types, net_fd, names);
	sock = sock_of(fd);
	if (sock)
		names->inode = inode_of(sock);
}

/*
 * Tells the role and the socket of a connection, once. What cannot be found is looked for again with
 * the next calls, and is not guessed.
 */
static __always_inline void tell_socket(const struct go_types_here *types,
					const struct conn_key *key, struct conn *conn,
					__u16 function)
{
	bool is_first = !conn->socket_tries;
	struct event_header *record;
	struct socket_names *names;
	__u64 net_fd;

	if (conn->socket_told || conn->socket_tries >= GO_SOCKET_TRIES_MAX)
		return;
	conn->socket_tries++;
	net_fd = find_net_fd(types, key->ptr);
	if (!net_fd && !is_first)
		return;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record) + sizeof(*names), 0);
	if (!record) {
		count(COUNT_RING_FULL_RECORDS, 1);
		return;
	}
	names = (struct socket_names *)(record + 1);
	__builtin_memset(record, 0, sizeof(*record) + sizeof(*names));
	names->role = read_role(types, key->ptr);
	find_socket(types, conn, net_fd, names);
	conn->socket_told = conn->fd >= 0;
	fill_conn(record, key, conn, KIND_SOCKET, function);
	record->len = sizeof(*names);
	bpf_ringbuf_submit(record, wakeup(sizeof(*record) + sizeof(*names)));
}
