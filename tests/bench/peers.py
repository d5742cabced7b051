# SPDX-License-Identifier: Apache-2.0
"""The same router made the way Neutron's agent makes it: step by step, each with a process or a socket of its own.

What those agents need besides is left out, to their favour: rootwrap or privsep, arping (a second for each address),
the IPv6 rules. Their bridges are made beforehand, for there the L2 agent makes them.
"""

from __future__ import annotations

import fcntl
import importlib.util
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface
from typing import Any

from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE, device_name, namespace_name
from l3agent.model.states import FloatingIP, Interface, NamespaceState, Port, Route

_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.arp_ignore=1",
    "net.ipv4.conf.all.arp_announce=2",
    "net.ipv6.conf.all.forwarding=1",
    "net.netfilter.nf_conntrack_tcp_be_liberal=1",
    "net.ipv4.ip_nonlocal_bind=0",
)
_TOOLS = ("ip", "sysctl", "iptables-save", "iptables-restore", "ip6tables-save", "conntrack")


class ProcessPerStep:
    """One ``ip`` or ``ip netns exec`` process a step, and the whole rule set by iptables under a file lock."""

    name = "a process a step"
    tribe = 1
    traces = (f"{TAP_DEVICE}{tribe:02x}",)
    leftovers = ()

    @staticmethod
    def missing() -> str | None:
        """Say what it needs and this machine has not."""
        absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def start(self, routers: Iterable[NamespaceState]) -> None:
        """Make the bridges."""
        for name in sorted({_bridge(port) for router in routers for port in router.all_ports()}):
            _run("ip", "link", "add", name, "type", "bridge", "mcast_snooping", "0")
            _run("ip", "link", "set", name, "up")

    def cpu(self) -> float:
        """Return the CPU seconds used so far, those of ended child processes too."""
        both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    # ---- the operations --------------------------------------------------------------------------------------

    def build(self, router: NamespaceState) -> None:
        """Make a router where there is none."""
        namespace = _namespace(router)
        self.make_namespace(namespace)
        for setting in _SYSCTLS:
            _inside(namespace, "sysctl", "-qw", setting)
        self.set_link(namespace, "lo", "up")
        for port in sorted(router.all_ports(), key=lambda port: port.device):
            self._plug(namespace, port)
        for route in router.routes:
            self.replace_route(namespace, route)
        for fip in router.floating_ips:
            self.add_address(namespace, _gateway(router), _host(fip))
        self._apply_rules(router)

    def look(self, router: NamespaceState) -> None:
        """Find that a router is as it should be."""
        namespace = _namespace(router)
        self.list_links(namespace)
        for port in router.all_ports():
            self.list_addresses(namespace, port.device)
        self.list_routes(namespace)
        rules = _inside(namespace, "iptables-save")
        _inside(namespace, "ip6tables-save")
        assert rules.count("-j DNAT") == 2 * len(router.floating_ips), rules

    def add(self, router: NamespaceState, fip: FloatingIP) -> None:
        """Bring one more floating IP; ``router`` has it already."""
        namespace, device = _namespace(router), _gateway(router)
        self._apply_rules(router)
        self.list_addresses(namespace, device)
        self.add_address(namespace, device, _host(fip))

    def remove(self, router: NamespaceState, fip: FloatingIP) -> None:
        """Take one floating IP away with its flows; ``router`` has it no more."""
        namespace, device = _namespace(router), _gateway(router)
        self._apply_rules(router)
        self.list_addresses(namespace, device)
        self.delete_address(namespace, device, _host(fip))
        for direction in ("-d", "-q"):
            # Status 1: there was no flow.
            _inside(namespace, "conntrack", "-D", direction, str(fip.floating), allowed=(0, 1))

    def delete(self, router: NamespaceState) -> None:
        """Delete the devices and the namespace."""
        namespace = _namespace(router)
        for port in router.all_ports():
            self.delete_link(namespace, port.device)
        self.delete_namespace(namespace)

    def _plug(self, namespace: str, port: Port) -> None:
        tap = device_name(TAP_DEVICE, port.id)
        self.add_veth(tap, port.device, namespace)
        self.set_link(namespace, port.device, "address", port.mac)
        self.set_link(namespace, port.device, "mtu", str(port.mtu))
        self.set_link(None, tap, "master", _bridge(port))
        self.set_link(None, tap, "up")
        self.set_link(namespace, port.device, "up")
        self.list_addresses(namespace, port.device)
        for interface in port.addresses:
            self.add_address(namespace, port.device, interface)

    def _apply_rules(self, router: NamespaceState) -> None:
        namespace = _namespace(router)
        with open(f"/run/bench-{namespace}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _inside(namespace, "iptables-save")
            _inside(namespace, "iptables-restore", "-w", "10", text=_rules(router))
            _inside(namespace, "ip6tables-save")

    # ---- the steps -------------------------------------------------------------------------------------------

    def make_namespace(self, name: str) -> None:
        _run("ip", "netns", "add", name)

    def delete_namespace(self, name: str) -> None:
        _run("ip", "netns", "del", name)

    def add_veth(self, tap: str, device: str, namespace: str) -> None:
        _run("ip", "link", "add", tap, "type", "veth", "peer", "name", device, "netns", namespace)

    def set_link(self, namespace: str | None, device: str, *change: str) -> None:
        _inside(namespace, "ip", "link", "set", device, *change)

    def delete_link(self, namespace: str, device: str) -> None:
        _inside(namespace, "ip", "link", "del", device)

    def list_links(self, namespace: str) -> None:
        _inside(namespace, "ip", "-o", "link")

    def list_addresses(self, namespace: str, device: str) -> None:
        _inside(namespace, "ip", "-o", "addr", "show", device)

    def list_routes(self, namespace: str) -> None:
        _inside(namespace, "ip", "-o", "route")
        _inside(namespace, "ip", "-6", "-o", "route")

    def add_address(self, namespace: str, device: str, interface: Interface) -> None:
        broadcast = ["brd", str(_broadcast(interface))] if interface.version == 4 else []
        _inside(namespace, "ip", "addr", "add", str(interface), *broadcast, "dev", device)

    def delete_address(self, namespace: str, device: str, interface: Interface) -> None:
        _inside(namespace, "ip", "addr", "del", str(interface), "dev", device)

    def replace_route(self, namespace: str, route: Route) -> None:
        (hop,) = route.hops
        _inside(namespace, "ip", "route", "replace", str(route.destination), "via", str(hop.via), "dev", hop.device)


class Pyroute2PerCall(ProcessPerStep):
    """Links, addresses and routes by pyroute2, a socket opened and closed for each call; the rest as above."""

    name = "pyroute2, a socket a call"
    tribe = 2
    traces = (f"{TAP_DEVICE}{tribe:02x}",)

    @staticmethod
    def missing() -> str | None:
        if importlib.util.find_spec("pyroute2") is None:
            return "not installed: pyroute2"
        return ProcessPerStep.missing()

    def __init__(self) -> None:
        import pyroute2

        self._library: Any = pyroute2
        self.name = f"pyroute2 {pyroute2.__version__}, a socket a call"

    def _call(self, namespace: str | None, call: Callable[[Any], Any]) -> Any:
        socket = self._library.IPRoute() if namespace is None else self._library.NetNS(namespace, flags=0)
        try:
            return call(socket)
        finally:
            socket.close()

    def _on(self, namespace: str | None, device: str, call: Callable[[Any, int], Any]) -> Any:
        """Look the device up by name, in the same socket, and call with its index."""
        return self._call(namespace, lambda socket: call(socket, socket.link_lookup(ifname=device)[0]))

    def make_namespace(self, name: str) -> None:
        self._library.netns.create(name)

    def delete_namespace(self, name: str) -> None:
        self._library.netns.remove(name)

    def add_veth(self, tap: str, device: str, namespace: str) -> None:
        peer = {"ifname": device, "net_ns_fd": namespace}
        self._call(None, lambda socket: socket.link("add", ifname=tap, kind="veth", peer=peer))

    def set_link(self, namespace: str | None, device: str, *change: str) -> None:
        match change:
            case ("up",):
                values: dict[str, Any] = {"state": "up"}
            case ("mtu", size):
                values = {"mtu": int(size)}
            case ("master", bridge):
                values = {"master": self._on(None, bridge, lambda _, index: index)}
            case (name, value):
                values = {name: value}
        self._on(namespace, device, lambda socket, index: socket.link("set", index=index, **values))

    def delete_link(self, namespace: str, device: str) -> None:
        self._on(namespace, device, lambda socket, index: socket.link("del", index=index))

    def list_links(self, namespace: str) -> None:
        self._call(namespace, lambda socket: list(socket.get_links()))

    def list_addresses(self, namespace: str, device: str) -> None:
        self._on(namespace, device, lambda socket, index: list(socket.get_addr(index=index)))

    def list_routes(self, namespace: str) -> None:
        self._call(namespace, lambda socket: list(socket.get_routes()))

    def add_address(self, namespace: str, device: str, interface: Interface) -> None:
        values: dict[str, Any] = {"address": str(interface.ip), "prefixlen": interface.network.prefixlen}
        if interface.version == 4:
            values["broadcast"] = str(_broadcast(interface))
        self._on(namespace, device, lambda socket, index: socket.addr("add", index=index, **values))

    def delete_address(self, namespace: str, device: str, interface: Interface) -> None:
        values = {"address": str(interface.ip), "prefixlen": interface.network.prefixlen}
        self._on(namespace, device, lambda socket, index: socket.addr("del", index=index, **values))

    def replace_route(self, namespace: str, route: Route) -> None:
        (hop,) = route.hops
        values = {"dst": str(route.destination), "gateway": str(hop.via)}
        self._on(namespace, hop.device, lambda socket, index: socket.route("replace", oif=index, **values))


def _run(*command: str, text: str | None = None, allowed: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, input=text or "", capture_output=True, text=True, check=False)
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _inside(namespace: str | None, *command: str, text: str | None = None, allowed: tuple[int, ...] = (0,)) -> str:
    enter = () if namespace is None else ("ip", "netns", "exec", namespace)
    return _run(*enter, *command, text=text, allowed=allowed)


def _namespace(router: NamespaceState) -> str:
    return namespace_name("router", router.id)


def _gateway(router: NamespaceState) -> str:
    assert router.gateway is not None
    return router.gateway.device


def _bridge(port: Port) -> str:
    return device_name(BRIDGE_DEVICE, port.network_id)


def _host(fip: FloatingIP) -> IPv4Interface:
    return IPv4Interface((fip.floating, 32))


def _broadcast(interface: Interface) -> object:
    return interface.network.broadcast_address


# ---- rules as iptables-restore reads them ----------------------------------------------------------------------

_CHAINS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "OUTPUT", "POSTROUTING"),
}
_OWN = "bench-l3-"
_METADATA = "-d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80"


