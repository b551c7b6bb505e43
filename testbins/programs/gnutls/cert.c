// The certificate half of tls.h: a key and a self-signed certificate that live in memory only.
#include "tls.h"

#include "../common/process.h"

#include <gnutls/x509.h>
#include <time.h>

#define ONE_DAY (24 * 60 * 60)

void must(int code, const char *what)
{
    if (code < 0)
        die("%s: %s", what, gnutls_strerror(code));
}

static gnutls_x509_crt_t self_sign(gnutls_x509_privkey_t key)
{
    const char *error;
    unsigned char serial = 1;
    time_t now = time(NULL);
    gnutls_x509_crt_t cert;
    must(gnutls_x509_crt_init(&cert), "failed to make a certificate");
    must(gnutls_x509_crt_set_version(cert, 3), "failed to set the version");
    must(gnutls_x509_crt_set_serial(cert, &serial, 1), "failed to set the serial");
    must(gnutls_x509_crt_set_dn(cert, "CN=localhost", &error), "failed to set the name");
    must(gnutls_x509_crt_set_activation_time(cert, now - ONE_DAY), "failed to set the start");
    must(gnutls_x509_crt_set_expiration_time(cert, now + ONE_DAY), "failed to set the end");
    must(gnutls_x509_crt_set_key(cert, key), "failed to set the key");
    must(gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0), "failed to sign");
    return cert;
}

void add_certificate(gnutls_certificate_credentials_t credentials)
{
    gnutls_x509_privkey_t key;
    unsigned curve = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);
    must(gnutls_x509_privkey_init(&key), "failed to make a key");
    must(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, curve, 0), "failed to make a key");
    gnutls_x509_crt_t cert = self_sign(key);
    must(gnutls_certificate_set_x509_key(credentials, &cert, 1, key), "failed to use the key");
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
}
