"""An upstream that writes down what arrives: one JSON object a line, which says
whether the body was as long as announced.

usage: recorder.py FILE [UPLOADS]      prints its port

Answers whatever each SDK needs to go on: JSON that is an object, a list, or
what the path asks for. UPLOADS is what pre-authenticated URLs begin with, in
place of the recorder itself. The variable PORT says where it listens.
"""
import base64
import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OUT = open(sys.argv[1], "a", buffering=1)
USER = {"id": 1, "login": "octo", "name": "mock"}
SECRET = "sEcReT"
SOON = "2099-01-01T00:00:00Z"
# Where the vendors keep files; a gate in front puts these hosts elsewhere.
BUCKET = "https://storage.googleapis.com/uploads.linear.app/stored"
NOTIONS = f"https://prod-files-secure.s3.us-west-2.amazonaws.com/stored/f?X-Amz-Signature={SECRET}"
HUBSPOTS = f"https://1.cdnp1.hubspotusercontent-na1.net/stored/f?Expires=1&Signature={SECRET}"
ACTIONS = f"https://productionresultssa7.blob.core.windows.net/stored/log?sig={SECRET}"
MEDIA = f"https://api.media.atlassian.com/stored/1/binary?token={SECRET}"
# A file that looks like an answer.
FILE = {"url": "https://api.github.com/x", "upload_url": "https://files.slack.com/upload/v1/x"}


