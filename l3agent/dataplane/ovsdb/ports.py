# SPDX-License-Identifier: Apache-2.0
"""Ports of Open vSwitch as entries, and what is asked of those who know and change them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from l3agent.dataplane.ovsdb.rows import OWNER, Found
from l3agent.dataplane.ovsdb.transact import is_stuck
from l3agent.dataplane.plan.diff import Operation
from l3agent.dataplane.plan.entries import Entry, Link, SwitchPort
from l3agent.exceptions import ApplyError

#: The keys of ``external_ids`` that count.
_KEYS = ("iface-id", "iface-status", "attached-mac", OWNER)


@dataclass(frozen=True, slots=True)
class News:
    """What somebody changed: ports by name; ``all`` when anything may be otherwise."""

    names: frozenset[str] = frozenset()
    all: bool = False


class Ports(Protocol):
    """What is known of the ports."""

    @property
    def known(self) -> bool:
        """Whether anything is."""

    def port(self, name: str) -> Found | None:
        """Return a port."""

    def owned(self, router_id: str) -> frozenset[str]:
        """Return the names of the ports that are marked with a router."""


class Wait(Protocol):
    """Work that is done elsewhere; the kernel thread does other work meanwhile."""

    @property
    def done(self) -> bool:
        """Whether it is over."""

    @property
    def error(self) -> str | None:
        """Why it failed."""


class Switch(Ports, Protocol):
    """Open vSwitch, see :class:`l3agent.dataplane.ovsdb.switch.Switch`."""

    def submit(self, operations: Sequence[Operation]) -> Wait:
        """Hand operations over."""

    def owners(self) -> list[str]:
        """Return the ids of all routers that ports are marked with."""

    def stats(self) -> dict[str, object]:
        """Return how things stand."""


def observed_ports(
    ports: Ports, state_id: str, desired: Collection[Entry], links: Iterable[Link], devices: Collection[str]
) -> set[SwitchPort]:
    """Return the ports of a router: wanted ones, those whose devices it has, and those marked with it.

    As long as the database was never read, what is wanted and has its device counts as right, and the port of a device
    that is not wanted counts as there.

    :param links: what is in the namespace.
    :param devices: names of all devices that are there or wait to be moved in.
    :raises ApplyError: a wanted port exists and is not ours.
    """
    wanted = {entry.name: entry for entry in desired if isinstance(entry, SwitchPort)}
    taps = {link.tap for link in links if link.tap}
    names = {*wanted, *taps, *ports.owned(state_id)}
    if not ports.known:
        return {wanted.get(name) or _unknown(name) for name in names if name in taps or name in devices}
    found = {name: one for name in names if (one := ports.port(name)) is not None}
    for name in wanted.keys() & found.keys() - taps:
        _require_ours(wanted[name], found[name])
    return {as_wanted(one, wanted.get(name), name in devices) for name, one in found.items()}


def _require_ours(wanted: SwitchPort, found: Found) -> None:
    """Check a port without a device in our namespace: the tap of a virtual machine may have the name, and the id.

    A device that the switch makes is named as no virtual machine names one.

    :raises ApplyError: it is not ours.
    """
    if not wanted.type and OWNER not in found.ids:
        raise ApplyError(
            f"{found.name}: bridge {found.bridge} of Open vSwitch has a port of this name that is not ours"
        )


def as_wanted(found: Found, wanted: SwitchPort | None, there: bool) -> SwitchPort:
    """Return a port as an entry, without what does not matter.

    :param there: its device is.
    """
    anyhow = wanted is not None and wanted.tagged is None
    return SwitchPort(
        name=found.name,
        bridge=found.bridge,
        type=found.type,
        ids=frozenset((key, found.ids[key]) for key in _KEYS if key in found.ids),
        tagged=None if anyhow else found.tag is not None,
        stuck=not anyhow and is_stuck(found),
        # The link of a veth pair stands for itself.
        made=there or not found.type,
    )


def _unknown(name: str) -> SwitchPort:
    return SwitchPort(name, "", "internal", frozenset(), None)
