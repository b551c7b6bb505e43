#!/usr/bin/env python3
"""Makes seeds of whole runs: what processes do and say, as fuzz/src/bodies/steps.rs reads it; rules and filters over that,
and recordings.

    fuzz/seeds/steps.py FOLDER      into FOLDER/TARGET/

Rules are ours, from src/rules/default; all else is written here, and the same files come each time.
"""

import gzip
import json
import struct
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import talk
from talk import put

RULES = Path(__file__).resolve().parents[2] / "src/rules/default"

# Records of the kernel, as bpf/event.h numbers them, and other frames.
DATA, CLOSE, SOCKET, HELLO, ACT, WORDS, STDIO, EXITED, PROCESS, TICK = 1, 4, 7, 12, 13, 14, 15, 16, 17, 18
WRITE, READ = 0, 1
# A mark for a secret, as fuzz/src/bodies/secret.rs knows it.
SECRET = b"\x01"

FORK, EXEC, EXEC_FAILED, EXIT, OPEN, WRITTEN, TRUNCATE, RENAME, UNLINK, RMDIR, LINK, SYMLINK, MKDIR, MKNOD, CHMOD, CHOWN = range(1, 17)
MMAP, CONNECT, BIND, LISTEN, ACCEPT, CONNECTED, FLOW, SEND_TO, DNS, SIGNAL, PTRACE, SET_ID, MEMFD, BLIND = range(17, 31)
CREATED, WRITABLE = 0x100000, 2
O_WRONLY, O_CREAT = 1, 0o100
PLAIN, WALKED = 1, 2
CLOSED, WATCHED, WAS_WRITTEN = 1, 4, 8


def step(kind, who, number, told=b"", later=1, fd=-1):
    """Long ones have zeros behind them, which say nothing; DATA must be no longer than 255 bytes."""
    shift = 0
    while len(told) > 255 << shift:
        shift += 1
    told += bytes(-len(told) % (1 << shift))
    return bytes([kind | shift << 5, who, later, fd & 255, number, len(told) >> shift]) + told


def stream(kind, who, direction, data, fd=-1):
    data = data if isinstance(data, bytes) else data.encode()
    return b"".join(step(kind, who, direction, data[at : at + 240], fd=fd) for at in range(0, len(data), 240))


def act(who, kind, *texts, value=(), result=0, file=0, flags=0, fd=-1, later=1):
    """Each text: its form, and its bytes."""
    value = (*value, 0, 0, 0, 0)[:4]
    texts = [*texts, (0, b""), (0, b""), (0, b""), (0, b"")][:4]
    told = struct.pack("<q4Q", result, *value) + struct.pack("<IIQ", 8, 0, file)
    told += struct.pack("<4H", *(len(text) for _, text in texts)) + bytes(form for form, _ in texts)
    told += struct.pack("<HH", flags, 0) + b"".join(text for _, text in texts)
    return step(ACT, who, kind, told, later, fd)


def plain(text):
    return (PLAIN, text.encode())


def walked(path):
    """Names from the file up to the root."""
    return (WALKED, b"".join(name.encode() + b"\0" for name in reversed(path.strip("/").split("/"))))


def process(who, parent, exe):
    return step(PROCESS, who, parent, exe.encode())


def fork(who, child):
    return act(who, FORK, value=(100 + child, 1000 * child, 100 + child))


def run(who, exe, *args, cwd="/srv", env=(), script=None, flags=0):
    words = b"".join(arg.encode() + b"\0" for arg in args)
    variables = b"".join(one.encode() + b"\0" for one in env)
    out = step(WORDS, who, WRITE | 2, words) + (step(WORDS, who, READ | 2, variables) if variables else b"")
    texts = [walked(exe), walked(cwd), plain(script or exe)] + ([plain(exe)] if script else [])
    return out + act(who, EXEC, *texts, value=(0, 0, 1, len(words) | len(variables) << 32), file=hash_of(exe), flags=flags)


def hash_of(path):
    return 2 + sum(path.encode()) % 199


def ended(who, status=0):
    return act(who, EXIT, value=(status, 10**6, 300, 1)) + step(EXITED, who, 0)


