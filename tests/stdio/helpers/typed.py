"""A server on the Python SDK that says which of its calls do what a policy forbids.

usage: typed.py RECORD

Its tool `act` takes each argument by its type and then as such servers do. For each
call it writes a line to RECORD: the names of the arguments that came to mean what is
forbidden, or nothing. Forbidden are branch `main`, owner `acme`, count 22, force true,
tags with `prod`, recipient `evil`, files in `/etc`.
"""

import os
import sys
import unicodedata
from email.utils import getaddresses
from typing import Any
from urllib.parse import unquote, urlparse

try:
    from mcp.server.fastmcp import FastMCP
except ImportError:
    from mcp.server.mcpserver import MCPServer as FastMCP

server = FastMCP("typed")
os.environ["HOME"] = "/home/me"


def plain(text):
    return unicodedata.normalize("NFC", text).strip()


def real(path):
    return os.path.normpath("/" + path.strip().strip("\"'").lstrip("/")) if path else ""


def whole(value):
    for read in (int, lambda text: int(text, 0), float):
        try:
            return int(read(value))
        except (ValueError, TypeError, OverflowError):
            pass
    return None


@server.tool()
def act(
    branch: str = "",
    owner: str = "",
    count: int = 0,
    loose: Any = None,
    force: bool = False,
    tags: list[str] = [],
    to: str | list[str] = "",
    uri: str = "",
    path: str = "",
    file: str = "",
    rel: str = "",
    home: str = "",
    mail: str = "",
    labels: list[str] = [],
    name: str = "",
) -> str:
    forbidden = {
        "branch": plain(branch) == "main",
        "owner": owner.lower() == "acme",
        "count": count == 22,
        "loose": loose is not None and not isinstance(loose, (list, dict)) and whole(loose) == 22,
        "force": force,
        "tags": "prod" in tags,
        "to": "evil" in ([to] if isinstance(to, str) else to),
        "path": real(path).startswith("/etc/"),
        "rel": os.path.normpath(rel.strip() or ".").startswith("secrets/"),
        "home": os.path.normpath(os.path.expanduser(home)).startswith("/home/me/.ssh/"),
        "mail": "evil@x.org" in [address for _, address in getaddresses([mail.replace(";", ",")])],
        "labels": "prod" in [label.lower() for label in labels],
        "name": plain(name) == "main",
        "file": real(file).startswith("/etc/"),
        "uri": urlparse(uri).scheme == "file" and unquote(urlparse(uri).path).startswith("/etc/"),
    }
    with open(sys.argv[1], "a", encoding="utf-8") as record:
        record.write(" ".join(name for name, is_so in forbidden.items() if is_so) + "\n")
    return "done"


server.run("stdio")
