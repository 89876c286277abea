"""A small MCP server that writes down every byte it receives before it acts on it.

usage: recorder.py RECORD

RECORD is created when the server starts, so it also tells whether it did. Its
tools answer `done`, but `echo`, which answers its `text`, and `wait`, which never
answers. Other requests get an empty result; what is no JSON object with an id
gets nothing.
"""

import json
import os
import sys

TOOLS = [
    {"name": "read_note", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "write_note", "inputSchema": {"type": "object"}},
    {"name": "delete_note", "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": True}},
    {"name": "echo", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "wait", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
]


def result_of(method, params):
    if method == "initialize":
        return {
            "protocolVersion": params.get("protocolVersion"),
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "recorder", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        text = params["arguments"]["text"] if params["name"] == "echo" else "done"
        return {"content": [{"type": "text", "text": text}]}
    return {}


def main():
    record = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while line := sys.stdin.buffer.readline():
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(record, rest) :]
        try:
            message = json.loads(line)
            params = message.get("params") or {}
            if "id" not in message or "method" not in message or params.get("name") == "wait":
                continue
            result = result_of(message["method"], params)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            continue
        reply = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
        sys.stdout.write(reply + "\n")
        sys.stdout.flush()


main()
