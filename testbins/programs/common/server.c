// run_server(): accepts a given number of connections on 127.0.0.1 and echoes or swallows messages.
#include "conn.h"

#include "net.h"
#include "payload.h"
#include "process.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    size_t port, accept, timeout;
    bool sink, fork, retry, wait;
    const char *log;
} options = {.accept = 1, .timeout = 60};

static const struct option_spec option_table[] = {
    {.name = "--port", .number = &options.port},
    {.name = "--accept", .number = &options.accept},
    {.name = "--timeout", .number = &options.timeout},
    {.name = "--sink", .flag = &options.sink},
    {.name = "--fork", .flag = &options.fork},
    {.name = "--retry", .flag = &options.retry},
    {.name = "--wait", .flag = &options.wait},
    {.name = "--log", .text = &options.log},
    {.name = NULL},
};

static const struct tls_library *library;

// Connections are accepted in any order, so the log takes its number from the first frame.
static void log_from(struct conn *conn, const struct frame *frame, const char *header)
{
    conn->log = log_open(options.log, "server", frame->connection, options.fork);
    log_read(&conn->log, header, FRAME_HEADER);
}

static bool serve_message(struct conn *conn, bool first)
{
    char header[FRAME_HEADER];
    if (!conn_read_all(conn, header, sizeof header))
        return false;
    struct frame frame = frame_parse(header);
    if (first)
        log_from(conn, &frame, header);
    char *bytes = allocate(frame.size);
    for (size_t i = 0; i < FRAME_HEADER; i++)
        bytes[i] = header[i];
    if (frame.size > FRAME_HEADER &&
        !conn_read_all(conn, bytes + FRAME_HEADER, frame.size - FRAME_HEADER))
        die("the client closed in the middle of a message");
    frame_check(bytes, &frame);
    if (!options.sink)
        conn_write_all(conn, bytes, frame.size);
    free(bytes);
    return true;
}

static void serve_messages(struct conn *conn)
{
    for (bool first = true; serve_message(conn, first); first = false)
        continue;
}

// The parent shakes hands, the child serves, the parent forgets the connection.
static void serve_in_child(struct conn *conn)
{
    pid_t child = fork();
    if (child < 0)
        die("failed to fork");
    if (child == 0) {
        alarm((unsigned)options.timeout);
        serve_messages(conn);
        conn_close(conn, true);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        die("the forked child failed");
    conn_close(conn, false);
}

static void *serve(void *socket)
{
    int fd = (int)(intptr_t)socket;
    if (options.retry)
        make_reluctant(fd);
    struct conn conn = {library, library->open(fd, SERVER), NO_LOG};
    if (options.fork) {
        serve_in_child(&conn);
        return NULL;
    }
    serve_messages(&conn);
    conn_close(&conn, true);
    return NULL;
}

static void accept_all(int listener)
{
    pthread_t *threads = allocate((options.accept + 1) * sizeof *threads);
    for (size_t i = 0; i < options.accept; i++) {
        void *socket = (void *)(intptr_t)accept_one(listener);
        if (options.fork)
            serve(socket); // one after the other: forking beside threads is asking for trouble
        else if (pthread_create(&threads[i], NULL, serve, socket))
            die("failed to start a thread");
    }
    for (size_t i = 0; i < options.accept && !options.fork; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

int run_server(const struct tls_library *tls, int argc, char **argv)
{
    library = tls;
    parse_options(argc, argv, option_table, tls->options);
    if (options.fork && !tls->forks)
        die("sessions of this library do not survive a fork");
    watchdog((unsigned)options.timeout);
    tls->init(SERVER, options.retry);
    int listener = listen_local(&options.port);
    printf("listening %zu\n", options.port);
    fflush(stdout);
    if (options.wait)
        wait_for_go();
    accept_all(listener);
    return 0;
}
