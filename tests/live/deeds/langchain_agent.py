"""An agent of LangChain, with tools of its own and, through LangChain's adapters, those of a server of MCP.

    langchain_agent.py URL SERVER WORD...

URL speaks like OpenAI; SERVER is a program that speaks MCP, run with these words.
"""

import asyncio
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langchain_openai import ChatOpenAI


@tool
def run_command(command: str) -> str:
    """Runs a command."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    return done.stdout + done.stderr


@tool
def write_file(path: str, content: str) -> str:
    """Writes a file."""
    Path(path).write_text(content)
    return "written"


@tool
def edit_file(path: str, old: str, new: str) -> str:
    """Changes a file."""
    Path(path).write_text(Path(path).read_text().replace(old, new))
    return "edited"


@tool
def read_file(path: str) -> str:
    """Reads a file."""
    return Path(path).read_text()


@tool
def fetch(url: str) -> str:
    """Fetches a page."""
    with urllib.request.urlopen(url) as answer:
        return f"status {answer.status} {answer.read().decode()}"


async def main():
    model = ChatOpenAI(model="gpt-5", base_url=f"{sys.argv[1]}/v1", api_key="sk-not-a-real-key")
    things = {"command": sys.argv[2], "args": sys.argv[3:], "transport": "stdio", "env": dict(os.environ)}
    client = MultiServerMCPClient({"things": things})
    async with client.session("things") as session:
        tools = [run_command, write_file, edit_file, read_file, fetch, *await load_mcp_tools(session)]
        agent = create_agent(model, tools)
        question = {"messages": [{"role": "user", "content": "please do it"}]}
        answer = await agent.ainvoke(question, {"recursion_limit": 200})
    print(answer["messages"][-1].content)


asyncio.run(main())
