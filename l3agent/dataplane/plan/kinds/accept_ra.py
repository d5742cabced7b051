# SPDX-License-Identifier: Apache-2.0
"""Devices that accept router advertisements."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from l3agent.dataplane.netlink import routes
from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.plan.kinds.base import Batches, Entry, Inside, Operation
from l3agent.dataplane.plan.kinds.sysctl import Sysctl


@dataclass(frozen=True, slots=True)
class AcceptRA(Entry):
    """A device whose IPv6 default route comes from router advertisements; they assign it no address."""

    kind: ClassVar[str] = "accept_ra"

    device: str

    def identity(self) -> Hashable:
        """Return the identity of the object among entries of its kind."""
        return self.device

    def devices(self) -> Collection[str]:
        """Return the devices in the namespace that the entry is on."""
        return (self.device,)

    def needs_ipv6(self) -> bool:
        """Return True if the kernel refuses the entry in a namespace without IPv6."""
        return True

    def is_implied(self) -> bool:
        """Return True if a state without any IPv6 address or route has the entry as well, where it needs IPv6."""
        return True

    def sysctls(self, on: bool) -> list[Sysctl]:
        """Return the sysctls that switch this on or off. The value 2 applies to a forwarding device (ip-sysctl)."""
        place = f"net/ipv6/conf/{self.device}"
        return [Sysctl(f"{place}/autoconf", "0"), Sysctl(f"{place}/accept_ra", "2" if on else "0")]

    @classmethod
    def commands(cls, operation: Operation[AcceptRA], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        is_on = operation.verb != "remove"
        settings = [one.command(namespace) for one in operation.entry.sysctls(is_on)]
        # Unlike "delete", "flush" succeeds if no router has sent an advertisement yet.
        learned = f"ip -6 -n {namespace} route flush default dev {operation.entry.device} protocol ra"
        return settings if is_on else [*settings, learned]

    @classmethod
    def settings(cls, operations: Sequence[Operation[AcceptRA]]) -> Iterator[Sysctl]:
        """Yield the settings of devices to write before the devices come up."""
        for one in operations:
            yield from one.entry.sysctls(one.verb != "remove")

    @classmethod
    def encode_removals(cls, operations: Sequence[Operation[AcceptRA]], made: Batches, target: Inside) -> None:
        """Add the messages that remove the default routes that a device has learned."""
        for one in operations:
            if one.verb == "remove":
                device = one.entry.device
                routers = [hop.via for hop in target.advertised if hop.device == device and hop.via is not None]
                made.removals += [(routes.delete_ra_default(target.index[device], via), one) for via in routers]

    @classmethod
    def read_links(cls, infos: Iterable[LinkInfo], desired: Collection[Entry], *, has_ipv6: bool) -> Iterator[AcceptRA]:
        """Yield the devices that accept router advertisements."""
        for info in infos:
            entry = AcceptRA(info.name)
            if _accepts_ra(info, has_ipv6 and entry in desired):
                yield entry


def _accepts_ra(info: LinkInfo, is_wanted: bool) -> bool:
    """Return True if a device accepts router advertisements; without IPv6 the desired value counts.

    A device that also configures addresses from them, as neutron-l3-agent leaves it, differs from either desired value.
    """
    if info.accept_ra is None:
        return is_wanted
    return info.accept_ra and not (info.autoconf and is_wanted)
