"""Turns what a vendor says of its operations into a table of exceptions.

A generic rule judges most operations (`GET` reads, `ListBuckets` reads). What
is written down is only where the vendor says otherwise, where the rule may go
either way, and whatever template could be mistaken for one of those:

    +POST /memories/*/actors      reads, though the rule would not say so
    -GET /keys/*                  writes, though the rule would say it reads
    +POST /policies?List          reads where the query has that parameter
    +AdminListDevices             the same for an operation called by its name

`*` is one segment, `**` is one or more. A row that another template of the
same method contradicts is kept only where every path that fits both is
clearly meant for one of them; otherwise the operation is left to the rule,
unless the rule would call it a read.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Operation(NamedTuple):
    """One operation of one service. `reads` is `None` where nobody says,
    `by_rule` where the rule may go either way."""

    service: str
    method: str
    path: str
    reads: bool | None
    by_rule: bool | None


def template(path: str) -> str:
    """A vendor's path with its parameters blanked: `/a/{id}/b/` to `/a/*/b`."""
    path, mark, query = path.partition("?")
    path = re.sub(r"\{[^}/]*\+\}", "**", path.rstrip("/"))
    return (re.sub(r"\{[^}/]*\}", "*", path) or "/") + mark + query


def overlap(a: str, b: str) -> bool:
    """Whether some path fits both templates."""
    left, right = (t.split("?")[0].split("/") for t in (a, b))
    for x, y in zip(left, right):
        if "**" in (x, y):
            return True
        if not segments_meet(x, y):
            return False
    return len(left) == len(right)


def segments_meet(x: str, y: str) -> bool:
    if "*" not in x and "*" not in y:
        return x == y
    # `*` may be followed by a custom verb: `*:search`.
    x_end, y_end = x.rpartition("*")[2], y.rpartition("*")[2]
    if "*" in x and "*" in y:
        return x_end.endswith(y_end) or y_end.endswith(x_end)
    literal, end = (y, x_end) if "*" in x else (x, y_end)
    return literal.endswith(end)


def more_specific(a: str, b: str) -> bool:
    """Whether `a` is at least as literal as `b` in every segment, and more in one
    or by a query."""
    (a_path, _, a_query), (b_path, _, b_query) = a.partition("?"), b.partition("?")
    left, right = ([weight(s) for s in t.split("/")] for t in (a_path, b_path))
    pairs = [*zip(left, right), (bool(a_query), bool(b_query))]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def weight(segment: str) -> int:
    """As `Pattern::weight` in `providers/table.rs`."""
    if segment == "**":
        return 0
    if "*" not in segment:
        return 3
    return 1 if segment == "*" else 2


def rows(operations: list[Operation]) -> dict[str, list[str]]:
    """The rows of each service."""
    by_place: dict[tuple[str, str], dict[str, list[Operation]]] = defaultdict(lambda: defaultdict(list))
    for operation in operations:
        by_place[operation.service, operation.method][operation.path].append(operation)
    out: dict[str, set[str]] = defaultdict(set)
    for (service, method), paths in by_place.items():
        verdicts = {path: verdict(path_operations) for path, path_operations in paths.items()}
        for path, (reads, by_rule) in verdicts.items():
            if reads is None or reads == by_rule:
                continue
            others = [
                other
                for other, (other_reads, _) in verdicts.items()
                if other != path and other_reads != reads and overlap(path, other)
            ]
            # A doubtful path is no read: leave it to the rule where that writes.
            if any(not more_specific(path, o) and not more_specific(o, path) for o in others):
                if reads:
                    continue
            out[service].add(row(reads, method, path))
            # An escaped colon in a name that the caller makes up is no verb.
            made_up = by_rule is None and path.endswith("*")
            nearer = (o for o in others if more_specific(o, path) and not (made_up and "*:" in o))
            out[service].update(row(verdicts[o][0], method, o) for o in nearer)
    return {service: sorted(found, key=lambda r: r[1:]) for service, found in out.items()}


def verdict(operations: list[Operation]) -> tuple[bool | None, bool | None]:
    """Several operations at one place are told apart by nothing: all must read."""
    by_rule = operations[0].by_rule
    said = [by_rule if o.reads is None else o.reads for o in operations]
    return (False if False in said else None if None in said else True), by_rule


def row(reads: bool | None, method: str, path: str) -> str:
    """Where nobody says, it does not read."""
    sign = "+" if reads else "-"
    return f"{sign}{method} {path}" if method else f"{sign}{path}"


def write(name: str, source: str, packages: list[str], constants: dict[str, list[str]], table: dict[str, list[str]]) -> None:
    """Writes `src/intent/providers/NAME`."""
    versions = " and ".join(f"{package} {version(package)}" for package in packages)
    lines = [
        f"//! Made by `scripts/{source}` from {versions}; do not edit.",
        "",
        "use super::table::Table;",
        "",
    ]
    for constant, (doc, words) in constants.items():
        quoted = ", ".join(f'"{word}"' for word in words)
        lines += [f"/// {doc}", f"pub(in crate::intent) const {constant}: &[&str] = &[{quoted}];", ""]
    lines += ["pub(in crate::intent) static TABLE: Table = Table::new(&["]
    for service in sorted(table):
        lines += [f'    ("{service}", "', *table[service]]
        lines[-1] += '"),'
    lines += ["]);", ""]
    target = ROOT / "src/intent/providers" / name
    target.write_text("\n".join(lines))
    count = sum(map(len, table.values()))
    print(f"{target.relative_to(ROOT)}: {count} rows, {target.stat().st_size} bytes")
    subprocess.run(["rustfmt", "--edition", "2024", str(target)], check=True)
