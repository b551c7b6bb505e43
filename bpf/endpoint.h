/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which socket carries a connection of a C library. The first message of each end, its hello, goes over the wire in
 * the open and holds 32 random bytes, which the library keeps in its object for as long as it lives. A socket that
 * has sent the bytes that an object holds carries that object's connection: in whatever order, by whatever thread and
 * through whatever buffers they came there (hello.h notes what is sent).
 *
 * Where an object keeps them differs by library, version and build, and is found by looking. A place is believed when
 * a hello was sent while the very call ran that made it, or when several connections agree: memory behind an object
 * belongs to others.
 *
 * A connection that was under way when its probes came has said its hello already. It is known by a record that is
 * sent inside of its call and is exactly as long as the call's bytes make it. What SSL_set_fd told counts where
 * nothing was proven. Two sockets with the same right are none.
 */
#pragma once

enum endpoint_state {
	ENDPOINT_UNKNOWN,
	ENDPOINT_TOLD,  /* by the program; a proof is still looked for */
	ENDPOINT_FINAL, /* proven, contested, or given up */
};

/* How much speaks for a place, and how much is enough. */
#define VOTE_CERTAIN 64
#define VOTE_NEAR 2
#define VOTE_ANY 1
#define VOTES_ENOUGH 3
#define VOTES_MAX 0x10000

/* In `hello_counts`: the process talks to itself, so that each of its objects may hold the bytes of two sockets. */
#define BOTH_ENDS (1U << 31)

/* A place: bytes from the object's start, and, if there is a pointer, from where that points to. */
#define NO_POINTER 0xffffffffU
#define PLACE(at, inner) ((__u64)(at) << 32 | (__u32)(inner))
#define PLACES 4

/* The object itself is searched that far, what its first words point to as far, what others do less far. */
#define OBJECT_BYTES 4096
#define POINTERS 64
#define MAIN_POINTERS 8
#define POINTED_BYTES 512
#define PIECE_WORDS 8
#define PIECE_BYTES (PIECE_WORDS * 8)
#define OBJECT_PIECES (OBJECT_BYTES / PIECE_BYTES)
#define POINTED_PIECES (POINTED_BYTES / PIECE_BYTES)
#define MAIN_ROUNDS (OBJECT_PIECES * (1 + MAIN_POINTERS))
#define SEARCH_ROUNDS (MAIN_ROUNDS + (POINTERS - MAIN_POINTERS) * POINTED_PIECES)
/* Without bpf_loop: the beginning of the object alone. */
#define SEARCH_ROUNDS_UNROLLED 32

/* Who asks, and where it looks. */
struct search {
	__u64 object;
	__u64 conn_id;
	__u64 address; /* of the piece that is looked through */
	__u32 at;      /* its place */
	__u32 inner;
	__u32 function;
	__u32 kin;
	__u32 tgid;
	__u32 learnt; /* a place is known */
	__u32 hello_count;
	__u32 pad;
};

/* Random bytes look like no pointer and no small number. One of some thousands does; it is left to the next call's
 * or the next connection's. */
static __always_inline bool is_random(__u64 word)
{
	return word >> 48 && word >> 48 != 0xffff && (__u16)word;
}

static __always_inline __u32 weigh(const struct search *search, const struct hello *hello)
{
	bool is_near = hello->near == search->conn_id;

	if (is_near && hello->inside)
		return VOTE_CERTAIN;
	if (search->hello_count & BOTH_ENDS)
		return 0;
	if (is_near)
		return search->hello_count == 1 ? VOTES_ENOUGH : VOTE_NEAR;
	return VOTE_ANY;
}

/* A hello's bytes were seen at a place. */
static __noinline int vote(__u32 kin, __u32 role, __u64 place, __u32 weight)
{
	struct place_key key = { .kin = kin, .role = role };
	struct places *places = bpf_map_lookup_elem(&random_places, &key);
	struct places fresh = {};

	if (!places) {
		bpf_map_update_elem(&random_places, &key, &fresh, BPF_NOEXIST);
		places = bpf_map_lookup_elem(&random_places, &key);
	}
	if (!places)
		return 0;
	for (int n = 0; n < PLACES; n++) {
		if (places->votes[n] && places->place[n] != place)
			continue;
		places->place[n] = place;
		if (places->votes[n] < VOTES_MAX)
			places->votes[n] += weight;
		return 0;
	}
	return 0;
}

