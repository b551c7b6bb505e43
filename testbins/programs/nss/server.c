//#Needs: pkg-config nss
//#Needs: pkg-config nspr
//#With: tls.c cert.c plain.c
//#Variant: dyn-O0     -O0 -lssl3 -lnss3 -lnspr4
//#Variant: dyn-O2     -O2 -lssl3 -lnss3 -lnspr4
//#Post: dyn-O2 strip
//#Expect: nspr PR_Read PR_Write PR_Send PR_Recv PR_Close
//#Expect: nss SSL_ImportFD
// NSS over TCP, the server: TLS and plain files and sockets through the same PR_Read and PR_Write.

#include "tls.h"

int main(int argc, char **argv)
{
    return run_server(&nss, argc, argv);
}
