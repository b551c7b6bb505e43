// The part of ends.h that does not depend on the calls.
#include "ends.h"

#include "../common/options.h"
#include "../common/payload.h"
#include "../common/process.h"
#include "../common/sandbox.h"

#include <openssl/bio.h>
#include <stdlib.h>
#include <string.h>

// A write is refused now and then, so that calls are repeated.
#define ROOM 20000

static struct {
    size_t iterations, size, reuse, timeout;
    bool binary, sandbox, wait, wait_late;
    const char *log;
} options = {.iterations = 1, .size = 1024, .reuse = 1, .timeout = 60};

static const struct option_spec option_table[] = {
    {.name = "--iterations", .number = &options.iterations},
    {.name = "--size", .number = &options.size},
    {.name = "--reuse", .number = &options.reuse},
    {.name = "--timeout", .number = &options.timeout},
    {.name = "--binary", .flag = &options.binary},
    {.name = "--sandbox", .flag = &options.sandbox}, // behind a strict seccomp filter
    {.name = "--wait", .flag = &options.wait},
    {.name = "--wait-late", .flag = &options.wait_late},
    {.name = "--log", .text = &options.log},
    {.name = NULL},
};

void must_be_retry(const struct end *end, int result, const char *what)
{
    int error = SSL_get_error(end->ssl, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        die_openssl(what);
}

static struct end open_end(SSL_CTX *context, const struct calls *calls, const char *role, size_t n)
{
    struct end end = {.ssl = SSL_new(context), .log = log_open(options.log, role, n, false)};
    if (!end.ssl)
        die_openssl("failed to make a session");
    if (calls->open)
        end.handle = calls->open(end.ssl);
    return end;
}

static void close_end(struct end *end, const struct calls *calls)
{
    log_close(&end->log);
    if (calls->close)
        calls->close(end);
    else
        SSL_free(end->ssl);
}

static void join(const struct end *client, const struct end *server)
{
    BIO *left, *right;
    if (BIO_new_bio_pair(&left, ROOM, &right, ROOM) != 1)
        die_openssl("failed to make a BIO pair");
    SSL_set_bio(client->ssl, left, left);
    SSL_set_bio(server->ssl, right, right);
    SSL_set_connect_state(client->ssl);
    SSL_set_accept_state(server->ssl);
}

static void shake_hands(const struct end *client, const struct end *server)
{
    while (!SSL_is_init_finished(client->ssl) || !SSL_is_init_finished(server->ssl)) {
        int result = SSL_do_handshake(client->ssl);
        if (result != 1)
            must_be_retry(client, result, "failed to shake hands as client");
        result = SSL_do_handshake(server->ssl);
        if (result != 1)
            must_be_retry(server, result, "failed to shake hands as server");
    }
}

static void transfer(const struct end *from, const struct end *to, const struct calls *calls,
                     const char *message)
{
    char *buffer = allocate(options.size);
    size_t sent = 0, received = 0;
    while (received < options.size) {
        if (sent < options.size) {
            size_t taken = calls->write(from, message + sent, options.size - sent);
            log_written(&from->log, message + sent, taken);
            sent += taken;
        }
        size_t got = calls->read(to, buffer + received, options.size - received);
        log_read(&to->log, buffer + received, got);
        received += got;
    }
    if (memcmp(message, buffer, options.size) != 0)
        die("other bytes arrived than were sent");
    free(buffer);
}

static void run_connection(SSL_CTX *context, const struct calls *calls, size_t n)
{
    struct end client = open_end(context, calls, "client", n);
    struct end server = open_end(context, calls, "server", n);
    join(&client, &server);
    shake_hands(&client, &server);
    if (options.wait_late && n == 0)
        wait_for_go();
    char *message = allocate(options.size);
    for (size_t i = 0; i <= options.iterations; i++) {
        payload_fill(message, options.size, n, i, options.binary);
        if (i < options.iterations)
            transfer(&client, &server, calls, message);
        else
            transfer(&server, &client, calls, message);
    }
    free(message);
    SSL_shutdown(client.ssl);
    SSL_shutdown(server.ssl);
    close_end(&client, calls);
    close_end(&server, calls);
}

int run_ends(int argc, char **argv, const struct calls *calls)
{
    parse_options(argc, argv, option_table, NULL);
    if (options.size == 0 || options.size > 1 << 30)
        die("--size must be from 1 to 1073741824");
    watchdog((unsigned)options.timeout);
    SSL_CTX *context = make_context(TLS_method());
    if (options.wait)
        wait_for_go();
    if (options.sandbox)
        enter_sandbox();
    for (size_t n = 0; n < options.reuse; n++)
        run_connection(context, calls, n);
    SSL_CTX_free(context);
    return 0;
}
