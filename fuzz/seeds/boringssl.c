/* The shape of BoringSSL's ssl_lib.cc and s3_pkt.cc, stripped: the order of their errors, the method table, what
 * SSL_read consumes. Facts of the interface only; nothing is ever run. */

#define NOINLINE __attribute__((noinline))
#ifdef NO_FILE
#define FILE_NAME ""
#else
#define FILE_NAME __FILE__
#endif
#define OPENSSL_PUT_ERROR(reason) ERR_put_error(16, 0, reason, FILE_NAME, __LINE__)

typedef struct ssl SSL;
typedef unsigned char u8;
typedef unsigned long size_t;
struct span {
    u8 *data;
    size_t size;
};
struct method {
    long is_dtls;
    int (*slots[20])(SSL *, int *, size_t *, const u8 *, size_t);
};
struct s3 {
    long version[20];
    struct span pending_app_data;
};
struct ssl {
    const struct method *method;
    void *config;
    long versions[3];
    int (*do_handshake)(SSL *);
    struct s3 *s3;
    int shutdown;
};
volatile int last;
extern const char label[];
const char label[] = "c ap traffic";

NOINLINE void ERR_put_error(int library, int unused, int reason, const char *file, int line)
{
    last += library + unused + reason + *file + line;
}
NOINLINE void copy(u8 *to, const u8 *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}
NOINLINE static int ssl_can_write(SSL *ssl) { return ssl->shutdown; }

#line 200 "third_party/boringssl/src/ssl/s3_pkt.cc"
NOINLINE int tls_write_app_data(SSL *ssl, int *needs_handshake, size_t *written, const u8 *buf, size_t size)
{
    *needs_handshake = 0;
    if (ssl->shutdown) {
        OPENSSL_PUT_ERROR(194);
        return -1;
    }
    copy((u8 *)ssl->s3, buf, size);
    *written = size;
    return 1;
}
NOINLINE int tls_open(SSL *ssl, int *a, size_t *b, const u8 *c, size_t d) { return ssl->shutdown + *a + (int)*b + *c + (int)d; }
NOINLINE int tls_free(SSL *ssl, int *a, size_t *b, const u8 *c, size_t d)
{
    ssl->s3 = 0;
    ssl->shutdown = last;
    return a != 0 && b != 0 && c != 0 && d;
}
extern const struct method tls_method;
const struct method tls_method = {0, {tls_open, tls_free, tls_open, tls_open, tls_open, tls_open, tls_open, tls_open, tls_write_app_data,
    tls_open, tls_open, tls_open, tls_open, tls_open, tls_open, tls_open, tls_open, tls_open, tls_open, tls_open}};

#line 880 "third_party/boringssl/src/ssl/ssl_lib.cc"
NOINLINE int SSL_do_handshake(SSL *ssl)
{
    if (ssl->do_handshake == 0) {
        OPENSSL_PUT_ERROR(134);
        return -1;
    }
    return ssl->do_handshake(ssl) + 1;
}
#line 900 "third_party/boringssl/src/ssl/ssl_lib.cc"
NOINLINE static int ssl_read_impl(SSL *ssl)
{
    if (ssl->do_handshake == 0) {
        OPENSSL_PUT_ERROR(226);
        return -1;
    }
    if (ssl_can_write(ssl) && SSL_do_handshake(ssl) < 0) {
        OPENSSL_PUT_ERROR(215);
        return -1;
    }
    return 1 + last;
}
#line 1044 "third_party/boringssl/src/ssl/ssl_lib.cc"
NOINLINE int SSL_peek(SSL *ssl, void *buf, int num)
{
    if (ssl->config == 0) {
        OPENSSL_PUT_ERROR(66);
        return -1;
    }
    int ret = ssl_read_impl(ssl);
    if (ret <= 0)
        return ret;
    copy(buf, ssl->s3->pending_app_data.data, (size_t)num);
    return num;
}
#line 1030 "third_party/boringssl/src/ssl/ssl_lib.cc"
NOINLINE int SSL_read(SSL *ssl, void *buf, int num)
{
    int ret = SSL_peek(ssl, buf, num);
    if (ret <= 0)
        return ret;
    struct span left = ssl->s3->pending_app_data;
    __asm__("" : "+r"(left.data), "+r"(left.size));
    left.data += ret;
    left.size -= (size_t)ret;
    __asm__("" : "+r"(left.data), "+r"(left.size));
    ssl->s3->pending_app_data = left;
    return ret;
}
#line 1065 "third_party/boringssl/src/ssl/ssl_lib.cc"
NOINLINE int SSL_write(SSL *ssl, const void *buf, int num)
{
    int needs_handshake;
    size_t written;
    if (ssl->config == 0) {
        OPENSSL_PUT_ERROR(66);
        return -1;
    }

    if (ssl->do_handshake == 0) {
        OPENSSL_PUT_ERROR(226);
        return -1;
    }









    if (ssl_can_write(ssl) && SSL_do_handshake(ssl) < 0) {
        OPENSSL_PUT_ERROR(215);
        return -1;
    }

    if (num < 0) {
        OPENSSL_PUT_ERROR(111);
        return -1;
    }
    int ret = ssl->method->slots[8](ssl, &needs_handshake, &written, buf, (size_t)num);
    return ret > 0 ? (int)written : ret;
}
NOINLINE int SSL_shutdown(SSL *ssl)
{
    if (ssl->do_handshake == 0) {
        OPENSSL_PUT_ERROR(226);
        return -1;
    }
    if (ssl_read_impl(ssl) > 0) {
        OPENSSL_PUT_ERROR(291);
        return -1;
    }
    return ssl->method->slots[3](ssl, 0, 0, 0, 0) + 1;
}

void _start(void)
{
    SSL *ssl = (SSL *)&tls_method;
    last = SSL_read(ssl, ssl, 1) + SSL_write(ssl, ssl, 1) + SSL_peek(ssl, ssl, 1) + SSL_shutdown(ssl) + SSL_do_handshake(ssl) + label[last];
    for (;;)
        ;
}
