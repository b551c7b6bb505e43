// run_load(): a program that does nothing but TLS, for measuring what watching it costs.
#ifndef TESTBINS_LOAD_H
#define TESTBINS_LOAD_H

#include <stddef.h>

// A TLS library whose two ends are joined by memory, in one process. Every function ends the
// process on an error, so none has an error return.
struct load_library {
    // Once per process.
    void (*init)(void);
    // Joins a client and a server that have shaken hands; what is between them holds `room` bytes.
    void *(*open)(size_t room);
    // One write of the client, which is taken as a whole.
    void (*send)(void *pair, const char *message, size_t size);
    // As many reads of the server as the message needs: one for each record.
    void (*receive)(void *pair, char *buffer, size_t size);
    void (*close)(void *pair);
};

// The whole of main(); returns the exit status.
int run_load(const struct load_library *library, int argc, char **argv);

#endif
