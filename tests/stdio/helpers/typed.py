"""A server on the Python SDK that says which of its calls do what a policy forbids.

usage: typed.py RECORD

Its tool `act` takes each argument by its type and then as such servers do. For each
call it writes a line to RECORD: the names of the arguments that came to mean what is
forbidden, or nothing. Forbidden are branch `main`, owner `acme`, count 22, force true,
tags with `prod`, recipient `evil`, files in `/etc` and of the home, sizes above 100, users
below 1000, this machine as a host, a site, and statements that drop a table.
"""

import os
import socket
import sqlite3
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


def address(host):
    """Where it is, as far as the machine knows without asking."""
    try:
        found = socket.getaddrinfo(host.rstrip("."), 80, flags=socket.AI_NUMERICHOST)
        return found[0][4][0].removeprefix("::ffff:")
    except (OSError, UnicodeError, IndexError):
        return ""


def drops(statement):
    database = sqlite3.connect(":memory:")
    database.execute("create table t (a)")
    try:
        database.execute(statement)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        pass
    return not database.execute("select 1 from sqlite_master").fetchall()


def expanded(path):
    path = unquote(urlparse(path).path) if path.startswith("file:") else path
    return os.path.normpath(os.path.expandvars(os.path.expanduser(path)))


def host_of(url):
    """The host of a URL, which may lack its scheme."""
    try:
        url = url.strip()
        return (urlparse(url if "://" in url else f"https://{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""


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
    size: int = 0,
    uid: int = 5000,
    host: str = "",
    net: str = "",
    site: str = "",
    sql: str = "",
    query: str = "",
    dot: str = "",
    keys: str = "",
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
        # As one with 32 bits has them.
        "size": ((size + 2**31) % 2**32) - 2**31 > 100,
        "uid": uid % 2**32 < 1000,
        "host": address(host) == "127.0.0.1",
        "net": address(net).startswith("127.0.0."),
        "site": host_of(site) == "evil.example",
        "sql": drops(sql),
        "query": drops(query),
        "dot": expanded(dot) == "/home/me/.netrc",
        "keys": (expanded(keys) + "/").startswith("/home/me/.ssh/"),
        "file": real(file).startswith("/etc/"),
        "uri": urlparse(uri).scheme == "file" and unquote(urlparse(uri).path).startswith("/etc/"),
    }
    with open(sys.argv[1], "a", encoding="utf-8") as record:
        record.write(" ".join(name for name, is_so in forbidden.items() if is_so) + "\n")
    return "done"


server.run("stdio")