/* Looks through one piece of memory. Not static: the verifier looks at it once, and not in each round. */
__noinline int search_piece(struct search *search)
{
	__u64 words[PIECE_WORDS + 1] = {}, place;
	struct hello_key key = {};
	struct hello *hello;
	__u32 weight;

	if (!search || bpf_probe_read_user(words, sizeof(words), (void *)search->address))
		return 0;
	key.tgid = search->tgid;
	for (__u32 n = 0; n < PIECE_WORDS; n++) {
		if (!is_random(words[n]))
			continue;
		key.random[0] = words[n];
		key.random[1] = words[n + 1];
		hello = bpf_map_lookup_elem(&hellos, &key);
		weight = hello ? weigh(search, hello) : 0;
		if (!weight)
			continue;
		place = search->inner == NO_POINTER ? PLACE(search->at + n * 8, NO_POINTER) :
						      PLACE(search->at, search->inner + n * 8);
		vote(search->kin, hello->names.role, place, weight);
	}
	return 0;
}

/* One piece: of the object itself, then of what its words point to. */
static long search_round(__u32 round, struct search *search)
{
	__u64 pointer = 0;
	__u32 piece;

	if (round < OBJECT_PIECES) {
		search->at = round * PIECE_BYTES;
		search->inner = NO_POINTER;
		search->address = search->object + search->at;
		search_piece(search);
		return 0;
	}
	if (round < MAIN_ROUNDS) {
		search->at = (round / OBJECT_PIECES - 1) * 8;
		piece = round % OBJECT_PIECES;
	} else {
		round -= MAIN_ROUNDS;
		search->at = (MAIN_POINTERS + round / POINTED_PIECES) * 8;
		piece = round % POINTED_PIECES;
	}
	search->inner = piece * PIECE_BYTES;
	if (bpf_probe_read_user(&pointer, sizeof(pointer), (void *)(search->object + search->at)) ||
	    pointer >> 47 || pointer < OBJECT_BYTES || pointer & 7)
		return 0;
	search->address = pointer + search->inner;
	search_piece(search);
	return 0;
}

/* Not static, as above. */
__noinline int search_object(const struct search *wanted)
{
	struct search search;

	if (!wanted)
		return 0;
	search = *wanted; /* the loop wants it on the stack */
	if (use_bpf_loop) {
		bpf_loop(SEARCH_ROUNDS, search_round, &search, 0);
	} else {
		for (__u32 round = 0; round < SEARCH_ROUNDS_UNROLLED; round++)
			search_round(round, &search);
	}
	return 0;
}

/* The hello of one end whose bytes the object holds where it should; NULL: none was sent by this process. */
static __noinline struct hello *find_hello(struct search *search, __u32 role)
{
	struct place_key place_key = { .kin = search->kin, .role = role };
	struct places *places = bpf_map_lookup_elem(&random_places, &place_key);
	struct hello_key key = { .tgid = search->tgid };
	__u32 most = 0, second = 0;
	__u64 place = 0, from = search->object;

	if (!places)
		return NULL;
	for (int n = 0; n < PLACES; n++) {
		if (places->votes[n] > most) {
			second = most;
			most = places->votes[n];
			place = places->place[n];
		} else if (places->votes[n] > second) {
			second = places->votes[n];
		}
	}
	if (most < VOTES_ENOUGH || most == second)
		return NULL;
	search->learnt = 1;
	from += place >> 32;
	if ((__u32)place != NO_POINTER) {
		if (bpf_probe_read_user(&from, sizeof(from), (void *)from))
			return NULL;
		from += (__u32)place;
	}
	if (bpf_probe_read_user(key.random, sizeof(key.random), (void *)from))
		return NULL;
	return bpf_map_lookup_elem(&hellos, &key);
}

/* What the socket of a connection is. */
static __noinline int emit_endpoint(const struct conn_key *key, const struct conn *conn,
				    const struct socket_names *names, __u32 function)
{
	struct event_header *record;

	if (!key || !conn || !names)
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record) + sizeof(*names), 0);
	if (!record) {
		count(COUNT_RING_FULL_RECORDS, 1);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	fill_conn(record, key, conn, KIND_ENDPOINT, function);
	*(struct socket_names *)(record + 1) = *names;
	record->len = sizeof(*names);
	bpf_ringbuf_submit(record, wakeup(sizeof(*record) + sizeof(*names)));
	return 0;
}

/* There is evidence for two sockets, or two connections for one: nothing is known. */
static __always_inline void contest(const struct conn_key *key, struct conn *conn, __u32 function)
{
	struct socket_names none = { .trust = TRUST_NONE };

	count(COUNT_CONTESTED_ENDPOINTS, 1);
	conn->endpoint = ENDPOINT_FINAL;
	emit_endpoint(key, conn, &none, function);
}

static __always_inline void settle(const struct conn_key *key, struct conn *conn,
				   const struct socket_names *names, __s32 fd, __u32 function)
{
	if (conn->inode && conn->inode != names->inode) {
		contest(key, conn, function);
		return;
	}
	conn->inode = names->inode;
	conn->endpoint = ENDPOINT_FINAL;
	if (fd >= 0)
		conn->fd = fd;
	emit_endpoint(key, conn, names, function);
}

