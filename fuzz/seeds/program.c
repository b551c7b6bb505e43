/* A bit of everything that linkers and compilers write: calls, tail calls, jump tables, cold parts, pointers
 * in data that need relocations, functions that never return. Nothing is ever run. */

#ifdef __has_include
#define NOINLINE __attribute__((noinline))
#endif

extern int other(int);
int (*volatile method)(int);
volatile int state;
char buffer[64];

__attribute__((cold, noreturn, noinline)) void fail(const char *file, int line)
{
    state = line;
    buffer[0] = file[0];
    __builtin_trap();
}

NOINLINE static int add(int a, int b)
{
    if (a == state)
        fail("program.c", 17);
    return a + b + state;
}

NOINLINE int many(int which, int value)
{
    switch (which) {
    case 0: return add(value, 1);
    case 1: return method(value);
    case 2: state = value; return 7;
    case 3: return add(state, value) * 3;
    case 4: return value << 5;
    case 5: fail("program.c", 28);
    case 6: return add(add(1, 2), add(3, value));
    default: return -1;
    }
}

NOINLINE int tail(int value)
{
    char local[32];
    for (int i = 0; i < 32; i++)
        local[i] = buffer[i] + (char)value;
    if (__builtin_expect(local[3] == 'x', 0))
        fail(local, 42);
    return many(local[5], value);
}

struct row {
    const char *name;
    int (*function)(int, int);
    const struct row *next;
    unsigned long number;
};

extern const struct row table[];
const struct row table[] = {
    {"add", add, &table[1], 1},
    {"many", many, &table[2], 2},
    {"tail", (int (*)(int, int))tail, &table[3], 3},
    {"none", 0, 0, 4},
};
const struct row *const first = &table[0];
struct row own[4] = {{"a", many, own + 1, 1}, {"b", add, own + 2, 2}, {"c", 0, own + 3, 3}};

int SSL_read(void *ssl, void *data, int size)
{
    return tail(size) + many((int)(long)ssl, ((char *)data)[0]);
}

int SSL_write(void *ssl, const void *data, int size)
{
    for (const struct row *row = first; row; row = row->next)
        if (row->function)
            state += row->function(size, (int)row->number);
    return SSL_read(ssl, (void *)data, size);
}

void SSL_free(void *ssl) { method = ssl; }
void *SSL_new(void *context) { return own + (((long)context) & 3); }
int SSL_do_handshake(void *ssl) { return many(1, (int)(long)ssl); }
void *SSL_CTX_new(void *method_) { return method_; }
long gnutls_record_recv(void *session, void *data, unsigned long size)
{
    return SSL_read(session, data, (int)size);
}
long gnutls_record_send(void *session, const void *data, unsigned long size)
{
    return SSL_write(session, data, (int)size);
}
int PR_Read(void *file, void *data, int size) { return SSL_read(file, data, size); }
int PR_Write(void *file, const void *data, int size) { return SSL_write(file, data, size); }

#ifndef LIBRARY
void _start(void)
{
    method = tail;
    state = SSL_read(0, buffer, 4) + SSL_write(0, buffer, 4);
    for (;;)
        ;
}
#endif
