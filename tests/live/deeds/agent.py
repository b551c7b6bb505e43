"""A small agent: asks a model what to do, does it, and tells the model what came of it, until nothing more is wanted.

    agent.py URL CA [SERVER WORD...]

What an answer wants is done at the same time. SERVER is a program that speaks MCP, run with these words: its tools are
offered as `mcp__things__NAME`.
"""

import http.client
import json
import ssl
import subprocess
import sys
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

URL, CA = urllib.parse.urlparse(sys.argv[1]), sys.argv[2]
CONTEXT = ssl.create_default_context(cafile=CA)
BEFORE = "mcp__things__"
NAMES = ["Bash", "Write", "Edit", "Read", "Fetch"]


class Server:
    """A server of MCP, through its standard input and output."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.last = 0
        self.turn = threading.Lock()
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "agent", "version": "1"}}
        self.ask("initialize", hello)
        self.say({"method": "notifications/initialized"})
        self.names = [tool["name"] for tool in self.ask("tools/list", {})["tools"]]

    def say(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.last += 1
        self.say({"id": self.last, "method": method, "params": params})
        while (answer := json.loads(self.process.stdout.readline())).get("id") != self.last:
            pass
        return answer["result"]

    def call(self, name, arguments):
        with self.turn:
            result = self.ask("tools/call", {"name": name, "arguments": arguments})
        return "".join(part["text"] for part in result["content"])


def connect():
    return http.client.HTTPSConnection(URL.hostname, URL.port, context=CONTEXT)


def ask(messages):
    tools = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in NAMES]
    question = {"model": "claude-sonnet-4-5", "max_tokens": 100, "tools": tools, "messages": messages}
    connection = connect()
    connection.request("POST", "/v1/messages", json.dumps(question), {
        "content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "not-a-real-key"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["content"]


def fetch(url):
    """A page of another host, or by its path alone one of the model's."""
    place = urllib.parse.urlparse(url)
    connection = http.client.HTTPConnection(place.hostname, place.port) if place.hostname else connect()
    connection.request("GET", place.path)
    answer = connection.getresponse()
    text = f"status {answer.status} {answer.read().decode()}"
    connection.close()
    return text


def run(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    return done.stdout + done.stderr


def read(path):
    with open(path) as file:
        return file.read()


def write(path, content):
    with open(path, "w") as file:
        file.write(content)
    return "written"


def do(name, arguments):
    match name:
        case "Bash":
            return run(arguments["command"])
        case "Write":
            return write(arguments["file_path"], arguments["content"])
        case "Edit":
            text = read(arguments["file_path"])
            return write(arguments["file_path"], text.replace(arguments["old_string"], arguments["new_string"]))
        case "Read":
            return read(arguments["file_path"])
        case "Fetch":
            return fetch(arguments["url"])
    return server.call(name.removeprefix(BEFORE), arguments)


server = Server(sys.argv[3:]) if sys.argv[3:] else None
NAMES += [BEFORE + name for name in server.names] if server else []
messages = [{"role": "user", "content": "please do it"}]
with ThreadPoolExecutor() as pool:
    while True:
        said = ask(messages)
        messages.append({"role": "assistant", "content": said})
        wanted = [part for part in said if part["type"] == "tool_use"]
        if not wanted:
            break
        done = pool.map(lambda part: do(part["name"], part["input"]), wanted)
        results = [{"type": "tool_result", "tool_use_id": part["id"], "content": text}
                   for part, text in zip(wanted, done)]
        messages.append({"role": "user", "content": results})
print(" ".join(part["text"] for part in said if part["type"] == "text"))
