//#Needs: pkg-config gnutls
//#With: tls.c cert.c
//#Variant: dyn-O0     -O0 -lgnutls
//#Variant: dyn-O2     -O2 -lgnutls
//#Variant: embedded   -O2 -pie -fPIE -l:libgnutls.a -l:libhogweed.a -l:libnettle.a -l:libgmp.a -l:libtasn1.a -l:libidn2.so.0 -l:libunistring.so.2 -l:libp11-kit.so.0
//#Post: dyn-O2 strip
//#Post: embedded strip strip-debug debuglink build-id debugdata nosections
//#Expect: gnutls gnutls_record_send gnutls_record_recv gnutls_record_send2 gnutls_record_recv_packet gnutls_record_uncork gnutls_handshake gnutls_deinit
// GnuTLS over TCP, the server: retried records, corked records, packets.

#include "tls.h"

int main(int argc, char **argv)
{
    return run_server(&gnutls, argc, argv);
}
