# SPDX-License-Identifier: Apache-2.0
"""Traffic of a router: by device, which the kernel always counts, and by floating IP where an option enables it."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.netlink import nft_elements, rtnl, statistics, tables
from l3agent.model.names import DEVICE_PREFIXES, is_router_namespace


def traffic(kernel: Kernel, namespace: str) -> dict[str, Any] | None:
    """Return the counters of a namespace; None where there is no such namespace.

    ``devices``: by name, traffic ``in`` to the router and ``out`` of it, each as packets and bytes since the device
    was created. ``floating_ips``: by address, the same to and from outside, since the floating IP came to this router
    (or its table was written anew); None where they are not counted.
    """
    # A first access may open the namespace; settings are read at that time only.
    handle = kernel.find(namespace)
    if handle is None:
        return None
    counting = kernel.counting and is_router_namespace(namespace)
    return {"devices": _devices(handle), "floating_ips": _floating_ips(handle) if counting else None}


def _devices(handle: NamespaceHandle) -> dict[str, dict[str, tuple[int, int]]]:
    names = {info.index: info.name for info in rtnl.parse_links(handle.route.dump(rtnl.dump_links()))}
    found = statistics.parse_statistics(handle.route.dump(statistics.dump_statistics()))
    return {
        names[index]: {"in": received, "out": sent}
        for index, (received, sent) in found.items()
        if names.get(index, "").startswith(DEVICE_PREFIXES)
    }


def _floating_ips(handle: NamespaceHandle) -> dict[str, dict[str, tuple[int, int]]]:
    received, sent = (
        nft_elements.parse_counters(handle.netfilter.dump(nft_elements.dump_elements(one)))
        for one in (tables.TRAFFIC_IN, tables.TRAFFIC_OUT)
    )
    return {str(IPv4Address(key)): {"in": received[key], "out": sent.get(key, (0, 0))} for key in sorted(received)}
