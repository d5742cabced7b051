# SPDX-License-Identifier: Apache-2.0
"""A machine with Open vSwitch and a data plane that plugs ports into it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l3agent.model.states import NamespaceState, Port, Report
from l3agent.model.wire import pack_state, unpack_report
from l3agent.testing import wait_until
from tests.support.openvswitch import OpenVSwitch
from tests.support.processes import Dataplane, last_lines
from tests.support.sandbox import Sandbox, SandboxError
from tests.support.states import key, namespace, new_id, port, route, router


@dataclass
class Node:
    """The machine; what it runs can be killed and started again."""

    sandbox: Sandbox
    ovs: OpenVSwitch
    dataplane: Dataplane

    def reconcile(self, state: NamespaceState) -> Report:
        """Bring a router about, or not."""
        (report,) = self.dataplane.reconcile((key(state), state))
        return report

    def build(self, state: NamespaceState) -> tuple[str, ...]:
        """Bring a router about and return what that took."""
        report = self.reconcile(state)
        assert report.error is None, (report.error, last_lines(self.dataplane.log))
        return report.operations

    def ask(self, *states: NamespaceState) -> list[int]:
        """Ask for routers, each by itself, and wait for no answer; return the numbers."""
        return [self.dataplane.send("reconcile", {"states": [pack_state(key(one), one)]}) for one in states]

    def answer(self, number: int) -> Report:
        """Return what became of one that was asked for."""
        return unpack_report(self.dataplane.answer(number)[0])

    def remove(self, state: NamespaceState) -> Report:
        """Remove a router."""
        (report,) = self.dataplane.reconcile((key(state), None))
        return report

    def inventory(self) -> list[str]:
        """Return the ids of the routers that are there."""
        return list(self.dataplane.request("inventory", {})["router"])

    def switch_stats(self) -> dict[str, Any]:
        """Return what the data plane says of the switch."""
        return dict(self.dataplane.request("stats", {})["switch"])

    def device(self, state: NamespaceState, one: Port) -> dict[str, Any]:
        """Return a device of a router as ``ip`` shows it, an empty one where there is none."""
        try:
            links = self.sandbox.json("ip -j -d link show", netns=namespace(state))
        except SandboxError:
            links = []
        return next((link for link in links if link["ifname"] == one.device), {"flags": []})

    def identity(self, state: NamespaceState, one: Port) -> tuple[str, int]:
        """Return what is another one for a port, or a device, that is made anew."""
        return self.ovs.row("Port", one.device)["_uuid"], self.device(state, one)["ifindex"]

    def is_right(self, state: NamespaceState, one: Port) -> bool:
        """Tell whether a port and its device are as they should be."""
        try:
            ids = self.ovs.row("Interface", one.device)["external_ids"]
            tag = self.ovs.row("Port", one.device)["tag"]
        except SandboxError:
            return False
        right = one.device in self.ovs.ports() and (ids.get("iface-id"), ids.get("attached-mac")) == (one.id, one.mac)
        device = self.device(state, one)
        return right and tag != [] and "LOWER_UP" in device["flags"] and device["address"] == one.mac

    def generation(self) -> int:
        """Return how many changes of the configuration there were."""
        return int(self.ovs.vsctl("get", "Open_vSwitch", ".", "next_cfg"))

    def machine(
        self, name: str, bridge: str, address: str, *, vlan: int | None = None, gateway: str | None = None
    ) -> None:
        """Make a namespace that stands for a machine, with a port of its own."""
        self.sandbox.run(["ip", "netns", "add", name])
        tag = [f"tag={vlan}"] if vlan else []
        self.ovs.vsctl("add-port", bridge, name, *tag, "--", "set", "Interface", name, "type=internal")
        self.plug(name, address, gateway)

    def plug(self, name: str, address: str, gateway: str | None = None) -> None:
        """Move the port of a machine into its namespace."""
        inside = ["ip", "-n", name]
        wait_until(lambda: name in {link["ifname"] for link in self.sandbox.json("ip -j link show")}, timeout=20)
        self.sandbox.run(["ip", "link", "set", name, "netns", name])
        self.sandbox.run([*inside, "link", "set", name, "up"])
        self.sandbox.run([*inside, "address", "add", address, "dev", name])
        if gateway:
            self.sandbox.run([*inside, "route", "add", "default", "via", gateway])

    def plug_again(self, name: str, address: str, gateway: str | None = None) -> None:
        """Replace the device of a machine by the one that a new ovs-vswitchd made."""
        self.sandbox.run(["ip", "-n", name, "link", "delete", name])
        self.plug(name, address, gateway)

    def pings(self, name: str, address: str, tries: int = 20) -> bool:
        """Tell whether a machine reaches an address."""
        for _ in range(tries):
            with contextlib.suppress(SandboxError):
                self.sandbox.run(["ping", "-c", "1", "-W", "1", address], netns=name)
                return True
        return False


@contextlib.contextmanager
def a_node(**options: object) -> Iterator[Node]:
    """Have a running node.

    :param options: of the group ``DEFAULT`` for the data plane.
    """
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    try:
        with Sandbox() as sandbox:
            ovs = OpenVSwitch(sandbox, folder)
            ovs.start()
            groups = {
                "DEFAULT": {"interface_driver": "openvswitch", **options},
                "OVS": {"ovsdb_connection": ovs.remote, "ovsdb_timeout": 6},
            }
            dataplane = Dataplane(sandbox, folder, groups)
            dataplane.start()
            yield Node(sandbox, ovs, dataplane)
            dataplane.hang_up()
            print(dataplane.log.read_text(errors="replace"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def a_router(*, fips: Sequence[str] = ("203.0.113.100",)) -> tuple[NamespaceState, Port, Port]:
    """Return a router with its port inside and its gateway."""
    inner = port(new_id(), "10.0.0.1/24", "2001:db8:1::1/64", mtu=1450)
    gateway = port(new_id(), "203.0.113.10/24", gateway=True)
    routes = [route("0.0.0.0/0", (gateway, "203.0.113.1"))]
    mappings = {fip: f"10.0.0.{5 + number}" for number, fip in enumerate(fips)}
    return router(inner, gateway=gateway, routes=routes, fips=mappings), inner, gateway
