/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Calls into C TLS libraries. All of them pass the connection object first; where the buffer, the
 * length and the result are stands in the cookie (event.h), so that OpenSSL, BoringSSL, GnuTLS and
 * NSPR share these two programs.
 *
 * The payload is read when the call returns: by then the library itself has touched every byte, so
 * its pages are there, and only bytes that were taken over (partial writes, retries) are reported.
 */
#pragma once

/* gnutls lib/gnutls_int.h (3.3.5 to 3.8): struct mbuffer_st, which gnutls_packet_t points to. */
struct gnutls_packet {
	__u64 next;
	__u64 prev;
	__u64 mark; /* bytes of `data` that are used up */
	__u64 data;
	__u32 size;
	__u32 pad;
};

/* The barriers keep clang from folding the loads into one with a computed context offset, which the
 * verifier refuses. */
#define ARGUMENT_CASE(n, parm)      \
	case n:                     \
		value = parm(ctx);  \
		barrier_var(value); \
		return value

static __always_inline __u64 argument(struct pt_regs *ctx, __u8 n)
{
	__u64 value;

	switch (n) {
		ARGUMENT_CASE(0, PT_REGS_PARM1);
		ARGUMENT_CASE(1, PT_REGS_PARM2);
		ARGUMENT_CASE(2, PT_REGS_PARM3);
		ARGUMENT_CASE(3, PT_REGS_PARM4);
		ARGUMENT_CASE(4, PT_REGS_PARM5);
	default:
		return 0;
	}
}

/* The stack pointer at the function's first instruction, as seen at one of its sites. */
static __always_inline __u64 entry_sp(struct pt_regs *ctx, __u64 cookie)
{
	return PT_REGS_SP(ctx) + COOKIE_DEPTH(cookie);
}

/* The same, as seen by a return probe: x86's `ret` has popped the return address. */
static __always_inline __u64 entry_sp_at_return(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	return PT_REGS_SP(ctx) - sizeof(__u64);
#else
	return PT_REGS_SP(ctx);
#endif
}

/*
 * Is this call made by another one that reports the same bytes? gnutls_record_send jumps to
 * gnutls_record_send2 (same stack pointer), SSL_write_ex calls SSL_write_ex2 (deeper). The buffer
 * must lie in the outer one's: then a call that never returned (longjmp) hides nothing but an
 * attempt to read into the very same memory from deeper on the same stack.
 */
static __always_inline bool is_nested(const struct conn *conn, const struct call *call, __u64 sp)
{
	__u8 dir = COOKIE_DIRECTION(call->cookie) & 1;

	return conn->active_tid[dir] == (__u32)bpf_get_current_pid_tgid() &&
	       conn->active_sp[dir] > sp && call->buf >= conn->active_buf[dir] &&
	       call->buf - conn->active_buf[dir] < conn->active_len[dir];
}

/* The outer function ended with a jump into this one: same frame, same bytes, another function. */
static __always_inline bool jumped_from(const struct call *outer, const struct call *call)
{
	return outer->conn.ptr == call->conn.ptr && outer->buf == call->buf &&
	       COOKIE_FUNCTION(outer->cookie) != COOKIE_FUNCTION(call->cookie);
}

/* A plain NSPR descriptor is no TLS: nothing of it may be emitted. */
static __always_inline __u8 guard(const struct call *call)
{
	if (!(COOKIE_FLAGS(call->cookie) & PROBE_NSPR))
		return NSPR_TLS;
	return judge_descriptor(&call->conn.process, call->conn.ptr);
}

/* Remembers a data call. False: the bytes will be told by another call, or cannot be. */
static __always_inline bool enter_data(const struct call_key *key, struct call *call)
{
	struct call *outer = bpf_map_lookup_elem(&calls, key);
	__u8 dir = COOKIE_DIRECTION(call->cookie) & 1;
	struct conn *conn;

	call->guard = guard(call);
	if (call->guard == NSPR_PLAIN) {
		count(COUNT_PLAIN_CALLS, 1);
		return false;
	}
	conn = find_or_make_conn(&call->conn);
	if (!conn)
		return true; /* told at return, when the number of bytes is known */
	if ((outer && jumped_from(outer, call)) || is_nested(conn, call, key->sp)) {
		count(COUNT_NESTED_CALLS, 1);
		return false;
	}
	conn->active_tid[dir] = (__u32)key->pid_tgid;
	conn->active_sp[dir] = key->sp;
	conn->active_buf[dir] = call->buf;
	conn->active_len[dir] = call->len;
	if (conn->endpoint != ENDPOINT_FINAL)
		note_call(&call->conn, conn, dir == DIR_WRITE ? call->len : 0,
			  COOKIE_FUNCTION(call->cookie));
	return true;
}

