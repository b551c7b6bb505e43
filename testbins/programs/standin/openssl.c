//#Variant: dwarf5      -O2 -gdwarf-5
//#Variant: dwarf5-O0   -O0 -gdwarf-5
//#Variant: dwarf4      -O2 -gdwarf-4
//#Variant: compressed  -O2 -gdwarf-5 -gz=zlib
//#Post: dwarf5 dwarf-only strip strip-debug debuglink build-id debugdata nosections
//#Post: dwarf5-O0 dwarf-only
//#Post: dwarf4 dwarf-only
//#Post: compressed dwarf-only
//#Expect: openssl SSL_new SSL_read SSL_write SSL_do_handshake SSL_free
// Not OpenSSL and not TLS: functions of its names and shapes that copy bytes through memory.
//
// Distributions ship libssl.a without DWARF, so no program linked with it can show that a function
// is found by its debug information. This one can: the names below are in .debug_info.

#include "../common/log.h"
#include "../common/options.h"
#include "../common/payload.h"
#include "../common/process.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY 65536
// Called as written, however clever the optimizer.
#define KEPT __attribute__((noinline, noclone))

typedef struct ssl_st {
    bool connected;
    int held;
    char bytes[CAPACITY];
} SSL;

static struct {
    size_t iterations, size, timeout;
    bool binary, wait;
    const char *log;
} options = {.iterations = 1, .size = 1024, .timeout = 60};

static const struct option_spec option_table[] = {
    {.name = "--iterations", .number = &options.iterations},
    {.name = "--size", .number = &options.size},
    {.name = "--timeout", .number = &options.timeout},
    {.name = "--binary", .flag = &options.binary},
    {.name = "--wait", .flag = &options.wait},
    {.name = "--log", .text = &options.log},
    {.name = NULL},
};

KEPT SSL *SSL_new(void)
{
    SSL *ssl = allocate(sizeof *ssl);
    ssl->connected = false;
    ssl->held = 0;
    return ssl;
}

KEPT void SSL_free(SSL *ssl)
{
    free(ssl);
}

KEPT int SSL_do_handshake(SSL *ssl)
{
    ssl->connected = true;
    return 1;
}

KEPT int SSL_write(SSL *ssl, const void *data, int size)
{
    if (!ssl->connected || size > CAPACITY)
        return -1;
    memcpy(ssl->bytes, data, (size_t)size);
    ssl->held = size;
    return size;
}

KEPT int SSL_read(SSL *ssl, void *buffer, int size)
{
    if (!ssl->connected || size < ssl->held)
        return -1;
    int got = ssl->held;
    memcpy(buffer, ssl->bytes, (size_t)got);
    ssl->held = 0;
    return got;
}

static void transfer(SSL *ssl, struct log *log, size_t iteration)
{
    static char message[CAPACITY], buffer[CAPACITY];
    int size = (int)options.size;
    payload_fill(message, options.size, 0, iteration, options.binary);
    if (SSL_write(ssl, message, size) != size || SSL_read(ssl, buffer, size) != size ||
        memcmp(message, buffer, options.size) != 0)
        die("message %zu was damaged", iteration);
    log_written(log, message, options.size);
    log_read(log, buffer, options.size);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv, option_table, NULL);
    if (options.size > CAPACITY)
        die("--size must be at most %d", CAPACITY);
    watchdog((unsigned)options.timeout);
    if (options.wait)
        wait_for_go();
    struct log log = log_open(options.log, "client", 0, false);
    SSL *ssl = SSL_new();
    if (SSL_do_handshake(ssl) != 1)
        die("failed to shake hands");
    for (size_t i = 0; i < options.iterations; i++)
        transfer(ssl, &log, i);
    SSL_free(ssl);
    log_close(&log);
    return 0;
}
