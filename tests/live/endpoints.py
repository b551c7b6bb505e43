#!/usr/bin/env python3
"""Connections whose endpoints are known, for tests/live/endpoints.rs.

    endpoints.py serve DIR                 eight HTTPS servers, 127.0.0.2 to .9, and an HTTPS proxy
    endpoints.py CLIENT DIR COUNT          COUNT connections, spread over the servers in DIR/ports

Each request is GET /TOKEN with a token of its connection. The servers append "TOKEN client server" with both
addresses as they see them to DIR/log, whatever client asks. Clients: threads (blocking sockets, connections are
kept), asyncio, shuffled (memory BIOs; another thread sends, in an order of its own), reuse (one after the other, on
the same descriptor), tunnel (TLS in TLS through the proxy), callbacks (other sockets are used inside of the library's
calls), waiting (as threads, but they are connected before "ready" is said, and go on with a line of stdin).
"""

import asyncio
import os
import queue
import random
import select
import socket
import ssl
import subprocess
import sys
import threading

DIR = sys.argv[2]
LOCK = threading.Lock()


def name(address):
    return f"{address[0]}:{address[1]}"


def log(token, ours, theirs):
    with LOCK, open(f"{DIR}/log", "a") as file:
        file.write(f"{token} {name(theirs)} {name(ours)}\n")


# Servers


def read_head(sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        some = sock.recv(4096)
        if not some:
            return None
        head += some
    return head


def answer(sock, context):
    try:
        sock = context.wrap_socket(sock, server_side=True)
        while head := read_head(sock):
            token = head.split()[1].decode().lstrip("/")
            log(token, sock.getsockname(), sock.getpeername())
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except (OSError, ssl.SSLError):
        pass


def relay(sock, context):
    """CONNECT inside of TLS."""
    try:
        sock = context.wrap_socket(sock, server_side=True)
        target = read_head(sock).split()[1].decode()
        log("proxy-" + target, sock.getsockname(), sock.getpeername())
        host, port = target.rsplit(":", 1)
        out = socket.create_connection((host, int(port)))
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        # One thread for both ways: an SSLSocket is not for two.
        sock.setblocking(False)
        out.setblocking(False)
        while True:
            if not sock.pending():
                select.select([sock, out], [], [])
            try:
                some = sock.recv(65536)
                if not some:
                    return
                out.setblocking(True)
                out.sendall(some)
                out.setblocking(False)
            except ssl.SSLWantReadError:
                pass
            try:
                some = out.recv(65536)
                if not some:
                    return
                sock.setblocking(True)
                sock.sendall(some)
                sock.setblocking(False)
            except BlockingIOError:
                pass
    except (OSError, ssl.SSLError, AttributeError):
        pass


def listen(address, serve, context):
    listener = socket.create_server((address, 0), backlog=256)

    def accept():
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return name(listener.getsockname())


def serve():
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-keyout", f"{DIR}/key.pem", "-out", f"{DIR}/cert.pem"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{DIR}/cert.pem", f"{DIR}/key.pem")
    servers = [listen(f"127.0.0.{n}", answer, context) for n in range(2, 10)]
    proxy = listen("127.0.0.1", relay, context)
    open(f"{DIR}/log", "w").close()
    with open(f"{DIR}/ports", "w") as file:
        file.write("\n".join(servers + [proxy]))
    print("listening 1", flush=True)
    sys.stdin.read()


# Clients


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def places():
    with open(f"{DIR}/ports") as file:
        lines = [line.rsplit(":", 1) for line in file.read().split()]
    return [(host, int(port)) for host, port in lines]


def request(token):
    return f"GET /{token} HTTP/1.1\r\nHost: host-{token}\r\n\r\n".encode()


def ask(sock, token):
    sock.sendall(request(token))
    seen = b""
    while not seen.endswith(b"\r\n\r\nok"):
        some = sock.recv(4096)
        assert some, token
        seen += some


def connect(place, settings, token):
    sock = socket.create_connection(place)
    return settings.wrap_socket(sock, server_hostname=f"sni-{token}.example")


def threads(count, wait=False):
    settings, servers = context(), places()[:8]
    connected, go = threading.Barrier(count + 1), threading.Event()

    def run(n):
        sock = connect(servers[n % 8], settings, n)
        if wait:
            connected.wait()
            go.wait()
        for _ in range(3):
            ask(sock, f"token-{n}")
        sock.close()

    running = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in running:
        thread.start()
    if wait:
        connected.wait()
        print("ready", flush=True)
        sys.stdin.readline()
        go.set()
    for thread in running:
        thread.join()


async def asyncio_client(count):
    settings, servers = context(), places()[:8]

    async def run(n):
        host, port = servers[n % 8]
        reader, writer = await asyncio.open_connection(
            host, port, ssl=settings, server_hostname=f"sni-{n}.example"
        )
        for _ in range(3):
            writer.write(request(f"token-{n}"))
            await writer.drain()
            await reader.readuntil(b"\r\n\r\nok")
        writer.close()

    await asyncio.gather(*(run(n) for n in range(count)))


