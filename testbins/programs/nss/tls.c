// NSS as a struct tls_library: PR_Read and PR_Write on a descriptor made by SSL_ImportFD.
#include "tls.h"

#include "../common/process.h"

#include <nspr.h>
#include <nss.h>
#include <private/pprio.h>
#include <ssl.h>
#include <sslproto.h>
#include <stdatomic.h>

static bool use_send_recv;
static struct identity identity;
static atomic_uint sessions;

static const struct option_spec option_table[] = {
    {.name = "--send-recv", .flag = &use_send_recv}, // PR_Send and PR_Recv
    {.name = NULL},
};

static void init(enum role role, bool reluctant)
{
    if (reluctant)
        die("--retry is not offered with NSS");
    PR_Init(PR_USER_THREAD, PR_PRIORITY_NORMAL, 0);
    if (NSS_NoDB_Init(NULL) != SECSuccess || NSS_SetDomesticPolicy() != SECSuccess)
        die_nss("failed to start NSS");
    if (role == SERVER) {
        identity = make_identity();
        SSL_ConfigServerSessionIDCache(0, 0, 0, NULL);
    }
}

static SECStatus trust_everyone(void *argument, PRFileDesc *fd, PRBool check_signature,
                                PRBool is_server)
{
    (void)argument, (void)fd, (void)check_signature, (void)is_server;
    return SECSuccess;
}

static void take_role(PRFileDesc *tls, enum role role)
{
    if (role == SERVER && SSL_ConfigServerCert(tls, identity.cert, identity.key, NULL, 0))
        die_nss("failed to use the certificate");
    if (role == CLIENT && (SSL_AuthCertificateHook(tls, trust_everyone, NULL) ||
                           SSL_SetURL(tls, "localhost")))
        die_nss("failed to configure the client");
}

static void *open_session(int fd, enum role role)
{
    PRFileDesc *tcp = PR_ImportTCPSocket(fd);
    PRFileDesc *tls = tcp ? SSL_ImportFD(NULL, tcp) : NULL;
    if (!tls)
        die_nss("failed to import the socket");
    take_role(tls, role);
    if (SSL_ResetHandshake(tls, role == SERVER) || SSL_ForceHandshake(tls))
        die_nss("failed to shake hands");
    use_plain_layers(atomic_fetch_add(&sessions, 1));
    return tls;
}

static size_t write_session(void *session, const char *data, size_t size)
{
    PRInt32 part = size > PR_INT32_MAX ? PR_INT32_MAX : (PRInt32)size;
    PRInt32 taken = use_send_recv ? PR_Send(session, data, part, 0, PR_INTERVAL_NO_TIMEOUT)
                                  : PR_Write(session, data, part);
    if (taken <= 0)
        die_nss("failed to write");
    return (size_t)taken;
}

static size_t read_session(void *session, char *buffer, size_t size)
{
    PRInt32 part = size > PR_INT32_MAX ? PR_INT32_MAX : (PRInt32)size;
    PRInt32 got = use_send_recv ? PR_Recv(session, buffer, part, 0, PR_INTERVAL_NO_TIMEOUT)
                                : PR_Read(session, buffer, part);
    if (got < 0)
        die_nss("failed to read");
    return (size_t)got;
}

// NSS never forks here, so every session is closed in order.
static void close_session(void *session, bool orderly)
{
    char nothing[1];
    if (orderly && PR_Shutdown(session, PR_SHUTDOWN_SEND) == PR_SUCCESS)
        while (PR_Read(session, nothing, sizeof nothing) > 0)
            continue;
    if (PR_Close(session) != PR_SUCCESS)
        die_nss("failed to close");
}

const struct tls_library nss = {
    .options = option_table,
    // The PKCS#11 token refuses all service in a forked child.
    .forks = false,
    .init = init,
    .open = open_session,
    .write = write_session,
    .read = read_session,
    .close = close_session,
};