def writes(who, path, size=9, fd=3, mode=CREATED | WRITABLE):
    file = hash_of(path)
    out = act(who, OPEN, walked(path), value=(O_WRONLY | O_CREAT, mode, 0o100644, 0), file=file, fd=fd)
    return out + act(who, WRITTEN, value=(size, 1), file=file, flags=CLOSED, fd=fd)


def reads(who, path, flags=WATCHED):
    return act(who, OPEN, walked(path), value=(0, 1, 0o100600, 10), file=hash_of(path), flags=flags, fd=4)


def inet(ip, port):
    return struct.pack("<H", 2) + struct.pack(">H", port) + bytes(ip) + bytes(8)


def names(peer, port, inode=77):
    local = bytes([10, 0, 0, 1]) + bytes(12)
    return struct.pack("<4B2H", 1, 4, 4, 2, 40000, port) + local + bytes(peer) + bytes(12) + struct.pack("<Q", inode)


def connect(who, ip, port, kind=CONNECT, value=(1 | 6 << 32 | 2 << 48, 77, 10, 20)):
    return act(who, kind, (PLAIN, inet(ip, port)), (PLAIN, names(ip, port)), value=value, fd=5)


def dns(answer, name=b"\x07example\x03org\x00"):
    head = struct.pack(">6H", 7, 0x8180 if answer else 0x0100, 1, len(answer), 0, 0)
    question = name + struct.pack(">2H", 1, 1)
    records = (b"\xc0\x0c" + struct.pack(">2HIH", kind, 1, 60, len(data)) + data for kind, data in answer)
    return head + question + b"".join(records)


ANSWERS = [(1, bytes([198, 51, 100, 7])), (28, bytes(15) + b"\x01"), (5, b"\x03www\xc0\x0c"), (16, b"\x04text")]


def asks(who, name=None):
    server = (PLAIN, names([10, 0, 0, 2], 53))
    question = act(who, DNS, (PLAIN, dns([])), server, value=(0,))
    return question + act(who, DNS, (PLAIN, dns(ANSWERS)), server, value=(1,))


def call(who, ask, events, path="/v1/chat/completions", host="api.openai.com"):
    body = json.dumps(ask)
    out = stream(DATA, who, WRITE, talk.request(path, body, fields="authorization: Bearer \x01\r\n", host=host))
    return out + stream(DATA, who, READ, talk.chunked(talk.sse(*events)))


def tool_call(command):
    arguments = json.dumps({"command": command})
    whole = {"id": "call_7", "index": 0, "type": "function", "function": {"name": "Bash", "arguments": arguments}}
    return [
        {"id": "c7", "model": "gpt-5", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "I will."}}]},
        {"id": "c7", "choices": [{"index": 0, "delta": {"tool_calls": [whole]}}]},
        {"id": "c7", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        "[DONE]",
    ]


def told_result(text):
    messages = [
        {"role": "user", "content": "Make a.sh"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_7", "type": "function", "function": {"name": "Bash", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_7", "content": text},
    ]
    return {**talk.CHAT_ASK, "messages": messages}


def agent():
    """A model wants a command, which is run, and is told what came of it."""
    command = "echo hi > a.sh; chmod +x a.sh; ./a.sh"
    begin = process(0, 7, "/usr/bin/claude") + run(0, "/usr/bin/claude", "claude", "-p", "Make a.sh") + asks(0) + connect(0, [198, 51, 100, 7], 443)
    tool = fork(0, 1) + run(1, "/usr/bin/bash", "bash", "-c", command, env=["LD_PRELOAD=/tmp/x.so", "TOKEN=1"])
    tool += writes(1, "/srv/a.sh") + act(1, CHMOD, walked("/srv/a.sh"), value=(0o755,), file=hash_of("/srv/a.sh"))
    tool += fork(1, 2) + run(2, "/usr/bin/bash", "/bin/sh", "./a.sh", script="./a.sh") + stream(STDIO, 2, WRITE, "hi\n", fd=1) + ended(2) + ended(1)
    return begin + call(0, talk.CHAT_ASK, tool_call(command)) + tool + call(0, told_result("hi\n"), talk.CHAT) + step(CLOSE, 0, 0) + ended(0)


