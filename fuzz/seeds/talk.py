#!/usr/bin/env python3
"""Makes seeds of what is said on connections: small exchanges of each protocol, in the form in which each target takes them.

    fuzz/seeds/talk.py FOLDER      into FOLDER/TARGET/

All is written here: no file is read, and the same files come each time.
"""

import base64
import gzip
import json
import struct
import sys
import zlib
from pathlib import Path

LOCAL, PEER = 0, 1
OUT = Path(sys.argv[1])


def put(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


# Pieces of a connection, as src/proto/fuzz.rs and src/dialog/fuzz.rs read them.


def pieces(*parts):
    """Each part: who sends, and what."""
    out = b""
    for party, data in parts:
        data = data if isinstance(data, bytes) else data.encode()
        # A large part in units of eight, then the rest.
        while data:
            shift = 3 if len(data) >= 8 else 0
            count = min(len(data) >> shift, 255)
            take = count << shift
            out += bytes([party | 8 << 1 | shift << 6, count]) + data[:take]
            data = data[take:]
    return out


def gap(party, count):
    return bytes([party | 1 << 1, count])


OPEN = bytes([0, 0])
SHUTDOWN = bytes([2 << 1, 0])
CLOSE = bytes([3 << 1, 0])

# HTTP/1.1.


def request(target, body=b"", fields="", method="POST", kind="application/json", host="api.example.org"):
    body = body.encode() if isinstance(body, str) else body
    head = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\n{fields}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def response(body=b"", kind="application/json", fields="", status="200 OK"):
    body = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body


def chunk(data):
    data = data.encode() if isinstance(data, str) else data
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def chunked(parts, kind="text/event-stream", fields=""):
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{fields}transfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(chunk(part) for part in parts) + b"0\r\n\r\n"


# HTTP/2: frames, and blocks of fields that use the static table, the dynamic one, and Huffman codes (RFC 7541 C.4).

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value, kept=True):
    return bytes([0x40 if kept else 0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def named(index, value):
    return bytes([0x40 | index, len(value)]) + value.encode()


# :method POST, :scheme https; :path, :authority, content-type.
ASK = bytes([0x83, 0x87]) + named(4, "/v1/chat/completions") + named(1, "api.openai.com") + named(31, "application/json")
AGAIN = bytes([0x83, 0x87, 0xC0, 0xBF, 0xBE])
ANSWER = bytes([0x88]) + named(31, "text/event-stream") + literal("x-request-id", "req_1", False)
HUFFMAN = [
    bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"),
    bytes.fromhex("828684be5886a8eb10649cbf"),
    bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"),
]


def http2(*parts, how=1):
    out = bytes([how])
    for party, data in parts:
        for at in range(0, len(data), 62):
            piece = data[at : at + 62]
            out += bytes([len(piece) << 2 | party]) + piece
    return out


# Frames of an AWS event stream.


def aws(headers, payload):
    block = b""
    for name, value in headers.items():
        block += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = payload.encode()
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def aws_event(kind, payload, class_="event"):
    return aws({f":{class_}-type": kind, ":content-type": "application/json", ":message-type": class_}, json.dumps(payload))


# WebSocket.


def ws(opcode, payload, mask=None, fin=True, rsv=0):
    payload = payload.encode() if isinstance(payload, str) else payload
    first = (0x80 if fin else 0) | rsv | opcode
    length = len(payload)
    bit = 0x80 if mask else 0
    head = bytes([first, bit | length]) if length < 126 else bytes([first, bit | 126]) + struct.pack(">H", length)
    if mask:
        payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
        head += mask
    return head + payload


def deflated(text):
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


# Codings that Python does not have: one block that is not compressed, one by its reference encoder.


def zstd(data):
    assert len(data) < 256
    block = struct.pack("<I", 1 | len(data) << 3)[:3]
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + block + data


BROTLI = bytes.fromhex("0b028068656c6c6f03")  # hello

# What models say.

TOOL = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def sse(*events, name=None):
    out = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        kind = event.get("type") if name and not isinstance(event, str) else None
        out.append((f"event: {kind}\n" if kind else "") + f"data: {data}\n\n")
    return out


CHAT_ASK = {
    "model": "gpt-5",
    "stream": True,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Read a.txt"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"a.txt\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "hello"},
    ],
    "tools": [{"type": "function", "function": {"name": "read", "description": "Reads.", "parameters": TOOL}}],
    "temperature": 0.5,
}
CHAT = [
    {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-5", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"content": "Hel"}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"content": "lo \u00e9"}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "call_2", "type": "function", "function": {"name": "read", "arguments": ""}}]}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{\"path\":"}}]}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "\"b\"}"}}]}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {"id": "c1", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}},
]
CHAT_WHOLE = {
    "id": "c1",
    "object": "chat.completion",
    "model": "gpt-5",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}},
}
RESPONSES_ASK = {"model": "gpt-5", "stream": True, "instructions": "Be brief.", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}], "previous_response_id": "resp_0"}
RESPONSES_WHOLE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5",
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello", "annotations": []}]},
        {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "read", "arguments": "{}"},
    ],
    "usage": {"input_tokens": 5, "output_tokens": 7},
}
RESPONSES = [
    {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "model": "gpt-5", "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg_1", "type": "message", "role": "assistant", "content": []}},
    {"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": ""}},
    {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "Hel"},
    {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "lo"},
    {"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": "Hello"},
    {"type": "response.output_item.added", "output_index": 1, "item": {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "read", "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 1, "delta": "{}"},
    {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 2, "summary_index": 0, "delta": "hm"},
    {"type": "response.completed", "response": RESPONSES_WHOLE},
]
COMPLETION = {"id": "t1", "object": "text_completion", "model": "m", "choices": [{"index": 0, "text": "Hello", "finish_reason": None}]}
COMPLETION_ASK = {"model": "m", "prompt": "Say", "max_tokens": 5, "stream": True}
EMBED_ASK = {"model": "text-embedding-3-small", "input": ["a", "b"]}
EMBED = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}], "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
IMAGE = {"created": 1, "data": [{"b64_json": base64.b64encode(b"png").decode()}], "usage": {"input_tokens": 1, "output_tokens": 2}}
IMAGES = [{"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0}, {"type": "image_generation.completed", "b64_json": "AAAA"}]
THREADS = [
    {"id": "run_1", "object": "thread.run", "status": "queued", "model": "m"},
    {"id": "msg_1", "object": "thread.message", "role": "assistant", "content": []},
    {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": [{"index": 0, "type": "text", "text": {"value": "Hel"}}]}},
    {"id": "step_1", "object": "thread.run.step.delta", "delta": {"step_details": {"type": "tool_calls", "tool_calls": [{"index": 0, "type": "function", "function": {"name": "f", "arguments": "{"}}]}}},
]
THREAD_NAMES = ["thread.run.created", "thread.message.created", "thread.message.delta", "thread.run.step.delta"]

MESSAGES_ASK = {
    "model": "claude-sonnet-4",
    "max_tokens": 100,
    "stream": True,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "hello", "is_error": False}]},
    ],
    "tools": [{"name": "read", "description": "Reads.", "input_schema": TOOL}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
MESSAGES_WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4",
    "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "toolu_2", "name": "read", "input": {"path": "b"}}],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1},
}
MESSAGES = [
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "x"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "ping"},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_2", "name": "read", "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"path\": "}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "\"b\"}"}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]
MESSAGES_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
COMPLETE = {"type": "completion", "id": "compl_1", "completion": " Hello", "stop_reason": None, "model": "claude-2.1"}
COMPLETE_ASK = {"model": "claude-2.1", "prompt": "\n\nHuman: hi\n\nAssistant:", "max_tokens_to_sample": 9}

