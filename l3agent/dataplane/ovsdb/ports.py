# SPDX-License-Identifier: Apache-2.0
"""Ports of Open vSwitch as entries."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from l3agent.dataplane.ovsdb.rows import PortRow
from l3agent.dataplane.ovsdb.transact import is_stuck
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.switch_port import OWNER, SwitchPort
from l3agent.exceptions import ApplyError

#: The keys of ``external_ids`` that are compared.
_KEYS = ("iface-id", "iface-status", "attached-mac", OWNER)


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of the database.

    :param names: of the changed ports, and of bridges whose ports changed.
    :param bridges: names of the added and removed bridges.
    :param all: any port may have changed.
    """

    names: frozenset[str] = frozenset()
    bridges: frozenset[str] = frozenset()
    all: bool = False


class Ports(Protocol):
    """Read access to the ports in the database."""

    @property
    def is_loaded(self) -> bool:
        """True after the database was read once."""

    def port(self, name: str) -> PortRow | None:
        """Return a port by name, or None."""

    def port_names(self, router_id: str) -> frozenset[str]:
        """Return the names of the ports that are marked with a router."""


def observed_ports(
    ports: Ports, state_id: str, desired: Collection[Entry], links: Iterable[Link], devices: Collection[str]
) -> set[SwitchPort]:
    """Return the ports of a router: wanted ports, ports of its devices, and ports marked with its id.

    Before the first read of the database, a wanted port whose device exists is assumed to be correct, and an unwanted
    device is assumed to have a port.

    :param links: links in the namespace.
    :param devices: names of all devices in the namespace, and of devices that wait for their move into it.
    :raises ApplyError: a port with a wanted name exists and lacks our mark.
    """
    wanted = {port.name: port for port in select(desired, SwitchPort)}
    taps = {link.tap for link in links if link.tap}
    names = {*wanted, *taps, *ports.port_names(state_id)}
    if not ports.is_loaded:
        return {wanted.get(name) or _unknown(name) for name in names if name in taps or name in devices}
    found = {name: one for name in names if (one := ports.port(name)) is not None}
    for name in wanted.keys() & found.keys() - taps:
        _require_ours(wanted[name], found[name])
    return {to_entry(one, has_device=name in devices).compared_with(wanted.get(name)) for name, one in found.items()}


def _require_ours(wanted: SwitchPort, found: PortRow) -> None:
    """Check a port without a device in our namespace: the tap of a virtual machine may have the same name and id.

    The check is limited to veth pairs: the name of an internal device never equals the name of a virtual machine's tap.

    :raises ApplyError: the port lacks our mark.
    """
    if not wanted.type and OWNER not in found.ids:
        raise ApplyError(
            f"{found.name}: bridge {found.bridge} of Open vSwitch has a port of this name that l3agent did not create"
        )


def to_entry(found: PortRow, *, has_device: bool) -> SwitchPort:
    """Return a port as an entry.

    :param has_device: True if the device of the port exists.
    """
    return SwitchPort(
        name=found.name,
        bridge=found.bridge,
        type=found.type,
        ids=frozenset((key, found.ids[key]) for key in _KEYS if key in found.ids),
        has_tag=found.tag is not None,
        is_stuck=is_stuck(found),
        # The link of a veth pair is an entry of its own.
        has_device=has_device or not found.type,
    )


def _unknown(name: str) -> SwitchPort:
    return SwitchPort(name, "", "internal", frozenset(), None)
