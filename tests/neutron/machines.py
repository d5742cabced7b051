# SPDX-License-Identifier: Apache-2.0
"""Instances and the world outside, as namespaces: plugged as Nova does it, wired by the real L2 agent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.neutron.bed import Bed
from tests.neutron.cloud import EXTERNAL_CIDR, Member
from tests.neutron.openvswitch import EXTERNAL_BRIDGE
from tests.support.sandbox import SandboxError
from tests.support.traffic import Traffic
from tests.support.waiting import poll

INTEGRATION_BRIDGE = "br-int"
OUTSIDE = "outside"
_WIRED_S = 120


class Machines:
    """Makes namespaces on the bridges of a bed, and speaks from one to the other."""

    def __init__(self, bed: Bed, traffic: Traffic) -> None:
        self._bed = bed
        self._traffic = traffic
        self._made: dict[str, tuple[str, str]] = {}

    def instance(self, port: Member, subnet: Member) -> str:
        """Start the instance of a port; return the name of its namespace when the L2 agent has wired it."""
        device = f"tap{port['id'][:11]}"
        ids = {"iface-id": port["id"], "iface-status": "active", "attached-mac": port["mac_address"]}
        settings = [f'external_ids:{key}="{value}"' for key, value in ids.items()]
        address = f"{port['fixed_ips'][0]['ip_address']}/{subnet['cidr'].partition('/')[2]}"
        name = f"vm-{port['id'][:8]}"
        self._plug(name, INTEGRATION_BRIDGE, device, address, settings, mac=port["mac_address"])
        self._bed.sandbox.run(["ip", "route", "add", "default", "via", subnet["gateway_ip"]], netns=name)
        poll(lambda: self._bed.rest.get("ports", port["id"])["status"] == "ACTIVE", _WIRED_S)
        return name

    def outside(self) -> str:
        """Start the machine that is the gateway of the external network; return its namespace."""
        network, _, length = EXTERNAL_CIDR.partition("/")
        self._plug(OUTSIDE, EXTERNAL_BRIDGE, "outside0", f"{network.removesuffix('0')}1/{length}", [])
        return OUTSIDE

    def wait_reaches(self, machine: str, to: str) -> None:
        """Wait until a connection comes about."""
        poll(lambda: self._traffic.reaches(machine, to), _WIRED_S)

    def close(self) -> None:
        """End all machines."""
        for name, (bridge, device) in self._made.items():
            with contextlib.suppress(SandboxError):
                self._bed.ovs.vsctl("--if-exists", "del-port", bridge, device)
            self._bed.sandbox.run(["ip", "netns", "delete", name])

    def _plug(
        self, name: str, bridge: str, device: str, address: str, settings: list[str], mac: str | None = None
    ) -> None:
        sandbox = self._bed.sandbox
        sandbox.run(["ip", "netns", "add", name])
        self._made[name] = bridge, device
        self._bed.ovs.vsctl("add-port", bridge, device, "--", "set", "Interface", device, "type=internal", *settings)
        sandbox.run(["ip", "link", "set", device, "netns", name])
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["ip", "link", "set", device, *(["address", mac] if mac else []), "up"],
            ["ip", "address", "add", address, "dev", device],
        ):
            sandbox.run(command, netns=name)
        self._traffic.listen(name)


@contextlib.contextmanager
def machines_on(bed: Bed) -> Iterator[tuple[Machines, Traffic]]:
    """Machines for the time of a block, and who speaks for them."""
    with Traffic(bed.sandbox) as traffic:
        machines = Machines(bed, traffic)
        try:
            yield machines, traffic
        finally:
            machines.close()
