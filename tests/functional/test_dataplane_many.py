# SPDX-License-Identifier: Apache-2.0
"""Routers with more than one message of netlink, or one send, can hold."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.support.processes import Dataplane
from tests.support.states import floating_ips, key, namespace, new_id, port, route, router

pytestmark = pytest.mark.kernel

#: One attribute of 65535 bytes holds 2340 elements of a map, and 1820 edges of the journal.
_FLOATING_IPS = 2400
#: What 8 MiB hold of deletes of flows.
_FLOWS = 105_000


def mapped(machine: Dataplane, name: str) -> int:
    return machine.sandbox.run(["nft", "list", "map", "ip", "l3agent", "floating_dnat"], netns=name).count(" : 10.0.")


def test_thousands_of_floating_ips_come_and_go(machine: Dataplane) -> None:
    inner, gateway = port(new_id(), "10.0.0.1/16"), port(new_id(), "203.0.113.10/24", gateway=True)
    one, other = int(IPv4Address("198.18.0.0")), int(IPv4Address("10.0.1.0"))
    fips = {str(IPv4Address(one + n)): str(IPv4Address(other + n)) for n in range(_FLOATING_IPS)}
    state = router(inner, gateway=gateway, routes=[route("0.0.0.0/0", (gateway, "203.0.113.1"))], fips=fips)
    for mappings in (fips, {}, fips):
        wanted = replace(state, floating_ips=floating_ips(mappings))
        assert machine.reconcile((key(state), wanted))[0].error is None
        assert mapped(machine, namespace(state)) == len(mappings)
        journal = machine.sandbox.run(["nft", "list", "set", "ip", "l3agent", "pending_flush"], netns=namespace(state))
        assert "floating_dnat" not in journal
    assert machine.reconcile((key(state), None))[0].error is None


def test_the_flows_of_a_busy_network_end_with_it(machine: Dataplane) -> None:
    going, staying = port(new_id(), "10.0.0.1/16"), port(new_id(), "10.1.0.1/16")
    state = router(going, staying)
    assert machine.reconcile((key(state), state))[0].error is None
    rows = (
        f"-I -s 10.0.{n >> 8 & 255}.{n & 255} -d 10.1.0.9 -p udp --sport {n >> 16} --dport 7 -t 600\n"
        for n in range(1 << 16, (1 << 16) + _FLOWS)
    )
    name = namespace(state)
    machine.sandbox.run(["conntrack", "-R", "-"], netns=name, input="".join(rows), timeout=120)
    assert flows(machine, name) >= _FLOWS
    (report,) = machine.reconcile((key(state), replace(state, ports=frozenset({staying}))))
    assert report.error is None
    assert flows(machine, name) < 100
    machine.reconcile((key(state), None))


def flows(machine: Dataplane, name: str) -> int:
    return int(machine.sandbox.run(["conntrack", "-C"], netns=name))
