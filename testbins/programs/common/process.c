// See process.h.
#include "process.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        die("out of memory for %zu bytes", size);
    return memory;
}

static void on_alarm(int signal)
{
    static const char message[] = "gave up: the time limit of --timeout passed\n";
    (void)signal;
    // Nothing can be done about a failed write on the way out.
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
    (void)written;
    _exit(3);
}

void watchdog(unsigned seconds)
{
    signal(SIGALRM, on_alarm);
    // A peer that went away shall be an error return, not a silent death.
    signal(SIGPIPE, SIG_IGN);
    alarm(seconds);
}

void wait_for_go(void)
{
    puts("ready");
    fflush(stdout);
    for (int c = getchar(); c != '\n' && c != EOF; c = getchar())
        continue;
}