def answer(method, target, host, headers, body):
    """The status, a value or bytes, and more headers."""
    path, _, query = target.partition("?")
    here = f"http://{host}"
    uploads = sys.argv[2] if len(sys.argv) > 2 else here
    if path.startswith("/api/files.getUploadURLExternal"):
        return 200, {"ok": True, "file_id": "F1", "upload_url": f"{uploads}/upload/v1/{SECRET}?t={SECRET}"}
    if "/stored/" in path:
        return 200, FILE
    if path.endswith("/cookies"):
        browsers = {"set-cookie": "session=1; Path=/", "alt-svc": "h3=\":443\"", "clear-site-data": "\"*\""}
        return 200, {}, {**browsers, "location": "/v1/next", "x-kept": "1"}
    if path.startswith("/files-pri/"):
        return 302, b"", {"location": f"https://files-origin.slack.com/stored{path}?t={SECRET}"}
    if path.startswith("/api/files.info"):
        file = {name: f"https://files.slack.com/files-pri/T1-F1/{name}" for name in
                ("url_private", "url_private_download", "thumb_64", "mp4")}
        # What others wrote asks to be followed, too.
        file["initial_comment"] = {"upload_url": f"https://files.slack.com/upload/v1/{SECRET}",
                                   "url": "https://evil.example/x"}
        return 200, {"ok": True, "file": {"id": "F1", "permalink": "https://acme.slack.com/files/F1", **file}}
    if path.endswith("/children"):
        file = {"type": "file", "file": {"url": NOTIONS, "expiry_time": SOON}}
        other = {"type": "external", "external": {"url": NOTIONS.replace("prod-files-secure", "evil")}}
        return 200, {"object": "list", "has_more": False, "next_cursor": None, "results": [
            {"object": "block", "id": "1", "type": "file", "file": file},
            {"object": "block", "id": "2", "type": "image", "image": other}]}
    if path.startswith("/files/v3/files/"):
        return 200, {"url": HUBSPOTS, "expiresAt": SOON, "name": "f", "extension": "json", "size": 1, "type": "OTHER"}
    if path.endswith("/contents/c"):
        return 200, {"type": "file", "name": "c", "path": "c", "sha": "s", "size": 1, "encoding": "base64", "content": "",
                     "url": f"{here}{path}", "html_url": "https://github.com/a/b/blob/main/c",
                     "download_url": f"https://raw.githubusercontent.com/stored/c?token={SECRET}"}
    if path.endswith("/logs"):
        return 302, b"", {"location": ACTIONS}
    if path.startswith("/repos/a/b/tarball"):
        return 302, b"", {"location": f"https://codeload.github.com/stored/b?token={SECRET}"}
    if path.endswith("/attachments") and method == "POST":
        return 200, [{"self": f"{here}/rest/api/2/attachment/1", "id": "1", "filename": "_method", "size": 1}]
    if path == "/files/v3/files":
        return 201, {"id": "1", "access": "PRIVATE", "archived": False, "createdAt": SOON, "updatedAt": SOON}
    if "/attachment/content/" in path:
        return 303, b"", {"location": MEDIA}
    if path.startswith("/rest/api/2/attachment/"):
        content = f"{here}/rest/api/2/attachment/content/1"
        return 200, {"self": f"{here}{path}", "id": "1", "filename": "a.json", "content": content}
    if path == "/drive/v3/files/f2":
        return 200, {"id": "f2", "thumbnailLink": "https://lh3.googleusercontent.com/stored/f=s220"}
    if path.startswith("/graphql") and b"fileUpload" in body:
        named = "uploadUrl" if b"uploadUrl\n" in body or b"uploadUrl\\n" in body else "u"
        file = {named: f"{BUCKET}/f?X-Goog-Signature={SECRET}", "assetUrl": "https://uploads.linear.app/stored/f",
                "contentType": "text/plain", "filename": "a.txt", "size": 5, "headers": [], "metaData": None}
        return 200, {"data": {"fileUpload": {"success": True, "lastSyncId": 1, "uploadFile": file}}}
    if path.startswith("/api/files.completeUploadExternal"):
        return 200, {"ok": True, "files": [{"id": "F1", "title": "t"}]}
    if path.startswith("/upload/v1/"):
        return 200, b"OK - 5", {"content-type": "text/plain"}
    if path.endswith("/createUploadSession"):
        return 200, {"uploadUrl": f"{uploads}/_api/up?guid={SECRET}", "expirationDateTime": SOON,
                     "nextExpectedRanges": ["0-"]}
    if path == "/_api/up":
        first, last, size = headers["content-range"].removeprefix("bytes ").replace("/", "-").split("-")
        if int(last) + 1 == int(size):
            return 201, {"id": "1", "@microsoft.graph.downloadUrl": f"{uploads}/_api/down?t={SECRET}"}
        return 202, {"expirationDateTime": SOON, "nextExpectedRanges": [f"{int(last) + 1}-{int(size) - 1}"]}
    if path == "/_api/down" or "alt=media" in query:
        # A file that looks like an answer.
        return 200, ('{"url": "%s/x"}' % here).encode()
    if path == "/rate_limit":
        return 200, {}, {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999"}
    if path == "/v1.0/me/events":
        return 200, {"value": []}, {"ratelimit-limit": "10000", "ratelimit-remaining": "9999"}
    if path == "/v1.0/me/messages":
        page = int(query.rpartition("page=")[2] or 1)
        more = {"@odata.nextLink": f"{here}{path}?page={page + 1}"} if page < 3 else {}
        return 200, {"value": [{"id": f"m{page}"}], **more}
    if path.startswith("/upload/drive"):
        if method == "POST" and "uploadType=resumable" in query:
            return 200, b"", {"location": f"{here}{target}&upload_id={SECRET}"}
        return 200, {"id": "f1", "selfLink": f"{here}/drive/v3/files/f1"}
    if path.startswith("/batch/"):
        ids = re.findall(rb"Content-ID: *<([^>]+)>", body, re.I)
        part = "--b\r\nContent-Type: application/http\r\nContent-ID: <response-%s>\r\n\r\n" \
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"id\": \"e\"}\r\n"
        text = "".join(part % one.decode() for one in ids) + "--b--"
        return 200, text.encode(), {"content-type": "multipart/mixed; boundary=b"}
    if path.startswith("/rest/api") and path.endswith("/search"):
        start = int(re.findall(r"startAt=(\d+)", target)[0])
        issue = {"id": str(start), "key": f"X-{start}", "self": f"{here}/rest/api/2/issue/{start}", "fields": {}}
        return 200, {"startAt": start, "maxResults": 1, "total": 3, "issues": [issue]}
    if path.startswith("/graphql"):
        viewer = {"id": "u1", "name": "me", "__typename": "User"}
        return 200, {"data": {"viewer": viewer, "issueCreate": {"success": True, "lastSyncId": 1}}}
    if path.startswith("/v1/file_uploads"):
        return 200, {"object": "file_upload", "id": "u", "status": "pending", "upload_url": f"{here}/v1/file_uploads/u/send"}
    if path.startswith("/api/"):
        return 200, {"ok": True, "channels": [], "members": []}
    if path.endswith("/issues") and path.startswith("/repos") and method == "GET":
        page = int((re.findall(r"[?&]page=(\d+)", target) or [1])[0])
        link = {"link": f'<{here}{path}?page={page + 1}>; rel="next", <{here}{path}?page=3>; rel="last"'}
        issue = {"id": page, "number": page, "title": "one", "url": f"{here}{path}/{page}"}
        return 200, [issue], link if page < 3 else {}
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


def in_xml(target, method, body):
    """What S3 and the services that take forms answer."""
    if "list-type=2" in target:
        return "<ListBucketResult><Name>bucket</Name></ListBucketResult>"
    if target.startswith("/bucket/"):
        if "uploads" in target:
            return "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>"
        return "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
    if target == "/2013-04-01/hostedzone":
        return "<ListHostedZonesResponse><HostedZones/></ListHostedZonesResponse>"
    if action := re.search(rb"Action=(\w+)", body):
        name = action[1].decode()
        return f"<{name}Response><{name}Result></{name}Result></{name}Response>"
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def read_body(self):
        """The body, and whether it came to its end."""
        length = self.headers.get("content-length")
        if length is not None:
            body = self.rfile.read(int(length))
            return body, len(body) == int(length)
        body = b""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0] or b"-1", 16):
                if size < 0:
                    return body, False
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        return body, True

    def any(self):
        body, whole = self.read_body()
        if self.path.startswith("/stalls/half"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf")
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        OUT.write(json.dumps({
            "method": self.command, "target": self.path, "headers": headers,
            "body": base64.b64encode(body).decode(), "whole": whole,
        }) + "\n")
        if self.path.startswith("/stalls/"):
            threading.Event().wait()
        if not whole:
            self.close_connection = True
            return
        status, value, *more = answer(self.command, self.path, self.headers["host"], self.headers, body)
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        more = {"content-type": "application/json", **(more[0] if more else {})}
        if xml := in_xml(self.path, self.command, body):
            more["content-type"], text = "application/xml", xml.encode()
            if self.command == "PUT":
                more["etag"] = '"e"'
        if protocol := self.headers.get("smithy-protocol"):
            # An empty map in CBOR.
            more = {"content-type": "application/cbor", "smithy-protocol": protocol}
            text = b"\xa0"
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = any

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 0))), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