GENERATE_ASK = {
    "path": "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "read", "args": {"path": "a"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "read", "response": {"text": "hello"}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "read", "parameters": TOOL}]}],
    "generationConfig": {"temperature": 0.5, "maxOutputTokens": 99},
}
GENERATE = [
    {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "hm", "thought": True}]}}], "modelVersion": "gemini-2.5-pro", "responseId": "r1"},
    {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "Hel"}]}}]},
    {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "lo"}, {"functionCall": {"name": "read", "args": {"path": "b"}}}]}}]},
    {"candidates": [{"index": 0, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 2, "totalTokenCount": 14}},
]
GENERATE_EMBED_ASK = {"path": "/v1beta/models/e:batchEmbedContents", "requests": [{"model": "models/e", "content": {"parts": [{"text": "a"}]}}]}
GENERATE_EMBED = {"embeddings": [{"values": [0.1, 0.2]}]}
INTERACTION_ASK = {"path": "/v1beta/interactions", "model": "gemini-3", "input": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "stream": True}
INTERACTIONS = [
    {"event_type": "interaction.start", "interaction": {"id": "i1", "model": "gemini-3", "status": "in_progress"}},
    {"event_type": "content.start", "index": 0, "content": {"type": "text", "text": ""}},
    {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "Hel"}},
    {"event_type": "step.delta", "index": 1, "delta": {"type": "arguments_delta", "arguments": "{\"a\":"}},
    {"event_type": "content.stop", "index": 0},
    {"event_type": "interaction.complete", "interaction": {"id": "i1", "status": "completed", "usage": {"total_input_tokens": 5, "total_output_tokens": 7}}},
]

