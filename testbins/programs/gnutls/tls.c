// GnuTLS as a struct tls_library: gnutls_record_send and gnutls_record_recv and their relatives.
#include "tls.h"

#include "../common/net.h"
#include "../common/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct session {
    gnutls_session_t tls;
    int fd;
    unsigned pushes;  // calls of push_sometimes
    unsigned retries; // calls repeated by write_session
    // The rest of a packet that --recv-packet got and the caller has not yet asked for.
    gnutls_packet_t packet;
    gnutls_datum_t rest;
};

static bool use_send2, use_cork, use_recv_packet, is_reluctant;
static gnutls_certificate_credentials_t credentials;

static const struct option_spec option_table[] = {
    {.name = "--send2", .flag = &use_send2},             // gnutls_record_send2
    {.name = "--cork", .flag = &use_cork},               // gnutls_record_cork and _uncork
    {.name = "--recv-packet", .flag = &use_recv_packet}, // gnutls_record_recv_packet
    {.name = NULL},
};

static void init(enum role role, bool reluctant)
{
    is_reluctant = reluctant;
    must(gnutls_certificate_allocate_credentials(&credentials), "failed to make credentials");
    if (role == SERVER)
        add_certificate(credentials);
}

// Every third call refuses, on top of what the socket itself refuses.
static ssize_t push_sometimes(gnutls_transport_ptr_t pointer, const void *data, size_t size)
{
    struct session *session = pointer;
    if (session->pushes++ % 3 == 2) {
        gnutls_transport_set_errno(session->tls, EAGAIN);
        return -1;
    }
    ssize_t sent = send(session->fd, data, size, 0);
    if (sent < 0)
        gnutls_transport_set_errno(session->tls, errno);
    return sent;
}

static void attach_socket(struct session *session)
{
    if (!is_reluctant) {
        gnutls_transport_set_int(session->tls, session->fd);
        return;
    }
    gnutls_transport_ptr_t receive = (gnutls_transport_ptr_t)(ptrdiff_t)session->fd;
    gnutls_transport_set_ptr2(session->tls, receive, session);
    gnutls_transport_set_push_function(session->tls, push_sometimes);
}

// True after a call that shall be repeated, once the socket is ready for it.
static bool again(const struct session *session, ssize_t result)
{
    if (result != GNUTLS_E_AGAIN && result != GNUTLS_E_INTERRUPTED)
        return false;
    wait_for_socket(session->fd, gnutls_record_get_direction(session->tls) == 1);
    return true;
}

static void *open_session(int fd, enum role role)
{
    struct session *session = allocate(sizeof *session);
    *session = (struct session){.fd = fd};
    must(gnutls_init(&session->tls, role == CLIENT ? GNUTLS_CLIENT : GNUTLS_SERVER),
         "failed to make a session");
    must(gnutls_set_default_priority(session->tls), "failed to set the priorities");
    must(gnutls_credentials_set(session->tls, GNUTLS_CRD_CERTIFICATE, credentials),
         "failed to set the credentials");
    attach_socket(session);
    int result;
    do
        result = gnutls_handshake(session->tls);
    while (again(session, result));
    must(result, "failed to shake hands");
    return session;
}

static size_t write_corked(struct session *session, const char *data, size_t size)
{
    gnutls_record_cork(session->tls);
    ssize_t taken = gnutls_record_send(session->tls, data, size);
    must((int)taken, "failed to write to the cork");
    int flushed;
    do
        flushed = gnutls_record_uncork(session->tls, 0);
    while (again(session, flushed));
    must(flushed, "failed to uncork");
    return (size_t)taken;
}

static ssize_t write_once(struct session *session, const char *data, size_t size)
{
    if (use_send2)
        return gnutls_record_send2(session->tls, data, size, 0, 0);
    return gnutls_record_send(session->tls, data, size);
}

// A refused record is repeated with the same arguments or with (NULL, 0); both are allowed, both
// return the size of the first try, and they take turns here.
static size_t write_session(void *pointer, const char *data, size_t size)
{
    struct session *session = pointer;
    if (use_cork)
        return write_corked(session, data, size);
    ssize_t taken = write_once(session, data, size);
    while (again(session, taken))
        if (session->retries++ % 2 == 0)
            taken = write_once(session, NULL, 0);
        else
            taken = write_once(session, data, size);
    must((int)taken, "failed to write");
    return (size_t)taken;
}

static size_t end_or_size(ssize_t got)
{
    // A peer that forked has no way to say goodbye.
    if (got == GNUTLS_E_PREMATURE_TERMINATION)
        return 0;
    must((int)got, "failed to read");
    return (size_t)got;
}

static bool next_packet(struct session *session)
{
    ssize_t got;
    do
        got = gnutls_record_recv_packet(session->tls, &session->packet);
    while (again(session, got));
    if (end_or_size(got) == 0)
        return false;
    gnutls_packet_get(session->packet, &session->rest, NULL);
    return true;
}

static size_t read_packet(struct session *session, char *buffer, size_t size)
{
    if (!session->packet && !next_packet(session))
        return 0;
    size_t part = session->rest.size < size ? session->rest.size : size;
    memcpy(buffer, session->rest.data, part);
    session->rest.data += part;
    session->rest.size -= (unsigned)part;
    if (session->rest.size == 0) {
        gnutls_packet_deinit(session->packet);
        session->packet = NULL;
    }
    return part;
}

static size_t read_session(void *pointer, char *buffer, size_t size)
{
    struct session *session = pointer;
    if (use_recv_packet)
        return read_packet(session, buffer, size);
    ssize_t got;
    do
        got = gnutls_record_recv(session->tls, buffer, size);
    while (again(session, got));
    return end_or_size(got);
}

static void close_session(void *pointer, bool orderly)
{
    struct session *session = pointer;
    int result;
    do
        result = orderly ? gnutls_bye(session->tls, GNUTLS_SHUT_RDWR) : 0;
    while (again(session, result));
    gnutls_deinit(session->tls);
    if (orderly)
        close(session->fd);
    else
        close_after_peer(session->fd);
    free(session);
}

const struct tls_library gnutls = {
    .options = option_table,
    .forks = true,
    .init = init,
    .open = open_session,
    .write = write_session,
    .read = read_session,
    .close = close_session,
};
