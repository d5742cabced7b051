# SPDX-License-Identifier: Apache-2.0
"""Reads kernel state as entries: dumps of one namespace and queries for the few host links connected to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from l3agent.dataplane.backend import Observed, Target, Work
from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend import takeover
from l3agent.dataplane.kernel_backend.observe_rules import read_tables
from l3agent.dataplane.kernel_backend.ownership import foreign_device_message, foreign_taps, is_foreign_bridge
from l3agent.dataplane.netlink import routes, rtnl
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.bridge import Bridge, is_marked, parse_bridge_alias
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.neutron import NeutronRules, parse_neutron_routes
from l3agent.dataplane.plan.kinds.observation import Dump
from l3agent.dataplane.plan.kinds.physical_port import PhysicalPort
from l3agent.dataplane.plan.kinds.stray_tap import StrayTap
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.order import COMMON_DUMPS, LINK_KINDS, needed_dumps
from l3agent.dataplane.work.slices import Run
from l3agent.exceptions import ApplyError
from l3agent.model.names import DEVICE_PREFIXES

#: Minimum bytes of an address or a route in a dump.
_ENTRY_BYTES = 60
#: Stands for the MTU of a link whose two ends differ.
_MTU_MISMATCH = 0


@dataclass
class _Findings:
    """The findings of an observation so far.

    :param bridge_info: parsed link of each observed bridge; other fields as in :class:`Observed`.
    """

    entries: set[Entry] = field(default_factory=set)
    handle: NamespaceHandle | None = None
    devices: dict[str, int] = field(default_factory=dict)
    bridges: dict[str, int] = field(default_factory=dict)
    bridge_info: dict[str, rtnl.LinkInfo] = field(default_factory=dict)
    taps: dict[str, int] = field(default_factory=dict)
    to_move_in: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    def add_bridge(self, bridge: rtnl.LinkInfo) -> None:
        """Record a bridge."""
        self.bridges[bridge.name] = bridge.index
        self.bridge_info[bridge.name] = bridge


def observe(kernel: Kernel, target: Target, network: str | None = None) -> Work[Observed]:
    """Return the kernel state of a key.

    :param network: name of the bridge when the state is a network.
    """
    seen, desired = _Findings(), target.desired
    links: list[Link] = []
    _observe_to_move_in(kernel, seen, desired)
    if target.namespace is not None:
        seen.handle = kernel.find(target.namespace)
        if seen.handle is not None:
            sysctls = select(desired, Sysctl)
            seen.entries |= kernel.sysctls.read(seen.handle, sysctls)
            links = yield from _observe_inside(kernel, seen, seen.handle, desired, target.run)
    if target.known is None or seen.handle is not None or not _record_known_bridges(seen, desired, target.known):
        _observe_host(kernel, seen, desired, links)
    if network is not None:
        _observe_physical_port(kernel, seen, network)
    return Observed(
        entries=seen.entries,
        handle=seen.handle,
        devices=seen.devices,
        bridges=seen.bridges,
        taps=seen.taps,
        to_move_in=seen.to_move_in,
        refused=seen.refused,
    )


# ---- inside the namespace --------------------------------------------------------------------------------------


def _observe_inside(
    kernel: Kernel, seen: _Findings, handle: NamespaceHandle, desired: frozenset[Entry], run: Run
) -> Work[list[Link]]:
    infos = handle.read_links()
    seen.devices = {info.name: info.index for info in infos}
    names = {info.index: info.name for info in infos}
    seen.entries.add(Namespace(handle.name, loopback=any(info.name == "lo" and info.up for info in infos)))
    ours = [info for info in infos if info.name.startswith(DEVICE_PREFIXES)]
    wanted = {link.device: link for link in select(desired, Link)}
    links = [_ignore_unspecified(link, wanted.get(link.device)) for link in _read_outer_ends(kernel, seen, ours)]
    if any(not entry.offload for entry in wanted.values()):
        links = kernel.call_inside(handle, lambda: [replace(one, offload=_has_offload(one)) for one in links])
    seen.entries.update(links)
    # For a removal only links are observed; the rest goes with the namespace.
    if desired:
        for kind in LINK_KINDS:
            seen.entries.update(kind.read_links(ours, desired, has_ipv6=handle.cache.has_ipv6))
        requested = _select_dumps(handle, desired)
        dumps = {request: handle.route.dump(request) for request in dict.fromkeys(one.request for _, one in requested)}
        size = max(len(desired), sum(map(len, dumps.values())) // _ENTRY_BYTES)
        yield from run(size, partial(_observe_contents, kernel, seen, handle, names, requested, dumps, desired))
    return links


def _select_dumps(handle: NamespaceHandle, desired: frozenset[Entry]) -> list[tuple[type[Entry], Dump]]:
    """Return the dumps to request, with the kinds of their entries.

    The cache records which of the dumps that few states need may have entries.
    """
    handle.cache.add_rare_dumps(needed_dumps(desired))
    return [*COMMON_DUMPS, *handle.cache.rare_dumps()]


def _observe_contents(
    kernel: Kernel,
    seen: _Findings,
    handle: NamespaceHandle,
    names: dict[int, str],
    requested: list[tuple[type[Entry], Dump]],
    dumps: dict[bytes, bytes],
    desired: frozenset[Entry],
) -> None:
    """Add addresses, routes and rules to the observation; uses the namespace's own sockets only."""
    for kind, dump in requested:
        found = handle.cache.parse(dump, names, dumps[dump.request])
        seen.entries.update(kind.select_observed(found, desired))
        if dump.is_needed is not None and not found and not dump.is_needed(desired):
            handle.cache.discard_rare_dump((kind, dump))
    if handle.cache.is_newly_adopted:
        kernel.call_inside(handle, takeover.reject_x_tables)
    seen.entries |= (rules := read_tables(kernel, handle))
    if select(rules, NeutronRules):
        for version in (4, 6):
            seen.entries |= parse_neutron_routes(handle.route.dump(routes.dump_routes(version)), names)