class Buffered:
    """TLS over memory; what is to be sent waits for somebody else."""

    def __init__(self, place, settings, n, outbox):
        self.sock = socket.create_connection(place)
        self.sock.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = settings.wrap_bio(self.incoming, self.outgoing, server_hostname=f"sni-{n}.example")
        self.n, self.outbox, self.left, self.seen = n, outbox, 3, b""
        self.waits = None

    def step(self):
        """Goes on as far as it can; True when all is said."""
        try:
            if self.waits is None:
                self.tls.do_handshake()
                self.waits = False
            while self.left:
                if not self.waits:
                    self.tls.write(request(f"token-{self.n}"))
                    self.waits = True
                self.seen += self.tls.read(4096)
                if self.seen.endswith(b"\r\n\r\nok"):
                    self.seen, self.waits, self.left = b"", False, self.left - 1
            return True
        except ssl.SSLWantReadError:
            return False
        finally:
            if self.outgoing.pending:
                self.outbox.put((self.sock, self.outgoing.read()))


def shuffled(count):
    settings, servers, outbox = context(), places()[:8], queue.Queue()

    def send():
        order = random.Random(7)
        while True:
            batch = [outbox.get()]
            try:
                while len(batch) < 16:
                    batch.append(outbox.get(timeout=0.005))
            except queue.Empty:
                pass
            if None in batch:
                return
            order.shuffle(batch)
            for sock, some in batch:
                sock.setblocking(True)
                sock.sendall(some)
                sock.setblocking(False)

    sender = threading.Thread(target=send)
    sender.start()
    conns = [Buffered(servers[n % 8], settings, n, outbox) for n in range(count)]
    order = random.Random(8)
    while conns:
        order.shuffle(conns)
        for conn in list(conns):
            try:
                some = conn.sock.recv(65536)
                assert some
                conn.incoming.write(some)
            except BlockingIOError:
                pass
            if conn.step():
                conns.remove(conn)
    outbox.put(None)
    sender.join()


def reuse(count):
    settings, servers, numbers = context(), places()[:8], set()
    for n in range(count):
        sock = connect(servers[n % 8], settings, n)
        numbers.add(sock.fileno())
        ask(sock, f"token-{n}")
        sock.close()
    assert len(numbers) == 1, numbers


def tunnel(count):
    settings, servers, proxy = context(), places()[:8], places()[8]
    for n in range(count):
        host, port = servers[n % 8]
        outer = settings.wrap_socket(socket.create_connection(proxy), server_hostname="proxy.example")
        outer.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode())
        assert read_head(outer).startswith(b"HTTP/1.1 200")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = settings.wrap_bio(incoming, outgoing, server_hostname="inner.example")

        def run(step):
            while True:
                try:
                    result = step()
                    outer.sendall(outgoing.read() or b"")
                    return result
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        outer.sendall(outgoing.read())
                    incoming.write(outer.recv(65536))

        run(inner.do_handshake)
        for _ in range(3):
            run(lambda: inner.write(request(f"inner-{n}")))
            seen = b""
            while not seen.endswith(b"\r\n\r\nok"):
                seen += run(lambda: inner.read(4096))
        outer.close()


def callbacks(count):
    """What looks like TLS goes elsewhere, from within the library's calls."""
    servers = places()[:8]
    sinks = [socket.create_server((f"127.0.0.{n}", 0), backlog=256) for n in (20, 21)]

    def drain(sink):
        kept = []
        while True:
            kept.append(sink.accept())

    for sink in sinks:
        threading.Thread(target=drain, args=(sink,), daemon=True).start()
    busy = []

    def meddle(conn, direction, version, kind, message, data):
        if busy:
            return
        busy.append(1)
        other = socket.create_connection(random.choice(sinks).getsockname())
        hello = b"\x01\x00\x00\x50\x03\x03" + os.urandom(80)
        other.sendall(b"\x16\x03\x01\x00\x54" + hello)
        other.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
        other.close()
        busy.pop()

    settings = context()
    settings._msg_callback = meddle
    for n in range(count):
        sock = connect(servers[n % 8], settings, n)
        for _ in range(3):
            ask(sock, f"token-{n}")
        sock.close()


def main():
    if sys.argv[1] == "serve":
        return serve()
    count = int(sys.argv[3])
    if sys.argv[1] == "asyncio":
        return asyncio.run(asyncio_client(count))
    if sys.argv[1] == "waiting":
        return threads(count, wait=True)
    clients = {"threads": threads, "shuffled": shuffled, "reuse": reuse, "tunnel": tunnel, "callbacks": callbacks}
    return clients[sys.argv[1]](count)


main()
