// OpenSSL as a struct tls_library: SSL_read and SSL_write over a TCP socket.
#include "tls.h"

#include "../common/net.h"
#include "../common/process.h"

#include <limits.h>
#include <unistd.h>

static bool use_ex, use_partial, use_bio;
static SSL_CTX *context;

static const struct option_spec option_table[] = {
    {.name = "--ex", .flag = &use_ex},           // SSL_read_ex, SSL_write_ex
    {.name = "--partial", .flag = &use_partial}, // SSL_MODE_ENABLE_PARTIAL_WRITE
    {.name = "--bio", .flag = &use_bio},         // SSL_set_bio instead of SSL_set_fd
    {.name = NULL},
};

static void init(enum role role, bool reluctant)
{
    (void)reluctant; // every call below copes with WANT_READ and WANT_WRITE
    context = make_context(role == CLIENT ? TLS_client_method() : TLS_server_method());
    if (use_partial)
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
}

// After a call that returned `result`: true to call again, false if the peer has closed.
static bool again(SSL *ssl, int result, const char *what)
{
    int error = SSL_get_error(ssl, result);
    if (error == SSL_ERROR_ZERO_RETURN)
        return false;
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        die_openssl(what);
    wait_for_socket(SSL_get_fd(ssl), error == SSL_ERROR_WANT_WRITE);
    return true;
}

static void attach_socket(SSL *ssl, int fd)
{
    if (!use_bio) {
        if (SSL_set_fd(ssl, fd) != 1)
            die_openssl("failed to set the socket");
        return;
    }
    BIO *bio = BIO_new_socket(fd, BIO_NOCLOSE);
    if (!bio)
        die_openssl("failed to make a socket BIO");
    SSL_set_bio(ssl, bio, bio);
}

static void *open_session(int fd, enum role role)
{
    SSL *ssl = SSL_new(context);
    if (!ssl)
        die_openssl("failed to make a session");
    attach_socket(ssl, fd);
    for (;;) {
        int result = role == CLIENT ? SSL_connect(ssl) : SSL_accept(ssl);
        if (result == 1)
            return ssl;
        if (!again(ssl, result, "failed to shake hands"))
            die("the peer closed during the handshake");
    }
}

static int write_once(SSL *ssl, const char *data, size_t size, size_t *taken)
{
    if (use_ex)
        return SSL_write_ex(ssl, data, size, taken);
    int result = SSL_write(ssl, data, size > INT_MAX ? INT_MAX : (int)size);
    *taken = result > 0 ? (size_t)result : 0;
    return result;
}

static size_t write_session(void *session, const char *data, size_t size)
{
    size_t taken;
    for (;;) {
        int result = write_once(session, data, size, &taken);
        if (result > 0)
            return taken;
        if (!again(session, result, "failed to write"))
            die("the peer closed before a write");
    }
}

static int read_once(SSL *ssl, char *buffer, size_t size, size_t *got)
{
    if (use_ex)
        return SSL_read_ex(ssl, buffer, size, got);
    int result = SSL_read(ssl, buffer, size > INT_MAX ? INT_MAX : (int)size);
    *got = result > 0 ? (size_t)result : 0;
    return result;
}

static size_t read_session(void *session, char *buffer, size_t size)
{
    size_t got;
    for (;;) {
        int result = read_once(session, buffer, size, &got);
        if (result > 0)
            return got;
        if (!again(session, result, "failed to read"))
            return 0;
    }
}

// SSL_shutdown returns 0 once our goodbye is out and the peer's is still to come.
static void say_goodbye(SSL *ssl)
{
    for (;;) {
        int result = SSL_shutdown(ssl);
        if (result == 1 || (result < 0 && !again(ssl, result, "failed to shut down")))
            return;
    }
}

static void close_session(void *session, bool orderly)
{
    int fd = SSL_get_fd(session);
    if (orderly)
        say_goodbye(session);
    SSL_free(session);
    if (orderly)
        close(fd);
    else
        close_after_peer(fd);
}

const struct tls_library openssl = {
    .options = option_table,
    .forks = true,
    .init = init,
    .open = open_session,
    .write = write_session,
    .read = read_session,
    .close = close_session,
};
