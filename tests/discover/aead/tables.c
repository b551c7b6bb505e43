/* Tables of AEAD functions as AWS-LC and BoringSSL have them, by the words of their sources
   (crypto/fipsmodule/cipher/internal.h, crypto/fipsmodule/delocate.h), with functions that do nothing of use. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const void *aead;
    uint64_t state[70];
} ctx;

struct evp_aead_st {
    uint8_t key_len, nonce_len, overhead, max_tag_len;
#ifndef OLD
    uint16_t aead_id;
#endif
    int seal_scatter_supports_extra_in;
    int (*init)(ctx *, const uint8_t *key, size_t key_len, size_t tag_len);
    int (*init_with_direction)(ctx *, const uint8_t *key, size_t key_len, size_t tag_len, int direction);
    void (*cleanup)(ctx *);
    int (*open)(const ctx *, uint8_t *out, size_t *out_len);
    int (*seal_scatter)(const ctx *, uint8_t *out, uint8_t *tag, size_t *tag_len, const uint8_t *in, size_t in_len);
    int (*open_gather)(const ctx *, uint8_t *out, const uint8_t *nonce, size_t nonce_len, const uint8_t *in, size_t in_len);
    int (*get_iv)(const ctx *, const uint8_t **out_iv, size_t *out_len);
    size_t (*tag_len)(const ctx *, size_t in_len, size_t extra_in_len);
#ifndef OLD
    int (*serialize_state)(const ctx *, void *cbb);
    int (*deserialize_state)(const ctx *, void *cbs);
#endif
};
typedef struct evp_aead_st EVP_AEAD;

#define NOINLINE __attribute__((noinline))
volatile int sink;

/* Each does something of its own, so that no linker folds them into one. */
#define SEAL(name, salt)                                                                                       \
    static NOINLINE int name(const ctx *c, uint8_t *out, uint8_t *tag, size_t *tag_len, const uint8_t *in,     \
                             size_t in_len) {                                                                  \
        for (size_t i = 0; i < in_len; i++) {                                                                  \
            out[i] = in[i] ^ (uint8_t)(c->state[i % 70] + salt);                                               \
        }                                                                                                      \
        tag[0] = salt;                                                                                         \
        *tag_len = 16;                                                                                         \
        sink += salt;                                                                                          \
        return 1;                                                                                              \
    }
#define OPEN(name, salt)                                                                                       \
    static NOINLINE int name(const ctx *c, uint8_t *out, const uint8_t *nonce, size_t nonce_len,               \
                             const uint8_t *in, size_t in_len) {                                               \
        for (size_t i = 0; i < in_len; i++) {                                                                  \
            out[i] = in[i] ^ (uint8_t)(c->state[i % 70] + salt);                                               \
        }                                                                                                      \
        sink -= salt;                                                                                          \
        return nonce_len == 12 && nonce[0] != salt;                                                            \
    }
#define INIT(name, salt)                                                                                       \
    static NOINLINE int name(ctx *c, const uint8_t *key, size_t key_len, size_t tag_len) {                     \
        memcpy(c->state, key, key_len);                                                                        \
        c->state[9] = tag_len + salt;                                                                          \
        return 1;                                                                                              \
    }
static NOINLINE void cleanup(ctx *c) { memset(c, 0, sizeof *c); }
static NOINLINE int state(const ctx *c, void *p) { return c->state[1] == (uintptr_t)p; }

SEAL(aead_aes_gcm_seal_scatter, 1)
SEAL(aead_aes_gcm_tls12_seal_scatter, 2)
SEAL(aead_aes_gcm_tls13_seal_scatter, 3)
SEAL(aead_chacha20_poly1305_seal_scatter, 4)
SEAL(aead_aes_gcm_siv_seal_scatter, 5)
OPEN(aead_aes_gcm_open_gather, 6)
OPEN(aead_chacha20_poly1305_open_gather, 7)
OPEN(aead_aes_gcm_siv_open_gather, 8)
INIT(gcm_init, 9)
INIT(tls12_init, 10)
INIT(tls13_init, 11)
INIT(chacha_init, 12)
INIT(siv_init, 13)

#ifdef OLD
#define ID(id)
#else
#define ID(id) .aead_id = id,
#endif
#define STATIC(name, key, id, extra, starts, seals, opens)                                                     \
    static const EVP_AEAD name = {                                                                             \
        .key_len = key, .nonce_len = 12, .overhead = 16, .max_tag_len = 16, ID(id)                             \
        .seal_scatter_supports_extra_in = extra, .init = starts, .cleanup = cleanup, .seal_scatter = seals,    \
        .open_gather = opens,                                                                                  \
    };