def _ignore_unspecified(link: Link, wanted: Link | None) -> Link:
    """Return a link without the fields that the desired link leaves unspecified."""
    if wanted is None or (wanted.mtu is not None and wanted.bridge is not None):
        return link
    mtu = None if wanted.mtu is None else link.mtu
    return replace(link, mtu=mtu, bridge=None if wanted.bridge is None else link.bridge)


def _has_offload(link: Link) -> bool:
    try:
        return syscalls.has_tx_checksums(link.device)
    except OSError:
        # It has just been removed, which an event reports.
        return link.offload


def _read_outer_ends(kernel: Kernel, seen: _Findings, infos: list[rtnl.LinkInfo]) -> list[Link]:
    """Return links with their taps and bridges, queried by index: two calls for all of them."""
    single = [info for info in infos if not info.link]
    infos = [info for info in infos if info.link]
    found = query_links(kernel, [rtnl.get_link(index=info.link) for info in infos])
    # An index is valid in one namespace: it is that of another device if another program moved the tap away.
    taps = [tap if tap and tap.link == info.index else None for info, tap in zip(infos, found, strict=True)]
    seen.taps = {tap.name: tap.index for tap in taps if tap}
    masters = query_links(kernel, [rtnl.get_link(index=tap.master) for tap in taps if tap and tap.master])
    bridge_names = {}
    for master in masters:
        if master is not None:
            bridge_names[master.index] = master.name
            seen.add_bridge(master)
    return [_ovs_internal_link(info, seen) for info in single] + [
        Link(
            device=info.name,
            mac=info.mac,
            mtu=info.mtu if tap is None or tap.mtu == info.mtu else _MTU_MISMATCH,
            up=info.up and tap is not None and tap.up,
            tap=tap.name if tap else "",
            bridge=bridge_names.get(tap.master, "") if tap else "",
            is_isolated=tap is None or tap.is_isolated,
            arp=info.arp,
            multicast=info.multicast,
        )
        for info, tap in zip(infos, taps, strict=True)
    ]


