//#Needs: pkg-config gnutls
//#With: cert.c
//#Variant: dyn-O2     -O2 -lgnutls
//#Expect: gnutls gnutls_record_send gnutls_record_recv gnutls_handshake gnutls_deinit
// GnuTLS flat out, or at a pace: what a tracer costs is measured with it.

#include "tls.h"

#include "../common/load.h"
#include "../common/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Bytes on their way to one end.
struct half {
    char *bytes;
    size_t begin, end, room;
};

struct end {
    gnutls_session_t tls;
    struct half *to, *from;
};

struct ends {
    struct end client, server;
    struct half to_client, to_server;
};

static gnutls_certificate_credentials_t credentials;

static void init(void)
{
    must(gnutls_certificate_allocate_credentials(&credentials), "failed to make credentials");
    add_certificate(credentials);
}

static ssize_t push(gnutls_transport_ptr_t pointer, const void *data, size_t size)
{
    struct half *to = ((struct end *)pointer)->to;
    if (to->begin == to->end)
        to->begin = to->end = 0;
    if (to->room - to->end < size)
        die("no room for %zu bytes", size);
    memcpy(to->bytes + to->end, data, size);
    to->end += size;
    return (ssize_t)size;
}

static ssize_t pull(gnutls_transport_ptr_t pointer, void *data, size_t size)
{
    struct end *end = pointer;
    size_t there = end->from->end - end->from->begin;
    if (there == 0) {
        gnutls_transport_set_errno(end->tls, EAGAIN);
        return -1;
    }
    size_t taken = there < size ? there : size;
    memcpy(data, end->from->bytes + end->from->begin, taken);
    end->from->begin += taken;
    return (ssize_t)taken;
}

static int is_there(gnutls_transport_ptr_t pointer, unsigned milliseconds)
{
    (void)milliseconds;
    const struct end *end = pointer;
    return end->from->end > end->from->begin;
}

static void open_end(struct end *end, unsigned role)
{
    must(gnutls_init(&end->tls, role | GNUTLS_NONBLOCK), "failed to make a session");
    must(gnutls_set_default_priority(end->tls), "failed to set the priorities");
    must(gnutls_credentials_set(end->tls, GNUTLS_CRD_CERTIFICATE, credentials),
         "failed to set the credentials");
    gnutls_transport_set_ptr(end->tls, end);
    gnutls_transport_set_push_function(end->tls, push);
    gnutls_transport_set_pull_function(end->tls, pull);
    gnutls_transport_set_pull_timeout_function(end->tls, is_there);
}

static bool has_shaken(struct end *end)
{
    int result = gnutls_handshake(end->tls);
    if (result != GNUTLS_E_AGAIN)
        must(result, "failed to shake hands");
    return result == 0;
}

static void *open_ends(size_t room)
{
    struct ends *ends = allocate(sizeof *ends);
    ends->to_client = (struct half){.bytes = allocate(room), .room = room};
    ends->to_server = (struct half){.bytes = allocate(room), .room = room};
    ends->client = (struct end){.to = &ends->to_server, .from = &ends->to_client};
    ends->server = (struct end){.to = &ends->to_client, .from = &ends->to_server};
    open_end(&ends->client, GNUTLS_CLIENT);
    open_end(&ends->server, GNUTLS_SERVER);
    for (bool left = false, right = false; !left || !right;) {
        left = left || has_shaken(&ends->client);
        right = right || has_shaken(&ends->server);
    }
    return ends;
}

static void send_message(void *pointer, const char *message, size_t size)
{
    struct ends *ends = pointer;
    while (size > 0) {
        ssize_t taken = gnutls_record_send(ends->client.tls, message, size);
        must((int)taken, "failed to write");
        message += taken;
        size -= (size_t)taken;
    }
}

static void receive(void *pointer, char *buffer, size_t size)
{
    struct ends *ends = pointer;
    for (size_t received = 0; received < size;) {
        ssize_t got = gnutls_record_recv(ends->server.tls, buffer + received, size - received);
        must((int)got, "failed to read");
        received += (size_t)got;
    }
}

static void close_ends(void *pointer)
{
    struct ends *ends = pointer;
    gnutls_deinit(ends->client.tls);
    gnutls_deinit(ends->server.tls);
    free(ends->to_client.bytes);
    free(ends->to_server.bytes);
    free(ends);
}

int main(int argc, char **argv)
{
    static const struct load_library gnutls = {.init = init,
                                               .open = open_ends,
                                               .send = send_message,
                                               .receive = receive,
                                               .close = close_ends};
    return run_load(&gnutls, argc, argv);
}
