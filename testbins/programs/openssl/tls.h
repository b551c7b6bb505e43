// What pair.c, client.c and server.c share of OpenSSL.
#ifndef TESTBINS_OPENSSL_TLS_H
#define TESTBINS_OPENSSL_TLS_H

#include "../common/conn.h"

#include <openssl/ssl.h>

// Ends the process with what failed and the newest entry of OpenSSL's error queue.
__attribute__((noreturn)) void die_openssl(const char *what);

// A context with a self-signed P-256 certificate made on the spot; nothing is read from disk.
SSL_CTX *make_context(const SSL_METHOD *method);

extern const struct tls_library openssl;

#endif