CONVERSE_ASK = {
    "path": "/model/anthropic.claude-3-haiku-20240307-v1:0/converse-stream",
    "system": [{"text": "Be brief."}],
    "messages": [{"role": "user", "content": [{"text": "hi"}, {"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": 1}}], "status": "success"}}]}],
    "toolConfig": {"tools": [{"toolSpec": {"name": "read", "inputSchema": {"json": TOOL}}}]},
    "inferenceConfig": {"maxTokens": 99, "temperature": 0.5},
}
CONVERSE = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t2", "name": "read"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{\"path\":\"b\"}"}}}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}, "metrics": {"latencyMs": 3}}),
]
CONVERSE_WHOLE = {"output": {"message": {"role": "assistant", "content": [{"text": "Hello"}, {"toolUse": {"toolUseId": "t2", "name": "read", "input": {}}}]}}, "stopReason": "end_turn", "usage": {"inputTokens": 5, "outputTokens": 7}}
FLAT = [
    {"path": "/model/amazon.titan-text/invoke", "inputText": "hi", "textGenerationConfig": {"maxTokenCount": 9}},
    {"inputTextTokenCount": 5, "results": [{"tokenCount": 7, "outputText": "Hello", "completionReason": "FINISH"}]},
    {"path": "/model/meta.llama3/invoke", "prompt": "hi", "max_gen_len": 9},
    {"generation": "Hello", "prompt_token_count": 5, "generation_token_count": 7, "stop_reason": "stop"},
    {"outputs": [{"text": "Hello", "stop_reason": "stop"}]},
]


def invoke_chunk(value):
    return {"bytes": base64.b64encode(json.dumps(value).encode()).decode(), "p": "abc"}


COHERE_ASK = {"path": "/v2/chat", "model": "command-a", "stream": True, "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function", "function": {"name": "read", "parameters": TOOL}}]}
COHERE = [
    {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I "}}},
    {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": {"id": "read_1", "type": "function", "function": {"name": "read", "arguments": ""}}}}},
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}}},
    {"type": "tool-call-end", "index": 0},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hello"}}}},
    {"type": "content-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 5}, "tokens": {"input_tokens": 9, "output_tokens": 7}}}},
]
COHERE_V1 = [
    {"event_type": "stream-start", "generation_id": "g1", "is_finished": False},
    {"event_type": "text-generation", "text": "Hello", "is_finished": False},
    {"event_type": "tool-calls-generation", "tool_calls": [{"name": "read", "parameters": {"path": "a"}}]},
    {"event_type": "citation-generation", "citations": [{"start": 0, "end": 3, "text": "Hel"}]},
    {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"text": "Hello", "generation_id": "g1", "meta": {"tokens": {"input_tokens": 5}}}},
]
COHERE_V1_ASK = {"path": "/v1/chat", "model": "command-r", "message": "hi", "chat_history": [{"role": "USER", "message": "a"}], "preamble": "b"}
RERANK = {"path": "/v2/rerank", "model": "rerank-v3.5", "query": "q", "documents": ["a", "b"], "results": [{"index": 1, "relevance_score": 0.9}]}

