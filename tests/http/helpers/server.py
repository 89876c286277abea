"""An MCP server over Streamable HTTP, of both eras, with what conformance asks for.

usage: server.py PORT_FILE [stdio]

Writes the port it got to PORT_FILE; with `stdio` it serves pipes instead.
"""

import asyncio
import base64
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import AudioContent, ImageContent, SamplingMessage, TextContent, ToolAnnotations

server = MCPServer("conformance")
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
SILENCE = base64.b64encode(b"RIFF" + bytes(40)).decode()


@server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
def test_simple_text() -> str:
    return "This is a simple text response for testing."


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
def remove_everything() -> str:
    return "removed"


@server.tool()
def test_image_content() -> ImageContent:
    return ImageContent(type="image", data=PIXEL, mime_type="image/png")


@server.tool()
def test_audio_content() -> AudioContent:
    return AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")


@server.tool()
def test_error_handling() -> str:
    raise ValueError("This tool intentionally returns an error for testing")


@server.tool()
async def test_tool_with_progress(context: Context) -> str:
    for step in (0, 50, 100):
        await context.report_progress(step, 100)
        await asyncio.sleep(0.01)
    return "done"


@server.tool()
async def test_tool_with_logging(context: Context) -> str:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(line)
        await asyncio.sleep(0.01)
    return "done"


@server.tool()
async def test_sampling(prompt: str, context: Context) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    result = await context.session.create_message([message], max_tokens=10)
    return f"LLM response: {result.content.text}"


@server.tool()
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


@server.tool()
def long_text(length: int) -> str:
    return "x" * length


@server.resource("test://static-text")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.prompt()
def test_simple_prompt() -> str:
    return "This is a simple prompt for testing."


async def main():
    if len(sys.argv) > 2:
        await server.run_stdio_async()
        return
    listener = socket.create_server(("127.0.0.1", 0))
    app = server.streamable_http_app()
    serving = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with open(sys.argv[1], "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    await serving.serve(sockets=[listener])


asyncio.run(main())