def _ovs_internal_link(info: rtnl.LinkInfo, seen: _Findings) -> Link:
    """Return an internal port of Open vSwitch. A port that the switch has created anew outside is dead."""
    tap = "" if info.name in seen.to_move_in else info.name
    return Link(info.name, info.mac, info.mtu, info.up, tap, None, arp=info.arp, multicast=info.multicast)


# ---- the host namespace --------------------------------------------------------------------------------------


def _observe_to_move_in(kernel: Kernel, seen: _Findings, desired: frozenset[Entry]) -> None:
    names = [link.device for link in select(desired, Link) if link.is_ovs_internal]
    seen.to_move_in = {
        info.name for info in query_links(kernel, [rtnl.get_link(name=name) for name in names]) if info is not None
    }


def _record_known_bridges(seen: _Findings, desired: frozenset[Entry], known: Mapping[str, int]) -> bool:
    """Record the desired bridges and return True, if the indexes of all of them are known."""
    bridges = select(desired, Bridge)
    if not bridges or not all(entry.name in known for entry in bridges):
        return False
    seen.bridges = {entry.name: known[entry.name] for entry in bridges}
    seen.entries.update(bridges)
    return True


def _observe_host(kernel: Kernel, seen: _Findings, desired: frozenset[Entry], links: list[Link]) -> None:
    """Query the desired bridges, and the devices with the name of a desired tap whose other end is elsewhere."""
    wanted_links = select(desired, Link)
    wanted_bridges = {bridge.name: bridge for bridge in select(desired, Bridge)}
    # A bridge with one of our ports was observed with that port.
    for info in query_links(kernel, [rtnl.get_link(name=name) for name in wanted_bridges if name not in seen.bridges]):
        if info is not None:
            seen.add_bridge(info)
    plugged = {(link.tap, link.bridge) for link in links}
    to_plug = [link for link in wanted_links if link.bridge and (link.tap, link.bridge) not in plugged]
    for name, entry in wanted_bridges.items():
        if (bridge := seen.bridge_info.get(name)) is None:
            continue
        if is_foreign_bridge(entry, bridge):
            # Its ports stay, as with the bridge of Neutron's L2 agent at a takeover; none is added.
            seen.entries.add(entry)
            seen.refused |= {link.device: foreign_device_message(name) for link in to_plug if link.bridge == name}
            if select(desired, PhysicalPort):
                raise ApplyError(foreign_device_message(name))
        else:
            marks = is_marked(entry, bridge)
            seen.entries.add(replace(entry, up=bridge.up, is_isolated=bridge.is_isolated, is_marked=marks))
    paired = {link.tap for link in links}
    missing = {link.tap: link.device for link in wanted_links if link.tap not in paired and not link.is_ovs_internal}
    stray = [info for info in query_links(kernel, [rtnl.get_link(name=tap) for tap in missing]) if info is not None]
    foreign = foreign_taps(kernel, stray)
    seen.refused |= {missing[name]: foreign_device_message(name) for name in foreign}
    seen.entries |= {StrayTap(info.name) for info in stray if info.name not in foreign}


def _observe_physical_port(kernel: Kernel, seen: _Findings, name: str) -> None:
    """Find the physical port of a network: the interface in the alias of its bridge, if it is a port there."""
    (bridge,) = query_links(kernel, [rtnl.get_link(name=name)])
    if bridge is None or (ours := parse_bridge_alias(bridge.alias)) is None:
        return
    network_id, interface = ours
    (port,) = query_links(kernel, [rtnl.get_link(name=interface)]) if interface else (None,)
    if port is not None and port.master == bridge.index:
        seen.entries.add(PhysicalPort(interface, name, network_id))


def query_links(kernel: Kernel, requests: Iterable[bytes]) -> list[rtnl.LinkInfo | None]:
    """Return the link of the host namespace that each request names, None for a missing one."""
    return [next(iter(rtnl.parse_links(answer)), None) for answer in kernel.host.query(list(requests))]
