// See log.h. Plain write(2), so that a fork cannot duplicate buffered bytes.
#include "log.h"

#include "process.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static int create(const char *dir, const char *role, size_t n, const char *ending)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s-%zu%s", dir, role, n, ending);
    if (length < 0 || (size_t)length >= sizeof path)
        die("--log path too long: %s", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        die("failed to create %s", path);
    return fd;
}

static void append(int fd, const char *data, size_t size)
{
    while (fd >= 0 && size > 0) {
        ssize_t written = write(fd, data, size);
        if (written <= 0)
            die("failed to write to the log");
        data += written;
        size -= (size_t)written;
    }
}

struct log log_open(const char *dir, const char *role, size_t n, bool child)
{
    if (!dir)
        return NO_LOG;
    return (struct log){
        .write_fd = create(dir, role, n, child ? "-child.write" : ".write"),
        .read_fd = create(dir, role, n, child ? "-child.read" : ".read"),
    };
}

void log_written(const struct log *log, const void *data, size_t size)
{
    append(log->write_fd, data, size);
}

void log_read(const struct log *log, const void *data, size_t size)
{
    append(log->read_fd, data, size);
}

void log_close(struct log *log)
{
    if (log->write_fd >= 0)
        close(log->write_fd);
    if (log->read_fd >= 0)
        close(log->read_fd);
    *log = NO_LOG;
}
