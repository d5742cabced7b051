# SPDX-License-Identifier: Apache-2.0
"""What the kernel holds, as entries: dumps of one namespace and questions about the few host links it hangs on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from l3agent.dataplane.encode import BRIDGE_MARK
from l3agent.dataplane.kernel import Kernel, NamespaceHandle, read_fingerprint
from l3agent.dataplane.netlink import nft, rtnl
from l3agent.dataplane.plan import (
    Bridge,
    Card,
    DeviceAddress,
    Element,
    Entry,
    KernelRoute,
    Link,
    Namespace,
    PendingFlush,
    Sysctl,
    Table,
)
from l3agent.model.names import GATEWAY_DEVICE, HOST_DEVICE, INTERNAL_DEVICE, TAP_DEVICE

#: Stands for the MTU of a link whose two ends differ.
_DISAGREE = 0
_OURS = (INTERNAL_DEVICE, GATEWAY_DEVICE, HOST_DEVICE)


@dataclass
class Observed:
    """Kernel state for one key.

    :param devices: index of each link inside the namespace, foreign ones too.
    :param bridges: index of each bridge that was seen.
    :param stray: taps in the switch namespace with a wanted name whose other end is not where it should be.
    """

    entries: set[Entry] = field(default_factory=set)
    handle: NamespaceHandle | None = None
    devices: dict[str, int] = field(default_factory=dict)
    bridges: dict[str, int] = field(default_factory=dict)
    stray: list[str] = field(default_factory=list)


def observe(kernel: Kernel, namespace: str | None, desired: frozenset[Entry], network: str | None = None) -> Observed:
    """Return what exists of a state.

    :param namespace: where to look, None for a network.
    :param desired: what is wanted; it tells which host links to ask about.
    :param network: name of the bridge when the state is a network.
    """
    seen = Observed()
    links: list[Link] = []
    if namespace is not None:
        sysctls = frozenset(entry for entry in desired if isinstance(entry, Sysctl))
        seen.handle = kernel.find(namespace, sysctls)
        if seen.handle is not None:
            seen.entries.add(Namespace(namespace))
            seen.entries |= {one for one in seen.handle.sysctls if any(one.path == s.path for s in sysctls)}
            links = _observe_inside(kernel, seen, seen.handle, desired)
    _observe_switch(kernel, seen, desired, links)
    if network is not None:
        _observe_card(kernel, seen, network)
    return seen


# ---- inside the namespace --------------------------------------------------------------------------------------


def _observe_inside(kernel: Kernel, seen: Observed, handle: NamespaceHandle, desired: frozenset[Entry]) -> list[Link]:
    infos = rtnl.parse_links(handle.route.dump(rtnl.dump_links()))
    seen.devices = {info.name: info.index for info in infos}
    names = {info.index: info.name for info in infos}
    ours = [info for info in infos if info.name.startswith(_OURS)]
    any_mtu = {entry.device for entry in desired if isinstance(entry, Link) and entry.mtu is None}
    links = [replace(link, mtu=None) if link.device in any_mtu else link for link in _outer_ends(kernel, seen, ours)]
    seen.entries.update(links)
    ours_by_index = {info.index: info.name for info in ours}
    for index, interface in rtnl.parse_addresses(handle.route.dump(rtnl.dump_addresses())):
        if index in ours_by_index:
            seen.entries.add(DeviceAddress(ours_by_index[index], interface))
    for version in (4, 6):
        for destination, hops in rtnl.parse_routes(handle.route.dump(rtnl.dump_routes(version)), names).items():
            seen.entries.add(KernelRoute(destination, hops))
    _observe_table(kernel, seen, handle)
    return links


def _outer_ends(kernel: Kernel, seen: Observed, infos: list[rtnl.LinkInfo]) -> list[Link]:
    """Return links with their taps and bridges, asked for by index: two calls for all of them."""
    taps = _ask(kernel, [rtnl.get_link(index=info.link) for info in infos])
    masters = _ask(kernel, [rtnl.get_link(index=tap.master) for tap in taps if tap and tap.master])
    bridge_names = {}
    for master in masters:
        if master is not None:
            bridge_names[master.index] = master.name
            seen.bridges[master.name] = master.index
    return [
        Link(
            device=info.name,
            mac=info.mac,
            mtu=info.mtu if tap is None or tap.mtu == info.mtu else _DISAGREE,
            up=info.up and tap is not None and tap.up,
            tap=tap.name if tap else "",
            bridge=bridge_names.get(tap.master, "") if tap else "",
        )
        for info, tap in zip(infos, taps, strict=True)
    ]


def _observe_table(kernel: Kernel, seen: Observed, handle: NamespaceHandle) -> None:
    found = read_fingerprint(handle.netfilter)
    if not found:
        return
    seen.entries.add(Table(intact=found == kernel.intact_table))
    for name in nft.SETS:
        for key, value in nft.parse_elements(handle.netfilter.dump(nft.dump_elements(name))).items():
            seen.entries.add(_element(name, key, value))


def _element(name: str, key: bytes, value: bytes | None) -> Entry:
    if name == "pending_flush":
        return PendingFlush(IPv4Address(key[:4]), IPv4Address(key[4:]))
    left = IPv4Address(key) if len(key) == 4 else key.rstrip(b"\0").decode(errors="replace")
    return Element(name, left, None if value is None else IPv4Address(value))


# ---- the switch namespace --------------------------------------------------------------------------------------


def _observe_switch(kernel: Kernel, seen: Observed, desired: frozenset[Entry], links: list[Link]) -> None:
    """Look for wanted bridges, and for strays that are in the way of wanted taps."""
    wanted_links = [entry for entry in desired if isinstance(entry, Link)]
    wanted_bridges = {entry.name: entry for entry in desired if isinstance(entry, Bridge)}
    for info in _ask(kernel, [rtnl.get_link(name=name) for name in wanted_bridges]):
        if info is not None:
            seen.bridges[info.name] = info.index
            seen.entries.add(wanted_bridges[info.name])
    paired = {link.tap for link in links}
    missing = [link.tap for link in wanted_links if link.tap not in paired]
    seen.stray = [info.name for info in _ask(kernel, [rtnl.get_link(name=tap) for tap in missing]) if info is not None]


def _observe_card(kernel: Kernel, seen: Observed, name: str) -> None:
    """Find the real card among the ports of a network's bridge: the port that is no tap of a router or host."""
    (bridge,) = _ask(kernel, [rtnl.get_link(name=name)])
    if bridge is not None:
        seen.bridges[name] = bridge.index
        for port in rtnl.parse_links(kernel.host.dump(rtnl.dump_links(master=bridge.index))):
            # The kernel filters by bridge where it can; an old one sends all links.
            if port.master == bridge.index and not port.name.startswith(TAP_DEVICE):
                seen.entries.add(Card(port.name, name))


def unused_bridges(kernel: Kernel) -> list[str]:
    """Return the names of our bridges that have no port left."""
    links = rtnl.parse_links(kernel.host.dump(rtnl.dump_links()))
    used = {info.master for info in links}
    return [info.name for info in links if info.alias.startswith(BRIDGE_MARK) and info.index not in used]


def our_networks(kernel: Kernel) -> list[str]:
    """Return the ids of the networks whose bridges are marked as ours."""
    links = rtnl.parse_links(kernel.host.dump(rtnl.dump_links()))
    return sorted(info.alias.removeprefix(BRIDGE_MARK) for info in links if info.alias.startswith(BRIDGE_MARK))


def _ask(kernel: Kernel, requests: Iterable[bytes]) -> list[rtnl.LinkInfo | None]:
    return [next(iter(rtnl.parse_links(answer)), None) for answer in kernel.host.ask(list(requests))]
