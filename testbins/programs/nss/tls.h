// What client.c and server.c share of NSS.
#ifndef TESTBINS_NSS_TLS_H
#define TESTBINS_NSS_TLS_H

#include "../common/conn.h"

#include <cert.h>
#include <keyhi.h>
#include <prio.h>

struct identity {
    CERTCertificate *cert;
    SECKEYPrivateKey *key;
};

// Ends the process with what failed and NSPR's last error.
__attribute__((noreturn)) void die_nss(const char *what);

// A P-256 key and a self-signed certificate in the session objects of the internal token: neither
// a database nor certutil is needed.
struct identity make_identity(void);

// PR_Write and PR_Read without TLS: "PLAIN-FILE-<n>" through a temporary file, "PLAIN-SOCKET-<n>"
// through a pair of connected sockets. A tracer that reports these strings took the wrong layer.
void use_plain_layers(unsigned n);

extern const struct tls_library nss;

#endif