/* Is there another connection that holds the same bytes? An object that lies where another one lay may hold what
 * that one left behind, until its own handshake. */
static __always_inline bool is_foreign(const struct hello *hello, const struct conn *conn,
				       const struct conn_key *key)
{
	return hello->owner && hello->owner != conn->id && hello->owner_ptr == key->ptr;
}

/* The socket whose hello the object holds becomes the connection's. False: there is none. */
static __noinline bool claim(const struct conn_key *key, struct conn *conn, struct search *search)
{
	struct hello *client = find_hello(search, ROLE_CLIENT);
	struct hello *server = find_hello(search, ROLE_SERVER);
	struct hello *hello = client ? client : server;
	struct socket_names names;

	if (!hello || !conn)
		return false;
	/* Who has both ends has both hellos in each object: only one was made in a call of this one. */
	if ((client && server) || search->hello_count & BOTH_ENDS) {
		if (client && client->inside && client->near == conn->id)
			hello = client;
		else if (server && server->inside && server->near == conn->id)
			hello = server;
		else
			return false;
	}
	if (is_foreign(hello, conn, key))
		return false;
	if (hello->owner && hello->owner != conn->id) {
		struct conn other = { .id = hello->owner, .fd = -1 };
		struct socket_names none = { .trust = TRUST_NONE };

		emit_endpoint(key, &other, &none, search->function);
		contest(key, conn, search->function);
		return true;
	}
	hello->owner = conn->id;
	hello->owner_ptr = key->ptr;
	names = hello->names;
	settle(key, conn, &names, hello->fd, search->function);
	return true;
}

/* The program has named a descriptor, which is the socket's still. */
static __always_inline void tell_named_socket(const struct conn_key *key, struct conn *conn,
					      __u32 function)
{
	struct socket_names names = { .trust = TRUST_TOLD };
	struct sock *sock;

	if (conn->endpoint != ENDPOINT_UNKNOWN || !conn->inode || conn->fd < 0)
		return;
	sock = sock_of(conn->fd);
	if (!sock || inode_of(sock) != conn->inode)
		return;
	fill_addresses(&names, sock);
	names.inode = conn->inode;
	conn->endpoint = ENDPOINT_TOLD;
	emit_endpoint(key, conn, &names, function);
}

/* Is it worth to search the object? As long as no place is known; and now and then, since a program can have clients
 * and servers. */
static __always_inline bool is_time_to_search(const struct search *search, const struct conn *conn)
{
	__u32 tries = conn->endpoint_tries;

	if (tries & (tries - 1))
		return false;
	return !search->learnt || tries == 4 || tries == 16 || tries == 64;
}

/*
 * A call of the connection has returned, or its object goes: is there a socket that it is carried by? `works`: the
 * handshake is done. Not static: the verifier looks at it once.
 */
__noinline int seek_endpoint(struct conn_key *key, struct conn *conn, __u32 function, __u32 works)
{
	struct function *facts = bpf_map_lookup_elem(&functions, &function);
	struct search search = { .function = function };
	__u32 *hello_count;

	if (!key || !conn || !facts)
		return 0;
	search.kin = facts->kin;
	search.object = key->ptr;
	search.conn_id = conn->id;
	search.tgid = key->process.tgid;
	hello_count = bpf_map_lookup_elem(&hello_counts, &search.tgid);
	if (hello_count) {
		search.hello_count = *hello_count;
		if (!claim(key, conn, &search) && is_time_to_search(&search, conn)) {
			search_object(&search);
			claim(key, conn, &search);
		}
	}
	if (works)
		tell_named_socket(key, conn, function);
	if (conn->endpoint_tries++ >= ENDPOINT_TRIES_MAX)
		conn->endpoint = ENDPOINT_FINAL;
	return 0;
}

/* SSL_set_fd: remembered as the socket that the descriptor is now. */
static __always_inline void name_socket(struct conn *conn, __s32 fd)
{
	struct sock *sock = sock_of(fd);

	conn->inode = sock && is_stream(sock) ? inode_of(sock) : 0;
}

/* A call begins whose connection's socket is looked for. */
static __always_inline void note_call(const struct conn_key *key, const struct conn *conn,
				      __u64 len, __u32 function)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct last_call call = {
		.conn = *key,
		.conn_id = conn->id,
		.len = len,
		.runs = 1,
		.function = function,
	};

	bpf_map_update_elem(&last_calls, &thread, &call, BPF_ANY);
}

static __always_inline void note_return(const struct conn *conn)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct last_call *call = bpf_map_lookup_elem(&last_calls, &thread);

	if (call && call->conn_id == conn->id)
		call->runs = 0;
}
