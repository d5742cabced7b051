# SPDX-License-Identifier: Apache-2.0
"""Settings of devices that forwarding requires."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.kinds.sysctl import Sysctl


@dataclass(frozen=True, slots=True)
class DeviceSettings(Entry):
    """Settings of a router device that forwarding requires, see ip-sysctl of the kernel documentation.

    A new device inherits correct settings from ``conf/default`` of its namespace.

    :param forwarding: ``forwarding`` is 1 for IPv4, and for IPv6 if the device has IPv6.
    :param arp_ignore: ``arp_ignore`` is 0 or 1, so that the device answers for each of its addresses.
    """

    kind: ClassVar[str] = "device_settings"
    is_kernel_made: ClassVar[bool] = True

    device: str
    forwarding: bool = True
    arp_ignore: bool = True

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.device

    def devices(self) -> Collection[str]:
        """Return the devices in the namespace that the entry is on."""
        return (self.device,)

    def sysctls(self, previous: DeviceSettings) -> list[Sysctl]:
        """Return the sysctls that change ``previous`` settings into these. Every device has IPv4."""
        found = []
        if not previous.forwarding:
            found += [Sysctl(f"net/{family}/conf/{self.device}/forwarding", "1") for family in ("ipv4", "ipv6")]
        if not previous.arp_ignore:
            found.append(Sysctl(f"net/ipv4/conf/{self.device}/arp_ignore", "0"))
        return found

    @classmethod
    def commands(cls, operation: Operation[DeviceSettings], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        return [one.command(namespace) for one in cls.settings([operation])]

    @classmethod
    def settings(cls, operations: Sequence[Operation[DeviceSettings]]) -> Iterator[Sysctl]:
        """Yield the settings of devices to write before the devices come up."""
        for one in operations:
            if one.previous is not None:
                yield from one.entry.sysctls(one.previous)

    @classmethod
    def read_links(
        cls, infos: Iterable[LinkInfo], desired: Collection[Entry], *, has_ipv6: bool
    ) -> Iterator[DeviceSettings]:
        """Yield the settings of the devices whose settings a state desires."""
        for info in infos:
            if DeviceSettings(info.name) in desired:
                yield DeviceSettings(info.name, forwarding=info.forwarding, arp_ignore=info.arp_ignore <= 1)