/* What is sent in a handshake's call is that connection's. */
static __always_inline void enter_handshake(const struct call *call)
{
	struct conn *conn = find_conn(&call->conn);

	if (conn && conn->endpoint != ENDPOINT_FINAL)
		note_call(&call->conn, conn, 0, COOKIE_FUNCTION(call->cookie));
}

/* Notes how far the stream is: what the library sends by calls that we see is not missing later. */
static __always_inline bool enter_sendfile(struct call *call)
{
	struct conn *conn;

	call->guard = guard(call);
	if (call->guard == NSPR_PLAIN)
		return false;
	conn = find_or_make_conn(&call->conn);
	call->buf = conn ? conn->offset[DIR_WRITE] : 0;
	return conn;
}

/* GnuTLS sends corked data with its own gnutls_record_send, on a buffer of its own. */
static __always_inline bool enter_flush(const struct call_key *key, const struct call *call)
{
	struct conn *conn = find_conn(&call->conn);

	if (!conn)
		return false;
	conn->active_tid[DIR_WRITE] = (__u32)key->pid_tgid;
	conn->active_sp[DIR_WRITE] = key->sp;
	conn->active_buf[DIR_WRITE] = 0;
	conn->active_len[DIR_WRITE] = ~0ULL;
	return true;
}

static __always_inline void leave_flush(const struct call *call)
{
	struct conn *conn = find_conn(&call->conn);

	if (conn)
		conn->active_tid[DIR_WRITE] = 0;
}

/* A call that is not remembered hides no other. */
static __always_inline void forget_active(const struct call *call)
{
	struct conn *conn = find_conn(&call->conn);

	if (conn)
		conn->active_tid[COOKIE_DIRECTION(call->cookie) & 1] = 0;
}

/* True: it is remembered until it returns. */
static __always_inline bool enter_call(const struct call_key *key, struct call *call)
{
	__u8 op = COOKIE_OP(call->cookie);

	if (op == OP_DATA && !enter_data(key, call)) {
		/* A jump from an outer function is still that one's call. */
		if (call->guard == NSPR_PLAIN)
			bpf_map_delete_elem(&calls, key);
		return false;
	}
	if (op == OP_SENDFILE && !enter_sendfile(call))
		return false;
	if (op == OP_FLUSH && !enter_flush(key, call))
		return false;
	if (op == OP_HANDSHAKE)
		enter_handshake(call);
	if (!bpf_map_update_elem(&calls, key, call, BPF_ANY))
		return true;
	count(COUNT_CALL_FULL, 1);
	if (op == OP_DATA || op == OP_FLUSH)
		forget_active(call);
	return false;
}

/* A call of a connection has returned whose socket is looked for. */
static __always_inline void leave_unsettled(struct call *call, struct conn *conn, bool works)
{
	if (!conn || conn->endpoint == ENDPOINT_FINAL)
		return;
	note_return(conn);
	seek_endpoint(&call->conn, conn, COOKIE_FUNCTION(call->cookie), works);
}

/* The last chance to find it: others may have shown meanwhile where to look. */
static __always_inline void seek_before_end(struct conn_key *key, struct conn *conn, __u16 function)
{
	if (conn->endpoint != ENDPOINT_FINAL && conn->endpoint_tries)
		seek_endpoint(key, conn, function, false);
}

static __always_inline void mark_shutdown(const struct conn_key *key, __u16 function)
{
	struct conn *conn = find_conn(key);
	struct event_header header = {};

	if (!conn)
		return;
	fill_conn(&header, key, conn, KIND_SHUTDOWN, function);
	emit_mark(&header);
}

static __always_inline void take_reference(const struct conn_key *key)
{
	struct conn *conn = find_or_make_conn(key);

	if (conn)
		conn->refs++;
}

static __always_inline void release(struct conn_key *key, __u16 function)
{
	struct conn *conn = find_conn(key);

	if (!conn)
		return;
	if (conn->refs) {
		conn->refs--;
		return;
	}
	seek_before_end(key, conn, function);
	close_conn(key, function, 0);
}

/*
 * SSL_clear: the object starts over as another connection on the same descriptor. OpenSSL calls it by
 * itself when a handshake begins, even in the middle of a first SSL_write: then nothing has moved yet,
 * or the call around it is still running, and the connection is the same.
 */
static __always_inline void restart_conn(const struct conn_key *key, __u16 function)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct conn *conn = find_conn(key);
	__s32 fd;

	if (!conn || conn->active_tid[DIR_WRITE] == tid || conn->active_tid[DIR_READ] == tid)
		return;
	if (!conn->handshake_seen && !conn->offset[DIR_WRITE] && !conn->offset[DIR_READ])
		return;
	fd = conn->fd;
	close_conn(key, function, FLAG_REUSED);
	bear_conn(key, fd);
}

