//#Needs: pkg-config openssl
//#With: cert.c
//#Variant: dyn-O0         -O0 -lssl -lcrypto
//#Variant: dyn-O2         -O2 -lssl -lcrypto
//#Variant: dyn-nopie      -O2 -no-pie -fno-pie -lssl -lcrypto
//#Variant: static-O0      -O0 -static -l:libssl.a -l:libcrypto.a
//#Variant: static         -O2 -static -l:libssl.a -l:libcrypto.a
//#Variant: static-pie     -O2 -static-pie -fPIE -l:libssl.a -l:libcrypto.a
//#Variant: embedded       -O2 -pie -fPIE -l:libssl.a -l:libcrypto.a
//#Variant: embedded-nopie -O2 -no-pie -fno-pie -l:libssl.a -l:libcrypto.a
//#Variant: exported       -O2 -pie -fPIE -rdynamic -l:libssl.a -l:libcrypto.a
//#Variant: prefixed       -O2 -pie -fPIE -l:libssl.a -l:libcrypto.a
//#Variant: prefixed-so    -O2 -l:libssl.a -l:libcrypto.a
//#Prefix: prefixed        LK_
//#PrefixShared: prefixed-so LK_
//#Post: dyn-O2      strip nosections
//#Post: dyn-nopie   strip
//#Post: static      strip strip-debug debuglink build-id debugdata nosections
//#Post: static-pie  strip strip-debug debuglink build-id debugdata nosections
//#Post: embedded    strip strip-debug debuglink build-id debugdata nosections
//#Post: embedded-nopie strip
//#Post: exported    strip nosections
//#Post: prefixed    strip strip-debug
//#Expect: openssl SSL_read SSL_write SSL_read_ex SSL_write_ex SSL_peek SSL_peek_ex SSL_do_handshake SSL_free SSL_clear
// OpenSSL without a network: one process is client and server over a pair of memory BIOs.
//
// Each connection sends --iterations messages of --size bytes to the server and one message back.
// Shows: retried calls with the same arguments, partial writes, peeks, SSL objects that are reused
// (SSL_clear, or an address that malloc hands out again), and reference counts.

#include "tls.h"

#include "../common/payload.h"
#include "../common/process.h"

#include <openssl/bio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// BoringSSL has no _ex functions and counts no references.
#ifdef OPENSSL_IS_BORINGSSL
#define SSL_write_ex(...) lacks("--ex")
#define SSL_read_ex(...) lacks("--ex")
#define SSL_peek_ex(...) lacks("--ex")
#define SSL_up_ref(...) lacks("--upref")
static int lacks(const char *option)
{
    die("this library has nothing for %s", option);
}
#endif

// Less than one record of a handshake or a message: almost every call is refused a few times.
#define TINY_ROOM 600
// One full record and a part of the next: a write is taken in part, then refused. A record that was
// refused is never taken in part; OpenSSL goes on with the next record until it is refused, too.
#define RECORD_ROOM 20000

static struct {
    size_t iterations, size, reuse, timeout;
    bool ex, peek, retry, partial, clear, upref, binary, print_timing, wait, wait_late;
    const char *log;
} options = {.iterations = 1, .size = 1024, .reuse = 1, .timeout = 60};

static const struct option_spec option_table[] = {
    {.name = "--iterations", .number = &options.iterations},
    {.name = "--size", .number = &options.size},
    {.name = "--reuse", .number = &options.reuse},
    {.name = "--timeout", .number = &options.timeout},
    {.name = "--ex", .flag = &options.ex},
    {.name = "--peek", .flag = &options.peek},
    {.name = "--retry", .flag = &options.retry},
    {.name = "--partial", .flag = &options.partial},
    {.name = "--clear", .flag = &options.clear},
    {.name = "--upref", .flag = &options.upref},
    {.name = "--binary", .flag = &options.binary},
    {.name = "--print-timing", .flag = &options.print_timing},
    {.name = "--wait", .flag = &options.wait},
    {.name = "--wait-late", .flag = &options.wait_late},
    {.name = "--log", .text = &options.log},
    {.name = NULL},
};

struct end {
    SSL *ssl;
    struct log log;
};

