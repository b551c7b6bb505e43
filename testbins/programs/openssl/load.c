//#Needs: pkg-config openssl
//#With: cert.c
//#Variant: dyn-O2         -O2 -lssl -lcrypto
//#Variant: embedded       -O2 -pie -fPIE -l:libssl.a -l:libcrypto.a
//#Post: embedded    strip
//#Expect: openssl SSL_read SSL_write SSL_do_handshake SSL_free
// OpenSSL flat out, or at a pace: what a tracer costs is measured with it.

#include "tls.h"

#include "../common/load.h"
#include "../common/process.h"

#include <openssl/bio.h>
#include <stdlib.h>

struct ends {
    SSL *client, *server;
};

static SSL_CTX *context;

static void init(void)
{
    context = make_context(TLS_method());
}

static void must_be_retry(SSL *ssl, int result, const char *what)
{
    int error = SSL_get_error(ssl, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        die_openssl(what);
}

static void shake_hands(const struct ends *ends)
{
    while (!SSL_is_init_finished(ends->client) || !SSL_is_init_finished(ends->server)) {
        int result = SSL_do_handshake(ends->client);
        if (result != 1)
            must_be_retry(ends->client, result, "failed to shake hands as client");
        result = SSL_do_handshake(ends->server);
        if (result != 1)
            must_be_retry(ends->server, result, "failed to shake hands as server");
    }
}

static void *open_ends(size_t room)
{
    struct ends *ends = allocate(sizeof *ends);
    BIO *left, *right;
    ends->client = SSL_new(context);
    ends->server = SSL_new(context);
    if (!ends->client || !ends->server)
        die_openssl("failed to make a session");
    if (BIO_new_bio_pair(&left, room, &right, room) != 1)
        die_openssl("failed to make a BIO pair");
    SSL_set_bio(ends->client, left, left);
    SSL_set_bio(ends->server, right, right);
    SSL_set_connect_state(ends->client);
    SSL_set_accept_state(ends->server);
    shake_hands(ends);
    return ends;
}

static void send_message(void *pointer, const char *message, size_t size)
{
    const struct ends *ends = pointer;
    if (SSL_write(ends->client, message, (int)size) != (int)size)
        die_openssl("failed to write");
}

static void receive(void *pointer, char *buffer, size_t size)
{
    const struct ends *ends = pointer;
    for (size_t received = 0; received < size;) {
        int got = SSL_read(ends->server, buffer + received, (int)(size - received));
        if (got <= 0)
            die_openssl("failed to read");
        received += (size_t)got;
    }
}

static void close_ends(void *pointer)
{
    struct ends *ends = pointer;
    SSL_shutdown(ends->client);
    SSL_free(ends->client);
    SSL_free(ends->server);
    free(ends);
}

int main(int argc, char **argv)
{
    static const struct load_library openssl = {.init = init,
                                                .open = open_ends,
                                                .send = send_message,
                                                .receive = receive,
                                                .close = close_ends};
    return run_load(&openssl, argc, argv);
}
