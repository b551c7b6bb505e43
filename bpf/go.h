/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Calls of Go's tls.Conn. Go has calling conventions of its own (ABIInternal since 1.17, ABI0 before:
 * https://go.dev/s/regabi), and its stacks move, so that a return probe, which writes a return address
 * into the stack, ends the program. Returns are watched by plain probes on each RET.
 *
 * The entry is hit again when the stack had to grow or the goroutine was preempted there: nothing is
 * told and nothing is counted at entry.
 */
#pragma once

/* What ABIInternal passes where: receiver, slice (pointer, length, capacity); results from the first
 * register on; g is the running goroutine's runtime.g. */
#if defined(__TARGET_ARCH_x86)
#define GO_REG0(ctx) ((ctx)->ax)
#define GO_REG1(ctx) ((ctx)->bx)
#define GO_REG2(ctx) ((ctx)->cx)
#define GO_G(ctx) ((ctx)->r14)
#elif defined(__TARGET_ARCH_arm64)
#define GO_REG0(ctx) (((const struct user_pt_regs *)(ctx))->regs[0])
#define GO_REG1(ctx) (((const struct user_pt_regs *)(ctx))->regs[1])
#define GO_REG2(ctx) (((const struct user_pt_regs *)(ctx))->regs[2])
#define GO_G(ctx) (((const struct user_pt_regs *)(ctx))->regs[28])
#endif

/* runtime.g begins with its stack's bounds: runtime/runtime2.go, the same in all versions. */
struct go_stack {
	__u64 lo;
	__u64 hi;
};

/*
 * Above the return address: with ABI0 the arguments and then the results; with ABIInternal room that
 * functions with a stack check spill their arguments to, which the runtime keeps right when it moves
 * the stack.
 */
struct go_frame {
	__u64 ret;
	__u64 conn;
	__u64 buf;
	__u64 len;
	__u64 cap;
	__u64 n; /* ABI0 only */
};

static __always_inline bool is_on_go_stack(__u64 cookie)
{
	return COOKIE_FLAGS(cookie) & PROBE_GO_STACK;
}

static __always_inline void fill_go_key(struct pt_regs *ctx, struct go_call_key *key,
					struct go_stack *stack)
{
	__u64 sp = entry_sp(ctx, bpf_get_attach_cookie(ctx));

	key->g = GO_G(ctx);
	if (bpf_probe_read_user(stack, sizeof(*stack), (void *)key->g))
		stack->lo = stack->hi = 0;
	key->depth = stack->hi - sp;
}

/* A connection of a process that started after its probes came is seen from its start. */
static __always_inline struct conn *find_go_conn(const struct conn_key *key,
						 const struct function *function)
{
	struct conn *conn = find_conn(key);

	if (conn)
		return conn;
	conn = find_or_make_conn(key);
	if (conn && function->attached_ns && key->process.start_ns > function->attached_ns)
		conn->born = 1;
	return conn;
}

/*
 * Close. The connection ends when its last call has returned: one goroutine closes it while another one
 * waits in Read, or has not yet come back from a Write that the peer has answered already.
 */
static __always_inline void end_go_conn(struct pt_regs *ctx, __u64 cookie,
					const struct process_key *process)
{
	struct conn_key key = { .process = *process, .ptr = GO_REG0(ctx) };
	__u64 sp = entry_sp(ctx, cookie);
	struct conn *conn;

	if (is_on_go_stack(cookie) &&
	    bpf_probe_read_user(&key.ptr, sizeof(key.ptr),
				(void *)(sp + __builtin_offsetof(struct go_frame, conn))))
		return;
	conn = find_conn(&key);
	if (!conn || conn->closing)
		return;
	conn->closing = COOKIE_FUNCTION(cookie) + 1;
	if (!conn->running)
		close_conn(&key, COOKIE_FUNCTION(cookie), 0);
}

/* The net.Conn below: an address that another one is below now was handed out anew, without Close. */
static __always_inline __u64 inner_conn(const struct function *function, __u64 ptr)
{
	__u32 index = function->go - 1;
	struct go_facts *facts = bpf_map_lookup_elem(&go_facts, &index);
	__u64 data = 0;

	if (facts)
		bpf_probe_read_user(&data, sizeof(data), (void *)(ptr + facts->conn + 8));
	return data;
}

/* Whether this can be a tls.Conn, as far as its type is known. */
static __always_inline bool has_inner_conn(__u64 cookie, __u64 ptr)
{
	struct function *function = find_function(cookie);

	return function && (!function->go || inner_conn(function, ptr));
}

