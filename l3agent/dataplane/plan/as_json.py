# SPDX-License-Identifier: Apache-2.0
"""Converts entries to maps for other processes: JSON-compatible, with addresses as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from l3agent.dataplane.plan.entries import (
    AcceptRA,
    Bridge,
    ConnectedRoute,
    DeviceAddress,
    DeviceSettings,
    Element,
    Entry,
    KernelRoute,
    Link,
    Namespace,
    NeutronRoute,
    NeutronRules,
    PendingFlush,
    PhysicalPort,
    StrayTap,
    SwitchPort,
    Sysctl,
    Table,
)
from l3agent.model.states import NextHop

_KINDS: dict[type, str] = {
    Namespace: "namespace",
    Sysctl: "sysctl",
    Bridge: "bridge",
    PhysicalPort: "physical_port",
    SwitchPort: "switch_port",
    Link: "link",
    StrayTap: "stray_tap",
    AcceptRA: "accept_ra",
    DeviceSettings: "device_settings",
    DeviceAddress: "address",
    ConnectedRoute: "connected_route",
    KernelRoute: "route",
    Table: "table",
    Element: "element",
    NeutronRoute: "neutron_route",
    NeutronRules: "neutron_rules",
    PendingFlush: "pending_flush",
}
_TEXT = IPv4Address | IPv4Interface | IPv4Network | IPv6Address | IPv6Interface | IPv6Network


def entries_to_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return entries as maps of their fields and their ``kind``, in a fixed order.

    Fields that are not compared are left out, because an observation does not contain them.
    """
    found = [
        {"kind": _KINDS[type(entry)]}
        | {one.name: _value(getattr(entry, one.name)) for one in fields(entry) if one.compare}
        for entry in entries
    ]
    order = list(_KINDS.values())
    return sorted(found, key=lambda one: (order.index(one["kind"]), str(one)))


def _value(value: Any) -> Any:
    if isinstance(value, _TEXT):
        return str(value)
    if isinstance(value, NextHop):
        return {"device": value.device, "via": None if value.via is None else str(value.via)}
    if isinstance(value, frozenset):
        return sorted(map(_value, value), key=str)
    return value
