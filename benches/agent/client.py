"""An agent for the bench, as client.mjs, in Python.

    python3 client.py PORT CERT REQUESTS EVENTS PAUSE-MS
"""

import http.client
import json
import ssl
import sys
import time


def main():
    port, certificate, requests, events, pause = sys.argv[1:]
    context = ssl.create_default_context(cafile=certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context)
    print("ready", flush=True)
    sys.stdin.readline()
    start, used = time.perf_counter(), time.process_time()
    moved = 0
    for number in range(int(requests)):
        moved += ask(connection, number, int(events), pause)
    print(f"bytes {moved}")
    print(f"seconds {time.perf_counter() - start}")
    print(f"cpu_seconds {time.process_time() - used}")


def prompt(number):
    line = "fn parse_port(text: &str) -> Result<u16> { text.parse() }\n"
    content = line * (-(-(number % 5 + 1) * 20_000 // len(line)))
    wish = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": content}]}
    return json.dumps(wish).encode()


def ask(connection, number, events, pause):
    body = prompt(number)
    path = f"/?events={events}&pause={pause}"
    connection.request("POST", path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    got, deltas, text = 0, 0, ""
    for line in response:
        got += len(line)
        if not line.startswith(b"data: "):
            continue
        event = json.loads(line[len(b"data: ") :])
        if event["type"] == "content_block_delta":
            deltas += 1
            text += event["delta"]["text"]
    if deltas != events or not text.endswith(" "):
        sys.exit(f"{deltas} events came")
    return len(body) + got


if __name__ == "__main__":
    main()