STATIC(siv_128, 16, 3, 0, siv_init, aead_aes_gcm_siv_seal_scatter, aead_aes_gcm_siv_open_gather)
STATIC(siv_256, 32, 4, 0, siv_init, aead_aes_gcm_siv_seal_scatter, aead_aes_gcm_siv_open_gather)
STATIC(chacha, 32, 5, 1, chacha_init, aead_chacha20_poly1305_seal_scatter, aead_chacha20_poly1305_open_gather)

/* A callback that fills a table, or one that calls another with the table's address. */
void once(int *control, void (*callback)(void));
#ifdef OUT
#define FILLED(name)                                                                                           \
    static EVP_AEAD name##_storage;                                                                            \
    static int name##_once;                                                                                    \
    static NOINLINE void name##_do_init(EVP_AEAD *out);                                                        \
    static void name##_init(void) { name##_do_init(&name##_storage); }                                         \
    NOINLINE const EVP_AEAD *name(void) {                                                                      \
        once(&name##_once, name##_init);                                                                       \
        return &name##_storage;                                                                                \
    }                                                                                                          \
    static NOINLINE void name##_do_init(EVP_AEAD *out)
#else
#define FILLED(name)                                                                                           \
    static EVP_AEAD name##_storage;                                                                            \
    static int name##_once;                                                                                    \
    static void name##_do_init(EVP_AEAD *out);                                                                 \
    static void name##_init(void) { name##_do_init(&name##_storage); }                                         \
    NOINLINE const EVP_AEAD *name(void) {                                                                      \
        once(&name##_once, name##_init);                                                                       \
        return &name##_storage;                                                                                \
    }                                                                                                          \
    static void name##_do_init(EVP_AEAD *out)
#endif

#ifdef OLD
#define SET_ID(id)
#else
#define SET_ID(id) out->aead_id = id;
#endif
#define GCM(name, key, id, starts, seals)                                                                      \
    FILLED(name) {                                                                                             \
        memset(out, 0, sizeof(EVP_AEAD));                                                                      \
        out->key_len = key;                                                                                    \
        out->nonce_len = 12;                                                                                   \
        out->overhead = 16;                                                                                    \
        out->max_tag_len = 16;                                                                                 \
        SET_ID(id)                                                                                             \
        out->seal_scatter_supports_extra_in = 1;                                                               \
        out->init = starts;                                                                                    \
        out->cleanup = cleanup;                                                                                \
        out->seal_scatter = seals;                                                                             \
        out->open_gather = aead_aes_gcm_open_gather;                                                           \
        STATE(out)                                                                                             \
    }
#define STATE(out)
GCM(aes_128, 16, 16, gcm_init, aead_aes_gcm_seal_scatter)
GCM(aes_192, 24, 17, gcm_init, aead_aes_gcm_seal_scatter)
GCM(aes_256, 32, 18, gcm_init, aead_aes_gcm_seal_scatter)
GCM(aes_128_tls12, 16, 21, tls12_init, aead_aes_gcm_tls12_seal_scatter)
GCM(aes_256_tls12, 32, 22, tls12_init, aead_aes_gcm_tls12_seal_scatter)
#ifndef OLD
#undef STATE
#define STATE(out)                                                                                             \
    out->serialize_state = state;                                                                              \
    out->deserialize_state = (int (*)(const ctx *, void *))state;
#endif
GCM(aes_128_tls13, 16, 23, tls13_init, aead_aes_gcm_tls13_seal_scatter)
GCM(aes_256_tls13, 32, 24, tls13_init, aead_aes_gcm_tls13_seal_scatter)

NOINLINE void once(int *control, void (*callback)(void)) {
    if (!*control) {
        callback();
        *control = 1;
    }
}

/* What a program with this library inside says in its errors. */
const char *const trace = TRACE;

int main(int n, char **v) {
    const EVP_AEAD *all[] = {aes_128(),       aes_192(),       aes_256(),       aes_128_tls12(), aes_256_tls12(),
                             aes_128_tls13(), aes_256_tls13(), &siv_128,        &siv_256,        &chacha};
    ctx c = {0};
    uint8_t buffer[64] = {0};
    size_t tag;
    const EVP_AEAD *one = all[n % 10];
    one->init(&c, (uint8_t *)trace, one->key_len, 16);
    one->seal_scatter(&c, buffer, buffer + 32, &tag, (uint8_t *)v[0], n);
    one->open_gather(&c, buffer, buffer + 40, 12, (uint8_t *)v[0], n);
    one->cleanup(&c);
    return sink;
}
