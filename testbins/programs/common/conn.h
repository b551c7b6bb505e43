// What a TLS library must offer to be driven by run_client() and run_server(), and the logged
// connection both are written against.
#ifndef TESTBINS_CONN_H
#define TESTBINS_CONN_H

#include "log.h"
#include "options.h"

enum role { CLIENT, SERVER };

// Every function ends the process on an error, so none has an error return.
struct tls_library {
    // The library's own options, beside those of the client or the server; NULL for none.
    const struct option_spec *options;
    // False where a session cannot go on in a forked child.
    bool forks;
    // Once per process, before any connection. `reluctant`: sockets will be non-blocking.
    void (*init)(enum role role, bool reluctant);
    // Shakes hands over a connected socket and owns it from then on.
    void *(*open)(int fd, enum role role);
    // One logical write of the application: returns how much was taken, at least 1.
    size_t (*write)(void *session, const char *data, size_t size);
    // One logical read: returns 0 when the peer has closed.
    size_t (*read)(void *session, char *buffer, size_t size);
    // Says goodbye and waits for the peer's goodbye if `orderly`, then frees the session.
    void (*close)(void *session, bool orderly);
};

struct conn {
    const struct tls_library *tls;
    void *session;
    struct log log;
};

void conn_write_all(struct conn *conn, const char *data, size_t size);

// Fills the buffer; returns false if the peer closed before the first byte.
bool conn_read_all(struct conn *conn, char *buffer, size_t size);

void conn_close(struct conn *conn, bool orderly);

// The whole of main() for a client and a server; both return the exit status.
int run_client(const struct tls_library *tls, int argc, char **argv);
int run_server(const struct tls_library *tls, int argc, char **argv);

#endif
