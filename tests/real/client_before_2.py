"""A scripted session with the Python SDK before 2.0, which knows only handshakes.

usage: client_before_2.py PLAN URL
       client_before_2.py PLAN COMMAND [ARGUMENT]...

PLAN is that of client.py, with `together`: calls that are made at once, and
`cancelled`: a call that is given up. Prints what the server answered, one JSON
value a line.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from pydantic import AnyUrl


async def said(asked):
    try:
        return (await asked).model_dump(mode="json", by_alias=True, exclude_none=True)
    except McpError as error:
        return {"error": error.error.message, "code": error.error.code}


def show(question, answer):
    print(json.dumps([question, answer]), flush=True)


async def serve(read, write):
    plan = json.loads(sys.argv[1])
    steps = []
    logged = []

    async def progress(done, total, _message):
        steps.append([done, total])

    async def log(params):
        logged.append(params.data)

    async with ClientSession(read, write, logging_callback=log) as client:
        begun = await client.initialize()
        show("version", begun.protocolVersion)
        show("server", begun.serverInfo.name)
        show("instructions", begun.instructions)
        show("capabilities", begun.capabilities.model_dump(exclude_none=True))
        show("ping", await said(client.send_ping()))
        if begun.capabilities.logging is not None:
            show("level", await said(client.set_logging_level("info")))
        show("tools", await said(client.list_tools()))
        show("prompts", await said(client.list_prompts()))
        show("resources", await said(client.list_resources()))
        show("subscribe", await said(client.subscribe_resource(AnyUrl("note://one"))))
        for tool, arguments in plan.get("calls", []):
            called = client.call_tool(tool, arguments, progress_callback=progress)
            show(tool, await said(called))
        show("progress", steps)
        show("logged", logged)
        together = [client.call_tool(*call) for call in plan.get("together", [])]
        for answer in await asyncio.gather(*map(said, together)):
            show("together", answer)
        for prompt, arguments in plan.get("prompts", []):
            show(prompt, await said(client.get_prompt(prompt, arguments)))
        for uri in plan.get("resources", []):
            show(uri, await said(client.read_resource(AnyUrl(uri))))
        for tool, arguments in plan.get("cancelled", []):
            number = client._request_id
            call = asyncio.create_task(said(client.call_tool(tool, arguments)))
            while not plan_began(plan):
                await asyncio.sleep(0.01)
            params = types.CancelledNotificationParams(requestId=number, reason="enough")
            notification = types.CancelledNotification(params=params)
            await client.send_notification(types.ClientNotification(notification))
            while not plan_cancelled(plan):
                await asyncio.sleep(0.01)
            call.cancel()
            show("cancelled", "arrived")


def plan_began(plan):
    return "wait {" in arrived(plan)


def plan_cancelled(plan):
    return "wait was cancelled" in arrived(plan)


def arrived(plan):
    if not os.path.exists(plan["arrived"]):
        return ""
    with open(plan["arrived"], encoding="utf-8") as file:
        return file.read()


async def main():
    command, *arguments = sys.argv[2:]
    if command.startswith("http"):
        async with streamablehttp_client(command) as (read, write, _):
            await serve(read, write)
        return
    server = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
    async with stdio_client(server) as (read, write):
        await serve(read, write)


asyncio.run(asyncio.wait_for(main(), 50))
