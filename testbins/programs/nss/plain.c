// use_plain_layers() of tls.h: the same NSPR calls as for TLS, on descriptors that are not TLS.
#include "tls.h"

#include "../common/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void expect_back(PRFileDesc *from, const char *text, PRInt32 length)
{
    char buffer[64];
    if (PR_Read(from, buffer, sizeof buffer) != length || memcmp(buffer, text, (size_t)length) != 0)
        die_nss("plain bytes did not come back");
}

static void use_file(unsigned n)
{
    char path[] = "/tmp/testbins-plain-XXXXXX";
    char text[32];
    int made = mkstemp(path);
    if (made < 0)
        die("failed to make a temporary file");
    close(made);
    PRInt32 length = snprintf(text, sizeof text, "PLAIN-FILE-%u", n);
    PRFileDesc *file = PR_Open(path, PR_RDWR, 0600);
    unlink(path);
    if (!file || PR_Write(file, text, length) != length || PR_Seek64(file, 0, PR_SEEK_SET) != 0)
        die_nss("failed to write a plain file");
    expect_back(file, text, length);
    PR_Close(file);
}

static void use_socket(unsigned n)
{
    PRFileDesc *ends[2];
    char text[32];
    PRInt32 length = snprintf(text, sizeof text, "PLAIN-SOCKET-%u", n);
    if (PR_NewTCPSocketPair(ends) != PR_SUCCESS)
        die_nss("failed to make a plain socket pair");
    if (PR_Write(ends[0], text, length) != length)
        die_nss("failed to write to a plain socket");
    expect_back(ends[1], text, length);
    if (PR_Send(ends[1], text, length, 0, PR_INTERVAL_NO_TIMEOUT) != length)
        die_nss("failed to send to a plain socket");
    expect_back(ends[0], text, length);
    PR_Close(ends[0]);
    PR_Close(ends[1]);
}

void use_plain_layers(unsigned n)
{
    use_file(n);
    use_socket(n);
}
