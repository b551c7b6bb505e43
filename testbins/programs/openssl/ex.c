//#Needs: pkg-config openssl
//#With: cert.c ends.c
//#Variant: dyn-O2         -O2 -lssl -lcrypto
//#Variant: static         -O2 -static -l:libssl.a -l:libcrypto.a
//#Variant: embedded       -O2 -pie -fPIE -l:libssl.a -l:libcrypto.a
//#Post: static      strip
//#Post: embedded    strip
//#Expect: openssl SSL_read_ex SSL_write_ex SSL_do_handshake SSL_free
// OpenSSL as Rust programs call it: SSL_read_ex and SSL_write_ex only. Probes on SSL_read and
// SSL_write see nothing of this.

#include "ends.h"

static size_t write_ex(const struct end *end, const char *data, size_t size)
{
    size_t taken = 0;
    int result = SSL_write_ex(end->ssl, data, size, &taken);
    if (result <= 0)
        must_be_retry(end, result, "failed to write");
    return taken;
}

static size_t read_ex(const struct end *end, char *buffer, size_t size)
{
    size_t got = 0;
    int result = SSL_read_ex(end->ssl, buffer, size, &got);
    if (result <= 0)
        must_be_retry(end, result, "failed to read");
    return got;
}

int main(int argc, char **argv)
{
    return run_ends(argc, argv, &(struct calls){.write = write_ex, .read = read_ex});
}
