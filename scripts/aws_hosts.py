#!/usr/bin/env python3
"""Makes `src/action/aws_hosts.rs`: where the services of AWS are whose host is not
their endpoint's prefix and a region, or that sign by another name than that.

What SDKs are told their endpoint by may be the prefix (`api.ecr`) or the name of the
client (`ecr`); both lead to where botocore's rules say. One place for the world is
told from one a region by asking for two regions.

In China and in GovCloud hosts are the same but for their domain; `ELSEWHERE` has those
of the services there that are not.

    pip install botocore
    python3 scripts/aws_hosts.py
"""

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.session import get_session

TARGET = Path(__file__).resolve().parent.parent / "src/action/aws_hosts.rs"
REGIONS = ("eu-west-1", "ap-south-1")

# What regions of other partitions begin with, the partition, and two of them.
AREAS = (
    ("cn-", "aws-cn", ("cn-north-1", "cn-northwest-1")),
    ("us-gov-", "aws-us-gov", ("us-gov-west-1", "us-gov-east-1")),
)

# As `action::aws::DOMAINS`.
DOMAINS = (
    (".amazonaws.com", ".amazonaws.com.cn"),
    (".api.aws", ".api.amazonwebservices.com.cn"),
)


class Place:
    """Where a service is."""

    def __init__(self, rules: EndpointProvider, region: str, model):
        flags = set(rules.ruleset.parameters) & {"UseFIPS", "UseDualStack"}
        found = rules.resolve_endpoint(Region=region, **dict.fromkeys(flags, False))
        scheme = (found.properties.get("authSchemes") or [{}])[0]
        self.host = found.url.removeprefix("https://")
        self.signs = scheme.get("signingName", model.signing_name)
        self.region = scheme.get("signingRegion", region)


def place(rules: EndpointProvider, regions: tuple[str, str], model):
    """The host with `{}` for a region, and what it signs by and for, the latter empty where
    that is the region; `None` where it takes more than a region to find it."""
    try:
        one, other = (Place(rules, region, model) for region in regions)
    except EndpointProviderError:
        return None
    if not one.host.endswith(tuple(domain for pair in DOMAINS for domain in pair)) or "/" in one.host:
        return None
    region = one.region if one.region == other.region else ""
    host = one.host if one.host == other.host else one.host.replace(regions[0], "{}")
    return host, one.signs, region


def clients():
    """Each client's name and prefix, its rules, and its model."""
    session = get_session()
    loader = session.get_component("data_loader")
    partitions = loader.load_data("partitions")
    for client in session.get_available_services():
        rules = EndpointProvider(loader.load_service_model(client, "endpoint-rule-set-1"), partitions)
        yield session, client, rules, session.get_service_model(client)


def places():
    """By the prefix, and by the client's name: where it is."""
    named, called = {}, {}
    for _, client, rules, model in clients():
        if found := place(rules, REGIONS, model):
            named.setdefault(model.endpoint_prefix, found)
            called[client] = found
    return named, called


def elsewhere():
    """What in other partitions is not where it would be looked for."""
    rows = {}
    for session, client, rules, model in clients():
        usual = place(rules, REGIONS, model)
        for area, partition, regions in AREAS:
            found = place(rules, regions, model)
            is_there = session.get_available_regions(client, partition, allow_non_regional=True)
            if not (usual and found and is_there) or found == (in_area(usual[0], area), *usual[1:]):
                continue
            for name in (model.endpoint_prefix, client):
                rows[area, name] = found
    return [(*key, *found) for key, found in sorted(rows.items())]


def in_area(host: str, area: str) -> str:
    """The same host in another partition, as `action::aws::in_area` has it."""
    for usual, chinese in DOMAINS:
        if area == "cn-" and host.endswith(usual):
            return host.removesuffix(usual) + chinese
    return host


def services(prefixes: dict) -> dict[str, str]:
    """The prefix of each service, by its host without region and domain."""
    bare = {
        re.sub(r"(\.\{\}|\.[a-z]+-[a-z]+-\d)?\.(amazonaws\.com|api\.aws)$", "", host): prefix
        for prefix, (host, *_) in prefixes.items()
    }
    return {service: prefix for service, prefix in bare.items() if service != prefix}


def main() -> None:
    named, clients = places()
    found = {**clients, **named}
    usual = {name: (f"{name}.{{}}.amazonaws.com", name, "") for name in found}
    others = elsewhere()
    rows = [(name, *found[name]) for name in sorted(found) if found[name] != usual[name]]
    lines = [
        f"//! Made by `scripts/aws_hosts.py` from botocore {version('botocore')}; do not edit.",
        "",
        "/// A service by the name that SDKs are told it by, its host with `{}` for the region, and",
        "/// what requests to it are signed by and for; for the host's region where that is empty.",
        "pub(super) const HOSTS: &[[&str; 4]] = &[",
        *("    [" + ", ".join(f'"{text}"' for text in row) + "]," for row in rows),
        "];",
        "",
        "/// The same in other partitions, behind what their regions begin with: only what is not",
        "/// where it would be looked for.",
        "pub(super) const ELSEWHERE: &[[&str; 5]] = &[",
        *("    [" + ", ".join(f'"{text}"' for text in row) + "]," for row in others),
        "];",
        "",
    ]
    TARGET.write_text("\n".join(lines))
    subprocess.run(["rustfmt", "--edition", "2024", str(TARGET)], check=True)
    print(f"{TARGET.name}: {len(rows)} and {len(others)} rows")


if __name__ == "__main__":
    main()
