# SPDX-License-Identifier: Apache-2.0
"""A topology file with the gateways of hosting providers: ``fe80::1``, and an address outside a /32."""

from __future__ import annotations

from pathlib import Path

import pytest

from l3agent.model.names import namespace_name
from l3agent.standalone.hosts import simulated_states
from l3agent.standalone.router_payload import router_payload
from l3agent.standalone.topology import load
from l3agent.testing import wait_until
from tests.support.processes import Dataplane
from tests.support.states import bridge, desired_namespace

pytestmark = pytest.mark.kernel

_TOPOLOGY = """
networks:
  public:
    external: true
    subnets:
      pub4: {cidr: 203.0.113.7/32, gateway: 198.51.100.1}
      pub6: {cidr: "2001:db8:f::/64", gateway: "fe80::1"}
  blue: {subnets: {blue4: {cidr: 10.0.0.0/24}, blue6: {cidr: "2001:db8:1::/64"}}}
routers:
  r1: {gateway: {network: public, addresses: [203.0.113.7, "2001:db8:f::10"]}, interfaces: [blue4, blue6]}
hosts:
  vm1: {network: blue, addresses: [10.0.0.5, "2001:db8:1::5"]}
  other: {network: public, addresses: ["2001:db8:f::20"]}
"""
#: The provider's router has the addresses of the gateways, and others behind them.
_PROVIDER = """
ip netns add provider
ip link add provider0 type veth peer name eth0 netns provider
ip link set provider0 master BRIDGE up
ip -n provider link set lo up
ip -n provider link set eth0 up
ip -n provider address add 198.51.100.1/32 dev eth0
ip -n provider address add fe80::1/64 dev eth0 nodad
ip -n provider address add 192.0.2.1/32 dev lo
ip -n provider address add 2001:db8:99::1/128 dev lo
ip -n provider route add 203.0.113.7/32 dev eth0
ip -n provider route add 2001:db8:f::/64 dev eth0
ip -n provider route add 2001:db8:1::/64 via 2001:db8:f::10
"""


@pytest.mark.feature("router.off-subnet-gateway")
def test_traffic_leaves_by_the_gateways_of_hosting_providers(dataplane: Dataplane, folder: Path) -> None:
    path = folder / "topology.yaml"
    path.write_text(_TOPOLOGY)
    topology = load(path)
    (router,) = topology.routers
    state = desired_namespace(router_payload(router, host="node1", status=lambda _: "DOWN"))
    states = {("router", router.id): state, **simulated_states(topology)}
    reports = dataplane.reconcile(*states.items())
    assert [report.error for report in reports] == [None] * len(states)
    assert router.gateway is not None
    dataplane.sandbox.run(["sh", "-ec", _PROVIDER.replace("BRIDGE", bridge(router.gateway.network.id))])
    for machine, to in (("vm1", "192.0.2.1"), ("vm1", "2001:db8:99::1"), ("other", "2001:db8:99::1")):
        wait_until(lambda machine=machine, to=to: reaches(dataplane, machine, to), timeout=30)
    assert [report.operations for report in dataplane.reconcile(*states.items())] == [()] * len(states)


def reaches(dataplane: Dataplane, machine: str, to: str) -> bool:
    command = ["sh", "-c", f"ping -c 1 -W 1 {to} || :"]
    return "bytes from" in dataplane.sandbox.run(command, netns=namespace_name("host", machine))
