#!/usr/bin/env python3
"""Asks a mock LLM server on connections that are kept, when it is told to.

    phases.py URL h1|h2 CONNECTIONS

Each line on stdin is an order, and is answered with `done`: a number: so many calls, on all connections in turn; `begin`: a
streamed call, up to the first piece of its answer; `rest`: what is left of that. Ends with stdin. Every call asks something
of its own; the certificate is trusted by SSL_CERT_FILE, the packages are found by PYTHONPATH.
"""

import itertools
import sys

import httpx2

URL, VERSION, CONNECTIONS = sys.argv[1], sys.argv[2], int(sys.argv[3])
numbers = itertools.count()


def question():
    """Path and body of the next call."""
    number = next(numbers)
    asks = f"Question {number}: {'é' * (number % 50)}?"
    base = {"model": "phases-1", "stream": number % 2 == 0, "messages": [{"role": "user", "content": asks}]}
    return [
        ("/v1/chat/completions", base),
        ("/v1/messages", {**base, "max_tokens": 1000}),
        ("/v1/responses", {"model": "phases-1", "stream": number % 8 == 2, "input": asks}),
        ("/v1/embeddings", {"model": "phases-1", "input": [asks]}),
    ][number % 4]


def main():
    clients = [
        httpx2.Client(http1=VERSION == "h1", http2=VERSION == "h2", trust_env=True, timeout=60)
        for _ in range(CONNECTIONS)
    ]
    turns = itertools.cycle(clients)
    pieces = iter(())
    for order in sys.stdin:
        match order.strip():
            case "begin":
                asks = [{"role": "user", "content": "Say much."}]
                body = {"model": "phases-1", "stream": True, "messages": asks}
                request = clients[0].build_request("POST", URL + "/v1/chat/completions", json=body)
                pieces = clients[0].send(request, stream=True).iter_raw()
                next(pieces)
            case "rest":
                list(pieces)
            case count:
                for _ in range(int(count)):
                    path, body = question()
                    next(turns).post(URL + path, json=body).raise_for_status()
        print("done", flush=True)


main()
