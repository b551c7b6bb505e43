// The life of a sample process: failing loudly, never hanging, and letting a tracer attach first.
#ifndef TESTBINS_PROCESS_H
#define TESTBINS_PROCESS_H

#include <stddef.h>

// Prints the message and a newline on stderr, then exits with status 1.
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

// malloc() that never returns NULL.
void *allocate(size_t size);

// Exits with status 3 and a message when the process is still alive after `seconds`.
void watchdog(unsigned seconds);

// Prints "ready" on stdout, then waits for one line (or the end) of stdin.
void wait_for_go(void);

#endif
