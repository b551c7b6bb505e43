/* The shape of OpenSSL 1.1.1's ssl_lib.c, stripped: functions that hand a number of their own to ERR_put_error and
 * pass their arguments on. Facts of the interface only; nothing is ever run. */

#define NOINLINE __attribute__((noinline))
#define SSLerr(function, reason) ERR_put_error(20, function, reason, "ssl/ssl_lib.c", __LINE__)

typedef struct ssl SSL;
struct ssl {
    int (*read)(SSL *, void *, unsigned long, unsigned long *);
    int (*write)(SSL *, const void *, unsigned long, unsigned long *);
    int (*handshake_func)(SSL *);
    int shutdown, quiet;
};
volatile int last;
NOINLINE void ERR_put_error(int library, int function, int reason, const char *file, int line)
{
    last += library + function + reason + *file + line;
}

NOINLINE int ssl_read_internal(SSL *s, void *buf, unsigned long num, unsigned long *readbytes)
{
    if (s->handshake_func == 0) {
        SSLerr(523, 276);
        return -1;
    }
    if (s->shutdown == 9) {
        SSLerr(523, 66);
        return 0;
    }
    return s->read(s, buf, num, readbytes);
}

NOINLINE int ssl_write_internal(SSL *s, const void *buf, unsigned long num, unsigned long *written)
{
    if (s->handshake_func == 0) {
        SSLerr(524, 276);
        return -1;
    }
    if (s->shutdown & 1) {
        SSLerr(524, 207);
        return -1;
    }
    return s->write(s, buf, num, written);
}

NOINLINE int SSL_read(SSL *s, void *buf, int num)
{
    unsigned long readbytes;
    if (num < 0) {
        SSLerr(223, 271);
        return -1;
    }
    int ret = ssl_read_internal(s, buf, (unsigned long)num, &readbytes);
    return ret > 0 ? (int)readbytes : ret;
}

NOINLINE int SSL_write(SSL *s, const void *buf, int num)
{
    unsigned long written;
    if (num < 0) {
        SSLerr(208, 271);
        return -1;
    }
    int ret = ssl_write_internal(s, buf, (unsigned long)num, &written);
    return ret > 0 ? (int)written : ret;
}

NOINLINE int SSL_do_handshake(SSL *s)
{
    if (s->handshake_func == 0) {
        SSLerr(180, 144);
        return -1;
    }
    return s->handshake_func(s) + s->quiet;
}

NOINLINE int SSL_shutdown(SSL *s)
{
    if (s->handshake_func == 0) {
        SSLerr(224, 276);
        return -1;
    }
    return s->handshake_func(s) + 1;
}

void _start(void)
{
    SSL *s = (SSL *)&last;
    last = SSL_read(s, s, 1) + SSL_write(s, s, 1) + SSL_do_handshake(s) + SSL_shutdown(s) + ssl_read_internal(s, s, 1, 0)
        + ssl_write_internal(s, s, 1, (unsigned long *)&last);
    for (;;)
        ;
}
