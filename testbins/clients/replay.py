#!/usr/bin/env python3
"""Asks again what was recorded: of a server on this machine, whatever the address says.

    replay.py PORT PLAN

PLAN has one JSON line for each question: `client` (`requests`, `httpx` for HTTP/1.1, `httpx-h2`), `method`, `url`, `target`,
`headers`, `body` (base64) and the `status` that is to come. The packages are found by PYTHONPATH. Ends with 1 if an answer
has another status.
"""

import base64
import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import requests
import urllib3

PORT = int(sys.argv[1])
AT_ONCE = 3
resolve = socket.getaddrinfo


def here(host, port, *rest, **more):
    return resolve("127.0.0.1", PORT, *rest, **more)


class Requests:
    """One session for each thread."""

    def __init__(self):
        self.own = threading.local()

    def ask(self, one, body):
        if not hasattr(self.own, "session"):
            self.own.session = requests.Session()
            self.own.session.verify = False
            self.own.session.trust_env = False
            self.own.session.headers.clear()
        request = requests.Request(one["method"], one["url"], headers=one["headers"], data=body or None)
        prepared = self.own.session.prepare_request(request)
        prepared.url = one["url"]
        with self.own.session.send(prepared, stream=True, allow_redirects=False) as answer:
            for _ in answer.raw.stream(512, decode_content=False):
                pass
            return answer.status_code


class Httpx:
    def __init__(self, http2):
        self.client = httpx2.Client(http1=not http2, http2=http2, verify=False, trust_env=False, timeout=60)

    def ask(self, one, body):
        extensions = {"target": one["target"].encode()}
        with self.client.stream(
            one["method"], one["url"], headers=one["headers"], content=body or None, extensions=extensions
        ) as answer:
            for _ in answer.iter_raw():
                pass
            return answer.status_code


def play(clients, one):
    try:
        status = clients[one["client"]].ask(one, base64.b64decode(one["body"]))
    except Exception as error:
        status = repr(error)
    if status != one["status"]:
        print(f"{one['client']} {one['method']} {one['url']}: {status} instead of {one['status']}", flush=True)
    return status == one["status"]


def main():
    socket.getaddrinfo = here
    urllib3.disable_warnings()
    clients = {"requests": Requests(), "httpx": Httpx(False), "httpx-h2": Httpx(True)}
    with open(sys.argv[2]) as plan:
        questions = [json.loads(line) for line in plan]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        went_well = list(pool.map(lambda one: play(clients, one), questions))
    return 0 if all(went_well) else 1


sys.exit(main())
