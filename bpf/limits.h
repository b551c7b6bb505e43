/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sizes, each with its reason. */
#pragma once

/*
 * Payload room of a record comes in steps of four, so that a short message does not take the
 * ring space of a long one: at worst three quarters of a reservation stay unused.
 */
#define TIER_TINY 256
#define TIER_SMALL 1024
#define TIER_MEDIUM 4096
#define TIER_LARGE 16384 /* a TLS record holds at most 2^14 bytes (RFC 8446, section 5.1) */

/* bpf_loop stops at 2^23 rounds (BPF_MAX_LOOPS): 128 GiB in one call. */
#define CHUNKS_MAX (1 << 23)

/* Without bpf_loop the verifier walks each round, and gives up on many more: 4 MiB in one call. */
#define CHUNKS_MAX_UNROLLED 256

/* Live TLS connections in all observed processes. More are counted, not followed. */
#define CONNS_MAX 65536

/* Calls that are running at one moment, one per thread as a rule. More are counted, not seen. */
#define CALLS_MAX 16384

/*
 * Go: reads that are running, one per connection as a rule, since goroutines wait there for data.
 * More are known by their arguments' spill slots.
 */
#define GO_READS_MAX 65536

/* Directions of connections under one key each: a connection has four with TLS 1.3. The oldest go first. */
#define HALVES_MAX 65536

/* Threads that encrypt or decrypt; the oldest go first. */
#define WIRES_MAX 8192

/* Sockets that are known to carry a connection; the oldest go first. */
#define SOCKETS_MAX 32768

/* Hellos that were sent and whose connection may still ask for them; the oldest go first. */
#define HELLOS_MAX 16384

/* Calls of one connection after which its socket is not looked for any more: a handshake takes few, but for programs
 * that ask again and again. */
#define ENDPOINT_TRIES_MAX 256

/* Bytes of a ClientHello that are told: post-quantum key shares make them 1.8 KiB long. */
#define HELLO_BYTES_MAX 2048

/* Longest inner plaintext of a record: 2^14 bytes and the content type (RFC 8446, section 5.2). TLS 1.2
 * leaves room for compression (RFC 5246, section 6.2.3), which nobody has used with AEAD. */
#define RECORD_MAX (16384 + 1024)

/* Zeros behind a record's content are looked through word by word. */
#define PADDING_STEPS_MAX (RECORD_MAX / 8 + 1)
#define PADDING_STEPS_MAX_UNROLLED 16

/* Pieces of memory that one record is gathered from. */
#define PIECES_MAX 64
#define PIECES_MAX_UNROLLED 4

/* Functions that a cookie can tell apart. */
#define FUNCTIONS_MAX 65536

/* Programs and libraries in Go that are probed in one run. */
#define GO_FACTS_MAX FILES_MAX

/* Types that hold a net.Conn: a large program has some dozens. */
#define GO_TYPES_MAX 16384

/* Wrappers around a socket, each of which costs three reads: real programs have up to two. */
#define GO_HOPS_MAX 4

/* A connection over something that is no socket is not asked forever. */
#define GO_SOCKET_TRIES_MAX 8

/* Processes that are followed at one moment (pid_max is 32768 by default). More are counted, not followed. */
#define TRACKED_MAX 65536

/* Executables, names, places and users that have been judged; evicted ones are asked again. */
#define ANSWERS_MAX 16384

/* Files with code that user space has looked at; of evicted ones it is told again. */
#define KNOWN_FILES_MAX 16384

/* Processes that a user names in one run. */
#define ROOTS_MAX 1024

/* Processes of which something is remembered; what is evicted is found anew. */
#define PROCESSES_MAX 8192

/* Libraries of one kind in one run. */
#define FILES_MAX 1024

/* Layers of an NSPR descriptor: Firefox stacks four. */
#define NSPR_LAYERS_MAX 8

/* No process has more open files (fs.nr_open is 2^20 by default). */
#define FDS_MAX (1 << 20)
#define FDS_MAX_UNROLLED 256

/* Replaced by user space before loading (--buffer); a power of two times the page size. */
#define RING_BYTES (64 * 1024 * 1024)

/*
 * What waits in the ring until the reader is woken; it also looks by itself while records
 * come. Replaced by user space: a small ring wakes earlier.
 */
#define WAKEUP_BYTES (1024 * 1024)

_Static_assert(TIER_LARGE % TIER_MEDIUM == 0, "a full chunk never needs a second try");

/* Names of one path, and mounts between them: as many as PATH_MAX can hold. */
#define WALK_STEPS_MAX 2048
#define WALK_STEPS_MAX_UNROLLED 32

/* Bytes of a program's arguments, and of its environment, that are told. */
#define WORDS_MAX (128 * 1024)

/* Descriptors through which processes that are followed write files or speak to others. More are counted. */
#define DESCRIPTORS_MAX 65536

/* Descriptors with higher numbers are not followed, but counted: at its end, all of a process's numbers are gone through. */
#define DESCRIPTOR_NUMBERS_MAX 65536

/* Files that were written, to tell who reads or runs them; the oldest go first. */
#define WRITTEN_MAX 65536

/* Bytes through one of a process's standard descriptors that are told; the rest is counted. */
#define STDIO_MAX (1024 * 1024)
/* Calls each second of which they are told. */
#define STDIO_CALLS_MAX 1000

/* Patterns of names that are watched. */
#define WATCHED_MAX 1024

/* Bytes that one call of Go can have moved: who jumps to a return with made-up registers floods nobody. */
#define GO_CALL_MAX 0x7fffffffULL
