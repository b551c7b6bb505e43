#!/usr/bin/env python3
"""Makes seeds of what the mock LLM server of testbins says: each API asked whole and streamed, plain, compressed and
with faults, over HTTP/1.1 and HTTP/2, and a WebSocket. The bytes are kept as they passed.

    fuzz/seeds/mock.py FOLDER PORT CERTIFICATE      into FOLDER/TARGET/mock-*

With the same seed, and asked in the same order, the server says the same; only dates in HTTP/2 differ.
"""

import gzip
import json
import re
import socket
import ssl
import struct
import sys
import zlib

sys.dont_write_bytecode = True
import steps
import talk
from talk import LOCAL, PEER, put

PORT, CERTIFICATE = int(sys.argv[2]), sys.argv[3]
# Of an input; the fuzzer goes no further than 64 KiB.
SEED_MAX = 24000

# Target, path, question; the streamed way, where the path says it.
APIS = [
    ("chat", "dialects", "/v1/chat/completions", talk.CHAT_ASK, None),
    ("responses", "dialects", "/v1/responses", talk.RESPONSES_ASK, None),
    ("completions", "dialects", "/v1/completions", talk.COMPLETION_ASK, None),
    ("embeddings", "dialects", "/v1/embeddings", talk.EMBED_ASK, None),
    ("azure", "dialects", "/openai/deployments/gpt-5/chat/completions?api-version=1", talk.CHAT_ASK, None),
    ("anthropic", "anthropic", "/v1/messages", talk.MESSAGES_ASK, None),
    ("gemini", "gemini", "/v1beta/models/gemini-2.5-pro:generateContent", talk.GENERATE_ASK, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
    ("gemini-array", "gemini", "/v1beta/models/gemini-2.5-pro:generateContent", talk.GENERATE_ASK, "/v1beta/models/gemini-2.5-pro:streamGenerateContent"),
    ("gemini-embed", "gemini", "/v1beta/models/e:batchEmbedContents", talk.GENERATE_EMBED_ASK, None),
    ("converse", "bedrock", "/model/anthropic.claude-3/converse", talk.CONVERSE_ASK, "/model/anthropic.claude-3/converse-stream"),
    ("invoke", "bedrock", "/model/anthropic.claude-3/invoke", talk.MESSAGES_ASK, "/model/anthropic.claude-3/invoke-with-response-stream"),
    ("cohere", "cohere", "/v2/chat", talk.COHERE_ASK, None),
    ("ollama", "ollama", "/api/chat", talk.OLLAMA_ASK, None),
]
# In the order of DIALECTS in src/semantics/recognise.rs, as talk.py has them.
DIALECT = {"chat": 13, "azure": 13, "responses": 14, "completions": 15, "embeddings": 16}
FAULTS = ["cut", "error-event", "malformed", "429"]


def connected(protocol):
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False
    context.set_alpn_protocols([protocol])
    tcp = socket.create_connection(("127.0.0.1", PORT), timeout=20)
    return context.wrap_socket(tcp, server_hostname="localhost")


def asked(name, path, ask, streamed_path, stream):
    ask = {key: value for key, value in ask.items() if key != "path"}
    if streamed_path is None and name not in ("embeddings", "gemini-embed"):
        ask["stream"] = stream
    return (streamed_path if stream and streamed_path else path), json.dumps(ask).encode()


# HTTP/1.1.


def exchange(path, body, fields=""):
    """What was said, until the server ends the connection."""
    question = talk.request(path, body, fields=fields + "connection: close\r\n")
    with connected("http/1.1") as tls:
        tls.sendall(question)
        answer = b""
        while piece := received(tls):
            answer += piece
    return question, undated(answer)


def undated(answer):
    return re.sub(rb"(?im)^date: .*?\r$", b"date: Thu, 01 Jan 2026 00:00:00 GMT\r", answer)


def received(tls):
    try:
        return tls.recv(65536)
    except (ConnectionError, ssl.SSLError):
        return b""


def content(answer):
    """The body, with chunks and coding undone; None where that takes more than Python has."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        out, rest = b"", body
        while match := re.match(rb"([0-9a-f]+)\r\n", rest):
            size = int(match[1], 16)
            out, rest = out + rest[match.end() : match.end() + size], rest[match.end() + size + 2 :]
            if size == 0:
                break
        body = out
    coding = re.search(rb"(?im)^content-encoding: (\w+)", head)
    kinds = {b"gzip": gzip.decompress, b"deflate": zlib.decompress}
    if coding is None:
        return body
    try:
        return kinds[coding[1].lower()](body)
    except (KeyError, OSError, EOFError, zlib.error):
        return None


def events(text):
    """The pieces of a stream, a line each, as src/semantics/fuzz.rs reads them."""
    if text.startswith((b"data:", b"event:")):
        return b"\n".join(re.findall(rb"(?m)^data: ?(.*)$", text))
    try:
        values = json.loads(text)
    except ValueError:
        # Lines, or what a fault has left.
        return text
    if not isinstance(values, list):
        return text
    return b"\n".join(b"#" + json.dumps(value).encode() for value in values)


def frames(text):
    """The same of an AWS event stream."""
    out = []
    while len(text) >= 16:
        total, headers = struct.unpack(">II", text[:8])
        kind = re.search(rb":(?:event|exception)-type\x07..([\w-]+)", text[12 : 12 + headers], re.S)
        out.append(b"@" + (kind[1] if kind else b"?") + b" " + text[12 + headers : total - 4])
        text = text[total:]
    return b"\n".join(out)


def seed(target, name, data):
    put(target, f"mock-{name}", data[:SEED_MAX])


def keep(name, target, stream, question, answer):
    parts = [(LOCAL, question), (PEER, answer)]
    for connection in ("http1", "connection"):
        seed(connection, name, b"\x00" + talk.pieces(*parts))
    seed("dialog", name, talk.OPEN + talk.pieces(*parts) + talk.CLOSE)
    steps_taken = b"".join(steps.stream(steps.DATA, 0, direction, data) for direction, data in parts)
    seed("mask", name, steps_taken)
    if name.endswith(".stream"):
        seed("acts", name, steps.process(0, 7, "/usr/bin/claude") + steps_taken + steps.step(steps.CLOSE, 0, 0))
    body = content(answer)
    if body is None:
        return
    is_aws = b"vnd.amazon.eventstream" in answer
    told = frames(body) if is_aws else events(body) if stream else body
    first = bytes([DIALECT[name.split(".")[0]]]) if target == "dialects" else b""
    seed(target, name, first + told)
    seed("guess", name, question.partition(b"\r\n\r\n")[2] + b"\n" + told)
    if stream:
        seed("eventstream" if is_aws else "json_array" if body[:1] == b"[" else "lines" if b"ndjson" in answer else "sse", name, b"\x07" + body)
        kind = 2 if is_aws else 3 if body[:1] == b"[" else 1 if b"ndjson" in answer else 0
        seed("content", name, bytes([kind, 11]) + body)


def http1():
    for name, target, path, ask, streamed in APIS:
        for stream in (False, True):
            way = f"{name}.{'stream' if stream else 'whole'}"
            path_asked, body = asked(name, path, ask, streamed, stream)
            keep(way, target, stream, *exchange(path_asked, body))
            for coding in ("gzip", "br", "zstd", "deflate"):
                question, answer = exchange(path_asked, body, f"accept-encoding: {coding}\r\n")
                # Half of the answers are coded.
                if b"content-encoding" in answer.lower():
                    keep(f"{way}.{coding}", target, stream, question, answer)
                    seed("coding", f"{way}.{coding}", bytes([["gzip", "deflate", "br", "zstd"].index(coding), 9]) + unchunked(answer))
                    break
        for fault in FAULTS:
            path_asked, body = asked(name, path, ask, streamed, True)
            keep(f"{name}.{fault}", target, True, *exchange(path_asked, body, f"x-mock-fault: {fault}\r\n"))


def unchunked(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return content(head.replace(b"content-encoding", b"x") + b"\r\n\r\n" + body) or b""


def mcp():
    """A session: each message in an exchange of its own."""
    parts, told = [], []
    fields = "accept: application/json, text/event-stream\r\n"
    for message in talk.MCP:
        if "method" not in message:
            continue
        question, answer = exchange("/mcp", json.dumps(message).encode(), fields)
        session = re.search(rb"(?im)^mcp-session-id: (.*?)\r$", answer)
        if session:
            fields += f"mcp-session-id: {session[1].decode()}\r\n"
        parts += [(LOCAL, question), (PEER, answer)]
        told += [json.dumps(message).encode(), events(content(answer) or b"")]
    seed("dialog", "mcp", talk.OPEN + talk.pieces(*parts) + talk.CLOSE)
    seed("mcp", "session", b"\n".join(one for one in told if one))


# HTTP/2: as much of it as a client needs that asks once.


def http2():
    for name, _, path, ask, streamed in APIS:
        path_asked, body = asked(name, path, ask, streamed, True)
        block = bytes([0x83, 0x87]) + talk.named(1, "localhost") + talk.literal("content-type", "application/json")
        block += bytes([0x44, len(path_asked)]) + path_asked.encode()
        settings = talk.frame(4, 0, 0, struct.pack(">HI", 4, 1 << 24))
        window = talk.frame(8, 0, 0, struct.pack(">I", 1 << 24))
        question = talk.PREFACE + settings + window + talk.frame(1, 4, 1, block) + b"".join(data_frames(body))
        with connected("h2") as tls:
            tls.sendall(question)
            answer = b""
            while not is_ended(answer) and (piece := received(tls)):
                answer += piece
        parts = [(LOCAL, question), (PEER, answer)]
        seed("http2", name, talk.http2(*parts))
        seed("http2", f"{name}-late", talk.http2((LOCAL, question[24:]), (PEER, answer), how=0))
        seed("connection", f"h2-{name}", b"\x00" + talk.pieces(*parts))
        seed("dialog", f"h2-{name}", talk.OPEN + talk.pieces(*parts) + talk.CLOSE)
        seed("dialog", f"h2-{name}-late", talk.pieces((LOCAL, question[24:]), (PEER, answer)))
        seed("mask", f"h2-{name}", b"".join(steps.stream(steps.DATA, 0, direction, data) for direction, data in parts))
        blocks = [answer[at + 9 : at + 9 + size] for at, size, kind, _ in framed(answer) if kind == 1]
        seed("hpack", name, b"\xff".join(blocks))
        seed("literals", name, b"\x01" + steps.lengths(question[24:]))
        seed("literals", f"{name}-answer", b"\x01" + steps.lengths(answer))


def data_frames(body):
    pieces = [body[at : at + 16000] for at in range(0, len(body), 16000)]
    for n, piece in enumerate(pieces):
        yield talk.frame(0, int(n + 1 == len(pieces)), 1, piece)


def framed(data):
    """Of each whole frame its place, length, kind and flags."""
    at = 0
    while at + 9 <= len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        if at + 9 + size > len(data):
            return
        yield at, size, data[at + 3], data[at + 4]
        at += 9 + size


def is_ended(answer):
    return any(kind in (0, 1) and flags & 1 or kind in (3, 7) for _, _, kind, flags in framed(answer))


# A WebSocket: responses of OpenAI.


def websocket():
    head = "GET /v1/responses HTTP/1.1\r\nhost: api.openai.com\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    head += "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ask = json.dumps({"type": "response.create", **talk.RESPONSES_ASK})
    question = talk.ws(1, ask, b"\x05\x06\x07\x08")
    with connected("http/1.1") as tls:
        tls.sendall(head.encode())
        answer = received(tls)
        tls.sendall(question)
        while b"response.completed" not in answer and (piece := received(tls)):
            answer += piece
    answer = undated(answer)
    at = answer.find(b"\r\n\r\n") + 4
    parts = [(LOCAL, head.encode()), (PEER, answer[:at]), (LOCAL, question), (PEER, answer[at:])]
    seed("http1", "websocket", b"\x00" + talk.pieces(*parts))
    seed("connection", "websocket", b"\x00" + talk.pieces(*parts))
    seed("dialog", "websocket", talk.OPEN + talk.pieces(*parts) + talk.CLOSE)
    seed("websocket", "plain", b"\x02" + talk.pieces(*parts[2:]))
    seed("payload", "server", b"\x02" + steps.lengths(answer[at:]))
    seed("mask", "websocket", b"".join(steps.stream(steps.DATA, 0, direction, data) for direction, data in parts))


http1()
mcp()
http2()
websocket()
