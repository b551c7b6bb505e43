#!/usr/bin/env python3
"""A local HTTPS server that answers like an LLM API, for the demo and the live tests.

    llm_server.py [--port 0] [--cert FILE --key FILE] [--write-cert FILE] [--log FILE] [--delay MS]
                  [--text-only] [--lonely]

Listens on 127.0.0.1 only and prints "listening PORT" once it does. It knows POST /v1/messages in the
shape of the Anthropic API (https://docs.anthropic.com/en/api/messages-streaming) and POST
/v1/responses in that of OpenAI (https://platform.openai.com/docs/api-reference/responses-streaming),
streamed as server-sent events; messages whole, unless the request says "stream": true. The answer is
always the same one: a text and, in messages, a tool call; with --text-only the text alone, for agents
that would make the call and ask again. It speaks HTTP/1.1 with keep-alive and takes bodies with a
Content-Length only. No model, no network.

Without --cert it makes a certificate for 127.0.0.1 and localhost with openssl; --write-cert tells
where to leave a copy for the client to trust. --lonely raises the loopback device first: a new network
namespace, which can reach nobody, has it switched off.

--log FILE gets one JSON object per exchange: "request" and "response" are all bytes of it inside
TLS, heads and chunk framing included; "request_body" and "response_body" are the bodies alone. In
these strings each character is one byte (latin-1). The line is on disk before the last bytes of the
response are sent, so a client that has seen the end will find it.
"""

import argparse
import contextlib
import fcntl
import http.server
import json
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

MAX_BODY = 64 << 20
MODEL = "demo-model-1"
TEXT = (
    "I'll find the reason before I change anything. `parse_port` splits at the first colon, so "
    "an IPv6 address such as `[::1]:8443` is cut in the middle – that is why "
    "`accepts_ipv6_authority` fails. The fix is to look for the closing bracket first. Let me run "
    "that one test to see the exact message."
)
USAGE = {
    "input_tokens": 412,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 118,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 530,
}
TOOL_INPUT = {"command": "cargo test accepts_ipv6_authority -- --nocapture", "timeout_ms": 60000}


def main():
    args = parse_args()
    if args.lonely:
        raise_loopback()
    # As an exception: the temporary certificate is then removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        cert, key = args.cert, args.key
        if cert is None:
            cert, key = make_cert(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        if args.write_cert:
            shutil.copyfile(cert, args.write_cert)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        log = stack.enter_context(open(args.log, "a")) if args.log else None
        server = Server(args.port, context, log, args.delay / 1000, args.text_only)
        stack.enter_context(server)
        print(f"listening {server.server_port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--write-cert", metavar="FILE")
    parser.add_argument("--log", metavar="FILE")
    parser.add_argument("--delay", type=int, default=40, metavar="MS", help="between two events")
    parser.add_argument("--text-only", action="store_true")
    parser.add_argument("--lonely", action="store_true")
    args = parser.parse_args()
    if (args.cert is None) != (args.key is None):
        parser.error("--cert and --key go together")
    return args


def raise_loopback():
    # struct ifreq and SIOCSIFFLAGS of linux/if.h; IFF_UP is 1.
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"lo", 1))


def make_cert(folder):
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"]
        + ["ec_paramgen_curve:prime256v1", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        # rustls refuses an authority's certificate as a server's own.
        + ["-addext", "basicConstraints=critical,CA:FALSE"]
        + ["-keyout", key, "-out", cert],
        check=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return cert, key


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port, context, log, delay_s, is_text_only=False):
        super().__init__(("127.0.0.1", port), Exchange)
        self.context = context
        self.log = log
        self.log_lock = threading.Lock()
        self.delay_s = delay_s
        self.is_text_only = is_text_only

    def finish_request(self, request, client_address):
        # Here and not in accept: a slow handshake must hold up its own thread only.
        request.settimeout(30)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.context.wrap_socket(request, server_side=True) as tls:
            self.RequestHandlerClass(tls, client_address, self)

    def handle_error(self, request, client_address):
        print(f"llm_server: {sys.exc_info()[1]!r}", file=sys.stderr)


