/* The shape of OpenSSL 3's ssl_lib.c, stripped: functions that hand their own name to ERR_set_debug and pass their
 * arguments on. Facts of the interface only; nothing is ever run. */

#define NOINLINE __attribute__((noinline))
#define ERR_raise(reason) (ERR_new(), ERR_set_debug("ssl/ssl_lib.c", __LINE__, __func__), ERR_set_error(20, reason, 0))

typedef struct ssl SSL;
struct method {
    long version;
    int (*read)(SSL *, void *, unsigned long, unsigned long *);
    int (*write)(SSL *, const void *, unsigned long, unsigned long *);
    int (*shutdown)(SSL *);
};
struct ssl {
    const struct method *method;
    int (*handshake_func)(SSL *);
    int shutdown, quiet, async;
};
volatile int last;
NOINLINE void ERR_new(void) { last++; }
NOINLINE void ERR_set_debug(const char *file, int line, const char *function) { last += line + *file + *function; }
NOINLINE void ERR_set_error(int library, int reason, const char *format) { last += library + reason + !format; }
NOINLINE int ssl_start_async_job(SSL *s, void *data, unsigned long size) { return s->async + (data != 0) + (int)size; }

NOINLINE int ssl_read_internal(SSL *s, void *buf, unsigned long num, unsigned long *readbytes)
{
    if (s->handshake_func == 0) {
        ERR_raise(276);
        return -1;
    }
    if (s->shutdown == 9) {
        ERR_raise(0xC0101);
        return 0;
    }
    if (s->async)
        return ssl_start_async_job(s, buf, num);
    return s->method->read(s, buf, num, readbytes);
}

NOINLINE int ssl_write_internal(SSL *s, const void *buf, unsigned long num, unsigned long flags, unsigned long *written)
{
    if (s->handshake_func == 0) {
        ERR_raise(276);
        return -1;
    }
    if (s->shutdown & 1) {
        ERR_raise(207);
        return -1;
    }
    if (flags) {
        ERR_raise(412);
        return -1;
    }
    if (s->async)
        return ssl_start_async_job(s, (void *)buf, num);
    return s->method->write(s, buf, num, written);
}

NOINLINE int SSL_read(SSL *s, void *buf, int num)
{
    unsigned long readbytes;
    if (num < 0) {
        ERR_raise(271);
        return -1;
    }
    int ret = ssl_read_internal(s, buf, (unsigned long)num, &readbytes);
    return ret > 0 ? (int)readbytes : ret;
}

NOINLINE int SSL_write(SSL *s, const void *buf, int num)
{
    unsigned long written;
    if (num < 0) {
        ERR_raise(271);
        return -1;
    }
    int ret = ssl_write_internal(s, buf, (unsigned long)num, 0, &written);
    return ret > 0 ? (int)written : ret;
}

NOINLINE int SSL_peek(SSL *s, void *buf, int num)
{
    unsigned long readbytes;
    if (num < 0) {
        ERR_raise(271);
        return -1;
    }
    return s->method->read(s, buf, (unsigned long)num, &readbytes) + s->quiet;
}

NOINLINE int SSL_do_handshake(SSL *s)
{
    if (s->handshake_func == 0) {
        ERR_raise(144);
        return -1;
    }
    return s->handshake_func(s) + s->quiet;
}

NOINLINE int SSL_shutdown(SSL *s)
{
    if (s->handshake_func == 0) {
        ERR_raise(276);
        return -1;
    }
    if (s->quiet == 3)
        return s->method->shutdown(s) + 1;
    ERR_raise(407);
    return -1;
}

NOINLINE int BIO_int_ctrl(void *bio, int command, long one, int two) { return last + (bio != 0) + command + (int)one + two; }
NOINLINE int SSL_set_fd(SSL *s, int fd)
{
    if (s->quiet == 4) {
        ERR_raise(0x80007);
        return 0;
    }
    return BIO_int_ctrl(s, 104, 0, fd) + 1;
}

void _start(void)
{
    SSL *s = (SSL *)&last;
    last = SSL_read(s, s, 1) + SSL_write(s, s, 1) + SSL_peek(s, s, 1) + SSL_do_handshake(s) + SSL_shutdown(s) + SSL_set_fd(s, 1)
        + ssl_read_internal(s, s, 1, 0) + ssl_write_internal(s, s, 1, (unsigned long)last, 0);
    for (;;)
        ;
}
