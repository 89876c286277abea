"""A scripted session with the Python SDK.

usage: client.py MODE PLAN COMMAND [ARGUMENT]...
       client.py MODE PLAN URL

MODE is `legacy` or `auto` (`auto` probes with `server/discover` first). PLAN is
JSON: {"calls": [[TOOL, ARGUMENTS]...], "prompts": [[NAME, ARGUMENTS]...],
"resources": [URI...]}. Prints what the server answered, one JSON value a line.
"""

import asyncio
import json
import sys

import mcp.client.session
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters

# A server may take longer to start where a machine has more to do, and the SDK would
# take it for one of the older era.
mcp.client.session.DISCOVER_TIMEOUT_SECONDS = 60


async def sample(_context, _params):
    content = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def elicit(_context, _params):
    return types.ElicitResult(action="accept", content={"name": "Ada", "check": True})


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///srv/project", name="project")])


async def say(question, asked):
    """Prints the answer to one question; an error is an answer too."""
    try:
        answer = (await asked).model_dump(mode="json", by_alias=True, exclude_none=True)
    except MCPError as error:
        answer = {"error": str(error)}
    print(json.dumps([question, answer]), flush=True)


async def progress(_done, _total, _message):
    """Asked for, so that it passes the wire; when it is delivered is the SDK's affair."""


async def main():
    mode, plan, command, *arguments = sys.argv[1:]
    plan = json.loads(plan)
    server = StdioServerParameters(command=command, args=arguments)
    if command.startswith("http"):
        server = command
    async with Client(
        server,
        mode=mode,
        sampling_callback=sample,
        elicitation_callback=elicit,
        list_roots_callback=roots,
    ) as client:
        offers = client.server_capabilities
        print(json.dumps(["version", client.protocol_version]), flush=True)
        if offers.tools:
            await say("tools", client.list_tools())
        if offers.prompts:
            await say("prompts", client.list_prompts())
        if offers.resources:
            await say("resources", client.list_resources())
            await say("templates", client.list_resource_templates())
        for tool, arguments in plan.get("calls", []):
            await say(tool, client.call_tool(tool, arguments, progress_callback=progress))
        for prompt, arguments in plan.get("prompts", []):
            await say(prompt, client.get_prompt(prompt, arguments))
        for uri in plan.get("resources", []):
            await say(uri, client.read_resource(uri))


asyncio.run(main())