OLLAMA_ASK = {"path": "/api/chat", "model": "llama3", "messages": [{"role": "user", "content": "hi", "images": ["AAAA"]}], "tools": [{"type": "function", "function": {"name": "read", "parameters": TOOL}}]}
OLLAMA = [
    {"model": "llama3", "created_at": "2025-01-01T00:00:00Z", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
    {"model": "llama3", "message": {"role": "assistant", "content": "Hel"}, "done": False},
    {"model": "llama3", "message": {"role": "assistant", "content": "lo", "tool_calls": [{"function": {"name": "read", "arguments": {"path": "b"}}}]}, "done": False},
    {"model": "llama3", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7},
]
OLLAMA_GENERATE = [{"path": "/api/generate", "model": "llama3", "prompt": "hi"}, {"model": "llama3", "response": "Hello", "done": True, "context": [1, 2]}]
OLLAMA_EMBED = [{"path": "/api/embed", "model": "e", "input": ["a"]}, {"model": "e", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 1}]

MCP = [
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}},
    {"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    {"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"name": "read", "inputSchema": TOOL}]}},
    {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "read", "arguments": {"path": "a"}}},
    {"jsonrpc": "2.0", "id": "a", "error": {"code": -32602, "message": "Unknown tool"}},
]


def lines(values):
    return "\n".join(json.dumps(value) for value in values)


def semantics():
    for name, ask, stream, whole in [
        ("anthropic", MESSAGES_ASK, [*MESSAGES, MESSAGES_ERROR], MESSAGES_WHOLE),
        ("gemini", GENERATE_ASK, GENERATE, GENERATE[2]),
        ("cohere", COHERE_ASK, COHERE, RERANK),
        ("ollama", OLLAMA_ASK, OLLAMA, OLLAMA[3]),
    ]:
        put(name, "ask", json.dumps(ask))
        put(name, "events", lines(stream))
        put(name, "lines", "\n".join("#" + json.dumps(value) for value in stream))
        put(name, "whole", json.dumps(whole))
    put("anthropic", "complete", lines([COMPLETE] * 2))
    put("anthropic", "complete-ask", json.dumps(COMPLETE_ASK))
    put("gemini", "interactions", lines(INTERACTIONS))
    put("gemini", "interactions-ask", json.dumps(INTERACTION_ASK))
    put("gemini", "embed-ask", json.dumps(GENERATE_EMBED_ASK))
    put("gemini", "embed", json.dumps(GENERATE_EMBED))
    put("cohere", "v1", lines(COHERE_V1))
    put("cohere", "v1-ask", json.dumps(COHERE_V1_ASK))
    for n, value in enumerate(OLLAMA_GENERATE + OLLAMA_EMBED):
        put("ollama", f"other-{n}", json.dumps(value))
    put("bedrock", "ask", json.dumps(CONVERSE_ASK))
    put("bedrock", "whole", json.dumps(CONVERSE_WHOLE))
    put("bedrock", "events", "\n".join(f"@{kind} {json.dumps(payload)}" for kind, payload in CONVERSE))
    put("bedrock", "exception", "!throttlingException " + json.dumps({"message": "Too many requests"}))
    put("bedrock", "chunks", "\n".join(f"@chunk {json.dumps(invoke_chunk(event))}" for event in MESSAGES))
    for n, value in enumerate(FLAT):
        put("bedrock", f"flat-{n}", json.dumps(value))
        put("bedrock", f"flat-chunk-{n}", f"@chunk {json.dumps(invoke_chunk(value))}")
    put("mcp", "session", lines(MCP))
    put("mcp", "batch", json.dumps(MCP))


