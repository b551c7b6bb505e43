// See load.h. A message is written once and read once; no socket and no disk is in the way.
//
// The messages go on for --seconds, or until there were --messages of them; flat out, or at --rate
// messages a second in all. They take turns on --connections, which --threads share.
#include "load.h"

#include "options.h"
#include "payload.h"
#include "process.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

// How many messages pass between two looks at the clock, unless there is a rate to keep.
#define BATCH 16

static struct {
    size_t connections, messages, rate, seconds, size, threads, timeout;
    bool wait, wait_late;
} options = {.connections = 1, .size = 256, .threads = 1, .timeout = 60};

static const struct option_spec option_table[] = {
    {.name = "--connections", .number = &options.connections},
    {.name = "--messages", .number = &options.messages},
    {.name = "--rate", .number = &options.rate},
    {.name = "--seconds", .number = &options.seconds},
    {.name = "--size", .number = &options.size},
    {.name = "--threads", .number = &options.threads},
    {.name = "--timeout", .number = &options.timeout},
    {.name = "--wait", .flag = &options.wait},
    {.name = "--wait-late", .flag = &options.wait_late},
    {.name = NULL},
};

static const struct load_library *library;
static pthread_barrier_t all_ready;

struct worker {
    pthread_t thread;
    size_t connections, messages_max, messages;
    double seconds;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_until(double when)
{
    struct timespec then = {.tv_sec = (time_t)when};
    then.tv_nsec = (long)((when - (double)then.tv_sec) * 1e9);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL);
}

static bool is_over(const struct worker *worker, double start)
{
    if (options.messages)
        return worker->messages >= worker->messages_max;
    if (!options.rate && worker->messages % BATCH)
        return false;
    return seconds_now() - start >= (double)options.seconds;
}

// A program that fell behind does not rush to make up for it: the rate is the most, not the mean.
static double keep_pace(double due, double interval)
{
    double now = seconds_now();
    if (due > now)
        sleep_until(due);
    return (due > now - interval ? due : now) + interval;
}

static void talk(struct worker *worker, void **pairs, const char *message, char *buffer)
{
    double start = seconds_now(), due = start;
    double interval = options.rate ? (double)options.threads / (double)options.rate : 0;
    while (!is_over(worker, start)) {
        if (options.rate)
            due = keep_pace(due, interval);
        void *pair = pairs[worker->messages % worker->connections];
        library->send(pair, message, options.size);
        library->receive(pair, buffer, options.size);
        if (worker->messages++ == 0 && memcmp(message, buffer, options.size) != 0)
            die("other bytes were delivered than were sent");
    }
    worker->seconds = seconds_now() - start;
}

static void *work(void *pointer)
{
    struct worker *worker = pointer;
    char *message = allocate(options.size), *buffer = allocate(options.size);
    void **pairs = allocate(worker->connections * sizeof *pairs);
    payload_fill(message, options.size, 0, 0, false);
    for (size_t n = 0; n < worker->connections; n++)
        // Records add some bytes to each 16 KiB; the slack also holds a whole handshake.
        pairs[n] = library->open(options.size + options.size / 64 + 65536);
    pthread_barrier_wait(&all_ready); // the main thread may look for a go
    pthread_barrier_wait(&all_ready);
    talk(worker, pairs, message, buffer);
    for (size_t n = 0; n < worker->connections; n++)
        library->close(pairs[n]);
    free(pairs);
    free(message);
    free(buffer);
    return NULL;
}

// The first ones get one more where it does not come out even.
static size_t share(size_t all, size_t n)
{
    return all / options.threads + (n < all % options.threads);
}

static struct worker *start_all(void)
{
    struct worker *workers = allocate(options.threads * sizeof *workers);
    for (size_t n = 0; n < options.threads; n++) {
        workers[n] = (struct worker){.connections = share(options.connections, n),
                                     .messages_max = share(options.messages, n)};
        if (pthread_create(&workers[n].thread, NULL, work, &workers[n]) != 0)
            die("failed to start a thread");
    }
    return workers;
}

static void report(const struct worker *workers)
{
    size_t messages = 0;
    double seconds = 0;
    for (size_t n = 0; n < options.threads; n++) {
        messages += workers[n].messages;
        if (workers[n].seconds > seconds)
            seconds = workers[n].seconds;
    }
    struct timespec busy;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &busy);
    printf("messages %zu\nseconds %.6f\ncpu_seconds %.6f\n", messages, seconds,
           (double)busy.tv_sec + (double)busy.tv_nsec / 1e9);
}

int run_load(const struct load_library *of, int argc, char **argv)
{
    library = of;
    parse_options(argc, argv, option_table, NULL);
    if (options.size == 0 || options.size > 1 << 30)
        die("--size must be from 1 to 1073741824");
    if (options.threads == 0 || options.threads > options.connections)
        die("--threads must be from 1 to --connections");
    if ((options.messages == 0) == (options.seconds == 0))
        die("either --messages or --seconds must be given");
    watchdog((unsigned)options.timeout);
    // A pause shall be as short as it is meant.
    prctl(PR_SET_TIMERSLACK, 1UL);
    library->init();
    if (options.wait)
        wait_for_go();
    if (pthread_barrier_init(&all_ready, NULL, (unsigned)options.threads + 1) != 0)
        die("failed to make a barrier");
    struct worker *workers = start_all();
    pthread_barrier_wait(&all_ready);
    if (options.wait_late)
        wait_for_go();
    pthread_barrier_wait(&all_ready);
    for (size_t n = 0; n < options.threads; n++)
        pthread_join(workers[n].thread, NULL);
    report(workers);
    free(workers);
    return 0;
}
