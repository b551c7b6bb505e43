//#Needs: pkg-config openssl
//#With: cert.c ends.c
//#Variant: dyn-O2         -O2 -lssl -lcrypto
//#Variant: static         -O2 -static -l:libssl.a -l:libcrypto.a
//#Variant: embedded       -O2 -pie -fPIE -l:libssl.a -l:libcrypto.a
//#Post: static      strip
//#Post: embedded    strip
//#Expect: openssl SSL_read_ex SSL_write_ex SSL_do_handshake SSL_free
// OpenSSL behind BIO_f_ssl: the program calls BIO_read and BIO_write only. OpenSSL then uses its
// internal functions, past SSL_read and SSL_read_ex; BoringSSL uses SSL_read and SSL_write.

#include "ends.h"

#include "../common/process.h"

#include <openssl/bio.h>

static void *open_bio(SSL *ssl)
{
    BIO *bio = BIO_new(BIO_f_ssl());
    if (!bio || BIO_set_ssl(bio, ssl, BIO_CLOSE) != 1)
        die_openssl("failed to wrap a session");
    return bio;
}

static void close_bio(struct end *end)
{
    BIO_free(end->handle);
}

static size_t moved(const struct end *end, int result, const char *what)
{
    if (result <= 0 && !BIO_should_retry((BIO *)end->handle))
        die_openssl(what);
    return result > 0 ? (size_t)result : 0;
}

static size_t write_bio(const struct end *end, const char *data, size_t size)
{
    return moved(end, BIO_write(end->handle, data, (int)size), "failed to write");
}

static size_t read_bio(const struct end *end, char *buffer, size_t size)
{
    return moved(end, BIO_read(end->handle, buffer, (int)size), "failed to read");
}

int main(int argc, char **argv)
{
    const struct calls calls = {open_bio, close_bio, write_bio, read_bio};
    return run_ends(argc, argv, &calls);
}