def thief():
    """A secret is read, and a new host is spoken to; something is fetched and run."""
    out = process(1, 0, "/usr/bin/bash") + reads(1, "/root/.ssh/id_rsa") + reads(1, "/srv/.env") + asks(1) + connect(1, [198, 51, 100, 7], 443)
    out += fork(1, 2) + run(2, "/usr/bin/curl", "curl", "-o", "x", "http://example.org/x") + writes(2, "/srv/x") + ended(2)
    out += fork(1, 3) + run(3, "/srv/x", "./x", flags=WAS_WRITTEN) + stream(STDIO, 3, READ, b"key \x01", fd=0) + ended(3, 9)
    return out + act(1, FLOW, value=(0, 5, 10, 3), result=4, fd=1) + step(TICK, 0, 0, later=255)


def others():
    """Everything else that there is."""
    out = process(4, 1, "/usr/bin/node")
    out += act(4, RENAME, plain("a"), walked("/srv"), plain("/srv/b"), value=(1,)) + act(4, LINK, plain("b"), walked("/srv"), plain("c"), walked("/srv"))
    out += act(4, SYMLINK, plain("l"), walked("/srv"), plain("/etc/passwd")) + act(4, MKDIR, plain("d"), walked("/srv"), value=(0o755,))
    out += act(4, RMDIR, plain("d"), walked("/srv")) + act(4, UNLINK, plain("b"), walked("/srv"), result=-2) + act(4, UNLINK, plain("e"), value=(0x200,))
    out += act(4, MKNOD, plain("/srv/n"), value=(0o10644, 5)) + act(4, CHOWN, walked("/srv/n"), value=(0, 2**32 - 1)) + act(4, TRUNCATE, walked("/srv/n"), value=(3,), fd=3)
    out += act(4, MMAP, walked("/srv/n"), value=(4096, 0), file=9, fd=3) + act(4, MEMFD, plain("code"), fd=6) + act(4, BLIND, value=(1,)) + act(4, SET_ID, value=(1000, 0))
    out += act(4, SIGNAL, value=(101, 9)) + act(4, PTRACE, value=(16, 101)) + act(4, PTRACE, value=(2**64 - 1, 102)) + act(4, EXEC_FAILED, plain("nothing"), walked("/srv"), result=-2)
    out += connect(4, [0, 0, 0, 0], 8080, BIND) + act(4, LISTEN, value=(1 | 6 << 32 | 2 << 48, 78)) + connect(4, [10, 0, 0, 9], 5000, ACCEPT)
    out += connect(4, [10, 0, 0, 9], 53, SEND_TO, (2 | 17 << 32 | 2 << 48, 79)) + connect(4, [10, 0, 0, 9], 5000, CONNECTED) + connect(4, [10, 0, 0, 9], 5000, FLOW)
    out += act(4, CONNECT, (PLAIN, b"\x01\x00/run/docker.sock\0"), value=(1 | 1 << 48, 80)) + act(4, OPEN, (3, b"gone\0"), value=(2, 3), file=5, fd=9)
    return out + writes(4, "/root/.bashrc") + writes(4, "/root/.claude/settings.json") + writes(4, "/etc/cron.d/x") + ended(4, 11)


def server():
    """A client that speaks MCP to a program through pipes."""
    out = process(0, 7, "/usr/bin/claude") + fork(0, 5) + run(5, "/usr/bin/node", "node", "server.js")
    for n, message in enumerate(talk.MCP):
        out += stream(STDIO, 5, READ if n % 2 == 0 else WRITE, json.dumps(message) + "\n", fd=n % 2)
    return out + call(0, talk.CHAT_ASK, tool_call("read")) + writes(5, "/srv/made") + ended(5)


RUNS = {"agent": agent(), "thief": thief(), "others": others(), "server": server()}

EXPRESSIONS = [
    "type == 'llm.call' && status >= 400",
    "has(line.call) && request.model.startsWith('gpt')",
    "pid in [100, 101] || line.type.matches('^file[.]')",
    "args.exists(a, a.contains('sh')) ? size(args) > 1 : !has(line.error)",
    "{'a': [1, 2.5, -3u]}['a'].map(x, x * 2).filter(x, x > 1).size() == 2",
    "timestamp(ts) > timestamp('2020-01-01T00:00:00Z') && duration('1h') > duration('2s')",
    "path.endsWith(\".sh\") && string(pid) == '101' && int('7') == 7 && b'a' != b'b'",
]


# Recordings: kind, length, content of each frame.


def frame(kind, content):
    return struct.pack("<BH", kind, len(content)) + content


