"""A server of the Model Context Protocol, by the official SDK (its first or its second version), with tools that do things.

    mcp_server.py LOG

Each request that it carries out is a JSON line of LOG: its number, and what it was asked.
"""

import json
import subprocess
import sys

try:
    from mcp.server.mcpserver import Context, MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import Context, FastMCP as Server

server = Server("things")


def note(context, **asked):
    with open(sys.argv[1], "a") as log:
        print(json.dumps({"id": context.request_id, **asked}), file=log)


@server.tool()
def run(command: str, context: Context) -> str:
    """Runs a command."""
    note(context, tool="run", command=command)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


@server.tool()
def keep(path: str, content: str, context: Context) -> str:
    """Writes a file."""
    note(context, tool="keep", path=path)
    with open(path, "w") as file:
        file.write(content)
    return "kept"


server.run(transport="stdio")