/* Counts the call in its connection, which is made if need be. */
static __always_inline void join_go_conn(const struct conn_key *key, __u64 cookie,
					 struct go_call *call, const struct go_call *before)
{
	struct function *function = find_function(cookie);
	struct conn *conn;
	__u64 inner;

	if (!function)
		return;
	inner = inner_conn(function, key->ptr);
	conn = find_conn(key);
	if (conn && conn->inner && inner && conn->inner != inner) {
		close_conn(key, COOKIE_FUNCTION(cookie), FLAG_REUSED);
		conn = NULL;
	}
	if (!conn)
		conn = find_go_conn(key, function);
	if (!conn)
		return;
	if (!conn->inner)
		conn->inner = inner;
	call->conn_id = conn->id;
	if (!before || before->conn_id != conn->id)
		__sync_fetch_and_add(&conn->running, 1);
}

static __always_inline void part_from_go_conn(const struct conn_key *key, __u64 id)
{
	struct conn *conn = find_conn(key);

	if (!conn || !id || conn->id != id)
		return;
	__sync_fetch_and_add(&conn->running, -1);
	if (!conn->running && conn->closing)
		close_conn(key, conn->closing - 1, 0);
}

static __always_inline void enter_go_call(struct pt_regs *ctx, __u64 cookie,
					  struct go_call_key *key)
{
	struct conn_key conn_key = { .process = key->process, .ptr = GO_REG0(ctx) };
	bool is_read = COOKIE_DIRECTION(cookie) == DIR_READ;
	struct go_stack stack = {};
	struct go_call *before;
	struct go_call call = {};

	fill_go_key(ctx, key, &stack);
	call.conn = conn_key.ptr;
	call.buf = GO_REG1(ctx);
	call.len = GO_REG2(ctx);
	if (call.buf >= stack.lo && call.buf < stack.hi) {
		call.on_stack = 1;
		call.buf = stack.hi - call.buf;
	}
	/* The same call again, or what a goroutine left that died. */
	if (is_read)
		before = bpf_map_lookup_elem(&go_reads, key);
	else
		before = bpf_map_lookup_elem(&go_writes, key);
	join_go_conn(&conn_key, cookie, &call, before);
	if (is_read) {
		/* Without room, the spill slots have to do. */
		if (bpf_map_update_elem(&go_reads, key, &call, BPF_ANY))
			part_from_go_conn(&conn_key, call.conn_id);
	} else if (bpf_map_update_elem(&go_writes, key, &call, BPF_ANY)) {
		part_from_go_conn(&conn_key, call.conn_id);
		count(COUNT_CALL_FULL, 1);
	}
}

SEC("uprobe")
int go_enter(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct go_call_key key = {};

	current_process(&key.process);
	if (!is_followed(&key.process))
		return 0;
	if (COOKIE_OP(cookie) == OP_FREE)
		end_go_conn(ctx, cookie, &key.process);
	else
		enter_go_call(ctx, cookie, &key);
	return 0;
}

/*
 * Where the frame tells all: with ABI0; and for reads that began before their probe came, by their
 * spill slots. A write keeps its receiver elsewhere. Own frames on the BPF stack, which has 512 bytes
 * for all of them.
 */
static __noinline __u64 recall_go_call(struct pt_regs *ctx, struct go_call_key *key)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct go_frame frame = {};
	struct go_call call = {};

	if (!is_on_go_stack(cookie) && COOKIE_DIRECTION(cookie) != DIR_READ) {
		count(COUNT_UNDER_WAY_CALLS, 1);
		return 0;
	}
	if (bpf_probe_read_user(&frame, sizeof(frame), (void *)entry_sp(ctx, cookie))) {
		count(COUNT_BAD_RESULT, 1);
		return 0;
	}
	if (!is_on_go_stack(cookie) && !has_inner_conn(cookie, frame.conn)) {
		count(COUNT_UNDER_WAY_CALLS, 1);
		return 0;
	}
	/* Write's `m, b = 1, b[1:]`: TLS 1.0 sends the first byte alone (crypto/tls/conn.go). */
	if (is_on_go_stack(cookie) && COOKIE_DIRECTION(cookie) == DIR_WRITE &&
	    frame.n == frame.len + 1) {
		frame.buf--;
		frame.len++;
	}
	call.conn = frame.conn;
	call.buf = frame.buf;
	call.len = frame.len;
	if (bpf_map_update_elem(&go_writes, key, &call, BPF_ANY))
		count(COUNT_CALL_FULL, 1);
	return is_on_go_stack(cookie) ? frame.n : GO_REG0(ctx);
}

