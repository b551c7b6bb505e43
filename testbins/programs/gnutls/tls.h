// What client.c and server.c share of GnuTLS.
#ifndef TESTBINS_GNUTLS_TLS_H
#define TESTBINS_GNUTLS_TLS_H

#include "../common/conn.h"

#include <gnutls/gnutls.h>

// Ends the process if `code` is a GnuTLS error.
void must(int code, const char *what);

// A P-256 key and a self-signed certificate made on the spot; nothing is read from disk.
void add_certificate(gnutls_certificate_credentials_t credentials);

extern const struct tls_library gnutls;

#endif
