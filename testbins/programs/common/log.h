// The --log contract: DIR/<role>-<n>[-child].write and .read hold exactly the plaintext bytes that
// the program successfully wrote and read through its TLS library, in order, and nothing else.
#ifndef TESTBINS_LOG_H
#define TESTBINS_LOG_H

#include <stdbool.h>
#include <stddef.h>

// Both descriptors are -1 when nothing is logged.
struct log {
    int write_fd;
    int read_fd;
};

#define NO_LOG ((struct log){-1, -1})

// Creates both files of connection `n`; with `dir` NULL the log swallows everything.
struct log log_open(const char *dir, const char *role, size_t n, bool child);
void log_written(const struct log *log, const void *data, size_t size);
void log_read(const struct log *log, const void *data, size_t size);
void log_close(struct log *log);

#endif
