// See net.h.
#include "net.h"

#include "process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in local_address(size_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static int open_socket(void)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on))
        die("failed to open a socket: %s", strerror(errno));
    return fd;
}

// The programs exchange small messages; Nagle's delay would only make them slow.
static int without_delay(int fd)
{
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        die("failed to set TCP_NODELAY: %s", strerror(errno));
    return fd;
}

int listen_local(size_t *port)
{
    int fd = open_socket();
    struct sockaddr_in address = local_address(*port);
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 128) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        die("failed to listen on port %zu: %s", *port, strerror(errno));
    *port = ntohs(address.sin_port);
    return fd;
}

int accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        die("failed to accept: %s", strerror(errno));
    return without_delay(fd);
}

int connect_local(size_t port)
{
    int fd = open_socket();
    struct sockaddr_in address = local_address(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        die("failed to connect to port %zu: %s", port, strerror(errno));
    return without_delay(fd);
}

void make_reluctant(int fd)
{
    int least = 1;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least))
        die("failed to make a socket non-blocking: %s", strerror(errno));
}

void wait_for_socket(int fd, bool writable)
{
    struct pollfd wanted = {.fd = fd, .events = writable ? POLLOUT : POLLIN};
    if (poll(&wanted, 1, -1) < 0 && errno != EINTR)
        die("failed to poll: %s", strerror(errno));
}

void close_after_peer(int fd)
{
    char ignored[4096];
    shutdown(fd, SHUT_WR);
    for (;;) {
        ssize_t got = read(fd, ignored, sizeof ignored);
        if (got < 0 && errno == EAGAIN)
            wait_for_socket(fd, false);
        else if (got <= 0)
            break;
    }
    close(fd);
}
