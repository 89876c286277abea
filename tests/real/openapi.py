"""Holds /openapi.json of a running gate to what the gate answers.

usage: openapi.py BASE MASTER_KEY

Every operation of the document is called, once so that it works and once
without the key; every answer has a status that the document names for the
operation and, where it is JSON, a body that fits the schema it gives.
"""

import json
import sys

import httpx
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

BASE, KEY = sys.argv[1:]
POLICY = "name: fits\nrules:\n  - {effect: allow, intent: read}\n"

# What makes each operation that takes something work: a query, a body.
CALLS = {
    "POST /agents": ("", {"name": "fits", "policy": "read_only", "provider": "github"}),
    "POST /agents/{agent_id}/rotate-key": ("?grace=1m", None),
    "POST /policies": ("", {"yaml": POLICY}),
    "PUT /policies/{name}": ("", {"yaml": POLICY}),
    "GET /audit/logs": ("?limit=5&pretty=true", None),
    "GET /audit/export": ("?limit=5", None),
    "POST /audit/purge": ("?retention_days=3650", None),
    "POST /l3/resolve/{id}": ("", {"resolution": "a read"}),
    "POST /mcp/servers": ("", {"name": "fits", "url": "https://mcp.example/"}),
}
NAMES = {"agent_id": "fits", "name": "fits", "id": "1"}


def main():
    document = httpx.get(f"{BASE}/openapi.json").raise_for_status().json()
    assert document["openapi"].startswith("3.1"), document["openapi"]
    registry = Registry().with_resource(
        "urn:doc", Resource.from_contents(document, default_specification=DRAFT202012)
    )
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    # What removes comes last.
    operations.sort(key=lambda it: (it[0] == "DELETE", it[0] == "GET", it[1]))
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    worked = 0
    for method, path, operation in operations:
        query, body = CALLS.get(f"{method} {path}", ("", None))
        url = BASE + path.format(**NAMES) + query
        for headers in ({"X-Master-Key": KEY}, {}):
            answer = httpx.request(method, url, json=body, headers=headers)
            where = f"{method} {path} -> {answer.status_code}"
            expected = 200 if headers or not operation["security"] else 401
            assert answer.status_code == expected, f"{where}: {answer.text}"
            check(document, method, path, answer, registry)
            worked += 1
        for bad in refused(method, url, operation):
            where = f"{method} {path} -> {bad.status_code}"
            assert bad.status_code in (400, 404, 422), f"{where}: {bad.text}"
            check(document, method, path, bad, registry)
    print(f"{len(operations)} operations, {worked} answers fit")


def refused(method, url, operation):
    """Answers to what is not well-formed."""
    headers = {"X-Master-Key": KEY}
    if "requestBody" in operation:
        yield httpx.request(method, url, content="{", headers=headers)
        yield httpx.request(method, url, content="[1]", headers=headers)
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
        yield httpx.request(method, url.split("?")[0] + "?nonsense=1", headers=headers)


def check(document, method, path, answer, registry):
    where = f"{method} {path} -> {answer.status_code}"
    responses = document["paths"][path][method.lower()]["responses"]
    status = str(answer.status_code)
    assert status in responses, f"{where}: not in the document"
    content = responses[status].get("content", {})
    kind = answer.headers["content-type"].split(";")[0]
    assert kind in content, f"{where}: {kind} is not in the document: {list(content)}"
    if kind == "application/json":
        # By its place in the document, so that what it refers to is found.
        parts = ["paths", path, method.lower(), "responses", status, "content", kind, "schema"]
        place = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
        schema = {"$ref": "urn:doc#" + place.replace("{", "%7B").replace("}", "%7D")}
        Draft202012Validator(schema, registry=registry).validate(json.loads(answer.text))


if __name__ == "__main__":
    main()
