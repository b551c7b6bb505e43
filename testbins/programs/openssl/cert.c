// The certificate half of tls.h: a key and a self-signed certificate that live in memory only.
#include "tls.h"

#include "../common/process.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#define ONE_DAY (24 * 60 * 60)
// X509_VERSION_3, which OpenSSL 1.1 has no name for.
#define THIRD_VERSION 2

void die_openssl(const char *what)
{
    char reason[256];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof reason);
    die("%s: %s", what, reason);
}

// Nothing newer than OpenSSL 1.1 here, and nothing that BoringSSL lacks.
static EVP_PKEY *make_key(void)
{
    EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    EVP_PKEY *key = NULL;
    if (!maker || EVP_PKEY_keygen_init(maker) != 1 ||
        EVP_PKEY_CTX_set_ec_paramgen_curve_nid(maker, NID_X9_62_prime256v1) != 1 ||
        EVP_PKEY_keygen(maker, &key) != 1)
        die_openssl("failed to make a key");
    EVP_PKEY_CTX_free(maker);
    return key;
}

static X509 *self_sign(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_NAME_new();
    if (!cert || !name || !X509_set_version(cert, THIRD_VERSION) ||
        !ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) ||
        !X509_gmtime_adj(X509_getm_notBefore(cert), -ONE_DAY) ||
        !X509_gmtime_adj(X509_getm_notAfter(cert), ONE_DAY) ||
        !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                                    -1, -1, 0) ||
        !X509_set_subject_name(cert, name) || !X509_set_issuer_name(cert, name) ||
        !X509_set_pubkey(cert, key) || !X509_sign(cert, key, EVP_sha256()))
        die_openssl("failed to make a certificate");
    X509_NAME_free(name);
    return cert;
}

SSL_CTX *make_context(const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    EVP_PKEY *key = make_key();
    if (!context)
        die_openssl("failed to make a context");
    X509 *cert = self_sign(key);
    if (SSL_CTX_use_certificate(context, cert) != 1 || SSL_CTX_use_PrivateKey(context, key) != 1)
        die_openssl("failed to use the certificate");
    X509_free(cert);
    EVP_PKEY_free(key);
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
    // A forked peer cannot say goodbye for both processes.
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
    // Off by default in OpenSSL 3; a retried call must repeat its arguments.
    SSL_CTX_clear_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_AUTO_RETRY);
    return context;
}
