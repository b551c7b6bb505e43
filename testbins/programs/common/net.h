// TCP on 127.0.0.1, and nothing else of the network.
#ifndef TESTBINS_NET_H
#define TESTBINS_NET_H

#include <stdbool.h>
#include <stddef.h>

// Listens on 127.0.0.1; *port 0 picks a free one and stores it back.
int listen_local(size_t *port);
int accept_one(int listener);
int connect_local(size_t port);

// Non-blocking, with the smallest send buffer the kernel grants: most writes come out short.
void make_reluctant(int fd);

// Sleeps until the socket is readable or writable.
void wait_for_socket(int fd, bool writable);

// Closes without a TLS goodbye, but not before the peer has: closing with unread bytes would reset
// the connection and take from the peer what it has not read yet.
void close_after_peer(int fd);

#endif