def _rules(router: NamespaceState) -> str:
    """Return the four tables: every built-in chain jumps to one of ours, and ours have the rules."""
    contents = {
        "raw": [],
        "mangle": [f"-A {_OWN}PREROUTING {_METADATA} -j MARK --set-xmark 0x1/0xffff"],
        "filter": [
            f"-A {_OWN}INPUT -m mark --mark 0x1/0xffff -j ACCEPT",
            f"-A {_OWN}INPUT -p tcp -m tcp --dport 9697 -j DROP",
        ],
        "nat": list(_nat_rules(router)),
    }
    return "".join(_table(name, rules) for name, rules in contents.items())


def _table(name: str, rules: list[str]) -> str:
    extra = ("float-snat", "snat") if name == "nat" else ()
    chains = [f":{_OWN}{chain} - [0:0]" for chain in (*_CHAINS[name], *extra)]
    jumps = [f"-A {chain} -j {_OWN}{chain}" for chain in _CHAINS[name]]
    return "\n".join((f"*{name}", *chains, *jumps, *rules, "COMMIT", ""))


def _nat_rules(router: NamespaceState) -> Iterable[str]:
    gateway = _gateway(router)
    yield f"-A {_OWN}POSTROUTING ! -o {gateway} -m conntrack ! --ctstate DNAT -j ACCEPT"
    yield f"-A {_OWN}POSTROUTING -j {_OWN}snat"
    yield f"-A {_OWN}PREROUTING {_METADATA} -j REDIRECT --to-ports 9697"
    for fip in router.floating_ips:
        yield f"-A {_OWN}PREROUTING -d {fip.floating}/32 -j DNAT --to-destination {fip.fixed}"
        yield f"-A {_OWN}OUTPUT -d {fip.floating}/32 -j DNAT --to-destination {fip.fixed}"
        yield f"-A {_OWN}float-snat -s {fip.fixed}/32 -j SNAT --to-source {fip.floating} --random-fully"
    yield f"-A {_OWN}snat -j {_OWN}float-snat"
    yield f"-A {_OWN}snat -o {gateway} -j SNAT --to-source {router.nat_address} --random-fully"
    yield f"-A {_OWN}snat -m conntrack --ctstate DNAT -j SNAT --to-source {router.nat_address} --random-fully"
