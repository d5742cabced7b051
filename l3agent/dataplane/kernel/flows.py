# SPDX-License-Identifier: Apache-2.0
"""Delete the conntrack entries that pending flushes name, and no others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address

from l3agent.dataplane.kernel.sockets import KernelRefused, NetlinkSocket
from l3agent.dataplane.netlink import conntrack
from l3agent.dataplane.netlink.conntrack import DESTINATION_TRANSLATED, SOURCE_TRANSLATED, ConntrackEntry
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush

#: ENOENT: no entry matched.
_NO_SUCH_ENTRY = frozenset((2,))
#: With more edges than this, one dump costs less than a walk of the global table per request (measured on 6.18 with
#: 262,144 buckets: 0.2 ms per request, 16 ms per dump).
_MAX_FILTERED = 64
_TRANSLATED = SOURCE_TRANSLATED | DESTINATION_TRANSLATED
#: Causes with networks, which no filter compares.
_DUMPED = ("interface", "without_nat")
_STATUS = {"gateway_snat": SOURCE_TRANSLATED, "hairpin_snat": _TRANSLATED}


def supports_deletion_filter(netfilter: NetlinkSocket) -> bool:
    """Return True if this kernel deletes conntrack entries by a filter (Linux 6.11 and newer); deletes nothing there.

    :param netfilter: a socket of a namespace without traffic.
    """
    try:
        netfilter.batch(conntrack.delete_untranslated(IPv4Address(0)), ignore=_NO_SUCH_ENTRY)
    except KernelRefused:
        # EINVAL: the kernel takes the addresses for an incomplete tuple.
        return False
    return True


#: Maps addresses, as numbers, to the subset that the router routes through a gateway device.
RouteFilter = Callable[[Collection[int]], Collection[int]]


def delete_entries(
    netfilter: NetlinkSocket, edges: Sequence[PendingFlush], via_gateway: RouteFilter, *, by_filter: bool
) -> None:
    """Delete the conntrack entries of all edges of a plan.

    The kernel finds them itself where it can. Otherwise one dump serves all edges: for networks, which no filter
    compares, for many edges, and on kernels without the filter.

    :param via_gateway: selects the destinations of entries without NAT that leave through the gateway.
    :param by_filter: what :func:`supports_deletion_filter` returned.
    :raises ApplyError: the kernel refused the dump or a deletion.
    """
    requests: list[bytes] = []
    dumped: list[PendingFlush] = []
    for edge in edges:
        if edge.cause in _DUMPED or not by_filter or len(edges) > _MAX_FILTERED:
            dumped.append(edge)
        else:
            requests += _filter_requests(edge)
    if dumped:
        selection = Selection(dumped)
        from_tenants: list[ConntrackEntry] = []
        for entry in conntrack.parse_entries(netfilter.dump(conntrack.dump_entries())):
            if selection.matches(entry):
                requests.append(entry.deletion)
            elif selection.lacks_nat(entry):
                from_tenants.append(entry)
        leaving = via_gateway({entry.original_destination for entry in from_tenants})
        requests += [entry.deletion for entry in from_tenants if entry.original_destination in leaving]
    netfilter.batch(b"".join(requests), ignore=_NO_SUCH_ENTRY)


def _filter_requests(edge: PendingFlush) -> list[bytes]:
    match edge.cause:
        case "floating_dnat":
            return conntrack.delete_floating_ip(edge.original, edge.translated)
        case "untranslated":
            return [conntrack.delete_untranslated(edge.original)]
        case "gateway_snat" | "hairpin_snat":
            return [conntrack.delete_source(edge.original, hairpin=edge.cause == "hairpin_snat")]
        case "address":
            return conntrack.delete_address(edge.original)
        case _:
            # An element that another program made; it only leaves the journal.
            return []


class Selection:
    """The conntrack entries of some edges; the cost of a look-up does not depend on the number of addresses."""

    def __init__(self, edges: Sequence[PendingFlush]) -> None:
        floating = [(int(edge.original), int(edge.translated)) for edge in edges if edge.cause == "floating_dnat"]
        untranslated = [int(edge.original) for edge in edges if edge.cause == "untranslated"]
        #: (original destination, reply source)
        self._inwards = {*floating, *((one, one) for one in untranslated)}
        #: (original source, reply destination)
        self._outwards = {(fixed, floating) for floating, fixed in floating}
        #: (reply destination, translation)
        self._sources = {(int(edge.original), _STATUS[edge.cause]) for edge in edges if edge.cause in _STATUS}
        self._addresses = {int(edge.original) for edge in edges if edge.cause == "address"}
        #: (address, mask)
        self._networks, self._without_nat = (
            {(int(edge.original), int(edge.translated)) for edge in edges if edge.cause == what} for what in _DUMPED
        )

    def matches(self, entry: ConntrackEntry) -> bool:
        """Return True if an edge names this entry."""
        source, destination = entry.original_source, entry.original_destination
        return (
            (destination, entry.reply_source) in self._inwards
            or (source, entry.reply_destination) in self._outwards
            or (entry.reply_destination, entry.status & _TRANSLATED) in self._sources
            or destination in self._addresses
            or entry.reply_destination in self._addresses
            or any(source & mask == first or destination & mask == first for first, mask in self._networks)
        )

    def lacks_nat(self, entry: ConntrackEntry) -> bool:
        """Return True if an edge names this entry in case it leaves through the gateway."""
        return not entry.status & _TRANSLATED and any(
            entry.original_source & mask == first for first, mask in self._without_nat
        )