# In the order of DIALECTS in src/semantics/recognise.rs; another order makes weaker seeds, no wrong ones.
DIALECTS = [
    (MESSAGES_ASK, MESSAGES),
    (COMPLETE_ASK, [COMPLETE]),
    (GENERATE_ASK, GENERATE),
    (GENERATE_ASK, GENERATE),
    (GENERATE_EMBED_ASK, [GENERATE_EMBED]),
    (INTERACTION_ASK, INTERACTIONS),
    (CONVERSE_ASK, [CONVERSE_WHOLE]),
    (CONVERSE_ASK, [payload for _, payload in CONVERSE]),
    (FLAT[0], FLAT),
    (FLAT[2], [invoke_chunk(value) for value in FLAT]),
    (COHERE_ASK, COHERE),
    (COHERE_V1_ASK, COHERE_V1),
    (OLLAMA_ASK, OLLAMA),
    (CHAT_ASK, [*CHAT, CHAT_WHOLE]),
    (RESPONSES_ASK, RESPONSES),
    (COMPLETION_ASK, [COMPLETION]),
    (EMBED_ASK, [EMBED]),
    ({"model": "gpt-image-1", "prompt": "a cat"}, [IMAGE, *IMAGES]),
    ({"assistant_id": "asst_1", "stream": True}, THREADS),
]


def dialects():
    for n, (ask, stream) in enumerate(DIALECTS):
        put("dialects", f"{n}-ask", bytes([n]) + json.dumps(ask).encode())
        put("dialects", f"{n}-stream", bytes([n]) + lines(stream).encode())
    named_events = [f"{event['type']}\t{json.dumps(event)}" for event in RESPONSES]
    put("dialects", "14-named", b"\x0e\n" + "\n".join(named_events).encode())
    threads = [f"{name}\t{json.dumps(event)}" for name, event in zip(THREAD_NAMES, THREADS)]
    put("dialects", "18-named", b"\x12\n" + "\n".join(threads).encode())


def bodies():
    events = "".join(sse(*CHAT, "[DONE]"))
    odd = ": comment\r\nretry: 5\r\nid: 1\r\nevent: a\r\ndata: x\r\ndata: y\r\n\r\ndata\rdata:z\r\r\ufeffdata: \u00e9\n\n"
    for cut in (1, 7, 200):
        put("sse", f"chat-{cut}", bytes([cut]) + events.encode())
        put("sse", f"odd-{cut}", bytes([cut]) + odd.encode())
    put("sse", "bom", b"\x03" + b"\xef\xbb\xbfdata: a\n\n")
    put("lines", "ollama", b"\x05" + lines(OLLAMA).encode() + b"\n")
    put("lines", "short", b"\x02" + b'{"a":1}\r\n\n[2]\n"three"')
    put("json_array", "gemini", b"\x05" + json.dumps(GENERATE).encode())
    put("json_array", "odd", b"\x02" + b' [ {"a":"]\\"}"} ,\n[1,[2]] , "x" , -1.5e3, null ] ')
    put("json_array", "empty", b"\x01[]")
    frames = b"".join(aws_event(kind, payload) for kind, payload in CONVERSE[:4])
    put("eventstream", "converse", b"\x09" + frames)
    put("eventstream", "exception", b"\x03" + aws_event("throttlingException", {"message": "slow"}, "exception"))
    kinds = b"\x01a\x00" + b"\x01b\x02\x01" + b"\x01c\x03\x00\x01" + b"\x01d\x04\x00\x00\x00\x01" + b"\x01e\x05" + bytes(8) + b"\x01f\x06\x00\x01x" + b"\x01g\x08" + bytes(8) + b"\x01h\x09" + bytes(16)
    prelude = struct.pack(">II", 16 + len(kinds), len(kinds))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + kinds
    put("eventstream", "kinds", b"\x05" + message + struct.pack(">I", zlib.crc32(message)))
    grpc = lambda data, flag=0: bytes([flag]) + struct.pack(">I", len(data)) + data
    put("grpc", "two", b"\x04" + grpc(b"\x0a\x05hello") + grpc(b""))
    put("grpc", "packed", b"\x00" + grpc(gzip.compress(b"hello", mtime=0), 1))
    put("grpc", "web", b"\x10" + grpc(b"\x0a\x01a") + grpc(b"grpc-status: 0\r\n", 0x80))
    text = events.encode()[:600]
    coded = [gzip.compress(text, mtime=0), zlib.compress(text), BROTLI, zstd(text[:200])]
    for n, data in enumerate(coded):
        put("coding", f"{n}", bytes([n, 9]) + data)
    put("coding", "raw-deflate", bytes([1, 3]) + deflated(events))
    put("coding", "members", bytes([0, 30]) + coded[0] + gzip.compress(b"more", mtime=0))
    put("coding", "gzip-br", bytes([4, 3]) + gzip.compress(BROTLI, mtime=0))
    put("coding", "zstd-deflate", bytes([5, 3]) + zlib.compress(zstd(b"hello")))
    # Type and coding, as the body chooses them.
    kinds = [events.encode()[:900], lines(OLLAMA).encode() + b"\n", frames, json.dumps(GENERATE).encode(), b"hello"]
    for kind, data in enumerate(kinds):
        put("content", f"{kind}-plain", bytes([kind, 11]) + data)
        put("content", f"{kind}-gzip", bytes([kind + 5, 11]) + gzip.compress(data, mtime=0))
        put("content", f"{kind}-deflate", bytes([kind + 10, 11]) + zlib.compress(data))
    put("content", "array", bytes([203, 5]) + kinds[3])


