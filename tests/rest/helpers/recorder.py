"""An upstream that writes down what arrives: one JSON object a line.

usage: recorder.py FILE      prints its port

Answers whatever each SDK needs to go on: JSON that is an object, a list, or
what the path asks for.
"""
import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OUT = open(sys.argv[1], "a", buffering=1)
USER = {"id": 1, "login": "octo", "name": "mock"}


def answer(method, path, host):
    if path.startswith("/api/"):
        return 200, {"ok": True, "channels": [], "members": []}
    if path.endswith("/issues") and path.startswith("/repos"):
        return 200, [{"id": 1, "number": 1, "title": "one", "url": f"http://{host}{path}/1"}]
    if path.startswith("/repos"):
        repo = {"id": 1, "name": "b", "full_name": "a/b", "owner": USER}
        return 200, {**repo, "url": f"http://{host}{path}"}
    if path.startswith("/v1/databases") or path.startswith("/v1/search"):
        return 200, {"object": "list", "results": [], "has_more": False, "next_cursor": None}
    if "/query" in path:
        return 200, {"totalSize": 0, "done": True, "records": []}
    if path.startswith("/calendar"):
        return 200, {"kind": "calendar#events", "items": []}
    return 200, {"results": [], "values": [], "items": [], "id": "1"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def any(self):
        length = self.headers.get("content-length")
        if length is not None:
            body = self.rfile.read(int(length))
        elif self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            body = b""
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        OUT.write(json.dumps({
            "method": self.command, "target": self.path, "headers": headers,
            "body": base64.b64encode(body).decode(),
        }) + "\n")
        path = self.path.split("?")[0]
        status, value = answer(self.command, path, self.headers["host"])
        kind, text = "application/json", json.dumps(value).encode()
        if "list-type=2" in self.path:
            kind, text = "application/xml", b"<ListBucketResult><Name>bucket</Name></ListBucketResult>"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = any

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