static __always_inline void set_fd(const struct conn_key *key, __s32 fd)
{
	struct conn *conn = find_or_make_conn(key);

	if (!conn)
		return;
	conn->fd = fd;
	if (conn->endpoint == ENDPOINT_UNKNOWN)
		name_socket(conn, fd);
}

/* How many bytes a finished call moved; 0 for failure, retries and end of stream. */
static __always_inline __u64 bytes_moved(const struct call *call, __u64 ret)
{
	__u64 n = 0;

	switch (COOKIE_RESULT(call->cookie)) {
	case RESULT_I32:
		return (__s32)ret > 0 ? (__u32)ret : 0;
	case RESULT_I64:
	case RESULT_PACKET:
		return (__s64)ret > 0 ? ret : 0;
	case RESULT_OUT:
		if ((__s32)ret > 0 && bpf_probe_read_user(&n, sizeof(n), (void *)call->out)) {
			count(COUNT_BAD_RESULT, 1);
			return 0;
		}
		return n;
	case RESULT_ALL:
		return (__s64)ret >= 0 ? call->len : 0;
	default:
		return 0;
	}
}

/* Where the bytes of a finished call are; 0 if that cannot be told. */
static __always_inline __u64 bytes_at(const struct call *call, struct conn *conn, __u64 n)
{
	struct gnutls_packet packet = {};
	__u64 address = 0;

	if (COOKIE_RESULT(call->cookie) != RESULT_PACKET)
		return call->buf ? call->buf : conn->waiting_buf;
	if (bpf_probe_read_user(&address, sizeof(address), (void *)call->out) ||
	    bpf_probe_read_user(&packet, sizeof(packet), (void *)address) ||
	    packet.size - packet.mark != n)
		return 0;
	return packet.data + packet.mark;
}

/* What could not be judged at entry is asked again; if there is still no answer, it is counted. */
static __always_inline bool passes_guard(const struct call *call, __u64 n)
{
	__u8 kind = call->guard == NSPR_UNKNOWN ? guard(call) : call->guard;

	if (kind == NSPR_UNKNOWN)
		count(COUNT_GUARD_UNKNOWN_BYTES, n);
	return kind == NSPR_TLS;
}

static __always_inline void leave_sendfile(const struct call *call, __u64 ret)
{
	struct conn *conn = find_conn(&call->conn);
	struct event_header header = {};
	__u64 seen, moved;

	if (!conn)
		return;
	moved = bytes_moved(call, ret);
	seen = conn->offset[DIR_WRITE] - call->buf;
	if (moved <= seen || !passes_guard(call, moved - seen))
		return;
	count(COUNT_SENDFILE_BYTES, moved - seen);
	fill_data(&header, &call->conn, conn, call->cookie, moved);
	header.flags |= FLAG_SENDFILE;
	header.missing = moved - seen;
	emit_mark(&header);
	conn->offset[DIR_WRITE] += moved - seen;
	conn->seq[DIR_WRITE]++;
}

static __always_inline void leave_data(struct call *call, __u64 ret)
{
	__u8 dir = COOKIE_DIRECTION(call->cookie) & 1;
	struct conn *conn = find_conn(&call->conn);
	__u64 n = bytes_moved(call, ret);
	struct outgoing out = {};

	if (conn)
		conn->active_tid[dir] = 0;
	leave_unsettled(call, conn, n);
	if (!n) {
		if (conn && call->buf && COOKIE_FLAGS(call->cookie) & PROBE_RESUMES)
			conn->waiting_buf = call->buf;
		return;
	}
	if (COOKIE_LEN(call->cookie) != NO_ARG && call->buf && n > call->len) {
		count(COUNT_BAD_RESULT, 1);
		return;
	}
	if (!passes_guard(call, n) || !is_still_right(call, call->conn.ptr))
		return;
	if (!conn) {
		count(COUNT_CONN_FULL_RECORDS, 1);
		count(COUNT_CONN_FULL_BYTES, n);
		return;
	}
	fill_data(&out.header, &call->conn, conn, call->cookie, n);
	emit_plaintext(&out, conn, bytes_at(call, conn, n), n, &conn->left[dir]);
	conn->waiting_buf = 0;
}

static __always_inline void leave_handshake(struct call *call, __u64 ret)
{
	__s32 wanted = COOKIE_RESULT(call->cookie) == RESULT_ONE;
	bool works = (__s32)ret == wanted;
	struct event_header header = {};
	struct conn *conn;

	conn = works ? find_or_make_conn(&call->conn) : find_conn(&call->conn);
	leave_unsettled(call, conn, works);
	if (!works || !conn || conn->handshake_seen)
		return;
	conn->handshake_seen = 1;
	fill_conn(&header, &call->conn, conn, KIND_HANDSHAKE, COOKIE_FUNCTION(call->cookie));
	emit_mark(&header);
}