def record(kind, told, number=0, pid=100, offset=0, fd=5):
    head = struct.pack("<10Q", 5, 1000, 17, 0x1000, offset, len(told), 0, 0, 0, 0)
    head += struct.pack("<IIIiHBBH2x16s", pid, pid, len(told), fd, number, kind, 0, 64, b"claude")
    return head + told


def block(*records):
    return b"".join(struct.pack("<Q", len(one)) + one + bytes(-len(one) % 8) for one in records)


def packed(data):
    return struct.pack("<I", len(data)) + talk.zstd(data[:248])


def recordings():
    info = {"process": {"pid": 100, "start_ns": 1000}, "since_ns": 1, "comm": "claude", "uid": 0, "parent": {"pid": 1, "start_ns": 0}, "exe": "/usr/bin/claude"}
    missed = {"process": info["process"], "comm": "claude", "file": "/x", "libraries": ["openssl"], "from_ns": 1, "until_ns": 2}
    state = struct.pack("<5Q", 1000, 100, 17, 50, 60)
    counters = struct.pack("<5Q", 2, 0, 3, 7, 1)
    ask = talk.request("/v1/chat/completions", json.dumps(talk.CHAT_ASK)[:200])
    opened = [record(SOCKET, names([10, 0, 0, 9], 443)), record(2, b""), record(HELLO, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 0)]
    said = [record(DATA, ask), record(3, b""), record(CLOSE, b""), record(5, b""), record(6, b""), record(8, bytes(336))]
    done = [record(ACT, struct.pack("<q4Q", 0, 1, 2, 3, 4) + bytes(16) + struct.pack("<4H4BHH", 4, 0, 0, 0, 1, 0, 0, 0, 0, 0) + b"/etc", OPEN), record(STDIO, b"hi"), record(WORDS, b"a\0b\0")]
    begin = frame(4, struct.pack("<2Q", 0, 7) + b"opensslSSL_write") + frame(8, json.dumps(info).encode()) + frame(10, b'["**/.ssh/**"]')
    end = frame(3, struct.pack("<4Q", 9, 1000, 100, 101) + b"claude".ljust(16, b"\0") + struct.pack("<Q", 1) + state)
    end += frame(2, struct.pack("<3Q", 1, 2, 3) + counters + struct.pack("<Q", 1) + state)
    middle = frame(1, counters) + frame(6, struct.pack("<Q", 77)) + frame(9, json.dumps(missed).encode())
    put("recording", "said", b"\x01" + begin + frame(5, block(*opened, *said)) + middle + end)
    put("recording", "done", b"\x01" + begin + frame(5, block(*done)) + end)
    put("recording", "packed", b"\x01" + begin + frame(7, packed(block(record(DATA, b"GET / HTTP/1.1\r\n\r\n")))) + end)
    put("recording", "raw", b"\x00agentsight\nrun\n\0" + struct.pack("<I", 2))


# Secrets in what is masked before it is written: in clear, compressed, in frames.


def masked():
    secret = "".join(("sk-", "ant-api03-", "Ab1" * 31, "-AA"))
    told = json.dumps({"api_key": secret, "text": "x" * 300})
    zipped = "content-encoding: gzip\r\n"
    cases = {
        "gzip": [(WRITE, talk.request("/a", "{}")), (READ, talk.response(gzip.compress(told.encode(), mtime=0), fields=zipped))],
        "clear": [(WRITE, talk.request("/a", "say \x01 again \x01", fields="x-api-key: \x01\r\n")), (READ, talk.response("\x01"))],
        "h2": talk.http2_seeds(),
        "upgrade": talk.http1()["upgrade"],
        "under-mask": [*talk.http1()["upgrade"][:2], (WRITE, talk.ws(1, told, b"abcd"))],
    }
    for name, parts in cases.items():
        put("mask", name, b"".join(stream(DATA, 0, direction, data) for direction, data in parts))
    environment = step(WORDS, 1, READ, b"LD_PRELOAD=/x\0API_KEY=\x01\0") + step(WORDS, 1, WRITE, b"curl\0-H\0x-api-key: \x01\0")
    put("mask", "words", environment + stream(STDIO, 1, WRITE, "export KEY=\x01\n", fd=1))


