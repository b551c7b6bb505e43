//#Needs: pkg-config openssl
//#With: tls.c cert.c
//#Variant: dyn-O0         -O0 -lssl -lcrypto
//#Variant: dyn-O2         -O2 -lssl -lcrypto
//#Variant: static         -O2 -static -l:libssl.a -l:libcrypto.a
//#Variant: static-pie     -O2 -static-pie -fPIE -l:libssl.a -l:libcrypto.a
//#Post: dyn-O2 strip
//#Post: static strip
//#Expect: openssl SSL_read SSL_write SSL_read_ex SSL_write_ex SSL_do_handshake SSL_free
// OpenSSL over TCP, the client: blocking or not, threads, forks, big writes.

#include "tls.h"

int main(int argc, char **argv)
{
    return run_client(&openssl, argc, argv);
}
