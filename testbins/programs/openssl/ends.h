// Both ends of a connection in one process, for the programs that show one way of calling OpenSSL.
#ifndef TESTBINS_OPENSSL_ENDS_H
#define TESTBINS_OPENSSL_ENDS_H

#include "tls.h"

#include "../common/log.h"

#include <stdbool.h>

// One end, and how the program writes to it and reads from it. `write` and `read` return how many
// bytes the library took or gave, 0 for "not now"; they log nothing.
struct end {
    SSL *ssl;
    void *handle;
    struct log log;
};

struct calls {
    // Makes `handle` of a session; NULL if the session is enough.
    void *(*open)(SSL *ssl);
    // Frees handle and session; NULL if SSL_free is enough.
    void (*close)(struct end *end);
    size_t (*write)(const struct end *end, const char *data, size_t size);
    size_t (*read)(const struct end *end, char *buffer, size_t size);
};

// Parses the options and does what they ask for: connections, one after the other, on each of which
// messages go to the server and one comes back.
int run_ends(int argc, char **argv, const struct calls *calls);

// After a call that failed: anything but "not now" is fatal.
void must_be_retry(const struct end *end, int result, const char *what);

#endif