class Tee:
    """A file that remembers what went through it since the last `take`."""

    def __init__(self, inner):
        self.inner = inner
        self.seen = bytearray()

    def readline(self, *limit):
        return self._note(self.inner.readline(*limit))

    def read(self, *size):
        return self._note(self.inner.read(*size))

    def write(self, data):
        self._note(data)
        return self.inner.write(data)

    def take(self):
        seen, self.seen = bytes(self.seen), bytearray()
        return seen

    def _note(self, data):
        self.seen += data
        return data

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Exchange(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "demo-llm"
    sys_version = ""

    def setup(self):
        super().setup()
        self.rfile = Tee(self.rfile)
        self.wfile = Tee(self.wfile)

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.write_last(b"", b"", b"")

    def do_GET(self):
        self.answer_error(b"", 404, "not_found_error", "only POST /v1/messages is here")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.answer_error(b"", 411, "invalid_request_error", "needs a Content-Length")
        body = self.rfile.read(int(length))
        path = urllib.parse.urlsplit(self.path).path
        if path not in ("/v1/messages", "/v1/responses"):
            return self.answer_error(body, 404, "not_found_error", f"no {self.path} here")
        try:
            wish = json.loads(body)
            is_streamed, model = wish.get("stream", False), wish.get("model", MODEL)
        except (ValueError, AttributeError):
            return self.answer_error(body, 400, "invalid_request_error", "body is not an object")
        if path == "/v1/responses":
            self.answer_stream(body, response_events(model))
        elif is_streamed:
            self.answer_stream(body, stream_events(model, self.server.is_text_only))
        else:
            self.answer_json(body, 200, whole_message(model, self.server.is_text_only))

    def answer_error(self, body, status, kind, message):
        error = {"type": "error", "error": {"type": kind, "message": message}}
        self.answer_json(body, status, error)

    def answer_json(self, body, status, value):
        answer = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.write_last(body, answer, answer)

    def answer_stream(self, body, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        answer = b""
        for event in events:
            data = json.dumps(event, ensure_ascii=False)
            frame = f"event: {event['type']}\ndata: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            answer += frame
            time.sleep(self.server.delay_s)
        self.write_last(body, b"0\r\n\r\n", answer)

    def write_last(self, body, last, answer):
        """Logs the exchange, then sends its last bytes."""
        record = {
            "request": self.rfile.take(),
            "request_body": body,
            "response": self.wfile.take() + last,
            "response_body": answer,
        }
        if self.server.log:
            line = json.dumps({k: v.decode("latin-1") for k, v in record.items()})
            with self.server.log_lock:
                self.server.log.write(line + "\n")
                self.server.log.flush()
        self.wfile.write(last)
        self.wfile.take()

    def log_message(self, *_):
        pass


def whole_message(model, is_text_only):
    content = [{"type": "text", "text": TEXT}]
    if not is_text_only:
        content.append(tool_use(TOOL_INPUT))
    usage = {"input_tokens": 412, "output_tokens": 118}
    return message(model, content, stop_reason(is_text_only), usage)


def stream_events(model, is_text_only):
    start = message(model, [], None, {"input_tokens": 412, "output_tokens": 1})
    yield {"type": "message_start", "message": start}
    yield block_start(0, {"type": "text", "text": ""})
    yield {"type": "ping"}
    for piece in pieces(TEXT, 24):
        yield block_delta(0, {"type": "text_delta", "text": piece})
    yield {"type": "content_block_stop", "index": 0}
    if not is_text_only:
        yield block_start(1, tool_use({}))
        for piece in pieces(json.dumps(TOOL_INPUT), 30):
            yield block_delta(1, {"type": "input_json_delta", "partial_json": piece})
        yield {"type": "content_block_stop", "index": 1}
    end = {"stop_reason": stop_reason(is_text_only), "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": 118}}
    yield {"type": "message_stop"}


def response_events(model):
    """The text alone, as the Responses API streams it."""
    item = {"id": "msg_demo_0001", "type": "message", "role": "assistant"}
    whole = {"type": "output_text", "text": TEXT, "annotations": []}
    done = {**item, "status": "completed", "content": [whole]}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": response(model, "in_progress", [], None)},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**whole, "text": ""}},
        *(
            {"type": "response.output_text.delta", **place, "delta": piece}
            for piece in pieces(TEXT, 24)
        ),
        {"type": "response.output_text.done", **place, "text": TEXT},
        {"type": "response.content_part.done", **place, "part": whole},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": response(model, "completed", [done], USAGE)},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def response(model, status, output, usage):
    return {
        "id": "resp_demo_0001",
        "object": "response",
        "created_at": 1767225600,
        "status": status,
        "model": model,
        "output": output,
        "usage": usage,
    }


def stop_reason(is_text_only):
    return "end_turn" if is_text_only else "tool_use"


def message(model, content, stop_reason, usage):
    return {
        "id": "msg_demo_0001",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def tool_use(value):
    return {"type": "tool_use", "id": "toolu_demo_0001", "name": "bash", "input": value}


def block_start(index, block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(index, delta):
    return {"type": "content_block_delta", "index": index, "delta": delta}


def pieces(text, size):
    return (text[i : i + size] for i in range(0, len(text), size))


if __name__ == "__main__":
    main()
