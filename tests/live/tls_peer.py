#!/usr/bin/env python3
"""The other end of the live tests: an HTTPS server or client that notes every byte inside TLS.

    tls_peer.py llm DIR [--delay MS]     a server that answers like an LLM API, text only
    tls_peer.py files DIR                a server of the files in DIR/files, over HTTP/1.1; it
                                         takes any POST and says no more than that
    tls_peer.py fetch DIR PORT PATH...   a client: one connection, one GET for each PATH

DIR holds cert.pem and key.pem, for 127.0.0.1 and localhost: a server makes them unless they are
there, and a client trusts the first. Each connection leaves DIR/N.read and DIR/N.written, what this
end read and wrote as plaintext, in the order in which it did; a read may still come from the other
end's last words, so the files are whole once the process has ended.

A server listens on 127.0.0.1, says "listening PORT", and ends with its stdin. --lonely raises the
loopback device first: a new network namespace, which can reach nobody, has it switched off.
"""

import argparse
import http.server
import itertools
import os
import re
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is to appear in scripts/demo.d
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "demo.d"))
import llm_server  # noqa: E402


def main():
    args = parse_args()
    if args.lonely:
        llm_server.raise_loopback()
    LoggedSocket.folder = args.folder = args.folder.resolve()
    if args.role == "fetch":
        fetch(args.folder, args.port, args.paths)
    else:
        serve(args)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("role", choices=["llm", "files", "fetch"])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("port", nargs="?", type=int)
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--delay", type=int, default=2, metavar="MS")
    parser.add_argument("--lonely", action="store_true")
    return parser.parse_args()


class LoggedSocket(ssl.SSLSocket):
    """Notes what passes, by connection."""

    folder = None
    numbers = itertools.count()

    def recv_into(self, buffer, nbytes=None, flags=0):
        length = super().recv_into(buffer, nbytes, flags)
        self.note("read", memoryview(buffer)[:length])
        return length

    def send(self, data, flags=0):
        # Before it goes out: who has the last byte may look for it here.
        self.note("written", data)
        length = super().send(data, flags)
        assert length == len(data), "blocking sockets write all"
        return length

    def note(self, stream, data):
        if len(data):
            if not hasattr(self, "number"):
                self.number = next(self.numbers)
            with open(self.folder / f"{self.number}.{stream}", "ab") as log:
                log.write(data)


def serve(args):
    cert, key = args.folder / "cert.pem", args.folder / "key.pem"
    if not cert.exists():
        llm_server.make_cert(args.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sslsocket_class = LoggedSocket
    server = llm_server.Server(0, context, None, args.delay / 1000, is_text_only=True)
    if args.role == "files":
        os.chdir(args.folder / "files")
        server.RequestHandlerClass = Files
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening {server.server_port}", flush=True)
    sys.stdin.buffer.read()
    server.shutdown()
    # The last bytes of a client that has gone may not have been read yet.
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(10)


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def fetch(folder, port, paths):
    context = ssl.create_default_context(cafile=folder / "cert.pem")
    context.sslsocket_class = LoggedSocket
    raw = connect(port)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
        for path in paths:
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            read_answer(tls)
        # Those who speak only HTTP/1.0 have closed by now.


def connect(port):
    """A server that doesn't say when it listens gets some seconds."""
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            time.sleep(0.1)
    sys.exit(f"nobody listens on {port}")


def read_answer(tls):
    """One answer with a Content-Length, or all up to the end."""
    answer = tls.makefile("rb", buffering=0)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = answer.read(1)
        if not byte:
            sys.exit(f"the connection ended after {head!r}")
        head += byte
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    left = int(length[1]) if length else sys.maxsize
    while left:
        piece = answer.read(min(left, 1 << 16))
        if not piece:
            break
        left -= len(piece)


if __name__ == "__main__":
    main()
