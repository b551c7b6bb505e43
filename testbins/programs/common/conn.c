// See conn.h. The log is written where the library has returned success, nowhere else.
#include "conn.h"

#include "process.h"

void conn_write_all(struct conn *conn, const char *data, size_t size)
{
    while (size > 0) {
        size_t taken = conn->tls->write(conn->session, data, size);
        log_written(&conn->log, data, taken);
        data += taken;
        size -= taken;
    }
}

bool conn_read_all(struct conn *conn, char *buffer, size_t size)
{
    for (size_t have = 0; have < size;) {
        size_t got = conn->tls->read(conn->session, buffer + have, size - have);
        if (got == 0 && have == 0)
            return false;
        if (got == 0)
            die("the peer closed in the middle of a message");
        log_read(&conn->log, buffer + have, got);
        have += got;
    }
    return true;
}

void conn_close(struct conn *conn, bool orderly)
{
    conn->tls->close(conn->session, orderly);
    log_close(&conn->log);
}
