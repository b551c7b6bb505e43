// The certificate half of tls.h: what Firefox does for WebRTC, a key pair without a database.
#include "tls.h"

#include "../common/process.h"

#include <cryptohi.h>
#include <pk11pub.h>
#include <prerror.h>
#include <secerr.h>
#include <secoid.h>

#define ONE_DAY ((PRTime)24 * 60 * 60 * PR_USEC_PER_SEC)

void die_nss(const char *what)
{
    PRErrorCode code = PR_GetError();
    const char *name = PR_ErrorToName(code);
    die("%s: %s (%d)", what, name ? name : "unknown error", (int)code);
}

static SECKEYPrivateKey *make_key(SECKEYPublicKey **public_key)
{
    // DER of the object identifier of P-256, as CKM_EC_KEY_PAIR_GEN wants it.
    unsigned char curve[] = {0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
    SECItem parameters = {siBuffer, curve, sizeof curve};
    PK11SlotInfo *slot = PK11_GetInternalSlot();
    SECKEYPrivateKey *key = PK11_GenerateKeyPair(slot, CKM_EC_KEY_PAIR_GEN, &parameters,
                                                 public_key, PR_FALSE, PR_TRUE, NULL);
    if (!key)
        die_nss("failed to make a key");
    PK11_FreeSlot(slot);
    return key;
}

static CERTCertificate *make_unsigned(SECKEYPublicKey *public_key)
{
    CERTSubjectPublicKeyInfo *info = SECKEY_CreateSubjectPublicKeyInfo(public_key);
    CERTName *name = CERT_AsciiToName("CN=localhost");
    CERTValidity *validity = CERT_CreateValidity(PR_Now() - ONE_DAY, PR_Now() + ONE_DAY);
    CERTCertificateRequest *request =
        info && name ? CERT_CreateCertificateRequest(name, info, NULL) : NULL;
    if (!request || !validity)
        die_nss("failed to make a certificate request");
    CERTCertificate *cert = CERT_CreateCertificate(1, name, validity, request);
    if (!cert)
        die_nss("failed to make a certificate");
    CERT_DestroyCertificateRequest(request);
    CERT_DestroyValidity(validity);
    CERT_DestroyName(name);
    SECKEY_DestroySubjectPublicKeyInfo(info);
    return cert;
}

static CERTCertificate *sign(CERTCertificate *cert, SECKEYPrivateKey *key)
{
    PLArenaPool *arena = cert->arena;
    SECOidTag algorithm = SEC_OID_ANSIX962_ECDSA_SHA256_SIGNATURE;
    SECItem inner = {siBuffer, NULL, 0};
    cert->version.len = 1;
    cert->version.data[0] = SEC_CERTIFICATE_VERSION_3;
    if (SECOID_SetAlgorithmID(arena, &cert->signature, algorithm, NULL) != SECSuccess ||
        !SEC_ASN1EncodeItem(arena, &inner, cert, SEC_ASN1_GET(CERT_CertificateTemplate)) ||
        SEC_DerSignData(arena, &cert->derCert, inner.data, (int)inner.len, key, algorithm) !=
            SECSuccess)
        die_nss("failed to sign the certificate");
    CERTCertificate *finished =
        CERT_NewTempCertificate(CERT_GetDefaultCertDB(), &cert->derCert, NULL, PR_FALSE, PR_TRUE);
    if (!finished)
        die_nss("failed to read the certificate back");
    CERT_DestroyCertificate(cert);
    return finished;
}

struct identity make_identity(void)
{
    SECKEYPublicKey *public_key;
    SECKEYPrivateKey *key = make_key(&public_key);
    CERTCertificate *cert = sign(make_unsigned(public_key), key);
    SECKEY_DestroyPublicKey(public_key);
    return (struct identity){cert, key};
}