def lengths(data, size=200):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def coded():
    words = talk.literal("x-word", "secretword") + talk.literal("x-other", "Mixed Word") + talk.literal("x-none", "", False)
    for name, blocks in {"words": [words, bytes([0xC0, 0xBF])], "chat": [talk.ASK, talk.AGAIN], "huffman": talk.HUFFMAN}.items():
        frames = b"".join(talk.frame(1, 4, 2 * n + 1, one) + talk.frame(0, 1, 2 * n + 1, b"{}") for n, one in enumerate(blocks))
        for size in (9, 200):
            put("literals", f"{name}-{size}", b"\x01" + lengths(frames, size))
        put("literals", f"{name}-late", b"\x00" + lengths(frames))
    split = talk.frame(1, 0x28, 1, b"\x02" + bytes(5) + words[:9] + bytes(2)) + talk.frame(9, 4, 1, words[9:])
    put("literals", "split", b"\x01" + lengths(split, 20) + b"\x00" + lengths(split))
    text = json.dumps(talk.RESPONSES_ASK)
    mask = b"\x01\x02\x03\x04"
    put("payload", "masked", b"\x03" + lengths(talk.ws(1, text, mask) + talk.ws(9, "p", mask) + talk.ws(1, "ss", mask)))
    put("payload", "parts", b"\x03" + lengths(talk.ws(1, text[:50], mask, fin=False) + talk.ws(0, text[50:], mask), 13))
    for options in (0, 1, 12, 13):
        key = mask if options & 1 else None
        packed = talk.ws(1, talk.deflated(text), key, rsv=0x40) + talk.ws(1, talk.deflated("zz" * 40), key, rsv=0x40)
        put("payload", f"packed-{options}", bytes([options]) + lengths(packed, 60))
    put("payload", "server", b"\x02" + lengths(talk.ws(1, text)))


def guesses():
    ollama = [json.dumps(value) for value in talk.OLLAMA]
    for name, ask, stream in [
        ("chat", talk.CHAT_ASK, talk.CHAT),
        ("responses", talk.RESPONSES_ASK, talk.RESPONSES),
        ("anthropic", talk.MESSAGES_ASK, talk.MESSAGES),
        ("gemini", talk.GENERATE_ASK, talk.GENERATE),
        ("cohere", talk.COHERE_ASK, talk.COHERE),
        ("ollama", talk.OLLAMA_ASK, talk.OLLAMA),
        ("embeddings", talk.EMBED_ASK, [talk.EMBED]),
    ]:
        ask = {name: value for name, value in ask.items() if name != "path"}
        events = [f"{event.get('type', '')}\t{json.dumps(event)}" for event in stream]
        put("guess", name, "\n".join([json.dumps(ask), *events]))
        put("guess", f"{name}-json", "\n".join([json.dumps(ask), *("#" + json.dumps(event) for event in stream)]))
    put("guess", "whole", "\n".join(json.dumps(value) for value in (talk.CHAT_ASK, talk.CHAT_WHOLE)))
    put("guess", "ollama-whole", "\n".join([json.dumps(talk.OLLAMA_ASK), *ollama]))


def prices():
    entry = {"provider": "openai", "models": ["gpt-4o"], "input": 0.4, "output": 1.6, "cache_read": 0.1, "cache_write": 1, "cache_write_1h": 2, "source": "x"}
    table = {"version": "mine", "prices": [{**entry, "apart": ["audio"], "above": [{"tokens": 200000, "input": 0.8, "output": 3.2}]}]}
    put("prices", "table", json.dumps(table))
    put("prices", "usage", json.dumps({"prompt_tokens": 5, "completion_tokens_details": {"audio_tokens": 3}, "cache_creation": {"ephemeral_1h_input_tokens": 4}}))


def main():
    for name, steps in RUNS.items():
        put("acts", name, steps)
    for file in sorted(RULES.glob("*.yml")):
        put("rules", file.stem, file.read_bytes() + b"\0" + RUNS["thief"])
    for n, expression in enumerate(EXPRESSIONS):
        put("filter", str(n), expression.encode() + b"\n" + (RUNS["agent"] if n % 2 else RUNS["thief"]))
    for n, message in enumerate([dns([]), dns(ANSWERS), dns(ANSWERS[:1], b"\x03a\\.\x00")]):
        put("dns", str(n), bytes([n & 1]) + message)
    recordings()
    masked()
    coded()
    guesses()
    prices()


if __name__ == "__main__":
    main()
