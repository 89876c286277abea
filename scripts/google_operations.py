#!/usr/bin/env python3
"""Makes `src/intent/providers/google_table.rs` from Google's discovery documents.

An operation that a read-only OAuth scope (`….readonly`, `….read-only`, …) is
enough for reads. A scope is about privilege, though, not about effect: some
that keep a watch or make a copy ask for no more. So an operation other than a
GET needs both, the scope and a verb that reads; and a GET that a read-only
scope is not enough for, in an API that has one, writes only where its verb
does not read or where it hands out a secret.

    pip install google-api-python-client
    python3 scripts/google_operations.py
"""

import json
import re
from importlib import resources
from pathlib import Path

from operation_table import Operation, rows, template, write

READ_ONLY = re.compile(r"readonly|read-only|read_only|\.read$")

# First words of method names whose POST, given a read-only scope, reads.
VERBS = """aggregate check compare compute count download embed explain fetch find get hash inspect
    list lookup poll predict query report resolve retrieve roll search tail test validate wait""".split()

# The same for whole names.
NAMES = """admob.accounts.campaignReport.generate admob.accounts.mediationReport.generate
    admob.accounts.networkReport.generate
    analyticsadmin.accounts.runAccessReport analyticsadmin.properties.runAccessReport
    cloudbilling.generateInsights health.users.dataTypes.dataPoints.dailyRollUp
    monitoring.projects.location.prometheus.api.v1.labels
    monitoring.projects.location.prometheus.api.v1.series
    tagmanager.accounts.containers.workspaces.folders.entities""".split()

# `runReport`, `batchRunReports`, `runRealtimeReport`, `runPivotReport`
REPORTS = re.compile(r"^analyticsdata\.(.*\.)?(batchR|r)un\w*Reports?$")

# Runs SQL, which may write; starts work that writes its result somewhere.
WRITES_ALL_THE_SAME = {"query": {"bigquery.jobs.query"}, "predict": {"predictLongRunning"}}

# First words of custom verbs that ask and change nothing, whoever's they are.
ASKING = """calculate check compare compute count discover estimate explain fetch find get inspect list lookup
    query read retrieve search translate validate wait""".split()

# First words of GETs that do something.
GETS_THAT_WRITE = ["generate", "move"]

# Questions about one's own rights, or about what is under way, whatever the scope.
OPEN_TO_ALL = ["getIamPolicy", "testIamPermissions", "wait"]

# First words of custom verbs that a GET may have without a look at the lexicon.
PLAIN = "access check compute count export fetch find get list lookup query read search summarize".split()

# The same that hand out a secret.
GIVING = "access fetch get retrieve show".split()
HANDED_OUT = {"credential", "credentials", "password", "secret", "token"}

# Does something, in the vendor's words: what they begin with, and where an answer goes.
DOES = re.compile(
    r"\W*(Adds?|Cancels?|Creates?|Deletes?|Marks?|Moves?|Removes?|Revokes?|Sends?|Starts?|Updates?|Writes?)\b"
)
WRITES_TO = re.compile(r"\bwrites? (it|them|the \w+) to\b")

SECRET = re.compile(r"Token|Credential|Secret|Password|verificationCodes", re.I)


def documents():
    root = Path(str(resources.files("googleapiclient"))) / "discovery_cache" / "documents"
    for file in sorted(root.glob("*.json")):
        document = json.loads(file.read_text())
        if "rootUrl" in document:
            yield document


def methods(resource):
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from methods(inner)


def words(name: str) -> list[str]:
    found = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)
    many = found[:1] == ["batch"] or found[:1] == ["bulk"]
    return [word.lower() for word in found[many:]]


def has_reading_verb(method_id: str) -> bool:
    name = method_id.rsplit(".", 1)[-1]
    if any(method_id in ids or name in ids for ids in WRITES_ALL_THE_SAME.values()):
        return False
    return words(name)[0] in VERBS or method_id in NAMES or bool(REPORTS.match(method_id))


def reads(method, api_has_read_only: bool) -> bool | None:
    """What the vendor says; `None` where it says nothing that can be used."""
    name = method["id"].rsplit(".", 1)[-1]
    is_get = method["httpMethod"] == "GET"
    description = method.get("description", "")
    if not is_get and (DOES.match(description) or WRITES_TO.search(description)):
        return False
    if any(READ_ONLY.search(scope) for scope in method.get("scopes", [])):
        return True if is_get or has_reading_verb(method["id"]) else None
    if is_get and DOES.match(description):
        return False
    if not (api_has_read_only and method.get("scopes")):
        return None
    if is_get:
        return False if words(name)[0] in GETS_THAT_WRITE or SECRET.search(name) else None
    return None if name in OPEN_TO_ALL else False


def by_rule(http_method: str, path: str) -> bool | None:
    """As `google::get` and `google::post_reads`, as far as they can be foreseen."""
    last = path.rsplit("/", 1)[-1]
    verb = last.partition(":")[2]
    if http_method == "GET":
        if verb and words(verb)[0] in GIVING and HANDED_OUT & set(words(verb)[1:]):
            return False
        return True if not verb or words(verb)[0] in PLAIN else None
    if http_method != "POST":
        return False
    # A name that the caller makes up may look like a custom verb.
    if last in ("*", "**"):
        return None
    if "testIamPermissions" in (last, verb):
        return True
    asks = verb and (verb.startswith("batchGet") or re.match("[a-z]*", verb)[0] in ASKING)
    return bool(asks) and not verb.endswith("Token")


def place(method, service_path: str) -> str:
    """The path, its parameters blanked; one that may hold `/` takes the rest."""
    path = template(re.sub("//+", "/", "/" + service_path + method.get("flatPath", method["path"])))
    if by_rule(method["httpMethod"], path) is None and path.endswith("/*"):
        for name, parameter in method.get("parameters", {}).items():
            if parameter["location"] != "path":
                continue
            pattern = parameter.get("pattern", "")
            # RFC 6570, reserved expansion: without a pattern, of any number of segments.
            if pattern == "^.*$" or not pattern and method["path"].endswith(f"{{+{name}}}"):
                path = path.removesuffix("*") + "**"
            elif pattern.endswith("/.*$"):
                # `^projects/[^/]+/databases/[^/]+/documents/.*$`
                head = "/" + pattern.split("/")[-2] + "/"
                path = path.rpartition(head)[0] + head + "**"
    return path


def main() -> None:
    operations = []
    for document in documents():
        host = document["rootUrl"].split("/")[2]
        scopes = document.get("auth", {}).get("oauth2", {}).get("scopes", {})
        api_has_read_only = any(READ_ONLY.search(scope) for scope in scopes)
        for method in methods(document):
            path = place(method, document["servicePath"])
            http_method = method["httpMethod"]
            said, rule = reads(method, api_has_read_only), by_rule(http_method, path)
            if said is None and rule is None and http_method == "POST":
                said = False
            operations.append(Operation(host, http_method, path, said, rule))
    constants = {"ASKING": ("First words of custom verbs that only read.", ASKING)}
    write("google_table.rs", "google_operations.py", ["google-api-python-client"], constants, rows(operations))


if __name__ == "__main__":
    main()
