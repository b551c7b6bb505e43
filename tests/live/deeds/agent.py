"""A small agent: asks a model what to do, does it, and tells the model what came of it, until nothing more is wanted.

    agent.py URL CA
"""

import http.client
import json
import ssl
import subprocess
import sys
import urllib.parse

URL, CA = urllib.parse.urlparse(sys.argv[1]), sys.argv[2]
CONTEXT = ssl.create_default_context(cafile=CA)
NAMES = ("Bash", "Write", "Fetch")
TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in NAMES]


def connect():
    return http.client.HTTPSConnection(URL.hostname, URL.port, context=CONTEXT)


def ask(messages):
    question = {"model": "claude-sonnet-4-5", "max_tokens": 100, "tools": TOOLS, "messages": messages}
    connection = connect()
    connection.request("POST", "/v1/messages", json.dumps(question), {
        "content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "not-a-real-key"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["content"]


def do(name, arguments):
    if name == "Bash":
        done = subprocess.run(arguments["command"], shell=True, capture_output=True, text=True)
        return done.stdout + done.stderr
    if name == "Write":
        with open(arguments["file_path"], "w") as file:
            file.write(arguments["content"])
        return "written"
    connection = connect()
    connection.request("GET", arguments["url"])
    status = connection.getresponse().status
    connection.close()
    return f"status {status}"


messages = [{"role": "user", "content": "please do it"}]
while True:
    said = ask(messages)
    messages.append({"role": "assistant", "content": said})
    wanted = [part for part in said if part["type"] == "tool_use"]
    if not wanted:
        break
    results = [{"type": "tool_result", "tool_use_id": part["id"], "content": do(part["name"], part["input"])}
               for part in wanted]
    messages.append({"role": "user", "content": results})
print(" ".join(part["text"] for part in said if part["type"] == "text"))
