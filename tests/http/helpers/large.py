"""A server over pipes whose calls are answered with so many bytes.

usage: large.py BYTES
"""

import json
import sys

TOOLS = [{"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}]
OPENED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "large", "version": "1"},
}
LARGE = {"content": [{"type": "text", "text": "x" * int(sys.argv[1])}]}
RESULTS = {"initialize": OPENED, "tools/list": {"tools": TOOLS}, "tools/call": LARGE}

for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": RESULTS[message["method"]]}
        print(json.dumps(answer), flush=True)