/* An address that is handed out as a new object cannot be the old one any more. */
static __always_inline void leave_new(struct call *call, __u64 ret)
{
	__u64 ptr = ret;

	if (COOKIE_RESULT(call->cookie) == RESULT_OUT_POINTER) {
		if ((__s32)ret < 0 || bpf_probe_read_user(&ptr, sizeof(ptr), (void *)call->out))
			return;
	}
	if (!ptr || !is_still_right(call, ptr))
		return;
	call->conn.ptr = ptr;
	close_conn(&call->conn, COOKIE_FUNCTION(call->cookie), FLAG_REUSED);
	bear_conn(&call->conn, -1);
}

/* True: the end of this call is to be seen. */
static __always_inline bool enter_tls(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct call call = { .cookie = cookie };
	struct call_key key = { .pid_tgid = bpf_get_current_pid_tgid(),
				.sp = entry_sp(ctx, cookie) };

	current_process(&call.conn.process);
	if (!is_followed(&call.conn.process))
		return false;
	call.conn.ptr = PT_REGS_PARM1(ctx);
	call.buf = argument(ctx, COOKIE_BUF(cookie));
	call.len = argument(ctx, COOKIE_LEN(cookie));
	call.out = argument(ctx, COOKIE_OUT(cookie));
	if (COOKIE_RESULT(cookie) == RESULT_I32)
		call.len = (__u32)call.len; /* the upper half of an int argument is undefined */
	/* What is left out takes the place of what never came back there (longjmp): its exit must not end that. */
	if ((COOKIE_FLAGS(cookie) & PROBE_GUARDED && !is_right_object(ctx, &call)) ||
	    (COOKIE_FLAGS(cookie) & PROBE_PEEKS && argument(ctx, 3) & PR_MSG_PEEK)) {
		bpf_map_delete_elem(&calls, &key);
		return false;
	}
	switch (COOKIE_OP(cookie)) {
	case OP_FREE:
		release(&call.conn, COOKIE_FUNCTION(cookie));
		return false;
	case OP_CLEAR:
		restart_conn(&call.conn, COOKIE_FUNCTION(cookie));
		return false;
	case OP_SHUTDOWN:
		mark_shutdown(&call.conn, COOKIE_FUNCTION(cookie));
		return false;
	case OP_UP_REF:
		take_reference(&call.conn);
		return false;
	case OP_SET_FD:
		if ((__u32)call.buf <
		    FDS_MAX) /* GnuTLS takes any pointer here, mostly a descriptor */
			set_fd(&call.conn, call.buf);
		return false;
	default:
		return enter_call(&key, &call);
	}
}

/* Ends the call of this function that began where the stack pointer was `sp`. One that never came back, and another
 * function at the same place since, are not confused. */
static __always_inline void leave_tls(struct pt_regs *ctx, __u64 sp, __u64 cookie)
{
	struct call_key key = { .pid_tgid = bpf_get_current_pid_tgid(), .sp = sp };
	struct call *running = bpf_map_lookup_elem(&calls, &key);
	__u64 ret = PT_REGS_RC(ctx);
	struct call call;

	if (!running || COOKIE_FUNCTION(running->cookie) != COOKIE_FUNCTION(cookie))
		return;
	call = *running;
	bpf_map_delete_elem(&calls, &key);
	switch (COOKIE_OP(call.cookie)) {
	case OP_DATA:
		leave_data(&call, ret);
		break;
	case OP_SENDFILE:
		leave_sendfile(&call, ret);
		break;
	case OP_FLUSH:
		leave_flush(&call);
		break;
	case OP_HANDSHAKE:
		leave_handshake(&call, ret);
		break;
	case OP_NEW:
		leave_new(&call, ret);
		break;
	}
}

SEC("uprobe")
int tls_enter(struct pt_regs *ctx)
{
	enter_tls(ctx);
	return 0;
}

/* At an instruction that a return passes, with the result in place. */
SEC("uprobe")
int tls_exit(struct pt_regs *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);

	leave_tls(ctx, entry_sp(ctx, cookie), cookie);
	return 0;
}

SEC("uretprobe")
int tls_leave(struct pt_regs *ctx)
{
	leave_tls(ctx, entry_sp_at_return(ctx), bpf_get_attach_cookie(ctx));
	return 0;
}

/* Entry and return in one: 1 at entry saves this call its return probe. */
SEC("uprobe.session")
int tls_session(struct pt_regs *ctx)
{
	if (bpf_session_is_return()) {
		leave_tls(ctx, entry_sp_at_return(ctx), bpf_get_attach_cookie(ctx));
		return 0;
	}
	return !enter_tls(ctx);
}