def http1():
    ask = request("/v1/chat/completions", json.dumps(CHAT_ASK)[:300], host="api.openai.com")
    stream = chunked(sse(*CHAT[:4], "[DONE]"))
    cases = {
        "stream": [(LOCAL, ask), (PEER, stream)],
        "server": [(PEER, ask), (LOCAL, response("{}"))],
        "keep-alive": [(LOCAL, request("/a", method="GET")), (PEER, response("a")), (LOCAL, request("/b", method="HEAD")), (PEER, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), (LOCAL, request("/c")), (PEER, b"HTTP/1.1 204 No Content\r\n\r\n")],
        "pipelined": [(LOCAL, request("/a") + request("/b")), (PEER, response("a") + response("b", status="404 Not Found"))],
        "continue": [(LOCAL, request("/a", fields="expect: 100-continue\r\n")), (PEER, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"), (PEER, response("a"))],
        "trailers": [(LOCAL, b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n" + chunk("abc") + b"3;x=\"y\"\r\nabc\r\n0\r\nx: 1\r\n\r\n"), (PEER, response())],
        "to-the-end": [(LOCAL, request("/a", method="GET")), (PEER, b"HTTP/1.0 200 OK\r\n\r\nhello"), (PEER, b" again")],
        "connect": [(LOCAL, b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"), (PEER, b"HTTP/1.1 200 OK\r\n\r\n"), (LOCAL, b"\x16\x03\x01\x00\x05hello")],
        "upgrade": [
            (LOCAL, b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n"),
            (PEER, b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n" + ws(1, "hello")),
            (LOCAL, ws(1, deflated(json.dumps(RESPONSES_ASK)), b"abcd", rsv=0x40)),
            (PEER, ws(1, deflated(json.dumps(RESPONSES[3])), rsv=0x40) + ws(8, b"\x03\xe8")),
        ],
        "folded": [(LOCAL, b"GET / HTTP/1.1\nhost: a\n folded\ncontent-length: 3\n\nabc")],
    }
    for name, parts in cases.items():
        put("http1", name, b"\x00" + pieces(*parts))
    (first, *rest) = cases["stream"]
    put("http1", "late", b"\x01" + pieces((PEER, stream[90:]), first, *rest))
    put("http1", "gap", b"\x00" + pieces(first, (PEER, stream[:300])) + gap(PEER, 40) + pieces((PEER, stream[340:]), *rest))
    put("connection", "unknown", b"\x00" + pieces((LOCAL, b"\x00\x01\x02\x03 binary"), (PEER, b"\xff\xfe")))
    put("connection", "smtp", b"\x00" + pieces((PEER, "220 mail ESMTP\r\n"), (LOCAL, "EHLO a\r\n")))
    return cases


def http2_seeds():
    settings = frame(4, 0, 0, struct.pack(">HI", 3, 100) + struct.pack(">HI", 1, 4096))
    body = json.dumps(CHAT_ASK)[:200].encode()
    events = "".join(sse(*CHAT[:3])).encode()
    asking = PREFACE + settings + frame(1, 4, 1, ASK) + frame(0, 1, 1, body)
    answering = settings + frame(4, 1, 0) + frame(1, 4, 1, ANSWER) + frame(0, 0, 1, events) + frame(0, 1, 1)
    second = frame(1, 4, 3, AGAIN) + frame(0, 1, 3, b"{}")
    trailers = frame(1, 4, 3, bytes([0x88])) + frame(0, 0, 3, b"a") + frame(1, 5, 3, literal("grpc-status", "0"))
    padded = frame(1, 0x2C, 5, b"\x03" + bytes(5) + AGAIN + bytes(3)) + frame(0, 9, 5, b"\x02{}" + bytes(2))
    split = frame(1, 0, 7, ASK[:9]) + frame(9, 4, 7, ASK[9:])
    others = frame(8, 0, 0, bytes([0, 1, 0, 0])) + frame(6, 0, 0, bytes(8)) + frame(3, 0, 5, bytes([0, 0, 0, 8])) + frame(7, 0, 0, bytes(8))
    huffman = b"".join(frame(1, 5, 2 * n + 1, block) for n, block in enumerate(HUFFMAN))
    push = frame(5, 4, 1, struct.pack(">I", 2) + HUFFMAN[0])
    whole = [(LOCAL, asking), (PEER, answering), (LOCAL, second), (PEER, trailers)]
    cases = {
        "two": whole,
        "padded": [*whole, (LOCAL, padded + split + others)],
        "huffman": [(LOCAL, PREFACE + settings + huffman)],
        "push": [(LOCAL, asking), (PEER, settings + push)],
    }
    for name, parts in cases.items():
        put("http2", name, http2(*parts))
        put("http2", f"{name}-late", http2(*((party, data[24:]) for party, data in parts), how=0))
        put("connection", f"h2-{name}", b"\x00" + pieces(*parts))
    put("http2", "gap", http2(*whole[:1]) + bytes([0xFD]) + http2(*whole[1:])[1:])
    put("hpack", "chat", ASK + b"\xff" + AGAIN + b"\xff" + ANSWER)
    put("hpack", "huffman", b"\xff".join(HUFFMAN))
    put("hpack", "size", b"\x20" + ASK + b"\xff\x3e" + ANSWER)
    return cases["two"]


def websocket():
    mask = b"\x01\x02\x03\x04"
    event = json.dumps(RESPONSES[3])
    plain = [(LOCAL, ws(1, json.dumps(RESPONSES_ASK), mask)), (PEER, ws(1, event) + ws(9, "p") + ws(2, b"\x00\x01"))]
    parts = [(PEER, ws(1, "Hel", fin=False) + ws(9, "") + ws(0, "lo")), (LOCAL, ws(10, "", mask) + ws(8, b"\x03\xe8bye", mask))]
    packed = [(PEER, ws(1, deflated(event), rsv=0x40) + ws(1, deflated(event), rsv=0x40)), (LOCAL, ws(1, deflated("hi"), mask, rsv=0x40))]
    for name, options, messages in [("plain", 2, plain), ("parts", 0, parts), ("packed", 0, packed), ("packed-anew", 12, packed), ("long", 2, [(PEER, ws(1, event * 2))])]:
        put("websocket", name, bytes([options]) + pieces(*messages))
    put("websocket", "gap", b"\x02" + pieces(plain[0], (PEER, ws(1, event)[:40])) + gap(PEER, 20) + pieces((PEER, ws(1, event)[60:] + ws(1, "hi"))))


def dialog(http1_cases, http2_parts):
    def call(target, ask, answer, host="api.example.org"):
        return [(LOCAL, request(target, json.dumps(ask), host=host)), (PEER, answer)]

    aws_frames = [aws_event(kind, payload) for kind, payload in CONVERSE]
    cases = {
        "chat": call("/v1/chat/completions", CHAT_ASK, chunked(sse(*CHAT, "[DONE]")), "api.openai.com"),
        "chat-whole": call("/v1/chat/completions", {**CHAT_ASK, "stream": False}, response(json.dumps(CHAT_WHOLE))),
        "chat-gzip": call("/v1/chat/completions", CHAT_ASK, chunked([gzip.compress("".join(sse(*CHAT)).encode(), mtime=0)], fields="content-encoding: gzip\r\n")),
        "responses": call("/v1/responses", RESPONSES_ASK, chunked(sse(*RESPONSES, name=True)), "api.openai.com"),
        "anthropic": call("/v1/messages", MESSAGES_ASK, chunked(sse(*MESSAGES, name=True)), "api.anthropic.com"),
        "overloaded": 2 * call("/v1/messages", MESSAGES_ASK, response(json.dumps(MESSAGES_ERROR), status="529 Overloaded")),
        "gemini": call(GENERATE_ASK["path"] + "?alt=sse", GENERATE_ASK, chunked(sse(*GENERATE)), "generativelanguage.googleapis.com"),
        "gemini-array": call(GENERATE_ASK["path"], GENERATE_ASK, chunked([json.dumps(GENERATE)], "application/json"), "generativelanguage.googleapis.com"),
        "converse": call(CONVERSE_ASK["path"], CONVERSE_ASK, chunked(aws_frames, "application/vnd.amazon.eventstream"), "bedrock-runtime.us-east-1.amazonaws.com"),
        "cohere": call("/v2/chat", COHERE_ASK, chunked(sse(*COHERE, name=True)), "api.cohere.com"),
        "ollama": call("/api/chat", OLLAMA_ASK, chunked([json.dumps(line) + "\n" for line in OLLAMA], "application/x-ndjson"), "localhost:11434"),
        "embeddings": call("/v1/embeddings", EMBED_ASK, response(json.dumps(EMBED))),
        "mcp": [part for n in (0, 3, 5) for part in call("/mcp", MCP[n], response(json.dumps(MCP[n + 1])))],
        "mcp-sse": call("/mcp", MCP[3], chunked(sse(MCP[4]))),
        "h2": http2_parts,
        "upgrade": http1_cases["upgrade"],
    }
    for name, parts in cases.items():
        put("dialog", name, OPEN + pieces(*parts) + CLOSE)
    (ask, answer) = cases["chat"]
    put("dialog", "gap", OPEN + pieces(ask, (PEER, answer[1][:400])) + gap(PEER, 60) + pieces((PEER, answer[1][460:])))
    put("dialog", "cut-off", OPEN + pieces(ask, (PEER, answer[1][:400])) + SHUTDOWN)
    put("dialog", "late", pieces((PEER, answer[1][90:]), ask, answer))


def redact():
    secret = "sk-" + "ant-api03-" + "Ab1" * 31 + "-AA"
    aws_key = "AKIA" + "Q7XMPL2RTS5VNB4C"
    texts = {
        "header": f"x-api-key\n{secret}",
        "bearer": "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlMTIzNDU2Nzg5MA\r\ncookie: sid=0123456789abcdef0123\r\n",
        "json": json.dumps({"api_key": secret, "password": "hunter2hunter2", "text": f"use {aws_key}", "n": 1}),
        "escaped": json.dumps(json.dumps({"token": "ghp_" + "a1B2" * 9})),
        "url": "GET /a?access_token=ya29.a0AfH6SMBx-abcdefghij&x=1 HTTP/1.1 postgres://user:pa55w0rd@db/x",
        "pem": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQ==\n-----END PRIVATE KEY-----\n",
        "env": f"OPENAI_API_KEY='sk-proj-{'Zx9' * 16}'\nexport DB_PASSWORD=\"correct horse\"\n",
        "prose": "The tokens=3 case (see x-axis) needs work: \u00e9\u00e8\u4e2d\u6587.",
    }
    for name, text in texts.items():
        for cut in (0, 6, 255):
            put("redact", f"{name}-{cut}", bytes([cut]) + text.encode())


if __name__ == "__main__":
    bodies()
    dialog(http1(), http2_seeds())
    dialects()
    redact()
    semantics()
    websocket()
