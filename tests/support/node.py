# SPDX-License-Identifier: Apache-2.0
"""The node itself: what no tenant and no client of the data plane may change in its own network namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.sandbox import Sandbox

#: What a kernel counts or changes by itself.
_VOLATILE = re.compile(
    r"net\.netfilter\.nf_conntrack_(count|buckets)|\.(conf|neigh)\.[^.]+\.(mc_forwarding|stable_secret)"
)
_OF_DEVICE = re.compile(r"net\.(?:ipv4|ipv6|mpls)\.(?:conf|neigh)\.(\S+)\.\w+ = ")

_PARTS = ("addresses", "routes", "rules", "nftables", "sysctls")
_NEXT = "--- next\n"
#: The status of the last one is that of keys that can only be written.
_COMMANDS = f"""
ip -o address | sed 's/^[0-9]*: //; s/ valid_lft .*//'; printf -- '{_NEXT}'
ip -4 route show table all; ip -6 route show table all; printf -- '{_NEXT}'
ip -4 rule; ip -6 rule; printf -- '{_NEXT}'
nft -s list ruleset; printf -- '{_NEXT}'
sysctl -a -r '^net[.]' 2>/dev/null || :
"""

Facts = dict[str, set[str]]


def node_facts(sandbox: Sandbox) -> Facts:
    """Return the addresses, routes, rules and settings of the namespace of the node.

    Addresses and routes have their device with them: devices of the data plane must have none. Settings are those of
    the node as a whole and of loopback devices; those of other devices come and go with them.
    """
    parts = sandbox.run(["sh", "-c", _COMMANDS]).split(_NEXT)
    found = {name: set(part.splitlines()) - {""} for name, part in zip(_PARTS, parts, strict=True)}
    found["sysctls"] = {line for line in found["sysctls"] if not _VOLATILE.search(line) and _is_of_the_node(line)}
    return found


def _is_of_the_node(setting: str) -> bool:
    named = _OF_DEVICE.match(setting)
    return named is None or named[1] in ("all", "default", "lo")


@contextmanager
def unchanged_node(sandbox: Sandbox) -> Iterator[None]:
    """Check that a block leaves the node's own addresses, routes, rules and settings as they were."""
    before = node_facts(sandbox)
    yield
    assert differences(before, node_facts(sandbox)) == []


def differences(before: Facts, after: Facts) -> list[str]:
    """Return what came and went."""
    return [
        f"{name}: {sign} {line}"
        for name in before
        for sign, lines in (("-", before[name] - after[name]), ("+", after[name] - before[name]))
        for line in sorted(lines)
    ]