// After a call that failed: anything but "not now" is fatal.
static void must_be_retry(SSL *ssl, int result, const char *what)
{
    int error = SSL_get_error(ssl, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        die_openssl(what);
}

// One SSL_write; returns how much was taken, 0 for "not now".
static size_t try_write(const struct end *end, const char *data, size_t size)
{
    size_t taken = 0;
    int result;
    if (options.ex)
        result = SSL_write_ex(end->ssl, data, size, &taken);
    else if ((result = SSL_write(end->ssl, data, (int)size)) > 0)
        taken = (size_t)result;
    if (result <= 0)
        must_be_retry(end->ssl, result, "failed to write");
    log_written(&end->log, data, taken);
    return taken;
}

// One SSL_peek, or none; returns how much was seen.
static size_t try_peek(const struct end *end, char *buffer, size_t size)
{
    size_t seen = 0;
    if (options.ex) {
        SSL_peek_ex(end->ssl, buffer, size, &seen);
        return seen;
    }
    int result = SSL_peek(end->ssl, buffer, (int)size);
    return result > 0 ? (size_t)result : 0;
}

// One SSL_read; returns how much came, 0 for "not now".
static size_t try_read(const struct end *end, char *buffer, size_t size)
{
    size_t got = 0;
    int result;
    if (options.ex)
        result = SSL_read_ex(end->ssl, buffer, size, &got);
    else if ((result = SSL_read(end->ssl, buffer, (int)size)) > 0)
        got = (size_t)result;
    if (result <= 0)
        must_be_retry(end->ssl, result, "failed to read");
    log_read(&end->log, buffer, got);
    return got;
}

static size_t peek_then_read(const struct end *end, char *buffer, size_t size)
{
    size_t seen = try_peek(end, buffer, size);
    if (seen == 0)
        return 0;
    char *copy = allocate(seen);
    memcpy(copy, buffer, seen);
    size_t got = try_read(end, buffer, size);
    if (got < seen || memcmp(copy, buffer, seen) != 0)
        die("a read differs from the peek before it");
    free(copy);
    return got;
}

// Moves one message across. Neither side waits: the writer goes on until it is refused, then the
// reader has its turn. So a refused write is repeated with the very same arguments, as OpenSSL
// demands.
static void transfer(const struct end *from, const struct end *to, const char *message,
                     char *buffer)
{
    size_t sent = 0, received = 0;
    while (received < options.size) {
        size_t taken = 1;
        while (sent < options.size && taken > 0) {
            taken = try_write(from, message + sent, options.size - sent);
            sent += taken;
        }
        size_t room = options.size - received;
        received += options.peek ? peek_then_read(to, buffer + received, room)
                                 : try_read(to, buffer + received, room);
    }
}

// Records add some bytes to each 16 KiB; the slack also holds a whole handshake.
static size_t room_between(void)
{
    if (options.retry)
        return options.partial ? RECORD_ROOM : TINY_ROOM;
    return options.size + options.size / 64 + 65536;
}

static void join(SSL *client, SSL *server)
{
    size_t room = room_between();
    BIO *left, *right;
    if (BIO_new_bio_pair(&left, room, &right, room) != 1)
        die_openssl("failed to make a BIO pair");
    SSL_set_bio(client, left, left);
    SSL_set_bio(server, right, right);
}

static void shake_hands(SSL *client, SSL *server)
{
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    while (!SSL_is_init_finished(client) || !SSL_is_init_finished(server)) {
        int result = SSL_do_handshake(client);
        if (result != 1)
            must_be_retry(client, result, "failed to shake hands as client");
        result = SSL_do_handshake(server);
        if (result != 1)
            must_be_retry(server, result, "failed to shake hands as server");
    }
}

static double nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void check(const char *message, const char *buffer, size_t n)
{
    if (memcmp(message, buffer, options.size) != 0)
        die("connection %zu delivered other bytes than were sent", n);
}

// The messages of connection `n`. Timed runs send one message again and again.
static void talk(const struct end *client, const struct end *server, size_t n)
{
    char *message = allocate(options.size), *buffer = allocate(options.size);
    double start = nanoseconds();
    for (size_t i = 0; i < options.iterations; i++) {
        if (!options.print_timing || i == 0)
            payload_fill(message, options.size, n, i, options.binary);
        transfer(client, server, message, buffer);
        if (!options.print_timing || i == 0)
            check(message, buffer, n);
    }
    if (options.print_timing)
        printf("ns_per_iteration %.1f\n", (nanoseconds() - start) / (double)options.iterations);
    payload_fill(message, options.size, n, options.iterations, options.binary);
    transfer(server, client, message, buffer);
    check(message, buffer, n);
    free(message);
    free(buffer);
}

static void run_connection(SSL *client, SSL *server, size_t n)
{
    struct end left = {client, log_open(options.log, "client", n, false)};
    struct end right = {server, log_open(options.log, "server", n, false)};
    join(client, server);
    shake_hands(client, server);
    if (options.wait_late && n == 0)
        wait_for_go();
    talk(&left, &right, n);
    SSL_shutdown(client);
    SSL_shutdown(server);
    log_close(&left.log);
    log_close(&right.log);
}

static SSL *make_session(SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);
    if (!ssl)
        die_openssl("failed to make a session");
    // The first SSL_free then only drops a reference: the session must stay alive.
    if (options.upref) {
        SSL_up_ref(ssl);
        SSL_free(ssl);
    }
    return ssl;
}

static void run_all(SSL_CTX *context)
{
    SSL *client = make_session(context), *server = make_session(context);
    for (size_t n = 0; n < options.reuse; n++) {
        if (n > 0 && options.clear) {
            if (SSL_clear(client) != 1 || SSL_clear(server) != 1)
                die_openssl("failed to clear a session");
        } else if (n > 0) {
            SSL_free(client);
            SSL_free(server);
            client = make_session(context);
            server = make_session(context);
        }
        run_connection(client, server, n);
    }
    SSL_free(client);
    SSL_free(server);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv, option_table, NULL);
    if (options.size == 0 || options.size > 1 << 30)
        die("--size must be from 1 to 1073741824");
    watchdog((unsigned)options.timeout);
    SSL_CTX *context = make_context(TLS_method());
    if (options.partial)
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (options.wait)
        wait_for_go();
    run_all(context);
    SSL_CTX_free(context);
    return 0;
}