/* Makes the connection known, with its socket. */
static __noinline int meet_go_conn(struct pt_regs *ctx, struct go_call_key *key, __u64 ptr)
{
	struct conn_key conn_key = { .process = key->process, .ptr = ptr };
	struct function *function = find_function(bpf_get_attach_cookie(ctx));
	struct go_types_here types = {};
	struct conn *conn;

	if (!function)
		return 0;
	conn = find_go_conn(&conn_key, function);
	if (!conn || conn->socket_told || conn->socket_tries >= GO_SOCKET_TRIES_MAX)
		return 0;
	types.index = function->go - 1;
	types.facts = bpf_map_lookup_elem(&go_facts, &types.index);
	if (!types.facts)
		return 0;
	types.bias = load_bias(ctx, function);
	tell_socket(&types, &conn_key, conn, COOKIE_FUNCTION(bpf_get_attach_cookie(ctx)));
	return 0;
}

static __always_inline __u64 goroutine_of(__u64 cookie, __u64 g)
{
	struct function *function = find_function(cookie);
	struct go_facts *facts;
	__u64 goid = 0;
	__u32 index;

	if (!function || !g)
		return 0;
	index = function->go - 1;
	facts = bpf_map_lookup_elem(&go_facts, &index);
	if (facts && facts->goid)
		bpf_probe_read_user(&goid, sizeof(goid), (void *)(g + facts->goid));
	return goid;
}

/* Tells the plaintext of a call that moved `n` bytes. `left` is in its entry in the table of calls. */
static __noinline int tell_go_call(struct pt_regs *ctx, struct go_call_key *key,
				   struct go_call *running, __u64 buf, __u64 n)
{
	struct conn_key conn_key = { .process = key->process, .ptr = running->conn };
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct outgoing out = {};
	struct conn *conn;

	if (n > running->len || n > GO_CALL_MAX) {
		count(COUNT_BAD_RESULT, 1);
		return 0;
	}
	conn = find_conn(&conn_key);
	if (!conn) {
		count(COUNT_CONN_FULL_RECORDS, 1);
		count(COUNT_CONN_FULL_BYTES, n);
		return 0;
	}
	fill_data(&out.header, &conn_key, conn, cookie, n);
	out.header.goroutine = goroutine_of(cookie, key->g);
	emit_plaintext(&out, conn, buf, n, &running->left);
	return 0;
}

static __always_inline void leave_go_stack_call(struct pt_regs *ctx, struct go_call_key *key)
{
	struct go_call *running;
	__u64 n;

	key->depth = entry_sp(ctx, bpf_get_attach_cookie(ctx));
	n = recall_go_call(ctx, key);
	running = bpf_map_lookup_elem(&go_writes, key);
	if (running && (__s64)n > 0) {
		meet_go_conn(ctx, key, running->conn);
		tell_go_call(ctx, key, running, running->buf, n);
	}
	bpf_map_delete_elem(&go_writes, key);
}

static __always_inline void leave_go_call(struct pt_regs *ctx, __u64 cookie,
					  struct go_call_key *key)
{
	bool is_read = COOKIE_DIRECTION(cookie) == DIR_READ;
	struct go_stack stack = {};
	struct go_call *running;
	__u64 n = GO_REG0(ctx);
	struct conn_key conn_key = { .process = key->process };
	bool recalled = false;

	fill_go_key(ctx, key, &stack);
	if (is_read)
		running = bpf_map_lookup_elem(&go_reads, key);
	else
		running = bpf_map_lookup_elem(&go_writes, key);
	if ((__s64)n > 0 && !running) {
		recalled = true;
		recall_go_call(ctx, key);
		running = bpf_map_lookup_elem(&go_writes, key);
	}
	if ((__s64)n > 0 && running) {
		meet_go_conn(ctx, key, running->conn);
		tell_go_call(ctx, key, running,
			     running->on_stack ? stack.hi - running->buf : running->buf, n);
	}
	if (!running)
		return;
	conn_key.ptr = running->conn;
	part_from_go_conn(&conn_key, running->conn_id);
	if (is_read)
		bpf_map_delete_elem(&go_reads, key);
	if (!is_read || recalled)
		bpf_map_delete_elem(&go_writes, key);
}

/* On every RET. An error beside n > 0 takes nothing back: the bytes have moved. */
SEC("uprobe")
int go_leave(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct go_call_key key = {};

	current_process(&key.process);
	if (!is_followed(&key.process))
		return 0;
	if (is_on_go_stack(cookie))
		leave_go_stack_call(ctx, &key);
	else
		leave_go_call(ctx, cookie, &key);
	return 0;
}
