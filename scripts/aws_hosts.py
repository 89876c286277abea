#!/usr/bin/env python3
"""Makes `src/action/aws_hosts.rs`: where the services of AWS are whose host is not
their endpoint's prefix and a region, or that sign by another name than that.

What SDKs are told their endpoint by may be the prefix (`api.ecr`) or the name of the
client (`ecr`); both lead to where botocore's rules say. One place for the world is
told from one a region by asking for two regions.

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


class Place:
    """Where a service is."""

    def __init__(self, rules: EndpointProvider, region: str, model):
        flags = set(rules.ruleset.parameters) & {"UseFIPS", "UseDualStack"}
        found = rules.resolve_endpoint(Region=region, **dict.fromkeys(flags, False))
        scheme = (found.properties.get("authSchemes") or [{}])[0]
        self.host = found.url.removeprefix("https://")
        self.signs = scheme.get("signingName", model.signing_name)
        self.region = scheme.get("signingRegion", region)


def places():
    """By the prefix, and by the client's name: host with `{}` for a region, and what it signs
    by and for, the latter empty where that is the region."""
    session = get_session()
    loader = session.get_component("data_loader")
    partitions = loader.load_data("partitions")
    named, clients = {}, {}
    for client in session.get_available_services():
        model = session.get_service_model(client)
        rules = EndpointProvider(loader.load_service_model(client, "endpoint-rule-set-1"), partitions)
        try:
            one, other = (Place(rules, region, model) for region in REGIONS)
        except EndpointProviderError:
            # It takes more than a region to find it.
            continue
        if not one.host.endswith((".amazonaws.com", ".api.aws")) or "/" in one.host:
            continue
        host = one.host.replace(REGIONS[0], "{}")
        region = one.region if one.region == other.region else ""
        named.setdefault(model.endpoint_prefix, (host, one.signs, region))
        clients[client] = (host, one.signs, region)
    return named, clients


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
    ]
    TARGET.write_text("\n".join(lines))
    subprocess.run(["rustfmt", "--edition", "2024", str(TARGET)], check=True)
    print(f"{TARGET.name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
