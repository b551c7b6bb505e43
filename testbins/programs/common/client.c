// run_client(): opens connections to a server on 127.0.0.1 and sends framed messages over them.
#include "conn.h"

#include "net.h"
#include "payload.h"
#include "process.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    size_t port, threads, connections, messages, size, big, timeout;
    bool binary, sink, fork, fork_split, shared, retry, wait, wait_late;
    const char *log;
} options = {.threads = 1, .connections = 1, .messages = 1, .size = 1024, .timeout = 60};

static const struct option_spec option_table[] = {
    {.name = "--port", .number = &options.port},
    {.name = "--threads", .number = &options.threads},
    {.name = "--connections", .number = &options.connections},
    {.name = "--messages", .number = &options.messages},
    {.name = "--size", .number = &options.size},
    {.name = "--big", .number = &options.big},
    {.name = "--timeout", .number = &options.timeout},
    {.name = "--binary", .flag = &options.binary},
    {.name = "--sink", .flag = &options.sink},
    {.name = "--fork", .flag = &options.fork},
    {.name = "--fork-split", .flag = &options.fork_split},
    {.name = "--shared", .flag = &options.shared},
    {.name = "--retry", .flag = &options.retry},
    {.name = "--wait", .flag = &options.wait},
    {.name = "--wait-late", .flag = &options.wait_late},
    {.name = "--log", .text = &options.log},
    {.name = NULL},
};

static const struct tls_library *library;

static struct frame frame_of(size_t connection, size_t message, size_t size)
{
    return (struct frame){connection, message, size, options.binary};
}

static void send_message(struct conn *conn, const struct frame *frame)
{
    char *bytes = allocate(frame->size);
    frame_fill(bytes, frame);
    conn_write_all(conn, bytes, frame->size);
    free(bytes);
}

static void receive_echo(struct conn *conn, const struct frame *frame)
{
    if (options.sink)
        return;
    char *bytes = allocate(frame->size);
    if (!conn_read_all(conn, bytes, frame->size))
        die("the server closed instead of answering");
    frame_check(bytes, frame);
    free(bytes);
}

static void exchange(struct conn *conn, struct frame frame)
{
    send_message(conn, &frame);
    receive_echo(conn, &frame);
}

static struct conn open_connection(size_t n)
{
    int fd = connect_local(options.port);
    if (options.retry)
        make_reluctant(fd);
    struct conn conn = {library, library->open(fd, CLIENT),
                        log_open(options.log, "client", n, false)};
    if (options.wait_late && n == 0)
        wait_for_go();
    return conn;
}

// A child has its own copy of the record counters, so from here on each direction of the
// connection may be used by one of the two processes only. --fork: the child sends and receives,
// the parent goes on with its next connection. --fork-split: the child sends, the parent receives.
static void exchange_in_child(struct conn *conn, struct frame frame)
{
    pid_t child = fork();
    if (child < 0)
        die("failed to fork");
    if (child == 0) {
        alarm((unsigned)options.timeout);
        log_close(&conn->log);
        conn->log = log_open(options.log, "client", frame.connection, true);
        send_message(conn, &frame);
        if (!options.fork_split)
            receive_echo(conn, &frame);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        die("the forked child failed");
    if (options.fork_split)
        receive_echo(conn, &frame);
}

static void run_connection(size_t n)
{
    struct conn conn = open_connection(n);
    size_t message = 0;
    bool forks = options.fork || options.fork_split;
    while (message < options.messages)
        exchange(&conn, frame_of(n, message++, options.size));
    if (options.big)
        exchange(&conn, frame_of(n, message++, options.big));
    if (forks)
        exchange_in_child(&conn, frame_of(n, message, options.size));
    conn_close(&conn, !forks);
}

static void *run_every_nth(void *first)
{
    for (size_t n = (size_t)first; n < options.connections; n += options.threads)
        run_connection(n);
    return NULL;
}

// One connection whose messages are sent by all threads in turn.
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    size_t connection, next_message;
    struct conn conn;
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static void *run_turns(void *first)
{
    for (size_t message = (size_t)first; message < options.messages; message += options.threads) {
        pthread_mutex_lock(&shared.mutex);
        while (shared.next_message != message)
            pthread_cond_wait(&shared.moved, &shared.mutex);
        exchange(&shared.conn, frame_of(shared.connection, message, options.size));
        shared.next_message++;
        pthread_cond_broadcast(&shared.moved);
        pthread_mutex_unlock(&shared.mutex);
    }
    return NULL;
}

static void run_threads(void *(*body)(void *))
{
    pthread_t *threads = allocate(options.threads * sizeof *threads);
    for (size_t i = 0; i < options.threads; i++)
        if (pthread_create(&threads[i], NULL, body, (void *)i))
            die("failed to start a thread");
    for (size_t i = 0; i < options.threads; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static void run_shared(void)
{
    for (size_t n = 0; n < options.connections; n++) {
        shared.connection = n;
        shared.next_message = 0;
        shared.conn = open_connection(n);
        run_threads(run_turns);
        conn_close(&shared.conn, true);
    }
}

static void check_options(void)
{
    bool forks = options.fork || options.fork_split;
    if (options.port == 0)
        die("--port is missing");
    if (options.threads == 0)
        die("--threads must be at least 1");
    if (forks && options.threads > 1)
        die("--fork and --fork-split need --threads 1");
    if (forks && !library->forks)
        die("sessions of this library do not survive a fork");
    if (options.shared && (forks || options.big))
        die("--shared goes with neither --big nor --fork");
}

int run_client(const struct tls_library *tls, int argc, char **argv)
{
    library = tls;
    parse_options(argc, argv, option_table, tls->options);
    check_options();
    watchdog((unsigned)options.timeout);
    tls->init(CLIENT, options.retry);
    if (options.wait)
        wait_for_go();
    if (options.shared)
        run_shared();
    else if (options.threads == 1)
        run_every_nth(NULL); // no thread at all: the main thread does it
    else
        run_threads(run_every_nth);
    return 0;
}
