"""A server of the era of handshakes alone, made with the Python SDK before 2.0.

usage: handshake.py CALLS PORT_FILE   over Streamable HTTP
       handshake.py CALLS stdio       over pipes

Appends a line to CALLS for each tool call that arrives, and for each that is
cancelled.
"""

import json
import os
import socket
import sys

import anyio
import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import ToolAnnotations

server = FastMCP("handshake", instructions="Ask before you remove.", log_level="ERROR")
CALLS, WHERE = sys.argv[1:3]


def note(line):
    with open(CALLS, "a", encoding="utf-8") as file:
        file.write(line + "\n")


@server.tool(annotations=ToolAnnotations(readOnlyHint=True), structured_output=False)
def echo(text: str) -> str:
    note("echo " + json.dumps({"text": text}))
    return f"echo: {text}"


@server.tool(annotations=ToolAnnotations(destructiveHint=True), structured_output=False)
def remove(path: str) -> str:
    note(f"remove {path}")
    return "removed"


@server.tool(structured_output=False)
def fail() -> str:
    note("fail")
    raise ValueError("this tool fails")


@server.tool(structured_output=False)
async def steps(context: Context) -> str:
    note("steps")
    for step in (1, 2):
        await context.report_progress(step, 2)
        await context.info(f"step {step}")
    return "stepped"


@server.tool(structured_output=False)
async def asks(context: Context) -> str:
    note("asks")
    roots = await context.session.list_roots()
    return str(roots)


@server.tool(structured_output=False)
async def wait(seconds: float) -> str:
    note("wait")
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        note("wait was cancelled")
        raise
    return "waited"


@server.resource("note://one")
def one() -> str:
    return "a note"


@server.prompt()
def greet() -> str:
    return "Say hello."


async def main():
    if WHERE == "stdio":
        await server.run_stdio_async()
        return
    listener = socket.create_server(("127.0.0.1", 0))
    app = server.streamable_http_app()
    serving = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with open(WHERE + ".new", "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(WHERE + ".new", WHERE)
    await serving.serve(sockets=[listener])


anyio.run(main)
